"""Runs the checks over a lot and says what training does with each finding."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from lotlens.audit.checks import (
    CHECKS,
    Action,
    Link,
    PartName,
    check_balance,
    check_colours,
    check_copies,
    check_readable,
    check_sharpness,
    check_sizes,
    check_sources,
    check_tones,
    join_links,
    link_equal,
    name_clusters,
)
from lotlens.audit.hashes import find_lookalikes
from lotlens.audit.likeness import SAME
from lotlens.audit.names import group_by_source
from lotlens.audit.rotations import ALIKE, guess_rotated
from lotlens.audit.signs import Pair, Signs, choose_workers, compare_photos, scan_photos
from lotlens.audit.split import list_rare_classes
from lotlens.audit.turns import MIRROR
from lotlens.doors import draw_html
from lotlens.files import write_rows_atomically
from lotlens.recipes.schema import Audit as Settings
from lotlens.records import OK, Finding, Lot, Photo, Watcher, watch_part

_COLUMNS = ("Id", "Part", "Check", "Severity", "Training", "Score", "Related", "Sentence")
_NUM_ROUNDS, _NUM_TURNED_ROUNDS, _NUM_KIN_ROUNDS = 6, 2, 4


@dataclass(frozen=True)
class Audit:
    """What was found in a lot.

    Attributes:
        findings: the worst kind first (in the order of `CHECKS`).
        actions: check -> what training does with the photos found.
        groups: id of a training photo -> name of its cluster, for photos that have copies or are
            made of the same picture as others.
        dropped: ids of the lot's training photos that training leaves out.
        num_photos: part ("train", "test") -> photos looked at.
        class_counts: class label -> photos in train that can be read.
        sizes: (width, height) in pixels -> photos of that size, of all that can be read.
        signs: id of a training photo -> what was seen of it.
        lot: what was looked at, to show its photos; None where that is not asked for.
    """

    findings: tuple[Finding, ...]
    actions: Mapping[str, Action]
    groups: Mapping[str, str]
    dropped: frozenset[str]
    num_photos: Mapping[str, int]
    class_counts: Mapping[str, int]
    sizes: Mapping[tuple[int, int], int]
    signs: Mapping[str, Signs] = field(default_factory=dict, compare=False, repr=False)
    lot: Lot | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {check}" for check, count in self.count().items())
        return f"Audit of {sum(self.num_photos.values()):,} photos: {counts or 'nothing found'}"

    def _repr_html_(self) -> str | None:
        return draw_html(self)

    @property
    def num_errors(self) -> int:
        """Findings of severity "error"."""
        return sum(CHECKS[finding.check].severity == "error" for finding in self.findings)

    @property
    def num_left_out(self) -> int:
        """Photos that training does without: those in `dropped`, and those that were named for
        training and are no part of the lot, since a table, their folder or a decision says so.
        """
        ids, files = set(self.dropped), set()
        for finding in self.findings:
            if finding.part != "train" or CHECKS[finding.check].actions[0] != "drop":
                continue
            if finding.check == "no-row":  # which may have the name that a row gives to another
                files.add(finding.photo_id)
            elif finding.check != "no-file" and finding.photo_id not in self.signs:
                ids.add(finding.photo_id)  # photos without a file are part of the lot
        return len(ids) + len(files)

    def count(self) -> dict[str, int]:
        """Findings per check, of the checks that found something, the worst first."""
        counts = Counter(finding.check for finding in self.findings)
        return {check: counts[check] for check in CHECKS if counts[check]}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "photos": dict(self.num_photos),
            "errors": self.num_errors,
            "counts": self.count(),
            "actions": dict(self.actions),
            "dropped": sorted(self.dropped),
            "left_out": self.num_left_out,
            "groups": dict(self.groups),
            "classes": dict(self.class_counts),
            "sizes": [
                {"width": width, "height": height, "photos": count}
                for (width, height), count in self.sizes.items()
            ],
            "findings": [asdict(finding) for finding in self.findings],
        }


@dataclass(frozen=True)
class Looks:
    """What was seen of the photos of a lot, whatever their labels.

    Attributes:
        signs: one per photo, those of train first.
        links: pairs of photos that show one picture, by their places among the signs.
        kin: pairs of training photos that are made of one picture, by names and looks; likewise.
    """

    signs: tuple[Signs, ...]
    links: tuple[Link, ...]
    kin: tuple[Link, ...] = ()

    def __repr__(self) -> str:
        return f"Looks at {len(self.signs):,} photos"


def look_at(lot: Lot, *, num_workers: int | None = None, watch: Watcher | None = None) -> Looks:
    """Look at every photo of a lot, train and test, and find those that show one picture.

    Args:
        lot: whose photos.
        num_workers: processes that look at photos; None for what the machine and the lot suggest.
        watch: told of the work as it goes on.
    """
    photos = (*lot.train.photos, *lot.test.photos)
    with threadpool_limits(1, user_api="blas"):
        signs = scan_photos(
            photos, num_workers=num_workers, progress=watch_part(watch, "looking at photos")
        )
        links = find_links(photos, signs, num_workers=num_workers, watch=watch)
        kin = find_kin(lot.train.photos, signs, links, num_workers=num_workers, watch=watch)
    return Looks(signs, links, kin)


def audit_lot(
    lot: Lot,
    settings: Settings | None = None,
    *,
    lock: float = 0.0,
    looks: Looks | None = None,
    num_workers: int | None = None,
    watch: Watcher | None = None,
) -> Audit:
    """Look at every photo of a lot, train and test, and check photos, labels and tables.

    Args:
        lot: its own findings, of tables and files that do not match, are taken in.
        settings: what training does with findings; None for the defaults.
        lock: share of the photos that the split will lock (see `draw_split`).
        looks: at these photos, if they were looked at before.
        num_workers: processes that look at photos; None for what the machine and the lot suggest.
        watch: told of the work as it goes on.

    Raises:
        InputError: `lock` is out of range, or no photos can be locked.
    """
    actions = _choose_actions(settings or Settings())
    photos = (*lot.train.photos, *lot.test.photos)
    num_train = len(lot.train)
    parts: list[PartName] = ["train" for _ in lot.train.photos]
    parts += ["test" for _ in lot.test.photos]
    ids = [photo.id for photo in photos]
    labels = [photo.label for photo in photos]
    looks = looks or look_at(lot, num_workers=num_workers, watch=watch)
    signs, links = looks.signs, looks.links
    findings = check_copies(ids, parts, labels, links, _name_classes(lot))
    findings += check_sources(ids[:num_train], looks.kin)
    findings += _check_part("train", ids[:num_train], signs[:num_train])
    findings += _check_part("test", ids[num_train:], signs[num_train:])
    counts = Counter(
        photo.label
        for photo, sign in zip(lot.train.photos, signs, strict=False)
        if sign.status == OK and photo.label is not None
    )
    findings += check_balance(lot.train.classes, counts)
    groups = _name_groups(ids[:num_train], join_links(len(ids), (*links, *looks.kin)))
    dropped = frozenset(
        finding.photo_id
        for finding in findings
        if finding.part == "train" and actions[finding.check] == "drop"
    ) | {id_ for id_, sign in zip(ids[:num_train], signs, strict=False) if sign.status != OK}
    # What the lot tells of, `open_lot` has left out already; a photo of that name may be sound.
    findings += lot.findings
    if any(counts.values()):
        findings += list_rare_classes(lot.train, groups, dropped, lock=lock)
    return Audit(
        sort_findings(findings),
        actions,
        groups,
        dropped,
        {"train": num_train, "test": len(lot.test)},
        dict(counts),
        Counter(sign.size for sign in signs if sign.status == OK),
        dict(zip(ids[:num_train], signs, strict=False)),
    )


def sort_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The worst kind first."""
    order = {check: rank for rank, check in enumerate(CHECKS)}
    return tuple(sorted(findings, key=lambda finding: order[finding.check]))


