"""Rounds that learn more; a gate judges them and the old run stays."""

import csv
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import lotlens
from lotlens.answering.answers import load_predictions, save_predictions
from lotlens.audit.parts import list_held_out, read_split
from lotlens.cli.app import build_app
from lotlens.deliver.model import Model
from lotlens.deliver.own_data import open_own_data
from lotlens.errors import BundleError, InputError, Stopped
from lotlens.improve import history
from lotlens.improve.history import write_rounds
from lotlens.improve.plan import continue_recipe
from lotlens.photos.decisions import Decision, decisions_path, read_decisions, write_decisions
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe
from lotlens.recipes.schema import Finetune
from lotlens.run import RunFolder
from lotlens.verbs import improve as improving
from lotlens.verbs.doubts import doubt
from lotlens.verbs.improve import improve, plan_round
from lotlens.verbs.rounds import list_rounds
from tests.conftest import draw_photo
from tests.verbs.conftest import NUM_CLASSES, TWINS, make_recipe

pytestmark = pytest.mark.usefixtures("plain_charts")


def list_files(folder):
    """What a folder holds, rounds.csv and its picture apart, which a round adds to."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.stem != "rounds"
    }


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
    model = lotlens.train(lot, parse_recipe(make_recipe(tiny_backbone)), out=tmp_path / "new")
    own = open_own_data(model).lot
    labels = {photo.id: photo.label for photo in own.train.photos}
    assert labels[wrong[0]] == "0"
    assert gone not in labels
    with (tmp_path / "new" / "findings.csv").open(newline="") as file:
        checks = {(row["Id"], row["Check"]) for row in csv.DictReader(file)}
    assert {(wrong[0], "relabelled"), (gone, "left-out")} <= checks
    # The run of before was trained without them, and its photos are still known to it.
    before = open_own_data(lotlens.load(runs / "plain")).lot
    assert {p.id: p.label for p in before.train.photos}[wrong[0]] == "2"
    assert lotlens.evaluate(runs / "plain").about.startswith("plain: its own validation part")
    # What is decided later changes neither.
    write_decisions(path, decided[:1])
    assert gone not in {photo.id for photo in open_own_data(model).lot.train.photos}
    assert lotlens.evaluate(tmp_path / "new", lot).about.startswith("new: its own validation part")
    # Those that people have decided on are no doubts any more.
    write_decisions(path, decided)
    found = doubt(runs / "folds")
    assert found.num_settled == 3
    assert not {doubt.photo_id for doubt in found.doubts} & {wrong[0], wrong[1], gone}


def test_a_round_of_decisions_is_judged_by_the_labels_as_they_are_now(runs, own_lot, tmp_path):
    _, wrong = own_lot
    lot = tmp_path / "lot"
    write_decisions(decisions_path(lot), [Decision(id_, "relabel", "0", "2") for id_ in wrong])
    before = list_files(runs / "folds")
    done = improve(runs / "folds", out=tmp_path / "candidate")
    assert list_files(runs / "folds") == before
    split, old = (read_split(run / "split.csv") for run in (tmp_path / "candidate", runs / "folds"))
    assert split.parts == old.parts
    pair = done.judgement.comparison.pair
    assert pair.num_photos == len(list_held_out(split))
    truth = {p.id: p.label for p in open_own_data(done.model).lot.train.photos}
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
    improve(runs / name, out=tmp_path / "candidate")
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
    planned = plan_round(runs / "locked", outside=offer, trust_labels=True)
    reasons = {one.offered_id: one.reason for one in planned.vetting.vetted}
    assert reasons["copy-of-test.jpg"] == "copy of test"
    assert planned.is_anew
    assert planned.judged_on == "locked"
    assert planned.additions
    assert not (runs / "locked-round-1").exists()
    shown = []
    done = improve(
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
    again = plan_round(done.model.run.path, outside=offer, hard=True, trust_labels=True)
    assert again.number == 2
    assert {one.photo.id for one in again.additions} >= added
    names = {id_.partition("/")[2] for id_ in added}
    said = {one.offered_id: one.reason for one in again.vetting.vetted}
    assert {said[name] for name in names} == {"copy of additions"}
    assert said["copy-of-test.jpg"] == "copy of test"


def test_damaged_answers_are_found_before_outside_photos_are_looked_at(runs, tmp_path, monkeypatch):
    stored = runs / "plain" / "validation.npz"
    stored.write_bytes(stored.read_bytes()[:-5])
    offer = write_offer(tmp_path / "offer", tmp_path / "lot")
    monkeypatch.setattr(Model, "answer", lambda *_, **__: pytest.fail("photos were answered"))
    for vet in (plan_round, lotlens.vet_outside):
        with pytest.raises(BundleError, match=r"validation\.npz"):
            vet(runs / "plain", outside=offer)
    monkeypatch.setattr(improving, "gather_evidence", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(BundleError, match=r"validation\.npz"):
        plan_round(runs / "plain", hard=True)


def test_the_gate_knows_how_many_candidates_the_same_photos_have_judged(runs, monkeypatch):
    row = dict.fromkeys(history._COLUMNS, "0") | {"Round": "1"}
    rows = [row | {"Judged": part} for part in ("validation", "locked", "validation")]
    write_rounds(RunFolder(runs / "plain").rounds_path, rows)
    own = open_own_data(lotlens.load(runs / "plain"))
    plan = plan_round(runs / "plain", hard=True)
    training = SimpleNamespace(lot=own.lot, split=own.split)
    judgement = improving._ask_gate(own.model, own, training, plan, None)
    assert judgement.num_judged == 3
    assert judgement.sentence.endswith("with a chance of up to 14 %")
    listed = CliRunner().invoke(build_app(), ["rounds", str(runs / "plain")]).stdout
    assert "2 candidates were judged on the same photos (validation)" in listed
    assert "up to 10%" in listed
    assert "(locked)" not in listed


@pytest.mark.parametrize("name", ["plain", "folds"])
def test_hard_examples_go_on_from_the_runs_weights(runs, tmp_path, name):
    before = list_files(runs / name)
    done = improve(runs / name, hard=True, out=tmp_path / "candidate")
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
    assert done.judgement.num_judged == 1
    row = list_rounds(tmp_path / "candidate")[0]
    assert row["What"] == "hard examples; continued"
    assert row["Accepted"] == ("yes" if done.judgement.accepted else "no")
    assert done.best == (tmp_path / "candidate" if done.judgement.accepted else runs / name)
    assert list_rounds(runs / name) == list_rounds(tmp_path / "candidate")
    assert (runs / name / "rounds.svg").read_bytes().startswith(b"<?xml")
    # A later round that trains anew takes the recipe that all began with.
    anew = plan_round(tmp_path / "candidate", hard=True, anew=True)
    assert anew.recipe.name == "probe"
    assert anew.number == 2


@pytest.mark.parametrize("found", ["none", "map"])
def test_a_round_that_goes_on_looks_at_photos_as_the_runs_weights_do(
    runs, tmp_path, monkeypatch, found
):
    """Whether the car is found first was settled when they were learnt, and not for new ones."""
    shutil.copytree(runs / "plain", tmp_path / "run")
    card_path = tmp_path / "run" / "card.json"
    card = json.loads(card_path.read_text())
    card["recipe"]["image"]["locate"] = "auto"
    card["image"]["locate"] = found
    card_path.write_text(json.dumps(card))
    monkeypatch.setattr("lotlens.deliver.model.Model.open_locator", lambda *_: lambda _: None)
    plan = plan_round(tmp_path / "run", hard=True)
    assert plan.recipe.image.locate == found
    assert plan.base.image.locate == "auto"
    assert plan_round(tmp_path / "run", hard=True, anew=True).recipe.image.locate == "auto"


def test_a_candidate_that_is_worse_is_rejected_and_the_run_stays(runs, tmp_path, monkeypatch):
    """Its answers are spoilt on their way to the gate."""
    finish = improving.complete_training

    def spoil(training, **options):
        model = finish(training, **options)
        stored = load_predictions(model.run.validation_path)
        spoilt = replace(stored, logits=-stored.logits)
        sha256 = save_predictions(model.run.validation_path, spoilt)
        model.run.write_card(replace(model.card, answers_sha256=sha256))
        return lotlens.load(model.run.path)

    monkeypatch.setattr(improving, "complete_training", spoil)
    done = improve(runs / "folds", hard=True, anew=True, out=tmp_path / "candidate")
    assert not done.judgement.accepted
    assert done.best == runs / "folds"
    assert done.judgement.sentence.startswith("rejected")


def test_a_killed_round_goes_on_to_the_same_weights(runs, tmp_path, monkeypatch):
    recipe = continue_recipe(parse_recipe(lotlens.load(runs / "plain").card.recipe))
    stage = recipe.stages[0].model_copy(update={"batch_size": 8})
    slow = recipe.model_copy(update={"stages": (stage,), "deterministic": True})
    monkeypatch.setattr(improving, "continue_recipe", lambda _: slow)
    whole = improve(runs / "plain", hard=True, out=tmp_path / "whole")

    class Enough(Exception):
        pass

    def watch(what, done, total):
        if what == "fine-tuning" and done == total // 2:
            raise Enough

    with pytest.raises(Enough):
        improve(runs / "plain", hard=True, out=tmp_path / "killed", watch=watch)
    assert RunFolder(tmp_path / "killed").is_unfinished
    with pytest.raises(InputError, match="began with"):
        improve(runs / "folds", out=tmp_path / "killed", resume=True)
    # Decisions taken meanwhile are for the next round.
    some = read_split(runs / "plain" / "split.csv").parts["train"][0]
    label = {p.id: p.label for p in open_lot(tmp_path / "lot").train.photos}[some]
    write_decisions(decisions_path(tmp_path / "lot"), [Decision(some, "drop", "", label)])
    done = improve(runs / "plain", out=tmp_path / "killed", resume=True)
    assert done.model.card.weights_sha256 == whole.model.card.weights_sha256
    assert done.number == 2  # the whole one was the first
    with pytest.raises(InputError, match=r"round in .*killed is finished: see  lotlens rounds"):
        improve(runs / "plain", out=tmp_path / "killed", resume=True)


def test_the_stage_that_continues_is_short_and_of_a_low_rate(tiny_recipe):
    recipe = parse_recipe(tiny_recipe)
    own = recipe.stages[1]
    (stage,) = continue_recipe(recipe).stages
    assert isinstance(stage, Finetune)
    assert stage.lr == pytest.approx(own.lr / 10)
    assert [(s.height, s.width, s.epochs) for s in stage.sizes] == [(48, 64, 3)]
    assert stage.keep_best
    assert parse_recipe(continue_recipe(recipe).to_dict())
    probe = parse_recipe(tiny_recipe | {"stages": tiny_recipe["stages"][:1]})
    assert continue_recipe(probe).stages[0].unfreeze == 0.5


def test_a_folder_that_is_taken_is_refused_before_work(runs, monkeypatch):
    def fail(*given):
        raise AssertionError("the round was planned")

    monkeypatch.setattr("lotlens.verbs.improve.load", fail)
    for resume in (False, True):
        with pytest.raises(InputError, match="already holds files"):
            improve(runs / "plain", hard=True, out=runs / "folds", resume=resume)


def test_what_cannot_be_improved_is_one_clear_error(runs, tmp_path):
    with pytest.raises(InputError, match="nothing new to learn"):
        plan_round(runs / "plain")
    with pytest.raises(InputError, match="has no rule"):
        plan_round(runs / "plain", hard=True, rule="luck")
    with pytest.raises(InputError, match="name its run folder"):
        improve(runs / "plain", resume=True)
    assert list_rounds(runs / "plain") == ()
    with pytest.raises(BundleError, match="no run folder"):
        doubt(tmp_path / "nothing")
    empty = tmp_path / "strange"
    (empty / "A").mkdir(parents=True)
    (empty / "B").mkdir()
    draw_photo(0, 900).save(empty / "A" / "a.jpg")
    draw_photo(1, 901).save(empty / "B" / "b.jpg")
    with pytest.raises(InputError, match=r"none of the 2 photos .* is admitted: unknown class 2"):
        plan_round(runs / "plain", outside=empty)
    (tmp_path / "strange-run").mkdir()
    shutil.copy(runs / "plain" / "recipe.yaml", tmp_path / "strange-run")
    (tmp_path / "strange-run" / "checkpoint").mkdir()
    (tmp_path / "strange-run" / "checkpoint" / "stages.json").write_text("{}")
    with pytest.raises(InputError, match="holds no round"):
        improve(runs / "plain", out=tmp_path / "strange-run", resume=True)
    shutil.copytree(runs / "plain", runs / "damaged")
    (runs / "damaged" / "round.json").write_text("{}")
    with pytest.raises(BundleError, match="is damaged"):
        plan_round(runs / "damaged", hard=True)


def test_the_commands_say_what_was_found_and_done(runs, own_lot, tmp_path):
    runner = CliRunner()
    run = str(runs / "folds")
    said = runner.invoke(build_app(), ["doubts", run, "--top", "3"])
    assert said.exit_code == 0, said.output
    assert "the run's own 3 models" not in said.output
    said = runner.invoke(build_app(), ["doubts", run, "--top", "3", "-v"])
    assert said.exit_code == 0, said.output
    assert "the run's own 3 models" in said.output
    assert f"lotlens review {run}" in said.output
    told = runner.invoke(build_app(), ["doubts", run, "--json"])
    assert set(own_lot[1]) & {one["photo_id"] for one in json.loads(told.stdout)["doubts"]}
    planned = runner.invoke(build_app(), ["improve", run, "--hard", "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert "judged on     all training photos, each answered by a model that" in planned.output
    assert "to be adopted it must be right on 6 more at least" in planned.output
    offer = str(write_offer(tmp_path / "offer", tmp_path / "lot"))
    arguments = ["improve", run, "--outside", offer, "--most", "4", "--trust-labels"]
    planned = runner.invoke(build_app(), [*arguments, "--dry-run", "--json"])
    assert json.loads(planned.stdout)["additions"] <= 4
    done = runner.invoke(build_app(), [*arguments, "--out", str(tmp_path / "candidate")])
    assert done.exit_code == 0, done.output
    assert "copy of test" in done.output
    assert re.search(
        r"^(Not adopted|Adopted): .* \(right on \d+\.\d % of \d+ photos", done.output, re.M
    )
    assert f"run           {tmp_path / 'candidate'}\n" in done.output
    assert "gate " not in done.output
    listed = runner.invoke(build_app(), ["rounds", run])
    assert "outside photos; anew" in listed.output
    assert (
        json.loads(runner.invoke(build_app(), ["rounds", run, "--json"]).stdout)[0]["Round"] == "1"
    )
    with pytest.raises(InputError, match="no rule"):
        runner.invoke(
            build_app(), ["improve", run, "--hard", "--rule", "luck"], catch_exceptions=False
        )


def test_ctrl_c_says_how_to_go_on(runs, tmp_path, monkeypatch):
    """What Ctrl-C does to a training is tested in tests/cli; a round says its own way to go on."""

    def stop(training, **options):
        raise Stopped(training.run.path)

    monkeypatch.setattr(improving, "complete_training", stop)
    out = tmp_path / "candidate"
    arguments = ["improve", str(runs / "plain"), "--hard", "--out", str(out)]
    said = CliRunner().invoke(build_app(), arguments)
    assert said.exit_code == 130
    assert f"lotlens improve {runs / 'plain'} --out {out} --resume" in " ".join(said.stderr.split())
    assert (out / "round.json").is_file()
