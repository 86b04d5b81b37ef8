"""Doubts of real runs, and rounds that learn more; a gate judges them and the old run stays."""

import csv
import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lotlens import api, cli, evidence, rounds
from lotlens.audit.split import LOCKED, list_held_out, read_split
from lotlens.errors import BundleError, InputError, Stopped
from lotlens.improve.doubts import read_doubts
from lotlens.judge.predict import load_predictions, save_predictions
from lotlens.photos.decisions import Decision, decisions_path, read_decisions, write_decisions
from lotlens.photos.sources import open_lot
from lotlens.recipe import Finetune, parse_recipe
from tests.conftest import draw_photo, write_lot

NUM_CLASSES = 3
TWINS = ("2005.jpg", "9000.jpg")


def make_recipe(backbone, **changes):
    values = {
        "name": "probe",
        "backbone": backbone,
        "image": {"height": 48, "width": 64},
        "validation": 0.3,
        "views": [],
        "stages": [{"kind": "probe", "penalties": [0.3], "mirror": False}],
    }
    return parse_recipe(values | changes)


@pytest.fixture(scope="module")
def own_lot(tmp_path_factory):
    """20 training photos of each class, two of them under a wrong label; one cannot be read.

    One stands there twice, the second time under a label that is wrong.
    """
    lot = write_lot(tmp_path_factory.mktemp("lots") / "lot", 20, spoil=True)
    with zipfile.ZipFile(lot / "train.zip", "a") as file:
        file.writestr(f"train/2/{TWINS[1]}", file.read(f"train/1/{TWINS[0]}"))
    with (lot / "train.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    wrong = [id_ for id_, label in rows if label == "0"][3:5]
    rows = [(id_, "2" if id_ in wrong else label) for id_, label in rows]
    with (lot / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows, (TWINS[1], "2")])
    return lot, wrong


@pytest.fixture(scope="module")
def parents(own_lot, tiny_backbone, tmp_path_factory):
    """A run with a validation part, one with a locked part besides, and one with folds."""
    folder = tmp_path_factory.mktemp("parents")
    lot, _ = own_lot
    changes = {"plain": {}, "locked": {"lock": 0.2}, "folds": {"folds": 3}}
    for name, own in changes.items():
        api.train(lot, make_recipe(tiny_backbone, **own), out=folder / name)
    return folder


@pytest.fixture
def runs(parents, own_lot, tmp_path):
    """Copies of the runs, and of their lot, which decisions may lie beside."""
    lot = tmp_path / "lot"
    shutil.copytree(own_lot[0], lot)
    shutil.copytree(parents, tmp_path / "runs")
    for run in (tmp_path / "runs").iterdir():
        source = json.loads((run / "source.json").read_text())
        (run / "source.json").write_text(json.dumps(source | {"data": str(lot)}))
    return tmp_path / "runs"


