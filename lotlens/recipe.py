"""Recipes: how a model is trained, as a YAML file of stages; knows nothing of photos or torch.

A recipe is loaded with `load_recipe`, changed with `--set` style overrides, and checked whole:
every mistake is reported at once, each with the likely correction.
"""

from __future__ import annotations

import contextlib
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lotlens.errors import InputError, RecipeError
from lotlens.records import Fit, ImageSpec, Interpolation


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Size(_Part):
    """A stretch of epochs at one input size (progressive resizing, fast.ai and DAWNBench 2018)."""

    height: int = Field(ge=32, le=1024)
    width: int = Field(ge=32, le=1024)
    epochs: int = Field(ge=1, le=1000)


class Image(_Part):
    """The inference preprocessing; the backbone adds its own mean and std."""

    height: int = Field(192, ge=32, le=1024)
    width: int = Field(288, ge=32, le=1024)
    fit: Fit = "pad"
    interpolation: Interpolation = "bicubic"

    def spec(self, mean: Sequence[float], std: Sequence[float]) -> ImageSpec:
        return ImageSpec(
            height=self.height,
            width=self.width,
            fit=self.fit,
            interpolation=self.interpolation,
            mean=(float(mean[0]), float(mean[1]), float(mean[2])),
            std=(float(std[0]), float(std[1]), float(std[2])),
        )


class Optimiser(_Part):
    """The optimiser of a fine-tuning stage.

    Attributes:
        layer_decay: the learning rate of each layer group is this times that of the group above
            it (ULMFiT 2018; BEiT 2021); 1 gives every group the same rate.
    """

    name: Literal["adamw"] = "adamw"
    weight_decay: float = Field(0.05, ge=0, le=10)
    layer_decay: float = Field(0.85, gt=0, le=1)


class Schedule(_Part):
    """The learning rate over the steps of a stage.

    Attributes:
        warmup: the share of all steps in which the rate rises linearly from zero.
    """

    name: Literal["cosine"] = "cosine"
    warmup: float = Field(0.1, ge=0, lt=1)


class Augmentation(_Part):
    """What happens to training photos, and only to them.

    Attributes:
        crop_scale: smallest share of the frame's area a random crop keeps; 1 turns cropping off.
        flip: probability of a mirror image.
        policy: "trivial" is TrivialAugment Wide (Müller & Hutter 2021), "mild" a small rotation
            and colour jitter, "none" neither.
        erase: probability of erasing a random rectangle (Zhong et al. 2017).
        mixup: Beta parameter of mixup and CutMix, each on half of the mixed batches; 0 is off.
    """

    crop_scale: float = Field(0.6, gt=0.05, le=1)
    flip: float = Field(0.5, ge=0, le=1)
    policy: Literal["trivial", "mild", "none"] = "trivial"
    erase: float = Field(0.25, ge=0, le=1)
    mixup: float = Field(0.0, ge=0, le=10)


class Audit(_Part):
    """What training does with photos that `lotlens audit` finds fault with.

    "drop" leaves the photos out; "group" keeps all copies of a picture on one side of every split;
    "keep" changes nothing. Photos that cannot be read are always left out, and copies can never
    be on both sides of a split: there is no setting for that.

    Attributes:
        duplicate: the same file more than once; dropping keeps the first by id.
        near_duplicate: the same picture, changed a little; likewise.
        label_conflict: one picture under different labels; at least one of them is wrong. (Rows
            of one id that contradict each other are left out in any case.)
        leak: training photos whose picture is in the lot's test part. Keeping them flatters the
            score on that part.
        grey, tiny, extreme_aspect, dark, flat, blurred: of training photos.
    """

    duplicate: Literal["group", "drop"] = "group"
    near_duplicate: Literal["group", "drop"] = "group"
    label_conflict: Literal["drop", "group"] = "drop"
    leak: Literal["keep", "drop"] = "keep"
    grey: Literal["keep", "drop"] = "keep"
    tiny: Literal["keep", "drop"] = "keep"
    extreme_aspect: Literal["keep", "drop"] = "keep"
    dark: Literal["keep", "drop"] = "keep"
    flat: Literal["keep", "drop"] = "keep"
    blurred: Literal["keep", "drop"] = "keep"


class Probe(_Part):
    """Frozen backbone, features computed once, logistic regression to convergence.

    Attributes:
        mirror: compute features of the mirror images too and train on both.
        penalties: candidates for scikit-learn's inverse penalty C; the one with the lowest
            cross-validated log loss on the training part is taken.
    """

    kind: Literal["probe"]
    mirror: bool = True
    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.01, 0.03, 0.1, 0.3), min_length=1
    )


