"""Photos are parted for training, validation and a last test; what is trained is not known here.

A cluster is a set of photos that belong together: they share a listing or a group (exact copies,
near-duplicates), also by way of a third photo. No cluster ever straddles two parts. Clusters stand
in an order drawn from a seed and the photo ids alone, so a split depends neither on the order of
the catalog nor on the order of its classes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lotlens.audit.parts import FOLD, LOCKED, TRAIN, VALIDATION
from lotlens.errors import InputError
from lotlens.photos.fingerprint import fingerprint
from lotlens.photos.tables import list_some
from lotlens.records import CarClass, Catalog, Finding, Split

_MAX_RELATED = 20


def draw_split(
    catalog: Catalog,
    *,
    validation: float = 0.15,
    seed: int,
    groups: Mapping[str, str] | None = None,
    lock: float = 0.0,
    dropped: Collection[str] = (),
) -> Split:
    """Part the labelled photos into training and validation, stratified by class, clusters whole.

    Classes are served from the rarest up, as in iterative stratification (Sechidis et al. 2011);
    each gives about its share, and never the last cluster another class has left for training.
    Photos of a class are held out equally often, whatever the size of their cluster, but for a
    cluster that holds more than half of its class and is only trained on. So is a class with a
    single cluster (see `list_rare_classes`). Photos without a label are left out.

    Args:
        catalog: photos to part.
        validation: share of each class's photos to hold out, above 0 and below 1; with `lock`,
            of those that are left.
        seed: another seed draws another split.
        groups: photo id -> group name, for clusters beyond listings: exact copies,
            near-duplicates. Ids that are missing here, or not in the catalog, are of no matter.
        lock: share of each class's photos to put aside first, from 0 to below 1. Which photos
            these are depends on the photos and their clusters alone, and not on the seed, the
            validation share or the number of folds: no choice made by comparing those has seen
            them. Classes with fewer than three clusters have none to spare.
        dropped: ids of photos to leave out of every part; ids not in the catalog are of no
            matter. A dropped photo still joins the clusters it belongs to.

    Returns:
        parts "train", "validation" and, with `lock`, "locked", ids sorted; every class is in
        "train".

    Raises:
        InputError: a share is out of range; a class has no photo that can be used; no class can
            be validated, or none locked.
    """
    if not 0 < validation < 1:
        raise InputError(f"the validation share must lie between 0 and 1, not be {validation}")
    locked, rest = _lock_away(_gather_usable(catalog, groups, dropped), lock)
    held_out, kept = _take_share(_order(rest, seed), validation, seed, num_left=1)
    if not held_out:
        raise InputError(_tell_unvalidated((*locked, *rest)))
    return _make_split(catalog, seed, {TRAIN: kept, VALIDATION: held_out, LOCKED: locked})


def draw_folds(
    catalog: Catalog,
    *,
    num_folds: int,
    seed: int,
    groups: Mapping[str, str] | None = None,
    lock: float = 0.0,
    dropped: Collection[str] = (),
) -> Split:
    """Part the labelled photos into folds of equal size, stratified by class, clusters whole.

    Each fold is meant to be validated once, by what was trained on all the others. Clusters are
    dealt out from large to small, each to the fold that holds the least of its classes. That
    balances as well as scikit-learn's StratifiedGroupKFold, in a tenth of its time. A class with
    two clusters or more is in two folds or more, so that every training side holds it, unless
    contradicting labels tie classes together in too many clusters for that.

    Args:
        catalog: photos to part.
        num_folds: how many, 2 or more.
        seed: another seed draws other folds.
        groups: photo id -> group name, as for `draw_split`.
        lock: share of each class's photos to put aside first, as for `draw_split`; at the same
            share they are the same photos.
        dropped: ids of photos to leave out of every part, as for `draw_split`.

    Returns:
        parts "fold-1", "fold-2" and so on and, with `lock`, "locked", ids sorted; no part is empty.

    Raises:
        InputError: the number of folds or the share is out of range; a class has no photo that
            can be used; there are fewer clusters than folds; no class can be validated, or none
            locked.
    """
    if num_folds < 2:
        raise InputError(f"folds must be 2 or more, not {num_folds}")
    locked, rest = _lock_away(_gather_usable(catalog, groups, dropped), lock)
    if len(rest) < num_folds:
        raise InputError(
            f"{num_folds} folds need as many cars, and the photos show {len(rest)} (photos of one"
            " listing and copies count as one): ask for fewer folds, or add photos"
        )
    if max(_count_clusters(rest).values()) < 2:
        raise InputError(_tell_unvalidated((*locked, *rest)))
    folds = _deal_clusters(_order(rest, seed), num_folds)
    parts = {f"{FOLD}{number}": fold for number, fold in enumerate(folds, start=1)}
    return _make_split(catalog, seed, {**parts, LOCKED: locked})


def list_rare_classes(
    catalog: Catalog,
    groups: Mapping[str, str] | None = None,
    dropped: Collection[str] = (),
    *,
    num_needed: int = 2,
    lock: float = 0.0,
) -> tuple[Finding, ...]:
    """Name the classes with too few clusters to be trained on and validated as they should be.

    Args:
        catalog: photos to part.
        groups: photo id -> group name, as for `draw_split`.
        dropped: ids of photos that are left out, as for `draw_split`.
        num_needed: clusters a class needs: 2 for training and validation, k for k folds.
        lock: share of each class's photos that is put aside first; what is left must suffice.

    Returns:
        a finding "rare-class" for each, in class order, about its first photo by name; up to 20
        others are related. Classes with no photo that can be used are not named: the drawing
        functions refuse them.

    Raises:
        InputError: `lock` is out of range, or no photos can be locked.
    """
    _, clusters = _lock_away(_gather_clusters(catalog, groups, dropped), lock)
    num_clusters = _count_clusters(clusters)
    left_out = set(dropped)
    ids_of: defaultdict[str | None, list[str]] = defaultdict(list)
    for photo in sorted(catalog.photos, key=lambda photo: photo.id):
        if photo.id not in left_out:
            ids_of[photo.label].append(photo.id)
    findings = []
    for car in catalog.classes:
        if not 0 < num_clusters[car.label] < num_needed:
            continue
        ids = ids_of[car.label]
        if num_clusters[car.label] > 1:
            fault = (
                f"has photos of only {num_clusters[car.label]} cars for {num_needed} folds, so it"
                " is missing from the validation side of some folds: add photos of other cars"
            )
        else:
            few = (
                "has only one photo"
                if len(ids) == 1
                else f"has {len(ids)} photos that are all of one listing or copies"
            )
            fault = (
                f"{few}, so it is trained on but cannot be validated: add photos of another car"
                " or leave the class out"
            )
        findings.append(
            Finding(
                ids[0],
                "rare-class",
                1.0,
                tuple(ids[1 : 1 + _MAX_RELATED]),
                f"The {_show_class(car)} {fault}.",
            )
        )
    return tuple(findings)


def cluster_photos(catalog: Catalog, groups: Mapping[str, str] | None = None) -> dict[str, int]:
    """The number of its cluster for each labelled photo: the same for photos that belong together.

    Args:
        catalog: photos.
        groups: photo id -> group name, as for `draw_split`.
    """
    clusters = _gather_clusters(catalog, groups, ())
    return {id_: number for number, cluster in enumerate(clusters) for id_ in cluster.ids}


def check_split(split: Split, catalog: Catalog, groups: Mapping[str, str] | None = None) -> None:
    """Refuse a stored split that does not fit the catalog, or leaks.

    Raises:
        InputError: the split was drawn from a catalog of another fingerprint, names photos that
            this one lacks, or has photos that belong together in different parts.
    """
    known = set(catalog.ids)
    ids = [id_ for part in split.parts.values() for id_ in part]
    unknown = sorted(id_ for id_ in ids if id_ not in known)
    mark = fingerprint(catalog)
    mistakes = []
    if unknown:
        mistakes.append(
            f"{len(unknown):,} of its {len(ids):,} photos are not in the catalog of"
            f" {len(known):,} ({list_some(unknown)})"
        )
    if mark != split.fingerprint:
        mistakes.append(
            f"it was drawn from photos or labels with the fingerprint {split.fingerprint[:12]},"
            f" and these have {mark[:12]}"
        )
    cluster_of = cluster_photos(catalog, groups)
    part_of: dict[int, str] = {}
    straddling = [
        id_
        for part, members in split.parts.items()
        for id_ in members
        if id_ in cluster_of and part_of.setdefault(cluster_of[id_], part) != part
    ]
    if straddling:
        mistakes.append(
            f"{len(straddling):,} of its photos have a copy, or a photo of their listing, in"
            f" another part ({list_some(straddling)})"
        )
    if mistakes:
        raise InputError(
            f"the split does not fit the photos: {'; '.join(mistakes)}. Give the data it was drawn"
            " from, or draw it anew"
        )


@dataclass(frozen=True)
class _Cluster:
    """Photos that belong together.

    Attributes:
        ids: theirs.
        counts: label -> photos (a wrong label may put two classes into one cluster).
    """

    ids: tuple[str, ...]
    counts: Mapping[str, int]


def _tell_unvalidated(clusters: Sequence[_Cluster]) -> str:
    """Why no class can be validated, and what to do; most often each has but one photo."""
    counts: Counter[str] = Counter()
    for cluster in clusters:
        counts.update(cluster.counts)
    num_lone = sum(count == 1 for count in counts.values())
    if num_lone == len(counts):
        return (
            "each class has only one photo that can be used, and two of different cars are needed,"
            " to train on and to validate: add photos of other cars"
        )
    first = ""
    if num_lone:
        verb = "has" if num_lone == 1 else "have"
        first = (
            f"{num_lone:,} of {len(counts):,} classes {verb} only one photo that can be used, and "
        )
    return (
        f"{first}no class can be both trained on and validated, since the photos of each are of one"
        " listing, or copies, or in one listing with the only photos of another class: add photos"
        " of other cars, or mend labels that contradict each other within a listing"
    )


def _gather_usable(
    catalog: Catalog, groups: Mapping[str, str] | None, dropped: Collection[str]
) -> list[_Cluster]:
    """The clusters of a catalog in which every class has a photo that can be used."""
    if all(photo.label is None for photo in catalog.photos):
        raise InputError("no photo has a label, so there is nothing to train or validate on")
    clusters = _gather_clusters(catalog, groups, dropped)
    present = _count_clusters(clusters)
    empty = [car for car in catalog.classes if car.label not in present]
    if empty and not present:
        raise InputError("no photo of any class can be used: lotlens audit DATA says why")
    if empty:
        listed = list_some(map(_name_class, empty), 10)
        classes = "class" if len(empty) == 1 else "classes"
        raise InputError(
            f"no photo can be used of {classes} {listed}: add photos, or leave the {classes} out"
        )
    return clusters


def _gather_clusters(
    catalog: Catalog, groups: Mapping[str, str] | None, dropped: Collection[str]
) -> list[_Cluster]:
    """What is labelled and not dropped, in clusters joined by listing or group; in no order.

    Unlabelled and dropped photos join clusters too: if the copy in a second advert is dropped,
    the rest of that advert still shows the same car.
    """
    groups = groups or {}
    photos = catalog.photos
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
    left_out = set(dropped)
    members: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    for photo, number in zip(photos, component[: len(photos)].tolist(), strict=True):
        if photo.label is not None and photo.id not in left_out:
            members[number].append((photo.id, photo.label))
    return [
        _Cluster(tuple(id_ for id_, _ in cluster), Counter(label for _, label in cluster))
        for cluster in members.values()
    ]


def _count_clusters(clusters: Sequence[_Cluster]) -> Counter[str]:
    """Label -> clusters that hold it."""
    return Counter(label for cluster in clusters for label in cluster.counts)


def _order(clusters: Sequence[_Cluster], seed: int | str) -> list[_Cluster]:
    """The clusters in the order drawn for a seed.

    By one photo of each: the least of several ranks would bring large clusters to the front.
    """
    return sorted(clusters, key=lambda cluster: _rank(seed, min(cluster.ids)))


def _rank(*drawn_by: int | str) -> bytes:
    return hashlib.blake2b(json.dumps(drawn_by).encode(), digest_size=16).digest()


def _draw_start(seed: int | str, label: str, clusters: Sequence[_Cluster]) -> float:
    """Where on its circle a class begins to be taken, in 0..1; its clusters in the drawn order.

    Clusters of one size are as likely in the first place as in any other: then at the beginning.
    """
    if len({cluster.counts[label] for cluster in clusters}) < 2:
        return 0.0
    return int.from_bytes(_rank(seed, min(clusters[0].ids), label)[:6]) / 2**48


def _lock_away(
    clusters: Sequence[_Cluster], lock: float
) -> tuple[Sequence[_Cluster], Sequence[_Cluster]]:
    """The clusters to lock, and the rest, in which each class keeps two if it has them."""
    if not 0 <= lock < 1:
        raise InputError(f"the locked share must be 0 or more and below 1, not {lock}")
    if lock == 0:
        return (), clusters
    locked, rest = _take_share(_order(clusters, LOCKED), lock, LOCKED, num_left=2)
    if not locked:
        raise InputError(
            "no photos can be locked, since no class has photos of three cars, to train on, to"
            " validate and to lock (photos of one listing and copies count as one): add photos,"
            " or set the locked share to 0"
        )
    return locked, rest


def _take_share(
    clusters: Sequence[_Cluster], share: float, seed: int | str, *, num_left: int
) -> tuple[list[_Cluster], list[_Cluster]]:
    """About a share of every class's photos, and the rest; clusters come in the drawn order.

    Photos of a class have the same chance to be taken, whatever the size of their cluster (see
    `_cut_arc`), but for those of a cluster that holds more than half of its class, which is left.
    Of every class at least `num_left` clusters are left, if it has as many.
    """
    holding: defaultdict[str, list[int]] = defaultdict(list)
    for position, cluster in enumerate(clusters):
        for label in cluster.counts:
            holding[label].append(position)
    left = Counter({label: len(positions) for label, positions in holding.items()})
    taken: set[int] = set()
    decided: set[int] = set()

    def may_take(position: int) -> bool:
        return all(left[label] > num_left for label in clusters[position].counts)

    def take(position: int) -> None:
        taken.add(position)
        left.subtract(clusters[position].counts.keys())

    for label in sorted(holding, key=lambda label: (len(holding[label]), label)):
        counts = {position: clusters[position].counts[label] for position in holding[label]}
        num_taken = sum(count for position, count in counts.items() if position in taken)
        total = sum(counts.values())
        open_counts = {
            position: count
            for position, count in counts.items()
            if position not in decided and 2 * count <= total
        }
        wanted = math.floor(share * total + 0.5) - num_taken
        start = _draw_start(seed, label, [clusters[position] for position in open_counts])
        for position in _cut_arc(open_counts, wanted, start):
            if may_take(position):
                take(position)
                num_taken += 1
        if not num_taken:
            # Every cluster is too big, or was already left over: take the first that may go.
            possible = [position for position in (*open_counts, *counts) if may_take(position)]
            if possible:
                take(possible[0])
        decided.update(counts)
    return (
        [cluster for position, cluster in enumerate(clusters) if position in taken],
        [cluster for position, cluster in enumerate(clusters) if position not in taken],
    )


def _cut_arc(counts: Mapping[int, int], wanted: int, start: float) -> list[int]:
    """The clusters that begin on an arc of so many photos, all being laid on a circle in order.

    Where the arc begins is drawn, so that each is as likely to begin on it as any other, large or
    small (systematic sampling: Madow 1949).

    Args:
        counts: position of a cluster -> photos, in the drawn order.
        wanted: photos; the clusters taken hold so many to within about the size of one.
        start: where the arc begins, in 0..1 of the circle.
    """
    total, at = sum(counts.values()), 0
    found = []
    for position, count in counts.items():
        if (at - start * total) % total < wanted:
            found.append(position)
        at += count
    return found


def _deal_clusters(clusters: Sequence[_Cluster], num_folds: int) -> list[list[_Cluster]]:
    """The clusters, which come in the drawn order, in folds."""
    totals: Counter[str] = Counter()
    for cluster in clusters:
        totals.update(cluster.counts)
    folds: list[list[_Cluster]] = [[] for _ in range(num_folds)]
    held: list[Counter[str]] = [Counter() for _ in range(num_folds)]
    sizes = [0] * num_folds

    def weigh(cluster: _Cluster, fold: int) -> tuple[float, int]:
        """How much the fold holds of the cluster's classes, as shares of them, and at all.

        The cluster goes where the shares' squares grow least in sum; an empty fold weighs least.
        """
        shares = (
            held[fold][label] * count / totals[label] ** 2
            for label, count in cluster.counts.items()
        )
        # A plain sum would round otherwise in another order of the labels.
        return math.fsum(shares), sizes[fold]

    for cluster in sorted(clusters, key=lambda cluster: -len(cluster.ids)):
        fold = min(range(num_folds), key=lambda fold: weigh(cluster, fold))
        folds[fold].append(cluster)
        held[fold].update(cluster.counts)
        sizes[fold] += len(cluster.ids)
    return folds


def _make_split(catalog: Catalog, seed: int, parts: Mapping[str, Sequence[_Cluster]]) -> Split:
    """A split of the parts that hold anything."""
    return Split(
        {
            part: tuple(sorted(id_ for cluster in clusters for id_ in cluster.ids))
            for part, clusters in parts.items()
            if clusters
        },
        seed,
        fingerprint(catalog),
    )


def _show_class(car: CarClass) -> str:
    return f"class {_name_class(car)}"


def _name_class(car: CarClass) -> str:
    return car.label + (f" ({car.name})" if car.name != car.label else "")
