"""Labels as people write them: what they mean, which are none, which are one name spelt twice."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

NO_LABEL_WORDS = frozenset(
    [
        *("nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nil", "-", "--", "—", "–", "?"),
        *("unknown", "undefined", "неизвестно", "неизвестен", "неизвестна", "нет данных"),
    ]
)
"""Words, in lower case, by which people and programs say that there is no label."""

_MINUS_ONE = "-1"
_FEWEST_NUMBERED = 2
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))
# Small letters of Cyrillic that look, small or capital, as those of Latin do.
_LOOKALIKES = str.maketrans("авекмнорстухіјѕё", "abekmhopctyxijse")


@dataclass(frozen=True)
class LabelRules:
    """What a person says of labels that are not plain.

    Attributes:
        fold: whether names that look like one name spelt twice count as one class; None to be
            asked.
        keep: words for "no label" that are classes here.
    """

    fold: bool | None = None
    keep: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Any) -> LabelRules:
        """Of the plain values of `recipes.schema.Labels`; what is missing or odd is as usual."""
        values = settings if isinstance(settings, Mapping) else {}
        fold, keep = values.get("fold"), values.get("keep")
        keep = keep if isinstance(keep, (list, tuple)) else ()
        words = [tidy_label(str(word)).casefold() for word in keep]
        return cls(fold if isinstance(fold, bool) else None, frozenset(words))


PLAIN_RULES = LabelRules()


def tidy_label(text: str) -> str:
    """A label without what spreadsheets and hands add.

    " 4" and "4.0" are "4"; blanks of all kinds are one blank, invisible signs are none, and
    letters are composed (NFC).
    """
    label = unicodedata.normalize("NFC", " ".join(text.translate(_INVISIBLE).split()))
    whole = re.fullmatch(r"(-?\d+)\.0+", label)
    return whole.group(1) if whole else label


def find_no_labels(labels: Collection[str], rules: LabelRules = PLAIN_RULES) -> frozenset[str]:
    """Those of these tidy labels that mean that there is none.

    -1 is one where the others are not numbers, or are numbered from 0.
    """
    none = {label for label in labels if not label or label.casefold() in NO_LABEL_WORDS}
    others = {label for label in labels if label not in none and label != _MINUS_ONE}
    # Of -1, 0 and 1 it may well be a class of its own.
    if not all(map(is_whole, others)) or ("0" in others and len(others) > _FEWEST_NUMBERED):
        none |= {_MINUS_ONE} & set(labels)
    return frozenset(label for label in none if label.casefold() not in rules.keep)


def find_alike(counts: Mapping[str, int], known: Collection[str] = ()) -> list[list[str]]:
    """Groups of labels that look like one name spelt twice, the commonest spelling first.

    Spellings may differ in case, in blanks, dashes and underscores, in leading zeros, and in
    letters of Cyrillic and Latin that look the same.

    Args:
        counts: tidy label -> photos.
        known: labels that a table of classes names: two of those are two classes.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[_reduce(label)].append(label)
    alike = []
    for labels in groups.values():
        if len(labels) > 1 and not all(label in known for label in labels):
            labels.sort(key=lambda label: (label not in known, -counts[label], label))
            alike.append(labels)
    return sorted(alike)


def count_spellings(texts: Iterable[str]) -> dict[str, int]:
    """Tidy label -> in how many ways it is written, of those written in several."""
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    for text in texts:
        label = tidy_label(text)
        if label and not is_whole(label):  # what spreadsheets do to numbers is no news
            spellings[label].add(text)
    return {label: len(ways) for label, ways in spellings.items() if len(ways) > 1}


def is_whole(label: str) -> bool:
    """Whether a label is a whole number."""
    return label.removeprefix("-").isdecimal()


def count_words(words: Iterable[str]) -> dict[str, int]:
    """Word for "no label" -> how often it stands there, the commonest first."""
    return dict(Counter(words).most_common())


def _reduce(label: str) -> str:
    """What two spellings of one name share."""
    text = unicodedata.normalize("NFKC", label).casefold().translate(_LOOKALIKES)
    text = re.sub(r"(?<=\w)[\s_\-\u2010-\u2015]+(?=\w)|_+", " ", text)
    return re.sub(r"(?<![\d.,])0+(?=\d)", "", text).strip()
