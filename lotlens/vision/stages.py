"""Runs a recipe's stages and ends in the weights that validation says are best.

It knows catalogs and recipes, not run folders or test photos.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save

from lotlens.engines import Engine
from lotlens.errors import BundleError, InputError
from lotlens.files import write_bytes_atomically, write_text_atomically
from lotlens.recipe import Finetune, Probe, Recipe
from lotlens.records import OK, Catalog, FloatArray, ImageSpec, Watcher, watch_part
from lotlens.temperature import calibrated_losses
from lotlens.vision.backbones import input_mean_std
from lotlens.vision.batches import DecodedPhotos, decode_photos
from lotlens.vision.classifier import Classifier, Weights, build_classifier
from lotlens.vision.distributed import check_shares, on_first, share_weights
from lotlens.vision.engine import build_engine, tune_process
from lotlens.vision.regression import choose_penalty, fit_regression

if TYPE_CHECKING:
    from lotlens.vision.finetune import Tuned
    from lotlens.vision.rate_finder import RateCurve

_WISE_SHARES = (0.8, 0.6, 0.4, 0.2)
_CHECKPOINT_STEPS = 200
_CHECKPOINT_S = 120.0


@dataclass(frozen=True)
class Candidate:
    """Weights that could be the result, judged on validation.

    Attributes:
        name: "probe", "fine-tuned" or "wise-ft 0.4" (the share of the fine-tuned weights).
        accuracy: top-1 on validation.
        log_loss: on validation, in nats, at the candidate's own best temperature.
    """

    name: str
    accuracy: float
    log_loss: float


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
    checkpoint_path: Path | None = None,
    scratch_path: Path | None = None,
    log_path: Path | None = None,
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
        checkpoint_path: a folder where the state is kept while training; what is there is taken up.
        scratch_path: a folder for large temporary data.
        log_path: a folder for TensorBoard's event files, one folder for each stage of fine-tuning.
        num_workers: processes that augment photos while fine-tuning (see `fine_tune`).
        watch: told of the work as it goes on.

    Raises:
        InputError: the backbone cannot be had, a class has no readable photo, or the processes
            cannot share a batch evenly.
        BundleError: the checkpoint cannot be read.
        MissingExtra: a package is not installed.
    """
    classifier, spec, photos = _open_training(recipe, train, scratch_path, watch)
    held_out = decode_photos(
        validation,
        spec,
        scratch_path=scratch_path,
        progress=watch_part(watch, "reading validation"),
    )
    _check_readable(validation, held_out, "validation", every_class=False)

    for stage in recipe.stages:
        if isinstance(stage, Finetune):
            check_shares(min(stage.batch_size, len(photos.ids)))
    weights = None
    if photo_weights is not None:
        weights = np.array([photo_weights.get(id_, 1.0) for id_ in photos.ids])
    if start is not None:
        classifier.load_state_dict(start)
    state = _State()
    if checkpoint_path:
        state = on_first(partial(_State.load, checkpoint_path, classifier))
        share_weights(classifier)
    if start is not None and not state.next_stage:
        state.anchor = copy.deepcopy(classifier.state_dict())
        state.consider(_judge("start", classifier, held_out, watch), state.anchor)
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
            state.consider(_judge("probe", classifier, held_out, watch), state.anchor)
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


def _check_levers(recipe: Recipe, classifier: Classifier) -> None:
    """Refuse at once what would stop a later stage after hours.

    Raises:
        InputError: an optimiser or a layer group that does not exist.
    """
    # They import Lightning and timm's optimisers, which the probe need not wait for.
    tuned = [stage for stage in recipe.stages if isinstance(stage, Finetune)]
    if not tuned:
        return
    from lotlens.vision.finetune import count_frozen
    from lotlens.vision.optimisers import check_optimiser

    for stage in tuned:
        count_frozen(classifier, stage.unfreeze)
        sentence = check_optimiser(stage.optimiser.name)
        if sentence:
            raise InputError(f"optimiser.name: {sentence}")


