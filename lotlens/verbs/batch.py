"""Show the photos of a batch as training sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lotlens.extras import import_vision
from lotlens.files import check_writable, write_bytes_atomically
from lotlens.recipes.loading import Overrides, resolve_recipe
from lotlens.recipes.schema import Recipe
from lotlens.training.data import TrainingData
from lotlens.training.locating import open_for


@dataclass(frozen=True)
class Sheet:
    """Photos on one sheet, which a notebook shows by itself.

    Attributes:
        jpeg: the picture.
        about: what it shows, in words.
    """

    jpeg: bytes = field(repr=False)
    about: str

    def __repr__(self) -> str:
        return f"Sheet of {self.about}: a notebook shows it; .save(path) writes a JPEG"

    def _repr_jpeg_(self) -> bytes:
        return self.jpeg

    def save(self, path: Path | str) -> Path:
        """Write it as a JPEG.

        Raises:
            OutputError: it cannot be written.
        """
        write_bytes_atomically(Path(path), self.jpeg)
        return Path(path)


def show_batch(
    data: Path | str,
    recipe: str | Path | Recipe = "standard",
    *,
    overrides: Overrides = (),
    out: Path | str | None = None,
) -> Sheet:
    """Some photos as training with a recipe would see them: fitted, augmented, mixed.

    A crop that cuts the cars away, or colours that nobody would know a car by, show here before
    hours are spent. Nothing is trained. A training writes the same sheet of its own first batch
    into its run folder, as batch.jpg.

    Args:
        data: labelled photos, in any form that `open_lot` knows.
        recipe: a built-in recipe's name, a YAML file, or a Recipe.
        overrides: "stages.1.augmentation.crop_scale=0.3" and the like, as for `train`.
        out: a JPEG to write besides.

    Raises:
        InputError, RecipeError: what was given cannot be used, or no photo can be read.
        OutputError: the JPEG cannot be written.
        MissingExtra: lotlens[train] is not installed.
    """
    stages = import_vision("stages")
    recipe = resolve_recipe(recipe, overrides)
    if out is not None:
        check_writable(Path(out))
    usable = TrainingData(Path(data), recipe).usable
    drawn = stages.draw_batch(recipe, usable, open_for(recipe, len(usable)))
    sheet = Sheet(drawn, f"photos as {recipe.name} sees them")
    if out is not None:
        sheet.save(out)
    return sheet
