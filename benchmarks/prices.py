"""How near the market's asking prices come, and whether intervals hold what they say.

    python benchmarks/prices.py ADVERTS.csv [--seeds 3] [--curve]

All estimates are out of fold, in five folds that keep copies of an advert together, drawn anew with
each seed; damaged cars are left out. What intervals are made from are errors in other folds. Beside
it, on the same folds: the median of model and year (else of the model, else of all), gradient
boosting with the model's out-of-fold mean (the same settings), and the linear model alone.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from lotlens.intervals import compute_wilson_interval
from lotlens.market import prices
from lotlens.market.listings import group_reposts, read_listings
from lotlens.naming import fold_name

FloatArray = NDArray[np.float64]
_TOP = 0.05
_FEWEST_OF_MAKE = 150


def measure(estimates: FloatArray, asked: FloatArray, num_adverts: int) -> str:
    """Weighted, mean and median absolute error, with 95 % intervals over 1,000 resamples.

    Adverts are drawn, each with its estimates of all seeds.
    """
    wrong = np.abs(estimates - asked).reshape(-1, num_adverts).mean(axis=0)
    asked = asked[:num_adverts]
    picks = np.random.default_rng(0).integers(num_adverts, size=(1000, num_adverts))
    weighted = np.percentile(wrong[picks].sum(axis=1) / asked[picks].sum(axis=1), [2.5, 97.5])
    mean = np.percentile((wrong / asked)[picks].mean(axis=1), [2.5, 97.5])
    return (
        f"{100 * wrong.sum() / asked.sum():.2f} ({100 * weighted[0]:.2f} to"
        f" {100 * weighted[1]:.2f}) | {100 * (wrong / asked).mean():.2f} ({100 * mean[0]:.2f} to"
        f" {100 * mean[1]:.2f}) | {100 * np.median(wrong / asked):.2f}"
    )


def estimate_by_median(
    cars: NDArray[np.str_],
    years: FloatArray,
    asked: FloatArray,
    learnt: NDArray[np.int64],
    new: NDArray[np.int64],
) -> FloatArray:
    """The median of the model and year, else of the model, else of all."""
    by_year, by_car = defaultdict(list), defaultdict(list)
    for at in learnt:
        by_year[cars[at], years[at]].append(asked[at])
        by_car[cars[at]].append(asked[at])
    every = float(np.median(asked[learnt]))
    return np.array(
        [
            np.median(by_year.get((cars[at], years[at])) or by_car.get(cars[at]) or [every])
            for at in new
        ]
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("adverts")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--curve", action="store_true")
    given = parser.parse_args()
    rows = [row for row in read_listings(given.adverts).rows if prices.can_teach(row)]
    asked = np.array([row.price for row in rows])
    groups = np.array(group_reposts(rows), np.int64)
    cars = np.array([fold_name(row.car) for row in rows])
    years = np.array([row.year for row in rows])
    makes = np.array([row.make for row in rows])
    table, logs = prices.Encoded.of(rows), np.log(asked)
    print(
        f"{len(rows):,} adverts, {len(set(cars)):,} models, {len(rows) - len(set(groups)):,} copies"
    )
    if given.curve:
        draw_curve(table, logs, groups, asked)
        return
    ends = {"low": [], "high": [], "low90": [], "high90": []}
    whole, others = [], defaultdict(list)
    for seed in range(given.seeds):
        start = time.process_time()
        fair = prices.estimate_prices(rows, seed=seed)
        print(f"seed {seed}: {time.process_time() - start:.1f} s of CPU time")
        middle = np.array([one.price for one in fair])
        whole.append(np.where(np.isnan(middle), np.median(asked), middle))
        for name, column in ends.items():
            column.append([getattr(one, name) for one in fair])
        folds = prices.make_folds(groups, prices.NUM_FOLDS, seed)
        found = {name: np.empty(len(rows)) for name in ("median", "linear", "boosting")}
        for fold in range(prices.NUM_FOLDS):
            learnt, new = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            found["median"][new] = estimate_by_median(cars, years, asked, learnt, new)
            found["linear"][new] = np.exp(prices.estimate_linear(table, logs, learnt, new))
            plain = prices.estimate_plain(table, logs, learnt, new, groups, seed=seed)
            found["boosting"][new] = np.exp(plain)
        for name, column in found.items():
            others[name].append(column)
    print("| way | weighted error, % | mean error, % | median, % |\n|---|---|---|---|")
    names = {
        "median": "median of model and year", "linear": "linear model", "boosting": "boosting",
    }  # fmt: skip
    for name, columns in [*others.items(), ("lotlens", whole)]:
        told = measure(np.concatenate(columns), np.tile(asked, given.seeds), len(asked))
        print(f"| {names.get(name, name)} | {told} |")
    for seed, column in enumerate(whole):
        print(f"seed {seed}: {measure(column, asked, len(asked))}")
    tell_coverage(ends, whole, asked, makes)


def tell_coverage(
    ends: dict[str, list[list[float]]],
    whole: list[FloatArray],
    asked: FloatArray,
    makes: FloatArray,
) -> None:
    """Coverage over all, of what the ranking would pick, and by make, all seeds together."""
    seeds = len(whole)
    asked, makes = np.tile(asked, seeds), np.tile(makes, seeds)
    columns = {name: np.concatenate(column) for name, column in ends.items()}
    known = ~np.isnan(columns["low"])
    # The ranking's measure: by how much the lower end exceeds what is asked, of prices that are not
    # so low that they are looked at by hand.
    middle = np.concatenate(whole)
    gain = np.where(known & (asked >= 0.6 * middle), columns["low"] / asked, -np.inf)
    picked = gain >= np.quantile(gain, 1 - _TOP)
    print("\n| adverts | number | 80 % interval holds | 90 % interval holds | width of 80 % |")
    print("|---|---|---|---|---|")
    parts = [("all", known), (f"top {100 * _TOP:.0f} % by the ranking", picked)]
    names, counts = np.unique(makes, return_counts=True)
    parts += [
        (name, known & (makes == name))
        for name, count in zip(names, counts, strict=True)
        if count >= _FEWEST_OF_MAKE * seeds
    ]
    for name, part in parts:
        told = []
        for low, high in (("low", "high"), ("low90", "high90")):
            held = (columns[low] <= asked) & (asked <= columns[high])
            share = held[part].mean()
            num = int(part.sum() / seeds)
            ends_ = compute_wilson_interval(round(share * num), num)
            told.append(f"{100 * share:.1f} ({100 * ends_[0]:.1f} to {100 * ends_[1]:.1f})")
        width = np.median(((columns["high"] - columns["low"]) / middle)[part])
        print(f"| {name} | {num:,} | {' | '.join(told)} | {100 * width:.0f} % |")
    low = asked[picked] < columns["low"][picked]
    print(
        f"Of the picked, {100 * low.mean():.1f} % ask less than the lower end of the 80 % interval."
    )


def draw_curve(
    table: prices.Encoded, logs: FloatArray, groups: NDArray[np.int64], asked: FloatArray
) -> None:
    """Errors with an eighth to all of the adverts to learn from; the same are asked about."""
    print("| share learnt from | adverts | weighted error, % | mean error, % | median, % |")
    print("|---|---|---|---|---|")
    folds = prices.make_folds(groups, prices.NUM_FOLDS, 0)
    kept = np.random.default_rng(0).permutation(len(asked)) / len(asked)
    for share in (0.125, 0.25, 0.5, 1.0):
        found = np.empty(len(asked))
        for fold in range(prices.NUM_FOLDS):
            learnt = np.flatnonzero((folds != fold) & (kept < share))
            new = np.flatnonzero(folds == fold)
            found[new] = np.exp(prices.estimate_middle(table, logs, learnt, new, groups, seed=0))
        count = int(0.8 * share * len(asked))
        print(f"| {share:g} | {count:,} | {measure(found, asked, len(asked))} |")


if __name__ == "__main__":
    main()
