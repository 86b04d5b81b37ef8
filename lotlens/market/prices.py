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
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lotlens.errors import InputError
from lotlens.extras import import_extra
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
_FEWEST_FOR_LINE = 6
_LEAST_SPREAD = 0.12  # standard deviation of log price within one car: what few adverts cannot show
_NOISE = 0.18
"""Standard deviation of log prices that no column explains; penalties are relative to it."""
_MOST_CATEGORIES = 250

# Standard deviations of effects on the log price, set by hand and not tuned: makes differ by half,
# models of a make by 40 %, and so on.
_EFFECTS: Mapping[tuple[str, ...], float] = {
    ("make",): 0.5, ("car",): 0.4, ("car", "generation"): 0.2, ("car", "engine"): 0.1,
    ("trim",): 0.05, ("car", "trim"): 0.08, ("city",): 0.05, ("region",): 0.1, ("body",): 0.2,
    ("car", "body"): 0.1, ("gearbox",): 0.1, ("car", "gearbox"): 0.07, ("drive",): 0.1,
    ("car", "drive"): 0.07, ("fuel",): 0.1, ("wheel",): 0.1, ("color",): 0.03, ("pts",): 0.03,
    ("options",): 0.1, ("seller",): 0.05, ("year",): 0.3,
}  # fmt: skip
_SLOPES = {"age": 0.25, "power": 0.25, "mileage": 0.1}
_SLOPED = (("make",), ("car",), ("car", "generation"))
_FIXED = 3.0
_BOOSTED = (
    "make", "region", "body", "gearbox", "drive", "fuel", "wheel", "color", "pts", "options",
    "seller",
)  # fmt: skip

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
    rows = _complete_makes([*(history or ()), *asked])
    start = len(rows) - len(asked)
    teaching = np.flatnonzero([can_teach(row) for row in rows])
    if not len(teaching):
        raise InputError("no advert to learn prices from has a price, a model and a year")
    groups = np.array(group_reposts(rows), np.int64)
    pool = _Pool(rows, teaching, groups)
    wanted = [at for at in range(start, len(rows)) if rows[at].model and rows[at].year is not None]
    fair: dict[int, Fair] = {}
    if len(teaching) >= FEWEST_TO_FIT:
        known = [at for at in wanted if pool.knows_make(at)]
        fair = _Market(rows, teaching, groups, seed).estimate(np.array(known, np.int64))
        for at, one in fair.items():
            num_like = len(pool.list_like(at))
            method: Method = "model" if num_like >= FEWEST_OF_CAR else "make"
            fair[at] = replace(one, method=method, num_like=num_like)
    for at in wanted:
        fair[at] = pool.add_analogues(at, fair.get(at) or pool.estimate_alone(at))
    return [fair.get(at, Fair()) for at in range(start, len(rows))]


def _complete_makes(rows: Sequence[Listing]) -> list[Listing]:
    """With the make apart from the model where other adverts show which word it is."""
    makes = {fold_name(row.make): row.make for row in rows if row.make}
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


