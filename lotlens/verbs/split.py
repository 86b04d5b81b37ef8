"""Part labelled photos for training, and write the parts."""

from __future__ import annotations

from pathlib import Path

from lotlens.audit.parts import write_split
from lotlens.files import check_writable
from lotlens.recipes.loading import Overrides, load_recipe
from lotlens.records import Split, Tell, Watcher
from lotlens.training.begin import draw_parts
from lotlens.training.data import TrainingData


def split(
    data: Path | str,
    out: Path | str,
    *,
    validation: float = 0.15,
    num_folds: int | None = None,
    lock: float = 0.0,
    seed: int = 0,
    overrides: Overrides = (),
    tell: Tell | None = None,
    watch: Watcher | None = None,
) -> Split:
    """Part labelled photos, copies of a picture and photos of a listing on one side; write a CSV.

    Args:
        data: labelled photos, in any form that `open_lot` knows.
        out: the file; columns Id, Part, Seed, Fingerprint.
        validation: share held out.
        num_folds: draw so many folds instead of one hold-out.
        lock: share put aside before, the same photos for every seed.
        seed: of the drawing.
        overrides: "audit.near_duplicate=drop" and the like.
        tell: told what was understood of the files, before they are looked at.
        watch: told of the work as it goes on.

    Raises:
        InputError, RecipeError: what was given cannot be used.
        OutputError: the file cannot be written.
    """
    check_writable(Path(out))
    recipe = load_recipe("standard", overrides).model_copy(
        update={"validation": validation, "lock": lock, "seed": seed}
    )
    photos = TrainingData(Path(data), recipe, tell=tell)
    found = photos.audit(recipe.audit, lock, watch)
    drawn = draw_parts(photos.usable, recipe, found, num_folds)
    write_split(Path(out), drawn)
    return drawn
