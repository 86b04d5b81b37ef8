"""Boosted regression trees as arrays: learnt by scikit-learn, evaluated and kept without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotlens.values import read_fields, read_list, read_number, read_whole, require_fields

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOST_CODES = 256
"""Codes of a category from 0 on that trees can tell apart."""
_MOST_TREES, _MOST_NODES, _MOST_OF_TREE, _MOST_CHOICES = 2_000, 200_000, 128, 50_000
_LARGEST = 1e14
_PIECE = 8_192
"""Rows that are sent through the trees at once: what is looked up for them stays in the cache."""


@dataclass(frozen=True)
class Trees:
    """The sum of many trees.

    Nodes of all trees stand one after the other, those of a tree with its root first and each
    before its children; a leaf is its own left child.

    Attributes:
        base: what the trees are added to.
        num_inputs: columns that it takes.
        starts: [T] where each tree begins among the nodes.
        column, threshold, left, right, value: [M] of each node: the input that it asks for, up to
            which value (of a number) the way goes left, positions of its children among all nodes,
            what a leaf adds.
        missing_left: [M] whether a missing input goes left.
        choice: [M] which row of `choices` tells the way; -1 where the threshold does.
        choices: [C, 256] whether a code goes left.
        known: column of a category -> [256] whether its codes were seen; others are missing.
    """

    base: float
    num_inputs: int
    starts: IntArray
    column: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    value: FloatArray
    missing_left: NDArray[np.bool_]
    choice: IntArray
    choices: NDArray[np.bool_]
    known: Mapping[int, NDArray[np.bool_]]

    def predict(self, inputs: FloatArray) -> FloatArray:
        """[N] sums, for inputs [N, num_inputs]; NaN is a missing one."""
        result = np.empty(len(inputs))
        for start in range(0, len(inputs), _PIECE):
            piece = inputs[start : start + _PIECE].copy()
            for column, known in self.known.items():
                piece[:, column] = _forget_unknown(piece[:, column], known)
            result[start : start + _PIECE] = self._add_up(piece)
        return result

    def _add_up(self, inputs: FloatArray) -> FloatArray:
        total = np.full(len(inputs), self.base)
        rows = np.arange(len(inputs))
        for root in self.starts.tolist():
            node = np.full(len(inputs), root)
            moving = rows
            # Children stand behind their parents, so that this ends.
            while len(moving := moving[self.left[node[moving]] != node[moving]]):
                at = node[moving]
                asked = inputs[moving, self.column[at]]
                goes_left = asked <= self.threshold[at]
                choice = self.choice[at]
                if (is_choice := choice >= 0).any():
                    code = np.nan_to_num(asked[is_choice]).astype(np.int64)
                    goes_left[is_choice] = self.choices[choice[is_choice], code]
                goes_left = np.where(np.isnan(asked), self.missing_left[at], goes_left)
                node[moving] = np.where(goes_left, self.left[at], self.right[at])
            total += self.value[node]
        return total

    @classmethod
    def of(cls, model: Any, told: NDArray[np.bool_]) -> Trees:
        """What scikit-learn's HistGradientBoostingRegressor has learnt.

        Its trees are private to it: who keeps them compares `predict` with the model's.

        Args:
            model: fitted on some columns.
            told: [num_inputs] which of all they are.
        """
        columns = np.flatnonzero(told)
        known: dict[int, NDArray[np.bool_]] = {}
        codes_of: dict[int, IntArray] = {}
        inner = columns
        if model.is_categorical_ is not None and model.is_categorical_.any():
            # Categories come first among the columns that the trees know, numbered anew.
            inner = np.concatenate(
                [columns[model.is_categorical_], columns[~model.is_categorical_]]
            )
            encoder = model._preprocessor.named_transformers_["encoder"]
            for column, values in zip(inner, encoder.categories_, strict=False):
                codes = values[~np.isnan(values)].astype(np.int64)
                codes_of[int(column)] = codes
                known[int(column)] = _mark(codes)
        nodes = [predictor.nodes for (predictor,) in model._predictors]
        sets = [predictor.raw_left_cat_bitsets for (predictor,) in model._predictors]
        starts = np.cumsum([0, *map(len, nodes)])[:-1]
        offset = np.repeat(starts, list(map(len, nodes)))
        joined = np.concatenate(nodes)
        is_leaf = joined["is_leaf"].astype(bool)
        own = np.arange(len(joined))
        asked: IntArray = np.where(is_leaf, 0, inner[np.where(is_leaf, 0, joined["feature_idx"])])
        choice = np.full(len(joined), -1)
        choices: list[NDArray[np.bool_]] = []
        for tree, start in enumerate(starts.tolist()):
            own_nodes = nodes[tree]
            is_choice = (own_nodes["is_categorical"] != 0) & (own_nodes["is_leaf"] == 0)
            for at in np.flatnonzero(is_choice):
                bits = sets[tree][own_nodes["bitset_idx"][at]].astype("<u4").view(np.uint8)
                chosen = np.unpackbits(bits, bitorder="little").astype(bool)
                codes = codes_of[int(asked[start + at])]
                choice[start + at] = len(choices)
                choices.append(_mark(codes[chosen[: len(codes)]]))
        return cls(
            base=float(np.ravel(model._baseline_prediction)[0]),
            num_inputs=len(told),
            starts=starts.astype(np.int64),
            column=asked.astype(np.int64),
            # Up to infinity is what is not missing; JSON has no such number.
            threshold=np.where(
                is_leaf | (choice >= 0),
                0.0,
                np.clip(joined["num_threshold"], -_LARGEST, _LARGEST),
            ),
            left=np.where(is_leaf, own, joined["left"] + offset).astype(np.int64),
            right=np.where(is_leaf, own, joined["right"] + offset).astype(np.int64),
            value=np.where(is_leaf, joined["value"], 0.0),
            missing_left=joined["missing_go_to_left"].astype(bool) & ~is_leaf,
            choice=choice.astype(np.int64),
            choices=np.array(choices, bool).reshape(-1, MOST_CODES),
            known=known,
        )

    def to_values(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "base": self.base,
            "num_inputs": self.num_inputs,
            "starts": self.starts.tolist(),
            "column": self.column.tolist(),
            # A whole number takes a fifth of a float's letters, and most are 0.
            "threshold": _shorten(self.threshold),
            "left": self.left.tolist(),
            "right": self.right.tolist(),
            "value": _shorten(self.value),
            "missing_left": self.missing_left.astype(int).tolist(),
            "choice": self.choice.tolist(),
            "choices": [np.flatnonzero(one).tolist() for one in self.choices],
            "known": {str(at): np.flatnonzero(one).tolist() for at, one in self.known.items()},
        }

    @classmethod
    def from_values(cls, values: Any, num_inputs: int) -> Trees:
        """Read from plain values, which anybody may have written.

        Raises:
            ValueError: they are no trees over so many inputs.
        """
        names = ("base", "num_inputs", "starts", "column", "threshold", "left", "right", "value",
                 "missing_left", "choice", "choices", "known")  # fmt: skip
        found = read_fields(
            values,
            {
                "base": read_number,
                "num_inputs": lambda one: read_whole(one, num_inputs, num_inputs),
                "starts": lambda one: read_wholes(one, 0, _MOST_NODES, _MOST_TREES),
                "column": lambda one: read_wholes(one, 0, num_inputs - 1, _MOST_NODES),
                "threshold": lambda one: read_numbers(one, _MOST_NODES),
                "left": lambda one: read_wholes(one, 0, _MOST_NODES, _MOST_NODES),
                "right": lambda one: read_wholes(one, 0, _MOST_NODES, _MOST_NODES),
                "value": lambda one: read_numbers(one, _MOST_NODES),
                "missing_left": lambda one: read_wholes(one, 0, 1, _MOST_NODES).astype(bool),
                "choice": lambda one: read_wholes(one, -1, _MOST_NODES, _MOST_NODES),
                "choices": _read_choices,
                "known": lambda one: _read_known(one, num_inputs),
            },
        )
        require_fields(found, names)
        trees = cls(**found)
        trees._check()
        return trees

    def _check(self) -> None:
        """Make sure that every way through the trees ends in a leaf of the same tree.

        Raises:
            ValueError: it may not.
        """
        size = len(self.column)
        for name in ("threshold", "left", "right", "value", "missing_left", "choice"):
            if len(getattr(self, name)) != size:
                raise ValueError(f"{name}: has another length than column")
        starts = self.starts
        if not size or not len(starts) or starts[0] or (np.diff(starts) < 1).any():
            raise ValueError("starts: the trees do not follow one another")
        if starts[-1] >= size:
            raise ValueError("starts: a tree has no nodes")
        if np.diff(np.append(starts, size)).max() > _MOST_OF_TREE:
            raise ValueError(f"starts: a tree has more than {_MOST_OF_TREE} nodes")
        own = np.arange(size)
        is_leaf = self.left == own
        ends = np.append(starts[1:], size)[np.searchsorted(starts, own, side="right") - 1]
        for name, child in (("left", self.left), ("right", self.right)):
            if not (is_leaf | ((child > own) & (child < ends))).all():
                raise ValueError(f"{name}: a child stands before its parent, or in another tree")
        if (self.choice >= len(self.choices)).any():
            raise ValueError("choice: there are not so many choices")
        chosen = np.unique(self.column[(self.choice >= 0) & ~is_leaf])
        if not set(chosen.tolist()) <= set(self.known):
            raise ValueError("known: a column of which codes are asked for has none")


def read_wholes(value: Any, least: int, most: int, longest: int) -> IntArray:
    """An array of whole numbers from a list.

    Raises:
        ValueError: it is none, or one of them is out of bounds.
    """
    if not isinstance(value, list) or len(value) > longest:
        raise ValueError(f"must be a list of at most {longest:,} whole numbers")
    if not all(type(one) is int and least <= one <= most for one in value):
        raise ValueError(f"must be whole numbers from {least} to {most}")
    return np.array(value, np.int64)


def read_numbers(value: Any, longest: int) -> FloatArray:
    """An array of finite numbers from a list.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, list) or len(value) > longest:
        raise ValueError(f"must be a list of at most {longest:,} numbers")
    if not all(type(one) in (int, float) and abs(one) <= _LARGEST for one in value):
        raise ValueError(f"must be numbers of at most {_LARGEST:g}")
    return np.array(value, np.float64)


