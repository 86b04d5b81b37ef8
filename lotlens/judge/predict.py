"""A model answers for every photo of a catalog; it does not know which model, nor the truth."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from lotlens.errors import BundleError, InputError
from lotlens.files import atomic_path
from lotlens.judge.tta import VIEWS, average_views, check_views
from lotlens.photos.prepare import normalise
from lotlens.photos.reading import read_ahead
from lotlens.records import (
    OK,
    CarClass,
    Catalog,
    FloatArray,
    ModelCard,
    Predictions,
    Predictor,
)

NO_NUMBER = "the model gave no number"


def predict(
    predictor: Predictor,
    catalog: Catalog,
    *,
    views: Sequence[str] | None = None,
    batch_size: int = 32,
    num_workers: int | None = None,
    keep_features: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Answer for every photo, averaging the views in log space.

    Photos are read and prepared by threads (Pillow decodes outside the interpreter's lock) while
    the model works; at most two batches wait, so memory does not grow with the catalog.

    Args:
        predictor: the model; its card says how photos are prepared.
        catalog: photos, labelled or not.
        views: names in `tta.VIEWS`; None for those of the model's card.
        batch_size: photos per call of the model.
        num_workers: threads that read photos; 0 to read in this one, None for one per core.
        keep_features: also keep the features of the first view.
        progress: called with (photos done, photos in all) after every batch.

    Returns:
        every id once, in catalog order; a photo without an answer has the reason as its status,
        and a poor one its flaw. The logits are raw: the temperature of the card is not applied.

    Raises:
        InputError: an unknown view.
        BundleError: the model's outputs do not match the classes on its card, or the card names
            views that are not known.
    """
    names = _read_views(predictor.card) if views is None else check_views(views)
    by_view = predict_views(
        predictor,
        catalog,
        views=names,
        batch_size=batch_size,
        num_workers=num_workers,
        keep_features=keep_features,
        progress=progress,
    )
    first = by_view[names[0]]
    logits = average_views([by_view[name].logits for name in names])
    return replace(first, logits=logits)


def predict_views(
    predictor: Predictor,
    catalog: Catalog,
    *,
    views: Sequence[str],
    batch_size: int = 32,
    num_workers: int | None = None,
    keep_features: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Predictions]:
    """Answer for every photo in each view apart, reading every photo once.

    Arguments and errors are those of `predict`.

    Returns:
        view name -> Predictions; all have the same statuses, and the first alone has features.
    """
    names = check_views(views)
    card = predictor.card
    num_photos, num_classes = len(catalog), len(card.classes)
    logits = {name: np.full((num_photos, num_classes), np.nan, np.float32) for name in names}
    features: FloatArray | None = None
    status, flaws = [OK] * num_photos, [""] * num_photos
    rows: list[int] = []
    waiting: list[NDArray[np.uint8]] = []

    def answer() -> None:
        nonlocal features
        batch = normalise(np.stack(waiting), card.image)
        for name in names:
            answers, found = predictor(VIEWS[name](batch, card.image))
            if answers.shape != (len(rows), num_classes):
                raise BundleError(
                    f"the model gives outputs of shape {answers.shape} for {len(rows)} photos and"
                    f" the {num_classes} classes on its card; make the bundle anew"
                )
            logits[name][rows] = answers
            if keep_features and name == names[0]:
                if features is None:
                    features = np.full((num_photos, found.shape[1]), np.nan, np.float32)
                features[rows] = found
        rows.clear()
        waiting.clear()

    stream = read_ahead(
        catalog.photos,
        card.image,
        num_workers=num_workers,
        num_ahead=2 * batch_size,
        find_flaws=True,
    )
    with closing(stream):  # so that the threads end here, whatever the model raises
        for row, loaded in enumerate(stream):
            status[row], flaws[row] = loaded.status, loaded.flaw
            if loaded.pixels is not None:
                rows.append(row)
                waiting.append(loaded.pixels)
            is_last = row == num_photos - 1
            if waiting and (is_last or len(waiting) == batch_size):
                answer()
            if progress is not None and (is_last or not waiting):
                progress(row + 1, num_photos)

    is_number = np.all([np.isfinite(values).all(axis=1) for values in logits.values()], axis=0)
    for row in np.flatnonzero(~is_number).tolist():
        if status[row] == OK:
            status[row] = NO_NUMBER
        for values in (*logits.values(), *(() if features is None else (features,))):
            values[row] = np.nan
    if keep_features and features is None:
        features = np.full((num_photos, 0), np.nan, np.float32)
    return {
        name: Predictions(
            catalog.ids,
            logits[name],
            features if name == names[0] else None,
            tuple(status),
            card.classes,
            tuple(flaws),
        )
        for name in names
    }


