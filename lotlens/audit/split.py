"""Photos are parted into training and validation; it does not know what is trained on them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lotlens.errors import BundleError, InputError
from lotlens.files import write_rows_atomically
from lotlens.photos.sources import fingerprint
from lotlens.records import Catalog, Photo, Split

TRAIN = "train"
VALIDATION = "validation"
_COLUMNS = ("Id", "Part", "Seed", "Fingerprint")


def draw_split(
    catalog: Catalog,
    *,
    validation: float = 0.15,
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> Split:
    """Part the labelled photos, stratified by class, photos that belong together on one side.

    Photos belong together if they share a listing or a group, also by way of a third photo.
    Clusters stand in an order drawn from (seed, photo id) alone, so the split depends neither on
    the order of the catalog nor on the order of its classes. Classes are served from the rarest
    up, as in iterative stratification (Sechidis et al. 2011); each takes clusters in the drawn
    order while that brings it nearer to its share, and never the last cluster another class has
    left for training. Photos without a label are left out.

    Args:
        catalog: photos to part.
        validation: share of each class's photos to hold out, above 0 and below 1.
        seed: another seed draws another split.
        groups: photo id -> group name, for clusters beyond listings: exact copies,
            near-duplicates. Ids that are missing here, or not in the catalog, are of no matter.

    Returns:
        parts "train" and "validation", ids sorted; every class is in both.

    Raises:
        InputError: `validation` is not a share; no photo has a label; a class has no photo or a
            single one, or all of them belong together, so that it cannot be on both sides.
    """
    if not 0 < validation < 1:
        raise InputError(f"the validation share must lie between 0 and 1, not be {validation}")
    photos = tuple(photo for photo in catalog.photos if photo.label is not None)
    if not photos:
        raise InputError("no photo has a label, so there is nothing to train or validate on")
    targets = Catalog(photos, catalog.classes).targets()
    clusters = _gather_clusters(photos, targets, len(catalog.classes), seed, groups or {})
    _check_classes(catalog, clusters)
    held_out = _choose_clusters(catalog, clusters, validation)
    parts: dict[str, list[str]] = {TRAIN: [], VALIDATION: []}
    for position, cluster in enumerate(clusters):
        parts[VALIDATION if position in held_out else TRAIN].extend(cluster.ids)
    return Split(
        {part: tuple(sorted(ids)) for part, ids in parts.items()},
        seed,
        fingerprint(catalog),
    )


def write_split(path: Path, split: Split) -> None:
    """Write a split as CSV with the columns Id, Part, Seed and Fingerprint.

    Raises:
        OutputError: the file cannot be written.
    """
    write_rows_atomically(
        path,
        _COLUMNS,
        (
            (id_, part, split.seed, split.fingerprint)
            for part, ids in split.parts.items()
            for id_ in ids
        ),
    )


def read_split(path: Path) -> Split:
    """Read what `write_split` wrote.

    Raises:
        BundleError: the file is missing or damaged, or names a photo twice.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BundleError(f"the split {path} cannot be read: {error}; draw it anew") from error
    if len(rows) < 2 or tuple(rows[0]) != _COLUMNS:
        raise BundleError(
            f"the split {path} is damaged: it needs the header {','.join(_COLUMNS)} and a row or"
            " more; draw it anew"
        )
    parts: dict[str, list[str]] = {}
    seen: set[str] = set()
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(_COLUMNS) or row[2:] != rows[1][2:] or not _is_whole(row[2]):
            raise BundleError(f"the split {path} is damaged at row {number}: {','.join(row)}")
        id_, part = row[:2]
        if id_ in seen:
            raise BundleError(f"the split {path} names the photo {id_} twice; draw it anew")
        seen.add(id_)
        parts.setdefault(part, []).append(id_)
    return Split(
        {part: tuple(ids) for part, ids in parts.items()}, int(rows[1][2]), fingerprint=rows[1][3]
    )


@dataclass(frozen=True)
class _Cluster:
    """Photos that belong together.

    Attributes:
        ids: theirs.
        counts: [K] photos per class (a wrong label may put two classes into one cluster).
    """

    ids: tuple[str, ...]
    counts: NDArray[np.int64]


