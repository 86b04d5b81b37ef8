"""Train a model and write its run folder, or say what training would do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lotlens.audit.findings import Audit, find_unreadable, write_findings
from lotlens.audit.known import join_known, know_photos
from lotlens.audit.parts import pair_sides
from lotlens.cluster.address import check_place
from lotlens.cluster.trainings import ClusterHelpers
from lotlens.deliver.model import Model, load
from lotlens.deliver.own_data import OwnData
from lotlens.errors import BundleError, InputError, LotlensError, OutputError, Stopped
from lotlens.extras import import_vision
from lotlens.files import check_writable, explain
from lotlens.recipes.loading import Overrides, resolve_recipe
from lotlens.recipes.schema import Recipe
from lotlens.records import Begun, Catalog, Photo, Split, Tell, Watcher, watch_part, watch_whole
from lotlens.refusal.strangers import find_no_cars
from lotlens.report.language import ENGLISH, Language, load_language
from lotlens.report.run_report import report_own
from lotlens.run import RunFolder
from lotlens.texts import describe
from lotlens.training.begin import begin_run, find_split, resume_recipe
from lotlens.training.data import TrainingData, read_rules
from lotlens.training.folds import Training, finish, train_models
from lotlens.training.jobs import Helpers, Processes
from lotlens.training.locating import check_findable, count_tried, open_for
from lotlens.training.others import Others, count_shown, read_others, take_others
from lotlens.training.started import Started, look_back, open_source, refuse_learnt

if TYPE_CHECKING:
    from lotlens.vision.planning import StagePlan, Timetable
    from lotlens.vision.stages import Trained


@dataclass(frozen=True)
class Plan:
    """What a training would do.

    Attributes:
        recipe: resolved.
        num_train: photos it would be trained on; with folds, in the first of them.
        num_validation: photos held out, likewise.
        timetable: the stages of one model, and what comes before and after.
        num_models: 1, or the number of folds.
        device: what it would be trained on, in words.
    """

    recipe: Recipe
    num_train: int
    num_validation: int
    timetable: Timetable
    num_models: int = 1
    device: str = ""

    @property
    def stages(self) -> tuple[StagePlan, ...]:
        """One plan each, of one model."""
        return self.timetable.stages

    @property
    def seconds(self) -> float:
        """About how long all of it would take here."""
        return self.timetable.sum(self.num_models)

    def __repr__(self) -> str:
        told = f"{self.num_train:,} photos to train on, {self.num_validation:,} held out"
        return describe("Plan", f"{self.recipe.name}, {told}, about {self.seconds / 60:.0f} min")


@dataclass(frozen=True)
class Better:
    """A recipe that is expected to do better than a run's.

    Attributes:
        recipe: its name.
        seconds: about how long it would take here; None where that was not measured.
    """

    recipe: str
    seconds: float | None


_NOT_LOOKED = Audit((), {}, {}, frozenset(), {}, {}, {})
_BETTER = {"quick": "standard", "reference": "standard", "standard": "best"}
"""Built-in recipe -> one that was measurably better (benchmarks/RESULTS.md)."""


def plan(
    data: Path | str,
    recipe: str | Path | Recipe = "standard",
    *,
    overrides: Overrides = (),
    split_path: Path | str | None = None,
    others: Path | str | None = None,
    plot: Path | str | None = None,
    tell: Tell | None = None,
    watch: Watcher | None = None,
) -> Plan:
    """What `train` would do with these photos, and about how long it would take on this machine.

    Nothing is trained, and no photos are looked at but some to see how long that takes: an audit
    may leave some out afterwards, and keep others on one side. Arguments and errors are those of
    `train`, but for `plot`: a file (.png or .svg) to draw the learning rate of the stages of
    fine-tuning into.
    """
    planning = import_vision("planning")
    recipe = resolve_recipe(recipe, overrides)
    if plot is not None:
        check_writable(Path(plot))
    open_source(recipe)
    photos = TrainingData(Path(data), recipe, tell=tell)
    stored = Path(split_path) if split_path is not None and Path(split_path).exists() else None
    sides = pair_sides(find_split(stored, photos.usable, recipe, _NOT_LOOKED))
    num_train, num_validation = (len(ids) for ids in sides[0])
    num_train += 0 if others is None else count_shown(Path(others), num_train)
    with watch_whole(watch, "timing a few steps"):
        planned: Timetable = planning.plan_training(
            *(recipe, len(photos.lot.train.classes), num_train, num_validation),
            locate=open_for(recipe, num_train),
            trial=count_tried(recipe, num_train + num_validation),
            read_s=planning.time_reading(photos.usable, recipe),
        )
    if plot is not None:
        planning.plot_rates(Path(plot), recipe, planned.stages)
    device = planning.name_device()
    return Plan(recipe, num_train, num_validation, planned, len(sides), device)


def find_better(model: Model, *, watch: Watcher | None = None) -> Better | None:
    """A built-in recipe that is better than the one a run was trained with, if one is known.

    How long it would take is measured on the CPU, which would say nothing where there is a GPU.

    Args:
        model: of a finished run.
        watch: told of the work as it goes on.

    Raises:
        MissingExtra: lotlens[train] is not installed.
    """
    name = _BETTER.get(str(model.card.recipe.get("name")))
    if name is None or model.members:
        return None
    planning = import_vision("planning")
    if planning.has_gpu():
        return Better(name, None)
    recipe = resolve_recipe(name, ())
    num_photos = sum(model.run.read_source()["photos"].values()) + model.card.metrics[0].count
    num_held_out = round(num_photos * (1 / recipe.folds if recipe.folds else recipe.validation))
    num_train = num_photos - num_held_out
    with watch_whole(watch, f"timing the recipe {name}"):
        planned: Timetable = planning.plan_training(
            *(recipe, len(model.card.classes), num_train, num_held_out),
            roughly=True,
            locate=model.open_locator(num_train),
            trial=count_tried(recipe, num_photos),
        )
    return Better(name, planned.sum(max(recipe.folds, 1)))


def train(
    data: Path | str,
    recipe: str | Path | Recipe | None = None,
    *,
    overrides: Overrides = (),
    out: Path | str | None = None,
    split_path: Path | str | None = None,
    others: Path | str | None = None,
    schedules: Mapping[str, Callable[[float], float]] | None = None,
    resume: bool = False,
    num_workers: int = 0,
    num_jobs: int = 1,
    on: str = "",
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
        overrides: "stages.1.lr=3e-4" and the like, a list of such, or {"stages.1.lr": 3e-4}.
        out: the run folder; None for the next free one in runs/.
        split_path: a split of `lotlens split` or of an earlier run, used as it is; if there is no
            such file, the split is drawn and written there too.
        others: photos of cars that are none of the classes, in any form that `open_lot` knows,
            labelled or not: they are learnt as such, but for a part by which is told how well
            that works (see `training.others.take_others`). When a training goes on it is the run's
            own.
        schedules: learning-rate schedules of one's own: name -> function of the epochs done, which
            gives what the rate is multiplied by.
        resume: go on with the training in `out`, if there is one; else begin. The model of one
            that is finished is given back as it is.
        num_workers: processes that augment photos while fine-tuning; 0 does that between the
            steps. It never changes the result.
        num_jobs: folds that are trained at the same time, each in a process of its own with as many
            threads as this one; the result is that of 1.
        on: where folds are trained: "" here, "ray" by worker processes on this machine,
            "ray://HOST:PORT" by those of a Ray cluster that this machine is part of.
        lang: the language of the report, "en" or "ru".
        tell: told what was understood of the files, before they are looked at, then what the
            audit found amiss, and then the run folder.
        watch: told of the work as it goes on.

    Raises:
        InputError, RecipeError: what was given cannot be used; nothing was written then.
        OutputError: the run folder cannot be written.
        MissingExtra: lotlens[train] is not installed.
        Stopped: Ctrl-C (a KeyboardInterrupt that knows the run folder).
    """
    language = load_language(lang)
    if resume and out is None:
        raise InputError("to go on with a training, name its run folder with --out")
    if num_jobs > 1 or on:
        _check_side_by_side(recipe, overrides, num_jobs, on, resume=resume)
        data = Path(data).absolute()  # whoever helps has a folder of its own
        others = None if others is None else Path(others).absolute()
    with _claim(out, Path(data), recipe, overrides) as run:
        if resume:
            finished = _find_finished(run, Path(data), recipe, overrides)
            if finished is not None:
                return finished
        begun = begin_training(
            data,
            recipe,
            overrides,
            run,
            split_path,
            others=None if others is None else Path(others),
            resume=resume,
            tell=tell,
            watch=watch,
        )
        training = replace(begun, schedules=schedules, num_workers=num_workers)
        helpers = choose_helpers(num_jobs, on, run.recipe_path, training.usable.photos)
        return complete_training(training, language=language, watch=watch, helpers=helpers)