def _read_views(card: ModelCard) -> tuple[str, ...]:
    try:
        return check_views(card.views)
    except InputError as error:
        raise BundleError(
            f"the model's card is damaged, or of a newer lotlens: {error}; install a newer one, or"
            " choose the views anew"
        ) from error


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of several sets of photos, no photo in two, as one.

    Features of several models cannot be compared: those of a single part are kept, else none.
    Flaws and familiarity are kept if all parts have them.

    Raises:
        ValueError: parts of different classes, or a photo in two.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    ids = tuple(id_ for part in parts for id_ in part.ids)
    if len(set(ids)) < len(ids) or any(part.classes != first.classes for part in parts):
        raise ValueError("predictions to be joined must share their classes and no photo")
    scores = [part.familiarity for part in parts]
    return Predictions(
        ids,
        np.concatenate([part.logits for part in parts]),
        None,
        tuple(status for part in parts for status in part.status),
        first.classes,
        _join(part.flaws for part in parts),
        None if any(s is None for s in scores) else np.concatenate(scores),  # type: ignore[arg-type]
    )


def select_predictions(predictions: Predictions, ids: Sequence[str]) -> Predictions:
    """The answers to these photos, in the order of `ids`.

    Raises:
        ValueError: an id is not among them.
    """
    row_of = {id_: row for row, id_ in enumerate(predictions.ids)}
    missing = [id_ for id_ in ids if id_ not in row_of]
    if missing:
        raise ValueError(f"no answer to {len(missing)} photos, such as {missing[0]!r}")
    rows = [row_of[id_] for id_ in ids]
    features, flaws, scores = predictions.features, predictions.flaws, predictions.familiarity
    return replace(
        predictions,
        ids=tuple(ids),
        logits=predictions.logits[rows],
        features=None if features is None else features[rows],
        status=tuple(predictions.status[row] for row in rows),
        flaws=None if flaws is None else tuple(flaws[row] for row in rows),
        familiarity=None if scores is None else scores[rows],
    )


def order_classes(predictions: Predictions, classes: Sequence[CarClass]) -> Predictions:
    """The same answers with the columns in another order of classes, matched by label.

    Raises:
        KeyError: a class is not among them.
    """
    position = {car.label: column for column, car in enumerate(predictions.classes)}
    columns = [position[car.label] for car in classes]
    return replace(predictions, logits=predictions.logits[:, columns], classes=tuple(classes))


def _join(flaws: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    joined: list[str] = []
    for part in flaws:
        if part is None:
            return None
        joined.extend(part)
    return tuple(joined)


def probabilities(predictions: Predictions, temperature: float = 1.0) -> NDArray[np.float64]:
    """Softmax of the logits divided by the temperature.

    Returns:
        [N, K] float64; rows sum to 1, those without an answer are NaN.
    """
    scaled = predictions.logits.astype(np.float64) / temperature
    return np.asarray(softmax(scaled, axis=1)) if scaled.size else scaled


def to_frame(predictions: Predictions, temperature: float = 1.0) -> pd.DataFrame:
    """A table for people: the two likeliest classes of every photo.

    Returns:
        columns id, status, label, name, probability, second_name, second_probability; one row
        per photo in order, empty (None, NaN) where there is no answer or no second class.
    """
    chances = probabilities(predictions, temperature)
    order = np.argsort(-chances, axis=1, kind="stable")
    rows = []
    for row, (id_, status) in enumerate(zip(predictions.ids, predictions.status, strict=True)):
        ranked = [
            (predictions.classes[position], float(chances[row, position]))
            for position in order[row, :2]
            if status == OK
        ]
        first, chance = ranked[0] if ranked else (None, float("nan"))
        second, second_chance = ranked[1] if len(ranked) > 1 else (None, float("nan"))
        rows.append(
            {
                "id": id_,
                "status": status,
                "label": first and first.label,
                "name": first and first.name,
                "probability": chance,
                "second_name": second and second.name,
                "second_probability": second_chance,
            }
        )
    columns = ["id", "status", "label", "name", "probability", "second_name", "second_probability"]
    return pd.DataFrame(rows, columns=columns)


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as an .npz archive without pickles, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    arrays: dict[str, Any] = {
        "ids": np.array(predictions.ids, dtype=np.str_),
        "status": np.array(predictions.status, dtype=np.str_),
        "labels": np.array([car.label for car in predictions.classes], dtype=np.str_),
        "names": np.array([car.name for car in predictions.classes], dtype=np.str_),
        "logits": predictions.logits,
    }
    if predictions.features is not None:
        arrays["features"] = predictions.features
    if predictions.flaws is not None:
        arrays["flaws"] = np.array(predictions.flaws, dtype=np.str_)
    if predictions.familiarity is not None:
        arrays["familiarity"] = predictions.familiarity
    with atomic_path(path) as part_path, part_path.open("xb") as file:
        np.savez_compressed(file, **arrays)


def load_predictions(path: Path) -> Predictions:
    """Read what `save_predictions` wrote; nothing in the file is ever executed.

    Raises:
        BundleError: the file is missing, damaged or no file of predictions.
    """
    try:
        # Opened here, since np.load leaves the file open if it turns out to be damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            classes = zip(arrays["labels"].tolist(), arrays["names"].tolist(), strict=True)
            return Predictions(
                tuple(arrays["ids"].tolist()),
                arrays["logits"],
                arrays.get("features"),
                tuple(arrays["status"].tolist()),
                tuple(CarClass(label, name) for label, name in classes),
                tuple(map(str, arrays["flaws"].tolist())) if "flaws" in arrays else None,
                np.asarray(arrays["familiarity"], np.float32) if "familiarity" in arrays else None,
            )
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise BundleError(f"the predictions {path} cannot be read: {error}") from error
