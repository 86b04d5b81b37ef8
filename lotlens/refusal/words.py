"""What a photo of no car shows, in the words of folders into which a user has sorted such photos.

It knows arrays. A photo bears the word of the folder whose photos it is most like, if it is as like
them as nine in ten of them are like one another, and more like them than like any class.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lotlens.errors import BundleError
from lotlens.records import MOST_WORDS, FloatArray, Word

FEWEST = 5
"""Photos of a folder from which it gives a word."""
_LEFT_OUT = 0.1  # share of a folder's photos that need not bear its word
_SMALLEST = 1e-12
_NEVER = -1.0  # of what is more like a class


def normalise(features: NDArray[np.floating]) -> FloatArray:
    """Features [N, F] of unit length, as float32."""
    wide = np.asarray(features, np.float32)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.maximum(lengths, _SMALLEST), np.float32)


def learn_words(
    features: Mapping[str, FloatArray], means: Sequence[FloatArray]
) -> tuple[Word, ...]:
    """A word for each folder whose photos are like one another.

    Args:
        features: name of a folder -> [N, F] of its photos, those of members side by side; rows
            that are no numbers are left out.
        means: [C, F] of each member's classes.

    Returns:
        MOST_WORDS at most, of the folders with the most photos; none for a folder of fewer than
        FEWEST, or of photos that are more like the classes.
    """
    words: list[Word] = []
    for name, rows in sorted(features.items(), key=lambda item: (-len(item[1]), item[0])):
        parts = _split(rows[np.isfinite(rows).all(axis=1)], means)
        num_photos = len(parts[0])
        if num_photos < FEWEST:
            continue
        sums = [part.sum(axis=0) for part in parts]
        # Each by the others: a photo is always like a mean that it is part of.
        scores = np.array(
            [
                _compare(
                    [part[[row]] for part in parts],
                    [whole - part[row] for whole, part in zip(sums, parts, strict=True)],
                    means,
                )[0]
                for row in range(num_photos)
            ]
        )
        least = float(np.sort(scores)[int(_LEFT_OUT * num_photos)])
        if least > 0:
            direction = np.concatenate([normalise(whole[None])[0] for whole in sums])
            words.append(Word(name, _encode(direction), least))
    return tuple(words[:MOST_WORDS])


def measure_words(
    features: FloatArray, means: Sequence[FloatArray], words: Sequence[Word]
) -> FloatArray:
    """Likeness [N, W] of photos to the photos of each word, -1 where a class is likelier.

    It is a cosine, the mean over an ensemble's members.

    Args:
        features: [N, F], those of members side by side.
        means: [C, F] of each member's classes.
        words: W of them.

    Raises:
        BundleError: a word is of other features.
    """
    parts = _split(features, means)
    edges = np.cumsum([one.shape[1] for one in means])
    scores = np.empty((len(features), len(words)), np.float32)
    for number, word in enumerate(words):
        direction = _decode(word, int(edges[-1]))
        scores[:, number] = _compare(parts, np.split(direction, edges[:-1]), means)
    return scores


def find_word(likeness: FloatArray, words: Sequence[Word]) -> Word | None:
    """The word that a photo bears, if any.

    Args:
        likeness: [W] of `measure_words`.
        words: W of them.
    """
    borne = [at for at, word in enumerate(words) if likeness[at] >= word.least]
    return words[max(borne, key=lambda at: float(likeness[at]))] if borne else None


def _split(features: FloatArray, means: Sequence[FloatArray]) -> list[FloatArray]:
    """Features of each member, of unit length."""
    edges = np.cumsum([one.shape[1] for one in means])
    return [normalise(part) for part in np.split(features, edges[:-1], axis=1)]


def _compare(
    parts: Sequence[FloatArray], directions: Sequence[FloatArray], means: Sequence[FloatArray]
) -> NDArray[np.float64]:
    """[N] cosines with a direction; _NEVER where that with a class mean is higher."""
    ours, classes = [], []
    for part, direction, own in zip(parts, directions, means, strict=True):
        ours.append(part @ normalise(direction[None])[0])
        classes.append((part @ normalise(own).T).max(axis=1))
    mean = np.mean(ours, axis=0, dtype=np.float64)
    return np.where(mean > np.mean(classes, axis=0, dtype=np.float64), mean, _NEVER)


def _encode(direction: FloatArray) -> str:
    return base64.b64encode(direction.astype("<f2").tobytes()).decode()


def _decode(word: Word, num_features: int) -> FloatArray:
    try:
        values = np.frombuffer(base64.b64decode(word.direction, validate=True), "<f2")
    except (binascii.Error, ValueError):
        values = np.zeros(0, np.float16)
    if len(values) != num_features or not np.isfinite(values).all():
        raise BundleError(
            f"the word {word.name!r} of the model card is of {len(values)} features, and the model"
            f" has {num_features}: the files of the run do not belong together"
        )
    return values.astype(np.float32)
