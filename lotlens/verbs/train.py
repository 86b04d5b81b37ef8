"""Train a model and write its run folder, or say what training would do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lotlens.audit.findings import find_unreadable, write_findings
from lotlens.audit.parts import pair_sides
from lotlens.deliver.model import Model, load
from lotlens.deliver.own_data import OwnData
from lotlens.errors import BundleError, InputError, LotlensError, Stopped
from lotlens.extras import import_vision
from lotlens.files import check_writable
from lotlens.recipes.loading import resolve_recipe
from lotlens.recipes.schema import Recipe
from lotlens.records import Split, Tell, Watcher
from lotlens.report.language import ENGLISH, Language, load_language
from lotlens.report.run_report import report_own
from lotlens.run import RunFolder
from lotlens.training.begin import begin_run, find_split, resume_recipe
from lotlens.training.data import TrainingData, read_rules
from lotlens.training.folds import Training, finish, train_models

if TYPE_CHECKING:
    from lotlens.vision.planning import StagePlan
    from lotlens.vision.stages import Trained


@dataclass(frozen=True)
class Plan:
    """What a training would do.

    Attributes:
        recipe: resolved.
        num_train: photos it would be trained on; with folds, in the first of them.
        num_validation: photos held out, likewise.
        stages: one plan each, of one model.
        num_models: 1, or the number of folds.
    """

    recipe: Recipe
    num_train: int
    num_validation: int
    stages: tuple[StagePlan, ...]
    num_models: int = 1


def plan(
    data: Path | str,
    recipe: str | Path | Recipe = "standard",
    *,
    overrides: Sequence[str] = (),
    split_path: Path | str | None = None,
    plot: Path | str | None = None,
    tell: Tell | None = None,
    watch: Watcher | None = None,
) -> Plan:
    """What `train` would do with these photos, and about how long it would take on this machine.

    Nothing is trained. Arguments and errors are those of `train`, but for `plot`: a file (.png or
    .svg) to draw the learning rate of the stages of fine-tuning into.
    """
    planning = import_vision("planning")
    recipe = resolve_recipe(recipe, overrides)
    if plot is not None:
        check_writable(Path(plot))
    photos = TrainingData(Path(data), recipe, tell=tell)
    found = photos.audit(recipe.audit, recipe.lock, watch)
    if tell is not None:
        tell(photos.check(found))
    stored = Path(split_path) if split_path is not None and Path(split_path).exists() else None
    split = find_split(stored, photos.usable, recipe, found)
    sides = pair_sides(split)
    num_train, num_validation = (len(ids) for ids in sides[0])
    stages: tuple[StagePlan, ...] = planning.plan_stages(
        recipe, len(photos.lot.train.classes), num_train, num_validation
    )
    if plot is not None:
        planning.plot_rates(Path(plot), recipe, stages)
    return Plan(recipe, num_train, num_validation, stages, len(sides))


def train(
    data: Path | str,
    recipe: str | Path | Recipe | None = None,
    *,
    overrides: Sequence[str] = (),
    out: Path | str | None = None,
    split_path: Path | str | None = None,
    schedules: Mapping[str, Callable[[float], float]] | None = None,
    resume: bool = False,
    num_workers: int = 0,
    lang: str = "en",
    tell: Tell | None = None,
    watch: Watcher | None = None,
) -> Model:
    """Train a model and write its run folder; its card holds the metrics on validation.

    Under torchrun, which starts the same program several times, the processes train one model
    together; the first one reports to `watch` and writes, the others wait for it where they must.

    While it trains, its state is kept in the run folder; a training that was stopped or killed goes
    on from there with `resume`, and with the recipe's `deterministic` ends in the same bits as one
    that was not (on one machine).

    Args:
        data: labelled photos, in any form that `open_lot` knows.
        recipe: a built-in recipe's name, a YAML file, or a Recipe; "standard" if None. When a
            training goes on it is the run's own, and another one is refused.
        overrides: "stages.1.lr=3e-4" and the like.
        out: the run folder; None for the next free one in runs/.
        split_path: a split of `lotlens split` or of an earlier run, used as it is; if there is no
            such file, the split is drawn and written there too.
        schedules: learning-rate schedules of one's own: name -> function of the epochs done, which
            gives what the rate is multiplied by.
        resume: go on with the training in `out`, if there is one; else begin. The model of one
            that is finished is given back as it is.
        num_workers: processes that augment photos while fine-tuning; 0 does that between the
            steps. It never changes the result.
        lang: the language of the report, "en" or "ru".
        tell: told what was understood of the files, before they are looked at, and then what the
            audit found amiss.
        watch: told of the work as it goes on.

    Raises:
        InputError, RecipeError: what was given cannot be used; nothing was written then.
        OutputError: the run folder cannot be written.
        MissingExtra: lotlens[train] is not installed.
        Stopped: Ctrl-C (a KeyboardInterrupt that knows the run folder).
    """
    language = load_language(lang)
    if resume and out is not None:
        path = data.path if isinstance(data, TrainingData) else Path(data)
        finished = _find_finished(Path(out), path, recipe, overrides)
        if finished is not None:
            return finished
    begun = begin_training(
        data, recipe, overrides, out, split_path, resume=resume, tell=tell, watch=watch
    )
    training = replace(begun, schedules=schedules, num_workers=num_workers)
    return complete_training(training, language=language, watch=watch)


def _find_finished(
    out: Path, data: Path, recipe: str | Path | Recipe | None, overrides: Sequence[str]
) -> Model | None:
    """The model of a training that ended in this folder, if one did.

    Raises:
        InputError: it had another recipe or other data, or it is an ensemble of runs.
        BundleError: it is damaged.
    """
    processes = import_vision("distributed")
    processes.join()

    def find() -> Model | None:
        run = RunFolder(out)
        if not run.is_finished:
            return None
        model = load(out)
        if model.members:
            raise InputError(f"{out} is an ensemble of runs, made by no training: name another one")
        resume_recipe(run, recipe, overrides)
        if data.resolve() != model.data_path:
            raise InputError(
                f"{out} is finished, and was trained on {model.data_path}, not on {data}: name"
                " another folder with --out to train on these"
            )
        return model

    found: Model | None = processes.on_first(find)
    return found


def begin_training(
    data: Path | str | TrainingData,
    recipe: str | Path | Recipe | None,
    overrides: Sequence[str],
    out: Path | str | None,
    split_path: Path | str | None,
    *,
    resume: bool,
    tell: Tell | None = None,
    watch: Watcher | None = None,
) -> Training:
    """Open the photos, audit and part them, and make the run folder; or take up the one in `out`.

    Arguments and errors are those of `train`, but that data may have been opened before.
    """
    processes = import_vision("distributed")
    if resume and out is None:
        raise InputError("to go on with a training, name its run folder with --out")
    if processes.is_launched() and out is None:
        raise InputError("several processes need one run folder: name it with --out")
    processes.join()
    on_first = processes.on_first
    watch = watch if processes.is_first() else None
    old = RunFolder(Path(out)) if resume and out is not None else None
    if old is not None and on_first(lambda: old.is_unfinished):
        own: Recipe = on_first(partial(resume_recipe, old, recipe, overrides))
        run, recipe = old, own
        split_path = run.split_path if run.split_path.is_file() else split_path
    else:
        run, recipe = None, resolve_recipe(recipe or "standard", overrides)
        if out is not None:
            on_first(RunFolder(Path(out)).check_free)
        on_first(partial(check_writable, Path(out or "runs") / "card.json"))
        if split_path is not None and not Path(split_path).exists():
            on_first(partial(check_writable, Path(split_path)))
    tell = tell if processes.is_first() else None
    photos = _open_data(data, recipe, run, tell)
    found = on_first(partial(photos.audit, recipe.audit, recipe.lock, watch))
    if tell is not None:
        tell(photos.check(found))
    stored = None if split_path is None else Path(split_path)
    split = on_first(partial(find_split, stored, photos.usable, recipe, found))
    if run is None:
        run = on_first(partial(_begin, out, photos, recipe, split))
    return Training(run, recipe, photos.lot, split, found)


def _open_data(
    data: Path | str | TrainingData, recipe: Recipe, run: RunFolder | None, tell: Tell | None
) -> TrainingData:
    """The data of a training, as they were decided on when it began."""
    if isinstance(data, TrainingData):
        # What was decided since a training began is for the next one.
        if run is None and data.rules == read_rules(recipe):
            return data
        data = data.path
    decisions_path = None if run is None else run.decisions_path
    return TrainingData(Path(data), recipe, decisions_path, tell=tell)


def _begin(out: Path | str | None, photos: TrainingData, recipe: Recipe, split: Split) -> RunFolder:
    run = (
        RunFolder.create(Path(out))
        if out is not None
        else RunFolder.create_next(Path("runs"), f"{photos.path.resolve().stem}-{recipe.name}")
    )
    num_test = len(photos.lot.test.with_files())
    return begin_run(run, photos.path, recipe, split, photos.usable, photos.decisions, num_test)


def complete_training(
    training: Training, *, language: Language = ENGLISH, watch: Watcher | None = None
) -> Model:
    """Train, judge and report in a run folder that holds recipe, source and split.

    Args:
        training: what it begins with.
        language: of the report.
        watch: told of the work as it goes on.

    Raises:
        As `train`.
    """
    processes = import_vision("distributed")
    is_first, on_first = processes.is_first(), processes.on_first
    watch = watch if is_first else None
    run = training.run
    with run.keep_time() if is_first else nullcontext():
        try:
            trained = train_models(training, watch)
        except KeyboardInterrupt as stop:
            raise Stopped(run.path) from stop
        except BundleError:
            raise
        except LotlensError:
            if is_first:
                run.remove()
            raise
        model: Model = on_first(partial(finish, training, trained, watch))
    on_first(partial(_report_training, model, training, trained, language))
    return model


def _report_training(
    model: Model, training: Training, trained: Sequence[Trained], language: Language
) -> None:
    """Write the findings and the report of a training that is done."""
    run, found = model.run, training.found
    run.remove_checkpoint()
    status = {id_: why for one in trained for id_, why in one.status.items()}
    findings = (*found.findings, *find_unreadable(status))
    write_findings(run.findings_path, replace(found, findings=findings))
    lot = replace(training.lot, train=training.usable)
    own = OwnData(model, lot, training.split, lot)
    report_own(own, own.answers, findings, sizes=found.sizes, language=language)
