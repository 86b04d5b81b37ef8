"""What goes on beside the steps of fine-tuning: checkpoints, logs, averages of weights."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from lotlens.errors import BundleError
from lotlens.recipes.schema import Finetune
from lotlens.vision.classifier import Weights
from lotlens.vision.distributed import any_process, is_first, world_size

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Checkpointing:
    """Where and how often the state of a stage is written, so that it can be taken up again.

    Attributes:
        folder: holds "step.ckpt" (everything) and "best.ckpt" (the best look at validation).
        every_steps: between two writings.
        every_s: seconds after which it is written in any case.
    """

    folder: Path
    every_steps: int
    every_s: float

    @property
    def step_path(self) -> Path:
        return self.folder / "step.ckpt"


class ProgressCallback(Callback):
    """Tells of every step."""

    def __init__(self, num_steps: int, progress: Progress | None) -> None:
        self._num_steps = num_steps
        self._progress = progress

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self._progress is not None:
            self._progress(trainer.global_step, self._num_steps)


class Soup(Callback):
    """Adds up the weights at the last looks at validation; averaged ones where there is an EMA."""

    def __init__(self, stage: Finetune) -> None:
        self._stage = stage
        self._sum: Weights = {}
        self._count = 0

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        looks_left = (
            self._stage.num_epochs - trainer.current_epoch - 1
        ) // self._stage.validate_every
        if looks_left < self._stage.average_last:
            weights = module.classifier.state_dict()
            for key, value in weights.items():
                self._sum[key] = value.double() + self._sum.get(key, 0.0)
            self._count += 1

    def average(self) -> Weights | None:
        """None if training stopped before the looks that count."""
        if not self._count:
            return None
        return {key: value / self._count for key, value in self._sum.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"sum": self._sum, "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._sum, self._count = dict(state_dict["sum"]), state_dict["count"]


class StepCheckpoint(Callback):
    """Writes the whole state of training every so often, and when Ctrl-C asks it to stop.

    Only between two batches of an epoch, when all of the step's work is done: what the loops do
    at an epoch's end (validation, schedules by epoch) need not be cut in two.
    """

    def __init__(self, checkpointing: Checkpointing, accumulate: int) -> None:
        self._checkpointing = checkpointing
        self._accumulate = accumulate
        self._saved_step = 0
        self._saved_s = time.monotonic()
        self.is_asked_to_stop = False

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._saved_step, self._saved_s = trainer.global_step, time.monotonic()
        if world_size() > 1 and threading.current_thread() is threading.main_thread():
            # torchrun passes a SIGTERM on to all. Lightning's handler, which it takes away again
            # at the end, would send to the other processes from wherever it interrupts this one.
            signal.signal(signal.SIGTERM, self._ask)

    def on_train_batch_end(self, trainer: pl.Trainer, *about: Any) -> None:
        batch_idx: int = about[-1]
        if trainer.is_last_batch or (batch_idx + 1) % self._accumulate:
            return
        step, now_s = trainer.global_step, time.monotonic()
        is_due = (
            step - self._saved_step >= self._checkpointing.every_steps
            or now_s - self._saved_s >= self._checkpointing.every_s
        )
        # Clocks differ and signals come when they come: all processes must do the same. One that
        # comes while they agree waits for the next batch, so the flag is never taken back.
        is_due, stops = any_process(is_due, self.is_asked_to_stop)
        if stops:
            self.is_asked_to_stop = True
        if is_due or stops:
            # Lightning writes to memory first and moves the file into its place.
            trainer.save_checkpoint(self._checkpointing.step_path)
            self._saved_step, self._saved_s = step, time.monotonic()
        if stops:
            raise KeyboardInterrupt

    @contextmanager
    def catch_interrupt(self) -> Iterator[None]:
        """Let a first Ctrl-C wait for the end of the batch; a second one stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        before = signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked_to_stop:
            signal.default_int_handler(number, frame)
        self.is_asked_to_stop = True


class _EventLog(TensorBoardLogger):
    """TensorBoard's event files and nothing else: Lightning would add an empty hparams.yaml."""

    def save(self) -> None:
        pass


def open_log(path: Path, step: int | None) -> _EventLog:
    """The log of a stage that begins (None), or goes on after an optimiser step.

    TensorBoard leaves out what was logged after that step before the training was killed.
    """
    if step is None and is_first():
        shutil.rmtree(path, ignore_errors=True)
    if step is None:
        return _EventLog(path, "", "", default_hp_metric=False)
    # Files are named by the second: one that is opened in the second of the last replaces it.
    return _EventLog(
        path,
        "",
        "",
        default_hp_metric=False,
        purge_step=step + 1,
        filename_suffix=f".after-step-{step}",
    )


@dataclass(frozen=True)
class _Place:
    """Where a checkpoint was written.

    Attributes:
        epoch: from 0.
        batch: how many of the epoch's batches are done.
        step: how many optimiser steps of the stage are done.
    """

    epoch: int
    batch: int
    step: int


def read_place(path: Path) -> _Place:
    """Where in its epochs a checkpoint stopped.

    Raises:
        BundleError: it cannot be read.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        loops = saved["loops"]["fit_loop"]
        return _Place(
            int(loops["epoch_progress"]["current"]["processed"]),
            int(loops["epoch_loop.batch_progress"]["current"]["processed"]),
            int(saved["global_step"]),
        )
    except Exception as error:
        raise BundleError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}): remove it to start the"
            " stage anew"
        ) from error


@contextmanager
def scratch_folder(checkpointing: Checkpointing | None) -> Iterator[Path]:
    """Where the best weights are kept: with the checkpoints, or in a folder that goes."""
    if checkpointing is not None:
        if is_first():
            checkpointing.folder.mkdir(parents=True, exist_ok=True)
        yield checkpointing.folder
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
