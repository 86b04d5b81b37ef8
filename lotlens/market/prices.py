"""What a car like this is usually offered for, with its interval; it knows no photo.

The logarithm of the asking price is estimated three ways, whose mean is taken: a linear model whose
effects of make, model, generation and so on are shrunk by ridge penalties (a mixed model, Henderson
1975) with gradient boosting on what it leaves, and gradient boosting with and without the linear
model among its inputs. What boosting is given of other adverts' prices is out of fold; folds keep
copies of an advert together, and damaged cars are never learnt from.

Intervals are conformalised quantile regression (Romano, Patterson & Candès 2019) of the out-of-fold
errors, adjusted by car or by make where there are enough adverts (Mondrian: Vovk 2005), else over
all. They are cross-conformal (Vovk 2015): an advert's interval is made from errors in other folds,
of models that may have seen its price.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lotlens.errors import InputError
from lotlens.extras import import_extra
from lotlens.market.encoding import Encoded
from lotlens.market.listings import Listing, group_reposts
from lotlens.naming import fold_name

Method = Literal["model", "make", "analogues", "line", "median", "none"]
"""By what a price was estimated; from the second on since adverts are too few: "make" is what the
model says of a car of which it has seen next to none."""

LEVELS = (0.8, 0.9)
"""Shares of adverts that the two intervals are to hold."""
FEWEST_TO_FIT = 300
"""Adverts from which gradient boosting is used at all."""
FEWEST_OF_CAR = 3
"""Adverts of a car, without which its price is a guess by its make, or none."""
FEWEST_TO_ADJUST = 100
"""Adverts from which a car, or else a make, has an adjustment of its own."""

NUM_FOLDS = 5
_FEWEST_ANALOGUES, _MOST_ANALOGUES, _ANALOGUE_YEARS = 5, 15, 2
_NUM_SHOWN = 3
_MOST_LIKE = 400
"""Adverts of a car that are looked through for the nearest: those about it in year and mileage."""
_FEWEST_FOR_LINE = 6
_LEAST_SPREAD = 0.12  # standard deviation of log price within one car: what few adverts cannot show
_NOISE = 0.18
"""Standard deviation of log prices that no column explains; penalties are relative to it."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fair:
    """What an advert's car is usually offered for.

    Attributes:
        price: the middle: about half of such adverts ask more; NaN where the method is "none".
        low, high: of the interval that is to hold 80 % of such adverts.
        low90, high90: likewise 90 %.
        method: by what; see `Method`.
        num_like: adverts of the same car that it rests on.
        analogues: positions of the nearest adverts of the same car, the nearest first.
    """

    price: float = math.nan
    low: float = math.nan
    high: float = math.nan
    low90: float = math.nan
    high90: float = math.nan
    method: Method = "none"
    num_like: int = 0
    analogues: tuple[int, ...] = ()


def can_teach(row: Listing) -> bool:
    """Whether prices are learnt from an advert: it has one, a model and a year, and no damage."""
    return row.price is not None and bool(row.model) and row.year is not None and not row.is_damaged


def estimate_prices(
    asked: Sequence[Listing], history: Sequence[Listing] | None = None, *, seed: int = 0
) -> list[Fair]:
    """A fair asking price for each advert, learnt from all the others.

    An advert's own price, and those of its reposts, have no say in its estimate.

    Args:
        asked: the adverts.
        history: others to learn from as well.
        seed: of folds and of gradient boosting.

    Returns:
        one each, in order; positions of analogues are those in history and asked, one after the
        other.

    Raises:
        InputError: no advert has a price, a model and a year.
    """
    return learn_prices(asked, history, seed=seed).fair


@dataclass(frozen=True)
class Learnt:
    """What a market's adverts say of prices.

    Attributes:
        fair: of each advert that was asked about, in order.
        rows: all adverts, makes apart from models; those asked about are the last.
        market: what was learnt of all together; None where they are too few.
    """

    fair: list[Fair]
    rows: Sequence[Listing]
    market: Market | None