def find_links(
    photos: Sequence[Photo],
    signs: Sequence[Signs],
    *,
    num_known: int = 0,
    num_workers: int | None = None,
    watch: Watcher | None = None,
) -> tuple[Link, ...]:
    """All pairs of photos that show one picture, though not every pair of a large cluster.

    Equal files are linked to the first of them, if they show anything: many a failed download is
    the same few bytes. The others are searched by their hashes, and each
    pair that may be one picture is looked at more closely. Pairs that are joined already by way of
    others are skipped, so that a thousand copies of one picture are no million comparisons.

    Args:
        photos: of train and test.
        signs: of `scan_photos`, for the same photos.
        num_known: how many of the first photos are not to be compared with one another.
        num_workers: processes that compare photos.
        watch: told of the work as it goes on.
    """
    links = [*link_equal([sign.digest if sign.status == OK else b"" for sign in signs])]
    later = {link.second for link in links}
    kept = [at for at, sign in enumerate(signs) if sign.status == OK and at not in later]
    if len(kept) < 2:
        return tuple(links)
    lookalikes = find_lookalikes(np.stack([signs[at].hash for at in kept]))
    num_done = 0
    is_turned = lookalikes.turns > MIRROR
    rounds = np.array_split(np.flatnonzero(~is_turned), _NUM_ROUNDS)
    # Turned copies are rare, and most photos that look like turned ones are joined by then.
    rounds += np.array_split(np.flatnonzero(is_turned), _NUM_TURNED_ROUNDS)
    for some in rounds:
        candidates = [
            _Candidate(
                kept[first],
                kept[second],
                int(lookalikes.turns[number]),
                tuple(lookalikes.boxes[number].tolist()),
            )
            for number, (first, second) in zip(some, lookalikes.pairs[some].tolist(), strict=True)
            if kept[first] >= num_known or kept[second] >= num_known
        ]
        links += _confirm(candidates, SAME, photos, signs, links, num_workers)
        num_done += len(some)
        if watch is not None:
            watch("comparing lookalikes", num_done, len(lookalikes))
    return tuple(links)