def _consider_tuned(
    state: _State,
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
        state.consider(_judge(f"soup {number}", classifier, held_out, watch), tuned.soup)
        classifier.load_state_dict(weights)
    state.consider(_judge(name, classifier, held_out, watch), weights)
    if stage.keep_best and state.anchor is not None:
        # From the fine-tuned end: where the first step back is worse, so were all others in every
        # training looked at, and a judgement costs as much as answering for all of validation.
        nearer = state.candidates[-1]
        for share in _WISE_SHARES:
            between = interpolate(state.anchor, weights, share)
            classifier.load_state_dict(between)
            candidate = _judge(f"wise-ft {share:g}", classifier, held_out, watch)
            state.consider(candidate, between)
            if candidate.log_loss >= nearer.log_loss:
                break
            nearer = candidate
    classifier.load_state_dict(weights)


@dataclass
class _State:
    """How far the stages have come; on disk two files a finished stage, the JSON written last.

    Attributes:
        next_stage: the first stage that is not finished.
        candidates: all weights that were judged.
        best: those of the lowest log loss.
        anchor: those that fine-tuning set out from: the probe's, or given ones.
        history: as in `Trained`.
        is_tuned: whether a stage of fine-tuning was finished.
    """

    next_stage: int = 0
    candidates: list[Candidate] = field(default_factory=list)
    best: Weights = field(default_factory=dict)
    anchor: Weights | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    is_tuned: bool = False

    @property
    def chosen(self) -> Candidate:
        return min(self.candidates, key=lambda candidate: candidate.log_loss)

    def consider(self, candidate: Candidate, weights: Weights) -> None:
        self.candidates.append(candidate)
        if self.chosen is candidate:
            self.best = weights

    def forget(self) -> None:
        self.candidates, self.best = [], {}

    def save(self, folder: Path, classifier: Classifier) -> None:
        """Write it, and remove what belongs to the stages before."""
        parts = {"now": classifier.state_dict(), "best": self.best, "anchor": self.anchor or {}}
        tensors = {
            f"{part}/{key}": value.contiguous().clone()
            for part, weights in parts.items()
            for key, value in weights.items()
        }
        name = f"stage-{self.next_stage - 1}.safetensors"
        write_bytes_atomically(folder / name, save(tensors))
        values = {
            "next_stage": self.next_stage,
            "weights": name,
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "history": self.history,
            "is_tuned": self.is_tuned,
        }
        write_text_atomically(folder / "stages.json", json.dumps(values))
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (name, "stages.json"):
                path.unlink()

    @classmethod
    def load(cls, folder: Path, classifier: Classifier) -> _State:
        """What was saved, the classifier's present weights with it; a new one if nothing was.

        Raises:
            BundleError: it cannot be read, or does not fit the classifier.
        """
        path = folder / "stages.json"
        if not path.is_file():
            return cls()
        try:
            values = json.loads(path.read_text("utf-8"))
            parts: dict[str, Weights] = {"now": {}, "best": {}, "anchor": {}}
            for key, value in load((folder / values["weights"]).read_bytes()).items():
                part, _, name = key.partition("/")
                parts[part][name] = value
            classifier.load_state_dict(parts["now"])
            return cls(
                values["next_stage"],
                [Candidate(**candidate) for candidate in values["candidates"]],
                parts["best"],
                parts["anchor"] or None,
                values["history"],
                values["is_tuned"],
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise BundleError(
                f"the checkpoint in {folder} cannot be read ({error}): train anew without --resume"
            ) from error


def find_stage_rate(
    recipe: Recipe,
    train: Catalog,
    *,
    number: int,
    num_steps: int,
    clusters: Mapping[str, int] | None = None,
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
    classifier, _, photos = _open_training(recipe, train, scratch_path, watch)
    first = recipe.stages[0]
    if isinstance(first, Probe):
        fit_probe(classifier, first, photos, clusters=clusters, seed=recipe.seed, watch=watch)
    return find_rate(
        classifier,
        stage,
        photos,
        seed=recipe.seed,
        num_steps=num_steps,
        progress=watch_part(watch, "testing rates"),
    )


def _open_training(
    recipe: Recipe, train: Catalog, scratch_path: Path | None, watch: Watcher | None
) -> tuple[Classifier, ImageSpec, DecodedPhotos]:
    """The network and the photos that any training begins with."""
    tune_process()
    classifier = build_classifier(
        recipe.backbone,
        len(train.classes),
        num_levels=recipe.feature_levels,
        head=recipe.head,
        seed=recipe.seed,
    )
    _check_levers(recipe, classifier)
    spec = recipe.image.spec(*input_mean_std(classifier.backbone))
    photos = decode_photos(
        train,
        spec,
        scratch_path=scratch_path,
        progress=watch_part(watch, "reading training photos"),
    )
    _check_readable(train, photos, "training")
    return classifier, spec, photos


def fit_probe(
    classifier: Classifier,
    stage: Probe,
    photos: DecodedPhotos,
    *,
    clusters: Mapping[str, int] | None = None,
    photo_weights: NDArray[np.float64] | None = None,
    seed: int,
    watch: Watcher | None = None,
) -> None:
    """Put a logistic regression on frozen features into the classifier's head.

    `photo_weights` [N] weigh the photos' losses, if they are given.
    """
    features, targets = compute_features(classifier, photos, mirror=stage.mirror, watch=watch)
    numbers = clusters or {}
    groups = np.array([numbers.get(id_, -place) for place, id_ in enumerate(photos.ids, start=1)])
    weights = None
    if photo_weights is not None:
        weights = np.tile(photo_weights / photo_weights.mean(), len(targets) // len(photos.ids))
    _tell(watch, "fitting the probe", 0, 1)
    penalty = choose_penalty(features, targets, stage.penalties, groups, seed=seed)
    found = fit_regression(features, targets, classifier.num_classes, penalty, weights)
    classifier.set_head(found.weight, found.bias)
    _tell(watch, "fitting the probe", 1, 1)


def compute_features(
    classifier: Classifier,
    photos: DecodedPhotos,
    *,
    mirror: bool,
    watch: Watcher | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Frozen features of all photos, then of their mirror images: [N or 2N, F], and targets."""
    num_views = 2 if mirror else 1
    total = num_views * len(photos.ids)
    engine = build_engine(classifier, photos.spec.height, photos.spec.width, num_photos=total)
    found: list[FloatArray] = []
    done = 0
    for _, values in engine.map(_list_views(photos, mirror=mirror)):
        found.append(values)
        done += len(values)
        _tell(watch, "computing features", done, total)
    in_order = [*found[::num_views], *(found[1::num_views] if mirror else ())]
    features = np.concatenate(in_order).astype(np.float64)
    return features, np.tile(photos.targets, num_views)


def _list_views(photos: DecodedPhotos, *, mirror: bool) -> Iterator[FloatArray]:
    """Batches, each followed by its mirror image if that is wanted."""
    for batch in photos.batches(32):
        yield batch
        if mirror:
            yield np.ascontiguousarray(batch[..., ::-1])


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
    from lotlens.vision.finetune import Checkpointing, fine_tune

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
    from lotlens.vision.finetune import choose_precision

    if recipe.deterministic:
        return "32"
    path = folder / "precision.txt" if folder else None
    if path is not None and path.is_file():
        kept = path.read_text("utf-8")
        if kept in ("32", "bf16", "16"):
            return kept
    image = recipe.image
    chosen = choose_precision(recipe.precision, classifier, image.height, image.width)
    if path is not None:
        write_text_atomically(path, chosen)
    return chosen


def _judge(
    name: str, classifier: Classifier, photos: DecodedPhotos, watch: Watcher | None
) -> Candidate:
    """Judge weights on validation, plain view, the photos prepared as for any answer."""

    def judge() -> Candidate:
        engine: Engine = build_engine(
            classifier, photos.spec.height, photos.spec.width, num_photos=len(photos.ids)
        )
        _tell(watch, f"judging {name}", 0, 1)
        logits = np.concatenate([answer[0] for answer in engine.map(photos.batches(32))])
        _tell(watch, f"judging {name}", 1, 1)
        accuracy = float((logits.argmax(axis=1) == photos.targets).mean())
        return Candidate(name, accuracy, float(calibrated_losses(logits, photos.targets).mean()))

    return on_first(judge)


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


def _tell(watch: Watcher | None, what: str, done: int, total: int) -> None:
    if watch is not None:
        watch(what, done, total)