def _gather_clusters(
    photos: Sequence[Photo],
    targets: NDArray[np.int64],
    num_classes: int,
    seed: int,
    groups: Mapping[str, str],
) -> list[_Cluster]:
    """Clusters of photos joined by listing or group, in the drawn order."""
    names: dict[tuple[str, str], int] = {}
    links: list[tuple[int, int]] = []
    for row, photo in enumerate(photos):
        for kind, name in (("listing", photo.listing), ("group", groups.get(photo.id))):
            if name is not None:
                links.append((row, len(photos) + names.setdefault((kind, name), len(names))))
    num_nodes = len(photos) + len(names)
    rows, columns = zip(*links, strict=True) if links else ((), ())
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(num_nodes, num_nodes))
    _, component = connected_components(graph, directed=False)
    members: dict[int, list[int]] = {}
    for row in range(len(photos)):
        members.setdefault(int(component[row]), []).append(row)
    ranked = sorted(
        (min(_rank(seed, photos[row].id) for row in cluster), cluster)
        for cluster in members.values()
    )
    return [
        _Cluster(
            tuple(photos[row].id for row in cluster),
            np.bincount(targets[cluster], minlength=num_classes).astype(np.int64),
        )
        for _, cluster in ranked
    ]


def _rank(seed: int, photo_id: str) -> bytes:
    return hashlib.blake2b(json.dumps([seed, photo_id]).encode(), digest_size=16).digest()


def _check_classes(catalog: Catalog, clusters: Sequence[_Cluster]) -> None:
    """Refuse classes that cannot be on both sides, all of them in one message."""
    mistakes = []
    for position in range(len(catalog.classes)):
        holding = [cluster for cluster in clusters if cluster.counts[position]]
        num_photos = sum(int(cluster.counts[position]) for cluster in holding)
        if num_photos < 2:
            mistakes.append(f"{_name(catalog, position)} has {num_photos or 'no'} photo")
        elif len(holding) < 2:
            mistakes.append(
                f"all {num_photos} photos of {_name(catalog, position)} are of one listing"
                " or copies"
            )
    if mistakes:
        raise InputError(
            "a class needs two photos of different cars, one to train on and one to validate on,"
            f" but {'; '.join(mistakes)}: add photos, or leave the class out"
        )


def _choose_clusters(
    catalog: Catalog, clusters: Sequence[_Cluster], validation: float
) -> frozenset[int]:
    """Positions of the clusters to hold out."""
    counts = np.stack([cluster.counts for cluster in clusters])
    # Clusters per class that are still on the training side; none may fall to zero.
    left_for_training = (counts > 0).sum(axis=0)
    held_out: set[int] = set()
    decided: set[int] = set()

    def may_hold_out(position: int) -> bool:
        return bool((left_for_training[counts[position] > 0] > 1).all())

    def hold_out(position: int) -> None:
        held_out.add(position)
        left_for_training[counts[position] > 0] -= 1

    by_rarity = sorted(
        range(len(catalog.classes)),
        key=lambda k: (int((counts[:, k] > 0).sum()), catalog.labels[k]),
    )
    for k in by_rarity:
        holding = [int(position) for position in np.flatnonzero(counts[:, k])]
        wanted = max(1, math.floor(validation * counts[:, k].sum() + 0.5))
        taken = sum(int(counts[position, k]) for position in held_out)
        for position in holding:
            nearer = abs(taken + counts[position, k] - wanted) < abs(taken - wanted)
            if position not in decided and nearer and may_hold_out(position):
                hold_out(position)
                taken += int(counts[position, k])
        if not taken:
            # Every cluster is too big, or was already left for training: take the smallest.
            possible = [p for p in holding if may_hold_out(p)]
            if not possible:
                raise InputError(
                    f"{_name(catalog, k)} cannot be on both sides of the split: its photos belong"
                    " together with those of other rare classes; add photos, or mend labels that"
                    " contradict each other within a listing"
                )
            hold_out(min(possible, key=lambda p: int(counts[p].sum())))
        decided.update(holding)
    return frozenset(held_out)


def _name(catalog: Catalog, position: int) -> str:
    car = catalog.classes[position]
    return f"class {car.label}" + (f" ({car.name})" if car.name != car.label else "")


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
