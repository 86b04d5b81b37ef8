"""Train a candidate that learns more than a run did, and let a gate judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lotlens.answering.answers import order_classes, select_predictions
from lotlens.audit.known import join_known, know_photos
from lotlens.audit.parts import LOCKED, count_folds, list_held_out
from lotlens.audit.signs import scan_photos
from lotlens.audit.split import check_split
from lotlens.deliver.model import Model, load
from lotlens.deliver.own_data import OwnData, decide_labels, open_own_data
from lotlens.errors import InputError
from lotlens.extras import import_vision
from lotlens.files import check_writable
from lotlens.improve.additions import Addition
from lotlens.improve.decided import (
    compare_labels,
    follow_decisions,
    read_contradicted,
    take_in,
)
from lotlens.improve.evidence import gather_evidence
from lotlens.improve.gate import (
    RULES,
    Judgement,
    OtherCars,
    Rule,
    compare_other_cars,
    count_wrong,
    judge_candidate,
    pick_failing,
)
from lotlens.improve.hard import weigh_hard
from lotlens.improve.history import (
    count_judged,
    count_round,
    describe_round,
    list_others,
    write_rounds,
)
from lotlens.improve.plan import (
    RoundPlan,
    continue_recipe,
    count_reasons,
    read_base,
    read_plan,
    read_round,
    write_plan,
    write_round,
)
from lotlens.improve.vetting import Vetting, read_earlier, vet_offer
from lotlens.judge.metrics import align_targets
from lotlens.photos.decisions import read_decisions
from lotlens.photos.sources import check_trainable
from lotlens.records import Begun, Catalog, Lot, Split, Tell, Watcher, watch_part
from lotlens.refusal.strangers import meet_others
from lotlens.refusal.verdicts import decide
from lotlens.report.round_plot import draw_rounds
from lotlens.report.run_report import choose_language
from lotlens.run import PATIENCE_S, RunFolder
from lotlens.texts import describe
from lotlens.training.begin import begin_run
from lotlens.training.data import audit_training
from lotlens.training.folds import Extras, Training
from lotlens.training.others import Others, read_others, take_others
from lotlens.training.started import refuse_learnt
from lotlens.verbs.train import complete_training, look_for_cars


@dataclass(frozen=True)
class Round:
    """A round that is done.

    Attributes:
        model: the run that it made.
        parent: the run that it began with.
        number: from 1.
        judgement: what the gate says.
        rounds: all rounds up to this one, one row each, as in rounds.csv.
    """

    model: Model
    parent: Path
    number: int
    judgement: Judgement
    rounds: tuple[Mapping[str, str], ...]

    def __repr__(self) -> str:
        return describe(f"Round {self.number}", f"use {self.best}; {self.judgement!r}")

    @property
    def best(self) -> Path:
        """The run to use from now on."""
        return self.model.run.path if self.judgement.accepted else self.parent

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "run": str(self.model.run.path),
            "parent": str(self.parent),
            "round": self.number,
            "use": str(self.best),
            "gate": self.judgement.to_dict(),
            "rounds": [dict(row) for row in self.rounds],
        }


@dataclass(frozen=True)
class _Wishes:
    """What a round is asked for; see `plan_round`."""

    outside: Path | None
    others: Path | None
    hard: bool
    anew: bool | None
    rule: Rule | None
    most: int | None
    trust_labels: bool
    tell: Tell | None


def plan_round(
    run: Path | str,
    *,
    outside: Path | str | None = None,
    others: Path | str | None = None,
    hard: bool = False,
    anew: bool | None = None,
    rule: Rule | None = None,
    most: int | None = None,
    trust_labels: bool = False,
    tell: Tell | None = None,
    watch: Watcher | None = None,
) -> RoundPlan:
    """What a round of improvement would do. Nothing is trained or written.

    Args:
        run: the run to begin with.
        outside: photos to vet and add (see `improve.vetting.vet_offer`).
        others: photos of cars that are none of the classes (see `training.others.take_others`),
            to be learnt beside those that the run has learnt as such.
        hard: show hard photos more often (see `improve.hard`). Where the run has no folds,
            probes are fitted to find them.
        anew: train from the start of the recipe, or go on from the run's weights in a short stage
            of a low rate; None for the former where the photos or labels change.
        rule: of the gate (see `improve.gate.judge_candidate`); None for "others" where other cars
            are all that is new, else "better".
        most: outside photos to add at most.
        trust_labels: of outside photos.
        tell: told what was understood of the run's data, and then of the outside photos.
        watch: told of the work as it goes on.

    Raises:
        InputError: there is nothing new to learn, or what was given cannot be used.
        BundleError: the run is damaged, or its data have changed otherwise than by decisions.
        MissingExtra: lotlens[train] is not installed.
    """
    offer, beside = (None if path is None else Path(path) for path in (outside, others))
    wishes = _Wishes(offer, beside, hard, anew, rule, most, trust_labels, tell)
    own = _open_parent(run, wishes)
    return _plan(own, _decide(own), wishes, watch)


def improve(
    run: Path | str,
    *,
    outside: Path | str | None = None,
    others: Path | str | None = None,
    hard: bool = False,
    anew: bool | None = None,
    rule: Rule | None = None,
    most: int | None = None,
    trust_labels: bool = False,
    out: Path | str | None = None,
    resume: bool = False,
    num_workers: int = 0,
    show: Callable[[RoundPlan], None] | None = None,
    tell: Tell | None = None,
    lang: str | None = None,
    watch: Watcher | None = None,
) -> Round:
    """Train a candidate that learns more than a run did, and let the gate judge it.

    The run stays as it is. The candidate is a run of its own, with round.json for what it learnt
    besides and what the gate said, rounds.csv and rounds.svg; a row is added to the rounds.csv of
    the run that it began with. The gate compares both on the locked part, if there is one; with
    folds, on the answers out of fold; else on the validation photos. From the latter the weights of
    both were chosen, with the same choices for each, so that they flatter both alike.

    Args:
        run: the run to begin with.
        outside: photos to vet and add.
        others: photos of cars that are none of the classes.
        hard: show hard photos more often.
        anew: train anew or go on; None for what suits the change.
        rule: of the gate.
        most: outside photos to add at most.
        trust_labels: of outside photos.
        out: the candidate's run folder; None for RUN-round-1 and so on.
        resume: go on with a round in `out` that was stopped; `run` must be its parent, and all else
            is as it was then.
        num_workers: see `verbs.train.train`.
        show: told of the plan before training begins.
        tell: told what was understood of the run's data, then of the outside photos, and then the
            run folder of the candidate.
        lang: the language of the report, "en" or "ru"; None for that of the run's.
        watch: told of the work as it goes on.

    Raises:
        InputError, BundleError, MissingExtra: see `plan_round`.
        OutputError: a file cannot be written.
        Stopped: Ctrl-C (a KeyboardInterrupt that knows the run folder).
    """
    if import_vision("distributed").is_launched():
        raise InputError("a round of improvement is one process's work: start it without torchrun")
    offer, beside = (None if path is None else Path(path) for path in (outside, others))
    wishes = _Wishes(offer, beside, hard, anew, rule, most, trust_labels, tell)
    if resume and out is None:
        raise InputError("to go on with a round, name its run folder with --out")
    with _claim(run, out) as folder:
        is_begun = resume and folder.round_path.is_file()
        if is_begun and folder.rounds_path.is_file():
            raise InputError(f"the round in {out} is finished: see  lotlens rounds {out}")
        if resume and not is_begun and folder.has_checkpoint:
            raise InputError(f"{out} holds no round of improvement: go on with  lotlens train")
        if not is_begun:
            folder.check_free()
        for path in (folder.card_path, RunFolder(Path(run)).rounds_path):
            check_writable(path)
        language = choose_language(lang, RunFolder(Path(run)))
        own, plan, lot = _open_round(run, wishes, folder if is_begun else None, watch)
        if show is not None:
            show(plan)
        training = _begin(own, plan, lot, folder, is_new=not is_begun, watch=watch)
        if tell is not None:
            tell(Begun(folder.path))
        training = replace(training, num_workers=num_workers)
        done = complete_training(training, language=language, watch=watch)
        judgement = _ask_gate(done, own, training, plan, watch)
        rows = _write_round(done.run, own.model.run, plan, judgement)
    return Round(done, own.model.run.path, plan.number, judgement, rows)


@contextmanager
def _claim(run: Path | str, out: Path | str | None) -> Iterator[RunFolder]:
    """The run folder of the candidate, to which nobody else writes."""
    if out is not None:
        with RunFolder.claim(Path(out), "improve") as folder:
            yield folder
        return
    parent = Path(run).absolute()
    stem = f"{parent.name.partition('-round-')[0]}-round"
    with RunFolder.claim_next(parent.parent, stem, "improve") as folder:
        yield folder


def _open_parent(run: Path | str, wishes: _Wishes) -> OwnData:
    """The run that a round begins with, and its data."""
    if wishes.rule not in (None, *RULES):
        raise InputError(f"the gate has no rule {wishes.rule!r}; it has: {', '.join(RULES)}")
    model = load(run)
    if model.members:
        raise InputError(f"{run} is an ensemble of runs: improve its runs, then make it anew")
    own = open_own_data(model)
    if wishes.tell is not None:
        wishes.tell(own.lot.reading)
    return own


def _open_round(
    run: Path | str, wishes: _Wishes, stopped: RunFolder | None, watch: Watcher | None
) -> tuple[OwnData, RoundPlan, Lot]:
    """The parent, the plan, and the parent's data with the decisions that the round goes by."""
    if stopped is not None:
        model = load(run)
        plan = read_plan(stopped, model)
        own = open_own_data(model)
        return own, plan, _decide(own, stopped)
    own = _open_parent(run, wishes)
    lot = _decide(own)
    return own, _plan(own, lot, wishes, watch), lot


