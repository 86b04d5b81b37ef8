"""Whether the gate accepts good outside photos and rejects poisoned ones.

    python benchmarks/gate.py DATA --others DATA196 --recipe quick --seed 0 1 2

The experiment of outside.py: a model is trained on half of DATA's training photos and improved with
the other half, in which faults are planted. Then the same offer is poisoned: every label is
that of the next class. It is offered twice: vetted as ever, and with its labels believed
(`--trust-labels`), which is what the gate is there for. Rows go into gate.csv beside this file;
those that are there already are not measured again. Without DATA it prints them.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from outside import choose_pools, halve, lay_lot, lay_offer, mix_offer
from results import add_row, read_rows, tell

import lotlens
from lotlens.audit.parts import list_held_out, read_split
from lotlens.errors import InputError
from lotlens.judge.compare import compare_models
from lotlens.judge.metrics import align_targets
from lotlens.verbs.improve import improve

RESULTS = Path(__file__).with_suffix(".csv")
COLUMNS = (
    *("data", "recipe", "seed", "offer", "added", "photos", "before", "after", "difference"),
    *("low", "high", "accepted", "test_before", "test_after", "test_low", "test_high", "sentence"),
)
OFFERS = ("good", "poisoned", "poisoned, labels believed")


def measure(data: Path, others: Path, recipe: str, seed: int, folder: Path) -> None:
    """One model and three offers to it."""
    rng = np.random.default_rng([seed, 0])
    pools = choose_pools(data, others)
    own, rest = halve(pools.train.photos, rng)
    lot = lay_lot(pools, own, folder / "lot")
    offered = mix_offer(pools, rest, rng)
    labels = list(pools.train.labels)
    shifted = [
        replace(one, label=labels[(labels.index(one.label) + 1) % len(labels)]) for one in offered
    ]
    run = folder / "run"
    # Folds, so that the gate has every photo of the half to judge by.
    lotlens.train(lot, recipe, overrides=[f"seed={seed}", "folds=3"], out=run, watch=tell)
    assert list_held_out(read_split(run / "split.csv"))
    present = lotlens.load(run).answer(pools.test)
    targets = align_targets(present, pools.test)
    for number, offer in enumerate(OFFERS):
        path = lay_offer(shifted if number else offered, pools.train.classes, folder / str(number))
        try:
            done = improve(
                run,
                outside=path,
                trust_labels=number == 2,
                out=folder / f"candidate-{number}",
                watch=tell,
            )
        except InputError as error:  # nothing was admitted
            add_row(RESULTS, COLUMNS, (data.name, recipe, seed, offer, 0, *[""] * 11, str(error)))
            continue
        told = done.judgement.to_dict()
        test = compare_models(done.model.answer(pools.test), present, targets)
        add_row(
            RESULTS,
            COLUMNS,
            (
                *(data.name, recipe, seed, offer, done.rounds[-1]["Added"], told["photos"]),
                *(f"{told[key]:.4f}" for key in ("accuracy_before", "accuracy", "difference")),
                *(f"{told[key]:.4f}" for key in ("low", "high")),
                "yes" if told["accepted"] else "no",
                *(f"{value:.4f}" for value in (test.second, test.first)),
                *(f"{value:.4f}" for value in (test.pair.low, test.pair.high)),
                told["sentence"],
            ),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--others", type=Path)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    if options.data is not None:
        done = {(row["recipe"], row["seed"]) for row in read_rows(RESULTS)}
        for seed in options.seed:
            if (options.recipe, str(seed)) not in done:
                with tempfile.TemporaryDirectory(prefix="lotlens-") as folder:
                    measure(options.data, options.others, options.recipe, seed, Path(folder))
    print("| recipe | seed | offer | added | out of fold | gate | test before | test after |")
    print("|---|---|---|---|---|---|---|---|")
    for row in read_rows(RESULTS):
        print(
            f"| {row['recipe']} | {row['seed']} | {row['offer']} | {row['added']} |"
            f" {row['before']} to {row['after']} ({row['low']} to {row['high']}) |"
            f" {row['accepted'] or 'nothing admitted'} | {row['test_before']} |"
            f" {row['test_after']} ({row['test_low']} to {row['test_high']}) |"
        )


if __name__ == "__main__":
    main()