def learn_prices(
    asked: Sequence[Listing], history: Sequence[Listing] | None = None, *, seed: int = 0
) -> Learnt:
    """The same as `estimate_prices`, with what it was learnt by."""
    rows = complete_makes([*(history or ()), *asked])
    start = len(rows) - len(asked)
    pool = Pool.of(rows)
    if not len(pool.teaching):
        raise InputError("no advert to learn prices from has a price, a model and a year")
    wanted = [at for at in range(start, len(rows)) if can_ask(rows[at])]
    fair: dict[int, Fair] = {}
    market = None
    if len(pool.teaching) >= FEWEST_TO_FIT:
        known = [at for at in wanted if pool.knows_make(at)]
        market = Market(rows, pool.teaching, pool.groups, seed)
        fair = market.estimate(np.array(known, np.int64))
        for at, one in fair.items():
            num_like = pool.count_like(at)
            method: Method = "model" if num_like >= FEWEST_OF_CAR else "make"
            fair[at] = replace(one, method=method, num_like=num_like)
    for at in wanted:
        fair[at] = pool.add_analogues(at, fair.get(at) or pool.estimate_alone(at))
    return Learnt([fair.get(at, Fair()) for at in range(start, len(rows))], rows, market)


def can_ask(row: Listing) -> bool:
    """Whether an advert can have a fair price: its model and year are known."""
    return bool(row.model) and row.year is not None


def complete_makes(rows: Sequence[Listing], known: Iterable[str] = ()) -> list[Listing]:
    """With the make apart from the model where other adverts, or `known`, show which word it is."""
    makes = {make: make for make in known if make}
    makes.update((fold_name(row.make), row.make) for row in rows if row.make)
    completed = []
    for row in rows:
        words = row.model.split()
        lengths = range(1, len(words)) if not row.make else ()
        found = next((n for n in lengths if fold_name(" ".join(words[:n])) in makes), 0)
        if found:
            make = makes[fold_name(" ".join(words[:found]))]
            row = replace(row, make=make, model=" ".join(words[found:]))  # noqa: PLW2901
        completed.append(row)
    return completed


def make_folds(groups: IntArray, num_folds: int, seed: int) -> IntArray:
    """[N] the fold of each row, groups whole, folds about equal."""
    names, inverse = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of_group = np.empty(len(names), np.int64)
    fold_of_group[order] = np.arange(len(names)) % num_folds
    folds: IntArray = fold_of_group[inverse]
    return folds


# --- where there are many adverts ---------------------------------------------------------------


