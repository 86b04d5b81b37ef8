"""Photos answered on Ray: the same rows, their rate, the driver's memory, and where it ends.

    python benchmarks/cluster.py rows BUNDLE PHOTOS --photos 5000 --rounds 3
    python benchmarks/cluster.py scan BUNDLE PHOTOS --photos 5000
    python benchmarks/cluster.py memory BUNDLE --rows 10000 30000 100000
    python benchmarks/cluster.py simulate BUNDLE --plot benchmarks/cluster.svg
    python benchmarks/cluster.py folds DATA --recipe quick --folds 4 --rounds 2

`rows` answers the same photos by the local engine and on a Ray of this machine, in turns, and
compares the tables byte for byte. The rate is that between the first 512 answers and the last, so
that it holds neither Ray's start nor the models'. `scan` does so with drawn adverts, each of which
has three of the photos.

In `memory` and `simulate` workers sleep as long as photos take, and give answers that are made up:
what is measured is the driver, which hands out places, takes answers, keeps them piece by piece and
writes the tables. Each `memory` run is a process of its own. In `simulate` eight processes hold all
workers, for a machine has no room for more; the driver sees and serves them one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lotlens.cluster import crew, photos
from lotlens.cluster.address import keep_cluster, open_cluster
from lotlens.cluster.worker import introduce
from lotlens.deliver.journal import Journal
from lotlens.deliver.model import load
from lotlens.drawn.market import draw_adverts, write_adverts
from lotlens.photos.sources import open_unlabelled
from lotlens.records import OK, Catalog, Locator, Photo, Predictions
from lotlens.verbs.predict import _write_tables, fill_journal, write_answers
from lotlens.verbs.scan import scan

PIECE = 512
NUM_PROCESSES = 8


@dataclass
class Clock:
    """When how much was done."""

    marks: list[tuple[float, int]]

    def __call__(self, what: str, done: int, total: int) -> None:  # noqa: ARG002
        if what == "predicting":
            self.marks.append((time.perf_counter(), done))

    @property
    def rate(self) -> float:
        """Photos a second from the first piece on."""
        begun = next(mark for mark in self.marks if mark[1] >= PIECE)
        return (self.marks[-1][1] - begun[1]) / (self.marks[-1][0] - begun[0])


def take_photos(path: Path, num: int, out: Path) -> Path:
    """The first so many photos of a zip or folder, in a zip of their own, as adverts' are named."""
    from lotlens.photos.archives import PhotoReader

    with zipfile.ZipFile(out, "w") as archive, PhotoReader() as reader:
        for number, photo in enumerate(open_unlabelled([path]).test.photos[:num]):
            advert, place = divmod(number, 3)
            archive.writestr(f"{advert + 1}-{place + 1}.jpg", reader.read(photo.locator))
    return out


