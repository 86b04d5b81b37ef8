"""Whether two sets of photos can be told apart without looking at the cars.

Where they can, by size, compression, borders, what a network learns from the difference of the two
may be that and nothing else. It knows photos' files and pixels, no label and no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from math import log, nan, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from lotlens.errors import UnreadablePhoto
from lotlens.extras import import_extra
from lotlens.intervals import measure_auroc
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decoding
from lotlens.photos.reading import read_photo
from lotlens.photos.style import StoredAs, Style, look_at, restyle_bytes, take_evenly
from lotlens.records import ImageSpec, Metric, Photo
from lotlens.threads import map_ahead

FEWEST = 40
"""Photos of either set below which nothing is said."""

MOST = 300
"""Photos of either set that are looked at."""

TOLD = 0.6
"""AUROC that the interval's lower end must exceed before two sets count as told apart. Photos of
one source whose cars differ come out at 0.48 to 0.57 (measured: docs/LOG.md)."""

_NUM_FOLDS = 5
_NUM_TREES = 30
_CROP = 1024  # pixels a side, from the middle, that are measured
_GRID = 8  # of JPEG
_EDGE = 0.06  # of the sides, which counts as the photo's edge
_DARK, _BRIGHT = 16, 239  # grey levels beyond which an edge may be a bar
_EVEN = 2.0  # grey levels that a row of one colour varies by at most
_SMALL = 1e-3
_NOT_SAID = -1e3  # below every trace; trees take it for a value of its own
_NUM_THREADS = 4

_Grey = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Traces:
    """What one photo shows of how it was made and stored. NaN is what cannot be said.

    Attributes:
        side: the longer side in pixels.
        aspect: logarithm of width over height.
        bytes_per_pixel: of the file.
        quality: of a JPEG, see `style.StoredAs`.
        subsampling: likewise.
        blockiness: steps of brightness between 8-pixel blocks over those within (after Wang, Bovik
            & Evan 2000).
        fine: share of the brightness' energy at more than half of the highest frequency.
        finest: at more than three quarters.
        colour_detail: steps of colour between neighbours over those of brightness.
        noise: standard deviation in grey levels, by the fastest of differences (Immerkaer 1996), in
            the flattest quarter of the photo.
        bars: share of the sides taken up by rows and columns of one colour at the edges.
        extreme_edge: share of the edge's pixels that are nearly black or nearly white.
        edge_softness: steps of brightness at the edge over those inside.
        edge_red: red less green at the edge, grey levels.
        edge_blue: blue less green.
        edge_saturation: span between the edge's channels.
    """

    side: float
    aspect: float
    bytes_per_pixel: float
    quality: float
    subsampling: float
    blockiness: float
    fine: float
    finest: float
    colour_detail: float
    noise: float
    bars: float
    extreme_edge: float
    edge_softness: float
    edge_red: float
    edge_blue: float
    edge_saturation: float


KINDS: dict[str, tuple[str, ...]] = {
    "size": ("side",),
    "shape": ("aspect",),
    "compression": ("bytes_per_pixel", "quality", "subsampling", "blockiness", "colour_detail"),
    "sharpness": ("fine", "finest"),
    "noise": ("noise",),
    "borders": ("bars", "extreme_edge", "edge_softness"),
    "colours at the edge": ("edge_red", "edge_blue", "edge_saturation"),
}
"""In what words each trace is told of."""

_NAMES = [field.name for field in fields(Traces)]
_OF_FILES = ("bytes_per_pixel", "quality", "subsampling")


@dataclass(frozen=True)
class Difference:
    """How well two sets of photos are told apart by their traces.

    Attributes:
        auroc: of a classifier, each photo judged by one that has not seen it; None where either
            set is too small. Its count is that of the others.
        by_kind: the same of each kind of trace alone, the most telling first.
        num_known: photos looked at.
        num_others: likewise.
    """

    auroc: Metric | None
    by_kind: tuple[tuple[str, Metric], ...]
    num_known: int
    num_others: int

    @property
    def is_told(self) -> bool:
        return self.auroc is not None and self.auroc.low > TOLD

    @property
    def telling(self) -> tuple[str, ...]:
        """The kinds of trace that tell by themselves, at most three; if none does, the best."""
        if not self.is_told:
            return ()
        alone = tuple(kind for kind, auroc in self.by_kind if auroc.low > TOLD)
        return alone[:3] or (self.by_kind[0][0],)

    @property
    def sentence(self) -> str:
        """The verdict, and what to do."""
        if self.auroc is None:
            return (
                f"Whether the photos of other cars come from another source is not judged: that"
                f" takes {FEWEST} photos of each that can be read; there are {self.num_known:,} of"
                f" known cars and {self.num_others:,} of other cars."
            )
        area = f"AUROC {self.auroc.value:.2f}"
        if not self.is_told:
            return (
                "The photos of other cars look as if they came from the same source as yours"
                f" ({area} by size, compression and borders alone)."
            )
        *rest, last = self.telling
        kinds = f"{', '.join(rest)} and {last}" if rest else last
        return (
            f"The photos of other cars can be told by {kinds} alone ({area}): what the model learns"
            " from them may be that. Take them from the same source."
        )


def compare_sources(
    known: Sequence[Photo],
    others: Sequence[Photo],
    *,
    known_style: Style | None = None,
    other_style: Style | None = None,
    spec: ImageSpec | None = None,
) -> Difference:
    """Whether photos of other cars can be told from the known ones without looking at the cars.

    Of either set up to MOST are looked at, evenly from the whole set, one of each listing. What the
    files say counts only where neither style nor frame is given: a network gets pixels alone.

    Args:
        known: photos of the cars that a model is to know.
        others: photos of other cars.
        known_style: in which the known are given to the network; None as they are.
        other_style: likewise of the others.
        spec: the network's frame, to look at what it gets; None to look at the photos in full.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    ours = measure_traces(known, known_style, spec)
    theirs = measure_traces(others, other_style, spec)
    if known_style is not None or other_style is not None:
        columns = [_NAMES.index(name) for name in _OF_FILES]
        ours[:, columns] = theirs[:, columns] = nan
    return compare_traces(ours, theirs)


