"""Recipes: how a model is trained, as a YAML file of stages; knows nothing of photos or torch.

A recipe is loaded with `load_recipe`, changed with `--set` style overrides, and checked whole:
every mistake is reported at once, each with the likely correction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from lotlens.records import (
    MOST_FOLDS,
    MOST_LEVELS,
    BoxFit,
    Fit,
    ImageSpec,
    Interpolation,
    Locate,
    Pooling,
)
from lotlens.texts import describe


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def from_name(value: Any) -> Any:
    """A bare name stands for the part with that name and everything else as usual."""
    return {"name": value} if isinstance(value, str) else value


_ByName = BeforeValidator(from_name)
_ByText = BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)


def _check_name(value: str) -> str:
    """Refuse a name that would lead out of a folder, or that no disk and no screen can take."""
    is_plain = value.isprintable() and not set(value) & {"/", "\\"}
    if not is_plain or value.startswith(".") or not value.strip():
        raise ValueError(
            "must be a plain name, without slashes, signs that cannot be seen, or a dot in front"
        )
    return value


def _bound_text(most: int) -> AfterValidator:
    """Texts of so many letters at most; names of files among them may be no UTF-8."""

    def check(text: str) -> str:
        if len(text) > most:
            raise ValueError(f"must have {most:,} letters at most, not {len(text):,}")
        return text

    return AfterValidator(check)


_Name = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_check_name)]


class Size(_Part):
    """A stretch of epochs at one input size (progressive resizing, fast.ai and DAWNBench 2018)."""

    height: int = Field(ge=32, le=1024)
    width: int = Field(ge=32, le=1024)
    epochs: int = Field(ge=1, le=1000)


class Image(_Part):
    """The inference preprocessing; the backbone adds its own mean and std.

    Attributes:
        height, width: of the network's input, in pixels.
        fit: how a whole photo is brought to that frame: "pad", "stretch" or "crop".
        interpolation: the resampling filter.
        locate: "map" finds the car first, and shows the network that part of the photo, whatever
            the fit; a photo without a car is fitted whole, as with "none". "detector" does so by a
            network that the user has added. "auto" chooses among them before a training begins, by
            probes on frozen features and photos that they have not learnt.
        box_fit: "keep" shows the car in its own aspect, with so much more of the photo as fills the
            frame; "stretch" shows the car alone, out of its aspect. None stretches it where whole
            photos are stretched.
    """

    height: int = Field(192, ge=32, le=1024)
    width: int = Field(288, ge=32, le=1024)
    fit: Fit = "pad"
    interpolation: Interpolation = "bicubic"
    locate: Locate | Literal["auto"] = "none"
    box_fit: BoxFit | None = None

    def spec(
        self, mean: Sequence[float] = (0, 0, 0), std: Sequence[float] = (1, 1, 1)
    ) -> ImageSpec:
        """The frame; mean and deviation of the network's input where values matter.

        As long as "auto" is not settled (see `Recipe.located`), it is one of whole photos.
        """
        return ImageSpec(
            height=self.height,
            width=self.width,
            fit=self.fit,
            interpolation=self.interpolation,
            locate="none" if self.locate == "auto" else self.locate,
            box_fit=self.box_fit or ("stretch" if self.fit == "stretch" else "keep"),
            mean=(float(mean[0]), float(mean[1]), float(mean[2])),
            std=(float(std[0]), float(std[1]), float(std[2])),
        )


OPTIMISERS = ("adam", "adamw", "amsgrad", "nadam", "adamax", "sgd")
"""Optimisers by name; others are timm's, as "timm:NAME"."""

MONITORS: Mapping[str, Literal["min", "max"]] = {
    "validation_log_loss": "min",
    "validation_accuracy": "max",
    "train_loss": "min",
}
"""What callbacks may watch, and whether less or more of it is better."""

View = Literal["mirror", "closer", "further", "left", "right", "brighter", "darker"]
"""Views of a photo beside the whole one (see `answering.views.VIEWS`)."""

Monitor = Literal["validation_log_loss", "validation_accuracy", "train_loss"]


