"""Many trainings on one split, and which of them is better; it prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from lotlens.answering.answers import load_predictions
from lotlens.files import write_rows_atomically
from lotlens.judge.compare import Answers, Comparison, Rights, gather_answers, measure_spread
from lotlens.judge.metrics import ACCURACY, CALIBRATION_ERROR, LOG_LOSS, MACRO_F1, align_targets
from lotlens.recipes.schema import Finetune
from lotlens.records import Catalog, Metric
from lotlens.run import RunFolder
from lotlens.sweep.grid import Grid
from lotlens.texts import describe

FINISHED: Final = "finished"
FAILED: Final = "failed"

CAUTION = (
    "These are figures on validation, which also chose each run's weights and views: they flatter,"
    " the best of six by about a point of accuracy on 130 photos, and so does the best of many"
    " variants. Judge the variant you keep on photos that no run has seen."
)

_MOST_SENTENCES = 10


@dataclass(frozen=True)
class SweepRun:
    """One training of a sweep.

    Attributes:
        variant: its label.
        values: varied key -> value as it was written.
        seed: of the training.
        path: the run folder.
        status: "finished" or "failed".
        reason: why it failed, in one line; empty if it did not.
        metrics: on validation, with intervals; empty if it failed.
        chosen: which weights validation chose.
        num_candidates: among how many; 0 where that is not known.
        wall_s, cpu_s: how long it trained.
    """

    variant: str
    values: Mapping[str, str]
    seed: int
    path: Path
    status: Literal["finished", "failed"]
    reason: str = ""
    metrics: tuple[Metric, ...] = ()
    chosen: str = ""
    num_candidates: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def __repr__(self) -> str:
        return describe("SweepRun", ", ".join([self.variant, f"seed {self.seed}", self.status]))

    def find_metric(self, name: str) -> Metric | None:
        """A metric by name, None if the run has none such."""
        return next((metric for metric in self.metrics if metric.name == name), None)


@dataclass(frozen=True)
class VariantSummary:
    """How a variant did over its finished runs; accuracies on the photos that all of them answered.

    Attributes:
        variant: its label.
        values: varied key -> value as it was written.
        num_seeds: finished runs.
        accuracy: their mean.
        low, high: its 95 % interval, for other photos and, with several seeds, other seeds.
        deviation: standard deviation over seeds (n - 1); None with one.
        lowest, highest: single runs' accuracies.
        minutes: mean time of a training.
        accuracies: one per finished run.
    """

    variant: str
    values: Mapping[str, str]
    num_seeds: int
    accuracy: float
    low: float
    high: float
    deviation: float | None
    lowest: float
    highest: float
    minutes: float
    accuracies: tuple[float, ...]

    def __repr__(self) -> str:
        return describe("VariantSummary", f"{self.variant}: accuracy {self.accuracy:.3f}")


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        path: its folder.
        keys: what was varied.
        runs: one per variant and seed.
        summary: one per variant with a finished run, in the grid's order.
        comparisons: every pair of them.
        conclusion: in plain sentences.
        tracking: what became of the MLflow store, in one line.
    """

    path: Path
    keys: tuple[str, ...]
    runs: tuple[SweepRun, ...]
    summary: tuple[VariantSummary, ...]
    comparisons: tuple[Comparison, ...]
    conclusion: tuple[str, ...]
    tracking: str

    def __repr__(self) -> str:
        return describe(f"Sweep of {len(self.runs)} runs", " ".join(self.conclusion))

    @property
    def failed(self) -> tuple[SweepRun, ...]:
        return tuple(run for run in self.runs if run.status == FAILED)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "out": str(self.path),
            "keys": list(self.keys),
            "runs": [{**asdict(run), "path": str(run.path)} for run in self.runs],
            "summary": [asdict(row) for row in self.summary],
            "comparisons": [asdict(pair) for pair in self.comparisons],
            "conclusion": list(self.conclusion),
            "caution": CAUTION,
            "tracking": self.tracking,
        }


