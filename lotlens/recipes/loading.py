"""Recipes by name, file and override, checked as a whole."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lotlens.errors import InputError, RecipeError, shorten
from lotlens.recipes.mistakes import describe_mistake, is_echo, suggest
from lotlens.recipes.schema import OPTIMISERS, Finetune, Recipe, from_name
from lotlens.values import MOST_YAML_BYTES, parse_yaml, quote

Overrides = Mapping[str, Any] | Sequence[str]
"""What is changed of a recipe: "seed=1", ["seed=1", "stages.1.lr=3e-4"], or {"seed": 1}."""

_EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]{1,9}")


def resolve_recipe(recipe: str | Path | Recipe, overrides: Overrides) -> Recipe:
    """A Recipe as it is, or the one of that name or file with overrides applied.

    Raises:
        RecipeError, InputError: as `load_recipe`, or overrides were given for a Recipe.
    """
    if not isinstance(recipe, Recipe):
        return load_recipe(recipe, overrides)
    if overrides:
        raise InputError("overrides apply to a recipe's name or file, not to a Recipe")
    return recipe


def list_recipes() -> tuple[str, ...]:
    """Names of the built-in recipes, sorted."""
    folder = resources.files("lotlens") / "recipes"
    return tuple(sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml")))


def load_recipe(name_or_path: str | Path, overrides: Overrides = ()) -> Recipe:
    """A built-in recipe by name, or a YAML file, with overrides applied and everything checked.

    Args:
        name_or_path: a name from `list_recipes`, or the path of a .yaml file.
        overrides: "path.to.key=value", the value in YAML; list items by number from 0, so that
            "stages.1.lr=3e-4" is the learning rate of the second stage. One such text, a list of
            them, or a mapping of paths to values: {"stages.1.lr": 3e-4, "image": {"height": 96}}.

    Raises:
        RecipeError: every mistake in the recipe or the overrides, all in one.
        InputError: no such recipe or file, or it is not YAML.
    """
    source, text = _read(name_or_path)
    try:
        values = parse_yaml(text)
    except ValueError as error:
        raise InputError(f"recipe {source} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"recipe {source} must be a mapping of keys to values")
    mistakes = _change(values, overrides)
    return parse_recipe(values, source=source, mistakes=mistakes)


def parse_recipe(
    values: Mapping[str, Any], *, source: str = "", mistakes: Sequence[str] = ()
) -> Recipe:
    """Check plain values and make a Recipe of them.

    Args:
        values: as read from YAML or a model card.
        source: named in the error.
        mistakes: found earlier, reported together with those found here.

    Raises:
        RecipeError: every mistake at once.
    """
    found = list(mistakes)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems = [dict(problem) for problem in error.errors()]
        # Each member of a union that does not fit is a problem to pydantic; to people it is one.
        found += dict.fromkeys(describe_mistake(p) for p in problems if not is_echo(p, problems))
        raise RecipeError(source, found) from error
    found += _check_stages(recipe)
    if found:
        raise RecipeError(source, found)
    return recipe


def change_recipe(recipe: Recipe, overrides: Overrides) -> Recipe:
    """A recipe with overrides applied, as `load_recipe` applies them, and checked again.

    Raises:
        RecipeError: every mistake at once.
    """
    values = recipe.to_dict()
    mistakes = _change(values, overrides)
    return parse_recipe(values, source=recipe.name, mistakes=mistakes)


def _check_stages(recipe: Recipe) -> list[str]:
    mistakes = []
    if recipe.folds == 1:
        mistakes.append("folds: 1 leaves nothing to train on; 0 holds out a share, 5 are usual")
    kinds = [stage.kind for stage in recipe.stages]
    if "probe" in kinds[1:]:
        mistakes.append("stages: a probe can only be the first stage")
    if "probe" in kinds and recipe.head.kind != "linear":
        mistakes.append(f"head.kind: a probe fits a linear head, not a {recipe.head.kind} one")
    if recipe.pooling == "covariance" and recipe.feature_levels == 1:
        mistakes.append("feature_levels: pooling: covariance needs 2 or more (3 is usual)")
    for number, stage in enumerate(recipe.stages):
        if isinstance(stage, Finetune):
            mistakes += [f"stages.{number}.{text}" for text in _check_finetune(recipe, stage)]
    twice = [view for view in dict.fromkeys(recipe.views) if recipe.views.count(view) > 1]
    mistakes += [f"views: {view} is named twice" for view in twice]
    last = recipe.stages[-1]
    if isinstance(last, Finetune):
        size, image = last.sizes[-1], recipe.image
        if (size.height, size.width) != (image.height, image.width):
            mistakes.append(
                f"stages.{len(kinds) - 1}.sizes: the last size is {size.height}x{size.width}, but"
                f" image is {image.height}x{image.width}; make them equal"
            )
    return mistakes


def _check_finetune(recipe: Recipe, stage: Finetune) -> Iterator[str]:
    if stage.num_epochs % stage.validate_every:
        yield (
            f"validate_every: {stage.validate_every} does not divide the {stage.num_epochs} epochs,"
            " so that the last would go unseen"
        )
    num_looks = stage.num_epochs // stage.validate_every
    if stage.average_last > num_looks:
        yield (
            f"average_last: {stage.average_last} looks cannot be averaged, the stage takes"
            f" {num_looks}; lower it, or validate_every"
        )
    low, high = stage.augmentation.brightness
    if low > high:
        yield f"augmentation.brightness: the lowest factor {low:g} is above the highest {high:g}"
    if stage.loss.kind == "arcface":
        if recipe.head.kind != "cosine":
            yield "loss.kind: arcface needs head.kind: cosine"
        if stage.augmentation.mixup or stage.augmentation.cutmix:
            yield "loss.kind: arcface takes no mixed photos: set mixup and cutmix to 0"
    name = stage.optimiser.name
    prefix, _, rest = name.partition(":")
    if name not in OPTIMISERS and (prefix != "timm" or not rest):
        hint = f", did you mean 'timm:{rest}'?" if rest else suggest(prefix, OPTIMISERS)
        yield f"optimiser.name: {name!r} is not {', '.join(OPTIMISERS)} or timm:NAME{hint}"


def _read(name_or_path: str | Path) -> tuple[str, str]:
    name = str(name_or_path)
    if isinstance(name_or_path, str) and name in list_recipes():
        return name, (resources.files("lotlens") / "recipes" / f"{name}.yaml").read_text("utf-8")
    path = Path(name_or_path)
    if path.suffix.lower() in (".yaml", ".yml"):
        return name, _read_file(path)
    known = list_recipes()
    raise InputError(
        f"no recipe named {name!r}{suggest(name, known)}; the built-in ones are"
        f" {', '.join(known)}; a recipe of your own is a file ending in .yaml"
    )


def _read_file(path: Path) -> str:
    try:
        # A pipe would keep us waiting for ever.
        if path.exists() and not path.is_file():
            raise InputError(f"recipe file {path} cannot be read: it is not a plain file")
        with path.open("rb") as file:
            data = file.read(MOST_YAML_BYTES + 1)
        if len(data) > MOST_YAML_BYTES:
            raise InputError(f"recipe file {path} is longer than {MOST_YAML_BYTES:,} bytes")
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"recipe file {path} cannot be read: {error}") from error


def _change(values: dict[str, Any], overrides: Overrides) -> list[str]:
    """Apply overrides to `values` in place; a sentence for each that cannot be."""
    if isinstance(overrides, str):
        overrides = (overrides,)
    if isinstance(overrides, Mapping):
        found = [
            _set(values, path, copy.deepcopy(value), f"overrides {shorten(path, 200)}")
            for path, value in _list_leaves(overrides)
        ]
    else:
        found = [_override(values, text) for text in overrides]
    return [mistake for mistake in found if mistake]


def _list_leaves(overrides: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of each value of a mapping in mappings."""
    for key, value in overrides.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield from _list_leaves(value, f"{path}.")
        else:
            yield path, value


