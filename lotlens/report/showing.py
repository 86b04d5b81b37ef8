"""The pictures and the table of confusions of a report, laid out; it writes no page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotlens.judge.metrics import Answer, ClassScore, ConfusionPair
from lotlens.records import FloatArray, HeatMaps, ModelCard
from lotlens.report.pictures import Album

_LARGE_SIZE = (720, 540)
_HEAT_SIZE = (480, 360)
_MOST_MATRIX_CLASSES = 30
_MOST_OF_WRONG_CELL, _MOST_OF_RIGHT_CELL = 60, 6
_MOST_OF_PAIR, _MOST_OF_ERROR = 4, 1


@dataclass(frozen=True)
class _Photo:
    """A photo as the page shows it: what was said of it, and its picture if there is one."""

    answer: Answer
    thumbnail: bytes | None


@dataclass(frozen=True)
class _Error:
    """A wrong answer, where the model looked, and recognised photos of both classes."""

    answer: Answer
    picture: bytes | None
    said_heat: bytes | None
    truth_heat: bytes | None
    of_true: Sequence[_Photo]
    of_predicted: Sequence[_Photo]


@dataclass(frozen=True)
class _Pair:
    """A common confusion: its photos, and recognised ones of both classes."""

    pair: ConfusionPair
    photos: Sequence[_Photo]
    of_true: Sequence[_Photo]
    of_predicted: Sequence[_Photo]


@dataclass(frozen=True)
class _Cell:
    """What stands behind one number of the table of confusions."""

    id: str
    true: str
    predicted: str
    is_right: bool
    count: int
    photos: list[_Photo]


class Showing:
    """Takes pictures out of an album for each part of the page."""

    def __init__(
        self,
        album: Album,
        answers: Sequence[Answer],
        card: ModelCard,
        heat_maps: Mapping[str, HeatMaps],
        features: Mapping[str, FloatArray],
    ) -> None:
        self._album = album
        self._card = card
        self._heat_maps = heat_maps
        self._features = features
        self._by_id = {answer.photo_id: answer for answer in answers}
        self._by_cell: dict[tuple[str, str], list[Answer]] = defaultdict(list)
        for answer in answers:
            self._by_cell[answer.true.label, answer.predicted.label].append(answer)
        for group in self._by_cell.values():
            group.sort(key=lambda answer: -answer.probability)

    def show_error(self, answer: Answer) -> _Error:
        maps = self._heat_maps.get(answer.photo_id)

        def show_heat(which: str) -> bytes | None:
            if maps is None:
                return None
            heat = maps.said if which == "said" else maps.truth
            image = self._card.image
            return self._album.show_heat(answer.photo_id, heat, image, _HEAT_SIZE, maps.box)

        return _Error(
            answer,
            self._album.show(answer.photo_id, _LARGE_SIZE),
            show_heat("said"),
            show_heat("truth"),
            self._show_class(answer.true.label, answer.photo_id, _MOST_OF_ERROR),
            self._show_class(answer.predicted.label, answer.photo_id, _MOST_OF_ERROR),
        )

    def show_pair(self, pair: ConfusionPair) -> _Pair:
        known = [self._by_id[id_] for id_ in pair.example_ids if id_ in self._by_id]
        photos = [_Photo(a, self._album.show(a.photo_id)) for a in known[:_MOST_OF_PAIR]]
        num_rows = (len(photos) + 1) // 2
        near = known[0].photo_id if known else ""
        return _Pair(
            pair,
            photos,
            self._show_class(pair.true.label, near, num_rows),
            self._show_class(pair.predicted.label, near, num_rows),
        )

    def fill_cells(
        self,
        scores: Sequence[ClassScore],
        positions: Sequence[int],
        confusions: NDArray[np.int64],
    ) -> list[_Cell]:
        """The cells that have photos; the photos go round the wrong ones first."""
        cells = []
        for i in positions:
            for j in positions:
                count = int(confusions[i, j])
                true, predicted = scores[i].car, scores[j].car
                group = self._by_cell.get((true.label, predicted.label), [])
                if not count or not group:
                    continue
                # Of what is right, the least sure is nearest to an error.
                ranked = group[::-1] if i == j else group
                cell = _Cell(_name_cell(i, j), true.name, predicted.name, i == j, count, [])
                cells.append((cell, ranked))
        for is_right, most in ((False, _MOST_OF_WRONG_CELL), (True, _MOST_OF_RIGHT_CELL)):
            turns = [row for row in cells if row[0].is_right == is_right]
            for rank in range(most):
                for cell, ranked in turns:
                    if rank < len(ranked) and not self._album.is_full:
                        answer = ranked[rank]
                        cell.photos.append(_Photo(answer, self._album.show(answer.photo_id)))
        return [cell for cell, _ in cells if cell.photos]

    def _show_class(self, label: str, near: str, most: int) -> list[_Photo]:
        """Recognised photos of a class, those that look most like the photo `near` first.

        That is by the network's features; where they are not known, the surest come first. Photos
        that cannot be read are left out.
        """
        shown: list[_Photo] = []
        for answer in self._rank(self._by_cell.get((label, label), ()), near)[: 3 * most]:
            if len(shown) == most:
                break
            thumbnail = self._album.show(answer.photo_id)
            if thumbnail is not None:
                shown.append(_Photo(answer, thumbnail))
        return shown

    def _rank(self, answers: Sequence[Answer], near: str) -> Sequence[Answer]:
        known = [answer for answer in answers if answer.photo_id in self._features]
        if near not in self._features or not known:
            return answers
        features = np.stack([self._features[answer.photo_id] for answer in known])
        asked = self._features[near]
        lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(asked)
        likeness = features @ asked / np.maximum(lengths, 1e-12)
        return [known[at] for at in np.argsort(-likeness, kind="stable").tolist()]


def _name_cell(true: int, predicted: int) -> str:
    """The place of a cell in the page; classes are counted from 1."""
    return f"cell-{true + 1}-{predicted + 1}"


@dataclass(frozen=True)
class _Matrix:
    """What the page shows of the confusions: per class its number and name, per cell a colour."""

    positions: list[int]
    names: list[str]
    rows: list[list[dict[str, Any]]]
    is_part: bool

    @property
    def cell_px(self) -> int:
        """How wide a cell is on a large screen: few classes need not huddle in a corner."""
        return min(54, max(34, 700 // max(1, len(self.names))))


def lay_out_matrix(scores: Sequence[ClassScore], confusions: NDArray[np.int64]) -> _Matrix:
    """All classes, or of very many those that are most often taken for another."""
    shown = np.arange(len(scores))
    if len(scores) > _MOST_MATRIX_CLASSES:
        off = confusions - np.diag(np.diag(confusions))
        mistaken = off.sum(axis=0) + off.sum(axis=1)
        shown = np.sort(np.argsort(-mistaken, kind="stable")[:_MOST_MATRIX_CLASSES])
    totals = confusions.sum(axis=1)
    rows = []
    for i in shown.tolist():
        cells = []
        for j in shown.tolist():
            count = int(confusions[i, j])
            share = count / totals[i] if totals[i] else 0.0
            cells.append(
                {
                    "id": _name_cell(i, j),
                    "count": count,
                    "style": _colour_cell(share, i == j) if count else "",
                }
            )
        rows.append(cells)
    names = [scores[i].car.name for i in shown.tolist()]
    return _Matrix(shown.tolist(), names, rows, len(shown) < len(scores))


def _colour_cell(share: float, is_right: bool) -> str:
    """From near white to full colour, with black or white text, whichever is read more easily."""
    full = (8, 58, 138) if is_right else (194, 80, 10)
    # Errors are small shares: a steeper start keeps even a single one visible.
    depth = 0.12 + 0.88 * (share if is_right else min(1.0, 2 * share))
    colour = [round(255 + (channel - 255) * depth) for channel in full]
    # Relative luminance, and where black and white contrast alike (WCAG 2.2).
    part = np.divide(colour, 255)
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    text = "#000" if luminance > 0.179 else "#fff"
    return f"background:rgb({','.join(map(str, colour))});color:{text}"
