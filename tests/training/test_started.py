"""Training that starts from another run: its network is taken, its photos judge nothing."""

import csv
import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

import lotlens
from lotlens.audit.known import read_known
from lotlens.audit.parts import list_held_out, list_learnt, read_split
from lotlens.cli.app import build_app
from lotlens.deliver.learnt import find_learnt
from lotlens.errors import BundleError, InputError
from lotlens.photos.sources import open_photos
from lotlens.recipes.loading import parse_recipe
from lotlens.training import started
from lotlens.vision.backbones import build_backbone
from tests.conftest import draw_photo, encode, make_tiny_recipe, without_charts

NAMES = ("Волна", "Heron 4", "Boulder", "Midge")


def draw(label, number):
    photo = draw_photo(label % 3, number, (96, 72))
    return photo if label < 3 else photo.transpose(Image.Transpose.ROTATE_90)


def write_photos(folder, labels, numbers):
    for label in labels:
        (folder / NAMES[label]).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            (folder / NAMES[label] / f"{number}.jpg").write_bytes(encode(draw(label, number)))
    return folder


def train(lot, backbone, out, *, stages=slice(0, 1), **options):
    recipe = make_tiny_recipe(str(backbone))
    recipe["stages"] = recipe["stages"][stages]
    names = ("seed", "folds", "pooling", "feature_levels")
    seed = {key: options.pop(key) for key in names if key in options}
    with without_charts():
        return lotlens.train(lot, parse_recipe({**recipe, **seed}), out=out, **options)


@pytest.fixture(scope="module")
def first_lot(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("first") / "lot", (0, 1), range(16))


@pytest.fixture(scope="module")
def first(first_lot, tiny_backbone, tmp_path_factory):
    """A fine-tuned run of two models."""
    out = tmp_path_factory.mktemp("first-run") / "first"
    return train(first_lot, tiny_backbone, out, stages=slice(1, 2))


def test_covariances_start_from_means_and_from_covariances_but_means_not_from_these(
    first, tmp_path
):
    lot = write_photos(tmp_path / "second", (1, 2, 3), range(100, 112))
    pooled = {"pooling": "covariance", "feature_levels": 2}
    second = train(lot, f"run:{first.run.path}", tmp_path / "two", **pooled)
    assert second.card.pooling == "covariance"
    taken, now = load_file(first.run.weights_path), load_file(second.run.weights_path)
    shared = {key for key in now if key.startswith("backbone.")}
    assert all(torch.equal(now[key], taken[key]) for key in shared)
    assert not any("conv_head" in key for key in now)

    other = write_photos(tmp_path / "other", (0, 2), range(200, 216))
    third = train(other, f"run:{second.run.path}", tmp_path / "three", **pooled)
    again = load_file(third.run.weights_path)
    assert all(torch.equal(again[key], now[key]) for key in shared)
    assert len(lotlens.load(third.run.path).predict(other)) == 32
    recipe = {**make_tiny_recipe(f"run:{second.run.path}"), **pooled}
    assert lotlens.show_batch(other, parse_recipe(recipe)).jpeg
    with pytest.raises(InputError, match="pools covariances and has no final features"):
        train(other, f"run:{second.run.path}", tmp_path / "four")

    card = json.loads(second.run.card_path.read_text("utf-8"))
    second.run.card_path.write_text(json.dumps(card | {"feature_levels": 1}))
    with pytest.raises(BundleError, match="does not hold the network"):
        train(other, f"run:{second.run.path}", tmp_path / "five", **pooled)


