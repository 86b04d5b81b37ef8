"""Fine-tuning on Lightning: module, callbacks, checkpoints of a stage; it knows no catalogs."""

from __future__ import annotations

import copy
import difflib
import logging
import math
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    WeightAveraging,
)
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from lotlens.errors import BundleError, InputError
from lotlens.recipe import MONITORS, Augmentation, Finetune
from lotlens.records import ImageSpec
from lotlens.vision.augment import PhotoAugmenter, mix_batch
from lotlens.vision.batches import DecodedPhotos, EpochBatches, TrainingPhotos, derive_seed
from lotlens.vision.classifier import Classifier, Weights, frozen_batch_norms
from lotlens.vision.depthwise import WideDepthwiseGradients
from lotlens.vision.distributed import (
    any_process,
    check_shares,
    is_first,
    join,
    mean_over_processes,
    on_first,
    own_rows,
    rank,
    share_weights,
    trainer_options,
    whole_batch,
    world_size,
)
from lotlens.vision.losses import build_loss
from lotlens.vision.optimisers import build_optimiser
from lotlens.vision.schedules import ScheduleFunction, build_schedule

Progress = Callable[[int, int], None]
_PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


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


@dataclass(frozen=True)
class Tuned:
    """What a stage of fine-tuning ends with; the classifier holds the weights of choice.

    Attributes:
        history: one row per look at validation.
        soup: the average of the weights at the last looks, if the stage asks for it.
        is_stopped: the user asked to stop, when hardly anything was left to do.
    """

    history: list[dict[str, Any]]
    soup: Weights | None
    is_stopped: bool = False