def choose_helpers(num_jobs: int, on: str, path: Path, photos: Sequence[Photo]) -> Helpers | None:
    """Who does trainings side by side; None for nobody.

    Args:
        num_jobs: so many at a time, in processes of this machine.
        on: where else (see `cluster.address.open_cluster`); "" for this machine.
        path: of a file in the folder that is written to.
        photos: that are trained on.
    """
    if on:
        return ClusterHelpers(on, path, photos)
    return Processes(num_jobs) if num_jobs > 1 else None


def _check_side_by_side(
    recipe: str | Path | Recipe | None,
    overrides: Overrides,
    num_jobs: int,
    on: str,
    *,
    resume: bool,
) -> None:
    """Refuse helpers where there is nothing for them to do.

    Raises:
        InputError: see above.
        MissingExtra: lotlens[cluster] is not installed.
    """
    check_place(on)
    if on and num_jobs > 1:
        raise InputError(f"--on {on} and --jobs {num_jobs}: give one of them, the cluster or here")
    if import_vision("distributed").is_launched():
        raise InputError("torchrun's processes train one model: leave out --jobs and --on")
    if not resume and not resolve_recipe(recipe or "standard", overrides).folds:
        raise InputError(
            "one model is trained by one process; folds are trained side by side: add --set"
            " folds=5, or leave out --jobs and --on"
        )


