"""What a training begins with: its recipe, its split, and a run folder that holds both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from lotlens.audit.findings import Audit
from lotlens.audit.known import KnownPhotos, write_known
from lotlens.audit.parts import TRAIN, VALIDATION, count_folds, list_learnt, read_split, write_split
from lotlens.audit.split import check_split, draw_folds, draw_split
from lotlens.errors import InputError
from lotlens.photos.decisions import Decision, write_decisions
from lotlens.recipes.loading import Overrides, parse_recipe, resolve_recipe
from lotlens.recipes.schema import Recipe
from lotlens.records import Catalog, Split
from lotlens.run import RunFolder
from lotlens.training.others import Others, write_others
from lotlens.version import __version__


def begin_run(
    run: RunFolder,
    data: Path,
    recipe: Recipe,
    split: Split,
    usable: Catalog,
    known: KnownPhotos,
    decisions: Sequence[Decision],
    num_test: int,
    sizes: Mapping[tuple[int, int], int] | None = None,
    others: Others = Others(),
) -> None:
    """Write into a new run folder what the training begins with.

    Args:
        run: the folder.
        data: where the photos lie.
        recipe: by which it is trained.
        split: of the photos.
        usable: the photos.
        known: by which they, and others that are learnt, are known again.
        decisions: that the labels follow: what was decided since is for the next training.
        num_test: photos to predict, for what is said when it is done.
        sizes: (width, height) -> photos, for reports.
        others: photos of other cars.

    Raises:
        OutputError: a file cannot be written.
    """
    run.write_recipe(recipe.to_dict())
    learnt = set(list_learnt(split))
    counts = Counter(photo.label for photo in usable.photos if photo.id in learnt)
    about = {"data": str(data.resolve()), "lotlens_version": __version__}
    told = {f"{width}x{height}": count for (width, height), count in pick_sizes(sizes or {})}
    run.write_source({**about, "photos": counts, "sizes": told, "test": num_test})
    write_split(run.split_path, split)
    if decisions:
        write_decisions(run.decisions_path, decisions)
    if others.learnt:
        write_others(run.others_path, others)
    write_known(run.photos_path, known)


def pick_sizes(sizes: Mapping[tuple[int, int], int]) -> list[tuple[tuple[int, int], int]]:
    """Of (width, height) -> photos the smallest, the largest and the commonest, each once."""
    if not sizes:
        return []
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    picked = (by_area[0], by_area[-1], max(by_area, key=lambda size: sizes[size]))
    return [(size, sizes[size]) for size in dict.fromkeys(picked)]


def resume_recipe(
    run: RunFolder, recipe: str | Path | Recipe | None, overrides: Overrides
) -> Recipe:
    """The recipe a training began with.

    Raises:
        InputError: another one is asked for now.
    """
    stored = parse_recipe(run.read_recipe(), source=str(run.recipe_path))
    if recipe is not None or overrides:
        asked = resolve_recipe(recipe or "standard", overrides)
        if asked != stored:
            raise InputError(
                f"{run.path} began with another recipe ({run.recipe_path}): leave out --recipe and"
                " --set to go on with it, or train anew in another folder"
            )
    return stored


def find_split(path: Path | None, usable: Catalog, recipe: Recipe, found: Audit) -> Split:
    """The split of a file, without photos that are left out now, or else a new one.

    Args:
        path: the file; if there is none, the new split is written there.
        usable: the photos.
        recipe: with what is trained.
        found: the audit of the photos.

    Raises:
        InputError: the stored split has other photos, or not the parts that the recipe needs.
        BundleError: it is damaged.
    """
    if path is not None and path.exists():
        stored = read_split(path)
        check_split(stored, usable, found.groups)
        _check_parts(path, stored, recipe)
        parts = {
            part: tuple(id_ for id_ in ids if id_ not in found.dropped)
            for part, ids in stored.parts.items()
        }
        return replace(stored, parts=parts)
    drawn = draw_parts(usable, recipe, found, recipe.folds or None)
    if path is not None:
        write_split(path, drawn)
    return drawn


def draw_parts(usable: Catalog, recipe: Recipe, found: Audit, num_folds: int | None) -> Split:
    """A new split by a recipe's seed and shares, of so many folds or, if None, one hold-out."""
    draw = (
        partial(draw_split, validation=recipe.validation)
        if num_folds is None
        else partial(draw_folds, num_folds=num_folds)
    )
    return draw(
        usable, seed=recipe.seed, groups=found.groups, lock=recipe.lock, dropped=found.dropped
    )


def _check_parts(path: Path, stored: Split, recipe: Recipe) -> None:
    """Refuse a split that has not the parts that the recipe trains with."""
    num_folds = count_folds(stored)
    wanted = f"--folds {recipe.folds} " if recipe.folds else ""
    if recipe.folds != num_folds or not (
        recipe.folds or {TRAIN, VALIDATION} <= stored.parts.keys()
    ):
        needed = f"{recipe.folds} folds" if recipe.folds else f"parts {TRAIN} and {VALIDATION}"
        raise InputError(
            f"the split {path} has the parts {', '.join(stored.parts)}, but recipe {recipe.name}"
            f" needs {needed}: draw it with  lotlens split DATA {wanted}--out {path}"
        )