class FineTuning(pl.LightningModule):
    """A classifier being fine-tuned as a stage of a recipe says.

    Attributes:
        history: one row per look at validation: epoch, size, learning rate of the head in the
            epoch's last step, training loss since the look before, validation accuracy and log
            loss, the trainer's precision ("32-true", "bf16-mixed", "16-mixed"), seconds since the
            row before.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        classifier: Classifier,
        stage: Finetune,
        spec: ImageSpec,
        *,
        num_steps: int,
        seed: int,
        class_counts: Any = None,
        functions: Mapping[str, ScheduleFunction] | None = None,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.history: list[dict[str, Any]] = []
        self._stage = stage
        self._num_steps = num_steps
        self._seed = seed
        self._num_classes = classifier.num_classes
        self._functions = functions or {}
        if class_counts is None:
            class_counts = np.ones(self._num_classes, np.int64)
        self._loss = build_loss(stage.loss, class_counts, classifier.head_shape)
        self.register_buffer("mean", torch.tensor(spec.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(spec.std)[:, None, None], persistent=False)
        self._frozen_norms = _freeze(classifier, stage)
        classifier.dropout.p = stage.dropout
        self._losses: list[float] = []
        self._rate = 0.0
        self._plateaus: list[tuple[ReduceLROnPlateau, str]] = []
        self._saved_plateaus: list[dict[str, Any]] = []
        self._answers: list[tuple[Tensor, Tensor]] = []
        self._start_s = 0.0

    def configure_optimizers(self) -> Any:
        groups = layer_decay_groups(self.classifier, self._stage)
        # Lightning clips no gradients for fused optimisers that its 16-bit scaling passes by.
        is_fused = not self._stage.gradient_clip or self.trainer.precision == "32-true"
        optimiser = build_optimiser(groups, self._stage.optimiser, self._stage.lr, fused=is_fused)
        schedules = build_schedule(
            optimiser,
            self._stage.schedule,
            num_steps=self._num_steps,
            steps_per_epoch=self._num_steps // self._stage.num_epochs,
            functions=self._functions,
        )
        # Lightning forgets a plateau's look in the epoch that a checkpoint is taken up in.
        self._plateaus = [
            (schedule["scheduler"], schedule["monitor"])
            for schedule in schedules
            if "monitor" in schedule
        ]
        return [optimiser], [schedule for schedule in schedules if "monitor" not in schedule]

    def normalise(self, photos: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] to the network's input, channels last, as `prepare.normalise` does."""
        scaled: Tensor = (photos.to(self.mean.dtype) / 255 - self.mean) / self.std
        return scaled.contiguous(memory_format=torch.channels_last)

    def on_train_start(self) -> None:
        self._start_s = time.perf_counter()
        for (scheduler, _), state in zip(self._plateaus, self._saved_plateaus, strict=False):
            scheduler.load_state_dict(state)
        self._keep_frozen()  # an epoch that is taken up in its middle does not start

    def on_train_epoch_start(self) -> None:
        self._keep_frozen()

    def _keep_frozen(self) -> None:
        # Everything else is in training mode (again, after a look at validation).
        for norm in self._frozen_norms:
            norm.eval()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        photos, labels = batch
        place = (self.current_epoch, batch_idx)
        # Dropout draws from the global generator, which `fine_tune` has lent to this run.
        torch.manual_seed(derive_seed(self._seed, "step", *place))
        inputs = self.normalise(photos)
        targets = functional.one_hot(labels, self._num_classes).to(inputs.dtype)
        augmentation = self._stage.augmentation
        if augmentation.is_mixing:
            rng = np.random.default_rng([self._seed, *place])
            # Partners come from the whole batch, which every process has read for that.
            inputs, targets = mix_batch(inputs, targets, augmentation, rng)
            inputs, targets = own_rows(inputs), own_rows(targets)
        self._rate = self.trainer.optimizers[0].param_groups[-1]["lr"]
        with whole_batch(), WideDepthwiseGradients():
            logits, _ = self.classifier(inputs)
        loss = self._loss(logits.float(), targets)
        self._losses.append(float(mean_over_processes(loss.detach())))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        photos, labels = batch
        logits, _ = self.classifier(self.normalise(photos))
        self._answers.append((logits.float(), labels))

    def on_validation_epoch_end(self) -> None:
        logits = torch.cat([logits for logits, _ in self._answers])
        labels = torch.cat([labels for _, labels in self._answers])
        self._answers.clear()
        now_s = time.perf_counter()
        size = _size_at(self._stage, self.current_epoch)
        values = {
            "train_loss": float(np.mean(self._losses)),
            "validation_accuracy": float((logits.argmax(1) == labels).float().mean()),
            "validation_log_loss": float(functional.cross_entropy(logits, labels)),
        }
        # Each process has looked at all photos; machines of two kinds differ in the last digit,
        # and must not decide differently.
        values = on_first(lambda: values)
        self.log_dict(values, logger=False)
        if self.logger is not None:
            logged = {**values, "learning_rate": self._rate}
            self.logger.log_metrics(logged, self.trainer.global_step)
        for scheduler, monitor in self._plateaus:
            scheduler.step(values[monitor])
        self.history.append(
            {
                "epoch": self.current_epoch + 1,
                "size": f"{size[0]}x{size[1]}",
                "lr": self._rate,
                **values,
                "precision": self.trainer.precision,
                "seconds": now_s - self._start_s,
            }
        )
        self._start_s = now_s
        self._losses.clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"], checkpoint["losses"] = self.history, self._losses
        checkpoint["plateaus"] = [scheduler.state_dict() for scheduler, _ in self._plateaus]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history, self._losses = list(checkpoint["history"]), list(checkpoint["losses"])
        self._saved_plateaus = checkpoint["plateaus"]


