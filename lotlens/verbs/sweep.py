"""Train every combination of some settings on one split, and compare them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lotlens.audit.parts import TRAIN, VALIDATION, count_folds, read_split, write_split
from lotlens.audit.split import check_split
from lotlens.cluster.address import check_place
from lotlens.errors import InputError, LotlensError, MissingExtra, OutputError
from lotlens.files import check_writable
from lotlens.judge.compare import compare_all
from lotlens.locks import hold
from lotlens.recipes.loading import Overrides, parse_recipe
from lotlens.recipes.schema import Recipe
from lotlens.records import Catalog, Split, Watcher
from lotlens.report.sweep_plot import draw_sweep
from lotlens.run import RunFolder, plain_name
from lotlens.sweep import tracking
from lotlens.sweep.grid import Grid, Variant, build_grid
from lotlens.sweep.tables import (
    FAILED,
    FINISHED,
    Sweep,
    SweepRun,
    conclude,
    gather,
    note_candidates,
    note_probes,
    summarise,
    write_runs,
    write_tables,
)
from lotlens.training.begin import draw_parts
from lotlens.training.data import TrainingData
from lotlens.training.jobs import Helpers
from lotlens.verbs.train import begin_training, choose_helpers, complete_training


def run_sweep(
    data: Path | str,
    vary: str | Sequence[str],
    recipe: str | Path | Recipe | None = None,
    *,
    overrides: Overrides = (),
    num_seeds: int = 3,
    out: Path | str | None = None,
    split_path: Path | str | None = None,
    num_jobs: int = 1,
    on: str = "",
    watch: Watcher | None = None,
) -> Sweep:
    """Train every combination of the varied values with several seeds, and compare them.

    All runs share one split, drawn with the base recipe's seed; seeds vary the training alone.
    Each run is an ordinary run folder in `out`. The same call again skips runs that are finished
    and goes on with one that was stopped. Written besides: split.csv, runs.csv, summary.csv,
    comparisons.csv, sweep.svg, and with MLflow mlflow.db.

    Args:
        data: labelled photos, in any form that `open_lot` knows.
        vary: "optimiser=adam,nadam" and the like, one or several (see `grid.build_grid`).
        recipe: what is varied: a name, a YAML file or a Recipe; "standard" if None.
        overrides: "stages.1.lr=3e-4" and the like, for every run.
        num_seeds: runs of each variant, with the recipe's seed and those after it.
        out: the folder; None for sweeps/DATA-RECIPE-KEYS.
        split_path: a split of `lotlens split` or of an earlier run to use instead.
        num_jobs: runs that are trained at the same time, each in a process of its own with as many
            threads as this one; the results are those of 1.
        on: where runs are trained: "" here, "ray" by worker processes on this machine,
            "ray://HOST:PORT" by those of a Ray cluster that this machine is part of.
        watch: told of the work as it goes on.

    Returns:
        a run that failed is in `runs` with its reason; the others went on.

    Raises:
        InputError, RecipeError: what was given cannot be used, or does not fit what `out` holds;
            nothing was trained then.
        OutputError: a table cannot be written, or another sweep is at work in `out`.
        MissingExtra: lotlens[train] is not installed, or lotlens[cluster] for `on`.
        KeyboardInterrupt: Ctrl-C; runs.csv then has the runs that are finished.
    """
    check_place(on)
    if on and num_jobs > 1:
        raise InputError(f"--on {on} and --jobs {num_jobs}: give one of them, the cluster or here")
    grid = build_grid(vary, recipe, overrides, num_seeds=num_seeds)
    # Whoever helps has a folder of its own.
    photos = TrainingData(Path(data).absolute() if num_jobs > 1 or on else Path(data), grid.base)
    out = Path("sweeps") / _name(photos.path, grid) if out is None else Path(out)
    check_writable(out / "runs.csv")
    with hold(out, "sweep"):
        return _run(out, grid, photos, num_seeds, split_path, num_jobs, on, watch)


def _run(
    out: Path,
    grid: Grid,
    photos: TrainingData,
    num_seeds: int,
    split_path: Path | str | None,
    num_jobs: int,
    on: str,
    watch: Watcher | None,
) -> Sweep:
    """As `run_sweep`, in a folder to which nobody else writes."""
    planned = _plan_runs(out, grid, num_seeds)
    _share_splits(out, grid, photos, split_path, planned, watch)
    some_split = split_path_for(grid.variants[0].recipe.folds, out)
    helpers = choose_helpers(num_jobs, on, some_split, photos.usable.photos)
    runs, tracked = _train_all(out, grid, photos, planned, watch, helpers)
    answers = gather(grid, runs, photos.lot.train)
    summary = summarise(grid, runs, answers)
    comparisons = compare_all(answers)
    write_tables(out, grid.keys, summary, comparisons)
    if summary:
        draw_sweep(
            out / "sweep.svg",
            [(row.variant, row.accuracies, row.accuracy, row.low, row.high) for row in summary],
            num_photos=min(len(found.ids) for found in answers.values()),
        )
    conclusion = (*conclude(comparisons), *note_candidates(runs), *note_probes(grid, runs))
    return Sweep(out, grid.keys, tuple(runs), summary, comparisons, conclusion, tracked)


def split_path_for(num_folds: int, out: Path) -> Path:
    """Where a sweep keeps the split that its runs with so many folds share; 0 for a hold-out."""
    return out / (f"folds-{num_folds}.csv" if num_folds else "split.csv")


@dataclass(frozen=True)
class _Planned:
    """A run that is to be there when the sweep is done."""

    variant: Variant
    seed: int
    folder: RunFolder

    @property
    def recipe(self) -> Recipe:
        return self.variant.recipe.model_copy(update={"seed": self.seed})


def _plan_runs(out: Path, grid: Grid, num_seeds: int) -> list[_Planned]:
    seeds = range(grid.base.seed, grid.base.seed + num_seeds)
    return [
        _Planned(variant, seed, RunFolder(out / f"{variant.slug}-seed-{seed}"))
        for variant in grid.variants
        for seed in seeds
    ]


def _share_splits(
    out: Path,
    grid: Grid,
    photos: TrainingData,
    split_path: Path | str | None,
    planned: Sequence[_Planned],
    watch: Watcher | None,
) -> None:
    """Write the splits that the runs share, unless they are there.

    Raises:
        InputError: what is there does not fit what is asked for.
    """
    given = _read_given_split(split_path, grid)
    splits = {
        num_folds: _read_shared_split(
            split_path_for(num_folds, out), num_folds, grid.base, photos.lot.train, given
        )
        for num_folds in dict.fromkeys(variant.recipe.folds for variant in grid.variants)
    }
    _check_runs(planned, splits)
    for num_folds, split in splits.items():
        if split is None:
            path = split_path_for(num_folds, out)
            _make_split(photos, num_folds, grid.base, path, given, watch)


def _train_all(
    out: Path,
    grid: Grid,
    photos: TrainingData,
    planned: Sequence[_Planned],
    watch: Watcher | None,
    helpers: Helpers | None,
) -> tuple[list[SweepRun], str]:
    """The runs in the order of the plan, and what became of the MLflow store."""
    done: dict[int, SweepRun] = {}
    tracked = _Tracked(out)
    if watch is not None:
        watch("runs of the sweep", 0, len(planned))
    with closing(_train_each(out, photos, planned, watch, helpers)) as results:
        for number, run in results:
            done[number] = run
            write_runs(out, grid.keys, [done[at] for at in sorted(done)])
            if run.status == FINISHED:
                tracked.log(planned[number].folder, planned[number].variant)
            if watch is not None:
                watch("runs of the sweep", len(done), len(planned))
    return [done[at] for at in sorted(done)], tracked.sentence


def _train_each(
    out: Path,
    photos: TrainingData,
    planned: Sequence[_Planned],
    watch: Watcher | None,
    helpers: Helpers | None,
) -> Generator[tuple[int, SweepRun], None, None]:
    """The runs with their numbers, one after another, or as helpers have finished them."""
    splits = [split_path_for(one.variant.recipe.folds, out) for one in planned]
    if helpers is None:
        for number, (one, split_path) in enumerate(zip(planned, splits, strict=True)):
            yield number, _train(photos, one, split_path, watch)
        return
    tasks = [
        partial(_train, photos, _place(one), split_path.absolute(), None)
        for one, split_path in zip(planned, splits, strict=True)
    ]
    for number, run in helpers.share_out(tasks):
        yield number, replace(run, path=planned[number].folder.path)


def _place(planned: _Planned) -> _Planned:
    """The same, for whoever begins in another folder."""
    return replace(planned, folder=RunFolder(planned.folder.path.absolute()))


class _Tracked:
    """Logs to MLflow until it is not there or fails, and knows what to say of it."""

    def __init__(self, out: Path) -> None:
        self._out = out
        try:
            self._is_on = tracking.is_tracking_installed()
        except OutputError as error:
            self._is_on, self.sentence = False, f"given up: {error}"
        else:
            self.sentence = ""  # nobody has asked for it

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
    return plain_name("-".join([data.resolve().stem, recipe, *keys]))


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
    photos: TrainingData,
    num_folds: int,
    base: Recipe,
    path: Path,
    given: _GivenSplit | None,
    watch: Watcher | None,
) -> None:
    if given is not None and given.num_folds == num_folds:
        check_split(given.split, photos.usable)
        write_split(path, given.split)
        return
    found = photos.audit(base.audit, base.lock, watch)
    write_split(path, draw_parts(photos.usable, base, found, num_folds or None))


def _check_runs(planned: Sequence[_Planned], splits: Mapping[int, Split | None]) -> None:
    """Refuse run folders that hold something else than the run that is to be there.

    Raises:
        InputError: the folders and what is wrong with them.
    """
    mistakes = []
    for one in planned:
        folder, split = one.folder, splits[one.variant.recipe.folds]
        if not folder.recipe_path.is_file():
            if folder.path.is_dir() and any(folder.path.iterdir()):
                mistakes.append(f"{folder.path} is no run folder")
            continue
        if folder.is_unfinished and not folder.has_checkpoint:
            continue
        stored = parse_recipe(folder.read_recipe(), source=str(folder.recipe_path))
        if stored != one.recipe:
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
    photos: TrainingData, planned: _Planned, split_path: Path, watch: Watcher | None
) -> SweepRun:
    """Train, go on, or only read what is there."""
    variant, folder = planned.variant, planned.folder
    run = SweepRun(variant.label, variant.values, planned.seed, folder.path, FINISHED)
    try:
        with RunFolder.claim(folder.path, "sweep"):
            if not folder.card_path.is_file():
                training = begin_training(
                    photos, planned.recipe, (), folder, split_path, resume=True, watch=watch
                )
                complete_training(training, watch=watch)
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
        num_candidates=card.num_candidates,
        wall_s=timing["wall_s"],
        cpu_s=timing["cpu_s"],
    )