def find_kin(
    photos: Sequence[Photo],
    signs: Sequence[Signs],
    links: Sequence[Link],
    *,
    num_workers: int | None = None,
    watch: Watcher | None = None,
) -> tuple[Link, ...]:
    """Pairs of photos that are made of one picture by their names, and whose looks agree with that.

    That finds what `find_links` cannot: pictures that were rotated by any angle, sheared, or of
    which much was cut off. Pairs that are joined already are skipped.

    Args:
        photos: of train.
        signs: of `scan_photos`; those of train first.
        links: of `find_links`, for the same signs.
        num_workers: processes that compare photos.
        watch: told of the work as it goes on.
    """
    groups = [
        [at for at in group if signs[at].status == OK] for group in group_by_source(photos).values()
    ]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        return ()
    guesses = guess_rotated(np.stack([signs[at].hash for at in range(len(photos))]), groups)
    kin: list[Link] = []
    num_done = 0
    for some in np.array_split(np.arange(len(guesses)), _NUM_KIN_ROUNDS):
        candidates = [
            _Candidate(guess.outer, guess.inner, guess.turn, warp=guess.warp)
            for guess in (guesses[number] for number in some)
        ]
        kin += _confirm(candidates, ALIKE, photos, signs, (*links, *kin), num_workers)
        num_done += len(some)
        if watch is not None:
            watch("comparing photos of one name", num_done, len(guesses))
    return tuple(kin)


def write_findings(path: Path, audit: Audit) -> None:
    """Write the findings as CSV, one row each; several related ids are parted by line breaks.

    Raises:
        OutputError: the file cannot be written.
    """
    write_rows_atomically(
        path,
        _COLUMNS,
        (
            (
                finding.photo_id,
                finding.part,
                finding.check,
                CHECKS[finding.check].severity,
                audit.actions[finding.check],
                f"{finding.score:.3f}",
                "\n".join(finding.related_ids),
                finding.sentence,
            )
            for finding in audit.findings
        ),
    )


