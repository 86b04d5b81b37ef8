"""What a round of improvement is going to do, and the files of a run folder that say so.

A round never changes the run that it begins with. It makes a run of its own, which is the better
one only if the gate says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

from lotlens.deliver.model import Model
from lotlens.errors import BundleError, InputError
from lotlens.files import write_json_atomically, write_rows_atomically
from lotlens.improve.additions import Addition, read_additions, write_additions
from lotlens.improve.gate import Rule
from lotlens.improve.outside import write_vetted
from lotlens.improve.vetting import Vetting
from lotlens.photos.tables import list_some, read_own_table, require_columns
from lotlens.recipes.loading import parse_recipe
from lotlens.recipes.schema import Cosine, Finetune, Recipe, Size
from lotlens.run import RunFolder, read_object
from lotlens.texts import describe
from lotlens.training.others import Others, read_others
from lotlens.values import (
    read_count,
    read_fields,
    read_flag,
    read_list,
    read_mapping,
    read_name,
    read_number,
    read_text,
    read_whole,
    read_word,
    require_fields,
)

_HARD_EPOCHS = 3
_HARD_RATE = 0.1  # times the rate of the stage that it is made of
_HARD_SHARE = 0.5  # of the layer groups, where the recipe has no fine-tuning of its own
_MOST_WEIGHT = 1_000.0
_WEIGHT_COLUMNS = ("Id", "Weight")


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
            errors. The gate looks at them where a locked part judges; else it chooses by the errors
            of both models.
        num_judged: photos by which the gate will judge; 0 where that is not known.
        others: photos of other cars, those that the parent knows included.
        num_new_others: of them, those that are new.
    """

    parent: Path
    number: int
    vetting: Vetting | None
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
    num_judged: int = 0
    others: Others = field(default_factory=Others)
    num_new_others: int = 0

    def __repr__(self) -> str:
        return describe(
            f"RoundPlan of round {self.number}", f"{self.what}; begins with {self.parent}"
        )

    @property
    def what(self) -> str:
        """What it does, in words."""
        parts = []
        if self.relabelled or self.left_out:
            parts.append("decisions")
        if self.vetting is not None:
            parts.append("outside photos")
        if self.num_new_others:
            parts.append("other cars")
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
            "others": {
                "new": self.num_new_others,
                "learnt": len(self.others.learnt),
                "held_out": len(self.others.held_out),
                "turned_away": dict(self.others.turned_away),
            },
            "hard": self.num_hard,
            "relabelled": list(self.relabelled),
            "left_out": list(self.left_out),
            "anew": self.is_anew,
            "base_recipe": self.base.to_dict(),
            "judged_on": self.judged_on,
            "rule": self.rule,
            "failing": list(self.failing),
        }


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


def count_reasons(vetting: Vetting) -> str:
    """Why offered photos were turned away or not, and how many of each, in words."""
    counts = Counter(one.reason for one in vetting.vetted)
    return list_some([f"{reason} {count}" for reason, count in counts.most_common()], 8)


def write_plan(folder: RunFolder, plan: RoundPlan) -> None:
    """Write a plan into the candidate's run folder.

    Raises:
        OutputError: a file cannot be written.
    """
    write_additions(folder.additions_path, plan.additions)
    if plan.vetting is not None:
        write_vetted(folder.outside_path, plan.vetting.vetted)
    write_rows_atomically(folder.photo_weights_path, _WEIGHT_COLUMNS, [*plan.photo_weights.items()])
    write_round(folder, plan.to_dict())


def read_plan(folder: RunFolder, model: Model) -> RoundPlan:
    """The plan of a round that was stopped.

    Raises:
        InputError: it is no round, or one of another run.
        BundleError: a file is damaged.
    """
    if not folder.round_path.is_file():
        raise InputError(f"{folder.path} holds no round of improvement: go on with lotlens train")
    values = read_round(folder.round_path)
    if Path(values["parent"]).resolve() != model.run.path.resolve():
        raise InputError(f"the round in {folder.path} began with {values['parent']}: name that run")
    return RoundPlan(
        model.run.path,
        values["round"],
        None,
        read_additions(folder.additions_path, model.card.classes),
        _read_weights(folder.photo_weights_path),
        values["hard"],
        values["relabelled"],
        values["left_out"],
        values["anew"],
        parse_recipe(folder.read_recipe(), source=str(folder.recipe_path)),
        parse_recipe(values["base_recipe"], source=str(folder.round_path)),
        values["judged_on"],
        values["rule"],
        values["failing"],
        others=read_others(folder.others_path),
        num_new_others=values["others"].get("new", 0),
    )


def write_round(folder: RunFolder, values: Mapping[str, Any]) -> None:
    """Write round.json: the plan, and what the gate said once it has.

    Raises:
        OutputError: the file cannot be written.
    """
    write_json_atomically(folder.round_path, values)


def read_round(path: Path) -> dict[str, Any]:
    """What `write_round` wrote.

    Raises:
        BundleError: the file is damaged.
    """
    values = read_object(path)
    try:
        known = read_fields(values, _ROUND_READERS)
        require_fields(known, set(_ROUND_READERS) - {"others"})
    except ValueError as error:
        raise BundleError(f"{path} is damaged ({error}): restore it, or use another run") from error
    return {"others": {}} | values | known


_read_ids = partial(read_list, read=read_text, least=0, most=10_000_000)
_ROUND_READERS: Mapping[str, Callable[[Any], Any]] = {
    "parent": read_name,
    "round": partial(read_whole, least=1, most=1_000_000),
    "outside": lambda value: None if value is None else read_mapping(value),
    "others": lambda value: read_fields(value, {"new": read_count}),
    "hard": read_count,
    "relabelled": _read_ids,
    "left_out": _read_ids,
    "anew": read_flag,
    "base_recipe": read_mapping,
    "judged_on": partial(read_word, words=("locked", "folds", "validation")),
    "rule": partial(read_word, words=get_args(Rule)),
    "failing": _read_ids,
}


def read_base(model: Model) -> Recipe:
    """The recipe that a run's first ancestor was trained by.

    Raises:
        BundleError: round.json is damaged.
    """
    values, source = model.card.recipe, model.run.card_path
    if model.run.round_path.is_file():
        values, source = read_round(model.run.round_path)["base_recipe"], model.run.round_path
    return parse_recipe(dict(values), source=str(source))


def _read_weights(path: Path) -> dict[str, float]:
    table = read_own_table(path, may_lack_rows=True)
    places = require_columns(table, id=("id",), weight=("weight",))
    weights: dict[str, float] = {}
    for number, row in enumerate(table.rows, start=2):
        id_, text = (row[place] for place in places)
        try:
            weights[id_] = read_number(float(text), 0.0, _MOST_WEIGHT)
        except ValueError as error:
            raise BundleError(f"{path} is damaged at row {number}: {error}") from error
    return weights
