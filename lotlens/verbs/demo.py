"""The whole way on a sample lot that is drawn for it, and what was found of its planted faults."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lotlens.audit.checks import LABEL_CONFLICT
from lotlens.audit.findings import Audit
from lotlens.deliver.model import Model
from lotlens.drawn.lot import Fault, draw_lot, read_faults
from lotlens.extras import import_vision
from lotlens.files import check_writable
from lotlens.judge.judged import Evaluation
from lotlens.recipes.schema import Recipe
from lotlens.records import Doubt, Watcher, watch_part
from lotlens.report.language import load_language
from lotlens.run import RunFolder
from lotlens.texts import describe
from lotlens.verbs.audit import run_audit
from lotlens.verbs.doubts import doubt
from lotlens.verbs.evaluate import evaluate
from lotlens.verbs.predict import predict
from lotlens.verbs.train import train

_COPIES = ("leak", "near-duplicate", "duplicate", LABEL_CONFLICT)
_LOOKED_AT = 2
"""So many doubts are looked at for each wrong label that was planted."""


@dataclass(frozen=True)
class Caught:
    """What was found of one kind of planted fault, and how.

    Attributes:
        kind: of fault, in words.
        num_planted: as the lot's faults.csv tells.
        num_found: of these.
        num_false: found as such a fault, but not planted.
        num_looked_at: how many of the first doubts were looked at; None where findings name the
            photo.
    """

    kind: str
    num_planted: int
    num_found: int
    num_false: int
    num_looked_at: int | None = None

    def __repr__(self) -> str:
        return describe("Caught", f"{self.num_found} of {self.num_planted} {self.kind}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Demonstration:
    """What the demo leaves behind.

    Attributes:
        lot_path: the sample lot that was drawn.
        model: trained on it.
        evaluation: on its test photos, against the answers that the drawing knows.
        caught: planted faults of each kind, and how many of them were found.
        audit_path: the page of the audit.
        answers_path: the page of the answers to the test photos.
        submission_path: the submission file.
    """

    lot_path: Path
    model: Model
    evaluation: Evaluation
    caught: tuple[Caught, ...]
    audit_path: Path
    answers_path: Path
    submission_path: Path

    @property
    def report_path(self) -> Path:
        """The report on the test photos."""
        return self.evaluation.report_path or self.model.run.report_path

    def __repr__(self) -> str:
        return describe("Demonstration", f"{self.evaluation!r}; {self.submission_path}")


def demonstrate(
    out: Path | str = "demo",
    *,
    seed: int = 0,
    num_train: int = 480,
    num_test: int = 160,
    recipe: str | Path | Recipe = "demo",
    lang: str = "en",
    watch: Watcher | None = None,
) -> Demonstration:
    """The whole way on an easy sample lot: draw, audit, train, judge, doubt, submit.

    Args:
        out: a folder; an earlier demo in it is replaced.
        seed: of the drawing.
        num_train: photos to draw for training.
        num_test: photos to draw for testing.
        recipe: what to train.
        lang: the language of the pages, "en" or "ru".
        watch: told of the work as it goes on.

    Raises:
        InputError: the folder holds something else, or an option is out of range.
        OutputError: it cannot be written.
    """
    load_language(lang)
    import_vision("stages")
    out = Path(out)
    audit_path, answers_path = out / "audit" / "findings.html", out / "answers.html"
    submission_path, run_path = out / "submission.csv", out / "run"
    for path in (audit_path, answers_path, submission_path, out / "details.csv"):
        check_writable(path)
    for path in (out / "lot" / "train.csv", run_path / "card.json"):
        check_writable(path)
    lot_path = draw_lot(
        out / "lot",
        seed=seed,
        num_train=num_train,
        num_test=num_test,
        easy=True,
        overwrite=True,
        progress=watch_part(watch, "drawing the sample lot"),
    )
    audit = run_audit(lot_path, recipe, out=audit_path.parent, lang=lang, watch=watch)
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
    doubts = doubt(run_path, watch=watch).doubts
    # The lot has unreadable test photos on purpose; a submission needs a row for them too.
    answers = predict(
        run_path,
        out=submission_path,
        fill=True,
        details=out / "details.csv",
        page=answers_path,
        lang=lang,
        watch=watch,
    )
    no_cars = set(answers["id"][answers["verdict"] == "not a car"])
    caught = count_caught(read_faults(lot_path), audit, doubts, no_cars)
    return Demonstration(
        lot_path, model, evaluation, caught, audit_path, answers_path, submission_path
    )


def count_caught(
    faults: Sequence[Fault], audit: Audit, doubts: Sequence[Doubt], no_cars: Collection[str]
) -> tuple[Caught, ...]:
    """How many of the planted faults were found, of each kind that something is to be done about.

    Photos without colours, and those stored turned, are planted too: they are read as they are.

    Args:
        faults: all that was planted in a lot.
        audit: of that lot. A copy counts as found where a finding names it with the photo that it
            was made of.
        doubts: about its training photos, the most doubtful first. A wrong label counts as found
            among the first of them, twice as many as were planted: what a person would look at.
        no_cars: ids of the test photos that are said to be no car.
    """
    broken = {(one.part, one.photo_id) for one in audit.findings if one.check == "unreadable"}
    pairs = {
        frozenset((one.photo_id, related))
        for one in audit.findings
        if one.check in _COPIES
        for related in one.related_ids
    }
    leaks = {
        frozenset((one.photo_id, related))
        for one in audit.findings
        if one.check == "leak"
        for related in one.related_ids
    }
    planted = {
        frozenset((fault.photo_id, fault.related_id)): fault.detail.endswith("source in train")
        and fault.part == "test"
        for fault in faults
        if fault.kind == "near-duplicate"
    }
    across = {pair for pair, is_across in planted.items() if is_across}
    wrong = {fault.photo_id for fault in faults if fault.kind == "wrong-label"}
    first = [one.photo_id for one in doubts[: _LOOKED_AT * len(wrong)]]
    return (
        _compare(
            "broken files",
            {(one.part, one.photo_id) for one in faults if one.kind == "unreadable"},
            broken,
        ),
        _compare("copies across training and test", across, leaks),
        _compare("other copies", planted.keys() - across, pairs - leaks),
        _compare(
            "test photos without a car",
            {one.photo_id for one in faults if one.kind == "no-car" and one.part == "test"},
            no_cars,
        ),
        _compare("wrong labels", wrong, set(first), num_looked_at=len(first)),
    )


def _compare(
    kind: str,
    planted: Collection[object],
    found: Collection[object],
    num_looked_at: int | None = None,
) -> Caught:
    """What was planted against what was found."""
    found = set(found)
    num_found = len(found & set(planted))
    return Caught(kind, len(planted), num_found, len(found) - num_found, num_looked_at)
