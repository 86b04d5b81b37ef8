"""Sets of classes that hold the truth with a stated probability; it knows arrays alone.

Split-conformal prediction (Vovk et al. 2005; Papadopoulos et al. 2002) with the least ambiguous
sets (Sadinle, Lei & Wasserman 2019): every class whose probability reaches a threshold, which is
found on validation photos. For a new photo of the same kind as those, of a known model, the set
then holds the truth with at least the stated probability, whatever the model is worth; a bad model
has larger sets. Nothing is promised for photos of another kind.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lotlens.errors import InputError


def calibrate_sets(
    chances: NDArray[np.float64], targets: NDArray[np.int64], coverage: float
) -> float:
    """The least probability of a candidate.

    It is the k-th smallest of the probabilities that photos gave their truth, k the whole part of
    (1 - coverage) (N + 1). With few photos k is 0 and every class is a candidate of every photo.

    Args:
        chances: [N, K] probabilities of photos that the model has not learnt.
        targets: [N] class indices; photos with -1 are left out.
        coverage: wanted, between 0 and 1.

    Raises:
        InputError: `coverage` is none.
    """
    check_share("coverage", coverage)
    usable = (targets >= 0) & np.isfinite(chances).all(axis=1)
    truth = chances[usable, targets[usable]]
    rank = count_allowed(1 - coverage, len(truth))
    return float(np.sort(truth)[rank - 1]) if rank else 0.0


def find_reach(num_photos: int, coverage: float) -> tuple[float, float]:
    """The coverages between which 95 of 100 models lie whose sets so many photos calibrate.

    The promise holds for the mean over all calibrations; one by N photos has a coverage of its own,
    which is distributed as Beta(N + 1 - k, k) with the k of `calibrate_sets` (Vovk 2012,
    "Conditional validity of inductive conformal predictors").

    Returns:
        ends in 0..1; both 1 where every class is a candidate.
    """
    from scipy.special import betaincinv  # slow to import, and answering needs it not

    rank = count_allowed(1 - coverage, num_photos)
    if not rank:
        return 1.0, 1.0
    low, high = betaincinv(num_photos + 1 - rank, rank, (0.025, 0.975))
    return float(low), float(high)


def list_candidates(chances: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """[N, K] True where a class is a candidate; nothing for rows of NaN."""
    return np.asarray(np.nan_to_num(chances, nan=-1.0) >= threshold)


def count_allowed(rate: float, num_photos: int) -> int:
    """Of so many photos how many may be on the wrong side, so that a new one is with `rate`.

    Of N + 1 photos of a kind each is as likely to be any in their order, so that a new one comes
    before the k-th of the others with a probability of k / (N + 1) at most.
    """
    # A little more, so that 0.05 * 20 does not come out as less than 1.
    return math.floor(rate * (num_photos + 1) + 1e-9)


def check_share(name: str, share: float) -> None:
    """Refuse a share that is not between 0 and 1.

    Raises:
        InputError: it is not.
    """
    if not 0 < share < 1:
        raise InputError(f"{name} must be between 0 and 1, such as 0.95, not {share!r}")
