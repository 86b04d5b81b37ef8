"""A model answers for every photo of a catalog; it does not know which model, nor the truth."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lotlens.answering.views import VIEWS, average_views, check_views
from lotlens.errors import BundleError, InputError
from lotlens.photos.archives import PhotoReader
from lotlens.photos.prepare import normalise
from lotlens.photos.reading import LoadedPhoto, load_photo, read_ahead, read_photo
from lotlens.records import (
    OK,
    Box,
    CarLocator,
    Catalog,
    FloatArray,
    ModelCard,
    Photo,
    Predictions,
    Predictor,
)
from lotlens.threads import map_ahead

NO_NUMBER = "the model gave no number"


@dataclass(frozen=True)
class Piece:
    """Answers to some photos that follow one another in a catalog.

    Attributes:
        start: row of the first of them.
        status: one per photo, see `Predictions`.
        flaws: likewise.
        rows: of the photos that were read, from 0 in this piece.
        logits: view name -> [R, K] float32, for those rows.
        features: [R, F] of the first view, likewise; None if not kept, or without a row.
        boxes: where the car of each photo was found; None where it was not, or not looked for.
    """

    start: int
    status: Sequence[str]
    flaws: Sequence[str]
    rows: Sequence[int]
    logits: Mapping[str, FloatArray]
    features: FloatArray | None
    boxes: Sequence[Box | None]


def predict(
    predictor: Predictor,
    catalog: Catalog,
    *,
    views: Sequence[str] | None = None,
    batch_size: int | None = None,
    num_workers: int | None = None,
    keep_features: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Answer for every photo, averaging the views in log space.

    Photos are read and prepared by threads (Pillow decodes outside the interpreter's lock) while
    the model works; at most a few batches wait, so memory does not grow with the catalog but by
    the answers.

    Args:
        predictor: the model; its card says how photos are prepared.
        catalog: photos, labelled or not.
        views: names in `views.VIEWS`; None for those of the model's card.
        batch_size: photos per call of the model; None for what suits it.
        num_workers: threads that read photos for a predictor that is called by one thread; 0 to
            read in this one, None for one per core.
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
    names = read_views(predictor.card) if views is None else check_views(views)
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
    batch_size: int | None = None,
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
    pieces = answer_pieces(
        predictor,
        catalog.photos,
        views=names,
        batch_size=batch_size,
        num_workers=num_workers,
        keep_features=keep_features,
    )
    collected = []
    with closing(pieces):
        for piece in pieces:
            collected.append(piece)
            if progress is not None:
                progress(piece.start + len(piece.status), len(catalog))
    return join_pieces(collected, catalog.ids, predictor.card, names, keep_features=keep_features)


def answer_bytes(
    predictor: Predictor,
    photos: Sequence[bytes],
    ids: Sequence[str],
    *,
    keep_features: bool = False,
) -> Predictions:
    """As `predict`, of photos whose bytes are at hand, in the caller's thread and as one batch.

    As many threads as the predictor has streams may ask at the same time.

    Args:
        predictor: the model.
        photos: the files' bytes.
        ids: one for each of them.
        keep_features: also keep the features of the first view.

    Raises:
        BundleError: as `predict`.
    """
    views = read_views(predictor.card)
    image, locate = predictor.card.image, _find_locator(predictor)
    loaded = [load_photo(data, image, find_flaws=True, locate=locate) for data in photos]
    with ONE_BLAS_THREAD:
        piece = _Asking(predictor, views, keep_features)(0, loaded)
    by_view = join_pieces([piece], ids, predictor.card, views, keep_features=keep_features)
    return replace(by_view[views[0]], logits=average_views([by_view[v].logits for v in views]))


def answer_pieces(
    predictor: Predictor,
    photos: Sequence[Photo],
    *,
    views: Sequence[str],
    batch_size: int | None = None,
    num_workers: int | None = None,
    keep_features: bool = False,
) -> Generator[Piece, None, None]:
    """Answers batch by batch, in order; close the generator to end its threads early.

    A predictor that may be called by one thread alone works in the caller's, while others read
    ahead. One with several streams is called by as many threads, each of which reads, prepares and
    answers a batch: none of them ever waits for another.

    Arguments and errors are those of `predict`; `views` are known ones.
    """
    num_streams = predictor.num_streams
    # Never by the number of photos: fewer are left where an answering goes on, and batches of
    # another size may give other bits.
    size = batch_size or predictor.batch_size
    ask = _Asking(predictor, tuple(views), keep_features)
    if num_streams > 1:
        yield from _answer_in_threads(ask, photos, size, num_streams)
        return
    stream = read_ahead(
        photos,
        predictor.card.image,
        num_workers=num_workers,
        num_ahead=2 * size,
        find_flaws=True,
        locate=_find_locator(predictor),
    )
    with closing(stream):  # so that the threads end here, whatever the model raises
        for start in range(0, len(photos), size):
            count = min(size, len(photos) - start)
            yield ask(start, [next(stream) for _ in range(count)])


def join_pieces(
    pieces: Iterable[Piece],
    ids: Sequence[str],
    card: ModelCard,
    views: Sequence[str],
    *,
    keep_features: bool,
) -> dict[str, Predictions]:
    """Pieces that follow one another, as Predictions by view.

    Args:
        pieces: at least as many photos as there are ids.
        ids: of the photos, from the first piece's first on.
        card: of the model that answered.
        views: as it was asked.
        keep_features: whether it was asked to.
    """
    num_photos, num_classes = len(ids), len(card.classes)
    logits = {name: np.full((num_photos, num_classes), np.nan, np.float32) for name in views}
    features: FloatArray | None = None
    status, flaws = [OK] * num_photos, [""] * num_photos
    boxes: FloatArray | None = None
    if card.image.locate != "none":
        boxes = np.full((num_photos, len(Box.__slots__)), np.nan, np.float32)
    first: int | None = None
    for piece in pieces:
        first = piece.start if first is None else first
        at = piece.start - first
        status[at : at + len(piece.status)] = piece.status
        flaws[at : at + len(piece.flaws)] = piece.flaws
        for row, box in enumerate(piece.boxes, start=at):
            if boxes is not None and box is not None:
                boxes[row] = box.values
        rows = [at + row for row in piece.rows]
        for name, values in piece.logits.items():
            logits[name][rows] = values
        if piece.features is not None:
            if features is None:
                features = np.full((num_photos, piece.features.shape[1]), np.nan, np.float32)
            features[rows] = piece.features
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
            tuple(ids),
            logits[name],
            features if name == views[0] else None,
            tuple(status),
            card.classes,
            tuple(flaws),
            boxes=boxes,
        )
        for name in views
    }


@dataclass(frozen=True)
class _Asking:
    """Asks a predictor about photos that were read."""

    predictor: Predictor
    views: tuple[str, ...]
    keep_features: bool

    def __call__(self, start: int, photos: Sequence[LoadedPhoto]) -> Piece:
        rows = [row for row, photo in enumerate(photos) if photo.pixels is not None]
        logits: dict[str, FloatArray] = {}
        features: FloatArray | None = None
        if rows:
            image = self.predictor.card.image
            batch = normalise(np.stack([photos[row].pixels for row in rows]), image)  # type: ignore[misc]
            for name in self.views:
                outputs, found = self.predictor(VIEWS[name](batch, image))
                self._check(outputs, found, len(rows))
                # What is said of other cars is a matter of familiarity, not of the classes.
                logits[name] = outputs[:, : len(self.predictor.card.classes)]
                if self.keep_features and name == self.views[0]:
                    features = found
        status, flaws = [photo.status for photo in photos], [photo.flaw for photo in photos]
        boxes = [photo.box for photo in photos]
        return Piece(start, status, flaws, rows, logits, features, boxes)

    def _check(self, logits: FloatArray, features: FloatArray, num_photos: int) -> None:
        card = self.predictor.card
        if logits.shape != (num_photos, len(card.classes) + card.has_others):
            raise BundleError(
                f"the model gives outputs of shape {logits.shape} for {num_photos} photos and"
                f" the {len(card.classes)} classes on its card; make the bundle anew"
            )
        if features.ndim != 2 or len(features) != num_photos:
            raise BundleError(
                f"the model gives features of shape {features.shape} for {num_photos} photos; make"
                " the bundle anew"
            )


class _BlasLimit:
    """While anybody is in it, products of matrices take one thread each.

    Several threads that answer, each of whose products wakes threads of its own, wait for one
    another: half as many photos a second (measured). With one that answers, theirs spin for a while
    after each product, and take a core from what comes next. Generators enter and leave in any
    order, so the limit is lifted by the last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._controller: Any = None
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._count == 0:
                import threadpoolctl  # not needed for a single photo of a folder

                # To look for libraries takes milliseconds, and it is numpy's that answers.
                if self._controller is None:
                    self._controller = threadpoolctl.ThreadpoolController()
                _take_control(threadpoolctl)
                self._limit = self._controller.limit(limits=1, user_api="blas")
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0:
                import threadpoolctl

                _take_control(threadpoolctl)
                self._limit.restore_original_limits()
                _take_control(threadpoolctl)  # and leave it to whoever comes next


