"""Find the labelled photos of a run that are worth a second look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lotlens.audit.parts import count_folds
from lotlens.deliver.model import load
from lotlens.deliver.own_data import open_own_data
from lotlens.doors import draw_html
from lotlens.files import check_writable
from lotlens.improve.doubts import REASONS, Evidence, find_doubts, write_doubts
from lotlens.improve.evidence import audit_own, gather_evidence
from lotlens.records import Catalog, Doubt, Tell, Watcher
from lotlens.run import RunFolder


@dataclass(frozen=True)
class Doubted:
    """The doubts of a run.

    Attributes:
        doubts: the most doubtful first.
        path: the CSV they were written to.
        evidence: that they rest on, photo by photo.
        accuracy: out of fold, by the labels as they are.
        how: which models answered, in words.
        num_settled: photos left out because a person has decided on them.
        names: class label -> name.
        is_by_own_models: whether the run's own folds answered; else probes that were fitted for it.
        photos: that were looked at.
    """

    doubts: tuple[Doubt, ...]
    path: Path
    evidence: Evidence
    accuracy: float
    how: str
    num_settled: int
    names: Mapping[str, str]
    is_by_own_models: bool = False
    photos: Catalog | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in self.count().items())
        total = f"{len(self.doubts):,} of {len(self.evidence.ids):,} photos"
        return f"Doubted {total}: {counts or 'none'}"

    def _repr_html_(self) -> str | None:
        return draw_html(self)

    def count(self) -> dict[str, int]:
        """Doubts per reason; a photo may be doubted for several."""
        counts = Counter(reason for doubt in self.doubts for reason in doubt.reasons)
        return {reason: counts[reason] for reason in REASONS if counts[reason]}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "photos": len(self.evidence.ids),
            "accuracy": self.accuracy,
            "how": self.how,
            "settled": self.num_settled,
            "counts": self.count(),
            "path": str(self.path),
            "doubts": [asdict(doubt) for doubt in self.doubts],
        }


def doubt(run: Path | str, *, tell: Tell | None = None, watch: Watcher | None = None) -> Doubted:
    """Find the labelled photos of a run that are worth a second look; write them as doubts.csv.

    Every photo is answered by a model that has not learnt it, so that labels learnt by heart show
    too: the run's own members where it has folds, else probes on the run's backbone that are fitted
    for this, on five folds drawn three times over. So are photos that training left out because a
    copy of theirs has another label: one of the two is wrong. Photos of the locked part are not
    looked at.

    Args:
        run: the run folder.
        tell: told what was understood of the run's data, before they are looked at.
        watch: told of the work as it goes on.

    Raises:
        InputError: an ensemble of runs; too few photos for folds.
        BundleError: the run is damaged, or its data have changed.
        OutputError: doubts.csv cannot be written.
        MissingExtra: lotlens[train] is not installed.
    """
    with RunFolder.claim(Path(run), "doubts"):
        model = load(run)
        check_writable(model.run.doubts_path)
        own = open_own_data(model)
        if tell is not None:
            tell(own.lot.reading)
        settled = frozenset(decision.photo_id for decision in own.decisions)
        evidence, how = gather_evidence(own, found=audit_own(own, watch), watch=watch)
        doubts = find_doubts(evidence, model.card.classes, settled=settled)
        write_doubts(model.run.doubts_path, doubts, model.card.classes)
        answered = np.isfinite(evidence.probabilities).all(axis=1)
        right = np.nan_to_num(evidence.probabilities).argmax(axis=1) == evidence.targets
        accuracy = float(right[answered].mean()) if answered.any() else float("nan")
        num_settled = len(settled & set(evidence.ids))
        names = {car.label: car.name for car in model.card.classes}
        return Doubted(
            doubts,
            model.run.doubts_path,
            evidence,
            accuracy,
            how,
            num_settled,
            names,
            is_by_own_models=bool(count_folds(own.split)),
            photos=own.lot.train,
        )