def _decide(own: OwnData, stopped: RunFolder | None = None) -> Lot:
    """A run's data with decisions as they are now, or as an unfinished round began with them."""
    decisions = own.decisions if stopped is None else read_decisions(stopped.decisions_path)
    lot = decide_labels(own.undecided, decisions)
    check_trainable(lot)
    return lot


def _plan(own: OwnData, lot: Lot, wishes: _Wishes, watch: Watcher | None) -> RoundPlan:
    """What a round would do, with the run's data as they are decided on now."""
    model = own.model
    relabelled, left_out = compare_labels(own.lot.train, lot.train)
    has_news = bool(wishes.hard or relabelled or left_out)
    if wishes.outside is None and wishes.others is None and not has_news:
        run = model.run.path
        raise InputError(
            f"nothing new to learn for {run}: name photos with --outside or --others, ask for"
            f" --hard, or review doubts first (lotlens doubts {run}, lotlens review {run})"
        )
    additions = read_earlier(own)
    vetting = _vet(own, additions, wishes, watch)
    if vetting is not None:
        additions = (*additions, *vetting.plan.additions)
        if not vetting.plan.additions and not has_news and wishes.others is None:
            raise InputError(
                f"none of the {len(vetting.vetted)} photos of {wishes.outside} is admitted:"
                f" {count_reasons(vetting)}"
            )
    weights = {one.photo.id: one.weight for one in additions if one.weight != 1}
    split = follow_decisions(own.split, lot.train)
    others, num_new = _take_others(own, lot, split, additions, wishes, watch)
    failing = _find_failing(own, lot, vetting)
    hard = _weigh(replace(own, lot=lot, split=split), watch) if wishes.hard else {}
    base = read_base(model)
    is_anew = bool(vetting or num_new or relabelled or left_out)
    is_anew = is_anew if wishes.anew is None else wishes.anew
    if not is_anew and others.learnt and not model.card.has_others:
        raise InputError(
            f"{model.run.path} knows of no other cars, so its weights have no place for them:"
            " leave out --continue"
        )
    only_others = bool(num_new) and not has_news and vetting is None
    judged_on = "folds" if count_folds(split) else "locked" if LOCKED in split.parts else ""
    return RoundPlan(
        model.run.path,
        count_round(model.run) + 1,
        vetting,
        additions,
        weights | hard,
        sum(weight >= 1.5 for weight in hard.values()),
        relabelled,
        left_out,
        is_anew,
        base if is_anew else continue_recipe(base.located(model.card.image.locate)),
        base,
        judged_on or "validation",
        wishes.rule or ("others" if only_others else "better"),
        failing,
        len(split.parts[LOCKED] if judged_on == "locked" else own.answers.ids),
        others,
        num_new,
    )


