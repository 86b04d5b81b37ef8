"""Training in Python: what a run holds, which split it takes, what is refused."""

import csv
import shutil

import numpy as np
import pytest
import yaml

import lotlens
from lotlens.answering.answers import load_predictions
from lotlens.answering.predict import predict as predict_catalog
from lotlens.audit.parts import read_split
from lotlens.errors import InputError, MissingExtra, RecipeError
from lotlens.extras import import_vision
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe
from lotlens.run import RunFolder
from lotlens.verbs.train import begin_training
from lotlens.vision.bundle import load_bundle
from lotlens.vision.predictor import ClassifierPredictor

pytestmark = pytest.mark.usefixtures("plain_charts")


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def begin(data, recipe, out, split_path=None):
    """The run folder as a training finds it when it begins, with its split."""
    return begin_training(
        data, recipe, (), RunFolder(out), split_path, resume=False, watch=None
    ).run


def test_a_run_holds_all_that_the_docs_promise(trained, spoilt_lot, tmp_path):
    """The recipe in a run trains the same model again, and writes the same files."""
    values = yaml.safe_load(trained.run.recipe_path.read_text("utf-8"))
    again = lotlens.train(spoilt_lot, parse_recipe(values), out=tmp_path / "again")
    assert again.card.weights_sha256 == trained.card.weights_sha256
    assert again.card.metrics == trained.card.metrics
    names = {path.name for path in again.run.path.iterdir()}
    assert names == {
        "batch.jpg",
        "card.json",
        "familiarity.npz",
        "findings.csv",
        "history.csv",
        "model.safetensors",
        "photos.npz",
        "recipe.yaml",
        "report.html",
        "source.json",
        "split.csv",
        "tensorboard",
        "timing.json",
        "validation.npz",
    }
    spent = again.run.read_timing()
    assert 0 < spent["wall_s"] < 3600
    assert spent["cpu_s"] > 0
    card = again.card
    assert [car.name for car in card.classes] == ["Волна", "Heron 4", "Clover"]
    assert card.metrics[0].name == "accuracy"
    assert card.metrics[0].low < card.metrics[0].value <= card.metrics[0].high
    assert "probe" in card.chosen
    assert not card.synthetic
    # A word on every photo that was left out, and none about others.
    findings = read_rows(again.run.findings_path)
    assert findings[0][:5] == ["Id", "Part", "Check", "Severity", "Training"]
    assert [row[:3] for row in findings[1:] if row[4] == "drop"] == [
        ["1003.jpg", "train", "unreadable"]
    ]
    assert "1003.jpg" not in {row[0] for row in read_rows(again.run.split_path)}