@contextmanager
def _claim(
    out: Path | str | None, data: Path, recipe: str | Path | Recipe | None, overrides: Overrides
) -> Iterator[RunFolder]:
    """The run folder of a training, to which nobody else writes; of several processes the first
    holds it for all.

    Raises:
        InputError: somebody else writes to it, or several processes were not told which it is.
    """
    processes = import_vision("distributed")
    if out is not None and not processes.is_first():
        yield RunFolder(Path(out))
    elif out is not None:
        with RunFolder.claim(Path(out), "train") as run:
            yield run
    elif processes.is_launched():
        raise InputError("several processes need one run folder: name it with --out")
    else:
        stem = f"{data.resolve().stem}-{resolve_recipe(recipe or 'standard', overrides).name}"
        with RunFolder.claim_next(Path("runs"), stem, "train") as run:
            yield run


def _find_finished(
    run: RunFolder, data: Path, recipe: str | Path | Recipe | None, overrides: Overrides
) -> Model | None:
    """The model of a training that ended in this folder, if one did.

    Raises:
        InputError: it had another recipe or other data, or it is an ensemble of runs.
        BundleError: it is damaged.
    """
    processes = import_vision("distributed")
    processes.join()

    def find() -> Model | None:
        if not run.is_finished:
            return None
        model = load(run.path)
        if model.members:
            raise InputError(
                f"{run.path} is an ensemble of runs, made by no training: name another one"
            )
        resume_recipe(run, recipe, overrides)
        if data.resolve() != model.data_path:
            raise InputError(
                f"{run.path} is finished, and was trained on {model.data_path}, not on {data}: name"
                " another folder with --out to train on these"
            )
        return model

    found: Model | None = processes.on_first(find)
    return found