def _take_others(
    own: OwnData,
    lot: Lot,
    split: Split,
    additions: Sequence[Addition],
    wishes: _Wishes,
    watch: Watcher | None,
) -> tuple[Others, int]:
    """Photos of other cars that are learnt: the parent's, and new ones; and how many are new."""
    model = own.model
    earlier = read_others(model.run.others_path)
    if wishes.others is None:
        return earlier, 0

    def find_named(catalog: Catalog) -> list[bool]:
        answers = model.answer(catalog, watch=watch)
        verdicts = decide(answers, model.card.refusal, model.card.temperature)
        return [verdict.kind == "model" for verdict in verdicts]

    new = take_others(
        wishes.others,
        lot,
        split,
        read_base(model).image.spec(),
        seed=split.seed,
        earlier=earlier,
        additions=[one.photo for one in additions],
        is_no_car=look_for_cars(lot.train.with_files(), watch),
        is_named=find_named,
        tell=wishes.tell,
        watch=watch,
    )
    if model.card.started_from:
        was_held_out = {photo.id for photo in earlier.held_out}
        refuse_learnt(
            model,
            [photo for photo in new.held_out if photo.id not in was_held_out],
            "give other photos with --others",
            seen=new.signs,
            watch=watch,
        )
    if wishes.tell is not None:
        wishes.tell(new.told)
    num_before = len(earlier.learnt) + len(earlier.held_out)
    return new, len(new.learnt) + len(new.held_out) - num_before


