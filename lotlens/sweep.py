"""Many trainings on one split, and which of them is better; it prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from lotlens import api, tracking
from lotlens.audit.split import (
    TRAIN,
    VALIDATION,
    check_split,
    count_folds,
    read_split,
    write_split,
)
from lotlens.errors import InputError, LotlensError, MissingExtra, OutputError
from lotlens.files import write_rows_atomically
from lotlens.grid import Grid, Variant, build_grid
from lotlens.judge.compare import (
    Answers,
    Comparison,
    Rights,
    compare_all,
    gather_answers,
    measure_spread,
)
from lotlens.judge.metrics import (
    ACCURACY,
    CALIBRATION_ERROR,
    LOG_LOSS,
    MACRO_F1,
    align_targets,
)
from lotlens.judge.predict import load_predictions
from lotlens.photos.sources import check_trainable
from lotlens.recipe import Finetune, Recipe, parse_recipe
from lotlens.records import Catalog, Metric, Split, Watcher
from lotlens.report.sweep import draw_sweep
from lotlens.run import RunFolder

FINISHED: Final = "finished"
FAILED: Final = "failed"

CAUTION = (
    "These are figures on validation, which also chose each run's weights and views: they flatter a"
    " little. Judge the variant you keep on photos that no run has seen."
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
    wall_s: float = 0.0
    cpu_s: float = 0.0

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


def run_sweep(
    data: Path | str,
    vary: Sequence[str],
    recipe: str | Path | Recipe | None = None,
    *,
    overrides: Sequence[str] = (),
    num_seeds: int = 3,
    out: Path | str | None = None,
    split_path: Path | str | None = None,
    watch: Watcher | None = None,
) -> Sweep:
    """Train every combination of the varied values with several seeds, and compare them.

    All runs share one split, drawn with the base recipe's seed; seeds vary the training alone.
    Each run is an ordinary run folder in `out`. The same call again skips runs that are finished
    and goes on with one that was stopped. Written besides: split.csv, runs.csv, summary.csv,
    comparisons.csv, sweep.svg, and with MLflow mlflow.db.

    The name is not that of the command, since `lotlens.sweep` is this module.

    Args:
        data: labelled photos, in any form that `open_lot` knows.
        vary: "optimiser=adam,nadam" and the like (see `grid.build_grid`).
        recipe: what is varied: a name, a YAML file or a Recipe; "standard" if None.
        overrides: "stages.1.lr=3e-4" and the like, for every run.
        num_seeds: runs of each variant, with the recipe's seed and those after it.
        out: the folder; None for sweeps/DATA-RECIPE-KEYS.
        split_path: a split of `lotlens split` or of an earlier run to use instead.
        watch: told of the work as it goes on.

    Returns:
        a run that failed is in `runs` with its reason; the others went on.

    Raises:
        InputError, RecipeError: what was given cannot be used, or does not fit what `out` holds;
            nothing was trained then.
        OutputError: a table cannot be written.
        MissingExtra: lotlens[train] is not installed.
        KeyboardInterrupt: Ctrl-C; runs.csv then has the runs that are finished.
    """
    grid = build_grid(vary, recipe, overrides, num_seeds=num_seeds)
    data = Path(data)
    lot = api.open_data(data)
    check_trainable(lot)
    out = Path("sweeps") / _name(data, grid) if out is None else Path(out)
    seeds = range(grid.base.seed, grid.base.seed + num_seeds)
    planned = [
        (variant, seed, _run_folder(out, variant, seed))
        for variant in grid.variants
        for seed in seeds
    ]
    given = _read_given_split(split_path, grid)
    splits = {
        num_folds: _read_shared_split(
            split_path_for(num_folds, out), num_folds, grid.base, lot.train, given
        )
        for num_folds in dict.fromkeys(variant.recipe.folds for variant in grid.variants)
    }
    _check_runs(planned, splits)
    for num_folds, split in splits.items():
        if split is None:
            path = split_path_for(num_folds, out)
            _make_split(data, num_folds, grid.base, path, given, lot.train, watch)

    runs: list[SweepRun] = []
    tracked = _Tracked(out)
    for number, (variant, seed, folder) in enumerate(planned):
        if watch is not None:
            watch("runs of the sweep", number, len(planned))
        shared_path = split_path_for(variant.recipe.folds, out)
        runs.append(_train(data, variant, seed, folder, shared_path, watch))
        _write_runs(out, grid.keys, runs)
        if runs[-1].status == FINISHED:
            tracked.log(folder, variant)
    if watch is not None:
        watch("runs of the sweep", len(planned), len(planned))

    answers = _gather(grid, runs, lot.train)
    summary = _summarise(grid, runs, answers)
    comparisons = compare_all(answers)
    _write_tables(out, grid.keys, summary, comparisons)
    if summary:
        draw_sweep(
            out / "sweep.svg",
            [(row.variant, row.accuracies, row.accuracy, row.low, row.high) for row in summary],
            num_photos=min(len(found.ids) for found in answers.values()),
        )
    conclusion = (*conclude(comparisons), *_note_probes(grid, runs))
    return Sweep(out, grid.keys, tuple(runs), summary, comparisons, conclusion, tracked.sentence)


def split_path_for(num_folds: int, out: Path) -> Path:
    """Where a sweep keeps the split that its runs with so many folds share; 0 for a hold-out."""
    return out / (f"folds-{num_folds}.csv" if num_folds else "split.csv")


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
    if any(pair.num_seeds == 1 for pair in comparisons):
        sentences.append(
            "With one seed each this is about these trained models: another seed may turn it round."
        )
    return tuple(sentences)


class _Tracked:
    """Logs to MLflow until it is not there or fails, and knows what to say of it."""

    def __init__(self, out: Path) -> None:
        self._out = out
        try:
            self._is_on = tracking.is_tracking_installed()
        except OutputError as error:
            self._is_on, self.sentence = False, f"given up: {error}"
        else:
            self.sentence = "" if self._is_on else "not installed (pip install 'lotlens[track]')"

    def log(self, folder: RunFolder, variant: Variant) -> None:
        if not self._is_on:
            return
        store_path = self._out / "mlflow.db"
        try:
            tracking.log_run(store_path, self._out.resolve().name, folder, variant.values)
            self.sentence = f"mlflow ui --backend-store-uri sqlite:///{store_path.as_posix()}"
        except OutputError as error:
            # A night's trainings are worth more than their entry in a second book.
            self._is_on = False
            self.sentence = f"given up: {error}"


def _name(data: Path, grid: Grid) -> str:
    keys = [key.replace(".", "-") for key in grid.keys if key != "recipe"]
    recipe = "recipes" if "recipe" in grid.keys else grid.base.name
    return "-".join([data.resolve().stem, recipe, *keys])


def _run_folder(out: Path, variant: Variant, seed: int) -> RunFolder:
    return RunFolder(out / f"{variant.slug}-seed-{seed}")


def _with_seed(variant: Variant, seed: int) -> Recipe:
    return variant.recipe.model_copy(update={"seed": seed})


@dataclass(frozen=True)
class _GivenSplit:
    """A split that the user asks for, for the runs with as many folds."""

    path: Path
    split: Split
    num_folds: int


def _read_given_split(path: Path | str | None, grid: Grid) -> _GivenSplit | None:
    """The split asked for, if there is one.

    Raises:
        InputError: there is no such file, or no recipe of the grid trains on its parts.
    """
    if path is None:
        return None
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no split at {path}: draw one with  lotlens split DATA --out {path}")
    split = read_split(path)
    num_folds = count_folds(split)
    if num_folds not in {variant.recipe.folds for variant in grid.variants} or not (
        num_folds or {TRAIN, VALIDATION} <= split.parts.keys()
    ):
        raise InputError(
            f"the split {path} has the parts {', '.join(split.parts)}, on which no recipe of this"
            " sweep trains: draw one with  lotlens split DATA"
        )
    return _GivenSplit(path, split, num_folds)


def _read_shared_split(
    path: Path, num_folds: int, base: Recipe, catalog: Catalog, given: _GivenSplit | None
) -> Split | None:
    """The split that the sweep began with, or None.

    Raises:
        InputError: it does not fit the photos, or another one is asked for now.
    """
    if not path.is_file():
        return None
    split = read_split(path)
    advice = "name another folder with --out"
    is_given = given is not None and given.num_folds == num_folds
    if given is not None and is_given and given.split != split:
        raise InputError(f"{path} began with another split than {given.path}: {advice}")
    if not is_given and split.seed != base.seed:
        raise InputError(
            f"{path} was drawn with the seed {split.seed}, the recipe's is {base.seed}: {advice}"
        )
    check_split(split, catalog.with_files())
    return split


def _make_split(
    data: Path,
    num_folds: int,
    base: Recipe,
    path: Path,
    given: _GivenSplit | None,
    catalog: Catalog,
    watch: Watcher | None,
) -> None:
    if given is not None and given.num_folds == num_folds:
        check_split(given.split, catalog.with_files())
        write_split(path, given.split)
        return
    api.split(
        data,
        path,
        validation=base.validation,
        num_folds=num_folds or None,
        lock=base.lock,
        seed=base.seed,
        overrides=[f"audit.{key}={value}" for key, value in base.audit.model_dump().items()],
        watch=watch,
    )


def _check_runs(
    planned: Sequence[tuple[Variant, int, RunFolder]], splits: Mapping[int, Split | None]
) -> None:
    """Refuse run folders that hold something else than the run that is to be there.

    Raises:
        InputError: the folders and what is wrong with them.
    """
    mistakes = []
    for variant, seed, folder in planned:
        split = splits[variant.recipe.folds]
        if not folder.recipe_path.is_file():
            if folder.path.is_dir() and any(folder.path.iterdir()):
                mistakes.append(f"{folder.path} is no run folder")
            continue
        if folder.is_unfinished and not folder.checkpoint_path.is_dir():
            continue
        stored = parse_recipe(folder.read_recipe(), source=str(folder.recipe_path))
        if stored != _with_seed(variant, seed):
            what = "a stopped" if folder.is_unfinished else "a finished"
            mistakes.append(f"{folder.path} holds {what} run with another recipe")
        elif split is None or not _is_part_of(folder, split):
            mistakes.append(f"{folder.path} holds a run on another split")
    if mistakes:
        raise InputError(
            f"{'; '.join(mistakes[:5])}{f'; and {len(mistakes) - 5} more' * (len(mistakes) > 5)}:"
            " name another folder with --out, or move these away"
        )


def _is_part_of(folder: RunFolder, split: Split) -> bool:
    """Whether a run was trained on the split; what its recipe leaves out is missing there."""
    if not folder.split_path.is_file():
        return folder.is_unfinished
    own = read_split(folder.split_path)
    return own.fingerprint == split.fingerprint and all(
        set(ids) <= set(split.parts.get(part, ())) for part, ids in own.parts.items()
    )


def _train(
    data: Path,
    variant: Variant,
    seed: int,
    folder: RunFolder,
    split_path: Path,
    watch: Watcher | None,
) -> SweepRun:
    """Train, go on, or only read what is there."""
    run = SweepRun(variant.label, variant.values, seed, folder.path, FINISHED)
    try:
        if not folder.card_path.is_file():
            api.train(
                data,
                _with_seed(variant, seed),
                out=folder.path,
                split_path=split_path,
                resume=True,
                watch=watch,
            )
        card, timing = folder.read_card(), folder.read_timing()
    except MissingExtra:
        raise  # every run would fail alike
    except LotlensError as error:
        return replace(run, status=FAILED, reason=" ".join(str(error).split()))
    chosen = card.chosen.partition(";")[0]
    return replace(
        run,
        metrics=card.metrics,
        chosen=chosen,
        wall_s=timing["wall_s"],
        cpu_s=timing["cpu_s"],
    )


def _gather(grid: Grid, runs: Sequence[SweepRun], catalog: Catalog) -> dict[str, Answers]:
    """The validation answers of every variant that has finished runs."""
    answers = {}
    for variant in grid.variants:
        finished = {
            run.seed: _judge(RunFolder(run.path), catalog)
            for run in runs
            if run.variant == variant.label and run.status == FINISHED
        }
        if finished:
            answers[variant.label] = gather_answers(finished)
    return answers


def _judge(folder: RunFolder, catalog: Catalog) -> tuple[list[str], Rights]:
    """Ids of the answered validation photos, and whether each answer is right."""
    predictions = load_predictions(folder.validation_path)
    targets = align_targets(predictions, catalog)
    keep = predictions.answered & (targets >= 0)
    ids = [id_ for id_, kept in zip(predictions.ids, keep, strict=True) if kept]
    return ids, predictions.logits[keep].argmax(axis=1) == targets[keep]


def _summarise(
    grid: Grid, runs: Sequence[SweepRun], answers: Mapping[str, Answers]
) -> tuple[VariantSummary, ...]:
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


def _write_runs(out: Path, keys: Sequence[str], runs: Sequence[SweepRun]) -> None:
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


def _write_tables(
    out: Path,
    keys: Sequence[str],
    summary: Sequence[VariantSummary],
    comparisons: Sequence[Comparison],
) -> None:
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


def _note_probes(grid: Grid, runs: Sequence[SweepRun]) -> list[str]:
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


def _describe(pair: Comparison) -> str:
    better, worse, ends = pair.first, pair.second, (pair.low, pair.high)
    if pair.verdict == "worse":
        better, worse, ends = pair.second, pair.first, (-pair.high, -pair.low)
    return (
        f"{better} is better than {worse} by {100 * abs(pair.difference):.1f} points"
        f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f}), p = {pair.p_holm:.2g}."
    )
