"""What an audit found becomes one HTML file, photos side by side; it checks nothing itself.

Ids, labels and class names are strangers' text: always escaped, and cut where they are endless.
What a lot can have very many of (findings, pictures, classes) is shown up to a limit; the rest is
counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

from lotlens.audit.checks import CHECKS, Action, Check
from lotlens.audit.findings import Audit
from lotlens.files import write_text_atomically
from lotlens.photos.archives import PhotoReader
from lotlens.records import Catalog, Finding, Lot
from lotlens.report.language import ENGLISH, Language, mark
from lotlens.report.pictures import read_thumbnail
from lotlens.report.templates import render_page
from lotlens.texts import show

_THUMBNAIL_SIZE = (200, 150)
_MOST_FINDINGS = 40  # per check
_MOST_RELATED = 4  # per finding
# Noise makes thumbnails of 22 kB, three times the usual: the number alone would not bound the page.
_MOST_PICTURES = 600
_MOST_PICTURE_BYTES = 6_000_000
_MOST_CLASSES = 100
_MOST_SIZES = 10

ACTIONS: Mapping[Action, str] = {
    "drop": mark("are left out"),
    "group": mark("are kept on one side of every split"),
    "keep": mark("are kept"),
}


@dataclass(frozen=True)
class _Picture:
    """A photo as the page shows it.

    Attributes:
        label: the class's name, or None if it is not known.
        is_known: whether the catalog has the photo; if not, there is nothing to show but its id.
        thumbnail: a small JPEG, or None if the photo cannot be read.
    """

    id: str
    part: str
    label: str | None
    is_known: bool
    thumbnail: bytes | None


@dataclass(frozen=True)
class _Example:
    """A finding as the page shows it.

    Attributes:
        photo_id: empty for a finding about a whole class.
        pictures: its own photo, if the catalog has it, and related ones.
        num_more: related photos without a picture here.
    """

    photo_id: str
    sentence: str
    pictures: tuple[_Picture, ...]
    num_more: int


@dataclass(frozen=True)
class _Section:
    check: Check
    action: str
    count: int
    examples: Sequence[_Example]


def write_findings_page(
    path: Path, audit: Audit, lot: Lot, *, synthetic: bool, language: Language = ENGLISH
) -> None:
    """Write what an audit found as one HTML file, whole or not at all.

    The page stays near 10 MB for any lot: of each check at most 40 findings are shown, and all in
    all at most 600 pictures and 6 MB of JPEG. Photos that cannot be read are said to be so.

    Args:
        path: the file to write.
        audit: of `lot`.
        lot: where the photos lie.
        synthetic: whether the photos were drawn; the page then says so at its top.
        language: what it is written in.

    Raises:
        OutputError: the file cannot be written.
    """
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in audit.findings:
        groups[finding.check].append(finding)
    examples = _illustrate(groups, lot)
    sections = [
        _Section(
            CHECKS[name], language.say(ACTIONS[audit.actions[name]]), len(group), examples[name]
        )
        for name, group in groups.items()
    ]
    # The smallest first: they are the hardest to learn.
    classes = sorted(
        ((car, audit.class_counts.get(car.label, 0)) for car in lot.train.classes),
        key=lambda item: item[1],
    )
    names = Counter(car.name for car, _ in classes)
    sizes = sorted(audit.sizes.items(), key=lambda item: (-item[1], item[0]))
    by_area = sorted(audit.sizes, key=lambda size: (size[0] * size[1], size))
    page = render_page(
        "findings.html.jinja",
        "tables.js",
        language=language,
        title=language.say("Audit of %(data)s", data=lot.source.absolute().name or str(lot.source)),
        synthetic=synthetic,
        verdict=_conclude(audit, sections, language),
        audit=audit,
        num_classes=len(classes),
        num_groups=len(set(audit.groups.values())),
        sections=sections,
        shared_names={name for name, count in names.items() if count > 1},
        classes=classes[:_MOST_CLASSES],
        largest_class=max((count for _, count in classes), default=0),
        sizes=sizes[:_MOST_SIZES],
        num_sizes=len(sizes),
        commonest_size=sizes[0][1] if sizes else 0,
        extremes=[by_area[0], by_area[-1]] if by_area else [],
    )
    # Names in it could turn the direction of what follows; the page itself has no such signs.
    write_text_atomically(path, show(page))


def _conclude(audit: Audit, sections: Sequence[_Section], language: Language) -> str:
    if not audit.num_errors:
        return language.say("Nothing here makes figures wrong.")
    is_english = language.code == ENGLISH.code
    kinds = (", " if is_english else "; ").join(
        f"{section.check.name if is_english else language.say(section.check.meaning)}"
        f" ({language.whole(section.count)})"
        for section in sections
        if section.check.severity == "error"
    )
    told = language.translate_many(
        "%(num)s error: %(kinds)s.", "%(num)s errors: %(kinds)s.", audit.num_errors
    )
    return told % {"num": language.whole(audit.num_errors), "kinds": kinds}


def _illustrate(groups: Mapping[str, Sequence[Finding]], lot: Lot) -> dict[str, list[_Example]]:
    """The first findings of each check with their pictures.

    The checks take turns, so that none is left without pictures because another has very many.
    """
    album = _Album(lot)
    examples: dict[str, list[_Example]] = {name: [] for name in groups}
    num_pictures = num_bytes = 0
    turns = zip_longest(*(group[:_MOST_FINDINGS] for group in groups.values()))
    with PhotoReader() as reader:
        for finding in chain.from_iterable(turns):
            if num_pictures + 1 + _MOST_RELATED > _MOST_PICTURES or num_bytes > _MOST_PICTURE_BYTES:
                break
            if finding is None:
                continue
            example = album.illustrate(finding, reader)
            thumbnails = [p.thumbnail for p in example.pictures if p.thumbnail is not None]
            num_pictures += len(thumbnails)
            num_bytes += sum(map(len, thumbnails))
            examples[finding.check].append(example)
    return examples


class _Album:
    """The photos of a lot by part and id."""

    def __init__(self, lot: Lot) -> None:
        catalogs: dict[str, Catalog] = {"train": lot.train, "test": lot.test}
        self._photos = {
            (part, photo.id): photo
            for part, catalog in catalogs.items()
            for photo in catalog.photos
        }
        self._names = {car.label: car.name for car in lot.train.classes}

    def illustrate(self, finding: Finding, reader: PhotoReader) -> _Example:
        if not finding.photo_id:
            return _Example("", finding.sentence, (), 0)
        own = self._show(finding.part, finding.photo_id, reader)
        related_part = "test" if finding.check == "leak" else finding.part
        related = tuple(
            self._show(related_part, id_, reader) for id_ in finding.related_ids[:_MOST_RELATED]
        )
        return _Example(
            finding.photo_id,
            finding.sentence,
            (own, *related) if own.is_known else related,
            len(finding.related_ids) - len(related),
        )

    def _show(self, part: str, id_: str, reader: PhotoReader) -> _Picture:
        photo = self._photos.get((part, id_))
        if photo is None:
            return _Picture(id_, part, None, False, None)
        label = None if photo.label is None else self._names.get(photo.label, photo.label)
        thumbnail = read_thumbnail(photo.locator, reader, _THUMBNAIL_SIZE)
        return _Picture(id_, part, label, True, thumbnail)
