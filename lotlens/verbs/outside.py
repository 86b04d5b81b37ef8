"""Vet outside photos for a run's training; nothing is trained."""

from __future__ import annotations

from pathlib import Path

from lotlens.deliver.model import load
from lotlens.deliver.own_data import open_own_data
from lotlens.improve.vetting import Vetting, read_earlier, vet_offer
from lotlens.records import Watcher


def vet_outside(
    run: Path | str,
    outside: Path | str,
    *,
    most: int | None = None,
    trust_labels: bool = False,
    watch: Watcher | None = None,
) -> Vetting:
    """Vet outside photos one by one, and plan which to add to a run's training; nothing is trained.

    Photos are compared with all of the run's own: training, validation, locked, test, and those
    that were added before (`RunFolder.additions_path`).

    Args:
        run: the run folder.
        outside: photos in any form that `open_lot` knows; those without a label are turned away.
        most: photos to add at most; the failing classes get theirs first.
        trust_labels: believe every label; copies, strangers and poor photos are turned away still.
        watch: told of the work as it goes on.

    Raises:
        InputError: the photos cannot be used, or `most` is negative.
        BundleError: the run is missing or damaged, or its data have changed.
        MissingExtra: lotlens[train] is not installed.
    """
    own = open_own_data(load(run))
    return vet_offer(
        own,
        Path(outside),
        read_earlier(own),
        most=most,
        trust_labels=trust_labels,
        watch=watch,
    )
