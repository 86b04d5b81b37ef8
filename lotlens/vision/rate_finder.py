"""The learning-rate range test: which rate to train with; it trains a copy and keeps nothing.

Lightning's own Tuner.lr_find gives every parameter group the same rate, which undoes layer-wise
decay, and keeps its copy of the weights in a file in the working folder.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from lotlens.errors import InputError
from lotlens.recipes.schema import Constant, Finetune
from lotlens.texts import describe
from lotlens.vision.batches import (
    DecodedPhotos,
    EpochBatches,
    Key,
    TrainingPhotos,
    build_augmenters,
)
from lotlens.vision.classifier import Classifier
from lotlens.vision.finetune import FineTuning, quiet_lightning
from lotlens.vision.schedules import write_figure

_DECAY = 0.9
_DIVERGED = 4.0
_UNSETTLED_SHARE = 0.1
_LEAST_FALL = 1e-3


@dataclass(frozen=True)
class RateCurve:
    """What a range test saw.

    Attributes:
        rates: of the head, rising; those at which the loss was still finite.
        losses: training loss at each, smoothed over some ten steps before it.
        suggestion: a learning rate for the head, None if the curve does not tell.
        note: how the test ended, in one sentence.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float | None
    note: str

    def __repr__(self) -> str:
        return describe("RateCurve", f"suggests {self.suggestion}; {self.note}")


