"""Several views of one photo, and whether they help; it knows neither photos nor models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from scipy.stats import ttest_1samp

from lotlens.errors import InputError
from lotlens.records import FloatArray
from lotlens.temperature import calibrated_losses

WHOLE = "whole"
_DOUBT = 0.1
"""A view is adopted if chance alone would show such a gain less often than this."""
_SMALLEST_GAIN = 1e-3
"""A gain in log loss (nats per photo) below this is not worth another run of the model."""


def _keep(batch: FloatArray) -> FloatArray:
    return batch


def _mirror(batch: FloatArray) -> FloatArray:
    return np.ascontiguousarray(batch[..., ::-1])


VIEWS: Mapping[str, Callable[[FloatArray], FloatArray]] = MappingProxyType(
    {WHOLE: _keep, "mirror": _mirror}
)
"""View name -> function of a prepared batch [N, 3, H, W] giving a batch of the same shape."""


def check_views(views: Sequence[str]) -> tuple[str, ...]:
    """The views as a tuple, if each is known and named once.

    Raises:
        InputError: there is no view, an unknown one or one named twice.
    """
    unknown = [view for view in views if view not in VIEWS]
    if unknown or not views or len(set(views)) < len(views):
        raise InputError(
            f"the views must be one or more of {', '.join(VIEWS)}, each once, not"
            f" {', '.join(map(repr, views)) or 'none'}"
        )
    return tuple(views)


def average_views(logits: Sequence[FloatArray]) -> FloatArray:
    """Average views in log space: the mean of their log-softmax.

    A single view's logits are given back as they are. Rows of NaN stay so.

    Args:
        logits: one array [N, K] per view.

    Returns:
        [N, K] float32, logits like any others (their softmax is the geometric mean's).
    """
    if len(logits) == 1:
        return logits[0]
    mean = np.mean([log_softmax(np.asarray(v, np.float64), axis=1) for v in logits], axis=0)
    return np.asarray(mean, dtype=np.float32)


def choose_views(
    logits_by_view: Mapping[str, FloatArray], targets: NDArray[np.int64]
) -> tuple[str, ...]:
    """Choose the views to average, on validation photos: the whole photo, and what helps it.

    Each further view is tried in turn beside those already chosen. It is adopted if accuracy does
    not fall and the log loss does: by 0.001 nats per photo or more, and so evenly that a paired
    one-sided t-test over the photos gives p < 0.1. Both sides are calibrated first, each with its
    own best temperature. Without that a view that knows nothing would pass for helpful, since
    averaging with it cools an overconfident model, which a temperature does at no cost.

    Args:
        logits_by_view: view name -> logits [N, K]; must hold "whole". Rows that are NaN in any
            view are left out.
        targets: [N] class indices; photos with -1 are left out.

    Returns:
        the chosen names, "whole" first.

    Raises:
        InputError: there are no logits of the whole photo.
    """
    if WHOLE not in logits_by_view:
        raise InputError(f"choosing views needs the view {WHOLE!r}, among {list(logits_by_view)}")
    usable = (targets >= 0) & np.all(
        [np.isfinite(logits).all(axis=1) for logits in logits_by_view.values()], axis=0
    )
    known = targets[usable]
    by_view = {view: logits[usable] for view, logits in logits_by_view.items()}
    chosen = [WHOLE]
    for view in by_view:
        if view == WHOLE:
            continue
        before = average_views([by_view[name] for name in chosen])
        after = average_views([by_view[name] for name in (*chosen, view)])
        if _helps(before, after, known):
            chosen.append(view)
    return tuple(chosen)


def _helps(before: FloatArray, after: FloatArray, targets: NDArray[np.int64]) -> bool:
    if len(targets) < 2:
        return False
    hits_before, hits_after = ((x.argmax(axis=1) == targets).sum() for x in (before, after))
    gains = calibrated_losses(before, targets) - calibrated_losses(after, targets)
    if hits_after < hits_before or gains.mean() < _SMALLEST_GAIN:
        return False
    if np.ptp(gains) < _SMALLEST_GAIN:  # so equal a gain on every photo that a test is not able
        return True
    return bool(ttest_1samp(gains, 0, alternative="greater").pvalue < _DOUBT)