def conclude(comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """What the comparisons say, in plain sentences."""
    if not comparisons:
        return ("There is no pair of variants to compare.",)
    told = sorted(
        (pair for pair in comparisons if pair.verdict != "cannot tell"),
        key=lambda pair: (pair.p_holm, -abs(pair.difference)),
    )
    photos = _show_range(pair.num_photos for pair in comparisons)
    seeds = _show_range(pair.num_seeds for pair in comparisons)
    basis = f"{photos} photos and {seeds} {'seed' if seeds == '1' else 'seeds'}"
    sentences = [_describe(pair) for pair in told[:_MOST_SENTENCES]]
    if len(told) > _MOST_SENTENCES:
        sentences.append(f"So are {len(told) - _MOST_SENTENCES} more pairs: see comparisons.csv.")
    num_alike = len(comparisons) - len(told)
    if not told:
        sentences.append(f"No pair can be told apart on {basis}.")
    elif num_alike:
        pairs = "pair" if num_alike == 1 else "pairs"
        sentences.append(f"{num_alike} other {pairs} cannot be told apart on {basis}.")
    fewest = min(pair.num_seeds for pair in comparisons)
    if fewest == 1:
        sentences.append(
            "With one seed each this is about these trained models: another seed may turn it round."
        )
    elif fewest == 2:
        sentences.append(
            "Two seeds each hardly show how much the seed alone changes, so that only very large"
            " differences can be told: take three or more."
        )
    return tuple(sentences)


def gather(grid: Grid, runs: Sequence[SweepRun], catalog: Catalog) -> dict[str, Answers]:
    """The validation answers of every variant that has finished runs."""
    answers = {}
    for variant in grid.variants:
        finished = {
            run.seed: _list_rights(RunFolder(run.path), catalog)
            for run in runs
            if run.variant == variant.label and run.status == FINISHED
        }
        if finished:
            answers[variant.label] = gather_answers(finished)
    return answers


def _list_rights(folder: RunFolder, catalog: Catalog) -> tuple[list[str], Rights]:
    """Ids of the answered validation photos, and whether each answer is right."""
    predictions = load_predictions(folder.validation_path)
    targets = align_targets(predictions, catalog)
    keep = predictions.answered & (targets >= 0)
    ids = [id_ for id_, kept in zip(predictions.ids, keep, strict=True) if kept]
    return ids, predictions.logits[keep].argmax(axis=1) == targets[keep]


def summarise(
    grid: Grid, runs: Sequence[SweepRun], answers: Mapping[str, Answers]
) -> tuple[VariantSummary, ...]:
    """A row for each variant with a finished run, in the order of the grid."""
    rows = []
    for variant in grid.variants:
        if variant.label not in answers:
            continue
        spread = measure_spread(answers[variant.label])
        single = answers[variant.label].is_right.mean(axis=1)
        walls = [r.wall_s for r in runs if r.variant == variant.label and r.status == FINISHED]
        rows.append(
            VariantSummary(
                variant.label,
                variant.values,
                len(single),
                spread.mean,
                spread.low,
                spread.high,
                float(single.std(ddof=1)) if len(single) > 1 else None,
                float(single.min()),
                float(single.max()),
                float(np.mean(walls)) / 60,
                tuple(single.tolist()),
            )
        )
    return tuple(rows)


def write_runs(out: Path, keys: Sequence[str], runs: Sequence[SweepRun]) -> None:
    """Write runs.csv: a row for each run so far."""
    columns = (
        *("variant", *keys, "seed", "accuracy", "low", "high", "macro_f1", "log_loss"),
        *("calibration_error", "chosen", "wall_s", "cpu_s", "status", "reason", "run"),
    )
    rows = []
    for run in runs:
        accuracy = run.find_metric(ACCURACY)
        figures: list[float | None] = [None] * 3
        if accuracy is not None:
            figures = [accuracy.value, accuracy.low, accuracy.high]
        for name in (MACRO_F1, LOG_LOSS, CALIBRATION_ERROR):
            metric = run.find_metric(name)
            figures.append(None if metric is None else metric.value)
        rows.append(
            [
                run.variant,
                *(run.values[key] for key in keys),
                run.seed,
                *map(_show, figures),
                run.chosen,
                f"{run.wall_s:.1f}",
                f"{run.cpu_s:.1f}",
                run.status,
                run.reason,
                run.path.name,
            ]
        )
    write_rows_atomically(out / "runs.csv", columns, rows)


def write_tables(
    out: Path,
    keys: Sequence[str],
    summary: Sequence[VariantSummary],
    comparisons: Sequence[Comparison],
) -> None:
    """Write summary.csv and comparisons.csv."""
    columns = ("accuracy", "low", "high", "deviation", "lowest", "highest", "minutes")
    write_rows_atomically(
        out / "summary.csv",
        ("variant", *keys, "seeds", *columns),
        [
            [
                row.variant,
                *(row.values[key] for key in keys),
                row.num_seeds,
                *(_show(getattr(row, column)) for column in columns),
            ]
            for row in summary
        ],
    )
    write_rows_atomically(
        out / "comparisons.csv",
        (
            *("first", "second", "difference", "low", "high", "p", "p_holm", "verdict"),
            *("photos", "seeds"),
        ),
        [
            [
                pair.first,
                pair.second,
                *map(_show, (pair.difference, pair.low, pair.high)),
                f"{pair.p:.3g}",
                f"{pair.p_holm:.3g}",
                pair.verdict,
                pair.num_photos,
                pair.num_seeds,
            ]
            for pair in comparisons
        ],
    )


def _show(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _show_range(values: Iterable[int]) -> str:
    found = sorted(set(values))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def note_probes(grid: Grid, runs: Sequence[SweepRun]) -> list[str]:
    """A word where fine-tuning was varied and cannot have mattered."""
    stages = grid.base.stages
    choosing = [n for n, s in enumerate(stages) if isinstance(s, Finetune) and s.keep_best]
    chosen = {run.chosen for run in runs if run.status == FINISHED}
    if not grid.keys or not choosing or chosen != {"probe"}:
        return []
    settings = " ".join(f"--set stages.{number}.keep_best=false" for number in choosing)
    return [
        "Validation kept the probe's weights in every run, whatever fine-tuning did: to compare"
        f" fine-tuning itself, sweep with  {settings}"
    ]


def note_candidates(runs: Sequence[SweepRun]) -> list[str]:
    """A word where some variants had more to choose from on the photos that judge all."""
    counts = {run.num_candidates for run in runs if run.status == FINISHED} - {0}
    if len(counts) < 2:
        return []
    return [
        f"The runs chose among {min(counts)} to {max(counts)} sets of weights on these photos,"
        " which flatters those with more to choose from, by a point or so: compare such variants"
        " on photos that no run has seen (--set lock=0.15, then  lotlens compare A B --locked)."
    ]


def _describe(pair: Comparison) -> str:
    better, worse, ends = pair.first, pair.second, (pair.low, pair.high)
    if pair.verdict == "worse":
        better, worse, ends = pair.second, pair.first, (-pair.high, -pair.low)
    return (
        f"{better} is better than {worse} by {100 * abs(pair.difference):.1f} points"
        f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f}), p = {pair.p_holm:.2g}."
    )
