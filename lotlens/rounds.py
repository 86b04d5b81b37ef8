"""Rounds of improvement: a finished run, what it is to learn besides, and a gate; prints nothing.

A round never changes the run that it begins with. It makes a run of its own, which is the better
one only if the gate says so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lotlens import api
from lotlens.audit.checks import LABEL_CONFLICT
from lotlens.audit.findings import Audit
from lotlens.audit.split import (
    LOCKED,
    TRAIN,
    check_split,
    cluster_photos,
    count_folds,
    list_held_out,
)
from lotlens.errors import BundleError, InputError
from lotlens.evidence import gather_evidence
from lotlens.extras import import_vision
from lotlens.files import write_rows_atomically, write_text_atomically
from lotlens.improve.additions import Addition, read_additions, write_additions
from lotlens.improve.gate import RULES, Judgement, Rule, judge_candidate
from lotlens.improve.hard import weigh_hard
from lotlens.improve.outside import write_vetted
from lotlens.judge.metrics import align_targets
from lotlens.judge.predict import load_predictions, order_classes, select_predictions
from lotlens.model import Model, load
from lotlens.photos.decisions import decisions_path, read_decisions
from lotlens.photos.sources import check_trainable, fingerprint
from lotlens.photos.tables import list_some, read_table, require_columns
from lotlens.recipe import Cosine, Finetune, Recipe, Size, parse_recipe
from lotlens.records import Catalog, Lot, Split, Watcher
from lotlens.report.rounds import draw_rounds
from lotlens.run import RunFolder

_HARD_EPOCHS = 3
_HARD_RATE = 0.1  # times the rate of the stage that it is made of
_HARD_SHARE = 0.5  # of the layer groups, where the recipe has no fine-tuning of its own
_WEIGHT_COLUMNS = ("Id", "Weight")
_ROUND_COLUMNS = (
    *("Round", "Run", "Parent", "What", "Added", "Hard", "Relabelled", "LeftOut", "Judged"),
    *("Photos", "Before", "After", "Difference", "Low", "High", "Accepted", "Sentence"),
)


@dataclass(frozen=True)
class RoundPlan:
    """What a round is going to do; nothing has been trained.

    Attributes:
        parent: the run that it begins with.
        number: of the round, from 1.
        vetting: of the outside photos; None if none were offered.
        additions: all outside photos that are learnt, those of earlier rounds included.
        photo_weights: id -> how much a photo counts, of those that do not count 1.
        num_hard: photos that are shown at least half again as often.
        relabelled, left_out: ids of photos on which people decided since the parent was trained.
        is_anew: whether the recipe is run from its start; else the parent's weights are the start.
        recipe: that is run.
        base: the recipe that rounds began with, for those that train anew.
        judged_on: "locked", "folds" or "validation".
        rule: of the gate.
        failing: labels of the classes that fail now, clearly or, if none does, by the number of
            errors.
    """

    parent: Path
    number: int
    vetting: api.Vetting | None
    additions: tuple[Addition, ...]
    photo_weights: Mapping[str, float]
    num_hard: int
    relabelled: tuple[str, ...]
    left_out: tuple[str, ...]
    is_anew: bool
    recipe: Recipe
    base: Recipe
    judged_on: str
    rule: Rule
    failing: tuple[str, ...]

    @property
    def what(self) -> str:
        """What it does, in words."""
        parts = []
        if self.relabelled or self.left_out:
            parts.append("decisions")
        if self.vetting is not None:
            parts.append("outside photos")
        if self.num_hard:
            parts.append("hard examples")
        return f"{', '.join(parts) or 'nothing new'}; {'anew' if self.is_anew else 'continued'}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "parent": str(self.parent),
            "round": self.number,
            "what": self.what,
            "additions": len(self.additions),
            "outside": None if self.vetting is None else self.vetting.plan.to_dict(),
            "hard": self.num_hard,
            "relabelled": list(self.relabelled),
            "left_out": list(self.left_out),
            "anew": self.is_anew,
            "base_recipe": self.base.to_dict(),
            "judged_on": self.judged_on,
            "rule": self.rule,
            "failing": list(self.failing),
        }


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


def plan_round(
    run: Path | str,
    *,
    outside: Path | str | None = None,
    hard: bool = False,
    anew: bool | None = None,
    rule: Rule = "better",
    most: int | None = None,
    trust_labels: bool = False,
    watch: Watcher | None = None,
) -> RoundPlan:
    """What a round of improvement would do. Nothing is trained or written.

    Args:
        run: the run to begin with.
        outside: photos to vet and add (see `api.vet_outside`).
        hard: show hard photos more often (see `improve.hard`). Where the run has no folds,
            probes are fitted to find them.
        anew: train from the start of the recipe, or go on from the run's weights in a short stage
            of a low rate; None for the former where the photos or labels change.
        rule: of the gate (see `improve.gate.judge_candidate`).
        most: outside photos to add at most.
        trust_labels: of outside photos.
        watch: told of the work as it goes on.

    Raises:
        InputError: there is nothing new to learn, or what was given cannot be used.
        BundleError: the run is damaged, or its data have changed otherwise than by decisions.
        MissingExtra: lotlens[train] is not installed.
    """
    if rule not in RULES:
        raise InputError(f"the gate has no rule {rule!r}; it has: {', '.join(RULES)}")
    model = load(run)
    if model.members:
        raise InputError(f"{run} is an ensemble of runs: improve its runs, then make it anew")
    before, old_split = api.open_own_data(model)
    lot = _open_decided(model)
    relabelled, left_out = _compare_labels(before.train, lot.train)
    if outside is None and not hard and not relabelled and not left_out:
        raise InputError(
            f"nothing new to learn for {run}: name photos with --outside, ask for --hard, or"
            f" review doubts first (lotlens doubts {run}, lotlens review {run})"
        )
    earlier = model.run.additions_path
    additions = read_additions(earlier, model.card.classes) if earlier.is_file() else ()
    vetting = None
    if outside is not None:
        vetting = api.vet_outside(run, outside, most=most, trust_labels=trust_labels, watch=watch)
        additions = (*additions, *vetting.plan.additions)
        if not vetting.plan.additions and not hard and not relabelled and not left_out:
            raise InputError(
                f"none of the {len(vetting.vetted)} photos of {outside} is admitted:"
                f" {_count_reasons(vetting)}"
            )
    weights = {one.photo.id: one.weight for one in additions if one.weight != 1}
    split = _follow_decisions(old_split, lot.train)
    num_hard = 0
    if hard:
        evidence, _ = gather_evidence(model, lot, split, watch=watch)
        kept = {d.photo_id for d in read_decisions(_decisions_of(model)) if d.verdict == "keep"}
        found = weigh_hard(evidence, len(model.card.classes), kept=kept)
        weights |= dict(zip(evidence.ids, found.tolist(), strict=True))
        num_hard = int((found >= 1.5).sum())
    base = _read_base(model)
    is_anew = bool(vetting or relabelled or left_out) if anew is None else anew
    judged_on = "folds" if count_folds(split) else "locked" if LOCKED in split.parts else ""
    return RoundPlan(
        model.run.path,
        _count_round(model.run) + 1,
        vetting,
        additions,
        weights,
        num_hard,
        relabelled,
        left_out,
        is_anew,
        base if is_anew else continue_recipe(base),
        base,
        judged_on or "validation",
        rule,
        _find_failing(model, lot, vetting),
    )


def improve(
    run: Path | str,
    *,
    outside: Path | str | None = None,
    hard: bool = False,
    anew: bool | None = None,
    rule: Rule = "better",
    most: int | None = None,
    trust_labels: bool = False,
    out: Path | str | None = None,
    resume: bool = False,
    num_workers: int = 0,
    show: Callable[[RoundPlan], None] | None = None,
    watch: Watcher | None = None,
) -> Round:
    """Train a candidate that learns more than a run did, and let the gate judge it.

    The run stays as it is. The candidate is a run of its own, with round.json for what it learnt
    besides and what the gate said, rounds.csv and rounds.svg; a row is added to the rounds.csv of
    the run that it began with.

    The gate compares both on the locked part, if there is one; with folds, on the answers out of
    fold; else on the validation photos. From the latter the weights of both were chosen, with the
    same choices for each, so that they flatter both alike.

    Args:
        run: the run to begin with.
        outside: photos to vet and add.
        hard: show hard photos more often.
        anew: train anew or go on; None for what suits the change.
        rule: of the gate.
        most: outside photos to add at most.
        trust_labels: of outside photos.
        out: the candidate's run folder; None for RUN-round-1 and so on.
        resume: go on with a round in `out` that was stopped; `run` must be its parent, and all else
            is as it was then.
        num_workers: see `api.train`.
        show: told of the plan before training begins.
        watch: told of the work as it goes on.

    Raises:
        InputError, BundleError, MissingExtra: see `plan_round`.
        OutputError: a file cannot be written.
        Stopped: Ctrl-C (a KeyboardInterrupt that knows the run folder).
    """
    folder = None if out is None else RunFolder(Path(out))
    if resume and folder is None:
        raise InputError("to go on with a round, name its run folder with --out")
    if resume and folder is not None and folder.is_unfinished:
        model = load(run)
        plan = _read_plan(folder, model)
    else:
        plan = plan_round(
            run,
            outside=outside,
            hard=hard,
            anew=anew,
            rule=rule,
            most=most,
            trust_labels=trust_labels,
            watch=watch,
        )
        model = load(run)
        folder = None
    if show is not None:
        show(plan)
    lot = _open_decided(model, folder)
    usable = lot.train
    found: Audit = api.audit_labelled(lot, usable, plan.recipe.audit, 0.0, watch)
    _, old_split = api.open_own_data(model)
    split = _follow_decisions(old_split, usable, found.dropped)
    split = _take_in(_read_contradicted(model.run), split, usable, found)
    check_split(split, usable, found.groups)
    if folder is None:
        folder = _begin(plan, model, out, split, usable)
    done = api.complete_training(
        folder,
        plan.recipe,
        lot,
        split,
        found,
        extras=api.Extras(
            tuple(one.photo for one in plan.additions),
            plan.photo_weights or None,
            () if plan.is_anew else _read_starts(model),
        ),
        num_workers=num_workers,
        watch=watch,
    )
    judgement = _judge(done, model, lot, split, plan, watch)
    rows = _write_round(done.run, model.run, plan, judgement)
    return Round(done, model.run.path, plan.number, judgement, rows)


def list_rounds(run: Path | str) -> tuple[Mapping[str, str], ...]:
    """The rounds that led to a run and those that began with it, as in its rounds.csv.

    Raises:
        BundleError: no such run.
        InputError: there were no rounds, or the file is damaged.
    """
    folder = RunFolder.open(Path(run))
    rows = _read_rounds(folder)
    if not rows:
        raise InputError(f"{run} has seen no round of improvement: begin one with lotlens improve")
    return rows


def continue_recipe(recipe: Recipe) -> Recipe:
    """A recipe of one short stage of a low rate, that goes on where another one ended.

    The other one's last stage of fine-tuning is taken, at the final size and a tenth of its rate;
    where there is none, the upper half of the layers is tuned. Validation chooses among the weights
    that it begins with, those that it ends with and points between (WiSE-FT, Wortsman et al. 2022),
    which is what keeps old knowledge from being forgotten.
    """
    own = [stage for stage in recipe.stages if isinstance(stage, Finetune)]
    size = Size(height=recipe.image.height, width=recipe.image.width, epochs=_HARD_EPOCHS)
    last = own[-1] if own else Finetune(kind="finetune", sizes=(size,), unfreeze=_HARD_SHARE)
    stage = last.model_copy(
        update={
            "lr": last.lr * _HARD_RATE,
            "sizes": (size,),
            "schedule": Cosine(),
            "ema": min(last.ema, 0.98),  # a short stage outruns a longer memory
            "validate_every": 1,
            "early_stop": None,
            "checkpoint": "last",
            "average_last": 0,
            "keep_best": True,
        }
    )
    name = f"{recipe.name}-continued"[:80]
    return recipe.model_copy(update={"name": name, "stages": (stage,)})


def _open_decided(model: Model, folder: RunFolder | None = None) -> Lot:
    """A run's data with decisions as they are now, or as an unfinished round began with them."""
    data = Path(model.run.read_source()["data"])
    lot = api.open_data(data, None if folder is None else folder.decisions_path)
    check_trainable(lot)
    return replace(lot, train=lot.train.with_files())


