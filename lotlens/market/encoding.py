"""Adverts as numbers that prices can be learnt from; it knows no price."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotlens.market.listings import Listing
from lotlens.naming import fold_name

_MOST_CATEGORIES = 250

# Standard deviations of effects on the log price, set by hand and not tuned: makes differ by half,
# models of a make by 40 %, and so on.
EFFECTS: Mapping[tuple[str, ...], float] = {
    ("make",): 0.5, ("car",): 0.4, ("car", "generation"): 0.2, ("car", "engine"): 0.1,
    ("trim",): 0.05, ("car", "trim"): 0.08, ("city",): 0.05, ("region",): 0.1, ("body",): 0.2,
    ("car", "body"): 0.1, ("gearbox",): 0.1, ("car", "gearbox"): 0.07, ("drive",): 0.1,
    ("car", "drive"): 0.07, ("fuel",): 0.1, ("wheel",): 0.1, ("color",): 0.03, ("pts",): 0.03,
    ("options",): 0.1, ("seller",): 0.05, ("year",): 0.3,
}  # fmt: skip
_SLOPES = {"age": 0.25, "power": 0.25, "mileage": 0.1}
_SLOPED = (("make",), ("car",), ("car", "generation"))
_FIXED = 3.0
BOOSTED = (
    "make", "region", "body", "gearbox", "drive", "fuel", "wheel", "color", "pts", "options",
    "seller",
)  # fmt: skip
NUM_NUMBERS = 5
_KNOTS = ((0.2, 0.5, 1, 1.5, 2, 3), (0.4, 0.6, 0.8, 0.9, 1, 1.1), (-0.5, 0, 0.5), (0,), ())
"""Where the lines of age, mileage, power, volume and owners bend; see `_scale`."""
LONGEST_WORD = 500
"""Letters; what goes on is cut off."""
_BETWEEN = "|"
"""Between words of a category of several; folded words have no such sign."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Encoded:
    """Adverts as numbers; nothing in it depends on a price.

    Attributes:
        codes: names of categories -> [N] the code of each row's; -1 where it is unknown.
        numbers: [N, 5] age, log mileage, power, volume, owners; NaN where not known.
        categories: [N, C] codes of BOOSTED for gradient boosting, NaN for rare ones.
        design: [N, P] sparse, of the linear model, each column times its prior standard deviation.
    """

    codes: Mapping[tuple[str, ...], IntArray]
    numbers: FloatArray
    categories: FloatArray
    design: Any = field(repr=False)

    @classmethod
    def of(cls, rows: Sequence[Listing]) -> Encoded:
        """All adverts that are learnt from or asked about; at least one has a year."""
        return Encoding.of(rows).encode(rows)


