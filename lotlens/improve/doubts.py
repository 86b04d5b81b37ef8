"""Labelled photos worth a second look, and why: pure functions of probabilities and labels.

It decodes no photo and knows no network.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lotlens.errors import InputError, shorten
from lotlens.files import write_rows_atomically
from lotlens.photos.tables import read_own_table, require_columns
from lotlens.records import CarClass, Doubt

REASONS: Mapping[str, str] = {
    "label probably wrong": "by confident learning: surer of another model than photos with this"
    " label usually are of theirs",
    "wrong and sure": "another model is far more probable than the label",
    "unsure between two": "two models are nearly as probable as each other",
    "odd one out": "the training photos that look most like it have other labels",
    "folds disagree": "models trained on different photos answer differently",
    "views disagree": "the answer changes when the photo is mirrored, cropped or lit otherwise",
    "copies disagree": "a copy of the picture has another label, so one of the two is wrong",
    "listing disagrees": "the other photos of its advert are answered or labelled otherwise",
}
"""Why a photo may be doubted -> what that means, for people."""

_COLUMNS = (
    "Rank",
    "Id",
    "Score",
    "Label",
    "Name",
    "Suggested",
    "SuggestedName",
    "Probability",
    "OwnProbability",
    "Reasons",
)


_SURE = 0.7  # probability from which another model's is "sure"
_PAIR = 0.7  # two models together hold at least this much of the probability ...
_CLOSE = 0.5  # ... and the less probable one at least this share of what the other holds
_FEW_NEIGHBOURS = 0.3  # share of neighbours with the own label from which a photo is no odd one
_DISAGREE = 0.5  # share of members or views with another answer

Probabilities = NDArray[np.float64]
Targets = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What models that have not learnt a photo's label say of it: N photos, K classes.

    Attributes:
        ids: of the photos.
        targets: [N] class indices of their labels.
        probabilities: [N, K] calibrated, out of fold: each row of a model that was trained without
            the photo. Rows of photos that could not be read are NaN.
        neighbours: [N, K] the share of each label among the training photos that look most like
            it, in the eyes of that model; None if not known.
        members: [M, N, K] of models trained on different photos, M of 2 or more; all but one have
            learnt the photo. NaN where a model was not asked; None if not known.
        views: [V, N, K] of several views of it, by the model that has not learnt it, the plain
            view first; None if not known.
        listings: the advert of each, None where not known; () if none is known.
        contradicted: of each, whether a copy of it has another label; () if that is not known.
    """

    ids: tuple[str, ...]
    targets: Targets
    probabilities: Probabilities
    neighbours: Probabilities | None = None
    members: Probabilities | None = None
    views: Probabilities | None = None
    listings: tuple[str | None, ...] = ()
    contradicted: tuple[bool, ...] = ()

    def __repr__(self) -> str:
        return f"Evidence of {len(self.ids):,} photos, {self.probabilities.shape[1]:,} classes"


def find_doubts(
    evidence: Evidence, classes: Sequence[CarClass], *, settled: Collection[str] = ()
) -> tuple[Doubt, ...]:
    """Photos with at least one reason for doubt, the most doubtful first.

    They are ranked by how improbable their own label is (`score_labels`), which on photos with
    wrong labels of known number put more of these first than the margin to the answer, the
    adjusted scores of confident learning, or means of several reasons did (docs/LOG.md).

    Args:
        evidence: of all photos.
        classes: in the order of the probabilities.
        settled: ids of photos that a person has looked at and kept.
    """
    scores = {reason: score(evidence) for reason, score in _SCORES.items()}
    ranks = score_labels(evidence.targets, evidence.probabilities)
    chances = evidence.probabilities
    doubts = []
    for row in np.argsort(-np.nan_to_num(ranks, nan=-1.0), kind="stable").tolist():
        reasons = {name: float(values[row]) for name, values in scores.items() if values[row] > 0}
        if not reasons or evidence.ids[row] in settled:
            continue
        target, answer = int(evidence.targets[row]), int(np.argmax(chances[row]))
        doubts.append(
            Doubt(
                evidence.ids[row],
                classes[target].label,
                classes[answer].label,
                float(chances[row, answer]),
                float(chances[row, target]),
                float(ranks[row]),
                dict(sorted(reasons.items(), key=lambda item: -item[1])),
            )
        )
    return tuple(doubts)