class Finetune(_Part):
    """All or the upper layers trained; the head starts from the probe where there is one.

    Attributes:
        lr: the top learning rate, that of the head.
        sizes: input sizes in sequence; the last one should be the image's own.
        freeze: how many of the lowest layer groups stay as they are (BatchNorm statistics too).
        batch_norm: "train" updates the statistics, "frozen" keeps the pretrained ones.
        ema: decay of the exponential moving average of the weights; 0 turns it off.
        validate_every: epochs between two looks at validation, for the history.
        keep_best: validation chooses among probe, fine-tuned weights and points between the two
            (WiSE-FT, Wortsman et al. 2022); false takes the fine-tuned weights as they are.
    """

    kind: Literal["finetune"]
    lr: float = Field(2e-3, gt=0, le=1)
    batch_size: int = Field(16, ge=2, le=4096)
    sizes: tuple[Size, ...] = Field(min_length=1)
    freeze: int = Field(0, ge=0)
    batch_norm: Literal["train", "frozen"] = "train"
    dropout: float = Field(0.2, ge=0, lt=1)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    ema: float = Field(0.99, ge=0, lt=1)
    gradient_clip: float = Field(0.0, ge=0)
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    validate_every: int = Field(1, ge=1)
    keep_best: bool = True

    @property
    def num_epochs(self) -> int:
        return sum(size.epochs for size in self.sizes)


Stage = Annotated[Probe | Finetune, Field(discriminator="kind")]


class Recipe(_Part):
    """A whole recipe.

    Attributes:
        backbone: "lite0", "lite1", "lite2" (embedded), "timm:NAME", or a path to weights
            written "timm:NAME@FILE".
        feature_levels: 1 shows the head the backbone's final features; 1 + n also the averaged
            maps of its last n stages, which helps a probe.
        validation: share of the labelled photos held out for validation.
        lock: share of the labelled photos put aside before anything else, as a test part that no
            choice ever sees; the same photos for every seed. 0 locks none.
        audit: what becomes of photos with faults.
        views: test-time views that validation may adopt beside the plain one.
        precision: "auto" takes bf16 where the CPU has it and it is measured faster.
    """

    name: str = Field(min_length=1, max_length=80)
    description: str = ""
    seed: int = Field(0, ge=0, lt=2**31)
    backbone: str = "lite0"
    feature_levels: int = Field(1, ge=1, le=5)
    image: Image = Image()
    validation: float = Field(0.15, gt=0, lt=1)
    lock: float = Field(0.0, ge=0, lt=1)
    audit: Audit = Audit()
    views: tuple[Literal["mirror"], ...] = ("mirror",)
    precision: Literal["auto", "32", "bf16"] = "auto"
    stages: tuple[Stage, ...] = Field(min_length=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for YAML or JSON."""
        return self.model_dump(mode="json")


def list_recipes() -> tuple[str, ...]:
    """Names of the built-in recipes, sorted."""
    folder = resources.files("lotlens") / "recipes"
    return tuple(sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml")))


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A built-in recipe by name, or a YAML file, with overrides applied and everything checked.

    Args:
        name_or_path: a name from `list_recipes`, or the path of a .yaml file.
        overrides: "path.to.key=value", the value in YAML; list items by number from 0, so that
            "stages.1.lr=3e-4" is the learning rate of the second stage.

    Raises:
        RecipeError: every mistake in the recipe or the overrides, all in one.
        InputError: no such recipe or file, or it is not YAML.
    """
    source, text = _read(name_or_path)
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise InputError(f"recipe {source} is not valid YAML{where}: {problem}") from error
    if not isinstance(values, dict):
        raise InputError(f"recipe {source} must be a mapping of keys to values")
    mistakes = [m for m in (_override(values, text) for text in overrides) if m]
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
        found += [_sentence(p, values) for p in problems if not _echo(p, problems)]
        raise RecipeError(source, found) from error
    found += _check_stages(recipe)
    if found:
        raise RecipeError(source, found)
    return recipe


def _check_stages(recipe: Recipe) -> list[str]:
    mistakes = []
    kinds = [stage.kind for stage in recipe.stages]
    if "probe" in kinds[1:]:
        mistakes.append("stages: a probe can only be the first stage")
    for number, stage in enumerate(recipe.stages):
        if isinstance(stage, Finetune):
            if stage.num_epochs % stage.validate_every:
                mistakes.append(
                    f"stages.{number}.validate_every: {stage.validate_every} does not divide the"
                    f" {stage.num_epochs} epochs, so that the last would go unseen"
                )
            last = stage.sizes[-1]
            if (last.height, last.width) != (recipe.image.height, recipe.image.width):
                mistakes.append(
                    f"stages.{number}.sizes: the last size is {last.height}x{last.width}, but"
                    f" image is {recipe.image.height}x{recipe.image.width}; make them equal"
                )
    return mistakes


def _read(name_or_path: str | Path) -> tuple[str, str]:
    name = str(name_or_path)
    if isinstance(name_or_path, str) and name in list_recipes():
        return name, (resources.files("lotlens") / "recipes" / f"{name}.yaml").read_text("utf-8")
    path = Path(name_or_path)
    if path.suffix.lower() in (".yaml", ".yml"):
        try:
            return name, path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"recipe file {name} cannot be read: {error}") from error
    known = list_recipes()
    raise InputError(
        f"no recipe named {name!r}{_likely(name, known)}; the built-in ones are"
        f" {', '.join(known)}; a recipe of your own is a file ending in .yaml"
    )