def test_out_of_fold_answers_are_those_of_the_member_that_has_not_seen_the_photo(
    folded, spoilt_lot
):
    network, card = load_bundle(folded.run)
    assert card.members == 3
    split = read_split(folded.run.split_path)
    stored = load_predictions(folded.run.validation_path)
    ids = [id_ for number in (1, 2, 3) for id_ in split.parts[f"fold-{number}"]]
    assert list(stored.ids) == ids
    assert len(set(ids)) == 35  # all but the broken one
    catalog = open_lot(spoilt_lot).train
    for number, member in enumerate(network.members, start=1):
        held_out = split.parts[f"fold-{number}"]
        found = predict_catalog(ClassifierPredictor(member, card), catalog.select(held_out))
        rows = [stored.ids.index(id_) for id_ in held_out]
        np.testing.assert_allclose(stored.logits[rows], found.logits, rtol=1e-4, atol=1e-4)
    assert card.metrics[0].count == 35
    assert all(f"fold {number}: fine-tuned" in card.chosen for number in (1, 2, 3))
    told = [part for part in card.chosen.split("; ") if part.startswith("validation accuracy")]
    assert card.num_candidates == max(part.count(" nats)") for part in told)
    with folded.run.history_path.open(encoding="utf-8", newline="") as file:
        assert [row["fold"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_a_run_remembers_how_many_photos_of_each_class_it_was_trained_on(trained, folded):
    kept = read_split(trained.run.split_path).parts["train"]
    counts = trained.run.read_source()["photos"]
    assert sum(counts.values()) == len(kept)
    assert counts == {str(k): sum(id_[0] == str(k + 1) for id_ in kept) for k in range(3)}
    # With folds every photo is learnt by some model.
    assert sum(folded.run.read_source()["photos"].values()) == 35


def test_an_unknown_language_is_refused_before_anything_is_done(spoilt_lot, tmp_path):
    with pytest.raises(InputError, match="'de': use one of en, ru"):
        lotlens.train(spoilt_lot, "quick", out=tmp_path / "run", lang="de")
    assert not (tmp_path / "run").exists()


def test_a_split_without_the_folds_of_the_recipe_is_refused(
    folded, trained, spoilt_lot, tiny_recipe, tmp_path
):
    folds, hold_out = folded.run.split_path, trained.run.split_path
    with pytest.raises(InputError, match=r"needs parts train and validation: draw it with"):
        lotlens.train(spoilt_lot, parse_recipe(tiny_recipe), split_path=folds, out=tmp_path / "run")
    four = parse_recipe({**tiny_recipe, "folds": 4})
    for path in (folds, hold_out):
        with pytest.raises(InputError, match=r"needs 4 folds: draw it with .* --folds 4 "):
            lotlens.train(spoilt_lot, four, split_path=path, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_plan_of_folds_counts_one_and_names_their_number(spoilt_lot, tiny_recipe):
    planned = lotlens.plan(spoilt_lot, parse_recipe({**tiny_recipe, "folds": 5}))
    assert planned.num_models == 5
    assert planned.num_train + planned.num_validation == 36  # the broken one too: none was opened


def test_copies_never_straddle_the_split_of_a_run(copied_lot, tiny_recipe, tmp_path):
    for seed in range(3):
        recipe = parse_recipe({**tiny_recipe, "stages": tiny_recipe["stages"][:1], "seed": seed})
        run = begin(copied_lot, recipe, tmp_path / f"run-{seed}")
        part_of = dict(row[:2] for row in read_rows(run.split_path)[1:])
        for label in range(3):
            copies = (f"{label}-0.jpg", f"{label}-0-small.jpg", f"{label}-0-poor.jpg")
            assert len({part_of[id_] for id_ in copies}) == 1
        # One picture under two labels: neither is learnt.
        assert not {"0-1.jpg", "stray.jpg"} & part_of.keys()
        assert len(part_of) == 42 - 1


def test_a_stored_split_is_used_as_it_is(small_lot, tiny_recipe, tmp_path):
    values = {**tiny_recipe, "stages": tiny_recipe["stages"][:1]}
    split_path = tmp_path / "split.csv"
    first = begin(small_lot, parse_recipe(values), tmp_path / "a", split_path)
    written = split_path.read_bytes()
    assert written == first.split_path.read_bytes()
    other_seed = parse_recipe({**values, "seed": 7})
    second = begin(small_lot, other_seed, tmp_path / "b", split_path)
    assert second.split_path.read_bytes() == written == split_path.read_bytes()
    without = begin(small_lot, other_seed, tmp_path / "c")
    assert without.split_path.read_bytes() != written


def test_a_stored_split_that_does_not_fit_or_leaks_is_refused(
    small_lot, spoilt_lot, copied_lot, tiny_recipe, tmp_path
):
    recipe = parse_recipe({**tiny_recipe, "stages": tiny_recipe["stages"][:1]})
    split_path = tmp_path / "split.csv"
    lotlens.split(small_lot, split_path)
    with pytest.raises(InputError, match="does not fit"):
        lotlens.train(spoilt_lot, recipe, out=tmp_path / "a", split_path=split_path)
    lotlens.split(small_lot, split_path, num_folds=2)
    with pytest.raises(InputError, match="the parts fold-1, fold-2, but recipe tiny needs parts t"):
        lotlens.train(small_lot, recipe, out=tmp_path / "a", split_path=split_path)
    lotlens.split(copied_lot, split_path)
    rows = split_path.read_text("utf-8").splitlines()
    small = next(at for at, row in enumerate(rows) if row.startswith("2-0-small.jpg"))
    here, there = ("train", "validation") if ",train," in rows[small] else ("validation", "train")
    rows[small] = rows[small].replace(here, there)
    split_path.write_text("\n".join(rows), "utf-8")
    with pytest.raises(InputError, match="have a copy, or a photo of their listing, in another"):
        lotlens.train(copied_lot, recipe, out=tmp_path / "a", split_path=split_path)
    assert not (tmp_path / "a").exists()


def test_a_class_of_one_photo_is_trained_on_and_named(small_lot, tiny_recipe, tmp_path):
    lot = tmp_path / "lot"
    shutil.copytree(small_lot, lot)
    rows = (lot / "train.csv").read_text("utf-8").splitlines()
    rows = [row for row in rows if not row.startswith("3") or row.startswith("3000")]
    (lot / "train.csv").write_text("\n".join(rows), "utf-8")
    model = lotlens.train(lot, parse_recipe(tiny_recipe), out=tmp_path / "run")
    part_of = dict(row[:2] for row in read_rows(model.run.split_path)[1:])
    assert part_of["3000.jpg"] == "train"
    rare = [row for row in read_rows(model.run.findings_path) if row[2] == "rare-class"]
    assert [row[0] for row in rare] == ["3000.jpg"]
    assert "cannot be validated" in rare[0][-1]


@pytest.mark.parametrize(
    ("recipe", "overrides", "error"),
    [
        ("standart", (), InputError),
        ("quick", ("sed=1",), RecipeError),
        ("quick", ("backbone=lite9",), InputError),
    ],
)
def test_mistakes_leave_nothing_behind(small_lot, tmp_path, recipe, overrides, error):
    with pytest.raises(error):
        lotlens.train(small_lot, recipe, overrides=overrides, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_bad_data_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError):
        lotlens.train(tmp_path / "absent", "quick", out=tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        lotlens.train(tmp_path / "empty", "quick", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_overrides_need_a_name_or_file(small_lot, tmp_path, tiny_recipe):
    with pytest.raises(InputError, match="overrides"):
        lotlens.train(
            small_lot, parse_recipe(tiny_recipe), overrides=["seed=1"], out=tmp_path / "r"
        )


def test_a_missing_part_is_told_apart_from_a_bug(monkeypatch):
    import importlib

    def fail(name):
        raise ModuleNotFoundError("No module named 'timm'", name="timm")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(MissingExtra, match="timm"):
        import_vision("stages")
