"""Fine-tuning on Lightning: module, callbacks, checkpoints of a stage; it knows no catalogs."""

from __future__ import annotations

import logging
import math
import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from lotlens.recipes.schema import MONITORS, Finetune
from lotlens.records import ImageSpec
from lotlens.vision.augment import mix_batch
from lotlens.vision.batches import (
    DecodedPhotos,
    EpochBatches,
    TrainingPhotos,
    build_augmenters,
    derive_seed,
    size_at,
)
from lotlens.vision.callbacks import (
    Checkpointing,
    Progress,
    ProgressCallback,
    Soup,
    StepCheckpoint,
    open_log,
    read_place,
    scratch_folder,
)
from lotlens.vision.classifier import Classifier, Weights
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
from lotlens.vision.layers import freeze, layer_decay_groups
from lotlens.vision.losses import build_loss
from lotlens.vision.optimisers import build_optimiser
from lotlens.vision.precision import PRECISIONS, be_deterministic
from lotlens.vision.schedules import ScheduleFunction, build_schedule


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
        self._num_classes, self._num_outputs = classifier.num_classes, classifier.num_outputs
        self._functions = functions or {}
        if class_counts is None:
            class_counts = np.ones(self._num_outputs, np.int64)
        self._loss = build_loss(stage.loss, class_counts, classifier.head_shape)
        self.register_buffer("mean", torch.tensor(spec.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(spec.std)[:, None, None], persistent=False)
        self._frozen_norms = freeze(classifier, stage)
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
        targets = functional.one_hot(labels, self._num_outputs).to(inputs.dtype)
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
        self._answers.append((logits[:, : self._num_classes].float(), labels))

    def on_validation_epoch_end(self) -> None:
        logits = torch.cat([logits for logits, _ in self._answers])
        labels = torch.cat([labels for _, labels in self._answers])
        self._answers.clear()
        now_s = time.perf_counter()
        size = size_at(self._stage, self.current_epoch)
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
    batches = _share_batches(train, stage, seed, weights)
    num_steps = stage.num_epochs * -(-len(batches) // stage.accumulate)
    counts = np.bincount(train.targets, minlength=classifier.num_outputs)
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
    soup = Soup(stage) if stage.average_last else None
    with scratch_folder(checkpointing) as folder:
        best = _keep_best(stage, folder)
        callbacks = _list_callbacks(stage, ProgressCallback(num_steps, progress), soup, best)
        resumed = keeper = place = None
        with ExitStack() as stack:
            if checkpointing:
                keeper = StepCheckpoint(checkpointing, stage.accumulate)
                callbacks.append(keeper)
                stack.enter_context(keeper.catch_interrupt())
                if on_first(checkpointing.step_path.is_file):
                    resumed = checkpointing.step_path
                    place = read_place(resumed)
                    batches.skip(place.epoch, place.batch)
            logger = None if log_path is None else open_log(log_path, place.step if place else None)
            stack.enter_context(quiet_lightning())
            stack.enter_context(be_deterministic(deterministic))
            stack.enter_context(torch.random.fork_rng())
            trainer = _build_trainer(stage, precision, callbacks, logger, best)
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
                    DataLoader(_PlainBatches(validation), batch_size=None),
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


def _share_batches(
    train: DecodedPhotos, stage: Finetune, seed: int, weights: NDArray[np.float64] | None
) -> EpochBatches:
    """The part of every batch that falls to this process.

    Raises:
        InputError: the processes cannot share a batch evenly.
    """
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
    return batches


def _keep_best(stage: Finetune, folder: Path) -> ModelCheckpoint | None:
    """What keeps the weights of the best look at validation, if the stage ends with those."""
    monitor = stage.early_stop.monitor if stage.early_stop else stage.checkpoint
    if monitor == "last":
        return None
    return ModelCheckpoint(
        folder,
        "best",
        monitor,
        mode=MONITORS[monitor],
        save_weights_only=True,
        enable_version_counter=False,
    )


def _list_callbacks(
    stage: Finetune, progress: Callback, soup: Soup | None, best: ModelCheckpoint | None
) -> list[Callback]:
    callbacks = [progress]
    if soup:
        # Before the EMA, which takes the averaged weights away again when validation ends.
        callbacks.append(soup)
    if stage.ema:
        # Lightning's own EMA goes tensor by tensor, which took 2.5 times as long (measured).
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(stage.ema)))  # type: ignore[no-untyped-call]
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
    if best is not None:
        callbacks.append(best)
    return callbacks


def _build_trainer(
    stage: Finetune,
    precision: str,
    callbacks: list[Callback],
    logger: Any,
    best: ModelCheckpoint | None,
) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=stage.num_epochs,
        precision=PRECISIONS[precision],
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


class _PlainBatches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Photos as they are, in order; an item is a batch of them."""

    def __init__(self, photos: DecodedPhotos, size: int = 32) -> None:
        self._photos, self._size = photos, size

    def __len__(self) -> int:
        return math.ceil(len(self._photos.ids) / self._size)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = number * self._size
        stop = min(start + self._size, len(self._photos.ids))
        pixels = torch.from_numpy(self._photos.read_frames(start, stop)).permute(0, 3, 1, 2)
        return pixels, torch.from_numpy(self._photos.targets[start:stop])


def _start_worker(number: int) -> None:
    """Make a process that augments leave signals to the one that trains."""
    del number
    torch.set_num_threads(1)
    # Ctrl-C reaches all processes of a terminal, and the running batch is to be finished; a
    # SIGTERM is how the loader ends a worker, which inherits Lightning's handler.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


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