class Market:
    """Adverts as numbers, and what is learnt from their prices.

    Attributes:
        table: all adverts as numbers.
        teaching: positions of those that prices are learnt from.
        groups: [N] of reposts.
        seed: of folds and of gradient boosting.
        log_price: [N]; NaN without a price.
        residuals: [N] what the out-of-fold estimate leaves of it; of those that teach.
        middle: [N] that estimate.
        scores: [N, 2] by how much each leaves either interval out of fold; of those that teach.
    """

    def __init__(
        self, rows: Sequence[Listing], teaching: IntArray, groups: IntArray, seed: int
    ) -> None:
        self.table = Encoded.of(rows)
        self.teaching, self.groups, self.seed = teaching, groups, seed
        self.log_price = np.array([math.log(row.price) if row.price else np.nan for row in rows])
        self.middle = np.full(len(rows), np.nan)
        self.residuals = np.full(len(rows), np.nan)
        self.scores = np.full((len(rows), 2), np.nan)

    def estimate(self, wanted: IntArray) -> dict[int, Fair]:
        """A price for each of these rows, out of fold."""
        table, teaching = self.table, self.teaching
        middle = self.middle
        folds = np.full(len(middle), -1)
        folds[teaching] = make_folds(self.groups[teaching], NUM_FOLDS, self.seed)
        # Rows that nothing is learnt from are asked in the fold of their repost, so that a copy's
        # price has no say, or else in the first.
        strange = np.setdiff1d(wanted, teaching)
        fold_of = dict(zip(self.groups[teaching].tolist(), folds[teaching].tolist(), strict=True))
        folds[strange] = [fold_of.get(group, 0) for group in self.groups[strange].tolist()]
        for fold in range(NUM_FOLDS):
            learnt = teaching[folds[teaching] != fold]
            asked = np.flatnonzero(folds == fold)
            middle[asked] = estimate_middle(
                table, self.log_price, learnt, asked, self.groups, seed=self.seed
            )
        self.residuals = self.log_price - middle
        bounds = self._bound(folds, wanted)
        return {at: build_fair(middle[at], bounds[at]) for at in wanted.tolist()}

    def _bound(self, folds: IntArray, wanted: IntArray) -> dict[int, FloatArray]:
        """For each of these rows the ends of both intervals, beside the middle, [4]."""
        table, teaching = self.table, self.teaching
        car, make = table.codes["car",], table.codes["make",]
        count = np.bincount(car[teaching], minlength=int(car.max()) + 1)[car]
        inputs = stack_for_ends(table, self.middle, count)
        quantiles = np.full((len(inputs), len(ENDS)), np.nan)
        for fold in range(NUM_FOLDS):
            learnt = teaching[folds[teaching] != fold]
            asked = np.flatnonzero(folds == fold)
            for column, model in enumerate(
                fit_ends(inputs[learnt], self.residuals[learnt], self.seed)
            ):
                quantiles[asked, column] = model.predict(inputs[asked])
        lows, highs = quantiles[:, [0, 2]], quantiles[:, [1, 3]]
        residuals = self.residuals[:, None]
        self.scores = np.maximum(lows - residuals, residuals - highs)
        bounds: dict[int, FloatArray] = {}
        for fold in np.unique(folds[wanted]):
            calibrating = teaching[folds[teaching] != fold]
            adjustment = Adjustment.of(
                car[calibrating], make[calibrating], self.scores[calibrating]
            )
            for at in wanted[folds[wanted] == fold].tolist():
                bounds[at] = adjustment.widen(quantiles[at], int(car[at]), int(make[at]))
        return bounds


ENDS = ((1 - LEVELS[0]) / 2, (1 + LEVELS[0]) / 2, (1 - LEVELS[1]) / 2, (1 + LEVELS[1]) / 2)
"""Quantiles of errors that the ends of both intervals begin with: low, high, low90, high90."""


def stack_for_ends(table: Encoded, middle: FloatArray, count: IntArray) -> FloatArray:
    """[N, 7] what the ends of intervals are estimated by.

    Args:
        table: the adverts.
        middle: [N] the estimate.
        count: [N] how many adverts of the same car teach.
    """
    return np.column_stack([table.numbers, middle, np.log1p(count)])


def fit_ends(inputs: FloatArray, residuals: FloatArray, seed: int) -> list[Booster]:
    """Models of the quantiles ENDS of errors."""
    no_category = np.zeros(inputs.shape[1], bool)
    return [
        _fit(
            inputs, residuals, no_category, loss="quantile", quantile=end, max_iter=100,
            max_leaf_nodes=8, min_samples_leaf=40, random_state=seed,
        )
        for end in ENDS
    ]  # fmt: skip