class Optimiser(_Part):
    """The optimiser of a fine-tuning stage.

    Attributes:
        name: "adam", "adamw", "amsgrad" (Adam with AMSGrad, Reddi et al. 2018), "nadam",
            "adamax", "sgd" (with Nesterov momentum), or "timm:NAME" for any of timm's.
        weight_decay: decoupled from the gradient for adamw (Loshchilov & Hutter 2019) and what
            timm's optimisers make of it; an L2 penalty for the others. Vectors (BatchNorm,
            biases) have none. Left out, it is 0.05 for adamw and timm's, and 0 for the others.
        layer_decay: the learning rate of each layer group is this times that of the group above
            it (ULMFiT 2018; BEiT 2021); 1 gives every group the same rate.
        momentum: of sgd, and of timm's optimisers that have one.
    """

    name: str = "adamw"
    weight_decay: float | None = Field(None, ge=0, le=10)
    layer_decay: float = Field(0.85, gt=0, le=1)
    momentum: float = Field(0.9, ge=0, lt=1)

    @property
    def decay(self) -> float:
        """The weight decay that is meant."""
        if self.weight_decay is not None:
            return self.weight_decay
        return 0.05 if self.name == "adamw" or self.name.startswith("timm:") else 0.0


class Constant(_Part):
    """The learning rate stays as it is."""

    name: Literal["constant"]
    warmup: float = Field(0.0, ge=0, lt=1)


class Cosine(_Part):
    """A cosine from the top to zero (SGDR, Loshchilov & Hutter 2017), after a linear warm-up.

    Attributes:
        warmup: the share of all steps in which the rate rises linearly from zero.
    """

    name: Literal["cosine"] = "cosine"
    warmup: float = Field(0.1, ge=0, lt=1)


class Exponential(_Part):
    """Every epoch the rate is multiplied by `factor`.

    Attributes:
        factor: e to the power of -0.1 by default, as in the reference solution.
        warmup: the share of all steps in which the rate rises linearly from zero.
    """

    name: Literal["exponential"]
    factor: float = Field(0.9048374180359595, gt=0, le=1)
    warmup: float = Field(0.0, ge=0, lt=1)


class Steps(_Part):
    """After every `every` epochs the rate is multiplied by `factor`."""

    name: Literal["step"]
    every: int = Field(ge=1)
    factor: float = Field(0.1, gt=0, lt=1)
    warmup: float = Field(0.0, ge=0, lt=1)


class OneCycle(_Part):
    """Up from lr / 25 to lr and down to almost nothing (Smith & Topin 2018).

    Attributes:
        peak: the share of all steps after which the top is reached.
    """

    name: Literal["one-cycle"]
    peak: float = Field(0.3, gt=0, lt=1)


class Cyclic(_Part):
    """Up and down again and again between `low` times the rate and the rate (Smith 2017).

    Attributes:
        epochs: of a whole cycle.
    """

    name: Literal["cyclic"]
    epochs: int = Field(4, ge=1)
    low: float = Field(0.1, ge=0, lt=1)


class Plateau(_Part):
    """The rate is cut when the monitor has not become better for a while (ReduceLROnPlateau).

    Attributes:
        monitor: what is watched.
        factor: what the rate is multiplied by.
        patience: looks at validation without a better value before the cut.
        min_delta: how much better counts as better.
        warmup: the share of all steps in which the rate rises linearly from zero.
    """

    name: Literal["plateau"]
    monitor: Monitor = "validation_log_loss"
    factor: float = Field(0.5, gt=0, lt=1)
    patience: int = Field(2, ge=0)
    min_delta: float = Field(1e-4, ge=0)
    warmup: float = Field(0.0, ge=0, lt=1)


class Function(_Part):
    """A schedule of one's own (LearningRateScheduler): see `train(schedules=...)`.

    Attributes:
        function: its name there. A recipe file cannot name code to run.
    """

    name: Literal["function"]
    function: str = Field(min_length=1)


Schedule = Annotated[
    Constant | Cosine | Exponential | Steps | OneCycle | Cyclic | Plateau | Function,
    Field(discriminator="name"),
    _ByName,
]


class EarlyStop(_Part):
    """Stop when the monitor has not become better for a while; the best weights are kept.

    Attributes:
        monitor: what is watched.
        patience: looks at validation without a better value before stopping.
        min_delta: how much better counts as better.
    """

    monitor: Monitor = "validation_log_loss"
    patience: int = Field(4, ge=1)
    min_delta: float = Field(0.0, ge=0)


class Head(_Part):
    """The classifier's head.

    Attributes:
        kind: "linear"; "dense": a dense layer, BatchNorm, ReLU, dropout, then linear, as in the
            reference solution; "cosine": scaled cosines between features and classes.
        units: of the dense layer.
        dropout: in the dense head, before its linear layer.
        scale: of the cosines.
    """

    kind: Literal["linear", "dense", "cosine"] = "linear"
    units: int = Field(128, ge=2, le=8192)
    dropout: float = Field(0.25, ge=0, lt=1)
    scale: float = Field(16.0, gt=0, le=128)


