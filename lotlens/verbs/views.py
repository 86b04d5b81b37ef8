"""Choose a finished run's test-time views anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lotlens.answering.answers import save_predictions
from lotlens.answering.views import VIEWS, WHOLE, check_views
from lotlens.deliver.model import Model, load
from lotlens.deliver.own_data import open_own_data
from lotlens.errors import BundleError, InputError
from lotlens.extras import import_vision
from lotlens.files import check_writable
from lotlens.judge.metrics import align_targets
from lotlens.judge.tta import Trial
from lotlens.records import Watcher
from lotlens.report.run_report import choose_language, write_anew
from lotlens.run import RunFolder
from lotlens.texts import describe
from lotlens.training.others import read_others
from lotlens.training.settle import answer_views, settle, teach_refusal


@dataclass(frozen=True)
class ViewChoice:
    """What came of trying views.

    Attributes:
        model: the run with the views that were adopted.
        before: its views until now.
        trials: each view that was tried; the adopted ones first.
        num_photos: validation photos that it rests on.
    """

    model: Model
    before: tuple[str, ...]
    trials: tuple[Trial, ...]
    num_photos: int

    def __repr__(self) -> str:
        return describe(
            "ViewChoice", f"{', '.join(self.model.card.views)} on {self.num_photos:,} photos"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "run": str(self.model.run.path),
            "views": list(self.model.card.views),
            "before": list(self.before),
            "answers_per_photo": self.model.num_answers,
            "photos": self.num_photos,
            "trials": [asdict(trial) for trial in self.trials],
        }


def adopt_views(
    run: Path | str,
    views: Sequence[str] | None = None,
    *,
    lang: str | None = None,
    watch: Watcher | None = None,
) -> ViewChoice:
    """Let validation choose the test-time views of a finished run anew (see `choose_views`).

    The run's validation photos are answered in all views, with folds each by the member that has
    not seen it. What was chosen before is forgotten, and refusal (see `set_refusal`) learnt as in
    training. Written anew are validation.npz, the report and, last of those that a model needs,
    the card with views, temperature, metrics and gates; after a kill between them, do it again.

    Args:
        run: the run folder.
        views: names in `answering.views.VIEWS` that may be adopted beside "whole"; None for all.
            The more are tried, the more each must show.
        lang: the language of the report, "en" or "ru"; None for the one that it is written in.
        watch: told of the work as it goes on.

    Raises:
        InputError: an unknown view; an ensemble of runs; the run's data cannot be read.
        BundleError: the run is missing or damaged, or its data have changed.
        OutputError: a file cannot be written.
        MissingExtra: lotlens[train] is not installed.
    """
    with RunFolder.claim(Path(run), "views"):
        model = load(run)
        if model.members:
            raise InputError(
                f"{run} is an ensemble of runs: choose the views of each run, then make it anew"
            )
        check_writable(model.run.card_path)
        language = choose_language(lang, model.run)
        tried = list(VIEWS) if views is None else list(views)
        names = check_views([WHOLE, *(name for name in tried if name != WHOLE)])
        own = open_own_data(model)
        network, card = import_vision("bundle").load_bundle(model.run, model.card)
        members = list(network.members) if card.members > 1 else [network]
        if len(members) != len(own.sides):
            raise BundleError(
                f"{model.run.split_path} has {len(own.sides)} folds and the model {len(members)}"
                " members: one of the two is not this run's"
            )
        others = read_others(model.run.others_path)
        locate = model.open_locator(len(own.validation))
        by_view = answer_views(members, card, own.sides, own.validation, names, locate, watch)
        card, predictions, choice = settle(card, by_view, own.validation)
        card, predictions = teach_refusal(
            *(model.run, card, network, members, own.sides, predictions, own.lot.train),
            *(others, locate, watch),
        )
        sha256 = save_predictions(model.run.validation_path, predictions)
        model.run.write_card(replace(card, answers_sha256=sha256))
        done = replace(own, model=Model(model.run))
        write_anew(done, predictions, language=language)
        targets = align_targets(predictions, own.validation)
        num_photos = int(((targets >= 0) & predictions.answered).sum())
        return ViewChoice(done.model, model.card.views, choice.trials, num_photos)
