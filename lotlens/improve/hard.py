"""Which training photos are hard, and how much more often they are shown; pure functions.

A photo is hard if a model that has not learnt it gives its label little probability. Where the
label is probably wrong that is no reason to learn it harder: such photos count as before until
somebody has looked at them.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from lotlens.improve.doubts import Evidence, score_labels, score_wrong_labels

MOST_PHOTO, MOST_CLASS = 3.0, 2.0
"""How many times as often a hard photo is shown at most, and one of a class with many errors."""


def weigh_hard(
    evidence: Evidence, num_classes: int, *, kept: Collection[str] = ()
) -> NDArray[np.float64]:
    """How much each photo counts in training on hard examples, [N] of 1 or more.

    Twice the improbability of its own label is added to 1, unless confident learning takes the
    label for wrong; all that times how many times as many errors its class has as the others
    (`weigh_classes`). This is importance sampling by loss (Katharopoulos & Fleuret 2018), bounded
    so that no photo rules an epoch, and by losses that were not learnt away.

    Args:
        evidence: of the training photos.
        num_classes: K.
        kept: ids of photos whose label a person has confirmed: they are hard, not wrong.
    """
    improbable = np.nan_to_num(score_labels(evidence.targets, evidence.probabilities))
    is_confirmed = np.array([id_ in kept for id_ in evidence.ids], bool)
    is_doubted = (score_wrong_labels(evidence) > 0) & ~is_confirmed
    photos = 1 + (MOST_PHOTO - 1) * np.where(is_doubted, 0.0, improbable)
    return np.asarray(photos * weigh_classes(evidence, num_classes)[evidence.targets])


def weigh_classes(evidence: Evidence, num_classes: int) -> NDArray[np.float64]:
    """How much photos of each class count by its errors, [K] in 1 to MOST_CLASS.

    The class's share of errors over that of all photos; one photo with the share of all is added
    to each class, so that a class of few photos is not judged by chance alone.
    """
    answered = np.isfinite(evidence.probabilities).all(axis=1)
    answers = np.nan_to_num(evidence.probabilities).argmax(axis=1)
    is_wrong = (answers != evidence.targets) & answered
    share = float(is_wrong.sum()) / max(int(answered.sum()), 1)
    if not share:
        return np.ones(num_classes)
    counts = np.bincount(evidence.targets[answered], minlength=num_classes)
    errors = np.bincount(evidence.targets[is_wrong], minlength=num_classes)
    return np.clip((errors + share) / (counts + 1) / share, 1.0, MOST_CLASS)
