"""What a recipe would do, and about how long it would take here; nothing is trained or written."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from joblib import cpu_count
from threadpoolctl import threadpool_limits

from lotlens.errors import InputError
from lotlens.photos.reading import read_ahead
from lotlens.recipes.schema import Finetune, Probe, Recipe, Size
from lotlens.records import CarLocator, Catalog
from lotlens.vision.augment import PhotoAugmenter
from lotlens.vision.backbones import name_architecture
from lotlens.vision.classifier import Classifier, build_classifier
from lotlens.vision.engine import build_engine, tune_process
from lotlens.vision.layers import count_frozen, layer_decay_groups
from lotlens.vision.optimisers import build_optimiser
from lotlens.vision.regression import MOST_PHOTOS_FOR_PENALTY, NUM_PENALTY_FOLDS
from lotlens.vision.schedules import ScheduledStage, plot_schedules

_PROBED = 32  # photos that the frozen backbone is timed on
_FITTED = 512  # rows that a step of fitting is timed on
_FIT_STEPS = 110  # of two products each that a fit takes, about (measured: docs/LOG.md)
_NUM_REMEMBERED = 500  # photos that are looked at once more, so that others can be told from them
_AFTER_S = 15.0
"""Of what comes after training: pictures of no car, ImageNet's network, the report (measured)."""
_TIMED_STEPS = 2  # after one to warm up
_ROUGHLY = 8  # photos of a batch, and steps fewer, where it need not be known so well


@dataclass(frozen=True)
class StagePlan:
    """What a stage would do.

    Attributes:
        kind: "probe" or "finetune".
        trained: names of the layer groups that are trained.
        frozen: names of those that are not.
        num_epochs: 0 for a probe.
        num_steps: optimiser steps; 0 for a probe.
        seconds: about how long it would take, from a short measurement with random photos; in the
            first stage reading photos is counted too.
    """

    kind: str
    trained: tuple[str, ...]
    frozen: tuple[str, ...]
    num_epochs: int
    num_steps: int
    seconds: float


@dataclass(frozen=True)
class Timetable:
    """About how long the parts of a training would take.

    Attributes:
        before_s: the audit, finding cars, and the choice whether that is done.
        stages: one plan each, of one model.
        after_s: views, when to give no name, and the report.
    """

    before_s: float
    stages: tuple[StagePlan, ...]
    after_s: float

    def sum(self, num_models: int = 1) -> float:
        """Seconds in all, where so many models are trained one after the other."""
        of_stages = sum(stage.seconds for stage in self.stages)
        return self.before_s + num_models * of_stages + self.after_s


def plan_training(
    recipe: Recipe,
    num_classes: int,
    num_train: int,
    num_validation: int,
    *,
    roughly: bool = False,
    locate: CarLocator | None = None,
    trial: tuple[int, int, int] = (0, 0, 0),
    read_s: float = 0.0,
) -> Timetable:
    """What a training by a recipe would do with so many photos, and about how long it would take.

    Args:
        recipe: to be followed.
        num_classes: to be told apart.
        num_train: photos to learn.
        num_validation: photos held out.
        roughly: time one step of 8 photos instead of two of whole batches, for a shorter wait.
        locate: finds the car in photos, if that is done first.
        trial: photos by which it is chosen, before the first stage, whether the car is found
            first; in how many ways they are read, once whole; and probes that are fitted to each.
        read_s: seconds that reading a photo takes.

    Raises:
        InputError: the backbone, an optimiser or a layer group does not exist.
    """
    tune_process()
    classifier = build_classifier(
        recipe.backbone,
        num_classes,
        num_levels=recipe.feature_levels,
        pooling=recipe.pooling,
        head=recipe.head,
    )
    names = tuple(classifier.group_names())
    per_photo_s, num_features = _time_answers(classifier, recipe, roughly=roughly)
    num_photos = num_train + num_validation
    step_s = _time_fit_step(num_features, num_classes)
    num_tried, num_ways, num_probes = trial
    before_s = num_photos * read_s + num_ways * num_tried * (read_s + per_photo_s)
    before_s += num_ways * step_s * _count_fitted(recipe.probe, num_tried, num_probes)
    if locate is not None:
        # Boxes are kept: of the photos that were tried, those of one way are not looked for again.
        again = num_tried * max(num_ways - 2, 0)
        before_s += (num_photos + again) * _time_locating(locate)
    plans = []
    for stage in recipe.stages:
        if isinstance(stage, Probe):
            num_answers = num_train * (2 if stage.mirror else 1) + num_validation
            seconds = num_answers * per_photo_s + step_s * _count_fitted(stage, num_train, 1)
            plans.append(StagePlan("probe", names[-1:], names[:-1], 0, 0, seconds))
            continue
        num_frozen = count_frozen(classifier, stage.unfreeze)
        num_batches = num_train // min(stage.batch_size, num_train)
        time_batch = partial(_time_batch, classifier, stage, recipe, num_frozen, roughly=roughly)
        seconds = sum(size.epochs * num_batches * time_batch(size) for size in stage.sizes)
        num_looks = stage.num_epochs // stage.validate_every
        seconds += num_looks * num_validation * per_photo_s
        num_steps = stage.num_epochs * math.ceil(num_batches / stage.accumulate)
        plans.append(
            StagePlan(
                "finetune",
                names[num_frozen:],
                names[:num_frozen],
                stage.num_epochs,
                num_steps,
                seconds,
            )
        )
    plans[0] = replace(plans[0], seconds=plans[0].seconds + num_photos * read_s)
    num_looks = (1 + len(recipe.views)) * num_validation
    num_again = num_validation + min(num_train, _NUM_REMEMBERED)
    after_s = (num_looks + num_again) * per_photo_s + (num_validation + num_again) * read_s
    return Timetable(before_s, tuple(plans), after_s + _AFTER_S)