def _override(values: dict[str, Any], text: Any) -> str | None:
    """Apply one "path=value" to `values` in place; a sentence if it cannot be."""
    if not isinstance(text, str):
        return f"overrides: {quote(text)} is no text: write path.to.key=value, or give a dict"
    told = f"--set {shorten(text, 200)}"
    path, equals, raw = text.partition("=")
    if not equals or not path.strip():
        return f"{told}: write it as path.to.key=value, such as stages.1.lr=3e-4"
    try:
        value = parse_yaml(raw)
    except ValueError as error:
        return f"{told}: the value cannot be read: {error}"
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        # YAML reads 3e-4 as text for want of a dot; people mean the number.
        value = float(value)
    return _set(values, path.strip(), value, told)


def _set(values: dict[str, Any], path: str, value: Any, told: str) -> str | None:
    """Set what lies at a path of keys, in place; a sentence, which begins as told, if it cannot."""
    keys = path.split(".")
    here: Any = values
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(here, list):
            if not key.isdecimal() or len(key) > 9 or int(key) >= len(here):
                where = shorten(".".join(keys[:depth]), 100)
                return f"{told}: {where} has items 0 to {len(here) - 1}, not {quote(key)}"
            slot: Any = int(key)
        elif isinstance(here, dict):
            slot = key
            here.setdefault(key, None)
        else:
            where = shorten(".".join(keys[:depth]), 100)
            return f"{told}: {where} is a single value, it has no {quote(key)}"
        if last:
            here[slot] = value
        else:
            # A copy: YAML's aliases make one mapping of two, and only one of them is meant.
            inner = from_name(here[slot]) if key in ("optimiser", "schedule") else here[slot]
            here[slot] = {} if inner is None else copy.copy(inner)
            here = here[slot]
    return None
