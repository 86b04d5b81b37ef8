"""What refusing more costs and spares: more known cars answered never means fewer wrong names."""

from itertools import pairwise

import numpy as np
import pytest

from lotlens.records import FAMILIARITIES, Refusal
from lotlens.refusal.curve import PICKED, measure_curve
from lotlens.refusal.gates import Strangers, learn_refusal
from tests.refusal.test_gates import draw, make


@pytest.fixture(scope="module")
def answers():
    """Known photos, other cars, and a refusal that learnt from both."""
    known, targets = draw(300)
    others, _ = draw(200, -2.0, seed=1)
    strangers = [Strangers("other cars held out", "unknown", True, others)]
    return known, others, learn_refusal(known, targets, 1.0, strangers)


def test_a_stricter_gate_names_fewer_other_cars_and_answers_fewer_known_ones(answers):
    points = measure_curve(*answers, 1.0)
    assert len(points) == len(PICKED) + 1
    for less, more in pairwise(points):
        assert less.answered.value <= more.answered.value
        assert less.named.value <= more.named.value
        assert less.named.value + less.paired.value <= more.named.value + more.paired.value
    assert points[0].named.value < points[-1].named.value + points[-1].paired.value


def test_the_models_own_threshold_is_marked_and_gives_its_own_verdicts(answers):
    known, others, refusal = answers
    (own,) = (point for point in measure_curve(known, others, refusal, 1.0) if point.is_own)
    gate = next(gate for gate in refusal.gates if gate.refuses == "unknown")
    scores = others.familiarity[:, FAMILIARITIES.index(gate.method)]
    passed = round((own.named.value + own.paired.value) * own.named.count)
    assert passed <= int((scores >= gate.threshold).sum())
    assert own.passing == gate.known.value


def test_shares_are_kept_by_new_known_photos(answers):
    """The curve is of the photos that set the thresholds; as many pass as it says, or more."""
    for point in measure_curve(*answers, 1.0, shares=(0.5, 0.9)):
        assert point.answered.value >= point.passing - 0.05


def test_without_a_gate_or_photos_there_is_no_curve(answers):
    known, others, refusal = answers
    assert measure_curve(known, others, Refusal(), 1.0) == ()
    silent = make(np.full((3, 3), np.nan), [0.0] * 3, ("gone",) * 3)
    assert measure_curve(known, silent, refusal, 1.0) == ()
    assert measure_curve(make(known.logits), others, refusal, 1.0) == ()
