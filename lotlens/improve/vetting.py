"""Outside photos beside all that a run knows: which are fit to learn, and which to add."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lotlens.audit.offered import join_offer, list_own
from lotlens.deliver.own_data import OwnData
from lotlens.errors import InputError
from lotlens.improve.additions import (
    Addition,
    AdditionPlan,
    plan_additions,
    read_additions,
    weigh_vetted,
)
from lotlens.improve.outside import Vetted, vet_photos
from lotlens.judge.metrics import align_targets, measure_classes
from lotlens.photos.sources import open_lot
from lotlens.records import Finding, Tell, Watcher


@dataclass(frozen=True)
class Vetting:
    """What became of an offer of outside photos, and what would be added.

    Attributes:
        vetted: one per offered photo, in their order; with the weights of the plan.
        plan: what is added to which class, and why.
        compared: part of the run's own photos -> how many copies were looked for among.
        has_gates: whether the model can tell strangers; without gates they are turned away only by
            the probability of their label.
        findings: rows and files of the offer that do not match, which are no photos of it.
    """

    vetted: tuple[Vetted, ...]
    plan: AdditionPlan
    compared: Mapping[str, int]
    has_gates: bool
    findings: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        num_admitted = sum(one.admitted for one in self.vetted)
        return f"Vetting of {len(self.vetted):,} photos: {num_admitted:,} admitted"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        photos = [
            {
                "id": one.photo.id,
                "offered_id": one.offered_id,
                "claimed": one.claimed,
                "admitted": one.admitted,
                "reason": one.reason,
                "sentence": one.sentence,
                "related": list(one.related_ids),
                "answer": None if one.answer is None else one.answer.label,
                "probability": one.probability,
                "weight": one.weight,
            }
            for one in self.vetted
        ]
        return {
            "plan": self.plan.to_dict(),
            "compared": dict(self.compared),
            "has_gates": self.has_gates,
            "photos": photos,
            "findings": [asdict(finding) for finding in self.findings],
        }


def vet_offer(
    own: OwnData,
    outside: Path,
    earlier: Sequence[Addition],
    *,
    most: int | None,
    trust_labels: bool,
    tell: Tell | None = None,
    watch: Watcher | None = None,
) -> Vetting:
    """Vet outside photos one by one, and plan which to add; nothing is trained.

    Args:
        own: the run and its data.
        outside: photos in any form that `open_lot` knows; those without a label are turned away.
        earlier: photos that were added in earlier rounds.
        most: photos to add at most; the failing classes get theirs first.
        trust_labels: believe every label; copies, strangers and poor photos are turned away still.
        tell: told what was understood of the outside photos, before they are looked at.
        watch: told of the work as it goes on.

    Raises:
        InputError: the photos cannot be used, or `most` is negative.
        BundleError: the run is damaged.
        MissingExtra: lotlens[train] is not installed.
    """
    model, card, lot = own.model, own.model.card, own.lot
    answers = own.answers  # read before the slow work, which damaged ones would make vain
    offer = open_lot(outside, rules=model.label_rules)
    if tell is not None:
        tell(offer.reading)
    offered = join_offer(offer)
    if not len(offered):
        raise InputError(f"{outside} holds no photos")
    mine = list_own(lot, own.split, [one.photo for one in earlier])
    vetted = vet_photos(
        offered,
        model.answer(offered, watch=watch),
        source=str(outside),
        target=card.classes,
        own=mine,
        temperature=card.temperature,
        refusal=card.refusal,
        trust_labels=trust_labels,
        watch=watch,
    )
    counts = Counter(photo.label for photo in lot.train.select(own.learnt).photos if photo.label)
    counts.update(one.photo.label for one in earlier if one.photo.label)
    scores = measure_classes(answers, align_targets(answers, lot.train))
    made = plan_additions(vetted, scores, counts, most=most)
    return Vetting(
        weigh_vetted(vetted, made),
        made,
        Counter(part for part, _ in mine),
        bool(card.refusal and card.refusal.gates),
        offer.findings,
    )


def read_earlier(own: OwnData) -> tuple[Addition, ...]:
    """The photos that were added in the rounds that led to a run.

    Raises:
        BundleError: the file is damaged.
    """
    path = own.model.run.additions_path
    return tuple(read_additions(path, own.model.card.classes)) if path.is_file() else ()
