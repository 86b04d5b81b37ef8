"""Photos of other cars: vetted, parted into those that are learnt and those held out, and kept.

A model that has learnt what none of its classes look like says so more often of a car that it was
never taught (outlier exposure: Hendrycks et al. 2019; a class for the rest: Dhamija et al. 2018).
It knows photos and labels; no network.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lotlens.audit.offered import (
    Copies,
    Part,
    find_copies,
    join_offer,
    list_own,
    match_classes,
    name_offered,
)
from lotlens.audit.signs import Signs
from lotlens.audit.traces import compare_sources
from lotlens.errors import BundleError, InputError, shorten
from lotlens.files import write_rows_atomically
from lotlens.photos.sources import open_lot
from lotlens.photos.style import Style, measure_style
from lotlens.photos.tables import read_own_table, read_place, require_columns, write_place
from lotlens.records import (
    OK,
    Beside,
    CarClass,
    Catalog,
    ImageSpec,
    Lot,
    Photo,
    Split,
    Tell,
    Watcher,
)
from lotlens.texts import describe

HELD_OUT = 0.2
"""Share of the others, whole classes where there are labels, that is not learnt but asked about."""
FEWEST_HELD_OUT = 30
"""Held out at least, as far as that is no more than half of them: by fewer no gate is set."""
FEWEST = 2 * FEWEST_HELD_OUT
"""Others that are worth learning: of fewer, too few are left to tell how well it works."""

LEARNT_PART, HELD_PART, NO_CAR_PART = "learnt", "held out", "no car"
REASONS: Mapping[str, str] = {
    "copy": "copies of photos of the data",
    "known class": "labelled as a class that is learnt",
    "unreadable": "cannot be read",
    "repeated": "the same picture twice",
    "no car": "without a car, kept as such",
    "named": "without a label, and named by the model",
}
"""Why a photo is turned away -> what that means."""
_PARTS = (LEARNT_PART, HELD_PART, NO_CAR_PART)
_COLUMNS = ("Id", "Path", "Members", "Label", "Part", "Style")
_FEWEST_CLASSES = 5  # from which whole classes are held out


@dataclass(frozen=True)
class Others:
    """Photos of cars that are none of the classes, with ids that no own photo has.

    Attributes:
        learnt: as none of the classes; their label is what they were offered as, if anything.
        held_out: likewise, never learnt: they tell how well other cars are told.
        no_cars: likewise, neither learnt nor other cars: they show no car, or a part of one.
        turned_away: one of REASONS -> how many.
        signs: id of one -> what was seen of it.
        style: as if stored so these are read while training, lest they are known by how they are
            stored; None as they are.
        source: whether they can be told from the data by how they are stored, a sentence; "" where
            that was not looked at.
    """

    learnt: tuple[Photo, ...] = ()
    held_out: tuple[Photo, ...] = ()
    no_cars: tuple[Photo, ...] = ()
    turned_away: Mapping[str, int] = field(default_factory=dict)
    signs: Mapping[str, Signs] = field(default_factory=dict, repr=False, compare=False)
    style: Style | None = None
    source: str = field(default="", compare=False)

    def __repr__(self) -> str:
        return describe("Others", f"{len(self.learnt):,} learnt, {len(self.held_out):,} held out")

    @property
    def told(self) -> Beside:
        """What is said of them before training begins."""
        left_out = {REASONS[why]: count for why, count in self.turned_away.items()}
        return Beside(len(self.learnt), len(self.held_out), left_out, self.source)


def take_others(
    path: Path,
    lot: Lot,
    split: Split,
    frame: ImageSpec,
    *,
    seed: int,
    seen: Mapping[str, Signs] | None = None,
    earlier: Others | None = None,
    additions: Sequence[Photo] = (),
    is_no_car: Callable[[Catalog], Sequence[bool]] | None = None,
    is_named: Callable[[Catalog], Sequence[bool]] | None = None,
    tell: Tell | None = None,
    watch: Watcher | None = None,
) -> Others:
    """Open photos of other cars, leave out what must not be learnt as such, and part the rest.

    Args:
        path: in any form that `open_lot` knows; labels are not needed.
        lot: the data that are learnt.
        split: of them.
        frame: that a network sees.
        seed: of the parting.
        seen: id of a photo of the data -> its signs, where it was looked at before.
        earlier: other cars that a model knows; they stay, in the parts that they have.
        additions: other photos that it has learnt, which must not come twice either.
        is_no_car: whether each of some photos shows no car; those that do are kept apart.
        is_named: whether the present model names each of some photos as one of its classes; those
            that it names are left out where no label says that they show another car.
        tell: told what was understood of the files.
        watch: told of the work as it goes on.

    Returns:
        earlier ones first.

    Raises:
        InputError: they cannot be read, or too few are left.
    """
    before = Others() if earlier is None else earlier
    known_others = (*before.learnt, *before.held_out)
    earlier_ones = (*known_others, *before.no_cars)
    offered = open_lot(path)
    if tell is not None:
        tell(offered.reading)
    photos = join_offer(offered).with_files().photos
    own = list_own(lot, split, (*additions, *earlier_ones))
    copies = find_copies(photos, own, seen=seen, watch=watch)
    matches = match_classes(offered.train.classes, lot.train.classes)
    reasons = find_reasons(photos, matches, copies)
    if is_no_car is not None:
        reasons = _leave_out(photos, reasons, "no car", is_no_car)
    if is_named is not None:
        reasons = _leave_out(photos, reasons, "named", is_named, without_label=True)
    kept = [at for at, reason in enumerate(reasons) if not reason]
    fewest = 1 if known_others else FEWEST
    if len(kept) < fewest:
        counts = Counter(reason for reason in reasons if reason)
        left_out = ", ".join(f"{num:,} {REASONS[why]}" for why, num in counts.most_common())
        raise InputError(
            f"{len(kept)} photos of other cars are left of the {len(photos)} in {path}, and"
            f" {fewest} are needed at least" + (f" (left out: {left_out})" if left_out else "")
        )
    apart = [at for at, reason in enumerate(reasons) if reason == "no car"]
    taken = [*kept, *apart]
    ids = name_offered(
        [photos[at].id for at in taken], path.absolute().stem, {photo.id for _, photo in own}
    )
    renamed = [replace(photos[at], id=id_) for at, id_ in zip(taken, ids, strict=True)]
    named, no_cars = renamed[: len(kept)], renamed[len(kept) :]
    held_out = choose_held_out(named, seed=seed, num_before=len(before.held_out))
    style, source = find_style(lot.train.photos, [*known_others, *named], frame)
    signs = {id_: copies[at].sign for at, id_ in zip(taken, ids, strict=True)}
    return Others(
        (*before.learnt, *(p for p, is_held in zip(named, held_out, strict=True) if not is_held)),
        (*before.held_out, *(p for p, is_held in zip(named, held_out, strict=True) if is_held)),
        (*before.no_cars, *no_cars),
        dict(Counter(reason for reason in reasons if reason).most_common()),
        {id_: sign for id_, sign in signs.items() if sign is not None},
        style,
        source,
    )


def find_style(
    known: Sequence[Photo], others: Sequence[Photo], frame: ImageSpec
) -> tuple[Style | None, str]:
    """What the others are to be read as, lest a network knows them by how they are stored.

    As they are, where it could not; else as the data are stored. What is poorer than the data
    cannot be made better: then they can be told apart all the same. To make the data as poor hides
    it, and costs the classes several points (measured: docs/LOG.md).

    Args:
        known: photos of the data.
        others: of other cars.
        frame: that the network sees.

    Returns:
        the style, and a sentence on whether they can be told apart all the same.
    """
    told = compare_sources(known, others, spec=frame)
    style = measure_style(known) if told.is_told else None
    if style is None:
        return None, told.sentence
    told = compare_sources(known, others, other_style=style, spec=frame)
    return style, f"They are learnt as yours are stored ({style}). {told.sentence}"


def _leave_out(
    photos: Sequence[Photo],
    reasons: Sequence[str],
    why: str,
    is_left_out: Callable[[Catalog], Sequence[bool]],
    *,
    without_label: bool = False,
) -> tuple[str, ...]:
    """The reasons, with one more for photos that had none; only those without a label, if asked."""
    asked = [
        at
        for at, reason in enumerate(reasons)
        if not reason and not (without_label and photos[at].label is not None)
    ]
    answers = is_left_out(Catalog(tuple(photos[at] for at in asked), ()))
    left_out = {at for at, is_one in zip(asked, answers, strict=True) if is_one}
    return tuple(why if at in left_out else reason for at, reason in enumerate(reasons))


def count_shown(path: Path, num_known: int) -> int:
    """About how many photos of other cars an epoch would show, before any was looked at.

    Args:
        path: of the photos.
        num_known: training photos.

    Raises:
        InputError: they cannot be read.
    """
    offered = open_lot(path)
    num_offered = len(offered.train.with_files()) + len(offered.test.with_files())
    return min(round((1 - HELD_OUT) * num_offered), num_known)


def find_reasons(
    photos: Sequence[Photo],
    matches: Mapping[str, CarClass | None],
    copies: Sequence[Copies],
) -> tuple[str, ...]:
    """One of REASONS for each photo, or "" for one that may be learnt as another car.

    A copy of any photo of the data comes before all else. Of several copies among the others the
    first stays, and none where one of them bears the label of a class.

    Args:
        photos: offered.
        matches: label of theirs -> the class of the data that it means, or None.
        copies: of each photo.
    """
    is_known = [p.label is not None and matches.get(p.label) is not None for p in photos]
    reasons: list[str] = []
    kept: set[int] = set()
    for at, found in enumerate(copies):
        part: Part | None = found.part
        if part is not None:
            reasons.append("copy")
        elif found.status != OK:
            reasons.append("unreadable")
        elif is_known[at] or any(is_known[other] for other in found.offered):
            reasons.append("known class")
        elif kept.intersection(found.offered):
            reasons.append("repeated")
        else:
            kept.add(at)
            reasons.append("")
    return tuple(reasons)


def choose_held_out(photos: Sequence[Photo], *, seed: int, num_before: int = 0) -> list[bool]:
    """Which photos are held out: HELD_OUT of them, whole classes where there are five or more.

    More, up to half of them, as long as FEWEST_HELD_OUT are not held out. Photos of one advert stay
    together.

    Args:
        photos: vetted, so that no two show one picture.
        seed: of the choice.
        num_before: photos that are held out already.
    """
    labels = {photo.label for photo in photos if photo.label is not None}
    by_label = len(labels) >= _FEWEST_CLASSES
    groups: dict[str, list[int]] = defaultdict(list)
    for at, photo in enumerate(photos):
        if by_label and photo.label is not None:
            groups[f"label {photo.label}"].append(at)
        else:
            groups[f"advert {photo.listing}" if photo.listing else f"photo {at}"].append(at)
    names = sorted(groups)
    lacking = min(FEWEST_HELD_OUT - num_before, len(photos) / 2)
    wanted = max(HELD_OUT * len(photos), lacking)
    chosen: set[int] = set()
    for turn in np.random.default_rng([seed, len(photos)]).permutation(len(names)).tolist():
        if len(chosen) >= wanted:
            break
        chosen.update(groups[names[turn]])
    return [at in chosen for at in range(len(photos))]


def write_others(path: Path, others: Others) -> None:
    """Write which photos are learnt as other cars, which are held out, and which show no car.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = []
    style = _write_style(others.style)
    for part, photos in zip(_PARTS, (others.learnt, others.held_out, others.no_cars), strict=True):
        for photo in photos:
            rows.append((photo.id, *write_place(photo), photo.label or "", part, style))
    write_rows_atomically(path, _COLUMNS, rows)