def _take_control(threadpoolctl: Any) -> None:
    """Let this thread set a limit.

    From threadpoolctl 3.8 on the first thread that sets one is the only one that may, until it is
    done or says so; what others set is ignored without a word.
    """
    library: Any = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(library, "clear_controlling_thread"):
        library.clear_controlling_thread(force=True)


ONE_BLAS_THREAD = _BlasLimit()
"""To be held while threads answer."""


def _answer_in_threads(
    ask: _Asking, photos: Sequence[Photo], size: int, num_threads: int
) -> Generator[Piece, None, None]:
    image, locate = ask.predictor.card.image, _find_locator(ask.predictor)
    with PhotoReader() as reader, ONE_BLAS_THREAD:

        def read(photo: Photo) -> LoadedPhoto:
            return read_photo(reader, photo, image, find_flaws=True, locate=locate)

        def answer(start: int) -> Piece:
            return ask(start, [read(one) for one in photos[start : start + size]])

        yield from map_ahead(
            answer,
            range(0, len(photos), size),
            num_threads=num_threads,
            num_ahead=2 * num_threads,  # so that no thread waits for a slow batch in front
            name="answers",
        )


def _find_locator(predictor: Predictor) -> CarLocator | None:
    """What finds cars for a model, where its card says that they are found first."""
    return None if predictor.card.image.locate == "none" else predictor.locate


def read_views(card: ModelCard) -> tuple[str, ...]:
    """The views of a model's card.

    Raises:
        BundleError: it names views that are not known.
    """
    try:
        return check_views(card.views)
    except InputError as error:
        raise BundleError(
            f"the model's card is damaged, or of a newer lotlens: {error}; install a newer one, or"
            " choose the views anew"
        ) from error
