"""Classes of a lot: their order, their names, and labels that may be one name spelt twice."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lotlens.errors import InputError
from lotlens.photos.labels import LabelRules, find_alike, is_whole, tidy_label
from lotlens.photos.tables import CLASS_COLUMNS, NAME_COLUMNS, Table, list_some, require_columns
from lotlens.records import CarClass, Finding

SIMILAR = "similar-labels"
"""The check that finds two classes which look like one name spelt twice."""


@dataclass(frozen=True)
class ClassNames:
    """A table of classes.

    Attributes:
        shown: how messages call it.
        names: label -> name, in the file's order.
    """

    shown: str
    names: Mapping[str, str]


@dataclass(frozen=True)
class Settled:
    """What becomes of labels that look like one name spelt twice.

    Attributes:
        canonical: label -> the one it counts as; others stay as they are.
        findings: on pairs that a person is asked about.
        notes: what was decided, one sentence each.
    """

    canonical: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


def settle_spellings(
    counts: Mapping[str, int], names: ClassNames | None, rules: LabelRules
) -> Settled:
    """Fold labels that look like one name spelt twice, if the rules say so, or ask about them.

    Args:
        counts: tidy label -> photos.
        names: of classes that are known to be apart.
        rules: a person's.
    """
    alike = find_alike(counts, names.names if names else ())
    if rules.fold:
        canonical = {label: group[0] for group in alike for label in group[1:]}
        notes = [
            f"{list_some(map(repr, group[1:]))} counts as {group[0]!r}, as labels.fold says"
            for group in alike
        ]
        return Settled(canonical, (), tuple(notes))
    findings = []
    for group in alike if rules.fold is None else ():
        told = ", ".join(f"{label!r} ({_count_photos(counts[label])})" for label in group)
        sentence = f"{told} look like one class spelt in {len(group)} ways."
        findings.append(Finding("", SIMILAR, 1.0, (), sentence))
    return Settled({}, tuple(findings))


def _count_photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"


def read_class_names(table: Table) -> ClassNames:
    """Names of classes, from a table with a column for the label and one for the name.

    Raises:
        InputError: a column is missing, a cell empty, or a class has two names.
    """
    label_at, name_at = require_columns(table, label=CLASS_COLUMNS, name=NAME_COLUMNS)
    names: dict[str, str] = {}
    for number, row in enumerate(table.rows, start=2):
        label = tidy_label(row[label_at])
        name = unicodedata.normalize("NFC", row[name_at].strip())
        if not label or not name:
            raise InputError(f"{table.name}, row {number}: a class needs a label and a name")
        if names.setdefault(label, name) != name:
            raise InputError(f"{table.name} gives {label!r} two names: {names[label]} and {name}")
    return ClassNames(table.name, names)


def make_classes(
    labels: Iterable[str], names: ClassNames | None, source: str
) -> tuple[CarClass, ...]:
    """The classes in their fixed order: numeric, else of the table of classes, else sorted.

    Raises:
        InputError: there are names, but not for every label.
    """
    known = dict(names.names) if names else {}
    present = set(labels)
    nameless = sorted(present - known.keys())
    if names and nameless:
        raise InputError(
            f"{names.shown} has no name for {list_some([repr(label) for label in nameless])},"
            f" which {source} uses: add a row for each"
        )
    order = list(known) if names else sorted(present)
    if all(is_whole(label) for label in order):
        order.sort(key=lambda label: (int(label), label))
    return tuple(CarClass(label, known.get(label, label)) for label in order)
