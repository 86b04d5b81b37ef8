"""The eight ways to turn a picture by quarters and to mirror it: for frames, hashes and boxes.

A turn is a number from 0 to 7, made of three bits: TRANSPOSE comes first, then FLIP and MIRROR. So
0 leaves a picture as it is, 1 mirrors it, 3 turns it by 180 degrees, 5 by 90 degrees clockwise, 6
by 90 degrees back; 2, 4 and 7 are these three, mirrored. (The dihedral group of the square.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIRROR, FLIP, TRANSPOSE = 1, 2, 4
"""Left is swapped with right; top with bottom; rows with columns."""

NUM_TURNS = 8
INVERSES = (0, 1, 2, 3, 4, 6, 5, 7)
"""For each turn the one that undoes it."""


def turn_frame(frame: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """A turned frame [side, side]."""
    if turn & TRANSPOSE:
        frame = frame.T
    if turn & FLIP:
        frame = frame[::-1]
    return frame[:, ::-1] if turn & MIRROR else frame


def turn_hashes(hashes: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    """The hashes [M, side, side] of turned pictures.

    In a mirror the cosines of odd frequency change their sign.
    """
    signs = np.where(np.arange(hashes.shape[1]) % 2, -1, 1).astype(np.float32)
    if turn & TRANSPOSE:
        hashes = hashes.transpose(0, 2, 1)
    if turn & FLIP:
        hashes = hashes * signs[:, None]
    return hashes * signs if turn & MIRROR else hashes


def turn_boxes(boxes: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    """Where boxes [M, 4] (left, right, top, bottom, as shares) lie in the turned pictures."""
    left, right, top, bottom = boxes.T
    if turn & TRANSPOSE:
        left, right, top, bottom = top, bottom, left, right
    if turn & FLIP:
        top, bottom = 1 - bottom, 1 - top
    if turn & MIRROR:
        left, right = 1 - right, 1 - left
    return np.stack([left, right, top, bottom], axis=1)
