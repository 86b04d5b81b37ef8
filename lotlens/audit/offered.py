"""Photos that are offered beside one's own: their classes matched, named, and copies found.

It knows photos and labels alone. What must never happen is that a photo of the test part, or one
that a model is judged by, is learnt because somebody offered it once more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from threadpoolctl import threadpool_limits

from lotlens.audit.checks import join_links, tell_files
from lotlens.audit.findings import find_links
from lotlens.audit.parts import LOCKED, list_held_out
from lotlens.audit.signs import Signs, scan_photos
from lotlens.naming import fold_name
from lotlens.records import OK, CarClass, Catalog, Lot, Photo, Split, Watcher, watch_part

Part = Literal["test", "locked", "validation", "training", "additions"]
PARTS: tuple[Part, ...] = get_args(Part)
"""The parts of a run's own photos, those that matter most first."""


@dataclass(frozen=True)
class Copies:
    """Photos that look like the same picture as an offered one, also by way of others.

    Attributes:
        status: "ok", or why the offered one cannot be read.
        part: the first of PARTS that has such photos; None if there are none.
        own: ids of that part.
        offered: positions of other offered photos.
        likeness: of the one that it is most like (see `likeness.measure_likeness`); None if all of
            `own` (of `offered`, if there is no part) are the same file, byte for byte.
        sign: what was seen of the offered one.
    """

    status: str = OK
    part: Part | None = None
    own: tuple[str, ...] = ()
    offered: tuple[int, ...] = ()
    likeness: float | None = 0.0
    sign: Signs | None = field(default=None, compare=False, repr=False)


def match_classes(
    offered: Sequence[CarClass], target: Sequence[CarClass]
) -> dict[str, CarClass | None]:
    """Which class of the target each offered label means.

    A label such as "4" means one car here and another there, so names decide where both sides have
    them: a class of the offer that has a name is the target's class of that name, whatever its
    label, and none if there is no such name. Without a name, or where the target has none, an equal
    label counts; then a label that is the target's name (a folder "Niva" for the class 4 Niva).
    Case, spaces, signs and the composition of letters make no difference to names, but where
    several classes differ in signs alone.

    Args:
        offered: classes of the source; `name` equals `label` where it gives none.
        target: the model's classes.

    Returns:
        offered label -> class of the target, or None.
    """
    by_label = {car.label: car for car in target}
    by_name: dict[str, list[CarClass]] = defaultdict(list)
    for car in target:
        by_name[fold_name(car.name)].append(car)
    has_names = any(car.name != car.label for car in target)

    def match(car: CarClass) -> CarClass | None:
        same_label = by_label.get(car.label)
        folded = fold_name(car.name)
        same_name = by_name.get(folded, [])
        if len(same_name) > 1 or not folded:
            same_name = [one for one in same_name if one.name == car.name]
        if car.name == car.label or not has_names:
            return same_label or (same_name[0] if len(same_name) == 1 else None)
        if same_label in same_name:  # of several classes of one name
            return same_label
        return same_name[0] if len(same_name) == 1 else None

    return {car.label: match(car) for car in offered}


def list_own(
    lot: Lot, split: Split, additions: Sequence[Photo] = ()
) -> tuple[tuple[Part, Photo], ...]:
    """Every photo that an offered one may be a copy of, with its part.

    With folds all photos are held out once. What training left out counts as training.

    Args:
        lot: the run's own data.
        split: of its training photos.
        additions: photos added before.
    """
    part_of: dict[str, Part] = dict.fromkeys(list_held_out(split), "validation")
    part_of.update(dict.fromkeys(split.parts.get(LOCKED, ()), "locked"))
    return (
        *(("test", photo) for photo in lot.test.photos),
        *((part_of.get(photo.id, "training"), photo) for photo in lot.train.photos),
        *(("additions", photo) for photo in additions),
    )


def name_offered(ids: Sequence[str], source: str, taken: Collection[str]) -> tuple[str, ...]:
    """Ids "SOURCE/ID" that none of the taken ones equals; "SOURCE-2/ID" where one would.

    Args:
        ids: of the offered photos, unique among themselves.
        source: the source's name.
        taken: ids of all own photos.
    """
    taken, number, prefix = set(taken), 1, source
    while any(f"{prefix}/{id_}" in taken for id_ in ids):
        number += 1
        prefix = f"{source}-{number}"
    return tuple(f"{prefix}/{id_}" for id_ in ids)


def join_offer(offer: Lot) -> Catalog:
    """Labelled and unlabelled photos of an offer together; ids are told apart by the part."""
    labelled = {photo.id for photo in offer.train.photos}
    others = offer.test.photos
    if labelled.intersection(offer.test.ids):
        ids = name_offered(offer.test.ids, "test", labelled)
        others = tuple(replace(p, id=id_) for p, id_ in zip(others, ids, strict=True))
    return Catalog((*offer.train.photos, *others), offer.train.classes or offer.test.classes)


def find_copies(
    offered: Sequence[Photo],
    own: Sequence[tuple[Part, Photo]],
    *,
    seen: Mapping[str, Signs] | None = None,
    num_workers: int | None = None,
    watch: Watcher | None = None,
) -> tuple[Copies, ...]:
    """What each offered photo is a copy of, as the audit finds copies.

    Args:
        offered: photos.
        own: of `list_own`; ids may be in two parts, and equal those of offered photos.
        seen: id of an own photo, but of the test part, -> its signs, where it was looked at before.
        num_workers: processes that look at photos; None for what the machine suggests.
        watch: told of the work as it goes on.
    """
    photos = [*(photo for _, photo in own), *offered]
    known = {} if seen is None else seen
    before = [known.get(photo.id) if part != "test" else None for part, photo in own]
    before += [None] * len(offered)
    unseen = [photo for photo, sign in zip(photos, before, strict=True) if sign is None]
    with threadpool_limits(1, user_api="blas"):
        looks = iter(
            scan_photos(
                unseen, num_workers=num_workers, progress=watch_part(watch, "looking at photos")
            )
        )
        signs = [sign or next(looks) for sign in before]
        links = find_links(photos, signs, num_workers=num_workers, watch=watch)
    file_of, best = tell_files(len(photos), links)
    first = len(own)
    found = [Copies(sign.status, sign=sign) for sign in signs[first:]]
    for cluster in join_links(len(photos), links):
        theirs = [at - first for at in cluster if at >= first]
        ours = [at for at in cluster if at < first]
        part = min((own[at][0] for at in ours), key=PARTS.index, default=None)
        ours = [at for at in ours if own[at][0] == part]
        for at in theirs:
            file = file_of[first + at]
            others = ours or [first + other for other in theirs if other != at]
            same = all(file_of[other] == file for other in others)
            found[at] = replace(
                found[at],
                part=part,
                own=tuple(own[other][1].id for other in ours),
                offered=tuple(other for other in theirs if other != at),
                likeness=None if same else best[file],
            )
    return tuple(found)
