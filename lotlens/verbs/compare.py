"""Compare two runs on the same photos."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lotlens.answering.answers import order_classes, select_predictions
from lotlens.deliver.asked import find_asked
from lotlens.deliver.model import Model, load
from lotlens.deliver.own_data import read_own_answers
from lotlens.errors import InputError
from lotlens.files import check_writable
from lotlens.judge.compare import ModelComparison, compare_models, conclude
from lotlens.judge.metrics import align_targets
from lotlens.records import Catalog, Predictions, Watcher
from lotlens.run import PATIENCE_S, RunFolder
from lotlens.texts import describe


@dataclass(frozen=True)
class Compared:
    """Two runs on the same photos.

    Attributes:
        about: on which photos, in words.
        result: which is better, over all and by class.
        conclusion: the answer in one sentence.
    """

    about: str
    result: ModelComparison
    conclusion: str

    def __repr__(self) -> str:
        return describe("Compared", self.conclusion)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        found = self.result
        return {
            "about": self.about,
            "conclusion": self.conclusion,
            **asdict(found.pair),
            "accuracy": {"first": found.first, "second": found.second},
            "only_first": found.only_first,
            "only_second": found.only_second,
            "num_more": found.num_more,
            "classes": [
                {
                    "label": one.car.label,
                    "name": one.car.name,
                    **(
                        {"photos": 0}
                        if one.pair is None
                        else {
                            "photos": one.pair.num_photos,
                            "first": one.first,
                            "second": one.second,
                            "difference": one.pair.difference,
                            "low": one.pair.low,
                            "high": one.pair.high,
                            "p_holm": one.pair.p_holm,
                            "verdict": one.pair.verdict,
                        }
                    ),
                }
                for one in found.classes
            ],
        }


def compare(
    first: Path | str,
    second: Path | str,
    data: Path | str | None = None,
    *,
    labels: Path | str | None = None,
    photos: Path | str | None = None,
    locked: bool = False,
    changed: bool = False,
    watch: Watcher | None = None,
) -> Compared:
    """Which of two runs is right more often on the same photos, and how surely.

    Args:
        first: a run folder.
        second: another one, with the same classes.
        data: labelled photos that neither was trained on. Without it and without labels, the
            stored answers to the photos that both held out of training are compared.
        labels: a CSV of ids and labels, with `photos` for where the photos are.
        photos: a zip or folder.
        locked: compare on the locked part, which must be the same; written down in both runs.
        changed: compare on the data of a run though they have changed since: on what neither has
            learnt of them.
        watch: told of the work as it goes on.

    Raises:
        InputError: classes differ, the photos cannot be used or none is held out by both.
        BundleError: a run is missing or damaged, or its data have changed.
        OutputError: that it was compared on the locked part cannot be written down.
    """
    one, other = load(first), load(second)
    if locked:
        for model in (one, other):
            check_writable(model.run.openings_path)
    if {car.label for car in one.card.classes} != {car.label for car in other.card.classes}:
        raise InputError(f"{first} and {second} have different classes: nothing to compare")
    if data is None and labels is None and photos is None and not locked:
        return _compare_stored(one, other)
    asked = [
        find_asked(model, data, labels, photos, locked=locked, changed=changed, watch=watch)
        for model in (one, other)
    ]
    if data is not None and any(photos.is_own for photos in asked):
        raise InputError(
            f"{data} is what a model was trained on: leave it out to compare on the photos that"
            " both held out"
        )
    catalog = asked[0].catalog
    if locked and catalog.ids != asked[1].catalog.ids:
        raise InputError(f"{first} and {second} have locked different photos away")
    about, common = asked[0].about, set(asked[1].catalog.ids)
    if any(photos.left_out for photos in asked):
        catalog = catalog.select([id_ for id_ in catalog.ids if id_ in common])
        about = f"{asked[0].lot.source}: {len(catalog):,} photos that neither has learnt"
        if not len(catalog):
            raise InputError(f"each photo of {asked[0].lot.source} was learnt by one of the two")
    answers = (one.answer(catalog, watch=watch), other.answer(catalog, watch=watch))
    compared = _compare_answers((one, other), answers, catalog, about)
    if locked:
        for model, share in ((one, compared.result.first), (other, compared.result.second)):
            with RunFolder.claim(model.run.path, "compare", wait_s=PATIENCE_S):
                model.run.add_opening(share, compared.result.pair.num_photos)
    return compared


def _compare_stored(one: Model, other: Model) -> Compared:
    """By the stored answers to the photos that both runs held out of training."""
    if one.card.fingerprint != other.card.fingerprint:
        raise InputError(
            f"{one.run.path} and {other.run.path} were trained on different data: name labelled"
            " photos that neither has seen (DATA, or --labels with --photos)"
        )
    asked = find_asked(one, None, None, None, locked=False)
    first, second = (read_own_answers(model) for model in (one, other))
    held_out = set(second.ids)
    shared = [id_ for id_ in first.ids if id_ in held_out]
    if not shared:
        raise InputError(
            f"{one.run.path} and {other.run.path} held out no photo in common: train them on one"
            " split, or name labelled photos that neither has seen"
        )
    about = f"{asked.lot.source}: {len(shared)} photos that both held out of training"
    counts = [model.card.num_candidates for model in (one, other)]
    if all(counts) and counts[0] != counts[1]:
        about += (
            f"; they chose the weights of A among {counts[0]} sets and those of B among"
            f" {counts[1]}, which flatters the one with more"
        )
    answers = (select_predictions(first, shared), select_predictions(second, shared))
    return _compare_answers((one, other), answers, asked.lot.train.select(shared), about)


def _compare_answers(
    models: tuple[Model, Model],
    answers: tuple[Predictions, Predictions],
    catalog: Catalog,
    about: str,
) -> Compared:
    first, second = answers
    names = (str(models[0].run.path), str(models[1].run.path))
    targets = align_targets(first, catalog)
    result = compare_models(first, order_classes(second, first.classes), targets, names=names)
    return Compared(about, result, conclude(result))
