"""Measures lotlens beside other tools: the same photos, split and pretrained network.

    python benchmarks/peers/prepare.py RUN LAID
    python benchmarks/peers/measure.py LAID --peer fastai --python VENV/bin/python --seed 0 --out F
    python benchmarks/peers/measure.py LAID --peer lotlens --recipe standard --seed 0 --out F
    python benchmarks/peers/measure.py

Peers are `NAME_peer.py` beside this file, which say what to install in an environment of their own;
options that are none of those here are given to them, or to `lotlens train`. A row goes into
peers.csv (or into --results): minutes and CPU minutes of training and answering from start to end,
the most memory that one process of it took, photos answered a second (of lotlens with the start of
its command, of peers without it and the network loaded), and the right answers as a hexadecimal
number of one bit a photo, by id. Without LAID it prints the tables of that file. Nothing is to be
chosen by these figures.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from lotlens.intervals import compute_wilson_interval
from lotlens.judge.compare import Answers, compare_pair, measure_spread
from lotlens.run import RunFolder

sys.path.append(str(Path(__file__).parents[1]))
from results import add_row, read_answers, read_rows

HERE = Path(__file__).parent
COLUMNS = (
    *("peer", "seed", "validation", "test", "low", "high", "photos", "wall_min", "cpu_min"),
    *("images_per_s", "peak_mb", "right"),
)
MEGABYTE = 1024  # in the kilobytes of ru_maxrss


def run_process(command: Sequence[str], log: Path) -> tuple[float, float, float]:
    """Run to the end; what it says goes into the log.

    Returns:
        wall seconds, CPU seconds of it and of what it started, and the megabytes that the largest
        of these processes took.
    """
    begin = time.perf_counter()
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: see {log}")
    wall_s = time.perf_counter() - begin
    return wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / MEGABYTE


def run_peer(
    laid: Path, name: str, python: Path, seed: int, out: Path, own: Sequence[str]
) -> dict[str, object]:
    """Train and predict by a peer's script."""
    script = HERE / f"{name}_peer.py"
    command = [str(python), str(script), str(laid), str(out), "--seed", str(seed), *own]
    wall_s, cpu_s, peak = run_process(command, out / "log.txt")
    timing = json.loads((out / "timing.json").read_text(encoding="utf-8"))
    return {
        "validation": f"{timing['validation_accuracy']:.4f}",
        "wall_min": f"{wall_s / 60:.2f}",
        "cpu_min": f"{cpu_s / 60:.2f}",
        "images_per_s": f"{timing['num_predicted'] / timing['predict_s']:.1f}",
        "peak_mb": f"{peak:.0f}",
    }


def run_lotlens(
    laid: Path, recipe: str, python: Path, seed: int, out: Path, own: Sequence[str]
) -> dict[str, object]:
    """Train and predict by two commands of lotlens."""
    lotlens, run, log = (str(python), "-m", "lotlens.cli"), out / "run", out / "log.txt"
    data = json.loads((laid / "source.json").read_text(encoding="utf-8"))["data"]
    how = ("--recipe", recipe, "--set", f"seed={seed}", "--split", str(laid / "split.csv"))
    train = run_process([*lotlens, "train", data, *how, "--out", str(run), *own], log)
    answers = ("--format", "submission", "--out", str(out / "predictions.csv"))
    predict = run_process([*lotlens, "predict", str(run), str(laid / "test"), *answers], log)
    num_predicted = len(list((laid / "test").iterdir()))
    return {
        "validation": f"{RunFolder(run).read_card().metrics[0].value:.4f}",
        "wall_min": f"{(train[0] + predict[0]) / 60:.2f}",
        "cpu_min": f"{(train[1] + predict[1]) / 60:.2f}",
        "images_per_s": f"{num_predicted / predict[0]:.1f}",
        "peak_mb": f"{max(train[2], predict[2]):.0f}",
    }