def _decisions_of(model: Model) -> Path:
    return decisions_path(Path(model.run.read_source()["data"]))


def _compare_labels(before: Catalog, now: Catalog) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of photos with another label now, and of those that are no longer there."""
    labels = {photo.id: photo.label for photo in now.photos}
    relabelled = [p.id for p in before.photos if p.id in labels and labels[p.id] != p.label]
    left_out = [photo.id for photo in before.photos if photo.id not in labels]
    return tuple(relabelled), tuple(left_out)


def _follow_decisions(
    split: Split, catalog: Catalog, dropped: frozenset[str] = frozenset()
) -> Split:
    """The split of the photos that are left; who is on which side stays as it was."""
    known = set(catalog.ids) - dropped
    parts = {part: tuple(id_ for id_ in ids if id_ in known) for part, ids in split.parts.items()}
    return Split(parts, split.seed, fingerprint(catalog))


def _read_contradicted(run: RunFolder) -> frozenset[str]:
    """Training photos that a run left out or grouped since a copy of theirs had another label."""
    if not run.findings_path.is_file():
        return frozenset()
    table = read_table(run.findings_path, may_lack_rows=True)
    places = require_columns(table, Id=("id",), Part=("part",), Check=("check",))
    rows = [[row[place] for place in places] for row in table.rows]
    return frozenset(id_ for id_, part, check in rows if (part, check) == ("train", LABEL_CONFLICT))


def _take_in(contradicted: Collection[str], split: Split, catalog: Catalog, found: Audit) -> Split:
    """The split with photos whose labels contradicted those of copies, and do so no longer.

    They join the part that holds their cluster; where none does, training or the smallest fold.
    """
    cluster_of = cluster_photos(catalog, found.groups)
    part_of = {cluster_of[id_]: part for part, ids in split.parts.items() for id_ in ids}
    settled = (set(contradicted) & set(catalog.ids)) - found.dropped
    parts = dict(split.parts)
    for id_ in sorted(settled.difference(*parts.values())):
        smallest = min((part for part in parts if part != LOCKED), key=lambda p: len(parts[p]))
        part = part_of.setdefault(cluster_of[id_], TRAIN if TRAIN in parts else smallest)
        parts[part] = (*parts[part], id_)
    return replace(split, parts=parts)


def _read_base(model: Model) -> Recipe:
    """The recipe that a run's first ancestor was trained by."""
    values, source = model.card.recipe, model.run.card_path
    if model.run.round_path.is_file():
        values, source = _read_json(model.run.round_path)["base_recipe"], model.run.round_path
    return parse_recipe(dict(values), source=str(source))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
        if not isinstance(values["round"], int) or not isinstance(values["base_recipe"], dict):
            raise ValueError("not a round")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path} is damaged ({error!r}): restore it, or use another run"
        ) from error
    return dict(values)


