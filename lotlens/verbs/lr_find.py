"""Try ever higher learning rates, and see where the loss falls fastest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lotlens.audit.parts import pair_sides
from lotlens.audit.split import cluster_photos
from lotlens.extras import import_vision
from lotlens.files import check_writable
from lotlens.recipes.loading import Overrides, resolve_recipe
from lotlens.recipes.schema import Recipe
from lotlens.records import Watcher
from lotlens.training.begin import find_split
from lotlens.training.data import TrainingData
from lotlens.training.locating import open_for

if TYPE_CHECKING:
    from lotlens.vision.rate_finder import RateCurve


def find_rate(
    data: Path | str,
    recipe: str | Path | Recipe = "standard",
    *,
    overrides: Overrides = (),
    stage: int | None = None,
    num_steps: int = 100,
    out: Path | str | None = None,
    watch: Watcher | None = None,
) -> RateCurve:
    """A learning-rate range test (Smith 2017) of a stage of fine-tuning.

    Args:
        data: labelled photos, in any form that `open_lot` knows; only the training part is used.
        recipe: a built-in recipe's name, a YAML file, or a Recipe.
        overrides: "stages.1.lr=3e-4" and the like, a list of such, or {"stages.1.lr": 3e-4}.
        stage: its number, from 0; None for the first one of fine-tuning.
        num_steps: optimiser steps.
        out: the plot to write, .png or .svg.
        watch: told of the work as it goes on.

    Returns:
        rates, smoothed losses and a suggestion, good to a factor of two or so.

    Raises:
        InputError, RecipeError: what was given cannot be used.
        OutputError: the plot cannot be written.
        MissingExtra: lotlens[train] is not installed.
    """
    stages, rate_finder = import_vision("stages"), import_vision("rate_finder")
    recipe = resolve_recipe(recipe, overrides)
    if out is not None:
        check_writable(Path(out))
    photos = TrainingData(Path(data), recipe)
    found = photos.audit(recipe.audit, recipe.lock, watch)
    split = find_split(None, photos.usable, recipe, found)
    kinds = [one.kind for one in recipe.stages]
    number = stage if stage is not None else kinds.index("finetune") if "finetune" in kinds else 0
    learnt = photos.usable.select(pair_sides(split)[0][0])
    curve: RateCurve = stages.find_stage_rate(
        recipe,
        learnt,
        number=number,
        num_steps=num_steps,
        clusters=cluster_photos(photos.usable, found.groups),
        locate=open_for(recipe, len(learnt)),
        watch=watch,
    )
    if out is not None:
        rate_finder.plot_rates(Path(out), curve)
    return curve
