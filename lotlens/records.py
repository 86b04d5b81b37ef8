"""The frozen types that pass between rooms; they know numpy and the standard library alone.

Those that are stored check what they are read from: a file may be damaged, or made by anybody.

Ids are never row numbers. Axes are named where arrays are made: N photos, K classes, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from lotlens.doors import draw_html, show_photos
from lotlens.texts import describe, show
from lotlens.values import (
    quote,
    read_count,
    read_fields,
    read_flag,
    read_hash,
    read_list,
    read_mapping,
    read_name,
    read_number,
    read_text,
    read_whole,
    read_word,
    require_fields,
)

Targets = NDArray[np.int64]

Fit = Literal["pad", "stretch", "crop"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Locate = Literal["none", "map", "detector"]
"""How the car is found in a photo: not at all, by a map of vehicles, or by a network that gives
boxes (see `answering.locating`)."""
BoxFit = Literal["keep", "stretch"]
"""How a crop to the car is brought to the frame (see `photos.prepare`)."""
FloatArray = NDArray[np.float32]

STARTED = "@run:"
"""In a card's backbone, between the network and the name of the run that training started from."""

METHODS = ("max probability", "energy", "neighbours", "mahalanobis", "others")
"""How familiar a photo looks can be told in these ways (see `refusal.familiarity`)."""
FAMILIARITIES = METHODS[1:]
"""Those that need more of a model than its final logits."""

SHOWN = ("vehicle", "wheel", "inside", "document")
"""What a photo may show (see `answering.shown`): a vehicle, or much of something else."""

MOST_FOLDS = 50
"""Each fold is a training, and a member of the ensemble that must be kept and asked."""

Pooling = Literal["mean", "covariance"]
"""How a network's maps become features."""

MOST_CLASSES = 20_000
"""Ten times as many as there are models of cars in the largest set of photos of them."""

MOST_LEVELS = 5
"""Levels of a backbone that a head may see."""

ENGINES = ("torch", "onnx", "openvino")
"""What a model may be for."""

_MOST_PIXELS = 4096
_TEMPERATURES = (1e-3, 1e3)
"""Twice as far either way, in powers of ten, as a temperature is fitted."""
_MOST_METRICS = 100
_MOST_VIEWS = 20
MOST_WORDS = 20
"""For what photos of no car show."""

OK = "ok"
"""The status of a photo that was read and predicted. Any other status is the reason it was not."""