def restore_findings(rows: Sequence[Mapping[str, str]]) -> tuple[Finding, ...]:
    """Findings of rows that `write_findings` wrote; scores as they stand there.

    Rows of before, or of a newer lotlens, may lack a column: what is told by it is left out.
    """
    return tuple(
        Finding(
            row.get("Id", ""),
            row.get("Check", ""),
            _read_score(row.get("Score", "")),
            tuple(filter(None, row.get("Related", "").split("\n"))),
            row.get("Sentence", ""),
            "test" if row.get("Part") == "test" else "train",
        )
        for row in rows
    )


def _read_score(cell: str) -> float:
    try:
        score = float(cell)
    except ValueError:
        return 0.0
    return min(max(score, 0.0), 1.0) if math.isfinite(score) else 0.0


def find_unreadable(status: Mapping[str, str]) -> tuple[Finding, ...]:
    """A finding for each photo whose status is not "ok": training could not read it."""
    return tuple(
        Finding(id_, "unreadable", 1.0, (), f"This photo was left out of training: {reason}.")
        for id_, reason in status.items()
        if reason != OK
    )


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Positions of two photos to look at more closely; the rest is as in `signs.Pair`."""

    outer: int
    inner: int
    turn: int
    box: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0)
    warp: int | None = None


def _confirm(
    candidates: Sequence[_Candidate],
    least: float,
    photos: Sequence[Photo],
    signs: Sequence[Signs],
    links: Sequence[Link],
    num_workers: int | None,
) -> list[Link]:
    """Links between candidates that the links so far do not join, if they are alike enough."""
    cluster = name_clusters(len(signs), links)
    apart = [pair for pair in candidates if cluster[pair.outer] != cluster[pair.inner]]
    pairs = [
        Pair(
            photos[pair.outer],
            photos[pair.inner],
            pair.turn,
            pair.box,
            min(*signs[pair.outer].size, *signs[pair.inner].size),
            pair.warp,
        )
        for pair in apart
    ]
    # The workers that looked at the photos are still there: even a few pairs are shared out.
    likenesses = compare_photos(pairs, num_workers=num_workers or choose_workers(len(photos)))
    return [
        Link(pair.outer, pair.inner, likeness, exact=False)
        for pair, likeness in zip(apart, likenesses, strict=True)
        if likeness >= least
    ]


def _choose_actions(settings: Settings) -> dict[str, Action]:
    chosen = settings.model_dump()
    return {
        name: chosen.get(name.replace("-", "_"), check.actions[0]) for name, check in CHECKS.items()
    }


def _check_part(part: PartName, ids: Sequence[str], signs: Sequence[Signs]) -> list[Finding]:
    findings = check_readable(ids, [sign.status for sign in signs], part)
    seen = [(id_, sign) for id_, sign in zip(ids, signs, strict=True) if sign.status == OK]
    ids = [id_ for id_, _ in seen]
    tones = [sign.tones for _, sign in seen]
    findings += check_sizes(ids, [sign.size for _, sign in seen], part)
    findings += check_tones(ids, tones, part)
    findings += check_sharpness(ids, [sign.sharpness for _, sign in seen], tones, part)
    findings += check_colours(ids, [sign.colour for _, sign in seen], part)
    return findings


def _name_groups(ids: Sequence[str], clusters: Sequence[Sequence[int]]) -> dict[str, str]:
    """Cluster names for the training photos, which stand first among the positions."""
    groups = {}
    for cluster in clusters:
        members = sorted(ids[at] for at in cluster if at < len(ids))
        if len(members) > 1:
            groups.update(dict.fromkeys(members, f"copies of {members[0]}"))
    return groups


def _name_classes(lot: Lot) -> dict[str, str]:
    return {car.label: car.name for car in lot.train.classes}