def fine_tune(
    classifier: Classifier,
    stage: Finetune,
    train: DecodedPhotos,
    validation: DecodedPhotos,
    *,
    seed: int,
    precision: str = "32",
    deterministic: bool = False,
    functions: Mapping[str, ScheduleFunction] | None = None,
    checkpointing: Checkpointing | None = None,
    weights: NDArray[np.float64] | None = None,
    num_workers: int = 0,
    log_path: Path | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Train a classifier in place, as a stage says; or go on where a checkpoint of it stops.

    It ends with the weights of the last step (averaged where the stage has an EMA), or those of the
    best look at validation where the stage stops early or asks for them.

    Started by torchrun, the processes share every batch evenly and end with the same weights (see
    `lotlens.vision.distributed`). Each looks at all of validation; the first one writes.

    Args:
        classifier: its present weights are the start, head included.
        stage: how.
        train: augmented anew in every epoch.
        validation: never augmented, at the size of the last epochs.
        seed: all randomness derives from it; torch's global generator is left as it was.
        precision: "32", "bf16" or "16".
        deterministic: use only algorithms that give the same bits every time.
        functions: schedules of one's own, by name.
        checkpointing: where the stage's state is kept; what is there is taken up. Without it,
            nothing is written for that.
        weights: [N] of the training photos, by which some are shown more often (see
            `EpochBatches`); None shows each once in an epoch.
        num_workers: processes (of each training process) that augment photos; 0 augments between
            the steps. The weights are the same bits with any number, and a stage may go on with
            another.
        log_path: a folder for TensorBoard's event files, which it makes anew, or adds to where the
            stage goes on. Without it, none are written.
        progress: called with (steps done, steps in all).

    Raises:
        InputError: the processes cannot share a batch evenly.
        BundleError: the checkpoint cannot be read.
        KeyboardInterrupt: the user stopped it; with checkpointing, after the running batch, and
            its state was written.
    """
    # Lightning leaves modules in the mode it finds them in, and the probe leaves inference mode.
    classifier.train()
    join()
    # To mix photos of a batch each process needs all of them.
    share = (0, 1) if stage.augmentation.is_mixing else (rank(), world_size())
    batches = EpochBatches(
        len(train.ids),
        stage.batch_size,
        seed=seed,
        rank=share[0],
        num_ranks=share[1],
        weights=weights,
    )
    check_shares(batches.batch_size)
    steps_per_epoch = -(-len(batches) // stage.accumulate)
    num_steps = stage.num_epochs * steps_per_epoch
    counts = np.bincount(train.targets, minlength=classifier.num_classes)
    module = FineTuning(
        classifier,
        stage,
        train.spec,
        num_steps=num_steps,
        seed=seed,
        class_counts=counts,
        functions=functions,
    )
    data = TrainingPhotos(train, build_augmenters(stage, train.spec), seed=seed)
    callbacks: list[Callback] = [_ProgressCallback(num_steps, progress)]
    soup = _Soup(stage) if stage.average_last else None
    if soup:
        # Before the EMA, which takes the averaged weights away again when validation ends.
        callbacks.append(soup)
    if stage.ema:
        # Lightning's own EMA goes tensor by tensor, which took 2.5 times as long (measured).
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(stage.ema)))  # type: ignore[no-untyped-call]
    monitor = stage.early_stop.monitor if stage.early_stop else stage.checkpoint
    with _scratch_folder(checkpointing) as folder:
        best = None
        if stage.early_stop:
            stop = stage.early_stop
            callbacks.append(
                EarlyStopping(
                    stop.monitor,
                    min_delta=stop.min_delta,
                    patience=stop.patience,
                    mode=MONITORS[stop.monitor],
                )
            )
        if monitor != "last":
            best = ModelCheckpoint(
                folder,
                "best",
                monitor,
                mode=MONITORS[monitor],
                save_weights_only=True,
                enable_version_counter=False,
            )
            callbacks.append(best)
        resumed = None
        keeper = None
        with ExitStack() as stack:
            if checkpointing:
                keeper = _StepCheckpoint(checkpointing, stage.accumulate)
                callbacks.append(keeper)
                stack.enter_context(keeper.catch_interrupt())
                if on_first(checkpointing.step_path.is_file):
                    resumed = checkpointing.step_path
                    place = _read_place(resumed)
                    batches.skip(place.epoch, place.batch)
            logger = None
            if log_path is not None:
                logger = _open_log(log_path, place.step if resumed else None)
            stack.enter_context(quiet_lightning())
            stack.enter_context(_deterministic(deterministic))
            stack.enter_context(torch.random.fork_rng())
            trainer = pl.Trainer(
                max_epochs=stage.num_epochs,
                precision=_PRECISIONS[precision],
                accumulate_grad_batches=stage.accumulate,
                gradient_clip_val=stage.gradient_clip or None,
                callbacks=callbacks,
                logger=logger or False,
                enable_checkpointing=best is not None,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                check_val_every_n_epoch=stage.validate_every,
                use_distributed_sampler=False,
                **trainer_options(),
            )
            loader = DataLoader(
                data,
                sampler=batches,
                batch_size=None,
                num_workers=num_workers,
                persistent_workers=num_workers > 0,
                worker_init_fn=_start_worker,
            )
            try:
                trainer.fit(
                    module,
                    loader,
                    DataLoader(_plain_batches(validation), batch_size=None),
                    ckpt_path=resumed,
                    weights_only=True if resumed else None,
                )
            except SystemExit as stopped:
                raise KeyboardInterrupt from stopped
        if trainer.interrupted:
            raise KeyboardInterrupt
        if best is not None:
            if is_first():
                saved = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
                module.load_state_dict(saved["state_dict"])
            share_weights(module)
    (is_stopped,) = any_process(keeper is not None and keeper.is_asked_to_stop)
    return Tuned(module.history, soup.average() if soup else None, is_stopped)


def layer_decay_groups(classifier: Classifier, stage: Finetune) -> list[dict[str, Any]]:
    """Optimiser parameter groups with layer-wise LR decay, from the input upwards.

    The head has the stage's rate, each group below it `layer_decay` times that of the one above
    (Howard & Ruder 2018, section 3.2). Vectors (BatchNorm, biases) have no weight decay.
    """
    parameters = dict(classifier.named_parameters())
    layers = classifier.layer_groups()
    result = []
    for number, names in enumerate(layers):
        rate = stage.lr * stage.optimiser.layer_decay ** (len(layers) - 1 - number)
        trained = [parameters[n] for n in names if parameters[n].requires_grad]
        for is_matrix in (True, False):
            members = [p for p in trained if (p.ndim > 1) == is_matrix]
            decay = stage.optimiser.decay if is_matrix else 0.0
            if members:
                result.append({"params": members, "lr": rate, "weight_decay": decay})
    return result


def count_frozen(classifier: Classifier, unfreeze: str | float) -> int:
    """How many of the lowest layer groups a stage leaves as they are.

    Args:
        classifier: its layer groups count, the head being the last.
        unfreeze: "all", "head", a group's name, or the share of the groups that is trained.

    Raises:
        InputError: no group has that name.
    """
    names = classifier.group_names()
    if isinstance(unfreeze, float):
        return len(names) - math.ceil(unfreeze * len(names))
    if unfreeze == "all":
        return 0
    if unfreeze not in names:
        near = difflib.get_close_matches(unfreeze, names, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"unfreeze: the backbone has no layer group {unfreeze!r}{hint}; it has all,"
            f" {', '.join(names)}"
        )
    return names.index(unfreeze)


def choose_precision(wanted: str, classifier: Classifier, height: int, width: int) -> str:
    """Which of "bf16", "16" and "32" to train in; "auto" measures, where the CPU computes in bf16.

    CPUs without bf16 instructions emulate it, 15 times slower than fp32 (measured).
    """
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "16"
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported() or not _has_native_bf16():
        return "32"
    photos = torch.zeros(8, 3, height, width).contiguous(memory_format=torch.channels_last)
    # A copy: BatchNorm would learn from these photos, and keep it where its layer is frozen.
    trained = copy.deepcopy(classifier).requires_grad_(True).train()
    seconds = {}
    with torch.random.fork_rng(devices=[]):
        for precision in ("32", "bf16", "32", "bf16"):
            start_s = time.perf_counter()
            is_bf16 = precision == "bf16"
            with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16), WideDepthwiseGradients():
                logits, _ = trained(photos)
            logits.float().sum().backward()
            trained.zero_grad(set_to_none=True)
            # The first round of each warms up; the second overwrites it.
            seconds[precision] = time.perf_counter() - start_s
    return min(seconds, key=lambda precision: seconds[precision])


def _has_native_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _freeze(classifier: Classifier, stage: Finetune) -> list[torch.nn.Module]:
    """Freeze the lowest groups; the BatchNorm layers that must stay in inference mode."""
    groups = classifier.layer_groups()
    frozen = [n for group in groups[: count_frozen(classifier, stage.unfreeze)] for n in group]
    classifier.requires_grad_(True)
    parameters = dict(classifier.named_parameters())
    for name in frozen:
        parameters[name].requires_grad_(False)
    backbone = [n for group in groups[:-1] for n in group]
    return frozen_batch_norms(classifier, backbone if stage.batch_norm == "frozen" else frozen)


def _size_at(stage: Finetune, epoch: int) -> tuple[int, int]:
    sizes = [(size.height, size.width) for size in stage.sizes for _ in range(size.epochs)]
    return sizes[min(epoch, len(sizes) - 1)]


def build_augmenters(stage: Finetune, spec: ImageSpec) -> list[PhotoAugmenter]:
    """One per epoch: the input size may change on the way."""
    fill = (round(spec.mean[0] * 255), round(spec.mean[1] * 255), round(spec.mean[2] * 255))
    by_size: dict[tuple[int, int], PhotoAugmenter] = {}
    augmentation: Augmentation = stage.augmentation
    result = []
    for epoch in range(stage.num_epochs):
        size = _size_at(stage, epoch)
        if size not in by_size:
            by_size[size] = PhotoAugmenter(augmentation, *size, fill)
        result.append(by_size[size])
    return result


def _plain_batches(photos: DecodedPhotos, size: int = 32) -> Any:
    """Batches as a sequence, which a DataLoader takes for a data set of ready batches."""
    pixels = torch.from_numpy(photos.pixels).permute(0, 3, 1, 2)
    targets = torch.from_numpy(photos.targets)
    starts = range(0, len(targets), size)
    return [(pixels[i : i + size], targets[i : i + size]) for i in starts]


class _ProgressCallback(Callback):
    def __init__(self, num_steps: int, progress: Progress | None) -> None:
        self._num_steps = num_steps
        self._progress = progress

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self._progress is not None:
            self._progress(trainer.global_step, self._num_steps)


class _Soup(Callback):
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


class _StepCheckpoint(Callback):
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


def _open_log(path: Path, step: int | None) -> _EventLog:
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


def _start_worker(number: int) -> None:
    """Make a process that augments leave signals to the one that trains."""
    del number
    torch.set_num_threads(1)
    # Ctrl-C reaches all processes of a terminal, and the running batch is to be finished; a
    # SIGTERM is how the loader ends a worker, which inherits Lightning's handler.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


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


def _read_place(path: Path) -> _Place:
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
def _scratch_folder(checkpointing: Checkpointing | None) -> Iterator[Path]:
    if checkpointing is not None:
        if is_first():
            checkpointing.folder.mkdir(parents=True, exist_ok=True)
        yield checkpointing.folder
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning tells of devices and gives advice meant for its own users; lotlens's have none."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # torch's advice about more workers than cores, and Python 3.12's about forks: workers
            # start no threads, so that none can wait for one that the fork left behind.
            warnings.filterwarnings("ignore", message=".*worker processes in total.*")
            warnings.filterwarnings("ignore", message=".*use of fork.*")
            yield
    finally:
        logger.setLevel(level)