def begin_training(
    data: Path | str | TrainingData,
    recipe: str | Path | Recipe | None,
    overrides: Overrides,
    run: RunFolder,
    split_path: Path | str | None,
    *,
    others: Path | None = None,
    resume: bool,
    tell: Tell | None = None,
    watch: Watcher | None = None,
) -> Training:
    """Open the photos, audit and part them, and make the run folder; or take up what is in it.

    Arguments and errors are those of `train`, but that data may have been opened before, and that
    the run folder is claimed by the caller.
    """
    processes = import_vision("distributed")
    processes.join()
    on_first = processes.on_first
    watch = watch if processes.is_first() else None
    # One that was stopped before its first checkpoint may lack files, and has nothing to lose.
    is_old = resume and on_first(lambda: run.is_unfinished and run.can_go_on)
    if is_old and on_first(run.round_path.is_file):
        raise InputError(
            f"{run.path} holds a round of improvement: go on with  lotlens improve RUN --out"
            f" {run.path} --resume"
        )
    settle = resume_recipe if is_old else partial(_settle_recipe, split_path=split_path)
    own: Recipe = on_first(partial(settle, run, recipe, overrides))
    split_path = run.split_path if is_old else split_path
    # What the run that it starts from has learnt, the one that goes on knows already.
    source = None if is_old else on_first(partial(open_source, own))
    tell = tell if processes.is_first() else None
    photos = _open_data(data, own, run if is_old else None, tell)
    found = on_first(partial(photos.audit, own.audit, own.lock, watch))
    stored = None if split_path is None else Path(split_path)
    split = on_first(partial(find_split, stored, photos.usable, own, found))
    started = on_first(partial(_look_back, source, photos, split, found, watch))
    split, found = started.part(split), started.add_to(found)
    if tell is not None:
        tell(photos.check(found))
    stopped = run if is_old else None
    beside = on_first(
        partial(_find_others, others, stopped, photos, own, split, found, source, tell, watch)
    )
    if tell is not None and beside.learnt:
        tell(beside.told)
    if not is_old:
        on_first(partial(_begin, run, photos, own, split, found, beside, started))
    if tell is not None:
        tell(Begun(run.path))
    return Training(run, own, photos.lot, split, found, is_new=not is_old, others=beside)


def _settle_recipe(
    run: RunFolder,
    recipe: str | Path | Recipe | None,
    overrides: Overrides,
    *,
    split_path: Path | str | None,
) -> Recipe:
    """The recipe of a training that begins, where its files can be written."""
    found = resolve_recipe(recipe or "standard", overrides)
    check_findable(found.image.locate)
    run.check_free()
    check_writable(run.card_path)
    if split_path is not None and not Path(split_path).exists():
        check_writable(Path(split_path))
    return found


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


def _find_others(
    path: Path | None,
    stopped: RunFolder | None,
    photos: TrainingData,
    recipe: Recipe,
    split: Split,
    found: Audit,
    source: Model | None,
    tell: Tell | None,
    watch: Watcher | None,
) -> Others:
    """Photos of other cars, as given, or as a training that goes on began with them."""
    if stopped is not None:
        return read_others(stopped.others_path)
    if path is None:
        return Others()
    others = take_others(
        path,
        photos.lot,
        split,
        recipe.image.spec(),
        seed=split.seed,
        seen=found.signs,
        is_no_car=look_for_cars(photos.usable, watch),
        tell=tell,
        watch=watch,
    )
    refuse_learnt(source, others.held_out, "give other photos with --others", watch=watch)
    return others