def _vet(
    own: OwnData, earlier: Sequence[Addition], wishes: _Wishes, watch: Watcher | None
) -> Vetting | None:
    if wishes.outside is None:
        return None
    return vet_offer(
        own,
        wishes.outside,
        earlier,
        most=wishes.most,
        trust_labels=wishes.trust_labels,
        tell=wishes.tell,
        watch=watch,
    )


def _weigh(own: OwnData, watch: Watcher | None) -> dict[str, float]:
    """Photo id -> how often it is shown, hard ones more often than others."""
    evidence, _ = gather_evidence(own, watch=watch)
    kept = {one.photo_id for one in own.decisions if one.verdict == "keep"}
    weights = weigh_hard(evidence, len(own.model.card.classes), kept=kept)
    return dict(zip(evidence.ids, weights.tolist(), strict=True))


def _find_failing(own: OwnData, lot: Lot, vetting: Vetting | None) -> tuple[str, ...]:
    """Labels of the classes that fail: clearly, or those with the most errors that hold half."""
    if vetting is not None:
        clearly = tuple(one.car.label for one in vetting.plan.classes if one.is_failing)
        if clearly:
            return clearly
    return pick_failing(count_wrong(own.answers, align_targets(own.answers, lot.train)))


def _begin(
    own: OwnData,
    plan: RoundPlan,
    lot: Lot,
    folder: RunFolder,
    *,
    is_new: bool,
    watch: Watcher | None,
) -> Training:
    """All that the candidate's training begins with, in its run folder."""
    model = own.model
    found = audit_training(lot, plan.recipe.audit, watch=watch)
    split = follow_decisions(own.split, lot.train, found.dropped)
    split = take_in(read_contradicted(model.run), split, lot.train, found)
    check_split(split, lot.train, found.groups)
    if is_new:
        RunFolder.create(folder.path)
        num_test = len(lot.test.with_files())
        added = [*(one.photo for one in plan.additions), *plan.others.learnt]
        seen = {**found.signs, **plan.others.signs}
        unseen = [photo for photo in added if photo.id not in seen]
        seen |= {photo.id: sign for photo, sign in zip(unseen, scan_photos(unseen), strict=True)}
        known = know_photos(lot.train.photos, added, seen)
        if model.card.started_from:
            known = join_known((known, model.known_photos.take_added(known)))
        begin_run(
            folder,
            model.data_path,
            plan.recipe,
            split,
            lot.train,
            known,
            own.decisions,
            num_test,
            found.sizes,
            plan.others,
        )
        write_plan(folder, plan)
    extras = Extras(
        tuple(one.photo for one in plan.additions),
        plan.photo_weights or None,
        () if plan.is_anew else _read_starts(model),
    )
    return Training(folder, plan.recipe, lot, split, found, is_new, extras, plan.others)