def score_labels(targets: Targets, probabilities: Probabilities) -> Scores:
    """How improbable each photo's label is, [N] in 0..1; NaN for photos without an answer.

    One less the self-confidence of confident learning (Northcutt et al. 2021, section 3.4), which
    is the probability of the label.

    Args:
        targets: [N].
        probabilities: [N, K].
    """
    return np.asarray(1 - _own(targets, probabilities))


def score_wrong_labels(evidence: Evidence) -> Scores:
    """Labels that confident learning takes for wrong (cleanlab, "both"), by their improbability."""
    scores = np.zeros(len(evidence.ids))
    usable = _usable(evidence)
    # By id: among photos that are as doubtful as each other, cleanlab takes the first ones.
    rows = np.array(sorted(np.flatnonzero(usable), key=lambda row: evidence.ids[row]), int)
    present, targets = np.unique(evidence.targets[rows], return_inverse=True)
    if len(present) < 2:
        return scores
    # Part of lotlens[train]: doubts that were found elsewhere are reviewed without it.
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    # It wants every class to have a photo, and rows that sum to one.
    chances = evidence.probabilities[rows][:, present]
    chances = chances / np.maximum(chances.sum(axis=1, keepdims=True), 1e-12)
    with warnings.catch_warnings():
        # It says of a class with hardly any photos that it may not flag all: a photo that is
        # doubted for no other reason is then not listed, which there is nothing to be done about.
        warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)
        is_wrong = find_label_issues(targets, chances, filter_by="both", n_jobs=1)
    quality = get_label_quality_scores(targets, chances, method="self_confidence")
    scores[rows] = np.where(is_wrong, 1 - quality, 0.0)
    return scores


def score_sure_errors(evidence: Evidence) -> Scores:
    """The probability of another model, where it is 0.7 or more."""
    chances, usable = np.nan_to_num(evidence.probabilities), _usable(evidence)
    answers = chances.argmax(axis=1)
    top = chances.max(axis=1)
    return np.where(usable & (answers != evidence.targets) & (top >= _SURE), top, 0.0)


def score_ties(evidence: Evidence) -> Scores:
    """How nearly as probable the second model is as the first, where they hold 0.7 or more."""
    if evidence.probabilities.shape[1] < 2:
        return np.zeros(len(evidence.ids))
    ranked = np.sort(np.nan_to_num(evidence.probabilities), axis=1)[:, ::-1]
    first, second = ranked[:, 0], ranked[:, 1]
    ratio = second / np.maximum(first, 1e-12)
    return np.where((first + second >= _PAIR) & (ratio >= _CLOSE), ratio, 0.0)


def score_odd_ones(evidence: Evidence) -> Scores:
    """The share of another label among a photo's neighbours, where few have its own."""
    if evidence.neighbours is None:
        return np.zeros(len(evidence.ids))
    shares = np.nan_to_num(evidence.neighbours)
    own = _own(evidence.targets, shares)
    top = shares.max(axis=1)
    is_odd = (shares.argmax(axis=1) != evidence.targets) & (own < _FEW_NEIGHBOURS)
    return np.where(_usable(evidence) & is_odd & (top >= _DISAGREE), top, 0.0)


def score_members(evidence: Evidence) -> Scores:
    """The share of models that answer otherwise than the one that has not learnt the photo."""
    if evidence.members is None:
        return np.zeros(len(evidence.ids))
    return _disagreement(evidence.members, evidence)


def score_views(evidence: Evidence) -> Scores:
    """The share of views that are answered otherwise than the photo itself."""
    if evidence.views is None:
        return np.zeros(len(evidence.ids))
    return _disagreement(evidence.views[1:], evidence)


def score_copies(evidence: Evidence) -> Scores:
    """1 for photos of which a copy has another label."""
    usable = _usable(evidence)
    contradicted = np.array(evidence.contradicted or [False] * len(usable), bool)
    return np.where(usable & contradicted, 1.0, 0.0)


def score_listings(evidence: Evidence) -> Scores:
    """How sure the other photos of its advert are, together, of another model than its label.

    Their answer is the mean of their log-probabilities. Adverts of a single photo have no others.
    """
    scores = np.zeros(len(evidence.ids))
    rows_of: dict[str, list[int]] = {}
    usable = _usable(evidence)
    for row, listing in enumerate(evidence.listings):
        if listing is not None and usable[row]:
            rows_of.setdefault(listing, []).append(row)
    for rows in rows_of.values():
        for row in rows:
            others = [other for other in rows if other != row]
            if not others:
                continue
            logs = np.log(np.maximum(evidence.probabilities[others], 1e-12)).mean(axis=0)
            joint = np.exp(logs - logs.max())
            joint /= joint.sum()
            target = evidence.targets[row]
            is_apart = len(set(evidence.targets[rows].tolist())) > 1
            if joint.argmax() != target and joint.max() >= _DISAGREE:
                scores[row] = joint.max()
            elif is_apart:
                # One car has one model: whatever the answers, a label of these is wrong.
                same = float((evidence.targets[others] == target).mean())
                scores[row] = max(1 - same, 0.0)
    return scores


