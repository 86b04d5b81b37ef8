"""Fine-tuning on Lightning: module, layer groups, schedule; it knows no catalogs or files."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from lotlens.recipe import Augmentation, Finetune
from lotlens.records import ImageSpec
from lotlens.vision.augment import PhotoAugmenter, mix_batch
from lotlens.vision.batches import DecodedPhotos, EpochBatches, TrainingPhotos, derive_seed
from lotlens.vision.classifier import Classifier, frozen_batch_norms

Progress = Callable[[int, int], None]


class FineTuning(pl.LightningModule):
    """A classifier being fine-tuned as a stage of a recipe says.

    Attributes:
        history: one row per look at validation: epoch, size, learning rate of the head, training
            loss, validation accuracy and log loss, seconds since the row before.
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
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.history: list[dict[str, Any]] = []
        self._stage = stage
        self._num_steps = num_steps
        self._seed = seed
        self._num_classes = classifier.head.out_features
        self.register_buffer("mean", torch.tensor(spec.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(spec.std)[:, None, None], persistent=False)
        self._frozen_norms = _freeze(classifier, stage)
        classifier.dropout.p = stage.dropout
        self._losses: list[Tensor] = []
        self._answers: list[tuple[Tensor, Tensor]] = []
        self._start_s = 0.0

    def configure_optimizers(self) -> Any:
        groups = layer_decay_groups(self.classifier, self._stage)
        optimiser = AdamW(groups, lr=self._stage.lr, fused=True)
        schedule = LambdaLR(optimiser, self._rate)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _rate(self, step: int) -> float:
        return cosine_with_warmup(step, self._num_steps, self._stage.schedule.warmup)

    def normalise(self, photos: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] to the network's input, channels last, as `prepare.normalise` does."""
        scaled: Tensor = (photos.to(self.mean.dtype) / 255 - self.mean) / self.std
        return scaled.contiguous(memory_format=torch.channels_last)

    def on_train_start(self) -> None:
        self._start_s = time.perf_counter()

    def on_train_epoch_start(self) -> None:
        # Everything else is in training mode (again, after a look at validation).
        for norm in self._frozen_norms:
            norm.eval()

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        photos, labels = batch
        step = self.global_step
        # Dropout draws from the global generator, which `fine_tune` has lent to this run.
        torch.manual_seed(derive_seed(self._seed, "step", step))
        inputs = self.normalise(photos)
        targets = functional.one_hot(labels, self._num_classes).to(inputs.dtype)
        mixup = self._stage.augmentation.mixup
        if mixup:
            rng = np.random.default_rng([self._seed, step])
            inputs, targets = mix_batch(inputs, targets, mixup, rng)
        logits, _ = self.classifier(inputs)
        loss = functional.cross_entropy(
            logits.float(), targets, label_smoothing=self._stage.label_smoothing
        )
        self._losses.append(loss.detach())
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
        self.history.append(
            {
                "epoch": self.current_epoch + 1,
                "size": f"{size[0]}x{size[1]}",
                "lr": self.trainer.optimizers[0].param_groups[-1]["lr"],
                "train_loss": float(torch.stack(self._losses).mean()),
                "validation_accuracy": float((logits.argmax(1) == labels).float().mean()),
                "validation_log_loss": float(functional.cross_entropy(logits, labels)),
                "seconds": now_s - self._start_s,
            }
        )
        self._start_s = now_s
        self._losses.clear()


def fine_tune(
    classifier: Classifier,
    stage: Finetune,
    train: DecodedPhotos,
    validation: DecodedPhotos,
    *,
    seed: int,
    precision: str = "32",
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train a classifier in place; it ends with the averaged weights where the stage has an EMA.

    Args:
        classifier: its present weights are the start, head included.
        stage: how.
        train: augmented anew in every epoch.
        validation: never augmented, at the size of the last epochs.
        seed: all randomness derives from it; torch's global generator is left as it was.
        precision: "32" or "bf16".
        progress: called with (steps done, steps in all).

    Returns:
        the history, one row per look at validation.

    Raises:
        KeyboardInterrupt: the user stopped it (Lightning would swallow that).
    """
    # Lightning leaves modules in the mode it finds them in, and the probe leaves inference mode.
    classifier.train()
    batches = EpochBatches(len(train.ids), stage.batch_size, seed=seed)
    num_steps = stage.num_epochs * len(batches)
    module = FineTuning(classifier, stage, train.spec, num_steps=num_steps, seed=seed)
    data = TrainingPhotos(train, _augmenters(stage, train.spec), seed=seed)
    callbacks: list[Callback] = [_ProgressCallback(num_steps, progress)]
    if stage.ema:
        callbacks.append(EMAWeightAveraging(decay=stage.ema))
    with _quiet_lightning(), torch.random.fork_rng():
        trainer = pl.Trainer(
            max_epochs=stage.num_epochs,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            gradient_clip_val=stage.gradient_clip or None,
            callbacks=callbacks,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            check_val_every_n_epoch=stage.validate_every,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(
                module,
                DataLoader(data, sampler=batches, batch_size=None),
                DataLoader(_plain_batches(validation), batch_size=None),
            )
        except SystemExit as stop:
            raise KeyboardInterrupt from stop
    if trainer.interrupted:
        raise KeyboardInterrupt
    return module.history


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
            decay = stage.optimiser.weight_decay if is_matrix else 0.0
            if members:
                result.append({"params": members, "lr": rate, "weight_decay": decay})
    return result


def cosine_with_warmup(step: int, num_steps: int, warmup: float) -> float:
    """Share of the top rate at a step: linear from near 0, then a cosine to 0 (SGDR 2017)."""
    num_warm = warmup * num_steps
    if step < num_warm:
        return (step + 1) / (num_warm + 1)
    done = (step - num_warm) / max(1.0, num_steps - num_warm)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def choose_precision(wanted: str, classifier: Classifier, height: int, width: int) -> str:
    """Which of "bf16" and "32" to train in; "auto" measures, where the CPU computes in bf16.

    CPUs without bf16 instructions emulate it, 15 times slower than fp32 (measured).
    """
    if wanted != "auto":
        return wanted
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported() or not _has_native_bf16():
        return "32"
    photos = torch.zeros(8, 3, height, width).contiguous(memory_format=torch.channels_last)
    seconds = {}
    for precision in ("32", "bf16", "32", "bf16"):
        start_s = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits, _ = classifier(photos)
        logits.float().sum().backward()
        classifier.zero_grad(set_to_none=True)
        # The first round of each warms up; the second overwrites it.
        seconds[precision] = time.perf_counter() - start_s
    return min(seconds, key=lambda precision: seconds[precision])


def _has_native_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _freeze(classifier: Classifier, stage: Finetune) -> list[torch.nn.Module]:
    """Freeze the lowest groups; the BatchNorm layers that must stay in inference mode."""
    groups = classifier.layer_groups()
    frozen = [name for group in groups[: stage.freeze] for name in group]
    parameters = dict(classifier.named_parameters())
    for name in frozen:
        parameters[name].requires_grad_(False)
    still = [n for group in groups for n in group] if stage.batch_norm == "frozen" else frozen
    return frozen_batch_norms(classifier, still)


def _size_at(stage: Finetune, epoch: int) -> tuple[int, int]:
    sizes = [(size.height, size.width) for size in stage.sizes for _ in range(size.epochs)]
    return sizes[min(epoch, len(sizes) - 1)]


def _augmenters(stage: Finetune, spec: ImageSpec) -> list[PhotoAugmenter]:
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


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning tells of devices and gives advice meant for its own users; lotlens's have none."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            yield
    finally:
        logger.setLevel(level)