def _count_round(run: RunFolder) -> int:
    """The number of the latest round that a run knows of."""
    numbers = [int(row["Round"]) for row in _read_rounds(run)]
    return max(numbers, default=0)


def _find_failing(model: Model, lot: Lot, vetting: api.Vetting | None) -> tuple[str, ...]:
    """Labels of the classes that fail: clearly, or those with the most errors that hold half."""
    if vetting is not None:
        clearly = tuple(one.car.label for one in vetting.plan.classes if one.is_failing)
        if clearly:
            return clearly
    known = load_predictions(model.run.validation_path)
    targets = align_targets(known, lot.train)
    is_wrong = known.answered & (targets >= 0) & (known.logits.argmax(axis=1) != targets)
    errors = Counter(targets[is_wrong].tolist())
    failing: list[str] = []
    held = 0
    for target, count in errors.most_common():
        if 2 * held >= errors.total():
            break
        failing.append(known.classes[target].label)
        held += count
    return tuple(sorted(failing))


def _count_reasons(vetting: api.Vetting) -> str:
    counts = Counter(one.reason for one in vetting.vetted)
    return list_some([f"{reason} {count}" for reason, count in counts.most_common()], 8)


def _begin(
    plan: RoundPlan, model: Model, out: Path | str | None, split: Split, usable: Catalog
) -> RunFolder:
    """The candidate's run folder, with all that its training begins with."""
    data = Path(model.run.read_source()["data"])
    if out is None:
        path = model.run.path.absolute()
        stem = path.name.partition("-round-")[0]
        folder = RunFolder.create_next(path.parent, f"{stem}-round")
        out = folder.path
        folder.path.rmdir()
    folder = api.begin_run(out, data, plan.recipe, split, usable)
    write_additions(folder.additions_path, plan.additions)
    if plan.vetting is not None:
        write_vetted(folder.outside_path, plan.vetting.vetted)
    write_rows_atomically(folder.photo_weights_path, _WEIGHT_COLUMNS, [*plan.photo_weights.items()])
    write_text_atomically(
        folder.round_path, json.dumps(plan.to_dict(), ensure_ascii=False, indent=2) + "\n"
    )
    return folder


