"""Whether further views of a photo help; it knows neither photos nor models, but their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lotlens.answering.temperature import calibrated_losses
from lotlens.answering.views import WHOLE, average_views
from lotlens.errors import InputError
from lotlens.judge.gain import Gain, adopt_in_turn, measure_gain
from lotlens.records import FloatArray


@dataclass(frozen=True)
class Trial:
    """A view that was tried beside those adopted before it.

    Attributes:
        view: its name.
        gain: what it adds to them.
        limit: what `gain.p` had to be below.
        is_adopted: whether it was.
    """

    view: str
    gain: Gain
    limit: float
    is_adopted: bool


@dataclass(frozen=True)
class Choice:
    """The views to average.

    Attributes:
        views: "whole" first, then as they were adopted.
        trials: one for each other view, the adopted ones first; none with fewer than two photos.
    """

    views: tuple[str, ...]
    trials: tuple[Trial, ...] = ()


def choose_views(logits_by_view: Mapping[str, FloatArray], targets: NDArray[np.int64]) -> Choice:
    """Choose the views to average, on validation photos: the whole photo, and what helps it.

    Each further view is tried beside those adopted. A view may be adopted if accuracy does not
    fall and the log loss does: by 0.001 nats per photo or more, and so evenly that a paired
    one-sided t-test over the photos gives p below a limit. Of those that may, the one that helps
    most is adopted, and the others are tried anew beside it, until none may.

    The limit is 0.1 over the number of views that are still tried (Holm 1979). Many useless
    views are thus no likelier to be adopted than one: any of them in about a tenth of cases.

    Both sides are calibrated first, each with its own best temperature. Without that a view that
    knows nothing would pass for helpful, since averaging with it cools an overconfident model,
    which a temperature does at no cost.

    Args:
        logits_by_view: view name -> logits [N, K]; must hold "whole". Rows that are NaN in any
            view are left out.
        targets: [N] class indices; photos with -1 are left out.

    Raises:
        InputError: there are no logits of the whole photo.
    """
    if WHOLE not in logits_by_view:
        raise InputError(f"choosing views needs the view {WHOLE!r}, among {list(logits_by_view)}")
    usable = (targets >= 0) & np.all(
        [np.isfinite(logits).all(axis=1) for logits in logits_by_view.values()], axis=0
    )
    known = targets[usable]
    if len(known) < 2:
        return Choice((WHOLE,))
    by_view = {view: logits[usable] for view, logits in logits_by_view.items()}

    def measure(adopted: Sequence[str], left: Sequence[str]) -> list[Gain]:
        chosen = [by_view[WHOLE], *(by_view[view] for view in adopted)]
        before = average_views(chosen)
        losses_before, is_right_before = calibrated_losses(before, known), _hit(before, known)
        gains = []
        for view in left:
            after = average_views([*chosen, by_view[view]])
            losses, is_right = calibrated_losses(after, known), _hit(after, known)
            gains.append(measure_gain(losses_before, losses, is_right_before, is_right))
        return gains

    further = [view for view in by_view if view != WHOLE]
    trials = tuple(Trial(*one) for one in adopt_in_turn(further, measure))
    return Choice((WHOLE, *(trial.view for trial in trials if trial.is_adopted)), trials)


def _hit(logits: FloatArray, targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray(logits.argmax(axis=1) == targets)