def list_files(folder):
    """What a folder holds, rounds.csv and its picture apart, which a round adds to."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.stem != "rounds"
    }


@pytest.mark.parametrize("name", ["plain", "locked", "folds"])
def test_every_photo_is_answered_by_a_model_that_has_not_learnt_it(runs, own_lot, name):
    found = evidence.doubt(runs / name)
    split = read_split(runs / name / "split.csv")
    expected = {id_ for part, ids in split.parts.items() for id_ in ids if part != LOCKED}
    assert not expected & set(TWINS)
    expected |= set(TWINS)
    assert set(found.evidence.ids) == expected
    assert len(found.evidence.ids) == len(expected)
    assert np.isfinite(found.evidence.probabilities).all()
    assert np.allclose(found.evidence.probabilities.sum(axis=1), 1)
    assert np.allclose(found.evidence.neighbours.sum(axis=1), 1)
    num_members = 3 if name == "folds" else evidence.NUM_FOLDS * evidence.NUM_DRAWS
    assert found.evidence.members.shape == (num_members, len(expected), NUM_CLASSES)
    asked = np.isfinite(found.evidence.members).all(axis=2)
    learnt = [id_ not in TWINS or name != "folds" for id_ in found.evidence.ids]
    assert (asked.sum(axis=0) == np.where(learnt, num_members, 1)).all()
    assert len(found.evidence.views) == 4
    assert read_doubts(runs / name / "doubts.csv") == tuple(
        replace(
            doubt,
            score=round(doubt.score, 4),
            probability=round(doubt.probability, 4),
            own_probability=round(doubt.own_probability, 4),
            reasons={reason: round(score, 2) for reason, score in doubt.reasons.items()},
        )
        for doubt in found.doubts
    )
    if name == "folds":  # the stored answers are of the same models, plain view
        stored = load_predictions(runs / name / "validation.npz")
        row_of = {id_: row for row, id_ in enumerate(stored.ids)}
        own = [row for row, id_ in enumerate(found.evidence.ids) if id_ not in TWINS]
        rows = [row_of[found.evidence.ids[row]] for row in own]
        answers = stored.logits[rows].argmax(axis=1)
        assert (answers == found.evidence.probabilities[own].argmax(axis=1)).all()


@pytest.mark.parametrize("name", ["plain", "folds"])
def test_photos_under_contradicting_labels_are_doubted(runs, name):
    found = evidence.doubt(runs / name)
    doubted = {doubt.photo_id for doubt in found.doubts if "copies disagree" in doubt.reasons}
    assert doubted == set(TWINS)
    one, other = (found.evidence.probabilities[found.evidence.ids.index(id_)] for id_ in TWINS)
    assert np.allclose(one, other)  # it is one picture, of which one model is asked
    assert found.count()["copies disagree"] == 2


def test_the_only_photo_of_a_class_is_not_doubted(tiny_backbone, tmp_path):
    lot = write_lot(tmp_path / "lot")
    with (lot / "train.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    alone = min(id_ for id_, label in rows if label == "2")
    rows = [row for row in rows if row[1] != "2" or row[0] == alone]
    with (lot / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    api.train(lot, make_recipe(tiny_backbone), out=tmp_path / "run")
    found = evidence.doubt(tmp_path / "run")
    unknown = ~np.isfinite(found.evidence.probabilities).all(axis=1)
    assert [id_ for id_, own in zip(found.evidence.ids, unknown, strict=True) if own] == [alone]
    assert alone not in {doubt.photo_id for doubt in found.doubts}
    assert np.nanmax(found.evidence.probabilities[:, 2]) < 0.5


def test_contradicted_photos_are_held_out_of_the_model_that_knows_no_copy():
    sides = [(("c", "d"), ("a", "b")), (("a", "b"), ("c", "d"))]
    clusters = {"a": 0, "b": 1, "c": 2, "d": 3, "x": 2, "y": 4, "z": 4}
    assert evidence._hold_out({"x", "y", "z", "a"}, sides, clusters) == [
        (("c", "d"), ("a", "b")),
        (("a", "b"), ("c", "d", "x", "y", "z")),
    ]


def test_planted_wrong_labels_come_first(runs, own_lot):
    _, wrong = own_lot
    found = evidence.doubt(runs / "folds")
    # The backbone is an untrained one, whose features tell little: others are doubted too.
    first = [doubt.photo_id for doubt in found.doubts[: len(found.evidence.ids) // 5]]
    learnt = [id_ for id_ in wrong if id_ in found.evidence.ids]
    assert learnt
    assert set(learnt) <= set(first)


def test_decisions_apply_at_the_next_training_and_old_runs_stay_whole(
    runs, own_lot, tiny_backbone, tmp_path
):
    _, wrong = own_lot
    lot = tmp_path / "lot"
    gone = next(p.id for p in open_lot(lot).train.photos if p.label == "1")
    path = decisions_path(lot)
    decided = [
        Decision(wrong[0], "relabel", "0", "2"),
        Decision(wrong[1], "keep", "2", "2"),
        Decision(gone, "not a car", "", "1"),
    ]
    write_decisions(path, decided)
    model = api.train(lot, make_recipe(tiny_backbone), out=tmp_path / "new")
    own, _ = api.open_own_data(model)
    labels = {photo.id: photo.label for photo in own.train.photos}
    assert labels[wrong[0]] == "0"
    assert gone not in labels
    with (tmp_path / "new" / "findings.csv").open(newline="") as file:
        checks = {(row["Id"], row["Check"]) for row in csv.DictReader(file)}
    assert {(wrong[0], "relabelled"), (gone, "left-out")} <= checks
    # The run of before was trained without them, and its photos are still known to it.
    before, _ = api.open_own_data(api.load(runs / "plain"))
    assert {p.id: p.label for p in before.train.photos}[wrong[0]] == "2"
    assert api.evaluate(runs / "plain").about.startswith("plain: its own validation part")
    # What is decided later changes neither.
    write_decisions(path, decided[:1])
    assert gone not in {photo.id for photo in api.open_own_data(model)[0].train.photos}
    assert api.evaluate(tmp_path / "new", lot).about.startswith("new: its own validation part")
    # Those that people have decided on are no doubts any more.
    write_decisions(path, decided)
    found = evidence.doubt(runs / "folds")
    assert found.num_settled == 3
    assert not {doubt.photo_id for doubt in found.doubts} & {wrong[0], wrong[1], gone}


def test_a_round_of_decisions_is_judged_by_the_labels_as_they_are_now(runs, own_lot, tmp_path):
    _, wrong = own_lot
    lot = tmp_path / "lot"
    write_decisions(decisions_path(lot), [Decision(id_, "relabel", "0", "2") for id_ in wrong])
    before = list_files(runs / "folds")
    done = rounds.improve(runs / "folds", out=tmp_path / "candidate")
    assert list_files(runs / "folds") == before
    split, old = (read_split(run / "split.csv") for run in (tmp_path / "candidate", runs / "folds"))
    assert split.parts == old.parts
    pair = done.judgement.comparison.pair
    assert pair.num_photos == len(list_held_out(split))
    truth = {p.id: p.label for p in api.open_own_data(done.model)[0].train.photos}
    assert {truth[id_] for id_ in wrong} == {"0"}
    stored = load_predictions(runs / "folds" / "validation.npz")
    labels = [stored.classes[k].label for k in stored.logits.argmax(axis=1)]
    right = np.mean([truth[id_] == label for id_, label in zip(stored.ids, labels, strict=True)])
    assert done.judgement.comparison.second == pytest.approx(right)
    told = json.loads((tmp_path / "candidate" / "round.json").read_text())
    assert sorted(told["relabelled"]) == sorted(wrong)
    assert told["gate"]["accepted"] is done.judgement.accepted
    assert read_decisions(tmp_path / "candidate" / "decisions.csv")


@pytest.mark.parametrize("name", ["plain", "folds"])
def test_a_round_takes_in_photos_that_contradict_no_longer(runs, tmp_path, name):
    write_decisions(decisions_path(tmp_path / "lot"), [Decision(TWINS[1], "relabel", "1", "2")])
    rounds.improve(runs / name, out=tmp_path / "candidate")
    split, old = (read_split(run / "split.csv") for run in (tmp_path / "candidate", runs / name))
    (part,) = (part for part, ids in split.parts.items() if set(TWINS) <= set(ids))
    assert set(split.parts[part]) - set(old.parts[part]) == set(TWINS)
    assert part == ("train" if name == "plain" else min(old.parts, key=lambda p: len(old.parts[p])))
    rest = {other: ids for other, ids in split.parts.items() if other != part}
    assert rest == {other: ids for other, ids in old.parts.items() if other != part}


def write_offer(folder, lot):
    """Photos of all classes in a folder each: new ones, a copy of a test photo, one of training."""
    for label in range(NUM_CLASSES):
        (folder / str(label)).mkdir(parents=True)
        for number in range(200, 206):
            draw_photo(label, number).save(folder / str(label) / f"{label}{number}.jpg")
    test = next(iter(open_lot(lot).test.photos))
    with Image.open(__import__("io").BytesIO(read_bytes(test))) as photo:
        photo.convert("RGB").save(folder / "1" / "copy-of-test.jpg", quality=70)
    return folder


def read_bytes(photo):
    from lotlens.photos.archives import PhotoReader

    with PhotoReader() as reader:
        return reader.read(photo.locator)


def test_outside_photos_are_learnt_and_kept_for_the_next_round(runs, tmp_path):
    offer = write_offer(tmp_path / "offer", tmp_path / "lot")
    planned = rounds.plan_round(runs / "locked", outside=offer, trust_labels=True)
    reasons = {one.offered_id: one.reason for one in planned.vetting.vetted}
    assert reasons["copy-of-test.jpg"] == "copy of test"
    assert planned.is_anew
    assert planned.judged_on == "locked"
    assert planned.additions
    assert not (runs / "locked-round-1").exists()
    shown = []
    done = rounds.improve(
        runs / "locked", outside=offer, trust_labels=True, rule="failing", show=shown.append
    )
    assert done.model.run.path == runs / "locked-round-1"
    assert [plan.number for plan in shown] == [1]
    with done.model.run.additions_path.open(newline="") as file:
        added = {row["Id"] for row in csv.DictReader(file)}
    assert added == {one.photo.id for one in planned.additions}
    with done.model.run.outside_path.open(newline="") as file:
        assert {row["Reason"] for row in csv.DictReader(file)} == set(reasons.values())
    # They were truly learnt: the weights are not those of the same recipe without them.
    same = (runs / "locked" / "model.safetensors").read_bytes()
    assert (runs / "locked-round-1" / "model.safetensors").read_bytes() != same
    # The locked part was opened, which both runs remember.
    for run in (runs / "locked", done.model.run.path):
        assert len((run / "locked-openings.csv").read_text().splitlines()) == 2
    # Offered once more, they are copies of what was added; with --hard there is a second round.
    again = rounds.plan_round(done.model.run.path, outside=offer, hard=True, trust_labels=True)
    assert again.number == 2
    assert {one.photo.id for one in again.additions} >= added
    names = {id_.partition("/")[2] for id_ in added}
    said = {one.offered_id: one.reason for one in again.vetting.vetted}
    assert {said[name] for name in names} == {"copy of additions"}
    assert said["copy-of-test.jpg"] == "copy of test"


@pytest.mark.parametrize("name", ["plain", "folds"])
def test_hard_examples_go_on_from_the_runs_weights(runs, tmp_path, name):
    before = list_files(runs / name)
    done = rounds.improve(runs / name, hard=True, out=tmp_path / "candidate")
    assert list_files(runs / name) == before
    card = done.model.card
    assert card.recipe["name"] == "probe-continued"
    assert "start" in card.chosen
    assert card.members == (3 if name == "folds" else 1)
    with (tmp_path / "candidate" / "photo-weights.csv").open(newline="") as file:
        weights = {row["Id"]: float(row["Weight"]) for row in csv.DictReader(file)}
    split = read_split(runs / name / "split.csv")
    assert set(weights) == {id_ for ids in split.parts.values() for id_ in ids}
    assert min(weights.values()) >= 1
    assert len(set(weights.values())) > 5
    row = rounds.list_rounds(tmp_path / "candidate")[0]
    assert row["What"] == "hard examples; continued"
    assert row["Accepted"] == ("yes" if done.judgement.accepted else "no")
    assert done.best == (tmp_path / "candidate" if done.judgement.accepted else runs / name)
    assert rounds.list_rounds(runs / name) == rounds.list_rounds(tmp_path / "candidate")
    assert (runs / name / "rounds.svg").read_bytes().startswith(b"<?xml")
    # A later round that trains anew takes the recipe that all began with.
    anew = rounds.plan_round(tmp_path / "candidate", hard=True, anew=True)
    assert anew.recipe.name == "probe"
    assert anew.number == 2


def test_a_candidate_that_is_worse_is_rejected_and_the_run_stays(runs, tmp_path, monkeypatch):
    """Its answers are spoilt on their way to the gate."""
    finish = api.complete_training

    def spoil(run, *args, **options):
        model = finish(run, *args, **options)
        stored = load_predictions(run.validation_path)
        save_predictions(run.validation_path, replace(stored, logits=-stored.logits))
        return model

    monkeypatch.setattr(api, "complete_training", spoil)
    done = rounds.improve(runs / "folds", hard=True, anew=True, out=tmp_path / "candidate")
    assert not done.judgement.accepted
    assert done.best == runs / "folds"
    assert done.judgement.sentence.startswith("rejected")


def test_a_killed_round_goes_on_to_the_same_weights(runs, tmp_path, monkeypatch):
    recipe = rounds.continue_recipe(parse_recipe(api.load(runs / "plain").card.recipe))
    stage = recipe.stages[0].model_copy(update={"batch_size": 8})
    slow = recipe.model_copy(update={"stages": (stage,), "deterministic": True})
    monkeypatch.setattr(rounds, "continue_recipe", lambda _: slow)
    whole = rounds.improve(runs / "plain", hard=True, out=tmp_path / "whole")

    class Enough(Exception):
        pass

    def watch(what, done, total):
        if what == "fine-tuning" and done == total // 2:
            raise Enough

    with pytest.raises(Enough):
        rounds.improve(runs / "plain", hard=True, out=tmp_path / "killed", watch=watch)
    assert api.RunFolder(tmp_path / "killed").is_unfinished
    with pytest.raises(InputError, match="began with"):
        rounds.improve(runs / "folds", out=tmp_path / "killed", resume=True)
    # Decisions taken meanwhile are for the next round.
    some = read_split(runs / "plain" / "split.csv").parts["train"][0]
    label = {p.id: p.label for p in open_lot(tmp_path / "lot").train.photos}[some]
    write_decisions(decisions_path(tmp_path / "lot"), [Decision(some, "drop", "", label)])
    done = rounds.improve(runs / "plain", out=tmp_path / "killed", resume=True)
    assert done.model.card.weights_sha256 == whole.model.card.weights_sha256
    assert done.number == 2  # the whole one was the first


def test_the_stage_that_continues_is_short_and_of_a_low_rate(tiny_recipe):
    recipe = parse_recipe(tiny_recipe)
    own = recipe.stages[1]
    (stage,) = rounds.continue_recipe(recipe).stages
    assert isinstance(stage, Finetune)
    assert stage.lr == pytest.approx(own.lr / 10)
    assert [(s.height, s.width, s.epochs) for s in stage.sizes] == [(48, 64, 3)]
    assert stage.keep_best
    assert parse_recipe(rounds.continue_recipe(recipe).to_dict())
    probe = parse_recipe(tiny_recipe | {"stages": tiny_recipe["stages"][:1]})
    assert rounds.continue_recipe(probe).stages[0].unfreeze == 0.5


def test_what_cannot_be_improved_is_one_clear_error(runs, tmp_path):
    with pytest.raises(InputError, match="nothing new to learn"):
        rounds.plan_round(runs / "plain")
    with pytest.raises(InputError, match="has no rule"):
        rounds.plan_round(runs / "plain", hard=True, rule="luck")
    with pytest.raises(InputError, match="name its run folder"):
        rounds.improve(runs / "plain", resume=True)
    with pytest.raises(InputError, match="has seen no round"):
        rounds.list_rounds(runs / "plain")
    with pytest.raises(BundleError, match="no run folder"):
        evidence.doubt(tmp_path / "nothing")
    empty = tmp_path / "strange"
    (empty / "A").mkdir(parents=True)
    (empty / "B").mkdir()
    draw_photo(0, 900).save(empty / "A" / "a.jpg")
    draw_photo(1, 901).save(empty / "B" / "b.jpg")
    with pytest.raises(InputError, match=r"none of the 2 photos .* is admitted: unknown class 2"):
        rounds.plan_round(runs / "plain", outside=empty)
    (tmp_path / "strange-run").mkdir()
    shutil.copy(runs / "plain" / "recipe.yaml", tmp_path / "strange-run")
    with pytest.raises(InputError, match="holds no round"):
        rounds.improve(runs / "plain", out=tmp_path / "strange-run", resume=True)
    shutil.copytree(runs / "plain", runs / "damaged")
    (runs / "damaged" / "round.json").write_text("{}")
    with pytest.raises(BundleError, match="is damaged"):
        rounds.plan_round(runs / "damaged", hard=True)


def test_the_commands_say_what_was_found_and_done(runs, own_lot, tmp_path):
    runner = CliRunner()
    run = str(runs / "folds")
    said = runner.invoke(cli.app, ["doubts", run, "--top", "3"])
    assert said.exit_code == 0, said.output
    assert "the run's own 3 models" in said.output
    assert f"lotlens review {run}" in said.output
    told = runner.invoke(cli.app, ["doubts", run, "--json"])
    assert set(own_lot[1]) & {one["photo_id"] for one in json.loads(told.stdout)["doubts"]}
    planned = runner.invoke(cli.app, ["improve", run, "--hard", "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert "judged on     the answers out of fold" in planned.output
    offer = str(write_offer(tmp_path / "offer", tmp_path / "lot"))
    arguments = ["improve", run, "--outside", offer, "--most", "4", "--trust-labels"]
    planned = runner.invoke(cli.app, [*arguments, "--dry-run", "--json"])
    assert json.loads(planned.stdout)["additions"] <= 4
    done = runner.invoke(cli.app, [*arguments, "--out", str(tmp_path / "candidate")])
    assert done.exit_code == 0, done.output
    assert "copy of test" in done.output
    assert "gate " in done.output
    listed = runner.invoke(cli.app, ["rounds", run])
    assert "outside photos; anew" in listed.output
    assert json.loads(runner.invoke(cli.app, ["rounds", run, "--json"]).stdout)[0]["Round"] == "1"
    with pytest.raises(InputError, match="no rule"):
        runner.invoke(cli.app, ["improve", run, "--hard", "--rule", "luck"], catch_exceptions=False)


def test_ctrl_c_says_how_to_go_on(runs, tmp_path, monkeypatch):
    """What Ctrl-C does to a training is tested in test_cli; a round says its own way to go on."""

    def stop(run, *args, **options):
        raise Stopped(run.path)

    monkeypatch.setattr(api, "complete_training", stop)
    out = tmp_path / "candidate"
    arguments = ["improve", str(runs / "plain"), "--hard", "--out", str(out)]
    said = CliRunner().invoke(cli.app, arguments)
    assert said.exit_code == 130
    assert f"lotlens improve {runs / 'plain'} --out {out} --resume" in " ".join(said.stderr.split())
    assert (out / "round.json").is_file()
