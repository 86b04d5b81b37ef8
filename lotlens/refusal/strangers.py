"""A model's answers to photos that show none of its classes: made ones, and those a user gives.

It knows Predictors and catalogs, not run folders.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lotlens.answering.answers import select_predictions
from lotlens.answering.predict import predict
from lotlens.answering.views import WHOLE
from lotlens.drawn.negatives import make_negatives
from lotlens.errors import InputError
from lotlens.records import FAMILIARITIES, Catalog, Photo, Predictions, Predictor
from lotlens.refusal.familiarity import (
    Reference,
    learn_reference,
    predict_familiar,
    sample_references,
)
from lotlens.refusal.gates import Group, Strangers

Progress = Callable[[int, int], None]

NUM_PER_KIND = 16
_ASPECT = 4 / 3  # of what is drawn


def remember_photos(
    predictor: Predictor, catalog: Catalog, *, progress: Progress | None = None
) -> Reference | None:
    """What is to be remembered of the photos that a model was trained on.

    Args:
        predictor: of a single model, no ensemble.
        catalog: its labelled training photos; a sample of them is looked at once more.
        progress: told (photos done, photos in all).

    Returns:
        None if there are fewer than two photos that can be read.
    """
    rows = sample_references(catalog.targets())
    sample = Catalog(tuple(catalog.photos[row] for row in rows), catalog.classes)
    found = predict(predictor, sample, views=(WHOLE,), keep_features=True, progress=progress)
    return None if found.features is None else learn_reference(found.features, sample.targets())


def meet_known(
    predictor: Predictor, reference: Reference, catalog: Catalog, *, is_member: bool
) -> Predictions:
    """Plain answers, with `familiarity`, of a single model to photos that it has not learnt.

    Args:
        predictor: of the model.
        reference: what it remembers.
        catalog: photos held out of its training.
        is_member: whether it answers as one of an ensemble, which has no energy.
    """
    found = predict_familiar(predictor, (reference,), catalog, views=(WHOLE,))
    if is_member and found.familiarity is not None:
        found.familiarity[:, FAMILIARITIES.index("energy")] = np.nan
    return found


def meet_made(
    predictor: Predictor,
    references: Sequence[Reference],
    photos: Sequence[Photo],
    *,
    seed: int = 0,
    num_per_kind: int = NUM_PER_KIND,
    progress: Progress | None = None,
) -> tuple[Strangers, ...]:
    """Answers to pictures that lotlens makes (see `drawn.negatives`), a set for each kind.

    Args:
        predictor: the model.
        references: what it remembers.
        photos: car photos to make some of the pictures of.
        seed: of the making.
        num_per_kind: pictures of each kind.
        progress: told (photos done, photos in all).
    """
    height = predictor.card.image.height
    with tempfile.TemporaryDirectory(prefix="lotlens-") as folder:
        catalog = make_negatives(
            Path(folder) / "made.zip",
            photos,
            num_per_kind=num_per_kind,
            size=(round(_ASPECT * height), height),
            seed=seed,
        )
        found = predict_familiar(predictor, references, catalog, progress=progress)
    ids_by_kind: dict[str, list[str]] = {}
    for photo in catalog.photos:
        ids_by_kind.setdefault(photo.extra["kind"], []).append(photo.id)
    return tuple(
        Strangers(f"{kind} (made)", "not a car", False, select_predictions(found, ids))
        for kind, ids in ids_by_kind.items()
    )


def meet_given(
    predictor: Predictor,
    references: Sequence[Reference],
    catalog: Catalog,
    group: Group,
    *,
    progress: Progress | None = None,
) -> Strangers:
    """Answers to photos that the user gives.

    Raises:
        InputError: none of them can be read.
    """
    found = predict_familiar(predictor, references, catalog, progress=progress)
    if not found.answered.any():
        raise InputError(
            f"none of the {len(catalog)} photos given as {group!r} can be read:"
            f" {found.status[0] if found.status else 'there are none'}"
        )
    return Strangers(f"{group} (given)", group, True, found)


def meet_others(
    predictor: Predictor,
    references: Sequence[Reference],
    photos: Sequence[Photo],
    *,
    progress: Progress | None = None,
) -> tuple[Strangers, ...]:
    """Answers to photos of other cars that a model knows of but has not learnt, as one set.

    Returns:
        nothing where there are no such photos, or none that can be read.
    """
    found = predict_familiar(predictor, references, Catalog(tuple(photos), ()), progress=progress)
    if not found.answered.any():
        return ()
    return (Strangers("other cars held out", "unknown", True, found),)
