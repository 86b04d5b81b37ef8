"""A prediction that is stopped or killed goes on where it was: every id once, the same answers."""

import csv
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lotlens
from lotlens.answering.engines import EnginePredictor
from lotlens.deliver.model import ANSWER_COLUMNS
from lotlens.errors import BundleError, InputError
from lotlens.photos.archives import PhotoReader
from lotlens.photos.sources import open_lot
from lotlens.verbs import predict as predicting
from lotlens.verbs.predict import write_answers
from tests.forks import fork


@pytest.fixture
def run_path(tiny_run):
    return tiny_run.path


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(predicting, "_PIECE", 4)
    monkeypatch.setattr(EnginePredictor, "batch_size", 2)


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def stop_at(count):
    def watch(what, done, total):
        assert total == 36
        if done >= count:
            raise KeyboardInterrupt

    return watch


def test_a_stopped_prediction_goes_on(run_path, small_lot, tmp_path, small_pieces):
    photos, out, details = small_lot / "train.zip", tmp_path / "out.csv", tmp_path / "details.csv"
    lotlens.predict(run_path, photos, out=tmp_path / "whole.csv", details=tmp_path / "d.csv")
    with pytest.raises(KeyboardInterrupt):
        lotlens.predict(run_path, photos, out=out, watch=stop_at(19))
    assert not out.exists()
    assert len(list(tmp_path.glob(".out.csv-*.pieces/*.npz"))) == 4
    told = []
    written = write_answers(
        *(run_path, photos),
        out=out,
        details=details,
        watch=lambda what, done, total: told.append((done, total)),
    )
    assert told[0] == (18, 36)  # the four pieces are not answered again
    assert told[-1] == (36, 36)
    assert written.num_photos == sum(written.verdicts.values()) == 36
    assert read(out) == read(tmp_path / "whole.csv")
    assert read(details) == read(tmp_path / "d.csv")
    assert len({row[0] for row in read(out)[1:]}) == 36
    assert {path.name for path in tmp_path.iterdir()} == {
        *("out.csv", "details.csv", "whole.csv", "d.csv")
    }


def test_pieces_of_other_photos_or_another_model_are_not_taken(
    run_path, small_lot, spoilt_lot, tmp_path, small_pieces
):
    out = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        lotlens.predict(run_path, small_lot / "train.zip", out=out, watch=stop_at(19))
    told = []

    def watch(what, done, total):
        told.append(done)

    spoilt = {"form": "submission", "fill": True}
    lotlens.predict(run_path, spoilt_lot / "train.zip", out=out, **spoilt, watch=watch)
    assert told[0] == 2
    with pytest.raises(KeyboardInterrupt):
        lotlens.predict(run_path, small_lot / "train.zip", out=out, watch=stop_at(19))
    card = run_path / "card.json"
    text = card.read_text("utf-8")
    try:
        card.write_text(text.replace('"temperature": ', '"temperature": 1'), "utf-8")
        told.clear()
        lotlens.predict(run_path, small_lot / "train.zip", out=out, watch=watch)
    finally:
        card.write_text(text, "utf-8")
    assert told[0] == 2


def test_answers_wait_where_the_file_could_not_be_made(
    run_path, spoilt_lot, tmp_path, small_pieces
):
    out, told = tmp_path / "out.csv", []
    with pytest.raises(InputError, match=r"ha(s|ve) no answer"):
        lotlens.predict(run_path, spoilt_lot / "train.zip", out=out, form="submission")
    lotlens.predict(
        *(run_path, spoilt_lot / "train.zip"),
        out=out,
        form="submission",
        fill=True,
        watch=lambda what, *_: told.append(what),
    )
    assert not told  # all answers were there
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


KILLED = """
import os, signal, sys
from lotlens.verbs import predict as verb
verb._PIECE = 4
from lotlens.answering.engines import EnginePredictor
EnginePredictor.batch_size = 2
def watch(what, done, total):
    if done >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
verb.write_answers(sys.argv[1], sys.argv[2], out=sys.argv[3], watch=watch)
"""


