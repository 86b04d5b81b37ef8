"""Show when a model gives no name, or choose that anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lotlens.deliver.learnt import find_learnt, leave_out, tell_left_out
from lotlens.deliver.model import list_paths, load
from lotlens.deliver.own_data import OwnData, open_own_data
from lotlens.errors import BundleError, InputError
from lotlens.extras import import_vision
from lotlens.files import check_writable
from lotlens.judge.metrics import align_targets
from lotlens.photos.places import name_below
from lotlens.photos.sources import open_photos
from lotlens.records import Catalog, Photo, Refusal, Watcher, Word, watch_part
from lotlens.refusal.familiarity import Reference
from lotlens.refusal.gates import (
    ANSWERED,
    COVERAGE,
    Group,
    Separation,
    Strangers,
    check_numbers,
    compare_methods,
    learn_refusal,
)
from lotlens.refusal.strangers import (
    learn_vehicle,
    meet_given,
    meet_made,
    meet_others,
    meet_words,
)
from lotlens.run import RunFolder
from lotlens.texts import describe
from lotlens.training.others import read_others


@dataclass(frozen=True)
class RefusalChoice:
    """What was chosen, and how the methods did.

    Attributes:
        refusal: as it stands in the model card now.
        comparison: every method on every set of strangers.
        num_left_out: photos given as strangers that the run has learnt, or copies of them.
    """

    refusal: Refusal
    comparison: tuple[Separation, ...]
    num_left_out: int = 0

    def __repr__(self) -> str:
        return describe("RefusalChoice", repr(self.refusal))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def show_refusal(run: Path | str) -> RefusalChoice:
    """When a model does not name one of its classes, as its card says; nothing is changed.

    Args:
        run: the run folder, or that of an exported model.

    Raises:
        BundleError: it is missing, damaged, or of an older lotlens.
    """
    model = load(run)
    if model.card.refusal is None:
        raise BundleError(f"{run} knows no refusal, it names every photo: train it again")
    return RefusalChoice(model.card.refusal, ())


def set_refusal(
    run: Path | str,
    *,
    negatives: Path | str | Sequence[Path | str] | None = None,
    unknown: Path | str | Sequence[Path | str] | None = None,
    answered: float = ANSWERED,
    wrong: float | None = None,
    cost: float | None = None,
    gain: float = 1.0,
    coverage: float = COVERAGE,
    watch: Watcher | None = None,
) -> RefusalChoice:
    """Choose anew when a model does not name one of its classes, and store it in its card.

    The run's own validation photos say what known photos look like, so its data must still be where
    they were. Pictures that lotlens makes are tried too, and other cars that the run held out.

    Args:
        run: the run folder.
        negatives: photos without a car, or of its inside: folders, zips or files.
        unknown: photos of car models that the model does not know.
        answered: share of known photos that are to pass both gates.
        wrong: instead, the share of strangers that may pass a gate, where there are strangers.
        cost: of a wrong answer, in any unit; None for 2 where other cars are known, and 12 where
            they are not.
        gain: of a right one. One model is named only if p * gain > (1 - p) * cost.
        coverage: with which the candidates of a photo hold its model.
        watch: told of the work as it goes on.

    Raises:
        InputError: a path or a number cannot be used, or there are too few photos for `wrong`.
        BundleError: the run is damaged, of an older lotlens, or its data have changed.
        OutputError: the card cannot be written.
    """
    check_numbers(answered, wrong, cost, gain, coverage)
    with RunFolder.claim(Path(run), "refusal"):
        model = load(run)
        if model.members:
            raise InputError(
                f"{run} is an ensemble of runs: set this for its runs, then make it anew"
            )
        references = model.read_references()
        if not references:
            raise BundleError(f"{run} remembers nothing of its training photos: train it again")
        check_writable(model.run.card_path)
        own = open_own_data(model)
        answers = own.answers  # read before the slow work, which damaged ones would make vain
        given: dict[Group, Any] = {"not a car": negatives, "unknown": unknown}
        strangers, words, num_left_out = _meet_strangers(own, references, given, watch)
        refusal = learn_refusal(
            answers,
            align_targets(answers, own.lot.train),
            model.card.temperature,
            strangers,
            answered=answered,
            wrong=wrong,
            cost=cost,
            gain=gain,
            coverage=coverage,
            references_sha256=model.card.refusal.references_sha256 if model.card.refusal else "",
        )
        open_shown = import_vision("imagenet").find_shown()
        refusal, _ = learn_vehicle(
            refusal, answers, own.lot.train, model.card.temperature, strangers, open_shown
        )
        refusal = replace(refusal, words=words)
        comparison = compare_methods(answers, strangers, model.card.temperature, answered=answered)
        model.run.write_card(replace(model.card, refusal=refusal))
        return RefusalChoice(refusal, comparison, num_left_out)


def _meet_strangers(
    own: OwnData,
    references: Sequence[Reference],
    given: Mapping[Group, Any],
    watch: Watcher | None,
) -> tuple[list[Strangers], tuple[Word, ...], int]:
    """What the model says of photos that are given, and of pictures that lotlens makes.

    Photos that it has learnt are no strangers; how many were given is told besides.
    """
    photos_of: dict[Group, Catalog] = {}
    num_left_out = 0
    for group, paths in given.items():
        if paths is not None:
            offered = open_photos(list_paths(paths))
            photos_of[group], counts = leave_out(
                offered, find_learnt(own.model, offered.photos, watch=watch)
            )
            num_left_out += sum(counts.values())
            if not len(photos_of[group]):
                raise InputError(
                    f"all photos given as {group} were learnt by {own.model.run.path}:"
                    f" {tell_left_out(counts)}"
                )
    others = read_others(own.model.run.others_path)
    num_others = len(others.held_out) + len(others.no_cars)
    predictor = own.model.build_predictor(sum(map(len, photos_of.values())) + num_others)
    open_shown = import_vision("imagenet").find_shown()
    strangers = [
        *meet_others(
            predictor,
            references,
            others.held_out,
            others.no_cars,
            progress=watch_part(watch, "trying other cars"),
        ),
    ]
    strangers += [
        meet_given(
            predictor,
            references,
            photos,
            group,
            open_shown=open_shown,
            progress=watch_part(watch, group),
        )
        for group, photos in photos_of.items()
    ]
    made = [
        *strangers,
        *meet_made(
            predictor,
            references,
            own.lot.train.select(own.learnt).photos,
            progress=watch_part(watch, "trying pictures of no car"),
        ),
    ]
    negatives = photos_of.get("not a car", Catalog((), ()))
    words = meet_words(
        predictor,
        references,
        _sort_by_folder(negatives, list_paths(given["not a car"] or ())),
        progress=watch_part(watch, "learning what photos of no car show"),
    )
    return made, words, num_left_out


def _sort_by_folder(catalog: Catalog, sources: Sequence[Path | str]) -> dict[str, Catalog]:
    """Photos by the name of the folder that they lie in; those in none are left out."""
    folders: dict[str, list[Photo]] = defaultdict(list)
    for photo in catalog.photos:
        if photo.locator is not None:
            folder = PurePosixPath(name_below(photo.locator, sources)).parent.name
            folders[folder.removesuffix(".zip")].append(photo)
    return {
        name: Catalog(tuple(photos), catalog.classes) for name, photos in folders.items() if name
    }