class Loss(_Part):
    """What fine-tuning minimises.

    Attributes:
        kind: "cross-entropy", or "arcface": an additive angular margin between classes (Deng et
            al. 2019) with a cosine head; the margin falls away when answering.
        label_smoothing: share of the target spread over all classes (Szegedy et al. 2016).
        class_weights: "balanced" weighs classes by the inverse of their number of photos.
        margin: of arcface, in radians.
    """

    kind: Literal["cross-entropy", "arcface"] = "cross-entropy"
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    margin: float = Field(0.3, ge=0, lt=1.5)


class Augmentation(_Part):
    """What happens to training photos, and only to them.

    Attributes:
        crop_scale: smallest share of the frame's area a random crop keeps; 1 turns cropping off.
        flip: probability of a mirror image.
        rotation: largest rotation either way, in degrees.
        shift: largest shift in each direction, as a share of the side.
        box_shift: where the car is found first, how far each side of the crop to it moves, as a
            share of the frame: what finds cars errs, and a network is to take no harm from that.
        brightness: lowest and highest factor of brightness; [1, 1] leaves it.
        policy: "trivial" is TrivialAugment Wide (Müller & Hutter 2021), "rand" RandAugment (Cubuk
            et al. 2020), "mild" a small rotation and colour jitter, "none" none of them.
        operations: of RandAugment, how many one after another.
        magnitude: of RandAugment, 0 to 30.
        erase: probability of erasing a random rectangle (Zhong et al. 2017).
        mixup: Beta parameter of mixup (Zhang et al. 2018); 0 is off.
        cutmix: Beta parameter of CutMix (Yun et al. 2019); 0 is off. With both, each mixed batch is
            of one kind or the other.
        mix_share: share of the batches that are mixed.
    """

    crop_scale: float = Field(0.6, gt=0.05, le=1)
    flip: float = Field(0.5, ge=0, le=1)
    rotation: float = Field(0.0, ge=0, le=180)
    shift: float = Field(0.0, ge=0, lt=1)
    box_shift: float = Field(0.1, ge=0, le=0.3)
    brightness: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (1.0, 1.0)
    policy: Literal["trivial", "rand", "mild", "none"] = "trivial"
    operations: int = Field(2, ge=1, le=8)
    magnitude: int = Field(9, ge=0, le=30)
    erase: float = Field(0.25, ge=0, le=1)
    mixup: float = Field(0.0, ge=0, le=10)
    cutmix: float = Field(0.0, ge=0, le=10)
    mix_share: float = Field(0.5, ge=0, le=1)

    @property
    def is_mixing(self) -> bool:
        """Whether photos of a batch are mixed with each other."""
        return bool(self.mixup or self.cutmix)


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


def _list_words(value: Any) -> Any:
    """One word stands for a list of it, and numbers for how they are written."""
    words = value if isinstance(value, list | tuple) else [value]
    return [str(word) if isinstance(word, int | float) else word for word in words]


class Labels(_Part):
    """What is made of labels that are not plain.

    Attributes:
        fold: whether labels that look like one name spelt twice ("Niva" and "niva", 01 and 1) count
            as one class, called by the commonest spelling; null to be asked.
        keep: words for "no label" (nan, NA, unknown, -1, ...) that are classes here.
    """

    fold: bool | None = None
    keep: Annotated[tuple[str, ...], BeforeValidator(_list_words), Field(max_length=1_000)] = ()


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
        (0.01, 0.03, 0.1, 0.3), min_length=1, max_length=100
    )


class Finetune(_Part):
    """All or the upper layers trained; weights start from the stage before.

    Attributes:
        lr: the top learning rate, that of the head.
        batch_size: photos in a step's batch.
        accumulate: batches whose gradients are added up before the weights change.
        sizes: input sizes in sequence; the last stage should end with the image's own.
        unfreeze: which layer groups are trained, from the top: "all"; "head"; the name of a group
            (`lotlens train --dry-run` lists them), which is trained with all above it; or a share
            of the groups. The others stay as they are, BatchNorm statistics too.
        batch_norm: "train" updates the statistics, "frozen" keeps the pretrained ones.
        dropout: before a linear head.
        loss: what is minimised.
        ema: decay of the exponential moving average of the weights; 0 turns it off.
        gradient_clip: largest norm of the gradient; 0 turns clipping off.
        validate_every: epochs between two looks at validation.
        early_stop: when to stop before the last epoch; none by default.
        checkpoint: "last" ends the stage with its last weights, a monitor with those of the best
            look at validation (ModelCheckpoint). Early stopping takes its own monitor's best.
        average_last: at this many of the last looks at validation the weights are kept, and their
            average (a soup, Izmailov et al. 2018; Wortsman et al. 2022) is one more candidate; 0
            is off.
        keep_best: validation chooses among probe, fine-tuned weights and points between the two
            (WiSE-FT, Wortsman et al. 2022); false takes the fine-tuned weights as they are.
    """

    kind: Literal["finetune"]
    lr: float = Field(2e-3, gt=0, le=1)
    batch_size: int = Field(16, ge=2, le=4096)
    accumulate: int = Field(1, ge=1, le=1024)
    sizes: tuple[Size, ...] = Field(min_length=1, max_length=100)
    unfreeze: str | Annotated[float, Field(gt=0, le=1)] = "all"
    batch_norm: Literal["train", "frozen"] = "train"
    dropout: float = Field(0.2, ge=0, lt=1)
    loss: Loss = Loss()
    ema: float = Field(0.99, ge=0, lt=1)
    gradient_clip: float = Field(0.0, ge=0)
    optimiser: Annotated[Optimiser, _ByName] = Optimiser()
    schedule: Schedule = Cosine()
    augmentation: Augmentation = Augmentation()
    validate_every: int = Field(1, ge=1)
    early_stop: EarlyStop | None = None
    checkpoint: Literal["last"] | Monitor = "last"
    average_last: int = Field(0, ge=0, le=50)
    keep_best: bool = True

    @property
    def num_epochs(self) -> int:
        return sum(size.epochs for size in self.sizes)