class _Market:
    """Adverts as numbers, and what is learnt from their prices."""

    def __init__(
        self, rows: Sequence[Listing], teaching: IntArray, groups: IntArray, seed: int
    ) -> None:
        self.table = Encoded.of(rows)
        self.teaching, self.groups, self.seed = teaching, groups, seed
        self.log_price = np.array([math.log(row.price) if row.price else np.nan for row in rows])

    def estimate(self, wanted: IntArray) -> dict[int, Fair]:
        """A price for each of these rows, out of fold."""
        table, teaching = self.table, self.teaching
        num_rows = len(self.log_price)
        middle = np.full(num_rows, np.nan)
        folds = np.full(num_rows, -1)
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
        residuals = self.log_price - middle
        bounds = self._bound(residuals, middle, folds, wanted)
        fair = {}
        for at in wanted.tolist():
            price = math.exp(middle[at])
            low, high, low90, high90 = np.exp(middle[at] + bounds[at])
            fair[at] = Fair(
                price=price,
                low=float(min(low, price)),
                high=float(max(high, price)),
                low90=float(min(low90, low, price)),
                high90=float(max(high90, high, price)),
                method="model",
            )
        return fair

    def _bound(
        self, residuals: FloatArray, middle: FloatArray, folds: IntArray, wanted: IntArray
    ) -> dict[int, FloatArray]:
        """For each of these rows the ends of both intervals, beside the middle, [4]."""
        table, teaching = self.table, self.teaching
        car = table.codes["car",]
        count = np.bincount(car[teaching], minlength=int(car.max()) + 1)[car]
        inputs = np.column_stack([table.numbers, middle, np.log1p(count)])
        ends = [(1 - LEVELS[0]) / 2, (1 + LEVELS[0]) / 2, (1 - LEVELS[1]) / 2, (1 + LEVELS[1]) / 2]
        no_category = np.zeros(inputs.shape[1], bool)
        quantiles = np.full((len(residuals), 4), np.nan)
        for fold in range(NUM_FOLDS):
            learnt = teaching[folds[teaching] != fold]
            asked = np.flatnonzero(folds == fold)
            for column, end in enumerate(ends):
                quantiles[asked, column] = _learn(
                    inputs[learnt], residuals[learnt], inputs[asked], no_category,
                    loss="quantile", quantile=end, max_iter=100, max_leaf_nodes=8,
                    min_samples_leaf=40, random_state=self.seed,
                )  # fmt: skip
        lows, highs = quantiles[:, [0, 2]], quantiles[:, [1, 3]]
        scores = np.maximum(lows - residuals[:, None], residuals[:, None] - highs)
        make = table.codes["make",]
        bounds: dict[int, FloatArray] = {}
        for fold in np.unique(folds[wanted]):
            calibrating = teaching[folds[teaching] != fold]
            by_car = _adjust_by(car[calibrating], scores[calibrating])
            by_make = _adjust_by(make[calibrating], scores[calibrating])
            over_all = np.array(
                [conformal_quantile(scores[calibrating, k], LEVELS[k]) for k in (0, 1)]
            )
            for at in wanted[folds[wanted] == fold].tolist():
                add = by_car.get(int(car[at]), by_make.get(int(make[at]), over_all))
                low, high, low90, high90 = quantiles[at]
                bounds[at] = np.array(
                    [low - add[0], high + add[0], low90 - add[1], high90 + add[1]]
                )
        return bounds


def conformal_quantile(scores: FloatArray, level: float) -> float:
    """The score that a new one exceeds with a chance of at most 1 - level, if exchangeable.

    The ceil((N + 1) level)-th smallest of N; the largest where N is too small for the level.
    """
    rank = min(math.ceil((len(scores) + 1) * level), len(scores))
    return float(np.partition(scores, rank - 1)[rank - 1])


def _adjust_by(codes: IntArray, scores: FloatArray) -> dict[int, FloatArray]:
    """What is added to both intervals of groups that have adverts enough, [2] each."""
    counts = np.bincount(codes)
    return {
        int(code): np.array(
            [conformal_quantile(scores[codes == code, k], LEVELS[k]) for k in (0, 1)]
        )
        for code in np.flatnonzero(counts >= FEWEST_TO_ADJUST)
    }


@dataclass(frozen=True)
class Encoded:
    """Adverts as numbers; nothing in it depends on a price.

    Attributes:
        codes: names of categories -> [N] the code of each row's.
        numbers: [N, 5] age, log mileage, power, volume, owners; NaN where not known.
        categories: [N, C] codes of _BOOSTED for gradient boosting, NaN for rare ones.
        design: [N, P] sparse, of the linear model, each column times its prior standard deviation.
    """

    codes: Mapping[tuple[str, ...], IntArray]
    numbers: FloatArray
    categories: FloatArray
    design: Any = field(repr=False)

    @classmethod
    def of(cls, rows: Sequence[Listing]) -> Encoded:
        """All adverts that are learnt from or asked about; at least one has a year."""
        newest = max(row.year for row in rows if row.year is not None)
        numbers = np.array(
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
        )
        words = {name: [_say(row, name) for row in rows] for name in _list_names()}
        codes = {}
        for names in _EFFECTS:
            known: dict[tuple[str, ...], int] = {}
            columns = [words[name] for name in names]
            codes[names] = np.array(
                [known.setdefault(words, len(known)) for words in zip(*columns, strict=True)],
                np.int64,
            )
        categories = np.column_stack([_keep_common(codes[name,]) for name in _BOOSTED])
        return cls(codes, numbers, categories, _build_design(numbers, codes))


def _list_names() -> list[str]:
    return list(dict.fromkeys(name for names in _EFFECTS for name in names))


def _say(row: Listing, name: str) -> str:
    if name == "year":
        return str(row.year)
    if name in ("make", "car"):
        return fold_name(row.make if name == "make" else row.car)
    return fold_name(row.facts.get(name, ""))