@dataclass(frozen=True, slots=True, init=False)
class Locator:
    """Where the bytes of a photo lie.

    Attributes:
        file: the path of a file on disk, or the address of one (see `photos.addresses`): the photo
            itself, or the outermost zip. As text: a Path takes three times the memory, and there
            may be a hundred thousand.
        members: names inside zips, outermost first; empty for a plain file,
            ("train.zip", "train/0/1.jpg") for a photo in a zip in a zip.
    """

    file: str
    members: tuple[str, ...]

    def __init__(self, path: Path | str, members: tuple[str, ...] = ()) -> None:
        object.__setattr__(self, "file", str(path))
        object.__setattr__(self, "members", members)

    @property
    def path(self) -> Path:
        """The file on disk; of an address no path that there is."""
        return Path(self.file)

    def __str__(self) -> str:
        return "!".join((self.file, *self.members))


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of a catalog.

    Attributes:
        id: unique in its catalog; the file's name in the competition's layout.
        locator: where its bytes lie; None when the CSV names a photo that no file matches.
        label: the class label as written in the CSV ("4") or the class folder's name; None if
            it is not known.
        listing: the advert it belongs to, if known; photos of one listing show one car.
        extra: further CSV columns, as text.
    """

    id: str
    locator: Locator | None
    label: str | None = None
    listing: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return describe(f"Photo {self.id}" + ("" if self.label is None else f" of {self.label}"))


@dataclass(frozen=True, slots=True)
class CarClass:
    """A class: the label used in CSV files and the name shown to people."""

    label: str
    name: str

    @property
    def shown(self) -> str:
        """Both, where they differ: "4 Niva"."""
        return self.name if self.name == self.label else f"{self.label} {self.name}"

    @classmethod
    def from_dict(cls, values: Any) -> CarClass:
        """From plain values.

        Raises:
            ValueError: they are not a class's.
        """
        read = read_fields(values, {"label": read_name, "name": read_name})
        require_fields(read, ("label", "name"))
        return cls(**read)


@dataclass(frozen=True)
class Catalog:
    """Photos and classes in a fixed order. Ids are unique (the sources see to it)."""

    photos: tuple[Photo, ...]
    classes: tuple[CarClass, ...]

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(photo.id for photo in self.photos)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class labels in class order (not one per photo)."""
        return tuple(car.label for car in self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in class order."""
        return tuple(car.name for car in self.classes)

    def select(self, ids: Sequence[str]) -> Catalog:
        """The photos with these ids, in the order of `ids`.

        Raises:
            KeyError: an id is not in the catalog.
        """
        by_id = {photo.id: photo for photo in self.photos}
        return Catalog(tuple(by_id[id_] for id_ in ids), self.classes)

    def spread(self, num_photos: int) -> Catalog:
        """So many photos at most, from all over it."""
        step = max(len(self) / max(num_photos, 1), 1)
        rows = [int(number * step) for number in range(min(num_photos, len(self)))]
        return Catalog(tuple(self.photos[row] for row in rows), self.classes)

    def with_files(self) -> Catalog:
        """Without the photos that no file matches; the sources make findings of those."""
        return Catalog(tuple(p for p in self.photos if p.locator is not None), self.classes)

    def targets(self) -> NDArray[np.int64]:
        """Class index per photo, shape [N]; -1 where the label is not known."""
        index = {label: position for position, label in enumerate(self.labels)}
        return np.array(
            [-1 if photo.label is None else index[photo.label] for photo in self.photos],
            dtype=np.int64,
        )

    def __repr__(self) -> str:
        return f"Catalog: {_count(len(self), 'photo')} of {_count(len(self.classes), 'class')}"

    def _repr_html_(self) -> str | None:
        return draw_html(self)

    def show(self, num_photos: int = 24, *, label: str | None = None) -> Any:
        """Photos side by side, for a notebook; `.save(path)` writes them as a page.

        Args:
            num_photos: at most; they are taken from all over the catalog, as many of each class.
            label: of one class alone.

        Raises:
            InputError: there is no such label.
        """
        return show_photos(self, num_photos, label=label)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or odd, with a photo.

    Attributes:
        photo_id: the photo it is about.
        check: the check's short name, such as "unreadable" or "no-file".
        score: how strongly, in 0..1.
        related_ids: other photos involved (the twin of a duplicate); of the same part, except
            where the check is "leak": a training photo, and its twins in test.
        sentence: one plain sentence for people.
        part: which part of the lot the photo is in, "train" or "test"; an id may be in both.
    """

    photo_id: str
    check: str
    score: float
    related_ids: tuple[str, ...]
    sentence: str
    part: Literal["train", "test"] = "train"

    def __repr__(self) -> str:
        return describe(f"Finding {self.check}", f"{self.photo_id}: {self.sentence}")


@dataclass(frozen=True)
class Doubt:
    """A labelled photo that is worth a second look.

    Attributes:
        photo_id: the photo.
        label: the one it has.
        suggested: the label that the model would rather give it.
        probability: calibrated, of `suggested`.
        own_probability: calibrated, of `label`.
        score: 0 to 1, by which doubts are ranked, the most doubtful first.
        reasons: why (see `improve.doubts.REASONS`), each with a score of 0 to 1, the strongest
            first.
    """

    photo_id: str
    label: str
    suggested: str
    probability: float
    own_probability: float
    score: float
    reasons: Mapping[str, float]

    def __repr__(self) -> str:
        said = f"labelled {self.label}, rather {self.suggested} ({self.probability:.2f})"
        return describe(f"Doubt {self.photo_id}", f"{said}: {', '.join(self.reasons)}")


@dataclass(frozen=True)
class Sample:
    """A sample submission: which rows a submission must have, and in which columns.

    Attributes:
        columns: the header.
        rows: all cells as they were written, in their order.
        id_at, label_at: the positions of the two columns that matter.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    id_at: int = 0
    label_at: int = 1

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the photos, in the order of the rows."""
        return tuple(row[self.id_at].strip() for row in self.rows)

    def fill(self, labels: Sequence[str]) -> list[tuple[str, ...]]:
        """The rows with these labels, one for each; further columns stay as they are."""
        at = self.label_at
        return [
            (*row[:at], label, *row[at + 1 :]) for row, label in zip(self.rows, labels, strict=True)
        ]

    def __repr__(self) -> str:
        return f"Sample: {_count(len(self.rows), 'row')}, {_count(len(self.columns), 'column')}"


@dataclass(frozen=True)
class PassedOver:
    """Files that nothing was made of.

    Attributes:
        reason: why, such as "no photo".
        kind: their ending, such as ".txt", or the folder that holds them.
        count: how many.
    """

    reason: str
    kind: str
    count: int


@dataclass(frozen=True)
class Reading:
    """What was understood of people's files; printed, it is a few lines for people.

    Attributes:
        source: the path as it was named.
        form: the layout that was recognised, in words.
        parts: what is in "train" and "test": where it lies, and how many photos it has.
        classes: class as people see it -> photos to train on, in class order.
        num_unlabelled: word that stands for no label (or "") -> rows or photos that have it.
        passed_over: files that nothing was made of.
        links: folders that are links, with what became of them.
        notes: what else was decided, one sentence each.
        obstacle: why there is nothing to train on, in a sentence; empty if there is something.
    """

    source: str
    form: str = ""
    parts: tuple[tuple[str, str, int], ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    num_unlabelled: Mapping[str, int] = field(default_factory=dict)
    passed_over: tuple[PassedOver, ...] = ()
    links: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    obstacle: str = ""

    def __str__(self) -> str:
        lines = self._list_lines()
        return "\n".join(f"{name:<14}{show(text, in_one_line=True)}" for name, text in lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def _list_lines(self) -> list[tuple[str, str]]:
        lines = [("read as", f"{self.form} ({self.source})" if self.form else self.source)]
        lines += [(part, f"{_count(num, 'photo')} in {where}") for part, where, num in self.parts]
        if self.classes:
            lines.append(("classes", f"{len(self.classes)}: {_list_counts(self.classes)}"))
        if self.num_unlabelled:
            words = ", ".join(
                f"{word or 'empty'} {count:,}" for word, count in self.num_unlabelled.items()
            )
            total = sum(self.num_unlabelled.values())
            lines.append(("no label", f"{total:,} left out ({words})"))
        reasons: dict[str, list[str]] = {}
        for one in self.passed_over:
            reasons.setdefault(one.reason, []).append(f"{one.count:,} {one.kind}")
        lines += [("passed over", f"{why}: {_shorten(kinds)}") for why, kinds in reasons.items()]
        lines += [("link", link) for link in _shorten_lines(self.links)]
        lines += [("note", note) for note in _shorten_lines(self.notes)]
        return lines + ([("no training", self.obstacle)] if self.obstacle else [])

    def __repr__(self) -> str:
        return describe("Reading", f"{self.source}: {self.form}")


@dataclass(frozen=True)
class Checked:
    """What an audit found amiss before a training, and what became of people's decisions.

    Attributes:
        errors: check -> findings, of those that make figures wrong or lose photos.
        meanings: check -> what it found, for people.
        num_decisions: decisions on labels that there are.
        num_applied: those that fit the data.
        poor: check -> share of the photos to train on in which models cannot be told apart, where
            that is so many that figures are of little worth.
    """

    errors: Mapping[str, int]
    meanings: Mapping[str, str]
    num_decisions: int
    num_applied: int
    poor: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return describe("Checked", ", ".join(f"{n:,} {check}" for check, n in self.errors.items()))

    def __str__(self) -> str:
        lines = [
            f"{'error':<14}{count:,} {check}: {self.meanings[check]}"
            for check, count in self.errors.items()
        ] or [f"{'audit':<14}no errors"]
        lines += [
            f"{'warning':<14}{100 * share:.0f} % of the photos {check}: {self.meanings[check]}"
            for check, share in self.poor.items()
        ]
        if self.num_decisions:
            lines.append(f"{'decisions':<14}{self.num_applied:,} of {self.num_decisions:,} applied")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Begun:
    """A training begins.

    Attributes:
        run_path: its run folder.
    """

    run_path: Path

    def __str__(self) -> str:
        return f"{'run':<14}{show(str(self.run_path), in_one_line=True)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"run_path": str(self.run_path)}


@dataclass(frozen=True)
class Beside:
    """Photos of other cars that a training learns as none of its classes.

    Attributes:
        num_learnt: photos.
        num_held_out: photos that tell how well it works.
        left_out: why -> how many were not taken.
        source: whether they can be told from the data by how they are stored, in a sentence.
    """

    num_learnt: int
    num_held_out: int
    left_out: Mapping[str, int]
    source: str = ""

    def __repr__(self) -> str:
        return describe("Beside", f"{self.num_learnt:,} other cars learnt")

    def __str__(self) -> str:
        told = f"{self.num_learnt:,} photos learnt, {self.num_held_out:,} held out"
        if self.left_out:
            told += "; left out: " + ", ".join(f"{n:,} {why}" for why, n in self.left_out.items())
        lines = [f"{'other cars':<14}{told}"]
        if self.source:
            lines.append(f"{'source':<14}{self.source}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


Told = Reading | Checked | Beside | Begun
Tell = Callable[[Told], None]
"""What is told of people's files, and of the run folder, before work begins."""

_NO_SHARES = ("log loss", "Brier score")
"""Names of metrics that are no shares of photos."""

_MOST_SHOWN = 12
"""Classes, kinds or links that are told one by one."""


def _list_counts(counts: Mapping[str, int]) -> str:
    """All of them, or the first and last few and how many more there are."""
    shown = [f"{name} {count:,}" for name, count in counts.items()]
    if len(shown) <= _MOST_SHOWN:
        return ", ".join(shown)
    return ", ".join([*shown[:4], f"... {len(shown) - 6:,} more ...", *shown[-2:]])


def _shorten(items: Sequence[str]) -> str:
    more = len(items) - _MOST_SHOWN
    return ", ".join(items[:_MOST_SHOWN]) + (f" and {more:,} kinds more" if more > 0 else "")


def _shorten_lines(items: Sequence[str]) -> list[str]:
    more = len(items) - _MOST_SHOWN
    return [*items[:_MOST_SHOWN], *([f"and {more:,} more"] if more > 0 else [])]


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


@dataclass(frozen=True)
class Lot:
    """What a data source holds.

    Attributes:
        source: the path it was read from.
        train: labelled photos (may be empty for a plain folder of photos to predict).
        test: photos to predict (may be empty).
        sample: sample-submission.csv, or None without one.
        findings: what did not match on the way in (CSV rows without a file, files without a row).
        reading: what was understood of the files.
    """

    source: Path
    train: Catalog
    test: Catalog
    sample: Sample | None = None
    findings: tuple[Finding, ...] = ()
    reading: Reading = field(default_factory=lambda: Reading(""))

    def __repr__(self) -> str:
        return (
            f"Lot: {_count(len(self.train), 'train photo')} of"
            f" {_count(len(self.train.classes), 'class')}, {len(self.test):,} test"
        )

    def _repr_html_(self) -> str | None:
        return draw_html(self)

    def show(
        self,
        num_photos: int = 24,
        *,
        part: Literal["train", "test"] = "train",
        label: str | None = None,
    ) -> Any:
        """Photos of a part side by side; see `Catalog.show`."""
        return (self.test if part == "test" else self.train).show(num_photos, label=label)


@dataclass(frozen=True)
class Split:
    """Ids per part.

    Attributes:
        parts: part name -> ids: "train" and "validation", or "fold-1", "fold-2" and so on; and
            "locked" where photos were put aside.
        seed: the seed it was drawn with.
        fingerprint: the fingerprint of the catalog it was drawn from.
    """

    parts: Mapping[str, tuple[str, ...]]
    seed: int
    fingerprint: str

    def __repr__(self) -> str:
        parts = ", ".join(f"{len(ids):,} {part}" for part, ids in self.parts.items())
        return describe("Split", f"{parts}; seed {self.seed}")


@dataclass(frozen=True, slots=True)
class Box:
    """Where a photo shows its car.

    Attributes:
        left, top, right, bottom: its edges, as shares of the upright photo's width and height
            counted from the photo's left and top; left < right, top < bottom.
        score: how surely there is a vehicle, 0 to 1.
    """

    left: float
    top: float
    right: float
    bottom: float
    score: float = 1.0

    def __post_init__(self) -> None:
        is_inside = 0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1
        if not (is_inside and 0 <= self.score <= 1):
            raise ValueError(f"no box of a car: {self}")

    @property
    def mirrored(self) -> Box:
        """Where the mirrored photo shows it."""
        return Box(1 - self.right, self.top, 1 - self.left, self.bottom, self.score)

    @property
    def values(self) -> tuple[float, float, float, float, float]:
        """Its edges and its score."""
        return self.left, self.top, self.right, self.bottom, self.score

    def __str__(self) -> str:
        return " ".join(f"{edge:.3f}" for edge in self.values[:4])


class CarLocator(Protocol):
    """Finds the car in a photo: each photo's box depends on that photo alone; safe in threads."""

    def __call__(self, photo: NDArray[np.uint8]) -> Box | None:
        """An upright photo [H, W, 3] uint8 in, RGB; None where it shows no car."""
        ...


@dataclass(frozen=True)
class ImageSpec:
    """How a photo becomes the network's input; the one description used everywhere.

    Attributes:
        height, width: pixels; may differ (cars are wide).
        fit: "pad" keeps the aspect and never cuts the car; "stretch" fills the frame and changes
            the aspect; "crop" fills it and cuts what sticks out.
        mean, std: per RGB channel, of values scaled to 0..1.
        interpolation: the resampling filter.
        locate: how the car is found first; a photo in which it is found is not fitted as `fit` says
            but cropped to it (see `photos.prepare`).
        box_fit: "keep" crops to the car in the photo's own aspect, with more of the photo around it
            where the frame has room; "stretch" has the box fill the frame, out of its aspect.
    """

    height: int
    width: int
    fit: Fit = "pad"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    interpolation: Interpolation = "bicubic"
    locate: Locate = "none"
    box_fit: BoxFit = "keep"

    @classmethod
    def from_dict(cls, values: Any) -> ImageSpec:
        """From plain values.

        Raises:
            ValueError: they describe no preprocessing.
        """
        read_side = partial(read_whole, least=1, most=_MOST_PIXELS)
        read_mean = partial(read_number, least=0.0, most=1.0)
        read_std = partial(read_number, least=1e-3, most=1e3)
        readers: Mapping[str, Callable[[Any], Any]] = {
            "height": read_side,
            "width": read_side,
            "fit": partial(read_word, words=get_args(Fit)),
            "mean": partial(read_list, read=read_mean, least=3, most=3),
            "std": partial(read_list, read=read_std, least=3, most=3),
            "interpolation": partial(read_word, words=get_args(Interpolation)),
            "locate": partial(read_word, words=get_args(Locate)),
            "box_fit": partial(read_word, words=get_args(BoxFit)),
        }
        read = read_fields(values, readers)
        require_fields(read, set(readers) - {"locate", "box_fit"})  # those of before have none
        return cls(**read)


@dataclass(frozen=True)
class Metric:
    """A measured value with its 95 % interval.

    Attributes:
        name: such as "accuracy".
        value, low, high: the estimate and the interval's ends.
        count: how many photos it rests on.
    """

    name: str
    value: float
    low: float
    high: float
    count: int

    def to_dict(self) -> dict[str, float]:
        """Plain values, ready for JSON, under a name that is known."""
        return {"value": self.value, "low": self.low, "high": self.high, "count": self.count}

    @classmethod
    def from_dict(cls, values: Any) -> Metric:
        """From plain values with the name among them.

        Raises:
            ValueError: they are not a metric's.
        """
        readers: Mapping[str, Callable[[Any], Any]] = {
            "name": read_name,
            "value": read_number,
            "low": read_number,
            "high": read_number,
            "count": read_count,
        }
        read = read_fields(values, readers)
        require_fields(read, readers)
        return cls(**read)

    def __repr__(self) -> str:
        number = f"{self.count:,} photo{'' if self.count == 1 else 's'}"
        if self.name in _NO_SHARES:
            return f"{self.name} {self.value:.3f} ({self.low:.3f}–{self.high:.3f}, {number})"
        value, low, high = (f"{100 * part:.1f}" for part in (self.value, self.low, self.high))
        return f"{self.name} {value} % ({low}–{high} %, {number})"


@dataclass(frozen=True)
class Gate:
    """What keeps photos out that a model should not name.

    Attributes:
        refuses: whom it is meant for: "unknown" models, or what is "not a car".
        method: one of METHODS.
        threshold: photos with a lower score are refused.
        known: the share of known photos that pass, measured on validation.
        strangers: the share of photos that should be refused and pass, where there were any.
    """

    refuses: Literal["unknown", "not a car"]
    method: str
    threshold: float
    known: Metric
    strangers: Metric | None = None

    @classmethod
    def from_dict(cls, values: Any) -> Gate:
        """From plain values.

        Raises:
            ValueError: they are not a gate's.
        """
        readers: Mapping[str, Callable[[Any], Any]] = {
            "refuses": partial(read_word, words=("unknown", "not a car")),
            "method": partial(read_word, words=METHODS),
            "threshold": read_number,
            "known": _read_share,
            "strangers": lambda value: None if value is None else _read_share(value),
        }
        read = read_fields(values, readers)
        require_fields(read, set(readers) - {"strangers"})
        return cls(**read)

    def __repr__(self) -> str:
        return describe(f"Gate against {self.refuses}", f"{self.method} of {self.threshold:.4g}")


@dataclass(frozen=True)
class KnownOdds:
    """How likely a photo shows one of the classes rather than another car.

    It is 1 / (1 + exp(-(slope * score + offset))), as if every second photo showed another car.

    Attributes:
        method: one of METHODS, that gives the score.
        slope, offset: fitted on photos of the classes and of other cars, neither of them learnt.
    """

    method: str
    slope: float
    offset: float

    @classmethod
    def from_dict(cls, values: Any) -> KnownOdds:
        """From plain values.

        Raises:
            ValueError: they are no such odds.
        """
        readers: Mapping[str, Callable[[Any], Any]] = {
            "method": partial(read_word, words=METHODS),
            "slope": read_number,
            "offset": read_number,
        }
        read = read_fields(values, readers)
        require_fields(read, readers)
        return cls(**read)


def _read_share(values: Any) -> Metric:
    """A metric that is a share of photos."""
    metric = Metric.from_dict(values)
    for value in (metric.value, metric.low, metric.high):
        read_number(value, 0.0, 1.0)
    return metric


@dataclass(frozen=True)
class Word:
    """What photos of no car show that a user has sorted into a folder (see `refusal.words`).

    Attributes:
        name: of the folder.
        direction: [F] float16 of their features, as base64.
        least: photos as near as this bear the word.
    """

    name: str
    direction: str = field(repr=False)
    least: float

    @classmethod
    def from_dict(cls, values: Any) -> Word:
        """From plain values; unknown keys are ignored.

        Raises:
            ValueError: they are not a word's.
        """
        readers: Mapping[str, Callable[[Any], Any]] = {
            "name": read_name,
            "direction": read_name,
            "least": partial(read_number, least=-1.0, most=1.0),
        }
        read = read_fields(values, readers)
        require_fields(read, readers)
        return cls(**read)


@dataclass(frozen=True)
class Refusal:
    """When a model does not answer with one of its classes (see `refusal.gates`).

    Attributes:
        gates: each photo must pass all of them; those against what is no car come first.
        coverage: the share of photos of known models whose set of candidates holds the truth.
        candidate: classes of this probability or more are candidates.
        sure: the least probability with which one model is named.
        odds: how likely a photo shows any of the classes; None where no other cars are known by
            which to tell.
        tolerated: flaws (see `photos.quality`) that the model's own photos have often enough to be
            no reason for a refusal.
        num_photos: of validation, on which all this rests.
        references_sha256: of the file with what is remembered of training photos.
        vehicle: a photo of which this share or more is a vehicle is never "not a car", unless a
            part of one fills it (see `refusal.vehicles`); None if nobody looks.
        looked: it is looked at photos with less than this score by the gate against no cars, also
            where they pass; None if only at those that do not.
        shown_sha256: of the file with the network that looks, where a bundle has its own.
        words: what photos of no car may show, by photos that the user gave.
    """

    gates: tuple[Gate, ...] = ()
    coverage: float = 0.95
    candidate: float = 0.0
    sure: float = 0.5
    tolerated: tuple[str, ...] = ()
    num_photos: int = 0
    references_sha256: str = ""
    odds: KnownOdds | None = None
    vehicle: float | None = None
    looked: float | None = None
    shown_sha256: str = ""
    words: tuple[Word, ...] = ()

    @classmethod
    def from_dict(cls, values: Any) -> Refusal:
        """From plain values; unknown keys are ignored.

        Raises:
            ValueError: they are not a refusal's.
        """
        read_share = partial(read_number, least=0.0, most=1.0)
        readers: Mapping[str, Callable[[Any], Any]] = {
            "gates": partial(read_list, read=Gate.from_dict, least=0, most=2 * len(METHODS)),
            "coverage": read_share,
            "candidate": read_share,
            "sure": read_share,
            "tolerated": partial(read_list, read=read_name, least=0, most=_MOST_VIEWS),
            "num_photos": read_count,
            "references_sha256": read_hash,
            "odds": lambda value: None if value is None else KnownOdds.from_dict(value),
            "vehicle": lambda value: None if value is None else read_share(value),
            "looked": lambda value: None if value is None else read_number(value),
            "shown_sha256": read_hash,
            "words": partial(read_list, read=Word.from_dict, least=0, most=MOST_WORDS),
        }
        read = read_fields(values, readers)
        require_fields(read, set(readers) - {"odds", "vehicle", "looked", "shown_sha256", "words"})
        return cls(**read)

    def __repr__(self) -> str:
        gates = ", ".join(f"{gate.method} against {gate.refuses}" for gate in self.gates)
        return describe("Refusal", gates or "no gates")


@dataclass(frozen=True)
class ModelCard:
    """All that one must know to use a model's weights, stored beside them as card.json.

    Attributes:
        format_version: version of the bundle format.
        classes: in the order of the logits.
        image: the inference preprocessing.
        backbone: its name, as `vision.backbones` understands it.
        feature_levels: how many levels of the backbone the head sees (see `Recipe`).
        pooling: how their maps become features (likewise).
        head: its shape, the plain values of `recipes.schema.Head`.
        members: how many classifiers answer together; more than one is an ensemble of folds, or
            of runs.
        num_others: photos of other cars that it learnt as none of its classes; if there are any,
            the network has one more output, after those of the classes.
        recipe: the resolved recipe, as plain values.
        fingerprint: of the catalog it was trained on.
        split_sha256: of the split that it was trained with (see `audit.parts.hash_split`); "" in
            cards of before.
        answers_sha256: of validation.npz, its answers to the photos held out; "" likewise.
        views: names of the test-time views whose log-probabilities are averaged; ("whole",) is
            a single plain view.
        temperature: logits are divided by it before softmax; fitted on validation. That of an
            ensemble of folds is its members', since each photo is answered by one of them there:
            all of them together are right more often than they then say.
        dependence: of photos of one car, 1 if wholly (see `answering.fusing`); fitted on validation
            where it has adverts with several photos.
        commonest_label: of the training photos, for filling gaps in a submission.
        chosen: which weights validation chose ("probe", "finetuned", "wise-ft 0.6") and why.
        num_candidates: sets of weights that it was chosen among, of folds the most; the more, the
            more validation flatters. 0 where that is not known.
        metrics: measured on validation, with intervals; out of fold where there are members.
        weights_sha256: of model.safetensors; checked on loading.
        locator_sha256: of the file with the network that finds the car, where `image` says that it
            is found first.
        synthetic: True if it was trained on the drawn sample lot.
        shares: of an ensemble of runs, what each of its members counts in the answer; their sum
            is 1. Empty for a single run. Each member has a bundle of its own with its own card,
            by which it prepares photos and takes views; `weights_sha256` is of those cards.
        refusal: when no class is named; None for models of before, which always name one.
        engine: what the weights are for: "torch" (model.safetensors), or the engine that they were
            exported for.
        precision: of an exported network: "fp32", or "int8" where most layers have eight bits.
        checked: of an exported network, how its answers were compared with torch's: plain values.
    """

    format_version: int
    lotlens_version: str
    classes: tuple[CarClass, ...]
    image: ImageSpec
    backbone: str
    recipe: Mapping[str, Any]
    fingerprint: str
    feature_levels: int = 1
    pooling: Pooling = "mean"
    head: Mapping[str, Any] = field(default_factory=lambda: {"kind": "linear"})
    members: int = 1
    num_others: int = 0
    views: tuple[str, ...] = ("whole",)
    temperature: float = 1.0
    commonest_label: str = ""
    chosen: str = ""
    num_candidates: int = 0
    metrics: tuple[Metric, ...] = ()
    weights_sha256: str = ""
    synthetic: bool = False
    shares: tuple[float, ...] = ()
    refusal: Refusal | None = None
    engine: str = "torch"
    precision: str = "fp32"
    checked: Mapping[str, Any] = field(default_factory=dict)
    split_sha256: str = ""
    answers_sha256: str = ""
    dependence: float = 1.0
    locator_sha256: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> ModelCard:
        """The inverse of `to_dict`; unknown keys are ignored, so newer cards still load.

        Whether the names of views, backbone and head are known is for those to say who know them.

        Raises:
            ValueError: a needed key is missing, or a value is not what it should be.
        """
        read = read_fields(values, _CARD_READERS)
        require_fields(read, _NEEDED)
        card = cls(**read)
        labels = card.labels
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise ValueError(f"classes: the label {quote(twice)} is there twice")
        if len(set(card.views)) < len(card.views):
            raise ValueError("views: one is named twice")
        if card.commonest_label not in ("", *labels):
            raise ValueError(f"commonest_label: {quote(card.commonest_label)} is no class")
        return card

    @property
    def started_from(self) -> str:
        """The name of the run whose network training started from; "" if from none."""
        return self.backbone.partition(STARTED)[2]

    @property
    def has_others(self) -> bool:
        """Whether the network has one more output than there are classes."""
        return self.num_others > 0

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the classes, in their order."""
        return tuple(car.label for car in self.classes)

    def __repr__(self) -> str:
        recipe = self.recipe.get("name", "no recipe")
        told = f"{recipe}, {self.backbone}, {_count(len(self.classes), 'class')}"
        return describe("ModelCard", ", ".join([told, *map(repr, self.metrics[:1])]))


_CARD_READERS: Mapping[str, Callable[[Any], Any]] = {
    "format_version": partial(read_whole, least=1, most=1_000),
    "lotlens_version": read_text,
    "classes": partial(read_list, read=CarClass.from_dict, least=1, most=MOST_CLASSES),
    "image": ImageSpec.from_dict,
    "backbone": read_name,
    "recipe": read_mapping,
    "fingerprint": read_hash,
    "feature_levels": partial(read_whole, least=1, most=MOST_LEVELS),
    "pooling": partial(read_word, words=get_args(Pooling)),
    "head": read_mapping,
    "members": partial(read_whole, least=1, most=MOST_FOLDS),
    "num_others": read_count,
    "views": partial(read_list, read=read_name, least=1, most=_MOST_VIEWS),
    "temperature": partial(read_number, least=_TEMPERATURES[0], most=_TEMPERATURES[1]),
    "dependence": partial(read_number, least=0.0, most=1.0),
    "commonest_label": read_text,
    "chosen": read_text,
    "metrics": partial(read_list, read=Metric.from_dict, least=0, most=_MOST_METRICS),
    "weights_sha256": read_hash,
    "num_candidates": read_count,
    "split_sha256": read_hash,
    "answers_sha256": read_hash,
    "locator_sha256": read_hash,
    "synthetic": read_flag,
    "shares": partial(read_list, read=read_number, least=0, most=MOST_FOLDS),
    "refusal": lambda value: None if value is None else Refusal.from_dict(value),
    "engine": partial(read_word, words=ENGINES),
    "precision": partial(read_word, words=("fp32", "int8")),
    "checked": read_mapping,
}
_NEEDED = (
    *("format_version", "lotlens_version", "classes", "image", "backbone"),
    *("recipe", "fingerprint"),
)


class Watcher(Protocol):
    """Told of the work as it goes on."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total` units of the work named `what` are finished."""
        ...


def watch_part(watch: Watcher | None, what: str) -> Callable[[int, int], None] | None:
    """Told (done, total) of one kind of work, it passes that on under the work's name."""
    if watch is None:
        return None
    return lambda done, total: watch(what, done, total)


@contextmanager
def watch_whole(watch: Watcher | None, what: str) -> Iterator[None]:
    """Tells a watcher of one piece of work, as it begins and when it is done."""
    if watch is not None:
        watch(what, 0, 1)
    yield
    if watch is not None:
        watch(what, 1, 1)


class Predictor(Protocol):
    """A model ready to answer: torch, ONNX Runtime and others look alike behind it."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def num_streams(self) -> int:
        """How many threads may call it at the same time, each of which keeps one core busy."""
        ...

    @property
    def batch_size(self) -> int:
        """Photos that it had best be asked about at once, however many there are."""
        ...

    @property
    def locate(self) -> CarLocator | None:
        """Finds the car in photos for it; asked for only where its card's image says so."""
        ...

    def __call__(self, batch: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Prepared photos [N, 3, H, W] float32 in; logits [N, K] and features [N, F] out.

        Where the card has others there is one logit more, of those.
        """
        ...


@dataclass(frozen=True)
class Predictions:
    """Answers for photos: every id that went in, exactly once and in order, with a status.

    Attributes:
        ids: one per photo.
        logits: [N, K] float32, averaged over views in log space; NaN rows where status is not ok.
        features: [N, F] float32 of the plain view, or None if not kept; NaN rows likewise.
        status: "ok", or the reason the photo has no answer.
        classes: in the order of the logits' columns.
        flaws: what makes each photo too poor to tell models apart by (see `photos.quality`), or
            ""; None if that was not looked at.
        familiarity: [N, M + W] float32, FAMILIARITIES of the plain view and the likeness to each
            of the refusal's words; NaN rows where status is not
            ok, and columns of what the model cannot tell; None if not measured.
        shows: [N, S] float32, the share of each of SHOWN; NaN rows where nobody looked; None if
            at no photo.
        boxes: [N, 5] float32, where the car was found (`Box.values`); NaN rows where none was, and
            the whole photo was looked at; None where none is looked for.
    """

    ids: tuple[str, ...]
    logits: FloatArray
    features: FloatArray | None
    status: tuple[str, ...]
    classes: tuple[CarClass, ...]
    flaws: tuple[str, ...] | None = None
    familiarity: FloatArray | None = None
    shows: FloatArray | None = None
    boxes: FloatArray | None = None

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.status) == len(self.logits):
            raise ValueError(
                f"{len(self.ids)} ids, {len(self.status)} statuses and {len(self.logits)} rows"
                " of logits must be equal in number"
            )
        num_photos, scores = len(self.ids), self.familiarity
        if self.flaws is not None and len(self.flaws) != num_photos:
            raise ValueError(f"{len(self.flaws)} flaws for {num_photos} photos")
        if scores is not None and (
            scores.ndim != 2
            or len(scores) != num_photos
            or not 0 <= scores.shape[1] - len(FAMILIARITIES) <= MOST_WORDS
        ):
            raise ValueError(f"familiarity of shape {scores.shape} for {num_photos} photos")
        if self.shows is not None and self.shows.shape != (num_photos, len(SHOWN)):
            raise ValueError(f"shows of shape {self.shows.shape} for {num_photos} photos")
        if self.boxes is not None and self.boxes.shape != (num_photos, len(Box.__slots__)):
            raise ValueError(f"boxes of shape {self.boxes.shape} for {num_photos} photos")

    def get_box(self, row: int) -> Box | None:
        """Where the car of one photo was found; None if it was not, or not looked for."""
        if self.boxes is None or not np.isfinite(self.boxes[row]).all():
            return None
        return Box(*self.boxes[row].tolist())

    @property
    def answered(self) -> NDArray[np.bool_]:
        """[N] True where the photo was read and has logits."""
        return np.array([status == OK for status in self.status], dtype=bool)

    def __repr__(self) -> str:
        num_silent = len(self.ids) - int(self.answered.sum())
        answers = f"{_count(len(self.ids), 'photo')}, {_count(len(self.classes), 'class')}"
        return f"Predictions: {answers}" + (f", {num_silent:,} unanswered" if num_silent else "")


@dataclass(frozen=True)
class HeatMaps:
    """Where a model looked at one photo, over the frame of the network's input.

    Attributes:
        said: [height, width] in 0..1, what speaks for the answer.
        truth: likewise for the true class.
        box: of the car, if the photo was cropped to it.
    """

    said: FloatArray
    truth: FloatArray
    box: Box | None = None

    def __repr__(self) -> str:
        return f"HeatMaps of {'x'.join(map(str, self.said.shape))} pixels"