Stage = Annotated[Probe | Finetune, Field(discriminator="kind")]


class Recipe(_Part):
    """A whole recipe.

    Attributes:
        backbone: "lite0", "lite1", "lite2" (embedded), "timm:NAME", weights in a file written
            "timm:NAME@FILE", or the network of a finished run, whatever its classes: "run:FOLDER".
        feature_levels: 1 shows the head the backbone's final features; 1 + n also the averaged
            maps of its last n stages, which helps a probe.
        pooling: how maps become features. "mean": averaged over the photo. "covariance": what goes
            together in a photo, of the last n stages alone (see `vision.pooling`).
        validation: share of the labelled photos held out for validation.
        folds: 0 for the single hold-out above. k of 2 or more trains k models, each validated on
            the fold that it does not see; together they are the result, an ensemble that answers
            with the mean of their log-probabilities. The validation figures are then out of fold:
            every photo is answered by the one model that has not seen it.
        lock: share of the labelled photos put aside before anything else, as a test part that no
            choice ever sees; the same photos for every seed. 0 locks none.
        audit: what becomes of photos with faults.
        labels: what is made of labels that are not plain.
        head: the classifier's head.
        views: test-time views that validation may adopt beside the plain one; each that is adopted
            is one more run of the model for every photo, and the more are tried, the more each
            must show.
        precision: "auto" takes bf16 where the CPU has it and it is measured faster, or the GPU's
            16 bits; "32", "bf16" and "16" say so.
        deterministic: only algorithms that give the same bits every time.
    """

    name: _Name
    description: Annotated[str, _bound_text(10_000)] = ""
    seed: int = Field(0, ge=0, lt=2**31)
    backbone: Annotated[str, _bound_text(5_000)] = "lite0"
    feature_levels: int = Field(1, ge=1, le=MOST_LEVELS)
    pooling: Annotated[Pooling, _ByText] = "mean"
    image: Image = Image()
    validation: float = Field(0.15, gt=0, lt=1)
    folds: int = Field(0, ge=0, le=MOST_FOLDS)
    lock: float = Field(0.0, ge=0, lt=1)
    audit: Audit = Audit()
    labels: Labels = Labels()
    views: tuple[View, ...] = ("mirror",)
    head: Head = Head()
    precision: Annotated[Literal["auto", "32", "bf16", "16"], _ByText] = "auto"
    deterministic: bool = False
    stages: tuple[Stage, ...] = Field(min_length=1, max_length=20)

    def __repr__(self) -> str:
        stages = ", ".join(stage.kind for stage in self.stages)
        return describe(f"Recipe {self.name}", f"{stages}; .to_dict() gives all of it")

    @property
    def source_run(self) -> Path | None:
        """The folder of the run whose network it starts from; None if from none."""
        head, _, path = self.backbone.partition(":")
        return Path(path) if head == "run" else None

    @property
    def probe(self) -> Probe:
        """Its own stage of a probe, or a plain one where it has none."""
        return next((one for one in self.stages if isinstance(one, Probe)), Probe(kind="probe"))

    def located(self, locate: Locate) -> Recipe:
        """The recipe with "auto" settled; one that says how cars are found stays as it is."""
        if self.image.locate != "auto":
            return self
        return self.model_copy(update={"image": self.image.model_copy(update={"locate": locate})})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for YAML or JSON."""
        return self.model_dump(mode="json")
