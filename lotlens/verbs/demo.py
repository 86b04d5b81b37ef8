"""The whole way on a sample lot that is drawn for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lotlens.deliver.model import Model
from lotlens.drawn.lot import draw_lot
from lotlens.extras import import_vision
from lotlens.files import check_writable
from lotlens.judge.judged import Evaluation
from lotlens.recipes.schema import Recipe
from lotlens.records import Watcher, watch_part
from lotlens.run import RunFolder
from lotlens.texts import describe
from lotlens.verbs.evaluate import evaluate
from lotlens.verbs.predict import predict
from lotlens.verbs.train import train


@dataclass(frozen=True)
class Demonstration:
    """What the demo leaves behind.

    Attributes:
        lot_path: the sample lot that was drawn.
        model: trained on it.
        evaluation: on its test photos, against the answers that the drawing knows.
        submission_path: the submission file.
    """

    lot_path: Path
    model: Model
    evaluation: Evaluation
    submission_path: Path

    def __repr__(self) -> str:
        return describe("Demonstration", f"{self.evaluation!r}; {self.submission_path}")


def demonstrate(
    out: Path | str = "demo",
    *,
    seed: int = 0,
    num_train: int = 400,
    num_test: int = 160,
    recipe: str | Path | Recipe = "demo",
    lang: str = "en",
    watch: Watcher | None = None,
) -> Demonstration:
    """The whole way on the sample lot: draw, train both stages, judge, submit.

    Args:
        out: a folder; an earlier demo in it is replaced.
        seed: of the drawing.
        num_train: photos to draw for training.
        num_test: photos to draw for testing.
        recipe: what to train.
        lang: the language of the reports, "en" or "ru".
        watch: told of the work as it goes on.

    Raises:
        InputError: the folder holds something else.
        OutputError: it cannot be written.
    """
    import_vision("stages")
    out = Path(out)
    for name in ("submission.csv", "details.csv", "lot/train.csv", "run/card.json"):
        check_writable(out / name)
    lot_path = draw_lot(
        out / "lot",
        seed=seed,
        num_train=num_train,
        num_test=num_test,
        overwrite=True,
        progress=watch_part(watch, "drawing the sample lot"),
    )
    run_path = out / "run"
    if run_path.exists():
        with RunFolder.claim(run_path, "demo") as run:
            run.remove()
    model = train(lot_path, recipe, out=run_path, lang=lang, watch=watch)
    evaluation = evaluate(
        run_path,
        labels=lot_path / "answers.csv",
        photos=lot_path / "test.zip",
        lang=lang,
        watch=watch,
    )
    submission_path = out / "submission.csv"
    # The lot has unreadable test photos on purpose; a submission needs a row for them too.
    predict(run_path, out=submission_path, fill=True, details=out / "details.csv", watch=watch)
    return Demonstration(lot_path, model, evaluation, submission_path)
