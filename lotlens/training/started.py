"""Another run's network to start from, and its photos, on which nothing may be judged then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lotlens.audit.findings import Audit, sort_findings
from lotlens.audit.known import KnownPhotos
from lotlens.audit.offered import name_offered
from lotlens.audit.parts import LOCKED, list_held_out, list_learnt
from lotlens.audit.signs import Signs
from lotlens.deliver.learnt import LOCKED_AWAY, find_learnt
from lotlens.deliver.model import Model
from lotlens.deliver.own_data import read_own_split
from lotlens.errors import InputError
from lotlens.extras import import_vision
from lotlens.recipes.schema import Recipe
from lotlens.records import STARTED, Finding, Lot, Photo, Split, Watcher
from lotlens.run import RunFolder

LEARNT_BEFORE = "learnt-before"
_MOST_NAMED = 3
_MOST_LEFT_OUT = 0.05  # of the photos held out


@dataclass(frozen=True)
class Started:
    """What training inherits beside weights.

    Attributes:
        known: photos that the other run has learnt, with ids of their own: whatever is trained on
            must not be judged on them either.
        findings: photos that are among them, of the test part and of those held out.
        left_out: ids of those that are held out: neither learnt nor judged.
    """

    known: KnownPhotos = field(default_factory=KnownPhotos)
    findings: tuple[Finding, ...] = ()
    left_out: frozenset[str] = frozenset()

    def part(self, split: Split) -> Split:
        """A split without the photos that are left out."""
        if not self.left_out:
            return split
        parts = {
            part: tuple(id_ for id_ in ids if id_ not in self.left_out)
            for part, ids in split.parts.items()
        }
        return replace(split, parts=parts)

    def add_to(self, found: Audit) -> Audit:
        """An audit with the findings in it."""
        return replace(found, findings=sort_findings((*found.findings, *self.findings)))


def open_source(recipe: Recipe) -> Model | None:
    """The run that a recipe starts from, if it starts from one.

    Raises:
        InputError: it is not one network with weights to train on.
        BundleError: there is no finished run, or it is damaged.
    """
    path = recipe.source_run
    if path is None:
        return None
    model = Model(RunFolder(path))
    if model.members or model.card.members > 1:
        raise InputError(
            f"{path} holds several networks that answer together, and a training starts from one:"
            " name a run without folds"
        )
    if model.card.engine != "torch":
        raise InputError(
            f"{path} was exported for answering and cannot be trained on: name the run that it was"
            " exported from"
        )
    import_vision("backbones").read_vouched(model.run, model.card)
    return model


def name_backbone(recipe: Recipe) -> str:
    """The backbone as the card names it: its network, and the run that it started from.

    Raises:
        BundleError: that run's card cannot be read.
    """
    path = recipe.source_run
    if path is None:
        return recipe.backbone
    network = RunFolder(path).read_card().backbone.partition("@")[0]
    return f"{network}{STARTED}{path.absolute().name}"


def look_back(
    source: Model | None,
    lot: Lot,
    split: Split,
    seen: Mapping[str, Signs],
    *,
    data_path: Path,
    watch: Watcher | None = None,
) -> Started:
    """Find photos that the other run has learnt, so that none of them is judged on.

    Few among those held out or locked are left out; more are refused: the data are the same then,
    or hold the other ones.

    Args:
        source: the run that training starts from; None for none.
        lot: the data of this training.
        split: of them.
        seen: id of a photo of them -> its signs, where it was looked at before.
        data_path: where they lie.
        watch: told of the work as it goes on.

    Raises:
        InputError: of the photos that are held out or locked, more than a twentieth are among them.
        BundleError: that run does not keep what its photos are known by.
    """
    if source is None:
        return Started()
    is_own = data_path.resolve() == source.data_path
    photos = {photo.id: photo for photo in lot.train.with_files().photos}
    judged = {*list_held_out(split), *split.parts.get(LOCKED, ())} & photos.keys()
    asked = [photo for id_, photo in photos.items() if id_ in judged]
    if len(judged) == len(photos):
        advice = "train without folds"
    else:
        advice = f"take its own parts if the data are the same (--split {source.run.split_path})"
    learnt = _find(source, asked, seen=seen, is_own=is_own, watch=watch) if asked else []
    if len(learnt) > _MOST_LEFT_OUT * len(asked):
        raise _refuse(source, learnt, asked, advice)
    told = f"The run {_name(source)}, which training started from, has learnt this photo"
    findings = (
        *(Finding(id_, LEARNT_BEFORE, 1.0, (), f"{told}: it is left out.") for id_ in learnt),
        *(
            Finding(id_, LEARNT_BEFORE, 1.0, (), f"{told}.", "test")
            for id_ in _find(source, lot.test.with_files().photos, watch=watch)
        ),
    )
    own = {seen[id_].digest for id_ in list_learnt(split) if id_ in seen and seen[id_].digest}
    return Started(_keep_known(source, own, list(photos)), findings, frozenset(learnt))


def refuse_learnt(
    source: Model | None,
    judged: Sequence[Photo],
    advice: str,
    *,
    seen: Mapping[str, Signs] | None = None,
    watch: Watcher | None = None,
) -> None:
    """Refuse to judge on photos that the other run has learnt.

    Raises:
        InputError: some of these are among them.
        BundleError: as `look_back`.
    """
    if source is None or not judged:
        return
    learnt = _find(source, judged, seen=seen, watch=watch)
    if learnt:
        raise _refuse(source, learnt, judged, advice)


def _refuse(
    source: Model, learnt: Sequence[str], judged: Sequence[Photo], advice: str
) -> InputError:
    named = ", ".join(learnt[:_MOST_NAMED]) + (", ..." if len(learnt) > _MOST_NAMED else "")
    return InputError(
        f"{source.run.path} has learnt {len(learnt):,} of the {len(judged):,} photos that are held"
        f" out here ({named}), and figures on them would be too good: {advice}, or leave these"
        " photos out"
    )


def _name(source: Model) -> str:
    return source.run.path.absolute().name


def _find(
    source: Model,
    photos: Sequence[Photo],
    *,
    seen: Mapping[str, Signs] | None = None,
    is_own: bool = False,
    watch: Watcher | None = None,
) -> list[str]:
    found = find_learnt(source, photos, is_own=is_own, seen=seen, watch=watch)
    return [id_ for id_, why in found.items() if why != LOCKED_AWAY]


def _keep_known(source: Model, own: set[bytes], taken: Sequence[str]) -> KnownPhotos:
    """What the run keeps of photos it has learnt, but for those that are learnt here too."""
    known = source.known_photos
    learnt = {*list_learnt(read_own_split(source)), *known.added}
    kept = [
        photo
        for photo in known.photos
        if photo.id in learnt and known.signs[photo.id].digest not in own
    ]
    ids = name_offered([photo.id for photo in kept], _name(source), taken)
    renamed = tuple(replace(photo, id=id_) for photo, id_ in zip(kept, ids, strict=True))
    signs = {id_: known.signs[photo.id] for photo, id_ in zip(kept, ids, strict=True)}
    return KnownPhotos(renamed, signs, known.stamps, frozenset(ids))