def find_rate(
    classifier: Classifier,
    stage: Finetune,
    train: DecodedPhotos,
    *,
    seed: int,
    num_steps: int = 100,
    lowest: float = 1e-6,
    highest: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> RateCurve:
    """Train a copy at ever higher rates and see where the loss falls (Smith 2017, section 3.3).

    Args:
        classifier: its weights are the start; it is left as it is.
        stage: how it would be trained; its rate and schedule play no part. Photos have the size of
            its first epochs.
        train: training photos.
        seed: all randomness derives from it; torch's global generator is left as it was.
        num_steps: optimiser steps, fewer if the loss goes through the roof.
        lowest: the first rate of the head; lower layers have theirs in proportion.
        highest: the last.
        progress: called with (steps done, steps in all).

    Raises:
        InputError: fewer than 10 steps, or rates that do not rise from above 0.
        KeyboardInterrupt: the user stopped it.
    """
    num_batches = num_steps * stage.accumulate
    batches = EpochBatches(len(train.ids), stage.batch_size, seed=seed)
    num_epochs = math.ceil(num_batches / len(batches))
    keys: list[list[Key]] = []
    for epoch in range(num_epochs):
        batches.set_epoch(epoch)
        keys += batches
    size = stage.sizes[0].model_copy(update={"epochs": num_epochs})
    trial = stage.model_copy(update={"sizes": (size,), "schedule": Constant(name="constant")})
    with torch.random.fork_rng():
        module = FineTuning(
            copy.deepcopy(classifier).train(),
            trial,
            train.spec,
            num_steps=len(keys),
            seed=seed,
            class_counts=np.bincount(train.targets, minlength=classifier.num_outputs),
        )
        photos = TrainingPhotos(train, build_augmenters(trial, train.spec), seed=seed)
        return sweep_rates(
            module,
            DataLoader(photos, sampler=keys[:num_batches], batch_size=None),
            num_steps=num_steps,
            lowest=lowest,
            highest=highest,
            accumulate=stage.accumulate,
            gradient_clip=stage.gradient_clip,
            progress=progress,
        )


def sweep_rates(
    module: pl.LightningModule,
    batches: DataLoader[Any],
    *,
    num_steps: int,
    lowest: float,
    highest: float,
    accumulate: int = 1,
    gradient_clip: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> RateCurve:
    """Train a module for one epoch of ever higher rates; its weights are spoilt afterwards.

    The rate of the group that has the highest goes from `lowest` to `highest`, the same factor
    every step; the other groups keep their proportion to it, whatever the module's own schedule.
    It ends early when the smoothed loss is four times its least, or no number.

    Args:
        module: has one optimiser.
        batches: at least `num_steps * accumulate` of them.
        num_steps: optimiser steps.
        lowest: rate of the first step.
        highest: rate of the last.
        accumulate: batches per step.
        gradient_clip: largest norm of the gradient; 0 turns clipping off.
        progress: called with (steps done, steps in all).

    Raises:
        InputError: fewer than 10 steps, or rates that do not rise from above 0.
        KeyboardInterrupt: the user stopped it.
    """
    if num_steps < 10:
        raise InputError(f"a range test needs at least 10 steps, not {num_steps}")
    if not 0 < lowest < highest < math.inf:
        raise InputError(f"the rates of a range test must rise from above 0: {lowest} to {highest}")
    rates = np.geomspace(lowest, highest, num_steps).tolist()
    ramp = _Ramp(rates, accumulate, progress)
    with quiet_lightning():
        trainer = pl.Trainer(
            max_epochs=1,
            limit_train_batches=num_steps * accumulate,
            limit_val_batches=0,
            accumulate_grad_batches=accumulate,
            gradient_clip_val=gradient_clip or None,
            callbacks=[ramp],
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(module, batches)
        except SystemExit as stop:
            raise KeyboardInterrupt from stop
    if trainer.interrupted:
        raise KeyboardInterrupt
    return read_curve(rates, ramp.losses)


def read_curve(rates: Sequence[float], losses: Sequence[float]) -> RateCurve:
    """Smooth the losses of a range test and suggest a rate.

    The smoothing is a moving average with decay 0.9, corrected for its start (Kingma & Ba 2015,
    section 3); it lags nine steps behind, so that few steps suggest higher rates. The suggestion
    is where the smoothed loss falls most steeply over the logarithm of the rate, between the
    unsettled first tenth and the least loss. There is none if the fall is smaller than the
    deviation of single losses about their trend, or than a thousandth.

    Args:
        rates: planned, rising, above 0.
        losses: as seen at the first of them; the last may be infinite or no number.
    """
    seen = np.asarray(losses, dtype=np.float64)
    finite = seen[: int(np.argmin(np.isfinite(seen)))] if not np.isfinite(seen).all() else seen
    smoothed = np.array(_smooth(finite))
    tested = np.asarray(rates[: len(smoothed)])
    start = math.ceil(_UNSETTLED_SHARE * len(rates))
    suggestion = None
    if len(smoothed) <= start + 2:
        note = f"the loss diverged within {len(losses)} steps: begin with a lower rate"
    else:
        least = start + int(np.argmin(smoothed[start:]))
        # Neighbours' differences tell chance from trend (von Neumann et al. 1941).
        chance = float(np.std(np.diff(finite[: least + 1])) / math.sqrt(2)) if least else 0.0
        fall = float(smoothed[start] - smoothed[least])
        if fall > max(chance, _LEAST_FALL * smoothed[start]):
            slopes = np.gradient(smoothed, np.log(tested))
            suggestion = float(tested[start + int(np.argmin(slopes[start : least + 1]))])
            end = f"is least at {tested[least]:.2g}"
        else:
            end = "never falls by more than chance"
        how = "diverged" if len(smoothed) < len(rates) or _diverged(smoothed) else "did not diverge"
        note = f"the loss {end} and {how} up to {tested[-1]:.2g}"
    return RateCurve(tuple(tested.tolist()), tuple(smoothed.tolist()), suggestion, note)


def plot_rates(path: Path, curve: RateCurve) -> None:
    """Draw a range test, as PNG or SVG by the name's ending.

    Raises:
        InputError: `path` ends in neither.
        OutputError: the file cannot be written.
    """
    # Matplotlib takes a while to load, which training without plots need not wait for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve.rates, curve.losses, linewidth=1.8)
    if curve.suggestion is not None:
        axes.axvline(curve.suggestion, linestyle="--", label=f"suggestion {curve.suggestion:.2g}")
        axes.legend(frameon=False)
    axes.set(xscale="log", xlabel="learning rate of the head", ylabel="training loss, smoothed")
    axes.grid(color="#dde2e8", linewidth=0.8)
    write_figure(path, figure)


class _Ramp(Callback):
    """Sets the rates before every batch, whatever the module's schedule did after the last."""

    def __init__(
        self, rates: Sequence[float], accumulate: int, progress: Callable[[int, int], None] | None
    ) -> None:
        self.losses: list[float] = []
        self._rates = rates
        self._accumulate = accumulate
        self._progress = progress
        self._shares: list[float] = []
        self._loss = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del pl_module
        rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        self._shares = [rate / max(rates) for rate in rates]

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        groups = trainer.optimizers[0].param_groups
        for group, share in zip(groups, self._shares, strict=True):
            group["lr"] = self._rates[trainer.global_step] * share

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        del pl_module
        # Lightning has divided it by the number of batches in a step.
        self._loss += float(outputs["loss"])
        if trainer.global_step == len(self.losses):
            return
        self.losses.append(self._loss)
        self._loss = 0.0
        if self._progress is not None:
            self._progress(trainer.global_step, len(self._rates))
        if _diverged(np.array(_smooth(self.losses))):
            trainer.should_stop = True


def _smooth(losses: Iterable[float]) -> list[float]:
    average, smoothed = 0.0, []
    for step, loss in enumerate(losses, start=1):
        average = _DECAY * average + (1 - _DECAY) * loss
        smoothed.append(average / (1 - _DECAY**step))
    return smoothed


def _diverged(smoothed: Any) -> bool:
    return not smoothed[-1] <= _DIVERGED * smoothed.min()