def watch_workers() -> list[float]:
    """CPU seconds of workers, added when each is sent home: their start is among them."""
    spent: list[float] = []
    processes: list[int] = []
    welcome, send_home = crew.Crew._welcome, crew.Crew._send_home

    def note(self: Any, hand: Any, told: Any) -> None:
        processes.append(told.process)
        welcome(self, hand, told)

    def count(self: Any) -> None:
        for process in processes:
            words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            spent.append((int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"))
        processes.clear()
        send_home(self)

    crew.Crew._welcome, crew.Crew._send_home = note, count
    return spent


def measure_rows(bundle: Path, source: Path, num: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name, keep_cluster("ray"):
        folder = Path(name)
        zipped = take_photos(source, num, folder / "photos.zip")
        ratios, whole, thrift, tables = [], [], [], set()
        workers_s = watch_workers()
        for number in range(rounds):
            rates, seconds, cpu_s = {}, {}, {}
            # The order changes, for what follows another finds files in the page cache.
            for on in ("", "ray") if number % 2 else ("ray", ""):
                clock, begun, begun_cpu_s = Clock([]), time.perf_counter(), time.process_time()
                paths = [folder / f"{one}.csv" for one in ("answers", "details")]
                out, details = paths
                write_answers(bundle, zipped, out=out, details=details, on=on, watch=clock)
                seconds[on], rates[on] = time.perf_counter() - begun, clock.rate
                cpu_s[on] = time.process_time() - begun_cpu_s + sum(workers_s)
                workers_s.clear()
                tables.add(b"".join(path.read_bytes() for path in paths))
            ratios.append(rates["ray"] / rates[""])
            whole.append(seconds[""] / seconds["ray"])
            thrift.append(cpu_s[""] / cpu_s["ray"])
            print(
                f"round {number}: local {rates['']:.1f}/s ({seconds['']:.0f} s whole), ray"
                f" {rates['ray']:.1f}/s ({seconds['ray']:.0f} s whole); ratio {ratios[-1]:.3f},"
                f" whole {whole[-1]:.3f}; CPU {cpu_s['']:.1f} and {cpu_s['ray']:.1f} s;"
                f" load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
        print(
            f"{num:,} photos:",
            "the same tables, byte for byte" if len(tables) == 1 else "DIFFERENT",
        )
        for what, values in (("rate", ratios), ("whole", whole), ("rows a CPU second", thrift)):
            print(f"{what}: {statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")


def measure_scan(bundle: Path, source: Path, num: int) -> None:
    with tempfile.TemporaryDirectory() as name, keep_cluster("ray"):
        folder = Path(name)
        zipped = take_photos(source, num, folder / "photos.zip")
        names = [car.name for car in load(bundle).card.classes]
        adverts = draw_adverts(num // 3, names, seed=0)
        adverts = [replace(one, photos=("", "", "")) for one in adverts]  # three each
        write_adverts(folder / "adverts.csv", adverts)
        told = {}
        for on in ("ray", ""):
            begun = time.perf_counter()
            found = scan(bundle, folder / "adverts.csv", zipped, out=folder / f"deals{on}", on=on)
            told[on] = (found.folder / "deals.csv").read_bytes()
            print(
                f"{on or 'local'}: {found.num_photos:,} photos, {time.perf_counter() - begun:.0f} s"
            )
        print("the same deals.csv" if told["ray"] == told[""] else "DIFFERENT deals.csv")


class Sleeper:
    """A worker whose answers are made up, and take as long as photos do."""

    def __init__(self, per_s: float, classes: Any) -> None:
        self._per_s, self._classes = per_s, classes

    def introduce(self, witnesses: Any) -> Any:
        return introduce(witnesses)

    def answer(self, catalog: Catalog) -> Predictions:
        num = len(catalog)
        if self._per_s:
            time.sleep(num / self._per_s)
        rng = np.random.default_rng(num)
        logits = rng.standard_normal((num, len(self._classes)), dtype=np.float32)
        scores = rng.standard_normal((num, 4), dtype=np.float32)
        return Predictions(
            catalog.ids, logits, None, (OK,) * num, self._classes, ("",) * num, scores
        )


def make_up(num: int) -> Catalog:
    """A catalog of so many photos, in one zip that nobody opens."""
    place = Path(__file__).absolute()
    return Catalog(
        tuple(Photo(f"{n:07}.jpg", Locator(place, (f"photos/{n:07}.jpg",))) for n in range(num)), ()
    )


def read_peak() -> float:
    """MiB that this process has had at most, or has: it is set anew."""
    text = Path("/proc/self/status").read_text()
    return (
        next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")) / 1024
    )


def measure_one(bundle: Path, num: int) -> None:
    """The driver's part of a prediction of made-up photos; a line of JSON."""
    model = load(bundle)
    catalog = make_up(num)
    with tempfile.TemporaryDirectory() as name, open_cluster("ray") as ray:
        hire = make_hire(ray, model, 0.0)
        photos._hiring = lambda *_: hire
        out = Path(name) / "answers.csv"
        journal = Journal(out, "made up", catalog.ids)
        base = read_peak()
        clock, begun = Clock([]), time.perf_counter()
        fill_journal(model, catalog, journal, clock, "ray")
        answered_s, after = time.perf_counter() - begun, read_peak()
        from lotlens.deliver.table import FOR_PEOPLE

        begun = time.perf_counter()
        _write_tables(model, journal.read, {out: FOR_PEOPLE}, None)
        written_s = time.perf_counter() - begun
        first = next(at for at, done in clock.marks if done)
        rest = num - next(done for _, done in clock.marks if done)
        print(
            json.dumps(
                {
                    "rows": num,
                    "before": base,
                    "answering": after,
                    "end": read_peak(),
                    "answered_s": answered_s,
                    "per_1000_s": (clock.marks[-1][0] - first) / rest * 1000,
                    "written_s": written_s / num * 1000,
                }
            )
        )


def make_hire(ray: Any, model: Any, per_s: float) -> Callable[[], Any]:
    """Workers without a core of their own: they only sleep."""
    kind = ray.remote(Sleeper).options(num_cpus=0)
    return lambda: kind.remote(per_s, model.card.classes)


def measure_memory(bundle: Path, rows: Sequence[int]) -> None:
    print("| rows | before, MiB | answering, MiB | tables written, MiB | s a thousand rows |"
          " tables, s a thousand |")  # fmt: skip
    print("|---" * 6 + "|")
    for num in rows:
        words = [sys.executable, __file__, "one", str(bundle), "--rows", str(num)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        told = json.loads(done.stdout.splitlines()[-1])
        cells = [f"{told[name]:.0f}" for name in ("before", "answering", "end")]
        cells += [f"{told['per_1000_s']:.3f}", f"{told['written_s']:.3f}"]
        print(f"| {num:,} | {' | '.join(cells)} |", flush=True)


def simulate(
    bundle: Path, workers: Sequence[int], rates: Sequence[float], plot: Path | None
) -> None:
    model = load(bundle)
    found: dict[float, list[float]] = {rate: [] for rate in rates}
    print(
        "| workers | "
        + " | ".join(f"at {rate:.0f} photos/s each: rows/s, share" for rate in rates)
        + " |"
    )
    print("|---" * (1 + len(rates)) + "|")
    with open_cluster("ray") as ray:
        kind = ray.remote(Sleeper).options(num_cpus=0, max_concurrency=64)
        # A worker is at its two pieces at the same time here, each at half the rate.
        actors = {
            rate: [kind.remote(rate / 2, model.card.classes) for _ in range(NUM_PROCESSES)]
            for rate in rates
        }
        ray.get([actor.introduce.remote(()) for own in actors.values() for actor in own])
        ray.kill = lambda _: None  # they are needed again
        for num in workers:
            cells = []
            for rate in rates:
                found[rate].append(simulate_one(model, actors[rate], num, rate))
                cells.append(f"{found[rate][-1]:,.0f}, {found[rate][-1] / (num * rate):.2f}")
            print(f"| {num} | {' | '.join(cells)} |", flush=True)
    if plot is not None:
        draw(plot, workers, found)


def simulate_one(model: Any, actors: Sequence[Any], num: int, rate: float) -> float:
    """Rows a second by so many workers, each of which answers `rate` photos a second."""
    turns = iter(range(num))
    photos._hiring = lambda *_: lambda: actors[next(turns) % len(actors)]
    count = crew.count_workers
    crew.count_workers = lambda _: num
    pieces = max(4 * num, int(6 * num * rate / PIECE))  # six seconds, or four pieces each
    catalog = make_up(pieces * PIECE)
    try:
        with tempfile.TemporaryDirectory() as name:
            journal = Journal(Path(name) / "answers.csv", "made up", catalog.ids)
            clock = Clock([])
            fill_journal(model, catalog, journal, clock, "ray")
    finally:
        crew.count_workers = count
    # From the first round of all workers on to when the first of them has no more to do.
    begun = next(mark for mark in clock.marks if mark[1] >= num * PIECE)
    ended = next(mark for mark in clock.marks if mark[1] >= (pieces - num) * PIECE)
    return (ended[1] - begun[1]) / (ended[0] - begun[0])


def draw(path: Path, workers: Sequence[int], found: dict[float, list[float]]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for rate, values in found.items():
        label = f"workers of {rate:.0f} photos a second"
        (line,) = axes.plot(workers[: len(values)], values, "o-", label=label)
        axes.plot(workers, [num * rate for num in workers], ":", color=line.get_color())
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="rows a second")
    axes.set_xticks(workers, [str(num) for num in workers])
    axes.minorticks_off()
    axes.set_title("One driver; dotted: if it cost nothing", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def measure_folds(data: Path, recipe: str, num_folds: int, rounds: int) -> None:
    import lotlens

    with tempfile.TemporaryDirectory() as name:
        ratios, weights = [], set()
        for number in range(rounds):
            seconds = {}
            for jobs in (1, 2) if number % 2 else (2, 1):
                begun = time.perf_counter()
                model = lotlens.train(
                    data,
                    recipe,
                    overrides={"folds": num_folds},
                    out=Path(name) / f"{number}-{jobs}",
                    num_jobs=jobs,
                )
                seconds[jobs] = time.perf_counter() - begun
                weights.add(model.card.weights_sha256)
            ratios.append(seconds[1] / seconds[2])
            print(
                f"round {number}: {seconds[1]:.0f} s, with --jobs 2 {seconds[2]:.0f} s", flush=True
            )
        print("the same weights" if len(weights) == 1 else "DIFFERENT weights")
        print(f"faster by {statistics.mean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["rows", "scan", "memory", "one", "simulate", "folds"])
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64])
    parser.add_argument("--rates", type=float, nargs="+", default=[100.0, 1000.0])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--folds", type=int, default=4)
    given = parser.parse_args()
    if given.what == "rows":
        measure_rows(*given.paths, given.photos, given.rounds)
    elif given.what == "scan":
        measure_scan(*given.paths, given.photos)
    elif given.what == "memory":
        measure_memory(*given.paths, given.rows)
    elif given.what == "one":
        measure_one(*given.paths, given.rows[0])
    elif given.what == "simulate":
        simulate(*given.paths, given.workers, given.rates, given.plot)
    else:
        measure_folds(*given.paths, given.recipe, given.folds, given.rounds)


if __name__ == "__main__":
    main()