def _read_plan(folder: RunFolder, model: Model) -> RoundPlan:
    """The plan of a round that was stopped.

    Raises:
        InputError: it is no round, or one of another run.
        BundleError: a file is damaged.
    """
    if not folder.round_path.is_file():
        raise InputError(f"{folder.path} holds no round of improvement: go on with lotlens train")
    values = _read_json(folder.round_path)
    if Path(values["parent"]).resolve() != model.run.path.resolve():
        raise InputError(f"the round in {folder.path} began with {values['parent']}: name that run")
    weights = {}
    if folder.photo_weights_path.read_bytes().count(b"\n") > 1:
        table = read_table(folder.photo_weights_path)
        places = require_columns(table, id=("id",), weight=("weight",))
        try:
            weights = {row[places[0]]: float(row[places[1]]) for row in table.rows}
        except ValueError as error:
            raise BundleError(f"{folder.photo_weights_path} is damaged: {error}") from error
    return RoundPlan(
        model.run.path,
        values["round"],
        None,
        read_additions(folder.additions_path, model.card.classes),
        weights,
        values["hard"],
        tuple(values["relabelled"]),
        tuple(values["left_out"]),
        values["anew"],
        parse_recipe(folder.read_recipe(), source=str(folder.recipe_path)),
        parse_recipe(values["base_recipe"], source=str(folder.round_path)),
        values["judged_on"],
        values["rule"],
        tuple(values["failing"]),
    )