def _read_starts(model: Model) -> tuple[Mapping[str, Any], ...]:
    """The weights of a run, of each of its members."""
    network, card = import_vision("bundle").load_bundle(model.run, model.card)
    members = network.members if card.members > 1 else [network]
    return tuple(member.state_dict() for member in members)


def _ask_gate(
    done: Model, own: OwnData, training: Training, plan: RoundPlan, watch: Watcher | None
) -> Judgement:
    """Let both models answer the photos that the plan names, and the gate decide."""
    model, photos, split = own.model, training.lot.train, training.split
    is_locked = plan.judged_on == "locked"
    if is_locked:
        catalog = photos.select(split.parts[LOCKED])
        candidate, present = (one.answer(catalog, watch=watch) for one in (done, model))
    else:
        finished = OwnData(done, training.lot, split, own.undecided)
        answered = set(own.answers.ids)
        shared = [id_ for id_ in list_held_out(split) if id_ in answered]
        catalog = photos.select(shared)
        candidate, present = (select_predictions(one.answers, shared) for one in (finished, own))
    judgement = judge_candidate(
        candidate,
        order_classes(present, candidate.classes),
        align_targets(candidate, catalog),
        # Those of the plan were chosen by the present model's errors on the photos held out.
        failing=plan.failing if is_locked else None,
        rule=plan.rule,
        num_judged=1 + count_judged(list_others(model.run, done.run, plan.number), plan.judged_on),
        other_cars=_compare_others(done, model, plan, watch),
    )
    if is_locked:
        shares = (judgement.comparison.first, judgement.comparison.second)
        done.run.add_opening(shares[0], len(catalog))
        with RunFolder.claim(model.run.path, "improve", wait_s=PATIENCE_S):
            model.run.add_opening(shares[1], len(catalog))
    return judgement


def _compare_others(
    done: Model, parent: Model, plan: RoundPlan, watch: Watcher | None
) -> OtherCars | None:
    """How often each gives one name to other cars that neither has learnt."""
    photos = plan.others.held_out
    named = []
    for model in (done, parent):
        asked = meet_others(
            model.build_predictor(len(photos)),
            model.read_references(),
            photos,
            progress=watch_part(watch, "trying other cars"),
        )
        for strangers in asked:
            card = model.card
            verdicts = decide(strangers.predictions, card.refusal, card.temperature)
            named.append(np.array([verdict.kind == "model" for verdict in verdicts]))
    return compare_other_cars(*named) if named else None


def _write_round(
    folder: RunFolder, parent: RunFolder, plan: RoundPlan, judgement: Judgement
) -> tuple[Mapping[str, str], ...]:
    """Write what the gate said, and the history of rounds into both runs.

    The candidate's own history comes last: without it the round is not finished.
    """
    values = plan.to_dict() | {"gate": judgement.to_dict()}
    if folder.round_path.is_file():  # a round that was taken up has lost what was vetted
        values["outside"] = read_round(folder.round_path)["outside"]
    write_round(folder, values)
    row = describe_round(folder, parent, plan, judgement)
    with RunFolder.claim(parent.path, "improve", wait_s=PATIENCE_S):
        # Its own row is there after a kill between the two histories.
        rows = (*list_others(parent, folder, plan.number), row)
        for run in (parent, folder):
            draw_rounds(run.rounds_path.with_suffix(".svg"), rows)
            write_rounds(run.rounds_path, rows)
    return rows
