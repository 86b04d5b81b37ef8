"""How a run's photos and their split follow what people have decided on since it was trained."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from lotlens.audit.checks import LABEL_CONFLICT
from lotlens.audit.findings import Audit
from lotlens.audit.parts import LOCKED, TRAIN
from lotlens.audit.split import cluster_photos
from lotlens.photos.fingerprint import fingerprint
from lotlens.photos.tables import read_own_table, require_columns
from lotlens.records import Catalog, Split
from lotlens.run import RunFolder


def compare_labels(before: Catalog, now: Catalog) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of photos with another label now, and of those that are no longer there."""
    labels = {photo.id: photo.label for photo in now.photos}
    relabelled = [p.id for p in before.photos if p.id in labels and labels[p.id] != p.label]
    left_out = [photo.id for photo in before.photos if photo.id not in labels]
    return tuple(relabelled), tuple(left_out)


def follow_decisions(
    split: Split, catalog: Catalog, dropped: frozenset[str] = frozenset()
) -> Split:
    """The split of the photos that are left; who is on which side stays as it was."""
    known = set(catalog.ids) - dropped
    parts = {part: tuple(id_ for id_ in ids if id_ in known) for part, ids in split.parts.items()}
    return Split(parts, split.seed, fingerprint(catalog))


def read_contradicted(run: RunFolder) -> frozenset[str]:
    """Training photos that a run left out or grouped since a copy of theirs had another label."""
    if not run.findings_path.is_file():
        return frozenset()
    table = read_own_table(run.findings_path, may_lack_rows=True)
    places = require_columns(table, Id=("id",), Part=("part",), Check=("check",))
    rows = [[row[place] for place in places] for row in table.rows]
    return frozenset(id_ for id_, part, check in rows if (part, check) == ("train", LABEL_CONFLICT))


def take_in(contradicted: Collection[str], split: Split, catalog: Catalog, found: Audit) -> Split:
    """The split with photos whose labels contradicted those of copies, and do so no longer.

    They join the part that holds their cluster; where none does, training or the smallest fold.
    """
    cluster_of = cluster_photos(catalog, found.groups)
    part_of = {cluster_of[id_]: part for part, ids in split.parts.items() for id_ in ids}
    settled = (set(contradicted) & set(catalog.ids)) - found.dropped
    parts = dict(split.parts)
    for id_ in sorted(settled.difference(*parts.values())):
        smallest = min((part for part in parts if part != LOCKED), key=lambda p: len(parts[p]))
        part = part_of.setdefault(cluster_of[id_], TRAIN if TRAIN in parts else smallest)
        parts[part] = (*parts[part], id_)
    return replace(split, parts=parts)
