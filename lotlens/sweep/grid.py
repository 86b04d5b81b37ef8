"""Grids: the recipes that come of varying a few keys of one; it trains nothing."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lotlens.errors import InputError, RecipeError
from lotlens.recipes.loading import Overrides, change_recipe, load_recipe
from lotlens.recipes.schema import Finetune, Recipe
from lotlens.texts import describe

MAX_RUNS = 500
"""More runs than this are a slip of the pen on any machine that lotlens is made for."""

_RECIPE = "recipe"
_BRACKETS = {"[": "]", "{": "}"}
_QUOTED = {"'": re.compile(r"'(?:[^']|'')*'"), '"': re.compile(r'"(?:[^"\\]|\\.)*"')}
_LONGEST_SLUG = 80
_STAGE_KEYS = tuple(key for key in Finetune.model_fields if key != "kind")
_REFUSED = {
    "seed": "use --seeds for the number of seeds, and --set seed= for the first of them",
    "validation": "all runs share one split; use --set validation= to draw it otherwise",
    "lock": "all runs share one split; use --set lock= to draw it otherwise",
}


@dataclass(frozen=True)
class Variant:
    """One combination of the varied values.

    Attributes:
        values: varied key -> value as it was written; empty if nothing is varied.
        recipe: with the seed, validation share and locked share of the grid's base.
        slug: names its run folders: letters, digits, dots, dashes and underscores.
    """

    values: Mapping[str, str]
    recipe: Recipe
    slug: str

    @property
    def label(self) -> str:
        """For people: "optimiser=adam, lr=1e-4"; the recipe's name if nothing is varied."""
        return _label(self.values) or self.recipe.name


@dataclass(frozen=True)
class Grid:
    """All combinations of the varied values.

    Attributes:
        base: the recipe without them; where whole recipes are varied, the first of these.
        keys: the varied keys, in the order in which they were given.
        variants: the last key's values change fastest.
    """

    base: Recipe
    keys: tuple[str, ...]
    variants: tuple[Variant, ...]

    def __repr__(self) -> str:
        return describe(f"Grid of {len(self.variants)} variants", ", ".join(self.keys))


def build_grid(
    vary: str | Sequence[str],
    recipe: str | Path | Recipe | None = None,
    overrides: Overrides = (),
    *,
    num_seeds: int = 1,
) -> Grid:
    """Every combination of the varied values, each checked as a whole recipe.

    Args:
        vary: "KEY=V1,V2,...", the values in YAML; commas in brackets or quotes do not part. KEY is
            a path as for `load_recipe`'s overrides, or a key of a fine-tuning stage, which is then
            set in every such stage. "recipe=quick,standard,mine.yaml" varies the whole recipe.
        recipe: what is varied: a name, a file or a Recipe; "standard" if None.
        overrides: for every variant, applied before what is varied.
        num_seeds: runs of each variant; they count towards the most runs allowed.

    Raises:
        RecipeError: every mistake in what is varied, all in one.
        InputError: no such recipe or file, too many runs.
    """
    axes: dict[str, tuple[str, ...]] = {}
    mistakes: list[str] = []
    for text in [vary] if isinstance(vary, str) else vary:
        key, values, found = _read_axis(text)
        if key in axes:
            found.append(f"{key} is varied twice; give all its values at once")
        mistakes += [f"--vary {text}: {mistake}" for mistake in found]
        axes[key] = values
    if num_seeds < 1:
        raise InputError(f"a sweep needs one seed or more, not {num_seeds}")
    if _RECIPE in axes and recipe is not None:
        mistakes.append(f"--vary {_RECIPE}= takes the place of --recipe: leave one of them out")
    if mistakes:
        raise RecipeError("of the sweep", mistakes)
    num_runs = math.prod(len(values) for values in axes.values()) * num_seeds
    if num_runs > MAX_RUNS:
        raise InputError(
            f"these are {num_runs:,} runs ({num_runs // num_seeds:,} combinations, {num_seeds}"
            f" seeds), and a sweep takes {MAX_RUNS} at most: vary fewer values at once"
        )
    bases = _load_bases(axes.get(_RECIPE, ()), recipe, overrides)
    base = next(iter(bases.values()))
    if base.seed + num_seeds > 2**31:
        raise InputError(f"seeds from {base.seed} on leave the allowed range: set a lower seed")
    combinations = [dict(zip(axes, row, strict=True)) for row in itertools.product(*axes.values())]
    recipes = _build_recipes(combinations, bases, base)
    slugs = _name(combinations, base)
    variants = tuple(map(Variant, combinations, recipes, slugs))
    return Grid(base, tuple(axes), variants)


def part_values(text: str) -> tuple[str, ...]:
    """Part at the commas that are in no brackets and no quotes; each part without outer spaces.

    Raises:
        ValueError: brackets or quotes do not match.
    """
    values: list[str] = []
    waiting: list[str] = []
    begin, at, before = 0, 0, ","
    while at < len(text):
        letter = text[at]
        if letter in _QUOTED and before in ",[{:":
            # Elsewhere a quote is a plain letter to YAML.
            quoted = _QUOTED[letter].match(text, at)
            if quoted is None:
                raise ValueError(f"{letter} is missing")
            at = quoted.end() - 1
        elif letter in _BRACKETS:
            waiting.append(_BRACKETS[letter])
        elif letter in _BRACKETS.values():
            if not waiting or waiting.pop() != letter:
                raise ValueError(f"{letter} closes no bracket")
        elif letter == "," and not waiting:
            values.append(text[begin:at].strip())
            begin = at + 1
        before = before if letter.isspace() else letter
        at += 1
    if waiting:
        raise ValueError(f"{waiting[-1]} is missing")
    return (*values, text[begin:].strip())


