"""A model's answers to photos that show none of its classes: made ones, and those a user gives.

It knows Predictors and catalogs, not run folders.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from lotlens.answering.answers import select_predictions
from lotlens.answering.predict import predict
from lotlens.answering.shown import SHOWN_IMAGE, OpenShown, ask_shown
from lotlens.answering.views import WHOLE
from lotlens.drawn.negatives import make_negatives
from lotlens.errors import InputError
from lotlens.records import (
    FAMILIARITIES,
    SHOWN,
    Catalog,
    FloatArray,
    Photo,
    Predictions,
    Predictor,
    Refusal,
    Word,
)
from lotlens.refusal.familiarity import (
    Reference,
    learn_reference,
    predict_familiar,
    sample_references,
)
from lotlens.refusal.gates import Group, Strangers
from lotlens.refusal.vehicles import MOST_ASKED, add_shown, choose_least_vehicle, name_part
from lotlens.refusal.verdicts import list_unfamiliar
from lotlens.refusal.words import learn_words

Progress = Callable[[int, int], None]

NUM_PER_KIND = 16
OTHER_CARS = "other cars held out"
"""A set of strangers."""
_NUM_SHOWN = 8  # of each kind, by which it is set what a vehicle is
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
    open_shown: OpenShown | None = None,
    progress: Progress | None = None,
) -> Strangers:
    """Answers to photos that the user gives; for some of no car with what they show.

    Raises:
        InputError: none of them can be read.
    """
    found = predict_familiar(predictor, references, catalog, progress=progress)
    if not found.answered.any():
        raise InputError(
            f"none of the {len(catalog)} photos given as {group!r} can be read:"
            f" {found.status[0] if found.status else 'there are none'}"
        )
    if group == "not a car" and open_shown is not None:
        found = add_shown(found, catalog, _spread(len(catalog)), open_shown)
    return Strangers(f"{group} (given)", group, True, found)


def meet_words(
    predictor: Predictor,
    references: Sequence[Reference],
    folders: Mapping[str, Catalog],
    *,
    progress: Progress | None = None,
) -> tuple[Word, ...]:
    """What photos of no car show, learnt from those that the user has sorted into folders.

    Args:
        predictor: the model.
        references: what it remembers.
        folders: name -> photos; of each MOST_ASKED at most are looked at.
        progress: told (photos done, photos in all).
    """
    photos = {
        name: [catalog.photos[row] for row in _spread(len(catalog))]
        for name, catalog in folders.items()
    }
    if not photos:
        return ()
    whole = Catalog(tuple(photo for own in photos.values() for photo in own), ())
    found = predict(predictor, whole, views=(WHOLE,), keep_features=True, progress=progress)
    features: dict[str, FloatArray] = {}
    for name, own in photos.items():
        one = select_predictions(found, [photo.id for photo in own])
        if one.features is not None and one.features.size:
            features[name] = one.features
    return learn_words(features, [reference.means for reference in references])


def meet_others(
    predictor: Predictor,
    references: Sequence[Reference],
    held_out: Sequence[Photo],
    no_cars: Sequence[Photo] = (),
    *,
    progress: Progress | None = None,
) -> tuple[Strangers, ...]:
    """Answers to photos of other cars that a model knows of but has not learnt, as one set.

    Args:
        predictor: the model.
        references: what it remembers.
        held_out: other cars.
        no_cars: photos that were found among other cars and show none, another set.
        progress: told (photos done, photos in all).

    Returns:
        other cars first; no set of which no photo can be read.
    """
    whole = Catalog((*held_out, *no_cars), ())
    found = predict_familiar(predictor, references, whole, progress=progress)
    sets = (
        Strangers(OTHER_CARS, "unknown", True, _take(found, held_out)),
        # Nobody has vouched for them: they count as what lotlens makes.
        Strangers("no cars among them", "not a car", False, _take(found, no_cars)),
    )
    return tuple(one for one in sets if one.predictions.answered.any())


def _take(found: Predictions, photos: Sequence[Photo]) -> Predictions:
    return select_predictions(found, [photo.id for photo in photos])


def find_no_cars(
    photos: Catalog, known: Catalog, open_shown: OpenShown, *, progress: Progress | None = None
) -> list[bool]:
    """Whether each photo shows no car, or only a part of one.

    Args:
        photos: of which most should show cars.
        known: photos of cars; of some the least share of vehicle is learnt that a car's photo has.
        open_shown: opens the network to ask.
        progress: told (photos done, photos in all).

    Returns:
        False for those that cannot be read, and for all where nothing can be learnt.
    """
    sample = Catalog(tuple(known.photos[row] for row in _spread(len(known))), known.classes)
    least = choose_least_vehicle(ask_shown(open_shown, sample), ask_drawn(open_shown))
    if least is None:
        return [False] * len(photos)
    vehicle = SHOWN.index("vehicle")
    shows = ask_shown(open_shown, photos, progress=progress)
    return [
        bool(np.isfinite(row).all()) and (name_part(row) is not None or bool(row[vehicle] < least))
        for row in shows
    ]


def learn_vehicle(
    refusal: Refusal,
    known: Predictions,
    catalog: Catalog,
    temperature: float,
    strangers: Sequence[Strangers],
    open_shown: OpenShown | None,
) -> tuple[Refusal, Predictions]:
    """Choose from which share of vehicle on an unfamiliar photo shows a car.

    Some known photos choose it, and pictures of no car: drawn ones, and those that the user gave.

    Args:
        refusal: with its gates.
        known: answers to photos that the model has not learnt.
        catalog: holds these photos.
        temperature: of the model's card.
        strangers: sets of photos of none of its classes.
        open_shown: opens the network that says what photos show; None if there is none.

    Returns:
        the refusal, and the answers with what those photos show, and those that the gates stop.
    """
    if open_shown is None:
        return replace(refusal, vehicle=None), known
    own, choosing = catalog.select(known.ids), _spread(len(known.ids))
    asked = {*choosing, *list_unfamiliar(known, refusal, temperature)}
    if known.shows is not None:
        asked -= set(np.flatnonzero(np.isfinite(known.shows).all(axis=1)).tolist())
    known = add_shown(known, own, sorted(asked), open_shown)
    given = [one.predictions.shows for one in strangers if one.group == "not a car"]
    others = [ask_drawn(open_shown), *(shows for shows in given if shows is not None)]
    cars = None if known.shows is None else known.shows[choosing]
    return replace(refusal, vehicle=choose_least_vehicle(cars, np.concatenate(others))), known


@lru_cache(maxsize=1)  # the same pictures for every model
def ask_drawn(open_shown: OpenShown) -> FloatArray:
    """SHOWN [N, S] of pictures without a car that lotlens draws."""
    with tempfile.TemporaryDirectory(prefix="lotlens-") as folder:
        size = (SHOWN_IMAGE.width, SHOWN_IMAGE.height)
        path = Path(folder) / "drawn.zip"
        drawn = make_negatives(path, (), num_per_kind=_NUM_SHOWN, size=size, seed=0)
        return ask_shown(open_shown, drawn)


def _spread(num_photos: int) -> list[int]:
    """Rows of MOST_ASKED photos at most, from all over them."""
    most = min(num_photos, MOST_ASKED)
    return sorted({*np.linspace(0, num_photos - 1, most).round().astype(int).tolist()})
