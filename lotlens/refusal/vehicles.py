"""Whether a photo that looks unfamiliar shows a car at all; it knows shares, not networks.

What a model has not learnt looks unfamiliar to it, whether it is a dog or another car. What a photo
shows (`answering.shown`) tells the two apart. Photos that the gates let pass are not asked about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lotlens.answering.shown import OpenShown, ask_shown
from lotlens.records import SHOWN, Catalog, FloatArray, Predictions

MOST_ASKED = 200
"""Known photos by which the threshold is set; more would hardly move it."""

_KNOWN_BELOW = 0.005  # share of known photos that may seem to show no vehicle
_OTHERS_BELOW = 0.95  # share of pictures without a car that the threshold is above
_WAY = 1 / 3
_DOMINANT = 0.4
_SMALLEST = 1e-4


def add_shown(
    predictions: Predictions,
    photos: Catalog | Sequence[bytes],
    rows: Sequence[int],
    open_shown: OpenShown,
) -> Predictions:
    """Answers that also say what these photos show; what was said of others stays.

    Args:
        predictions: answers to the photos, in their order.
        photos: in a catalog, or the bytes of each.
        rows: of those to ask about.
        open_shown: opens the network to ask.
    """
    if not len(rows):
        return predictions
    shows = np.full((len(predictions.ids), len(SHOWN)), np.nan, np.float32)
    if predictions.shows is not None:
        shows[:] = predictions.shows
    if isinstance(photos, Catalog):
        shows[list(rows)] = ask_shown(
            open_shown, replace(photos, photos=tuple(photos.photos[row] for row in rows))
        )
    else:
        shows[list(rows)] = ask_shown(open_shown, [photos[row] for row in rows])
    return replace(predictions, shows=shows)


def choose_least_vehicle(known: FloatArray | None, others: FloatArray) -> float | None:
    """The share of vehicle from which on a photo that looks unfamiliar shows a car.

    It lies between what 99.5 % of known photos reach and what 95 % of the others stay below, a
    third of the way up in log-odds, for to call a car none is the dearer mistake; where the two
    overlap it is the former.

    Args:
        known: [N, S] SHOWN of known photos; rows that are no numbers are left out.
        others: [M, S] SHOWN of pictures without a car, likewise.

    Returns:
        None without photos of either kind.
    """
    cars, strangers = (_list_vehicle_shares(own) for own in (known, others))
    if not cars or not strangers:
        return None
    upper = cars[int(_KNOWN_BELOW * len(cars))]
    lower = strangers[math.ceil(_OTHERS_BELOW * len(strangers)) - 1]
    if lower >= upper:
        return upper
    low, high = (math.log(share / (1 - share)) for share in (lower, upper))
    return 1 / (1 + math.exp(-(low + _WAY * (high - low))))


def name_part(shows: FloatArray) -> str | None:
    """Which of SHOWN, if not a vehicle, fills a photo.

    Args:
        shows: [S] of the photo.
    """
    vehicle, *others = shows.tolist()
    share, part = max(zip(others, SHOWN[1:], strict=True))
    return part if share >= _DOMINANT and share > vehicle else None


def _list_vehicle_shares(shows: FloatArray | None) -> list[float]:
    """Of photos that were asked about, in ascending order; none is 0 or 1."""
    if shows is None:
        return []
    shares = shows[:, SHOWN.index("vehicle")].astype(np.float64)
    return sorted(np.clip(shares[np.isfinite(shares)], _SMALLEST, 1 - _SMALLEST).tolist())