@dataclass(frozen=True)
class Encoding:
    """How adverts become numbers, learnt from some of them, for others too.

    Attributes:
        newest: the year of the newest car; ages are counted from it.
        words: names of categories -> words -> code, from 0 in this order.
        common: name of BOOSTED -> its commonest codes, in the order of their new numbers.
        middles: of numbers, as the linear model has them, what stands for a missing one.
    """

    newest: int
    words: Mapping[tuple[str, ...], Mapping[str, int]]
    common: Mapping[str, tuple[int, ...]]
    middles: tuple[float, ...]

    @classmethod
    def of(cls, rows: Sequence[Listing]) -> Encoding:
        """Learn it; at least one row has a year."""
        newest = max(row.year for row in rows if row.year is not None)
        words: dict[tuple[str, ...], dict[str, int]] = {}
        common = {}
        for names in EFFECTS:
            known: dict[str, int] = {}
            codes = [known.setdefault(word, len(known)) for word in _list_words(rows, names)]
            words[names] = known
            if names[0] in BOOSTED and len(names) == 1:
                order = np.argsort(-np.bincount(codes), kind="stable")
                common[names[0]] = tuple(order[:_MOST_CATEGORIES].tolist())
        scaled = _scale(_count(rows, newest))
        middles = [
            float(np.nanmedian(column)) if not np.isnan(column).all() else 0.0
            for column in scaled.T
        ]
        return cls(newest, words, common, tuple(middles))

    @property
    def width(self) -> int:
        """Columns of the linear model."""
        fixed = sum(2 + len(knots) for knots in _KNOTS)
        return fixed + sum(
            len(known) * (1 + len(_SLOPES) * (names in _SLOPED))
            for names, known in self.words.items()
        )

    def encode(self, rows: Sequence[Listing]) -> Encoded:
        """Adverts as numbers; words that were not seen before have no effect."""
        numbers = _count(rows, self.newest)
        codes = {
            names: np.array([known.get(word, -1) for word in _list_words(rows, names)], np.int64)
            for names, known in self.words.items()
        }
        categories = np.column_stack([self._number(name, codes[name,]) for name in BOOSTED])
        return Encoded(codes, numbers, categories, self._build_design(numbers, codes))

    def _number(self, name: str, codes: IntArray) -> FloatArray:
        new = np.full(len(self.words[name,]) + 1, np.nan)  # the last is what -1 finds
        new[list(self.common[name])] = np.arange(len(self.common[name]))
        numbered: FloatArray = new[codes]
        return numbered

    def _build_design(self, numbers: FloatArray, codes: Mapping[tuple[str, ...], IntArray]) -> Any:
        from scipy import sparse

        scaled = _scale(numbers)
        bent = [
            _bend(column, knots, middle)
            for column, knots, middle in zip(scaled.T, _KNOTS, self.middles, strict=True)
        ]
        blocks = [sparse.csr_matrix(_FIXED * np.hstack(bent))]
        slopes = {
            "age": np.nan_to_num(scaled[:, 0] - 1),
            "power": np.nan_to_num(scaled[:, 2]),
            "mileage": np.nan_to_num(numbers[:, 1] - 4.5),
        }
        for names, spread in EFFECTS.items():
            code = codes[names]
            known = np.flatnonzero(code >= 0)
            shape = (len(code), len(self.words[names]))
            one = sparse.csr_matrix((np.ones(len(known)), (known, code[known])), shape=shape)
            blocks.append(one * spread)
            if names in _SLOPED:
                blocks += [
                    sparse.diags(value) @ one * _SLOPES[which] for which, value in slopes.items()
                ]
        return sparse.hstack(blocks).tocsr()


def _count(rows: Sequence[Listing], newest: int) -> FloatArray:
    """[N, 5] age, log mileage, power, volume, owners."""
    return np.array(
        [
            (
                np.nan if row.year is None else newest - row.year,
                np.nan if row.mileage is None else math.log1p(row.mileage / 1000),
                np.nan if row.power is None else row.power,
                np.nan if row.volume is None else row.volume,
                np.nan if row.owners is None else row.owners,
            )
            for row in rows
        ],
        np.float64,
    ).reshape(-1, NUM_NUMBERS)


def _scale(numbers: FloatArray) -> FloatArray:
    """[N, 5] the same as the linear model has them."""
    age, mileage, power, volume, owners = numbers.T
    return np.column_stack(
        [age / 10, mileage / 5, np.log(power / 150), np.log(volume / 2), owners / 4]
    )


def _bend(values: FloatArray, knots: Sequence[float], middle: float) -> FloatArray:
    """A number as a bent line: whether it is missing, itself, and what exceeds each knot."""
    missing = np.isnan(values)
    filled = np.where(missing, middle, values)
    return np.column_stack([missing, filled, *(np.maximum(filled - knot, 0) for knot in knots)])


def _list_words(rows: Sequence[Listing], names: tuple[str, ...]) -> Iterable[str]:
    return (_BETWEEN.join([_say(row, name) for name in names])[:LONGEST_WORD] for row in rows)


def _say(row: Listing, name: str) -> str:
    if name == "year":
        return str(row.year)
    if name in ("make", "car"):
        return fold_name(row.make if name == "make" else row.car)
    return fold_name(row.facts.get(name, ""))