_SCORES = {
    "label probably wrong": score_wrong_labels,
    "wrong and sure": score_sure_errors,
    "unsure between two": score_ties,
    "odd one out": score_odd_ones,
    "folds disagree": score_members,
    "views disagree": score_views,
    "copies disagree": score_copies,
    "listing disagrees": score_listings,
}


def vote_neighbours(
    cosines: NDArray[np.floating], targets: Targets, num_classes: int, *, num_neighbours: int = 10
) -> Probabilities:
    """Labels of the training photos that look most like each photo, as shares: [N, K].

    Args:
        cosines: [N, R] between features of the photos and of R training photos.
        targets: [R] class indices of the latter.
        num_classes: K.
        num_neighbours: how many are asked.
    """
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :num_neighbours]
    votes = np.zeros((len(cosines), num_classes))
    for place in range(nearest.shape[1]):
        votes[np.arange(len(votes)), targets[nearest[:, place]]] += 1
    shares: Probabilities = votes / max(nearest.shape[1], 1)
    return shares


def _usable(evidence: Evidence) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(evidence.probabilities).all(axis=1), bool)


def _own(targets: Targets, shares: Probabilities) -> Scores:
    own: Scores = shares[np.arange(len(targets)), targets]
    return own


def _disagreement(answers: Probabilities, evidence: Evidence) -> Scores:
    """The share of [M, N, K] with another top class than the evidence's own, if half or more.

    Of those that gave an answer at all.
    """
    own = np.nan_to_num(evidence.probabilities).argmax(axis=1)
    given = np.isfinite(answers).all(axis=2)
    others = given & (np.nan_to_num(answers).argmax(axis=2) != own)
    share = others.sum(axis=0) / np.maximum(given.sum(axis=0), 1)
    return np.asarray(np.where(_usable(evidence) & (share >= _DISAGREE), share, 0.0))


def write_doubts(path: Path, doubts: Sequence[Doubt], classes: Sequence[CarClass]) -> None:
    """Write doubts as CSV, one row each, the most doubtful first; reasons parted by semicolons.

    Raises:
        OutputError: the file cannot be written.
    """
    names = {car.label: car.name for car in classes}
    write_rows_atomically(
        path,
        _COLUMNS,
        (
            (
                rank,
                doubt.photo_id,
                f"{doubt.score:.4f}",
                doubt.label,
                names[doubt.label],
                doubt.suggested,
                names[doubt.suggested],
                f"{doubt.probability:.4f}",
                f"{doubt.own_probability:.4f}",
                "; ".join(f"{reason} {score:.2f}" for reason, score in doubt.reasons.items()),
            )
            for rank, doubt in enumerate(doubts, start=1)
        ),
    )


def read_doubts(path: Path) -> tuple[Doubt, ...]:
    """The inverse of `write_doubts`, in the file's order.

    Raises:
        InputError: there is no such file, or it is not one of doubts.
    """
    table = read_own_table(path, may_lack_rows=True)
    places = require_columns(table, **{column: (column.lower(),) for column in _COLUMNS})
    doubts = []
    for number, row in enumerate(table.rows, start=2):
        cells = dict(zip(_COLUMNS, (row[place] for place in places), strict=True))
        try:
            reasons = {}
            for part in filter(None, cells["Reasons"].split("; ")):
                reason, _, score = part.rpartition(" ")
                if reason not in REASONS:
                    raise ValueError(f"unknown reason {reason!r}")
                reasons[reason] = _read_share(score)
            chance, own, total = (
                _read_share(cells[column]) for column in ("Probability", "OwnProbability", "Score")
            )
            about = (cells["Id"], cells["Label"], cells["Suggested"])
            doubts.append(Doubt(*about, chance, own, total, reasons))
        except ValueError as error:
            raise InputError(f"{path}, row {number} is no doubt: {shorten(str(error))}") from error
    return tuple(doubts)


def _read_share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:  # which no NaN is
        raise ValueError(f"{text!r} is not between 0 and 1")
    return share