def score(laid: Path, predictions: Path) -> dict[str, object]:
    """Right answers to the photos of test/; one without an answer counts as wrong."""
    data = Path(json.loads((laid / "source.json").read_text(encoding="utf-8"))["data"])
    answers, truth = (
        {row["Id"]: row["Category"] for row in csv.DictReader(path.open(encoding="utf-8"))}
        for path in (predictions, data / "test-labels.csv")
    )
    ids = sorted(path.name for path in (laid / "test").iterdir() if path.name in truth)
    bits = "".join("01"[answers.get(id_) == truth[id_]] for id_ in ids)
    num_right = bits.count("1")
    low, high = compute_wilson_interval(num_right, len(ids))
    return {
        "test": f"{num_right / len(ids):.4f}",
        "low": f"{low:.4f}",
        "high": f"{high:.4f}",
        "photos": len(ids),
        "right": f"{int(bits, 2):x}",
    }


def count_lines(peer: str) -> int:
    """Statements in a peer's script that its user would write too; of lotlens, commands."""
    script = HERE / f"{peer.partition(' ')[0]}_peer.py"
    if not script.is_file():
        return 2
    whole = ast.parse(script.read_text(encoding="utf-8"))
    main = next(one for one in whole.body if getattr(one, "name", "") == "main")
    functions = [one for one in main.body if isinstance(one, ast.FunctionDef)]
    statements = [one for each in functions for one in ast.walk(each) if isinstance(one, ast.stmt)]
    return sum(
        not isinstance(one, ast.FunctionDef)
        and not (isinstance(one, ast.Return) and isinstance(one.value, ast.Name | ast.Tuple))
        and "check_weights" not in ast.unparse(one)
        for one in statements
    )


def print_tables(results: Path) -> None:
    """Each peer over its seeds, then each beside each recipe of lotlens on the seeds of both."""
    by_peer: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read_rows(results):
        by_peer[row["peer"]].append(row)
    answers: dict[str, Answers] = {}
    print(
        "| tool | seeds | validation | test, mean (95 % interval) | minutes | CPU minutes"
        " | images/s | peak, MB | lines |\n" + "|---" * 9 + "|"
    )
    for peer, rows in by_peer.items():
        answers[peer] = read_answers(rows)
        spread = measure_spread(answers[peer])
        means = {name: mean(float(row[name]) for row in rows) for name in COLUMNS[2:-1]}
        print(
            f"| {peer} | {len(rows)} | {means['validation']:.3f}"
            f" | {spread.mean:.3f} ({spread.low:.3f} to {spread.high:.3f})"
            f" | {means['wall_min']:.1f} | {means['cpu_min']:.1f} | {means['images_per_s']:.0f}"
            f" | {means['peak_mb']:.0f} | {count_lines(peer)} |"
        )
    print("\n| pair | seeds | points on test (95 % interval) | p | verdict |\n" + "|---" * 5 + "|")
    for ours in (peer for peer in by_peer if peer.startswith("lotlens")):
        for other in (peer for peer in by_peer if not peer.startswith("lotlens")):
            if not set(answers[ours].seeds) & set(answers[other].seeds):
                continue
            pair = compare_pair(answers[ours], answers[other], names=(ours, other))
            print(
                f"| {ours} less {other} | {pair.num_seeds} | {100 * pair.difference:+.1f}"
                f" ({100 * pair.low:+.1f} to {100 * pair.high:+.1f}) | {pair.p:.2g}"
                f" | {pair.verdict} |"
            )


def main() -> None:
    """Measure, if there is something to measure, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("laid", type=Path, nargs="?")
    parser.add_argument("--peer", default="lotlens")
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--recipe", default="standard", help="of lotlens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("peer-runs"))
    parser.add_argument("--results", type=Path, default=HERE / "peers.csv")
    options, own = parser.parse_known_args()
    if options.laid is not None:
        is_ours = options.peer == "lotlens"
        name = " ".join([options.peer, *([options.recipe] if is_ours else []), *own])
        out = options.out / f"{name.replace(' ', '_').replace('/', '_')}-{options.seed}"
        out.mkdir(parents=True)
        python, run = options.python.absolute(), run_lotlens if is_ours else run_peer
        peer = options.recipe if is_ours else options.peer
        found = run(options.laid, peer, python, options.seed, out, own)
        found |= {
            "peer": name,
            "seed": options.seed,
            **score(options.laid, out / "predictions.csv"),
        }
        add_row(options.results, COLUMNS, [found[column] for column in COLUMNS])
    print_tables(options.results)


if __name__ == "__main__":
    main()