def test_the_network_is_taken_whatever_the_classes(first, tiny_backbone, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(first.run.path, source)
    taken = build_backbone(f"run:{source}").state_dict()
    own = load_file(source / "model.safetensors")
    assert all(torch.equal(taken[key], own[f"backbone.{key}"]) for key in taken)
    before = build_backbone(tiny_backbone).state_dict()
    assert any(not torch.equal(taken[key], before[key]) for key in taken)

    lot = write_photos(tmp_path / "second", (1, 2, 3), range(100, 112))
    second = train(lot, f"run:{source}", tmp_path / "run")
    assert [car.name for car in second.card.classes] == sorted(NAMES[1:])
    assert second.card.backbone == "timm:test_efficientnet@run:source"
    now = load_file(second.run.weights_path)
    assert all(torch.equal(now[f"backbone.{key}"], taken[key]) for key in taken)
    report = second.run.report_path.read_text("utf-8")
    assert "timm:test_efficientnet, started from the run source" in report
    # Its own weights are all that it needs.
    shutil.rmtree(source)
    answers = lotlens.load(second.run.path).predict(lot / NAMES[2])
    assert len(answers) == 12


def test_what_the_first_has_learnt_judges_no_run_that_started_from_it(first, first_lot, tmp_path):
    lot = write_photos(tmp_path / "second", (1, 2), range(100, 112))
    third_lot = write_photos(tmp_path / "third", (2, 3), range(200, 212))
    second = train(lot, f"run:{first.run.path}", tmp_path / "two")
    third = train(third_lot, f"run:{second.run.path}", tmp_path / "three")
    for model in (second, third):
        offered = open_photos(first_lot).photos
        learnt = set(list_learnt(read_split(first.run.split_path)))
        assert find_learnt(model, offered).keys() == learnt
    known = read_known(third.run.photos_path)
    assert len({photo.id for photo in known.photos}) == len(known.photos)


def test_photos_that_are_held_out_must_be_new_to_the_first(first, first_lot, tmp_path):
    source, split_path = first.run.path, first.run.split_path
    with pytest.raises(InputError, match=r"has learnt .* are held out here .*--split") as refused:
        train(first_lot, f"run:{source}", tmp_path / "other", seed=5)
    assert str(split_path) in str(refused.value)
    assert not (tmp_path / "other").exists()
    with pytest.raises(InputError, match=r"figures on them would be too good: train without folds"):
        train(first_lot, f"run:{source}", tmp_path / "folds", folds=2)
    again = train(first_lot, f"run:{source}", tmp_path / "again", split_path=split_path)
    held_out = set(list_held_out(read_split(split_path)))
    assert set(list_held_out(read_split(again.run.split_path))) == held_out
    # Photos that both have learnt are kept once.
    known = read_known(again.run.photos_path)
    assert not known.added


def test_copies_among_the_held_out_are_found_too(first, first_lot, tmp_path, monkeypatch):
    lot = write_photos(tmp_path / "second", (2, 3), range(100, 112))
    learnt = list_learnt(read_split(first.run.split_path))
    (lot / "Волна").mkdir()
    for number, id_ in enumerate(id_ for id_ in learnt if id_.startswith("Волна/")):
        shutil.copy(first_lot / id_, lot / "Волна" / f"other-{number}.jpg")
    with pytest.raises(InputError, match=r"has learnt 3 of the 9 photos that are held out"):
        train(lot, f"run:{first.run.path}", tmp_path / "run")
    # Were they few, they would be left out: neither learnt nor judged.
    monkeypatch.setattr(started, "_MOST_LEFT_OUT", 0.5)
    told = []
    model = train(lot, f"run:{first.run.path}", tmp_path / "run", tell=told.append)
    with model.run.findings_path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Check"] == "learnt-before"]
    copies = {row["Id"] for row in rows}
    assert len(copies) == 3
    assert all("left out" in row["Sentence"] and row["Part"] == "train" for row in rows)
    split = read_split(model.run.split_path)
    assert not copies & {id_ for ids in split.parts.values() for id_ in ids}
    assert len(list_held_out(split)) == 6
    assert model.card.metrics[0].count == 6
    assert any(getattr(one, "errors", {}).get("learnt-before") == 3 for one in told)
    again = lotlens.load(model.run.path).evaluate()  # its own validation is what it kept
    assert again.metrics[0].count == 6


def test_test_photos_that_the_first_has_learnt_are_found_by_the_audit(first, first_lot, tmp_path):
    write_photos(tmp_path / "lot" / "train", (2, 3), range(100, 112))
    test = tmp_path / "lot" / "test"
    test.mkdir()
    learnt = list_learnt(read_split(first.run.split_path))[0]
    shutil.copy(first_lot / learnt, test / "known.jpg")
    (test / "new.jpg").write_bytes(encode(draw(2, 900)))
    told = []
    model = train(tmp_path / "lot", f"run:{first.run.path}", tmp_path / "run", tell=told.append)
    with model.run.findings_path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Check"] == "learnt-before"]
    assert [(row["Id"], row["Part"], row["Severity"]) for row in rows] == [
        ("known.jpg", "test", "error")
    ]
    assert any(getattr(one, "errors", {}).get("learnt-before") == 1 for one in told)


def test_held_out_others_must_be_new_to_the_first(first, first_lot, tmp_path):
    lot = write_photos(tmp_path / "second", (2, 3), range(100, 112))
    others = write_photos(tmp_path / "others", (0, 1), range(300, 330))
    shutil.copytree(first_lot, others, dirs_exist_ok=True)
    with pytest.raises(InputError, match=r"held out here .* give other photos with --others"):
        train(lot, f"run:{first.run.path}", tmp_path / "run", others=others)


def test_what_cannot_be_started_from_is_refused_before_photos_are_looked_at(
    first, first_lot, tmp_path
):
    lot = write_photos(tmp_path / "second", (2, 3), range(100, 112))
    with pytest.raises(BundleError, match=r"^no run folder at .*none$"):
        train(lot, f"run:{tmp_path / 'none'}", tmp_path / "run")
    exported = lotlens.load(first.run.path).export(out=tmp_path / "export")
    with pytest.raises(InputError, match="exported for answering and cannot be trained on"):
        train(lot, f"run:{exported.path}", tmp_path / "run")
    folds = train(first_lot, build_source(first), tmp_path / "folds", folds=2)
    with pytest.raises(InputError, match="several networks that answer together"):
        train(lot, f"run:{folds.run.path}", tmp_path / "run")
    damaged = tmp_path / "damaged"
    shutil.copytree(first.run.path, damaged)
    weights = bytearray((damaged / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(weights)
    with pytest.raises(BundleError, match="is not the file that"):
        train(lot, f"run:{damaged}", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def build_source(model):
    return model.card.recipe["backbone"]


def test_from_on_the_command_line(first, tmp_path):
    lot = write_photos(tmp_path / "second", (2, 3), range(100, 112))
    strange = tmp_path / "a: b #1"
    shutil.copytree(first.run.path, strange)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("name: tiny\nprecision: '32'\nimage: {height: 48, width: 64}\nviews: []\n"
                      "stages: [{kind: probe, penalties: [0.1]}]\n")  # fmt: skip
    command = ["train", str(lot), "--recipe", str(recipe), "--from", str(strange), "--json"]
    with without_charts():
        done = CliRunner().invoke(
            build_app(), [*command, "--out", str(tmp_path / "run")], catch_exceptions=False
        )
    assert done.exit_code == 0, done.output
    card = lotlens.load(tmp_path / "run").card
    assert card.backbone == "timm:test_efficientnet@run:a: b #1"
    assert card.recipe["backbone"] == f"run:{strange}"


def test_a_round_of_improvement_keeps_what_must_not_judge(first, first_lot, tmp_path):
    lot = write_photos(tmp_path / "second", (2, 3), range(100, 124))
    second = train(lot, f"run:{first.run.path}", tmp_path / "two")
    more = write_photos(tmp_path / "more", (2, 3), range(200, 206))
    with without_charts():
        done = lotlens.improve(
            second.run.path, outside=more, trust_labels=True, anew=True, out=tmp_path / "three"
        )
    learnt = set(list_learnt(read_split(first.run.split_path)))
    assert find_learnt(done.model, open_photos(first_lot).photos).keys() == learnt
    assert done.model.card.backbone == second.card.backbone
    others = write_photos(tmp_path / "others", (0, 1), range(300, 330))
    shutil.copytree(first_lot, others, dirs_exist_ok=True)
    with pytest.raises(InputError, match=r"held out here .* give other photos with --others"):
        lotlens.improve(second.run.path, others=others, out=tmp_path / "four")