@dataclass(frozen=True)
class Adjustment:
    """What is added to both ends of each interval so that it holds what it says.

    Attributes:
        by_car, by_make: code -> [2], of those that have adverts enough; the car's counts first.
        over_all: [2].
    """

    by_car: dict[int, FloatArray]
    by_make: dict[int, FloatArray]
    over_all: FloatArray

    @classmethod
    def of(cls, car: IntArray, make: IntArray, scores: FloatArray) -> Adjustment:
        """Of adverts with their scores [N, 2]."""
        over_all = np.array([conformal_quantile(scores[:, k], LEVELS[k]) for k in (0, 1)])
        return cls(_adjust_by(car, scores), _adjust_by(make, scores), over_all)

    def widen(self, quantiles: FloatArray, car: int, make: int) -> FloatArray:
        """[4] the ends of an advert's intervals, of their quantiles [4]."""
        add = self.by_car.get(car, self.by_make.get(make, self.over_all))
        low, high, low90, high90 = quantiles
        return np.array([low - add[0], high + add[0], low90 - add[1], high90 + add[1]])


def build_fair(middle: float, bounds: FloatArray) -> Fair:
    """A price of its logarithm and of the ends of its intervals beside that, [4]."""
    price = math.exp(middle)
    low, high, low90, high90 = np.exp(middle + bounds)
    return Fair(
        price=price,
        low=float(min(low, price)),
        high=float(max(high, price)),
        low90=float(min(low90, low, price)),
        high90=float(max(high90, high, price)),
        method="model",
    )


def conformal_quantile(scores: FloatArray, level: float) -> float:
    """The score that a new one exceeds with a chance of at most 1 - level, if exchangeable.

    The ceil((N + 1) level)-th smallest of N; the largest where N is too small for the level.
    """
    rank = min(math.ceil((len(scores) + 1) * level), len(scores))
    return float(np.partition(scores, rank - 1)[rank - 1])


def _adjust_by(codes: IntArray, scores: FloatArray) -> dict[int, FloatArray]:
    """What is added to both intervals of groups that have adverts enough, [2] each."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return {
        int(codes[those[0]]): np.array(
            [conformal_quantile(scores[those, k], LEVELS[k]) for k in (0, 1)]
        )
        for those in np.split(order, starts[1:])
        if len(those) >= FEWEST_TO_ADJUST
    }


class Booster(Protocol):
    """Gradient boosting that has learnt."""

    def predict(self, inputs: FloatArray) -> FloatArray:
        """[N] estimates of inputs [N, F]."""
        ...


@dataclass(frozen=True)
class Middle:
    """What estimates the logarithm of a price.

    Attributes:
        level: mean of those learnt from.
        effects: [P] of the linear model's columns.
        means: [cars] the car's mean, by code.
        rest, whole, plain: gradient boosting on what the linear model leaves, with it as an input,
            and without it.
    """

    level: float
    effects: FloatArray
    means: FloatArray
    rest: Booster
    whole: Booster
    plain: Booster

    def estimate(self, table: Encoded, asked: IntArray) -> FloatArray:
        """[len(asked)] log prices."""
        linear: FloatArray = self.level + table.design[asked] @ self.effects
        mean = _look_up(self.means, table, asked, self.level)
        new = _stack(table, asked, mean, linear)
        plain = self.plain.predict(_stack(table, asked, mean))
        estimates: FloatArray = (
            linear + self.rest.predict(new) + self.whole.predict(new) + plain
        ) / 3
        return estimates


def fit_middle(
    table: Encoded, log_price: FloatArray, learnt: IntArray, groups: IntArray, *, seed: int
) -> Middle:
    """Learn from the rows `learnt` alone."""
    target = log_price[learnt]

    def fit(learnt: IntArray, asked: IntArray) -> FloatArray:
        return estimate_linear(table, log_price, learnt, asked)

    level, effects = _fit_linear(table, log_price, learnt)
    linear = _leave_out(fit, learnt, make_folds(groups[learnt], NUM_FOLDS, seed + 1))
    mean = _estimate_by_car_left_out(table, log_price, learnt, groups, seed)
    inputs = _stack(table, learnt, mean, linear)
    return Middle(
        level=level,
        effects=effects,
        means=_fit_means(table, log_price, learnt),
        rest=_boost(table, inputs, target - linear, seed=seed, max_iter=200, max_leaf_nodes=12),
        whole=_boost(table, inputs, target, seed=seed, max_iter=300),
        plain=_boost(table, _stack(table, learnt, mean), target, seed=seed, max_iter=300),
    )


def estimate_middle(
    table: Encoded,
    log_price: FloatArray,
    learnt: IntArray,
    asked: IntArray,
    groups: IntArray,
    *,
    seed: int,
) -> FloatArray:
    """[len(asked)] log prices, learnt from the rows `learnt` alone."""
    return fit_middle(table, log_price, learnt, groups, seed=seed).estimate(table, asked)


def estimate_plain(
    table: Encoded,
    log_price: FloatArray,
    learnt: IntArray,
    asked: IntArray,
    groups: IntArray,
    *,
    seed: int,
) -> FloatArray:
    """The same by gradient boosting with the car's out-of-fold mean alone."""
    means = _fit_means(table, log_price, learnt)
    mean = _estimate_by_car_left_out(table, log_price, learnt, groups, seed)
    model = _boost(table, _stack(table, learnt, mean), log_price[learnt], seed=seed, max_iter=300)
    level = float(log_price[learnt].mean())
    return model.predict(_stack(table, asked, _look_up(means, table, asked, level)))


