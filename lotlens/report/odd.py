"""Odd photos of a report: findings by check, with pictures; it writes no page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from lotlens.audit.checks import CHECKS
from lotlens.photos.archives import PhotoReader
from lotlens.records import Catalog, Finding, Lot, Photo
from lotlens.report.pictures import read_thumbnail

_THUMBNAIL_SIZE = (240, 180)
_MOST_PICTURED = 8  # findings per check
_MOST_NAMED = 100
_MOST_PICTURE_BYTES = 1_200_000


@dataclass(frozen=True)
class OddPhoto:
    """A photo of a finding, or one that is related to it.

    Attributes:
        id: of the photo; empty where a finding is about a class.
        thumbnail: a small JPEG, or None if there is none.
    """

    id: str
    thumbnail: bytes | None


@dataclass(frozen=True)
class OddCase:
    """A finding with its photos: its own one, and the first that is related to it."""

    sentence: str
    photos: tuple[OddPhoto, ...]


@dataclass(frozen=True)
class OddGroup:
    """What one check found.

    Attributes:
        check: its name.
        meaning: what it looks for, in English; empty for a check that is not known.
        sentence: what is said of all, if it is one sentence for all of them; else empty.
        count: all findings.
        cases: those that are shown with pictures.
        named: ids of further ones, as far as they are listed.
    """

    check: str
    meaning: str
    sentence: str
    count: int
    cases: tuple[OddCase, ...]
    named: tuple[str, ...]

    @property
    def num_more(self) -> int:
        """Findings that are only counted."""
        return self.count - len(self.cases) - len(self.named)


def show_odd(
    findings: Sequence[Finding], lot: Lot | None, catalog: Catalog
) -> tuple[OddGroup, ...]:
    """Findings by check, the commonest check first, the first of each with their pictures.

    Args:
        findings: in the order in which they are to be shown.
        lot: where the photos lie; None for those of `catalog`.
        catalog: photos of the part "train", if there is no lot.
    """
    by_check: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_check[finding.check].append(finding)
    ranked = sorted(by_check.items(), key=lambda item: (-len(item[1]), item[0]))
    with _Pictures(lot, catalog) as pictures:
        return tuple(_show_group(check, group, pictures) for check, group in ranked)


def _show_group(check: str, group: Sequence[Finding], pictures: _Pictures) -> OddGroup:
    sentences = {finding.sentence for finding in group}
    shared = sentences.pop() if len(sentences) == 1 and len(group) > 1 else ""
    shown = group[:_MOST_PICTURED]
    cases = tuple(
        OddCase("" if shared else finding.sentence, pictures.show(finding)) for finding in shown
    )
    named = tuple(f.photo_id for f in group[len(shown) :][:_MOST_NAMED] if f.photo_id)
    meaning = CHECKS[check].meaning if check in CHECKS else ""
    return OddGroup(check, meaning, shared, len(group), cases, named)


class _Pictures:
    """Photos of a lot by part and id, drawn small until a budget of bytes is spent."""

    def __init__(self, lot: Lot | None, catalog: Catalog) -> None:
        parts = {"train": catalog} if lot is None else {"train": lot.train, "test": lot.test}
        self._photos: dict[tuple[str, str], Photo] = {
            (part, photo.id): photo for part, photos in parts.items() for photo in photos.photos
        }
        self._reader = PhotoReader()
        self._bytes_left = _MOST_PICTURE_BYTES

    def __enter__(self) -> _Pictures:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()

    def show(self, finding: Finding) -> tuple[OddPhoto, ...]:
        """The finding's photo and the first related one that the lot has."""
        if not finding.photo_id:
            return ()
        part = "test" if finding.check == "leak" else finding.part
        known = [id_ for id_ in finding.related_ids if (part, id_) in self._photos]
        own = OddPhoto(finding.photo_id, self._draw(finding.part, finding.photo_id))
        return (own, *(OddPhoto(id_, self._draw(part, id_)) for id_ in known[:1]))

    def _draw(self, part: str, id_: str) -> bytes | None:
        photo = self._photos.get((part, id_))
        if photo is None or self._bytes_left <= 0:
            return None
        thumbnail = read_thumbnail(photo.locator, self._reader, _THUMBNAIL_SIZE)
        self._bytes_left -= len(thumbnail or b"")
        return thumbnail