def _look_back(
    source: Model | None,
    photos: TrainingData,
    split: Split,
    found: Audit,
    watch: Watcher | None,
) -> Started:
    return look_back(source, photos.lot, split, found.signs, data_path=photos.path, watch=watch)


def look_for_cars(
    known: Catalog, watch: Watcher | None
) -> Callable[[Catalog], Sequence[bool]] | None:
    """What tells whether photos show no car, by photos of cars; None where nothing can."""
    open_shown = import_vision("imagenet").find_shown()
    if open_shown is None:
        return None
    progress = watch_part(watch, "looking for photos without a car")
    return partial(find_no_cars, known=known, open_shown=open_shown, progress=progress)


def _begin(
    run: RunFolder,
    photos: TrainingData,
    recipe: Recipe,
    split: Split,
    found: Audit,
    others: Others,
    started: Started,
) -> None:
    RunFolder.create(run.path)
    num_test = len(photos.lot.test.with_files())
    decisions, usable = photos.decisions, photos.usable
    known = know_photos(usable.photos, others.learnt, {**found.signs, **others.signs})
    known = join_known((known, started.known))
    try:
        begin_run(
            *(run, photos.path, recipe, split, usable, known, decisions, num_test),
            found.sizes,
            others,
        )
    except OutputError:
        run.remove_beginning()
        raise


def complete_training(
    training: Training,
    *,
    language: Language = ENGLISH,
    watch: Watcher | None = None,
    helpers: Helpers | None = None,
) -> Model:
    """Train, judge and report in a run folder that holds recipe, source and split.

    Args:
        training: what it begins with.
        language: of the report.
        watch: told of the work as it goes on.
        helpers: who train folds side by side.

    Raises:
        As `train`.
    """
    processes = import_vision("distributed")
    is_first, on_first = processes.is_first(), processes.on_first
    watch = watch if is_first else None
    run = training.run
    with _keep_what_is_done(training):
        trained: Sequence[Trained] = ()
        if on_first(run.card_path.is_file):  # killed while the report was drawn
            model = Model(run)
            if is_first and not run.timing_path.is_file():  # right after that: not known any more
                with run.keep_time():
                    pass
        else:
            with run.keep_time() if is_first else nullcontext():
                training = training.choose_located(watch)
                trained = train_models(training, watch, helpers)
                model = on_first(partial(finish, training, trained, watch))
        on_first(partial(_report_training, model, training, trained, language))
    on_first(run.remove_checkpoint)  # last of all: now the training has ended
    return model


@contextmanager
def _keep_what_is_done(training: Training) -> Iterator[None]:
    """However a training ends, what can be gone on with stays, and what was there before it."""
    run = training.run
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Stopped(run.path) from stop
    except (LotlensError, OSError) as error:
        failure = error
        if isinstance(error, OSError):  # of a library that writes: checkpoints, event files
            if explain(error) == error.strerror:
                raise
            failure = OutputError(f"cannot write to {run.path}: {explain(error)}")
        if isinstance(failure, OutputError) and run.has_checkpoint:
            failure = OutputError(
                f"{failure}. What was trained so far is kept in {run.path}: make room, then go on"
                f" with  --out {run.path} --resume"
            )
        is_first = import_vision("distributed").is_first()
        if training.is_new and is_first and not isinstance(failure, BundleError):
            run.remove_beginning()
        raise failure from error


def _report_training(
    model: Model, training: Training, trained: Sequence[Trained], language: Language
) -> None:
    """Write the findings and the report of a training that is done."""
    run, found = model.run, training.found
    status = {id_: why for one in trained for id_, why in one.status.items()}
    findings = (*found.findings, *find_unreadable(status))
    write_findings(run.findings_path, replace(found, findings=findings))
    lot = replace(training.lot, train=training.usable)
    own = OwnData(model, lot, training.split, lot)
    report_own(own, own.answers, findings, language=language)
