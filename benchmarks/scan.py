"""How a scan does on adverts of which the truth is known.

    lotlens scan RUN listings.csv --photos photos.zip --history history.csv --out DEALS
    python benchmarks/scan.py DEALS/deals.csv truth.csv listings.csv

truth.csv has id and planted: "bargain", "wrong-claim", "stolen" or nothing; that of a drawn market
(`lotlens sample cars --test 2000 --listings`) has "repost", "stock", "damaged" and "bad-cell" too,
and in `related` the advert that was copied. Intervals of shares are Wilson's, that of the error is
of 1,000 resamples of adverts; all are 95 %.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import numpy as np

from lotlens.intervals import compute_wilson_interval
from lotlens.market.listings import read_listings


def tell(name: str, hits: int, trials: int) -> None:
    """A share with its interval as a row of a table."""
    if trials == 0:
        print(f"| {name} | none | |")
        return
    low, high = compute_wilson_interval(hits, trials)
    share = f"{100 * hits / trials:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    print(f"| {name} | {hits} of {trials} | {share} |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    for name in ("deals", "truth", "listings"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    with given.deals.open(encoding="utf-8", newline="") as file:
        deals = {row["id"]: row for row in csv.DictReader(file)}
    with given.truth.open(encoding="utf-8", newline="") as file:
        told = {row["id"]: row for row in csv.DictReader(file)}
    truth = {id_: row["planted"] for id_, row in told.items()}
    num_photos = {row.id: len(row.photos) for row in read_listings(given.listings).rows}
    ranked = sum(1 for row in deals.values() if row["rank"])
    top = math.ceil(len(deals) / 10)
    print("| what | how many | share (95 % interval) |\n|---|---|---|")
    bargains = [id_ for id_, planted in truth.items() if planted == "bargain"]

    def is_top(id_: str) -> bool:
        return bool(deals[id_]["rank"]) and int(deals[id_]["rank"]) <= top

    def has(id_: str, reason: str) -> bool:
        return reason in deals[id_]["by_hand_because"].split("; ")

    tell(f"bargains in the top tenth ({top})", sum(map(is_top, bargains)), len(bargains))
    seen = [id_ for id_ in bargains if is_top(id_) or has(id_, "too cheap")]
    tell("bargains in the top tenth, or by hand as too cheap", len(seen), len(bargains))
    in_order = [id_ for id_ in bargains if deals[id_]["rank"]]
    tell("of bargains in order, in the top tenth", sum(map(is_top, in_order)), len(in_order))
    if all(row.get("true_price") for row in told.values()):
        # What the order could do at best: with the prices that the adverts had before planting.
        saved = {
            id_: float(told[id_]["true_price"]) * 0.95 - float(deals[id_]["price"])
            for id_ in deals
            if deals[id_]["rank"]
        }
        best = sorted(saved, key=saved.__getitem__, reverse=True)[:top]
        tell(
            "the same, were the true prices known", sum(i in best for i in in_order), len(in_order)
        )
    for least, most, name in ((2, 99, "two photos or more"), (1, 1, "one photo")):
        asked = [id_ for id_ in truth if least <= num_photos[id_] <= most]
        wrong = [id_ for id_ in asked if truth[id_] == "wrong-claim"]
        right = [id_ for id_ in asked if truth[id_] in ("", "bargain")]
        found = sum(deals[id_]["claim"] == "contradicted" for id_ in wrong)
        false = sum(deals[id_]["claim"] == "contradicted" for id_ in right)
        kept = sum(deals[id_]["claim"] == "confirmed" for id_ in right)
        tell(f"wrong claims contradicted, {name}", found, len(wrong))
        not_confirmed = sum(deals[id_]["claim"] != "confirmed" for id_ in wrong)
        tell(f"wrong claims not confirmed, {name}", not_confirmed, len(wrong))
        tell(f"right claims contradicted, {name}", false, len(right))
        tell(f"right claims confirmed, {name}", kept, len(right))
    stolen = [id_ for id_, planted in truth.items() if planted == "stolen"]
    tell("stolen photos found", sum(has(id_, "stolen") for id_ in stolen), len(stolen))
    copied = {row["related"] for row in told.values() if row.get("related")}
    for name, some in (("adverts that were copied", copied), ("others", truth.keys() - copied)):
        those = [id_ for id_ in some if truth[id_] != "stolen"]
        tell(f"{name}, held to be stolen", sum(has(id_, "stolen") for id_ in those), len(those))
    for planted, name, is_found in (
        ("stock", "stock pictures found", lambda id_: has(id_, "stock")),
        ("repost", "reposts found", lambda id_: deals[id_]["same_picture"] == "repost"),
        ("damaged", "damaged cars kept out of the order", lambda id_: has(id_, "damaged")),
        ("bad-cell", "rows with a bad cell that say so", lambda id_: deals[id_]["problems"] != ""),
    ):
        those = [id_ for id_, kind in truth.items() if kind == planted]
        if those:
            tell(name, sum(map(is_found, those)), len(those))
    priced = [row for row in deals.values() if row["fair_price"] and row["price"]]
    honest = [row for row in priced if truth[row["id"]] in ("", "wrong-claim")]
    for low, high, level in (("fair_low", "fair_high", 80), ("fair_low90", "fair_high90", 90)):
        held = sum(int(row[low]) <= int(row["price"]) <= int(row[high]) for row in honest)
        tell(f"{level} % interval holds the price asked", held, len(honest))
    asked = np.array([int(row["price"]) for row in honest])
    wrong = np.abs(np.array([int(row["fair_price"]) for row in honest]) - asked)
    picks = np.random.default_rng(0).integers(len(asked), size=(1000, len(asked)))
    low, high = np.percentile(wrong[picks].sum(axis=1) / asked[picks].sum(axis=1), [2.5, 97.5])
    print(
        f"\nIn order: {ranked}. Weighted error of the fair price:"
        f" {100 * wrong.sum() / asked.sum():.1f} % ({100 * low:.1f} to {100 * high:.1f})."
    )


if __name__ == "__main__":
    main()