def _stack(table: Encoded, rows: IntArray, *more: FloatArray) -> FloatArray:
    return np.column_stack([table.numbers[rows], *more, table.categories[rows]])


def _boost(
    table: Encoded, inputs: FloatArray, target: FloatArray, *, seed: int, **given: Any
) -> Booster:
    """Gradient boosting on inputs of `_stack`, whose last columns are categories."""
    width = inputs.shape[1]
    is_category = np.arange(width) >= width - table.categories.shape[1]
    return _fit(inputs, target, is_category, random_state=seed, **given)


@dataclass(frozen=True)
class Regressor:
    """Gradient boosting by scikit-learn.

    Attributes:
        model: its regressor.
        told: [F] which inputs it takes: a column of gaps alone cannot be put into bins.
    """

    model: Any
    told: NDArray[np.bool_]

    def predict(self, inputs: FloatArray) -> FloatArray:
        """[N] estimates of inputs [N, F]."""
        result: FloatArray = self.model.predict(inputs[:, self.told])
        return result


def _fit(
    inputs: FloatArray, target: FloatArray, is_category: NDArray[np.bool_], **given: Any
) -> Regressor:
    ensemble = import_extra("sklearn.ensemble", "market")  # takes a second to import

    told: NDArray[np.bool_] = np.asarray(~np.isnan(inputs).all(axis=0))
    settings = {
        "learning_rate": 0.05, "min_samples_leaf": 20, "l2_regularization": 1.0,
        "max_features": 0.5, "early_stopping": False,
    }  # fmt: skip
    model = ensemble.HistGradientBoostingRegressor(
        categorical_features=is_category[told], **{**settings, **given}
    )
    return Regressor(model.fit(inputs[:, told], target), told)


def estimate_linear(
    table: Encoded, log_price: FloatArray, learnt: IntArray, asked: IntArray
) -> FloatArray:
    """[len(asked)] log prices by the linear model alone: least squares with ridge penalties."""
    level, effects = _fit_linear(table, log_price, learnt)
    result: FloatArray = level + table.design[asked] @ effects
    return result


def _fit_linear(
    table: Encoded, log_price: FloatArray, learnt: IntArray
) -> tuple[float, FloatArray]:
    """The level and the effects [P] of the linear model."""
    from scipy.sparse.linalg import lsqr

    level = float(log_price[learnt].mean())
    effects: FloatArray = lsqr(
        table.design[learnt], log_price[learnt] - level, damp=_NOISE, iter_lim=200, atol=1e-5,
        btol=1e-5,
    )[0]  # fmt: skip
    return level, effects


