"""Runs a recipe's stages and ends in the weights that validation says are best.

It knows catalogs and recipes, not run folders or test photos.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lotlens.answering.engines import Engine
from lotlens.answering.temperature import calibrated_losses
from lotlens.errors import InputError
from lotlens.files import write_text_atomically
from lotlens.photos.style import Style
from lotlens.recipes.schema import Finetune, Head, Probe, Recipe
from lotlens.records import (
    OK,
    CarClass,
    CarLocator,
    Catalog,
    FloatArray,
    ImageSpec,
    Photo,
    Watcher,
    watch_part,
)
from lotlens.vision.backbones import input_mean_std
from lotlens.vision.batches import DecodedPhotos, choose_border, decode_photos
from lotlens.vision.classifier import Classifier, Weights, build_classifier
from lotlens.vision.distributed import check_shares, is_first, on_first, share_weights
from lotlens.vision.engine import build_engine, choose_batch_size, tune_process
from lotlens.vision.probe import cross_probe, fit_pooling, fit_probe, report_progress
from lotlens.vision.sheet import NUM_PHOTOS, draw_sheet, write_sheet
from lotlens.vision.state import Candidate, State

if TYPE_CHECKING:
    from lotlens.vision.finetune import Tuned
    from lotlens.vision.rate_finder import RateCurve


NONE_OF_THESE = CarClass("\0none of these", "none of these")
"""The class of photos that show none of the others; no table can hold its label."""

_WISE_SHARES = (0.8, 0.6, 0.4, 0.2)
_CHECKPOINT_STEPS = 200
_CHECKPOINT_S = 120.0


@dataclass(frozen=True)
class Trained:
    """What the stages end in.

    Attributes:
        classifier: with the chosen weights.
        spec: the inference preprocessing.
        chosen: name of the chosen candidate.
        candidates: all of them, as judged.
        history: one row per look at validation while fine-tuning.
        status: photo id -> "ok" or why it was left out, for training and validation photos.
    """

    classifier: Classifier
    spec: ImageSpec
    chosen: str
    candidates: tuple[Candidate, ...]
    history: tuple[dict[str, Any], ...]
    status: dict[str, str] = field(repr=False)


def run_stages(
    recipe: Recipe,
    train: Catalog,
    validation: Catalog,
    *,
    clusters: Mapping[str, int] | None = None,
    functions: Mapping[str, Callable[[float], float]] | None = None,
    start: Weights | None = None,
    photo_weights: Mapping[str, float] | None = None,
    others: Sequence[Photo] = (),
    style: Style | None = None,
    locate: CarLocator | None = None,
    checkpoint_path: Path | None = None,
    scratch_path: Path | None = None,
    log_path: Path | None = None,
    sheet_path: Path | None = None,
    num_workers: int = 0,
    watch: Watcher | None = None,
) -> Trained:
    """Train as the recipe says.

    Of several processes that torchrun started (see `lotlens.vision.distributed`) the first fits
    the probe, judges candidates and writes; all fine-tune, and all end with the same.

    Args:
        recipe: which stages.
        train: labelled photos.
        validation: labelled photos with the same classes; none of them in `train`.
        clusters: photo id -> number of its cluster; photos of one cluster are never on both sides
            of a cross-validation. Without it each photo stands alone.
        functions: learning-rate schedules of one's own, by the name that the recipe gives them.
        start: weights to begin with instead of the pretrained ones. They are the first candidate,
            and fine-tuning that keeps the best tries points between them and where it ends.
        photo_weights: photo id -> how much a training photo counts, 1 if it is not named: in a
            probe as a weight of its loss, in fine-tuning by how often it is shown.
        others: photos that show none of the classes, with ids of their own. They are learnt as
            one more class, which together counts as much as all others at most: however many there
            are, an epoch shows no more of them than training photos.
        style: how the training photos are stored: the others are read as if they were stored so,
            lest they are known by that.
        locate: finds the car in photos, where the recipe says that it is found first.
        checkpoint_path: a folder where the state is kept while training; what is there is taken up.
        scratch_path: a folder for large temporary data.
        log_path: a folder for TensorBoard's event files, one folder for each stage of fine-tuning.
        sheet_path: a JPEG of the first photos as training sees them; one that is there stays.
        num_workers: processes that augment photos while fine-tuning (see `fine_tune`).
        watch: told of the work as it goes on.

    Raises:
        InputError: the backbone cannot be had, a class has no readable photo, or the processes
            cannot share a batch evenly.
        BundleError: the checkpoint cannot be read.
        MissingExtra: a package is not installed.
    """
    classifier, spec, photos = _open_training(
        recipe, train, scratch_path, watch, others, style, locate
    )
    held_out = decode_photos(
        validation,
        spec,
        locate=locate,
        scratch_path=scratch_path,
        progress=watch_part(watch, "reading validation"),
    )
    _check_readable(validation, held_out, "validation", every_class=False)

    for stage in recipe.stages:
        if isinstance(stage, Finetune):
            check_shares(min(stage.batch_size, len(photos.ids)))
    weights = _weigh(photos, photo_weights or {}, len(train.classes))
    if sheet_path is not None and is_first() and not sheet_path.is_file():
        write_sheet(sheet_path, recipe, photos, (*train.classes, NONE_OF_THESE), weights)
    if start is not None:
        classifier.load_state_dict(start)
    state = State()
    if checkpoint_path:
        state = on_first(partial(State.load, checkpoint_path, classifier))
        share_weights(classifier)
    if start is None and not state.next_stage and not isinstance(recipe.stages[0], Probe):
        on_first(partial(fit_pooling, classifier, photos))
        share_weights(classifier)
    if start is not None and not state.next_stage:
        state.anchor = copy.deepcopy(classifier.state_dict())
        state.consider(_try_out("start", classifier, held_out, watch), state.anchor)
    for number, stage in enumerate(recipe.stages):
        if number < state.next_stage:
            continue
        is_stopped = False
        if isinstance(stage, Probe):
            fit = partial(
                fit_probe, classifier, stage, photos, clusters=clusters, photo_weights=weights
            )
            on_first(partial(fit, seed=recipe.seed, watch=watch))
            share_weights(classifier)
            state.anchor = copy.deepcopy(classifier.state_dict())
            state.consider(_try_out("probe", classifier, held_out, watch), state.anchor)
        else:
            folder = checkpoint_path / f"stage-{number}" if checkpoint_path else None
            tuned = _run_finetune(
                classifier,
                stage,
                recipe,
                photos,
                held_out,
                folder,
                log_path / f"stage-{number}" if log_path else None,
                functions,
                weights,
                num_workers,
                watch,
            )
            is_stopped = tuned.is_stopped
            state.history += [{"stage": number, **row} for row in tuned.history]
            _consider_tuned(state, classifier, stage, number, tuned, held_out, watch)
        state.next_stage = number + 1
        if checkpoint_path:
            on_first(partial(state.save, checkpoint_path, classifier))
        if is_stopped:
            raise KeyboardInterrupt
    classifier.load_state_dict(state.best)
    classifier.requires_grad_(True).eval()
    return Trained(
        classifier,
        spec,
        state.chosen.name,
        tuple(state.candidates),
        tuple(state.history),
        photos.status | held_out.status,
    )


def _weigh(
    photos: DecodedPhotos, photo_weights: Mapping[str, float], num_classes: int
) -> NDArray[np.float64] | None:
    """[N] how often each photo is shown in an epoch; None if that is once."""
    weights = np.array([photo_weights.get(id_, 1.0) for id_ in photos.ids])
    is_other = photos.targets == num_classes
    if not is_other.any() and (weights == 1).all():
        return None
    num_known = int((~is_other).sum())
    weights[~is_other] /= weights[~is_other].mean()
    weights[is_other] = min(num_known / int(is_other.sum()), 1.0) if is_other.any() else 1.0
    return weights


def _check_levers(recipe: Recipe, classifier: Classifier) -> None:
    """Refuse at once what would stop a later stage after hours.

    Raises:
        InputError: an optimiser or a layer group that does not exist.
    """
    # They import Lightning and timm's optimisers, which the probe need not wait for.
    tuned = [stage for stage in recipe.stages if isinstance(stage, Finetune)]
    if not tuned:
        return
    from lotlens.vision.layers import count_frozen
    from lotlens.vision.optimisers import check_optimiser

    for stage in tuned:
        count_frozen(classifier, stage.unfreeze)
        sentence = check_optimiser(stage.optimiser.name)
        if sentence:
            raise InputError(f"optimiser.name: {sentence}")


def _consider_tuned(
    state: State,
    classifier: Classifier,
    stage: Finetune,
    number: int,
    tuned: Tuned,
    held_out: DecodedPhotos,
    watch: Watcher | None,
) -> None:
    """Judge what a stage of fine-tuning ends with; the classifier keeps the tuned weights."""
    name = f"fine-tuned {number}" if state.is_tuned else "fine-tuned"
    state.is_tuned = True
    weights = copy.deepcopy(classifier.state_dict())
    if not stage.keep_best:
        state.forget()
    if tuned.soup is not None:
        classifier.load_state_dict(tuned.soup)
        state.consider(_try_out(f"soup {number}", classifier, held_out, watch), tuned.soup)
        classifier.load_state_dict(weights)
    state.consider(_try_out(name, classifier, held_out, watch), weights)
    if stage.keep_best and state.anchor is not None:
        # From the fine-tuned end: where the first step back is worse, so were all others in every
        # training looked at, and a judgement costs as much as answering for all of validation.
        nearer = state.candidates[-1]
        for share in _WISE_SHARES:
            between = interpolate(state.anchor, weights, share)
            classifier.load_state_dict(between)
            candidate = _try_out(f"wise-ft {share:g}", classifier, held_out, watch)
            state.consider(candidate, between)
            if candidate.log_loss >= nearer.log_loss:
                break
            nearer = candidate
    classifier.load_state_dict(weights)


def try_probe(
    recipe: Recipe,
    photos: Catalog,
    sides: Sequence[tuple[Collection[str], Collection[str]]],
    *,
    clusters: Mapping[str, int] | None = None,
    locate: CarLocator | None = None,
    scratch_path: Path | None = None,
) -> tuple[list[str], FloatArray, NDArray[np.int64]]:
    """What probes on a recipe's frozen features answer to photos held out, whatever its stages.

    Args:
        recipe: whose features.
        photos: labelled ones; their features are computed once.
        sides: for each probe the ids that it learns, and those that it then answers.
        clusters: as for `run_stages`.
        locate: likewise.
        scratch_path: likewise.

    Returns:
        ids of the answered photos, side after side and in the order of `photos`, their logits
        [N, K], and their class indices [N]. Left out are those that cannot be read, those of a
        class that their probe has not learnt, and sides on which there are not two classes to
        learn.

    Raises:
        InputError: as `run_stages`.
    """
    stage = recipe.probe
    alone = recipe.model_copy(update={"stages": (stage,), "head": Head()})
    classifier, _, decoded = _open_training(alone, photos, scratch_path, None, locate=locate)
    return cross_probe(classifier, stage, decoded, sides, clusters=clusters, seed=recipe.seed)


def find_stage_rate(
    recipe: Recipe,
    train: Catalog,
    *,
    number: int,
    num_steps: int,
    clusters: Mapping[str, int] | None = None,
    locate: CarLocator | None = None,
    scratch_path: Path | None = None,
    watch: Watcher | None = None,
) -> RateCurve:
    """A learning-rate range test of a stage of fine-tuning, after the probe if there is one.

    Args:
        recipe: whose stage.
        train: labelled photos.
        number: of the stage, from 0; stages of fine-tuning before it are not run.
        num_steps: optimiser steps.
        clusters: as for `run_stages`.
        locate: likewise.
        scratch_path: a folder for large temporary data.
        watch: told of the work as it goes on.

    Raises:
        InputError: there is no such stage of fine-tuning; else as `run_stages`.
    """
    from lotlens.vision.rate_finder import find_rate

    stage = recipe.stages[number] if 0 <= number < len(recipe.stages) else None
    if not isinstance(stage, Finetune):
        tuned = [str(n) for n, other in enumerate(recipe.stages) if isinstance(other, Finetune)]
        raise InputError(
            f"stage {number} of recipe {recipe.name} is not one of fine-tuning; those are:"
            f" {', '.join(tuned) or 'none'}"
        )
    classifier, _, photos = _open_training(recipe, train, scratch_path, watch, locate=locate)
    first = recipe.stages[0]
    if isinstance(first, Probe):
        fit_probe(classifier, first, photos, clusters=clusters, seed=recipe.seed, watch=watch)
    else:
        fit_pooling(classifier, photos)
    return find_rate(
        classifier,
        stage,
        photos,
        seed=recipe.seed,
        num_steps=num_steps,
        progress=watch_part(watch, "testing rates"),
    )


def draw_batch(recipe: Recipe, train: Catalog, locate: CarLocator | None = None) -> bytes:
    """A JPEG of photos as training with a recipe sees them (see `vision.sheet`).

    Args:
        recipe: whose stages.
        train: labelled photos; a few are taken from all over them.
        locate: as for `run_stages`.

    Raises:
        InputError: the backbone cannot be had, or no photo can be read.
    """
    order = np.random.default_rng(recipe.seed).permutation(len(train))
    # More than a sheet has: some cannot be read, and the rest of a batch is left out.
    some = tuple(train.photos[row] for row in order[: 2 * NUM_PHOTOS])
    few = Catalog(some, train.classes)
    classifier = _build(recipe, len(train.classes))
    spec = recipe.image.spec(*input_mean_std(classifier.backbone))
    photos = decode_photos(few, spec, locate=locate, border=choose_border(recipe))
    _check_readable(few, photos, "training", every_class=False)
    return draw_sheet(recipe, photos, train.classes)


def _open_training(
    recipe: Recipe,
    train: Catalog,
    scratch_path: Path | None,
    watch: Watcher | None,
    others: Sequence[Photo] = (),
    style: Style | None = None,
    locate: CarLocator | None = None,
) -> tuple[Classifier, ImageSpec, DecodedPhotos]:
    """The network and the photos that any training begins with; `others` have a class of theirs."""
    tune_process()
    classifier = _build(recipe, len(train.classes), has_others=bool(others))
    _check_levers(recipe, classifier)
    spec = recipe.image.spec(*input_mean_std(classifier.backbone))
    none = tuple(replace(photo, label=NONE_OF_THESE.label) for photo in others)
    photos = decode_photos(
        Catalog((*train.photos, *none), (*train.classes, NONE_OF_THESE)),
        spec,
        style=style,
        styled_from=len(train.photos),
        locate=locate,
        border=choose_border(recipe),
        scratch_path=scratch_path,
        progress=watch_part(watch, "reading training photos"),
    )
    _check_readable(train, photos, "training")
    return classifier, spec, photos


def _build(recipe: Recipe, num_classes: int, *, has_others: bool = False) -> Classifier:
    return build_classifier(
        recipe.backbone,
        num_classes,
        num_levels=recipe.feature_levels,
        pooling=recipe.pooling,
        head=recipe.head,
        has_others=has_others,
        seed=recipe.seed,
    )


def interpolate(
    start: dict[str, torch.Tensor], end: dict[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """A point between two sets of weights (WiSE-FT, Wortsman et al. 2022): share 1 is `end`."""
    return {
        key: torch.lerp(value, end[key], share) if value.is_floating_point() else end[key]
        for key, value in start.items()
    }


def _run_finetune(
    classifier: Classifier,
    stage: Finetune,
    recipe: Recipe,
    photos: DecodedPhotos,
    held_out: DecodedPhotos,
    folder: Path | None,
    log_path: Path | None,
    functions: Mapping[str, Callable[[float], float]] | None,
    weights: NDArray[np.float64] | None,
    num_workers: int,
    watch: Watcher | None,
) -> Tuned:
    # Lightning takes seconds to import: the probe need not wait for it.
    from lotlens.vision.callbacks import Checkpointing
    from lotlens.vision.finetune import fine_tune

    # It may be measured, and two processes may measure differently.
    precision = on_first(partial(_settle_precision, recipe, classifier, folder))
    return fine_tune(
        classifier,
        stage,
        photos,
        held_out,
        seed=recipe.seed,
        precision=precision,
        deterministic=recipe.deterministic,
        functions=functions,
        weights=weights,
        checkpointing=(Checkpointing(folder, _CHECKPOINT_STEPS, _CHECKPOINT_S) if folder else None),
        num_workers=num_workers,
        log_path=log_path,
        progress=watch_part(watch, "fine-tuning"),
    )


def _settle_precision(recipe: Recipe, classifier: Classifier, folder: Path | None) -> str:
    """The precision of a stage: what it began with, or a choice that is kept until it ends.

    A choice that is measured may come out otherwise next time, and so would the weights.
    """
    from lotlens.vision.precision import choose_precision

    if recipe.deterministic:
        return "32"
    path = folder / "precision.txt" if folder else None
    if path is not None and path.is_file():
        kept = path.read_text("utf-8", "replace")
        if kept in ("32", "bf16", "16"):
            return kept
    image = recipe.image
    chosen = choose_precision(recipe.precision, classifier, image.height, image.width)
    if path is not None:
        write_text_atomically(path, chosen)
    return chosen


def _try_out(
    name: str, classifier: Classifier, photos: DecodedPhotos, watch: Watcher | None
) -> Candidate:
    """Judge weights on validation, plain view, the photos prepared as for any answer."""

    def judge() -> Candidate:
        what = "judging mixed weights" if name.startswith("wise-ft") else f"judging {name}"
        report_progress(watch, what, 0, 1)
        logits = _answer(classifier, photos)
        report_progress(watch, what, 1, 1)
        accuracy = float((logits.argmax(axis=1) == photos.targets).mean())
        return Candidate(name, accuracy, float(calibrated_losses(logits, photos.targets).mean()))

    return on_first(judge)


def _answer(classifier: Classifier, photos: DecodedPhotos) -> FloatArray:
    """Logits [N, K] of the classes, plain view."""
    engine: Engine = build_engine(
        classifier, photos.spec.height, photos.spec.width, num_photos=len(photos.ids)
    )
    batches = photos.batches(choose_batch_size(classifier))
    answers = [answer[0] for answer in engine.map(batches)]
    logits: FloatArray = np.concatenate(answers)[:, : classifier.num_classes]
    return logits


def _check_readable(
    catalog: Catalog, photos: DecodedPhotos, part: str, *, every_class: bool = True
) -> None:
    if not photos.ids:
        raise InputError(f"none of the {len(catalog)} {part} photos could be read")
    present = set(photos.targets.tolist())
    empty = [car.name for number, car in enumerate(catalog.classes) if number not in present]
    if every_class and empty:
        reasons = sorted({reason for reason in photos.status.values() if reason != OK})
        raise InputError(
            f"no readable {part} photo of {', '.join(empty)} ({'; '.join(reasons)[:200]}):"
            " add photos, or leave the class out"
        )
