"""What a file's name says of where the picture comes from; reads no file.

Tools that make new photos of a photo, and people who copy one, append something to its name. So
photos whose names are equal without it may be made of one picture. The name alone proves nothing:
a browser calls quite different pictures "images (1).jpg" and "images (2).jpg".
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from lotlens.records import Photo

MOST_OF_ONE_NAME = 200
"""Photos of one class; a name that more of them share tells nothing of their source."""

_LONGEST = 255  # characters; no file system allows more
_KIND = r"(?:jpe?g|jfif|png|webp|bmp|gif|tiff?|heic|avif)"
_GAP = r"[\s._\-–—]"
_COPY = r"(?:copy|copie|copia|kopie|копия)"
_NUMBER = r"(?:\s*\(\d{1,4}\))"
_CHANGE = (
    r"(?:rot|rotat(?:e|ed|ion)|turn(?:ed)?|[hv]?flip(?:ped|lr|ud)?|mirror(?:ed)?"
    r"|aug|augm|augment(?:ed|ation)?|edit(?:ed)?|crop(?:ped)?|zoom(?:ed)?|resized?|rescaled?"
    r"|scaled?|shear(?:ed)?|skew(?:ed)?|shift(?:ed)?|translat(?:e|ed|ion)|nois[ey]|blur(?:red)?"
    r"|cutout|erased?|warp(?:ed)?|affine|perspective|distort(?:ed|ion)?|transform(?:ed)?|jitter"
    r"|elastic|bright(?:ness)?|contrast)"
)
_AMOUNT = (
    rf"(?:{_GAP}?(?:[+-]?\d{{1,4}}(?:{_GAP}?deg)?"
    r"|left|right|horizontal|vertical|lr|ud|cc?w|[hvxy]))"
)
_MARKS = tuple(
    (re.compile(pattern, re.IGNORECASE), rest)
    for pattern, rest in (
        (rf"(?:[._]{_KIND})+\.rf\.[\w-]{{6,}}$", ""),  # Roboflow: car_jpg.rf.1a2b3c
        (rf"^(?:.*_)?original_(.+)\.{_KIND}_[0-9a-f-]{{36}}$", r"\1"),  # Augmentor
        (rf"{_NUMBER}$", ""),  # browsers, Windows: car (1)
        (r"~\d{1,2}$", ""),  # phones: car~2
        (rf"{_GAP}+{_COPY}(?:{_GAP}*\d{{1,3}}|{_NUMBER})?$", ""),  # car - Copy (2), car копия 2
        (rf"\s*\((?:another |\d+(?:st|nd|rd|th) )?{_COPY}(?: \d+)?\)$", ""),  # car (copy)
        (rf"{_GAP}+{_CHANGE}{_AMOUNT}{{0,3}}$", ""),  # car_rot90, car-rotated, car_aug_3
        (rf"{_GAP}+\d{{1,3}}deg$", ""),
        (rf"^{_COPY}{_NUMBER}?(?:\s+(?:of|de|di|von|из))?\s+", ""),  # Copy of car, Копия car
        (rf"^{_CHANGE}\d{{0,3}}[\s_\-]+", ""),  # rotated_car, aug_car
    )
)
# Most names have no mark: to see that, all patterns one by one would take ten times as long.
_HINT = re.compile(
    rf"[(~]|\.rf\.|\d{_GAP}?deg|original_|{_COPY}|{_GAP}{_CHANGE}|^{_CHANGE}", re.IGNORECASE
)


def name_source(photo_id: str) -> tuple[str, bool]:
    """The stem of a photo's name without what was added to it, case-folded.

    Args:
        photo_id: a file's name; folders before it are of no matter.

    Returns:
        the stem; and whether anything was taken away besides the file's ending.
    """
    name = unicodedata.normalize("NFC", photo_id.rsplit("/", 1)[-1])
    stem = re.sub(rf"(?:\.{_KIND})+$", "", name, flags=re.IGNORECASE)
    if len(stem) > _LONGEST or not _HINT.search(stem):
        return stem.casefold(), False
    source, shorter = "", stem
    while shorter != source:
        source = shorter
        for pattern, rest in _MARKS:
            without = pattern.sub(rest, shorter)
            # A name that is nothing but such a word says nothing.
            shorter = without if re.search(r"\w", without) else shorter
    return source.casefold(), source != stem


def group_by_source(photos: Sequence[Photo]) -> dict[tuple[str, str | None], tuple[int, ...]]:
    """Photos of one class whose names come of one source, where at least one says so.

    Across classes nothing is grouped: numbers such as (1) start anew in every folder.

    Returns:
        stem and label -> positions of two photos or more.
    """
    members: defaultdict[tuple[str, str | None], list[int]] = defaultdict(list)
    marked = set()
    for at, photo in enumerate(photos):
        stem, is_marked = name_source(photo.id)
        members[stem, photo.label].append(at)
        if is_marked:
            marked.add((stem, photo.label))
    return {
        key: tuple(some)
        for key, some in members.items()
        if key in marked and 1 < len(some) <= MOST_OF_ONE_NAME
    }
