"""What refusing more costs and spares: known cars answered against other cars that get a name.

It knows predictions alone. The known photos and the other cars are such as a model has not learnt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lotlens.intervals import measure_share
from lotlens.records import Metric, Predictions, Refusal
from lotlens.refusal.familiarity import list_scores
from lotlens.refusal.gates import choose_threshold
from lotlens.refusal.verdicts import decide

PICKED = (0.8, 0.9, 0.95, 0.98)
"""Shares of known photos that pass the gate against other cars, for a table."""
_NAMES = {
    "answered": "known photos answered",
    "one": "other cars given one name",
    "two": "other cars given two names",
}


@dataclass(frozen=True)
class CurvePoint:
    """What comes of one threshold of the gate against other cars.

    Attributes:
        passing: share of the known photos that the gate is to let pass.
        answered: share of the known photos that get a name or two.
        named: share of the other cars that get one name, which is wrong.
        paired: share of them that get two.
        is_own: whether it is the threshold that the model has.
    """

    passing: float
    answered: Metric
    named: Metric
    paired: Metric
    is_own: bool = False


def measure_curve(
    known: Predictions,
    others: Predictions,
    refusal: Refusal,
    temperature: float,
    shares: Sequence[float] = PICKED,
) -> tuple[CurvePoint, ...]:
    """One point for each share, and one for the threshold that the model has.

    Args:
        known: answers to photos of the classes, with `familiarity`.
        others: to other cars, likewise.
        refusal: of the model's card.
        temperature: of the model's card.
        shares: of known photos that are to pass.

    Returns:
        those that answer fewest known cars first; nothing where there is no gate against other
        cars, or no score.
    """
    gate = next((gate for gate in refusal.gates if gate.refuses == "unknown"), None)
    if gate is None or not others.answered.any():
        return ()
    scores = list_scores(known, gate.method, temperature)
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return ()
    wanted = [(share, choose_threshold(scores, 1 - share), False) for share in shares]
    passing = float((scores >= gate.threshold).mean())
    points = []
    for share, threshold, is_own in sorted([*wanted, (passing, gate.threshold, True)]):
        gates = tuple(
            replace(one, threshold=threshold) if one is gate else one for one in refusal.gates
        )
        rule = replace(refusal, gates=gates)
        ours, theirs = (
            Counter(verdict.kind for verdict in decide(one, rule, temperature))
            for one in (known, others)
        )
        num_known, num_others = (count.total() - count["no answer"] for count in (ours, theirs))
        points.append(
            CurvePoint(
                share,
                measure_share(_NAMES["answered"], ours["model"] + ours["unsure"], num_known),
                measure_share(_NAMES["one"], theirs["model"], num_others),
                measure_share(_NAMES["two"], theirs["unsure"], num_others),
                is_own,
            )
        )
    return tuple(sorted(points, key=lambda point: (point.answered.value, point.passing)))