def _read_axis(text: str) -> tuple[str, tuple[str, ...], list[str]]:
    """The key, its values, and what is wrong with them."""
    key, equals, raw = text.partition("=")
    key = key.strip()
    if not equals or not key:
        return key, (), ["write it as KEY=V1,V2, such as optimiser=adam,nadam"]
    mistakes = []
    try:
        values = part_values(raw)
    except ValueError as error:
        return key, (), [f"{error} in the values"]
    if "" in values:
        mistakes.append("a value is empty; write null for none")
    twice = sorted({value for value in values if value and values.count(value) > 1})
    mistakes += [f"{value} is there twice" for value in twice]
    head = key.partition(".")[0]
    if key in _REFUSED:
        mistakes.append(f"{key} cannot be varied: {_REFUSED[key]}")
    elif key != _RECIPE and head not in Recipe.model_fields and head not in _STAGE_KEYS:
        known = (_RECIPE, *Recipe.model_fields, *_STAGE_KEYS)
        near = difflib.get_close_matches(head.lower(), known, n=1, cutoff=0.5)
        hint = f", did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"
        mistakes.append(f"unknown key{hint}")
    return key, values, mistakes


def _load_bases(
    names: Sequence[str], recipe: str | Path | Recipe | None, overrides: Overrides
) -> dict[str, Recipe]:
    """The recipes that the other keys are varied in, by the name in `names`; one if that is empty.

    Raises:
        InputError, RecipeError: as `load_recipe`; of several, all in one.
    """
    if not names:
        if isinstance(recipe, Recipe):
            return {"": change_recipe(recipe, overrides)}
        return {"": load_recipe(recipe or "standard", overrides)}
    bases: dict[str, Recipe] = {}
    mistakes: list[str] = []
    for name in names:
        try:
            bases[name] = load_recipe(name, overrides)
        except RecipeError as error:
            mistakes += [f"{name}: {mistake}" for mistake in error.mistakes]
        except InputError as error:
            mistakes.append(str(error))
    if mistakes:
        raise RecipeError("of the sweep", mistakes)
    return bases


def _build_recipes(
    combinations: Sequence[Mapping[str, str]], bases: Mapping[str, Recipe], base: Recipe
) -> list[Recipe]:
    """The recipe of every combination.

    Raises:
        RecipeError: every mistake at once, each with the values that make it.
    """
    recipes: list[Recipe] = []
    failing: dict[str, set[int]] = defaultdict(set)
    shared = {"seed": base.seed, "validation": base.validation, "lock": base.lock}
    for number, values in enumerate(combinations):
        own = bases[values.get(_RECIPE, "")]
        try:
            varied = change_recipe(own, _expand(values, own))
        except RecipeError as error:
            for mistake in error.mistakes:
                failing[mistake].add(number)
        else:
            recipes.append(varied.model_copy(update=shared))
    mistakes = [_blame(mistake, numbers, combinations) for mistake, numbers in failing.items()]
    if not mistakes:
        seen: dict[Recipe, str] = {}
        for values, recipe in zip(combinations, recipes, strict=True):
            label = _label(values)
            first = seen.setdefault(recipe, label)
            if first != label:
                mistakes.append(f"{first} and {label} are one recipe: leave one of them out")
    if mistakes:
        raise RecipeError("of the sweep", mistakes)
    return recipes


def _expand(values: Mapping[str, str], recipe: Recipe) -> list[str]:
    """Overrides of a recipe; a bare key of a stage becomes one for each fine-tuning stage.

    Raises:
        RecipeError: a bare key, and no such stage.
    """
    overrides = []
    for key, value in values.items():
        if key == _RECIPE:
            continue
        if key.partition(".")[0] in Recipe.model_fields:
            overrides.append(f"{key}={value}")
            continue
        stages = [n for n, stage in enumerate(recipe.stages) if isinstance(stage, Finetune)]
        if not stages:
            sentence = f"the recipe {recipe.name} has no fine-tuning stage to set {key} in"
            raise RecipeError(recipe.name, [sentence])
        overrides += [f"stages.{n}.{key}={value}" for n in stages]
    return overrides


def _blame(mistake: str, failing: set[int], combinations: Sequence[Mapping[str, str]]) -> str:
    """A mistake with the varied value that makes it, or else a combination that does."""
    if mistake.startswith("--set "):
        return f"--vary {mistake.removeprefix('--set ')}"
    for key, value in combinations[min(failing)].items():
        if failing == {n for n, other in enumerate(combinations) if other[key] == value}:
            return f"--vary {key}={value}: {mistake}"
    more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
    return f"{_label(combinations[min(failing)])}{more}: {mistake}"


def _name(combinations: Sequence[Mapping[str, str]], base: Recipe) -> list[str]:
    """A slug for each combination, which depends on its own values alone.

    So a sweep that is run again with more values finds the folders of the earlier ones.
    """
    keys = list(combinations[0])
    ends = [key.rpartition(".")[2] for key in keys]
    words = dict(zip(keys, ends if len(set(ends)) == len(ends) else keys, strict=True))
    texts = [
        "_".join(f"{words[key]}-{value}" for key, value in values.items()) or base.name
        for values in combinations
    ]
    return [_slug(text) for text in texts]


def _slug(text: str) -> str:
    """Text as part of a file's name; what cannot be kept is replaced by a mark of the whole."""
    safe = re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-.")
    if safe == text and len(safe) <= _LONGEST_SLUG:
        return safe
    mark = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{safe[: _LONGEST_SLUG - 9]}-{mark}".lstrip("-.")


def _label(values: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())