def _shorten(values: FloatArray) -> list[float]:
    return [int(one) if one.is_integer() else one for one in values.tolist()]


def _read_codes(value: Any) -> NDArray[np.bool_]:
    return _mark(read_wholes(value, 0, MOST_CODES - 1, MOST_CODES))


def _read_choices(value: Any) -> NDArray[np.bool_]:
    rows = read_list(value, _read_codes, 0, _MOST_CHOICES)
    return np.array(rows, bool).reshape(-1, MOST_CODES)


def _read_known(value: Any, num_inputs: int) -> dict[int, NDArray[np.bool_]]:
    columns = {str(at): at for at in range(num_inputs)}
    found = read_fields(value, dict.fromkeys(columns, _read_codes))
    return {columns[name]: one for name, one in found.items()}


def _mark(codes: Sequence[int] | IntArray) -> NDArray[np.bool_]:
    marked = np.zeros(MOST_CODES, bool)
    marked[np.asarray(codes, np.int64)] = True
    return marked


def _forget_unknown(values: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    """Codes that were never seen as missing ones."""
    is_code = (values >= 0) & (values < MOST_CODES)
    seen = np.zeros(len(values), bool)
    seen[is_code] = known[values[is_code].astype(np.int64)]
    return np.where(seen, values, np.nan)
