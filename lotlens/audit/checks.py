"""The checks: pure functions of plain values that say what is wrong with photos and labels.

They read no file and know no catalog. Each finding is one photo and one plain sentence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Literal, TypeVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lotlens.audit.names import name_source
from lotlens.photos.quality import BLURRED, DARK, FLAT, TINY
from lotlens.photos.reading import NO_FILE
from lotlens.photos.tables import list_some
from lotlens.records import OK, CarClass, Finding

PartName = Literal["train", "test"]
_Value = TypeVar("_Value")

LABEL_CONFLICT = "label-conflict"
EXTREME_ASPECT = 4.0
"""Longer over shorter side from which an aspect is extreme."""
GREY = 8
"""Span between channels that all but a hundredth of the pixels of a grey photo lie within."""
_SMALL_SHARE = 0.1  # of the median class
_MOST_RELATED = 20

Severity = Literal["error", "warning"]
Action = Literal["drop", "group", "keep"]


@dataclass(frozen=True)
class Check:
    """One kind of finding.

    Attributes:
        name: as in `Finding.check`.
        severity: an error makes figures wrong or loses photos; a warning is worth a look.
        actions: what training may do with the photos found, the default first. "drop" leaves them
            out, "group" keeps them on one side of every split, "keep" changes nothing.
        meaning: what was found, for people.
    """

    name: str
    severity: Severity
    actions: tuple[Action, ...]
    meaning: str


CHECKS: Mapping[str, Check] = {
    check.name: check
    for check in (
        Check("unreadable", "error", ("drop",), "cannot be decoded: empty, truncated or no photo"),
        Check("no-file", "error", ("drop",), "named in a table, but there is no such file"),
        Check(
            LABEL_CONFLICT,
            "error",
            ("drop", "group"),
            "one photo or lookalikes, labels differ",
        ),
        Check("leak", "error", ("keep", "drop"), "a photo of train looks like one of test"),
        Check("learnt-before", "error", ("keep",), "learnt by the run that training started from"),
        Check("ambiguous-file", "error", ("drop",), "several files fit one row of the table"),
        Check("similar-labels", "error", ("keep",), "two classes that look like one spelt twice"),
        Check("duplicate", "warning", ("group", "drop"), "the same file more than once"),
        Check(
            "near-duplicate", "warning", ("group", "drop"), "looks like the same picture, changed"
        ),
        Check("same-source", "warning", ("group",), "names of one source, and they look alike"),
        Check("no-row", "warning", ("drop",), "a photo that the table does not name"),
        Check("no-label", "warning", ("drop",), "a row without a label"),
        Check("unknown-class", "warning", ("drop",), "a test photo of a class that train lacks"),
        Check("duplicate-row", "warning", ("keep",), "the table names it twice with one label"),
        Check(
            "stale-decision", "warning", ("keep",), "decided in review on data that have changed"
        ),
        Check("relabelled", "warning", ("keep",), "given another label in review"),
        Check("left-out", "warning", ("drop",), "dropped in review, or not a car"),
        Check("rare-class", "warning", ("keep",), "a class with too few different cars"),
        Check("imbalance", "warning", ("keep",), "a class far smaller than the others"),
        Check("tiny", "warning", ("keep", "drop"), "too small to tell models apart"),
        Check("extreme-aspect", "warning", ("keep", "drop"), "very long or very tall"),
        Check("dark", "warning", ("keep", "drop"), "nearly black"),
        Check("flat", "warning", ("keep", "drop"), "nearly one colour: no picture to see"),
        Check("blurred", "warning", ("keep", "drop"), "nothing in it is sharp"),
        Check("grey", "warning", ("keep", "drop"), "without colours"),
    )
}
"""All checks by name, the worst first."""


@dataclass(frozen=True)
class Link:
    """Two photos that look like one picture.

    Attributes:
        first: position of one photo among all that were compared.
        second: position of the other.
        likeness: 0 to 1 (see `likeness.measure_likeness`); 1 for equal files.
        exact: True if the files are equal, byte for byte.
    """

    first: int
    second: int
    likeness: float
    exact: bool


def link_equal(digests: Sequence[bytes]) -> tuple[Link, ...]:
    """A link from each file to the first one of the same bytes; empty digests are none."""
    first: dict[bytes, int] = {}
    links = []
    for position, digest in enumerate(digests):
        if digest and first.setdefault(digest, position) != position:
            links.append(Link(first[digest], position, 1.0, exact=True))
    return tuple(links)


def name_clusters(num_photos: int, links: Iterable[Link]) -> list[int]:
    """The number of its cluster for each photo; links join photos, also by way of others."""
    ends = np.array([(link.first, link.second) for link in links], np.int64).reshape(-1, 2)
    edges = (np.ones(len(ends)), (ends[:, 0], ends[:, 1]))
    graph = coo_array(edges, shape=(num_photos, num_photos))
    names: list[int] = connected_components(graph, directed=False)[1].tolist()
    return names


def join_links(num_photos: int, links: Iterable[Link]) -> tuple[tuple[int, ...], ...]:
    """Clusters of two or more positions that links join, also by way of others; each sorted."""
    names = name_clusters(num_photos, links)
    order = sorted(range(num_photos), key=lambda place: names[place])
    clusters = (tuple(group) for _, group in groupby(order, key=lambda place: names[place]))
    return tuple(cluster for cluster in clusters if len(cluster) > 1)


def tell_files(num_photos: int, links: Iterable[Link]) -> tuple[list[int], dict[int, float]]:
    """Which photos are one file, and how like each file is to the other one it is most like.

    Returns:
        for each photo the first position of the same file; and the likeness by that position, for
        files that are like others.
    """
    links = tuple(links)
    file_of = list(range(num_photos))
    for members in join_links(num_photos, (link for link in links if link.exact)):
        for member in members:
            file_of[member] = members[0]
    best: dict[int, float] = {}
    for link in links:
        if not link.exact:
            for file in (file_of[link.first], file_of[link.second]):
                best[file] = max(best.get(file, 0.0), link.likeness)
    return file_of, best


def check_readable(ids: Sequence[str], status: Sequence[str], part: PartName) -> list[Finding]:
    """A photo whose status is not "ok"; those without a file are known already."""
    return [
        Finding(id_, "unreadable", 1.0, (), f"It cannot be read: {reason}.", part)
        for id_, reason in zip(ids, status, strict=True)
        if reason not in (OK, NO_FILE)
    ]


def check_copies(
    ids: Sequence[str],
    parts: Sequence[PartName],
    labels: Sequence[str | None],
    links: Iterable[Link],
    names: Mapping[str, str],
) -> list[Finding]:
    """Copies within train and test, copies across them, and copies under different labels.

    Of a cluster of copies the first by id counts as the original; each other one is a "duplicate"
    if an earlier one in its part is the same file, else a "near-duplicate". Pictures are compared
    by machine: only of equal files a sentence says that they are the same.

    Args:
        ids: of all photos, train and test.
        parts: of each photo.
        labels: of each photo; None where not known.
        links: between positions.
        names: class label -> name.
    """
    links = tuple(links)
    findings: list[Finding] = []
    file_of, best = tell_files(len(ids), links)

    def add(
        check: str,
        member: int,
        others: list[str],
        equal: list[str],
        start: str = "It",
        end: str = "",
    ) -> None:
        """A finding of ids like the member; the sentence names those of the same file, if any."""
        likeness = 1.0 if equal else best[file_of[member]]
        related = dict.fromkeys([*equal[:_MOST_RELATED], *others[:_MOST_RELATED]])
        told = describe_likeness(equal or others, None if equal else likeness)
        findings.append(
            Finding(
                ids[member],
                check,
                likeness,
                tuple(related)[:_MOST_RELATED],
                f"{start} {told}{end}.",
                parts[member],
            )
        )

    for cluster in join_links(len(ids), links):
        sides: dict[PartName, list[int]] = {
            part: sorted((at for at in cluster if parts[at] == part), key=lambda at: ids[at])
            for part in ("train", "test")
        }
        for side in sides.values():
            side_ids = [ids[at] for at in side]
            copies: defaultdict[int, list[str]] = defaultdict(list)
            for number, member in enumerate(side):
                same = copies[file_of[member]]
                if same:
                    add("duplicate", member, same, same)
                elif number:
                    add("near-duplicate", member, side_ids[:number], [])
                same.append(ids[member])
        train, test = sides["train"], [ids[at] for at in sides["test"]]
        tested = _gather(sides["test"], file_of, ids)
        for member in train if test else ():
            add("leak", member, test, tested[file_of[member]], end=", in test")
        for label in sorted({labels[at] for at in train}, key=str):
            others = [at for at in train if labels[at] != label]
            if not others:
                continue
            other_ids = [ids[at] for at in others]
            equals = _gather(others, file_of, ids)
            start = f"It is labelled {_name(label, names)}, but"
            theirs = f", labelled {_list_labels((labels[at] for at in others), names)}"
            ends = {
                file: f", labelled {_list_labels(some, names)}"
                for file, some in _gather(others, file_of, labels).items()
            }
            for member in train:
                if labels[member] == label:
                    file = file_of[member]
                    end = ends.get(file, theirs)
                    add(LABEL_CONFLICT, member, other_ids, equals[file], start, end)
    return findings


def check_sources(ids: Sequence[str], kin: Iterable[Link]) -> list[Finding]:
    """Photos of train that names and looks say to be made of one picture, but the first by id.

    Args:
        ids: of the photos.
        kin: links between their positions (see `findings.find_kin`).
    """
    kin = tuple(kin)
    likeness: dict[int, float] = {}
    for link in kin:
        for at in (link.first, link.second):
            likeness[at] = max(likeness.get(at, 0.0), link.likeness)
    findings = []
    for cluster in join_links(len(ids), kin):
        members = sorted(cluster, key=lambda at: ids[at])
        member_ids = [ids[at] for at in members]
        for number, member in enumerate(members[1:], start=1):
            related = member_ids[:number]
            source = list_some([name_source(ids[member])[0]])
            sentence = (
                f"It looks like {list_some(related, 3)} ({show_likeness(likeness[member])}),"
                f" perhaps rotated or cut, and their names are of one source, {source}."
            )
            some = tuple(related[:_MOST_RELATED])
            findings.append(Finding(ids[member], "same-source", likeness[member], some, sentence))
    return findings


def describe_likeness(ids: Sequence[str], likeness: float | None) -> str:
    """What is said of a photo and its copies: "looks like the same picture as a.jpg ...".

    Args:
        ids: of the copies.
        likeness: see `likeness.measure_likeness`; None if they are the same file, byte for byte.
    """
    shown = list_some(ids, 3)
    if likeness is None:
        return f"is the same file as {shown}"
    return f"looks like the same picture as {shown} ({show_likeness(likeness)})"


def show_likeness(likeness: float) -> str:
    """A likeness for people; never 1.00, since that would say that nothing differs."""
    return f"likeness {min(likeness, 0.99):.2f}"


def check_sizes(
    ids: Sequence[str], sizes: Sequence[tuple[int, int]], part: PartName
) -> Iterator[Finding]:
    """Photos that are "tiny" or of "extreme-aspect", by (width, height) in pixels."""
    for id_, (width, height) in zip(ids, sizes, strict=True):
        shorter, longer = sorted((width, height))
        shown = f"{width} x {height} pixels"
        if shorter < TINY:
            sentence = f"It is only {shown}."
            yield Finding(id_, "tiny", 1 - shorter / TINY, (), sentence, part)
        if longer >= EXTREME_ASPECT * shorter:
            sentence = f"Its longer side is {longer / shorter:.1f} times the shorter ({shown})."
            yield Finding(
                id_, "extreme-aspect", 1 - EXTREME_ASPECT * shorter / longer, (), sentence, part
            )


def check_tones(
    ids: Sequence[str], tones: Sequence[tuple[int, ...]], part: PartName
) -> Iterator[Finding]:
    """Photos that are "dark" or "flat", by the 1st, 50th and 99th percentile of grey levels."""
    for id_, (low, middle, high) in zip(ids, tones, strict=True):
        if high < DARK:
            sentence = f"It is nearly black: almost nothing in it is brighter than {high} of 255."
            yield Finding(id_, "dark", 1 - high / DARK, (), sentence, part)
        elif high - low < FLAT:
            sentence = f"It is nearly one colour: all of it is within {high - low} grey levels"
            sentence += f" of 255, around {middle}."
            yield Finding(id_, "flat", 1 - (high - low) / FLAT, (), sentence, part)


def check_sharpness(
    ids: Sequence[str],
    sharpness: Sequence[float],
    tones: Sequence[tuple[int, ...]],
    part: PartName,
) -> Iterator[Finding]:
    """Photos in which nothing is sharp; those too flat to tell are left out."""
    for id_, value, (low, _, high) in zip(ids, sharpness, tones, strict=True):
        if value < BLURRED and high - low >= FLAT:
            sentence = f"Nothing in it is sharp ({value:.2f}; sharp photos have about 1)."
            yield Finding(id_, "blurred", 1 - value / BLURRED, (), sentence, part)


def check_colours(ids: Sequence[str], colours: Sequence[int], part: PartName) -> Iterator[Finding]:
    """Photos without colours, by the 99th percentile of the span between channels."""
    for id_, span in zip(ids, colours, strict=True):
        if span <= GREY:
            yield Finding(id_, "grey", 1.0, (), "It has no colours.", part)


def check_balance(classes: Sequence[CarClass], counts: Mapping[str, int]) -> Iterator[Finding]:
    """Classes far smaller than the middle one; `counts` is of photos per label."""
    if not classes:
        return
    middle = median(counts.get(car.label, 0) for car in classes)
    for car in classes:
        count = counts.get(car.label, 0)
        if count < _SMALL_SHARE * middle:
            photos = "1 photo" if count == 1 else f"{count} photos"
            sentence = f"Class {car.shown} has {photos},"
            sentence += f" the middle class {middle:g}: its figures will be uncertain."
            yield Finding("", "imbalance", 1 - count / middle, (), sentence)


def _gather(
    positions: Iterable[int], file_of: Sequence[int], values: Sequence[_Value]
) -> defaultdict[int, list[_Value]]:
    """File -> the values of its photos at these positions."""
    gathered: defaultdict[int, list[_Value]] = defaultdict(list)
    for at in positions:
        gathered[file_of[at]].append(values[at])
    return gathered


def _list_labels(labels: Iterable[str | None], names: Mapping[str, str]) -> str:
    return list_some(sorted({_name(label, names) for label in labels}))


def _name(label: str | None, names: Mapping[str, str]) -> str:
    return "not at all" if label is None else CarClass(label, names.get(label, label)).shown