def _keep_common(codes: IntArray) -> FloatArray:
    """Codes of the commonest categories, numbered anew, and NaN for others."""
    common = np.argsort(-np.bincount(codes), kind="stable")[:_MOST_CATEGORIES]
    new = np.full(int(codes.max()) + 1, np.nan)
    new[common] = np.arange(len(common))
    kept: FloatArray = new[codes]
    return kept


def _build_design(numbers: FloatArray, codes: Mapping[tuple[str, ...], IntArray]) -> Any:
    from scipy import sparse

    age, mileage, power, volume, owners = numbers.T
    log_power, log_volume = np.log(power / 150), np.log(volume / 2)
    bent = [
        _bend(age / 10, (0.2, 0.5, 1, 1.5, 2, 3)),
        _bend(mileage / 5, (0.4, 0.6, 0.8, 0.9, 1, 1.1)),
        _bend(log_power, (-0.5, 0, 0.5)),
        _bend(log_volume, (0,)),
        _bend(owners / 4, ()),
    ]
    blocks = [sparse.csr_matrix(_FIXED * np.hstack(bent))]
    slopes = {
        "age": np.nan_to_num(age / 10 - 1),
        "power": np.nan_to_num(log_power),
        "mileage": np.nan_to_num(mileage - 4.5),
    }
    for names, spread in _EFFECTS.items():
        code = codes[names]
        rows = np.arange(len(code))
        one = sparse.csr_matrix((np.ones(len(code)), (rows, code)))
        blocks.append(one * spread)
        if names in _SLOPED:
            blocks += [
                sparse.diags(value) @ one * _SLOPES[which] for which, value in slopes.items()
            ]
    return sparse.hstack(blocks).tocsr()


def _bend(values: FloatArray, knots: Sequence[float]) -> FloatArray:
    """A number as a bent line: whether it is missing, itself, and what exceeds each knot."""
    missing = np.isnan(values)
    middle = float(np.nanmedian(values)) if not missing.all() else 0.0
    filled = np.where(missing, middle, values)
    return np.column_stack([missing, filled, *(np.maximum(filled - knot, 0) for knot in knots)])


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
    target = log_price[learnt]

    def fit(learnt: IntArray, asked: IntArray) -> FloatArray:
        return estimate_linear(table, log_price, learnt, asked)

    linear = fit(learnt, asked)
    linear_learnt = _leave_out(fit, learnt, make_folds(groups[learnt], NUM_FOLDS, seed + 1))
    mean_learnt, mean = _estimate_by_car_left_out(table, log_price, learnt, asked, groups, seed)
    inputs = _stack(table, learnt, mean_learnt, linear_learnt)
    new = _stack(table, asked, mean, linear)
    rest = _boost(
        table, inputs, target - linear_learnt, new, seed=seed, max_iter=200, max_leaf_nodes=12
    )
    whole = _boost(table, inputs, target, new, seed=seed, max_iter=300)
    plain = _boost_plain(table, log_price, (learnt, mean_learnt), (asked, mean), seed=seed)
    return (linear + rest + whole + plain) / 3


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
    mean_learnt, mean = _estimate_by_car_left_out(table, log_price, learnt, asked, groups, seed)
    return _boost_plain(table, log_price, (learnt, mean_learnt), (asked, mean), seed=seed)


def _boost_plain(
    table: Encoded,
    log_price: FloatArray,
    learnt: tuple[IntArray, FloatArray],
    asked: tuple[IntArray, FloatArray],
    *,
    seed: int,
) -> FloatArray:
    """As `estimate_plain`, of rows with their cars' means."""
    inputs, new = _stack(table, *learnt), _stack(table, *asked)
    return _boost(table, inputs, log_price[learnt[0]], new, seed=seed, max_iter=300)


def _stack(table: Encoded, rows: IntArray, *more: FloatArray) -> FloatArray:
    return np.column_stack([table.numbers[rows], *more, table.categories[rows]])


def _boost(
    table: Encoded,
    inputs: FloatArray,
    target: FloatArray,
    new: FloatArray,
    *,
    seed: int,
    **given: Any,
) -> FloatArray:
    """Gradient boosting on inputs of `_stack`, whose last columns are categories."""
    width = inputs.shape[1]
    is_category = np.arange(width) >= width - table.categories.shape[1]
    return _learn(inputs, target, new, is_category, random_state=seed, **given)


