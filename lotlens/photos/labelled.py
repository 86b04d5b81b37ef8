"""Photos with the labels that people decided on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lotlens.photos.decisions import Decision, apply_decisions, decisions_path, read_decisions
from lotlens.photos.labels import PLAIN_RULES, LabelRules
from lotlens.photos.sources import open_lot
from lotlens.records import Lot


def open_data(
    data: Path,
    decisions: Sequence[Decision] | None = None,
    rules: LabelRules = PLAIN_RULES,
) -> Lot:
    """Photos with the labels that people decided on.

    Args:
        data: in any form that `open_lot` knows.
        decisions: None for those in the file beside the data, if there is one.
        rules: what a person says of labels that are not plain.

    Raises:
        InputError: the data or the decisions cannot be read.
    """
    decided = read_decisions(decisions_path(data)) if decisions is None else decisions
    lot = open_lot(data, rules=rules)
    return apply_decisions(lot, decided) if decided else lot