def time_reading(photos: Catalog, recipe: Recipe) -> float:
    """Seconds a photo that reading these and fitting them to a recipe's frame takes, by some."""
    some = photos.spread(_PROBED)
    if not len(some):
        return 0.0
    spec = recipe.image.model_copy(update={"locate": "none"}).spec()
    start_s = time.perf_counter()
    for _ in read_ahead(some.photos, spec):
        pass
    return (time.perf_counter() - start_s) / len(some)


def plot_rates(path: Path, recipe: Recipe, plans: Sequence[StagePlan]) -> None:
    """Draw the learning rate over all stages of fine-tuning of a recipe.

    Raises:
        InputError: there is no such stage, one has a schedule of one's own, or the file's ending is
            neither .png nor .svg.
        OutputError: the file cannot be written.
    """
    stages = [
        ScheduledStage(stage.schedule, stage.lr, plan.num_steps, plan.num_steps // plan.num_epochs)
        for stage, plan in zip(recipe.stages, plans, strict=True)
        if isinstance(stage, Finetune)
    ]
    if not stages:
        raise InputError(f"recipe {recipe.name} has no stage of fine-tuning to plot a rate of")
    plot_schedules(path, stages)


def has_gpu() -> bool:
    """Whether training would take a GPU."""
    return bool(torch.cuda.is_available())


def name_device() -> str:
    """What training would run on here, in words."""
    if has_gpu():
        return f"GPU {torch.cuda.get_device_name(0)}"
    count = cpu_count()
    return f"CPU, {count} {'core' if count == 1 else 'cores'}"


def _time_answers(classifier: Classifier, recipe: Recipe, *, roughly: bool) -> tuple[float, int]:
    """Seconds a photo in inference mode, and how many features it has."""
    height, width = recipe.image.height, recipe.image.width
    engine = build_engine(classifier, height, width, num_photos=1000)
    num_photos = _ROUGHLY if roughly else _PROBED
    photos = np.zeros((num_photos, 3, height, width), np.float32)
    engine(photos[:4])
    start_s = time.perf_counter()
    found = list(engine.map([photos] * engine.num_streams))
    per_photo_s = (time.perf_counter() - start_s) / (num_photos * engine.num_streams)
    return per_photo_s, found[0][1].shape[1]


def _time_fit_step(num_features: int, num_classes: int) -> float:
    """Seconds a row and step of fitting a logistic regression, where each core fits one."""
    features = np.zeros((_FITTED, num_features))
    weight = np.zeros((num_classes, num_features))
    with threadpool_limits(1, user_api="blas"):
        start_s = time.perf_counter()
        for _ in range(_TIMED_STEPS):
            np.exp(features @ weight.T).T @ features
    return (time.perf_counter() - start_s) / (_TIMED_STEPS * _FITTED * int(cpu_count()))


def _count_fitted(stage: Probe, num_photos: int, num_probes: int) -> float:
    """Rows of all fits of a probe's penalty, and then of so many probes, times their steps."""
    num_views = 2 if stage.mirror else 1
    num_tried = len(stage.penalties) if len(stage.penalties) > 1 else 0
    by_penalty = num_tried * (NUM_PENALTY_FOLDS - 1) * min(num_photos, MOST_PHOTOS_FOR_PENALTY)
    # One fit alone has one core.
    own = num_photos * (num_probes - 1 if num_probes > 1 else int(cpu_count()))
    return _FIT_STEPS * num_views * (by_penalty + own)


def _time_locating(locate: CarLocator) -> float:
    """Seconds a photo, where as many threads find cars as there are cores."""
    photo = np.zeros((2 * _ROUGHLY, 2 * _ROUGHLY, 3), np.uint8)
    locate(photo)
    start_s = time.perf_counter()
    for _ in range(_ROUGHLY):
        locate(photo)
    return (time.perf_counter() - start_s) / (_ROUGHLY * int(cpu_count()))


def _time_batch(
    classifier: Classifier,
    stage: Finetune,
    recipe: Recipe,
    num_frozen: int,
    size: Size,
    *,
    roughly: bool,
) -> float:
    """Seconds a batch of training, augmentation in; the classifier's weights are left alone."""
    model = build_classifier(
        name_architecture(recipe.backbone),
        classifier.num_outputs,
        num_levels=recipe.feature_levels,
        pooling=recipe.pooling,
        head=recipe.head,
        pretrained=False,
    ).train()
    parameters = dict(model.named_parameters())
    for group in model.layer_groups()[:num_frozen]:
        for name in group:
            parameters[name].requires_grad_(False)
    optimiser = build_optimiser(layer_decay_groups(model, stage), stage.optimiser, stage.lr)
    num_photos = min(_ROUGHLY, stage.batch_size) if roughly else stage.batch_size
    photos = torch.zeros(num_photos, 3, size.height, size.width)
    photos = photos.contiguous(memory_format=torch.channels_last)
    augmenter = PhotoAugmenter(stage.augmentation, size.height, size.width, (128, 128, 128))
    photo = torch.zeros(3, recipe.image.height, recipe.image.width, dtype=torch.uint8)
    seconds = []
    for step in range(1 + (1 if roughly else _TIMED_STEPS)):
        start_s = time.perf_counter()
        for number in range(num_photos):
            augmenter(photo, step * num_photos + number)
        logits, _ = model(photos)
        logits.square().mean().backward()
        learnt_s = time.perf_counter()
        optimiser.step()
        optimiser.zero_grad()
        # The optimiser takes as long whatever the number of photos.
        learning_s = (learnt_s - start_s) * stage.batch_size / num_photos
        seconds.append(learning_s + time.perf_counter() - learnt_s)
    return min(seconds[1:])