def _fit_means(
    table: Encoded, log_price: FloatArray, learnt: IntArray, *, weight: float = 5
) -> FloatArray:
    """[cars] the mean log price of a car, as if `weight` more of them had the market's."""
    car = table.codes["car",]
    level = log_price[learnt].mean()
    size = int(car.max()) + 1
    sums = np.bincount(car[learnt], log_price[learnt], minlength=size)
    counts = np.bincount(car[learnt], minlength=size)
    means: FloatArray = (sums + weight * level) / (counts + weight)
    return means


def _look_up(means: FloatArray, table: Encoded, asked: IntArray, level: float) -> FloatArray:
    """[len(asked)] the car's mean; the market's for a car that is not known."""
    return np.append(means, level)[table.codes["car",][asked]]


def _estimate_by_car_left_out(
    table: Encoded, log_price: FloatArray, learnt: IntArray, groups: IntArray, seed: int
) -> FloatArray:
    """The car's mean for the rows learnt from, out of fold."""

    def fit(learnt: IntArray, asked: IntArray) -> FloatArray:
        level = float(log_price[learnt].mean())
        return _look_up(_fit_means(table, log_price, learnt), table, asked, level)

    return _leave_out(fit, learnt, make_folds(groups[learnt], NUM_FOLDS, seed + 1))


def _leave_out(
    fit: Callable[[IntArray, IntArray], FloatArray], rows: IntArray, folds: IntArray
) -> FloatArray:
    """For each of these rows what is learnt from the other folds."""
    result = np.empty(len(rows))
    for fold in np.unique(folds):
        result[folds == fold] = fit(rows[folds != fold], rows[folds == fold])
    return result


# --- where there are few ------------------------------------------------------------------------