def _read_starts(model: Model) -> tuple[Mapping[str, Any], ...]:
    """The weights of a run, of each of its members."""
    network, card = import_vision("bundle").load_bundle(model.run)
    members = network.members if card.members > 1 else [network]
    return tuple(member.state_dict() for member in members)


def _judge(
    done: Model,
    model: Model,
    lot: Lot,
    split: Split,
    plan: RoundPlan,
    watch: Watcher | None,
) -> Judgement:
    """Let both models answer the photos that the plan names, and the gate decide."""
    if plan.judged_on == "locked":
        catalog = lot.train.select(split.parts[LOCKED])
        candidate, present = (own.answer(catalog, watch=watch) for own in (done, model))
    else:
        candidate, present = (load_predictions(m.run.validation_path) for m in (done, model))
        shared = [id_ for id_ in list_held_out(split) if id_ in set(present.ids)]
        catalog = lot.train.select(shared)
        candidate, present = (select_predictions(own, shared) for own in (candidate, present))
    targets = align_targets(candidate, catalog)
    judge = partial(judge_candidate, failing=plan.failing, rule=plan.rule)
    judgement = judge(candidate, order_classes(present, candidate.classes), targets)
    if plan.judged_on == "locked":
        shares = (judgement.comparison.first, judgement.comparison.second)
        for own, share in zip((done, model), shares, strict=True):
            api.add_opening(own.run, share, len(catalog))
    return judgement


def _write_round(
    folder: RunFolder, parent: RunFolder, plan: RoundPlan, judgement: Judgement
) -> tuple[Mapping[str, str], ...]:
    """Write what the gate said, and the history of rounds into both runs."""
    values = plan.to_dict() | {"gate": judgement.to_dict()}
    if folder.round_path.is_file():  # a round that was taken up has lost what was vetted
        values["outside"] = _read_json(folder.round_path)["outside"]
    write_text_atomically(
        folder.round_path, json.dumps(values, ensure_ascii=False, indent=2) + "\n"
    )
    pair = judgement.comparison.pair
    row = dict(
        zip(
            _ROUND_COLUMNS,
            (
                str(plan.number),
                folder.path.name,
                parent.path.name,
                plan.what,
                str(len(plan.additions)),
                str(plan.num_hard),
                str(len(plan.relabelled)),
                str(len(plan.left_out)),
                plan.judged_on,
                str(pair.num_photos),
                f"{judgement.comparison.second:.4f}",
                f"{judgement.comparison.first:.4f}",
                f"{pair.difference:.4f}",
                f"{pair.low:.4f}",
                f"{pair.high:.4f}",
                "yes" if judgement.accepted else "no",
                judgement.sentence,
            ),
            strict=True,
        )
    )
    rows = (*_read_rounds(parent), row)
    for own in (folder, parent):
        write_rows_atomically(
            own.rounds_path, _ROUND_COLUMNS, [[one[c] for c in _ROUND_COLUMNS] for one in rows]
        )
        draw_rounds(own.rounds_path.with_suffix(".svg"), rows)
    return rows


def _read_rounds(run: RunFolder) -> tuple[Mapping[str, str], ...]:
    if not run.rounds_path.is_file():
        return ()
    table = read_table(run.rounds_path)
    places = require_columns(table, **{column: (column.lower(),) for column in _ROUND_COLUMNS})
    return tuple(
        dict(zip(_ROUND_COLUMNS, (row[place] for place in places), strict=True))
        for row in table.rows
    )