def read_others(path: Path) -> Others:
    """The inverse of `write_others`; none where there is no such file.

    Whether the photos are still there is not looked at.

    Raises:
        BundleError: it is damaged.
    """
    if not path.is_file():
        return Others()
    photos: dict[str, dict[str, Photo]] = {part: {} for part in _PARTS}
    styles: set[str] = set()
    try:
        table = read_own_table(path)
        places = require_columns(table, **{column: (column.lower(),) for column in _COLUMNS})
        for row in table.rows:
            id_, file, members, label, part, told = (row[place] for place in places)
            if part not in photos or not id_ or any(id_ in some for some in photos.values()):
                raise ValueError(f"{id_!r} is {part!r}, empty or there twice")
            photos[part][id_] = Photo(id_, read_place(file, members), label or None)
            styles.add(told)
        style = _read_style(styles)
    except (InputError, ValueError) as error:
        raise BundleError(
            f"{path} is damaged ({shorten(str(error))}): restore it, or train anew"
        ) from error
    learnt, held_out, no_cars = (tuple(photos[part].values()) for part in _PARTS)
    return Others(learnt, held_out, no_cars, style=style)


def _write_style(style: Style | None) -> str:
    """A style as a cell: side, quality ("-" for no JPEG) and subsampling."""
    if style is None:
        return ""
    quality = "-" if style.quality is None else str(style.quality)
    return f"{style.side} {quality} {style.subsampling}"


def _read_style(cells: Collection[str]) -> Style | None:
    """The one style that all rows tell.

    Raises:
        ValueError: they tell different ones, or something else.
    """
    (cell,) = cells
    if not cell:
        return None
    side, quality, subsampling = cell.split(" ")
    return Style(int(side), None if quality == "-" else int(quality), int(subsampling))