class Pool:
    """Adverts by car, for analogues and for cars of which there are few."""

    def __init__(self, rows: Sequence[Listing], teaching: IntArray, groups: IntArray) -> None:
        self.rows, self.teaching, self.groups = rows, teaching, groups
        by_car: dict[str, list[int]] = defaultdict(list)
        for at in teaching.tolist():
            by_car[fold_name(rows[at].car)].append(at)
        self.by_car = {car: sorted(those, key=self._place) for car, those in by_car.items()}
        self.group_sizes = Counter(groups[teaching].tolist())
        self.makes = Counter(fold_name(rows[at].make) for at in teaching.tolist())
        self.numbers = np.array(
            [
                (
                    math.nan if row.year is None else row.year / 2,
                    math.nan if row.mileage is None else math.log1p(row.mileage) / 0.5,
                    math.nan if row.power is None else math.log(row.power) / 0.15,
                    math.nan if row.volume is None else math.log(row.volume) / 0.15,
                )
                for row in rows
            ],
            np.float64,
        )
        roles = ("generation", "gearbox", "drive", "body")
        self.words = np.array([[row.facts.get(role, "") for role in roles] for row in rows])

    @classmethod
    def of(cls, rows: Sequence[Listing]) -> Pool:
        """Of all adverts; those that can teach are found."""
        teaching = np.flatnonzero([can_teach(row) for row in rows])
        return cls(rows, teaching, np.array(group_reposts(rows), np.int64))

    def count_like(self, at: int) -> int:
        """How many adverts of the same car there are to learn from, without it and its reposts."""
        like = self.by_car.get(fold_name(self.rows[at].car), ())
        return len(like) - self.group_sizes[int(self.groups[at])]

    def list_like(self, at: int) -> IntArray:
        """Of these the `_MOST_LIKE` about it in year and mileage, in the order of the rows."""
        like = self.by_car.get(fold_name(self.rows[at].car), [])
        if len(like) > _MOST_LIKE:
            place = bisect_left(like, self._place(at), key=self._place)
            start = min(max(0, place - _MOST_LIKE // 2), len(like) - _MOST_LIKE)
            like = like[start : start + _MOST_LIKE]
        positions = np.array(sorted(like), np.int64)
        others: IntArray = positions[self.groups[positions] != self.groups[at]]
        return others

    def _place(self, at: int) -> tuple[int, float]:
        """Where an advert stands among those of its car."""
        return self.rows[at].year or 0, self.rows[at].mileage or 0.0

    def knows_make(self, at: int) -> bool:
        """Whether there are adverts of the make; without one the model's own name must do."""
        row = self.rows[at]
        return (
            self.makes[fold_name(row.make)] > FEWEST_OF_CAR
            if row.make
            else self.count_like(at) >= FEWEST_OF_CAR
        )

    def rank_like(self, at: int) -> list[int]:
        """The same, the nearest first: in year, mileage, engine and what else is said of both."""
        like = self.list_like(at)
        apart = np.nan_to_num(np.abs(self.numbers[like] - self.numbers[at])).sum(axis=1)
        mine, theirs = self.words[at], self.words[like]
        apart += ((theirs != mine) & (theirs != "") & (mine != "")).sum(axis=1)
        return [int(one) for one in like[np.argsort(apart, kind="stable")]]

    def add_analogues(self, at: int, fair: Fair) -> Fair:
        return replace(fair, analogues=tuple(self.rank_like(at)[:_NUM_SHOWN]))

    def estimate_alone(self, at: int) -> Fair:
        """By adverts of the same car: analogues, a line over year and mileage, or the median.

        Intervals are those of a new draw from a normal distribution of log prices (Student's t).
        """
        row = self.rows[at]
        like, num_like = self.rank_like(at), self.count_like(at)
        near = [
            one
            for one in like
            if abs((self.rows[one].year or 0) - (row.year or 0)) <= _ANALOGUE_YEARS
        ][:_MOST_ANALOGUES]
        if len(near) >= _FEWEST_ANALOGUES:
            return self._spread("analogues", self._read_logs(near), 1, num_like)
        if len(like) >= _FEWEST_FOR_LINE:
            return self._draw_line(row, like)
        if len(like) >= FEWEST_OF_CAR:
            return self._spread("median", self._read_logs(like), 1, num_like)
        return Fair(num_like=num_like)

    def _read_logs(self, positions: Sequence[int]) -> FloatArray:
        return np.array([math.log(self.rows[one].price or math.nan) for one in positions])

    def _draw_line(self, row: Listing, like: Sequence[int]) -> Fair:
        def describe(one: Listing) -> tuple[float, float]:
            return float(one.year or 0), math.nan if one.mileage is None else one.mileage / 1e5

        points = np.array([describe(self.rows[one]) for one in like])
        new = np.array(describe(row))
        usual = np.nanmean(points, axis=0) if not np.isnan(points[:, 1]).all() else points[0] * 0
        points = np.where(np.isnan(points), usual, points) - usual
        new = np.where(np.isnan(new), usual, new) - usual
        logs = self._read_logs(like)
        middle = logs.mean()
        # A ridge towards "a tenth less for each year, a tenth for each 100,000 km": six adverts
        # alone would give slopes of any sign.
        prior = np.array([0.1, -0.1])
        normal = points.T @ points + np.diag([4.0, 1.0])
        slopes = prior + np.linalg.solve(normal, points.T @ (logs - middle - points @ prior))
        residuals = logs - middle - points @ slopes
        return self._spread("line", residuals + middle + new @ slopes, 3, len(like))

    @staticmethod
    def _spread(method: Method, logs: FloatArray, num_fitted: int, num_like: int) -> Fair:
        from scipy.stats import t

        middle, free = float(np.median(logs)), max(1, len(logs) - num_fitted)
        spread = max(float(logs.std()) * math.sqrt(len(logs) / free), _LEAST_SPREAD)
        spread *= math.sqrt(1 + 1 / len(logs))
        wide, wider = (float(t.ppf((1 + level) / 2, free)) * spread for level in LEVELS)
        low90, low, price, high, high90 = (
            math.exp(middle + step) for step in (-wider, -wide, 0.0, wide, wider)
        )
        return Fair(price, low, high, low90, high90, method, num_like)
