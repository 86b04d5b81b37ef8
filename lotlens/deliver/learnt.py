"""Photos that a run has learnt, found again among others: it must not be judged on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from threadpoolctl import threadpool_limits

from lotlens.audit.checks import join_links
from lotlens.audit.findings import find_links
from lotlens.audit.parts import LOCKED, list_learnt
from lotlens.audit.signs import Signs, scan_photos
from lotlens.deliver.model import Model
from lotlens.deliver.own_data import read_own_split
from lotlens.errors import BundleError
from lotlens.records import OK, Catalog, Photo, Watcher, watch_part

LEARNT = "learnt"
SAME_ADVERT = "of a car that was learnt"
LOCKED_AWAY = "locked away"
COPIES = ("the same file as one that was learnt", "the same picture as one that was learnt")
SAME_FILE, SAME_PICTURE = COPIES


def find_learnt(
    model: Model,
    photos: Sequence[Photo],
    *,
    is_own: bool = False,
    seen: Mapping[str, Signs] | None = None,
    watch: Watcher | None = None,
) -> dict[str, str]:
    """Which photos a run has learnt: the very files, copies of them, and copies of copies.

    Copies are found as the audit finds them; the pictures of learnt photos that no longer lie
    where they did cannot be looked at, and those are known by their bytes alone.

    Args:
        model: the run.
        photos: that it is to be judged on.
        is_own: whether they lie where the run's own data lay, so that one id is one photo,
            whatever the file holds by now.
        seen: id -> signs of photos that were looked at before.
        watch: told of the work as it goes on.

    Returns:
        id -> why it must not be judged, of those that must not.

    Raises:
        BundleError: the run's split, or what it keeps of its photos, is missing or damaged.
    """
    split = read_own_split(model)
    known = model.known_photos
    if not known.photos and model.card.split_sha256:
        raise BundleError(
            f"{model.run.photos_path} is missing, by which learnt photos are known: restore it, or"
            " train anew"
        )
    learnt = {*list_learnt(split), *known.added}
    found: dict[str, str] = {}
    if is_own:
        adverts = {photo.listing for photo in photos if photo.id in learnt and photo.listing}
        for photo in photos:
            if photo.id in learnt:
                found[photo.id] = LEARNT
            elif photo.id in split.parts.get(LOCKED, ()):
                found[photo.id] = LOCKED_AWAY
            elif photo.listing in adverts:
                found[photo.id] = SAME_ADVERT
    old = [photo for photo in known.photos if photo.id in learnt]
    asked = [photo for photo in photos if photo.id not in found]
    if not old or not asked:
        return found
    with threadpool_limits(1, user_api="blas"):
        seen = seen or {}
        new = [photo for photo in asked if photo.id not in seen]
        looked = scan_photos(new, progress=watch_part(watch, "looking for learnt photos"))
        seen = {**seen, **{photo.id: sign for photo, sign in zip(new, looked, strict=True)}}
        signs = [
            *(known.signs[photo.id] for photo in old),
            *(seen[photo.id] for photo in asked),
        ]
        links = find_links((*old, *asked), signs, num_known=len(old), watch=watch)
    digests = {known.signs[photo.id].digest for photo in old if known.signs[photo.id].digest}
    for cluster in join_links(len(signs), links):
        if cluster[0] < len(old):  # places rise within a cluster
            for place in cluster:
                if place >= len(old):
                    found[asked[place - len(old)].id] = SAME_PICTURE
    for photo, sign in zip(asked, signs[len(old) :], strict=True):
        if sign.status == OK and sign.digest in digests:
            found[photo.id] = SAME_FILE
    return found


def leave_out(catalog: Catalog, found: Mapping[str, str]) -> tuple[Catalog, dict[str, int]]:
    """The photos of a catalog that can be judged, and how many cannot, by why."""
    counts = Counter(found[photo.id] for photo in catalog.photos if photo.id in found)
    return catalog.select([id_ for id_ in catalog.ids if id_ not in found]), dict(counts)


def tell_left_out(counts: Mapping[str, int]) -> str:
    """How many photos were left out, and why; empty if none were."""
    if not counts:
        return ""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    return f"{sum(counts.values()):,} left out: {reasons}"