def test_a_killed_prediction_goes_on(run_path, small_lot, tmp_path, small_pieces):
    photos, out = small_lot / "train.zip", tmp_path / "out.csv"
    lotlens.predict(run_path, photos, out=tmp_path / "whole.csv")
    for at in (7, 30):
        process = fork(KILLED, run_path, photos, out, at, said_path=tmp_path / "said")
        assert process.wait() == -signal.SIGKILL, process.said
        assert not out.exists()
    told = []
    lotlens.predict(run_path, photos, out=out, watch=lambda *about: told.append(about[1]))
    assert told[0] == 30
    assert read(out) == read(tmp_path / "whole.csv")


def test_few_photos_leave_no_journal(run_path, small_lot, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        lotlens.predict(
            run_path, small_lot / "train.zip", out=tmp_path / "out.csv", watch=stop_at(1)
        )
    assert list(tmp_path.iterdir()) == []


def test_a_table_has_its_columns_even_without_rows(run_path, small_lot):
    frame = lotlens.load(run_path).predict(small_lot / "train.zip")
    assert list(frame.columns) == [*ANSWER_COLUMNS]
    assert len(frame) == 36


def test_a_bundle_of_before_exports_answers_as_ever(run_path, small_lot, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(run_path, old)
    card = json.loads((old / "card.json").read_text("utf-8"))
    for key in ("engine", "precision", "checked"):
        del card[key]
    (old / "card.json").write_text(json.dumps(card), "utf-8")
    found, expected = (lotlens.load(p).predict(small_lot / "test.zip") for p in (old, run_path))
    assert found.equals(expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format_version": 99}, "install a newer lotlens"),
        ({"engine": "quantum"}, "engine 'quantum' that this lotlens does not know"),
    ],
)
def test_a_bundle_of_later_says_what_to_do(run_path, small_lot, tmp_path, changes, said):
    new = tmp_path / "new"
    shutil.copytree(run_path, new)
    card = json.loads((new / "card.json").read_text("utf-8"))
    (new / "card.json").write_text(json.dumps({**card, **changes}), "utf-8")
    with pytest.raises(BundleError, match=said):
        lotlens.load(new).predict(small_lot / "test.zip")


def test_no_answer_replaces_what_it_is_read_from(run_path, small_lot, tmp_path):
    photos = shutil.copy(small_lot / "test.zip", tmp_path / "test.zip")
    for given in ({"out": photos}, {"details": photos}):
        with pytest.raises(InputError, match="is read, and would be replaced"):
            lotlens.predict(run_path, photos, **{"out": tmp_path / "a.csv", **given})
    assert Path(photos).read_bytes() == (small_lot / "test.zip").read_bytes()


def test_bytes_at_hand_are_answered_as_files_are(trained, spoilt_lot):
    catalog = open_lot(spoilt_lot).test
    expected = trained.answer(catalog)
    with PhotoReader() as reader:
        photos = [reader.read(photo.locator) for photo in catalog.photos]
    opened = trained.open(1)
    assert opened.num_streams == 1
    found = opened.answer_bytes(photos, catalog.ids)
    assert (found.ids, found.status, found.flaws) == (
        *(expected.ids, expected.status, expected.flaws),
    )
    assert sum(status != "ok" for status in found.status) == 1
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-3)
    np.testing.assert_allclose(found.familiarity, expected.familiarity, atol=1e-3)
    together = lotlens.deliver.model.OpenModel(
        replace(trained.card, shares=(0.25, 0.75)), None, (), (opened, opened)
    )
    both = together.answer_bytes(photos, catalog.ids)
    assert (together.num_streams, both.status) == (1, found.status)
    order = np.argsort(found.logits[0])
    assert (np.argsort(both.logits[0]) == order).all()
    # What the gate against no cars stops is looked at again, as it is where photos lie in files.
    refusal = trained.card.refusal
    gates = tuple(replace(gate, threshold=9e9) for gate in refusal.gates)
    strict = replace(opened, card=replace(opened.card, refusal=replace(refusal, gates=gates)))
    stopped, again = strict.answer(catalog), strict.answer_bytes(photos, catalog.ids)
    assert np.isfinite(stopped.shows).all(axis=1).any()
    np.testing.assert_allclose(again.shows, stopped.shows, atol=1e-3)