def _learn(
    inputs: FloatArray,
    target: FloatArray,
    new: FloatArray,
    is_category: NDArray[np.bool_],
    **given: Any,
) -> FloatArray:
    ensemble = import_extra("sklearn.ensemble", "market")  # takes a second to import

    told = ~np.isnan(inputs).all(axis=0)  # a column of gaps alone cannot be put into bins
    settings = {
        "learning_rate": 0.05, "min_samples_leaf": 20, "l2_regularization": 1.0,
        "max_features": 0.5, "early_stopping": False,
    }  # fmt: skip
    model = ensemble.HistGradientBoostingRegressor(
        categorical_features=is_category[told], **{**settings, **given}
    )
    result: FloatArray = model.fit(inputs[:, told], target).predict(new[:, told])
    return result


def _estimate_by_car_left_out(
    table: Encoded,
    log_price: FloatArray,
    learnt: IntArray,
    asked: IntArray,
    groups: IntArray,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """The car's mean for the rows learnt from, out of fold, and for those asked about."""

    def fit(learnt: IntArray, asked: IntArray) -> FloatArray:
        return _estimate_by_car(table, log_price, learnt, asked)

    folds = make_folds(groups[learnt], NUM_FOLDS, seed + 1)
    return _leave_out(fit, learnt, folds), fit(learnt, asked)


def estimate_linear(
    table: Encoded, log_price: FloatArray, learnt: IntArray, asked: IntArray
) -> FloatArray:
    """[len(asked)] log prices by the linear model alone: least squares with ridge penalties."""
    from scipy.sparse.linalg import lsqr

    middle = log_price[learnt].mean()
    design = table.design
    effects = lsqr(
        design[learnt], log_price[learnt] - middle, damp=_NOISE, iter_lim=200, atol=1e-5, btol=1e-5
    )[0]
    result: FloatArray = middle + design[asked] @ effects
    return result


def _estimate_by_car(
    table: Encoded, log_price: FloatArray, learnt: IntArray, asked: IntArray, *, weight: float = 5
) -> FloatArray:
    """The mean log price of the same car, as if `weight` more of them had the market's."""
    car = table.codes["car",]
    middle = log_price[learnt].mean()
    size = int(car.max()) + 1
    sums = np.bincount(car[learnt], log_price[learnt], minlength=size)
    counts = np.bincount(car[learnt], minlength=size)
    result: FloatArray = ((sums + weight * middle) / (counts + weight))[car[asked]]
    return result


def _leave_out(
    fit: Callable[[IntArray, IntArray], FloatArray], rows: IntArray, folds: IntArray
) -> FloatArray:
    """For each of these rows what is learnt from the other folds."""
    result = np.empty(len(rows))
    for fold in np.unique(folds):
        result[folds == fold] = fit(rows[folds != fold], rows[folds == fold])
    return result


# --- where there are few ------------------------------------------------------------------------


class _Pool:
    """Adverts by car, for analogues and for cars of which there are few."""

    def __init__(self, rows: Sequence[Listing], positions: IntArray, groups: IntArray) -> None:
        self.rows, self.groups = rows, groups
        by_car: dict[str, list[int]] = defaultdict(list)
        for at in positions.tolist():
            by_car[fold_name(rows[at].car)].append(at)
        self.by_car = {car: np.array(those, np.int64) for car, those in by_car.items()}
        self.makes = Counter(fold_name(rows[at].make) for at in positions.tolist())
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

    def list_like(self, at: int) -> IntArray:
        """Adverts of the same car to learn from, without this one and its reposts."""
        like = self.by_car.get(fold_name(self.rows[at].car))
        if like is None:
            return np.empty(0, np.int64)
        others: IntArray = like[self.groups[like] != self.groups[at]]
        return others

    def knows_make(self, at: int) -> bool:
        """Whether there are adverts of the make; without one the model's own name must do."""
        row = self.rows[at]
        return (
            self.makes[fold_name(row.make)] > FEWEST_OF_CAR
            if row.make
            else len(self.list_like(at)) >= FEWEST_OF_CAR
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
        like = self.rank_like(at)
        near = [
            one
            for one in like
            if abs((self.rows[one].year or 0) - (row.year or 0)) <= _ANALOGUE_YEARS
        ][:_MOST_ANALOGUES]
        if len(near) >= _FEWEST_ANALOGUES:
            return self._spread("analogues", self._read_logs(near), 1, len(like))
        if len(like) >= _FEWEST_FOR_LINE:
            return self._draw_line(row, like)
        if len(like) >= FEWEST_OF_CAR:
            return self._spread("median", self._read_logs(like), 1, len(like))
        return Fair(num_like=len(like))

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
