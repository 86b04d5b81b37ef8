"""Answers to photos as a record: joined, chosen, reordered, and kept in a file."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotlens.answering.logits import softmax
from lotlens.errors import BundleError
from lotlens.files import write_bytes_atomically
from lotlens.records import FAMILIARITIES, OK, CarClass, FloatArray, Predictions
from lotlens.values import load_arrays

COLUMNS = ("id", "status", "label", "name", "probability", "second_name", "second_probability")
"""Of `to_rows`, which has BOX beside them."""
BOX = "box"


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of several sets of photos, no photo in two, as one.

    Features of several models cannot be compared: those of a single part are kept, else none.
    Flaws and familiarity are kept if all parts have them, what photos show and where their cars
    are if any part knows.

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
        _join_known([part.shows for part in parts], parts),
        _join_known([part.boxes for part in parts], parts),
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
    return take_rows(predictions, [row_of[id_] for id_ in ids])


def take_rows(predictions: Predictions, rows: Sequence[int]) -> Predictions:
    """The answers in these rows, in their order."""
    rows = list(rows)  # numpy takes an empty range for no index
    features, flaws, scores = predictions.features, predictions.flaws, predictions.familiarity
    shows, boxes = predictions.shows, predictions.boxes
    return replace(
        predictions,
        ids=tuple(predictions.ids[row] for row in rows),
        logits=predictions.logits[rows],
        features=None if features is None else features[rows],
        status=tuple(predictions.status[row] for row in rows),
        flaws=None if flaws is None else tuple(flaws[row] for row in rows),
        familiarity=None if scores is None else scores[rows],
        shows=None if shows is None else shows[rows],
        boxes=None if boxes is None else boxes[rows],
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


def _join_known(
    found: Sequence[FloatArray | None], parts: Sequence[Predictions]
) -> FloatArray | None:
    """What is known of each part's photos; of a part where nobody looked, no numbers."""
    num_columns = next((one.shape[1] for one in found if one is not None), None)
    if num_columns is None:
        return None
    return np.concatenate(
        [
            np.full((len(part.ids), num_columns), np.nan, np.float32) if own is None else own
            for own, part in zip(found, parts, strict=True)
        ]
    )


def probabilities(predictions: Predictions, temperature: float = 1.0) -> NDArray[np.float64]:
    """Softmax of the logits divided by the temperature.

    Returns:
        [N, K] float64; rows sum to 1, those without an answer are NaN.
    """
    scaled = predictions.logits.astype(np.float64) / temperature
    return softmax(scaled) if scaled.size else scaled


def to_rows(predictions: Predictions, temperature: float = 1.0) -> list[dict[str, Any]]:
    """For people: the two likeliest classes of every photo.

    Returns:
        one row per photo in order: id, status, label, name, probability, second_name,
        second_probability, box; None and NaN where there is no answer or no second class. The box
        is the car's, left, top, right and bottom as shares of width and height; None where none
        was found, or none is looked for.
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
        box = predictions.get_box(row)
        values = (
            *(id_, status, first and first.label, first and first.name, chance),
            *(second and second.name, second_chance, None if box is None else str(box)),
        )
        rows.append(dict(zip((*COLUMNS, BOX), values, strict=True)))
    return rows


def save_predictions(path: Path, predictions: Predictions) -> str:
    """Write predictions as an .npz archive without pickles, whole or not at all.

    Returns:
        the file's SHA-256, in hex.

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
    if predictions.shows is not None:
        arrays["shows"] = predictions.shows
    if predictions.boxes is not None:
        arrays["boxes"] = predictions.boxes
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    data = stream.getvalue()
    write_bytes_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def load_predictions(path: Path, sha256: str = "") -> Predictions:
    """Read what `save_predictions` wrote; nothing in the file is ever executed.

    Args:
        path: the file.
        sha256: what `save_predictions` gave for it; "" where that is not known.

    Raises:
        BundleError: the file is missing, damaged, no file of predictions, or another one.
    """
    try:
        if not path.is_file():  # a pipe would keep us waiting for ever
            raise ValueError("no such file")
        with path.open("rb") as file:
            if sha256 and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise ValueError("they are not those that the model card describes")
            file.seek(0)
            return _check_arrays(load_arrays(file))
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        TypeError,
        NotImplementedError,
        RuntimeError,
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise BundleError(f"the predictions {path} cannot be read: {error}") from error


def _widen(familiarity: NDArray[Any]) -> NDArray[np.float32]:
    """With the columns that a lotlens of before did not measure, as not measured."""
    missing = max(len(FAMILIARITIES) - familiarity.shape[1], 0)
    wide = np.pad(familiarity.astype(np.float32), ((0, 0), (0, missing)), constant_values=np.nan)
    return np.asarray(wide, np.float32)


_FLOATS = (np.float16, np.float32)


def _check_arrays(arrays: Mapping[str, NDArray[Any]]) -> Predictions:
    """Predictions of the arrays that `save_predictions` writes.

    Raises:
        KeyError, ValueError: they are others, or do not belong together.
    """
    names = ("labels", "names", "ids", "status", *(["flaws"] if "flaws" in arrays else []))
    for name in names:
        if arrays[name].ndim != 1 or arrays[name].dtype.kind != "U":
            raise ValueError(f"{name} must be a row of texts")
    labels, ids = arrays["labels"].tolist(), tuple(arrays["ids"].tolist())
    for name, values in (("labels", labels), ("ids", ids)):
        if len(set(values)) < len(values):
            raise ValueError(f"{name} must differ from one another")
    for name in {"logits", "features", "familiarity", "shows", "boxes"} & set(arrays):
        array = arrays[name]
        if array.ndim != 2 or len(array) != len(ids) or array.dtype not in _FLOATS:
            raise ValueError(f"{name} must be a table of numbers with a row for each of the photos")
    logits = arrays["logits"]
    if logits.shape[1] != len(labels):
        raise ValueError(f"{logits.shape[1]} columns of logits for {len(labels)} classes")
    predictions = Predictions(
        ids,
        logits,
        arrays.get("features"),
        tuple(arrays["status"].tolist()),
        tuple(CarClass(*both) for both in zip(labels, arrays["names"].tolist(), strict=True)),
        tuple(arrays["flaws"].tolist()) if "flaws" in arrays else None,
        _widen(arrays["familiarity"]) if "familiarity" in arrays else None,
        np.asarray(arrays["shows"], np.float32) if "shows" in arrays else None,
        np.asarray(arrays["boxes"], np.float32) if "boxes" in arrays else None,
    )
    for row in range(len(ids)):
        predictions.get_box(row)  # ValueError if there is one that lies outside its photo
    if not np.isfinite(logits[predictions.answered]).all():
        raise ValueError("photos that were answered have logits that are no numbers")
    return predictions