def measure_traces(
    photos: Sequence[Photo], style: Style | None = None, spec: ImageSpec | None = None
) -> NDArray[np.float64]:
    """The traces of up to MOST photos, one of each listing; what cannot be read is left out.

    Args:
        photos: a set of one source.
        style: in which they are looked at; None as they are.
        spec: the frame that they are fitted to; None for their own.

    Returns:
        [N, 16], in the order of `Traces`.
    """
    chosen = take_evenly(_take_one_of_each(photos), MOST)
    rows: list[list[float]] = []
    with PhotoReader() as reader:
        look = partial(_look, reader, style, spec)
        for traces in map_ahead(
            look, chosen, num_threads=_NUM_THREADS, num_ahead=2 * _NUM_THREADS, name="traces"
        ):
            if traces is not None:
                rows.append([getattr(traces, name) for name in _NAMES])
    return np.array(rows, np.float64).reshape(-1, len(_NAMES))


def compare_traces(known: NDArray[np.float64], others: NDArray[np.float64]) -> Difference:
    """Whether a classifier of traces tells two sets apart.

    Extremely randomised trees (Geurts, Ernst & Wehenkel 2006), both sets of equal weight, in five
    folds.

    Args:
        known: [N, 16] of `measure_traces`.
        others: [M, 16].

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    sizes = len(known), len(others)
    if min(sizes) < FEWEST:
        return Difference(None, (), *sizes)
    values = np.concatenate([known, others])
    is_known = np.repeat([True, False], sizes)
    by_kind = [
        (kind, _measure(values[:, [_NAMES.index(name) for name in names]], is_known))
        for kind, names in KINDS.items()
    ]
    by_kind.sort(key=lambda pair: -pair[1].value)
    return Difference(_measure(values, is_known), tuple(by_kind), *sizes)


def look_for_traces(
    photo: NDArray[np.uint8], stored: StoredAs | None = None, num_bytes: float = nan
) -> Traces:
    """The traces of one photo.

    Args:
        photo: [H, W, 3] uint8, upright.
        stored: what its file tells; None if that is not to be asked.
        num_bytes: of the file, likewise.
    """
    height, width = photo.shape[:2]
    middle = _crop(photo).astype(np.float32)
    grey = middle @ np.array([0.299, 0.587, 0.114], np.float32)
    fine, finest = _measure_detail(grey)
    step = max(max(height, width) // _CROP, 1)
    edge = photo[::step, ::step][_mark_edge(height, width, step)].astype(np.float32)
    return Traces(
        side=float(max(height, width)),
        aspect=log(width / height),
        bytes_per_pixel=num_bytes / (height * width),
        quality=nan if stored is None or stored.quality is None else stored.quality,
        subsampling=nan if stored is None or stored.subsampling is None else stored.subsampling,
        blockiness=_measure_blockiness(grey),
        fine=fine,
        finest=finest,
        colour_detail=_measure_colour_detail(middle, grey),
        noise=_measure_noise(grey),
        bars=_measure_bars(photo),
        extreme_edge=float(((edge <= _DARK).all(axis=1) | (edge >= _BRIGHT).all(axis=1)).mean()),
        edge_softness=_measure_softness(photo, step),
        edge_red=float((edge[:, 0] - edge[:, 1]).mean()),
        edge_blue=float((edge[:, 2] - edge[:, 1]).mean()),
        edge_saturation=float((edge.max(axis=1) - edge.min(axis=1)).mean()),
    )


def _look(
    reader: PhotoReader, style: Style | None, spec: ImageSpec | None, photo: Photo
) -> Traces | None:
    if photo.locator is None:
        return None
    if spec is not None:
        # How a photo is stored shows in all of it, wherever its car is.
        fitted = read_photo(reader, photo, replace(spec, locate="none"), style=style).pixels
        return None if fitted is None else look_for_traces(fitted)
    try:
        data = reader.read(photo.locator)
        stored, num_bytes = None, nan
        if style is None:
            stored, num_bytes = look_at(data), len(data)
        else:
            data = restyle_bytes(data, style)
        with decoding(data) as (pixels, _):
            return look_for_traces(pixels, stored, num_bytes)
    except UnreadablePhoto:
        return None


def _take_one_of_each(photos: Sequence[Photo]) -> list[Photo]:
    """The first photo of each listing, and all without: those of a listing are much alike."""
    seen: set[str] = set()
    found = []
    for photo in photos:
        if photo.listing is None or photo.listing not in seen:
            found.append(photo)
        if photo.listing is not None:
            seen.add(photo.listing)
    return found


def _measure(values: NDArray[np.float64], is_known: NDArray[np.bool_]) -> Metric:
    """AUROC of classifiers that have not seen the photos that they judge."""
    values = np.nan_to_num(values, nan=_NOT_SAID)
    values = values[:, np.ptp(values, axis=0) > 0]
    if not values.shape[1]:
        return measure_auroc(np.zeros(is_known.sum()), np.zeros((~is_known).sum()))
    ensemble = import_extra("sklearn.ensemble", "train")
    selection = import_extra("sklearn.model_selection", "train")
    folds = selection.StratifiedKFold(_NUM_FOLDS, shuffle=True, random_state=0)
    model = ensemble.ExtraTreesClassifier(
        _NUM_TREES,
        min_samples_leaf=3,
        max_features=None,
        class_weight="balanced",
        random_state=0,
    )
    chances = selection.cross_val_predict(
        model, values, is_known, cv=folds, method="predict_proba"
    )[:, 1]
    return measure_auroc(chances[is_known], chances[~is_known])


# --- pixels ---


def _crop(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle of a large photo, on the grid of its blocks."""
    top, left = (max(side - _CROP, 0) // 2 // _GRID * _GRID for side in photo.shape[:2])
    return photo[top : top + _CROP, left : left + _CROP]


def _measure_blockiness(grey: _Grey) -> float:
    on, off = [], []
    for axis in (0, 1):
        steps = np.abs(np.diff(grey, axis=axis)).mean(axis=1 - axis)
        is_on = np.arange(len(steps)) % _GRID == _GRID - 1
        on.append(steps[is_on])
        off.append(steps[~is_on])
    within, between = np.concatenate(off), np.concatenate(on)
    if not len(within) or not len(between):
        return nan
    return float((between.mean() + _SMALL) / (within.mean() + _SMALL))


def _measure_detail(grey: _Grey) -> tuple[float, float]:
    """Shares of energy at high frequencies, as logarithms, under a window that hides the edges."""
    height, width = grey.shape
    if min(height, width) < 2 * _GRID:
        return nan, nan
    window = np.hanning(height)[:, None] * np.hanning(width)
    energy = np.abs(np.fft.rfft2((grey - grey.mean()) * window)) ** 2
    # As shares of the highest frequency that pixels can show, half a cycle a pixel.
    down, across = 2 * np.abs(np.fft.fftfreq(height))[:, None], 2 * np.fft.rfftfreq(width)
    radius = np.maximum(down, across)
    total = energy.sum() + _SMALL
    fine, finest = (energy[radius > least].sum() / total for least in (0.5, 0.75))
    return float(np.log10(fine + 1e-9)), float(np.log10(finest + 1e-9))


def _measure_colour_detail(photo: NDArray[np.float32], grey: _Grey) -> float:
    if min(grey.shape) < 2:
        return nan
    colour = photo[:, :, 2] - grey
    steps = [
        sum(float(np.abs(np.diff(plane, axis=axis)).mean()) for axis in (0, 1))
        for plane in (colour, grey)
    ]
    return (steps[0] + _SMALL) / (steps[1] + _SMALL)


def _measure_noise(grey: _Grey) -> float:
    """Immerkaer's mean of a difference that even slopes do not raise, in the flattest quarter."""
    if min(grey.shape) < 2 * _GRID:
        return nan
    twice = np.diff(np.diff(np.diff(np.diff(grey, axis=0), axis=0), axis=1), axis=1)
    rows, columns = (side // _GRID * _GRID for side in twice.shape)
    blocks = np.abs(twice[:rows, :columns]).reshape(rows // _GRID, _GRID, columns // _GRID, _GRID)
    means = np.sort(blocks.mean(axis=(1, 3)), axis=None)
    flattest = means[: max(len(means) // 4, 1)]
    return float(np.log(sqrt(pi / 2) / 6 * flattest.mean() + 0.01))


def _mark_edge(height: int, width: int, step: int) -> NDArray[np.bool_]:
    """Which of every so many rows and columns of a photo are of its edge."""
    sides = []
    for side in (height, width):
        places = np.arange(0, side, step)
        depth = max(round(_EDGE * side), 1)
        sides.append((places < depth) | (places >= side - depth))
    return sides[0][:, None] | sides[1]


def _measure_bars(photo: NDArray[np.uint8]) -> float:
    """Rows and columns of one colour, taken off each side until one is not, as a mean share."""
    rest, share = photo, 0.0
    for turn in range(8):  # twice around: bars that meet in a corner come off one after another
        rest = rest.swapaxes(0, 1)[::-1]  # a quarter turn: the next side lies on top
        count = 0
        while count < len(rest) and float(rest[count].std(axis=0).max()) <= _EVEN:
            count += 1
        share += count / photo.shape[1 - turn % 2]
        rest = rest[count:]
        if not rest.size:
            return 1.0
    return share / 4


def _measure_softness(photo: NDArray[np.uint8], step: int) -> float:
    """Steps of green between neighbours at the edge over those inside, as a logarithm."""
    height, width = photo.shape[0] - 1, photo.shape[1] - 1
    if min(height, width) < 2 * _GRID:
        return nan
    green = photo[:, :, 1]
    here = green[:height:step, :width:step].astype(np.float32)
    below, right = green[1::step, :width:step], green[:height:step, 1::step]
    steps = np.abs(below - here) + np.abs(right - here)
    is_edge = _mark_edge(height, width, step)
    at_edge, inside = float(steps[is_edge].mean()), float(steps[~is_edge].mean())
    return log((at_edge + _SMALL) / (inside + _SMALL))