def _override(values: dict[str, Any], text: str) -> str | None:
    """Apply one "path=value" to `values` in place; a sentence if it cannot be."""
    path, equals, raw = text.partition("=")
    if not equals or not path.strip():
        return f"--set {text}: write it as path.to.key=value, such as stages.1.lr=3e-4"
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError:
        return f"--set {text}: the value {raw!r} is not valid YAML"
    if isinstance(value, str):
        # YAML 1.1 reads 3e-4 as text for want of a dot; people mean the number.
        with contextlib.suppress(ValueError):
            value = float(value)
    keys = path.strip().split(".")
    here: Any = values
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(here, list):
            if not key.isdigit() or int(key) >= len(here):
                where = ".".join(keys[:depth])
                return f"--set {text}: {where} has items 0 to {len(here) - 1}, not {key!r}"
            if last:
                here[int(key)] = value
            else:
                here = here[int(key)]
        elif isinstance(here, dict):
            if last:
                here[key] = value
            else:
                here = here.setdefault(key, {})
        else:
            return f"--set {text}: {'.'.join(keys[:depth])} is a single value, it has no {key!r}"
    return None


def _sentence(problem: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """One mistake found by pydantic, in plain words with the likely correction."""
    # A discriminated union puts its tag ("finetune") into the location; people do not write it.
    place = [part for part in problem["loc"] if part not in ("probe", "finetune")]
    path = ".".join(str(part) for part in place)
    kind = problem["type"]
    given = problem.get("input")
    if kind == "extra_forbidden":
        known = _known_keys(place[:-1], values)
        hint = _likely(str(place[-1]), known) or f"; known here: {', '.join(known)}"
        return f"{path}: unknown key{hint}"
    if kind == "missing":
        return f"{path}: this key is needed"
    if kind == "union_tag_invalid":
        known = ("probe", "finetune")
        tag = str(given.get("kind")) if isinstance(given, Mapping) else str(given)
        return f"{path}.kind: {tag!r} is not probe or finetune{_likely(tag, known)}"
    if kind == "union_tag_not_found":
        return f"{path}: a stage needs a kind, probe or finetune"
    if kind == "literal_error":
        expected = str(problem["ctx"]["expected"])
        options = [option.strip(" '") for option in expected.replace(" or ", ", ").split(",")]
        return f"{path}: {given!r} is not one of {', '.join(options)}{_likely(str(given), options)}"
    message = str(problem["msg"])
    message = message[0].lower() + message[1:]
    return f"{path}: {message} (it is {given!r})" if path else message


def _echo(problem: Mapping[str, Any], problems: Sequence[Mapping[str, Any]]) -> bool:
    """True for "too few items" said of a list only because its own items have mistakes."""
    place = problem["loc"]
    return problem["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and len(other["loc"]) > len(place) for other in problems
    )


def _known_keys(place: Sequence[Any], values: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that the part of a recipe at `place` may have."""
    model: type[BaseModel] = Recipe
    options: list[type[BaseModel]] = []
    here: Any = values
    for part in place:
        here = here[part]
        if isinstance(part, str):
            options = _models_in(model.model_fields[part].annotation)
        if isinstance(here, Mapping):
            model = next((o for o in options if _kind(o) == here.get("kind")), options[0])
    return tuple(model.model_fields)


def _kind(model: type[BaseModel]) -> str | None:
    """The value of a stage model's `kind`, None for other models."""
    kind = model.model_fields.get("kind")
    return typing.get_args(kind.annotation)[0] if kind else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models named in a type annotation, outermost first."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (types.UnionType, typing.Union, tuple, list, Annotated):
        return [m for inner in typing.get_args(annotation) for m in _models_in(inner)]
    return []


def _likely(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""
