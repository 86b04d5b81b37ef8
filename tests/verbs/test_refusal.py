"""From training to a verdict: what is no car gets no model's name; one's own photos set gates."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import lotlens
from lotlens.answering.answers import load_predictions
from lotlens.cli.app import build_app
from lotlens.drawn.scenes import NO_CAR_KINDS, draw_other_photo
from lotlens.errors import BundleError, InputError
from lotlens.recipes.loading import parse_recipe
from lotlens.records import FAMILIARITIES, METHODS, OK
from lotlens.report.language import load_language
from lotlens.run import RunFolder
from lotlens.verbs import refusal as choosing
from tests.conftest import without_charts, without_lookalikes

pytestmark = pytest.mark.usefixtures("plain_training")

SIZE = (128, 96)
COLUMNS = [
    *("id", "status", "label", "name", "probability", "second_name", "second_probability"),
    *("verdict", "reason", "candidates", "box"),
]


@pytest.fixture(scope="module")
def lot(tmp_path_factory, photo_drawer):
    """Three classes of 40 photos, in a folder each."""
    folder = tmp_path_factory.mktemp("lot")
    for label, name in enumerate(("Heron", "Clover", "Wave")):
        (folder / name).mkdir()
        for number in range(40):
            photo_drawer(label, number, SIZE).save(folder / name / f"{label}-{number}.png")
    return folder


@pytest.fixture(scope="module")
def recipe(tiny_backbone):
    return {
        "name": "tiny",
        "backbone": tiny_backbone,
        "image": {"height": 48, "width": 64},
        "validation": 0.4,
        "stages": [{"kind": "probe", "penalties": [0.1]}],
    }


@pytest.fixture(scope="module")
def trained(lot, recipe, tmp_path_factory):
    with without_charts(), without_lookalikes():
        return lotlens.train(lot, parse_recipe(recipe), out=tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run, to be changed."""
    return RunFolder(Path(shutil.copytree(trained.run.path, tmp_path / "run")))


def draw_scenes(folder, seed):
    """Drawn scenes without a car, 40 of them, in a folder."""
    for number in range(40):
        kind = NO_CAR_KINDS[number % len(NO_CAR_KINDS)]
        photo = draw_other_photo(np.random.default_rng([seed, number]), kind, *SIZE)
        photo.save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def not_cars(tmp_path_factory):
    return draw_scenes(tmp_path_factory.mktemp("not-cars"), seed=9)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Others, which a random network needs to be told of: by itself it sees no difference."""
    return draw_scenes(tmp_path_factory.mktemp("given"), seed=8)


@pytest.fixture(scope="module")
def guarded(trained, given, tmp_path_factory):
    """A copy of the run whose gates were set by given photos."""
    folder = shutil.copytree(trained.run.path, tmp_path_factory.mktemp("guarded") / "run")
    lotlens.set_refusal(folder, negatives=given)
    return lotlens.load(folder)


def test_training_stores_gates_and_says_what_they_are_worth(trained):
    refusal = trained.card.refusal
    assert [gate.refuses for gate in refusal.gates] == ["not a car", "unknown"]
    validation = load_predictions(trained.run.validation_path)
    assert validation.familiarity.shape == (len(validation.ids), len(FAMILIARITIES))
    *measured, others = validation.familiarity.T
    assert np.isfinite(measured).all()
    assert np.isnan(others).all()  # none were given
    assert refusal.num_photos == len(validation.ids) == 48
    for gate in refusal.gates:
        assert gate.method in METHODS
        assert gate.known.value >= 0.95
        assert gate.known.count == 48
    assert refusal.gates[0].strangers.count == 128
    assert refusal.gates[1].strangers is None
    assert 0 < refusal.candidate < 1
    assert len(trained.read_references()) == 1


def test_known_photos_are_named_and_others_are_not(guarded, lot, not_cars):
    known = guarded.predict(lot)
    assert list(known.columns) == COLUMNS
    assert (known["verdict"].isin(["model", "unsure"])).mean() > 0.9
    named = known[known["verdict"] == "model"]
    assert len(named)
    assert (named["candidates"] == named["name"]).all()
    others = guarded.predict(not_cars)
    # Whether it shows some car is asked of a network that has never seen such drawn boxes.
    refused = others[others["verdict"].isin(["not a car", "unknown"])]
    assert len(refused) > 0.9 * len(others)
    assert refused["probability"].isna().all()
    assert refused["label"].notna().all()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A cat and two people, as packages ship them for their examples."""
    import matplotlib as mpl

    skimage = pytest.importorskip("skimage")
    folder = tmp_path_factory.mktemp("photographs")
    data = Path(skimage.__file__).parent / "data"
    hopper = Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    for path in (data / "chelsea.png", data / "astronaut.png", hopper):
        shutil.copy(path, folder / path.name)
    return folder


def test_a_cat_and_people_are_given_no_models_name(tmp_path, photographs):
    """By a network with the embedded ImageNet weights, which has learnt drawn cars."""
    lot = lotlens.draw_lot(tmp_path / "lot", num_train=120, num_test=20, num_workers=1)
    overrides = ["image.height=96", "image.width=144", "validation=0.3"]
    model = lotlens.train(lot, "quick", overrides=overrides, out=tmp_path / "run")
    frame = model.predict(photographs)
    assert len(frame) == 3
    assert (frame["verdict"] == "not a car").all(), frame[["id", "reason"]]
    assert frame["probability"].isna().all()


def test_poor_photos_say_so_and_a_submission_answers_them_all_the_same(trained, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", SIZE, (3, 3, 3)).save(folder / "black.png")
    Image.new("RGB", (40, 20), (90, 30, 30)).save(folder / "small.png")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    out, details = tmp_path / "s.csv", tmp_path / "d.csv"
    options = {"form": "submission", "fill": True, "details": details}
    lotlens.predict(trained.run.path, folder, out=out, **options)
    with out.open(encoding="utf-8", newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["Id", "black.png", "small.png", "torn.jpg"]
    with details.open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert rows["black.png"]["verdict"] == rows["small.png"]["verdict"] == "poor photo"
    assert "too dark" in rows["black.png"]["reason"]
    assert "40 x 20 pixels" in rows["small.png"]["reason"]
    assert rows["torn.jpg"]["verdict"] == "no answer"
    assert rows["torn.jpg"]["status"] != OK


def test_ones_own_photos_set_the_gates(run, not_cars):
    before = run.read_card()
    chosen = lotlens.set_refusal(run.path, negatives=not_cars, wrong=0.05, cost=9, gain=1)
    gate = chosen.refusal.gates[0]
    assert gate.strangers.count == 26  # of forty, of whom a third chose the method
    assert gate.strangers.value <= 0.05
    assert chosen.refusal.sure == 0.9
    names = {row.strangers for row in chosen.comparison}
    assert {"not a car (given)", "noise (made)", "close-up (made)"} <= names
    assert {row.method for row in chosen.comparison} == set(METHODS) - {"others"}
    after = run.read_card()
    assert after.refusal == chosen.refusal
    assert after.refusal.references_sha256 == before.refusal.references_sha256
    assert after.weights_sha256 == before.weights_sha256
    answers = lotlens.load(run.path).predict(not_cars)
    assert answers["verdict"].isin(["not a car", "unknown"]).mean() >= 0.9


def test_the_same_numbers_as_training_give_the_same_refusal(run):
    assert lotlens.set_refusal(run.path).refusal.gates == run.read_card().refusal.gates


def test_photos_of_unknown_models_have_a_gate_of_their_own(run, tmp_path, photo_drawer):
    for number in range(5):
        photo_drawer(2, 900 + number, SIZE).transpose(Image.Transpose.ROTATE_90).save(
            tmp_path / f"{number}.png"
        )
    unknown = [tmp_path / f"{number}.png" for number in range(5)]
    chosen = lotlens.set_refusal(run.path, unknown=unknown)
    assert chosen.refusal.gates[1].strangers.count == 5
    with pytest.raises(InputError, match="19 are needed"):
        lotlens.set_refusal(run.path, unknown=unknown, wrong=0.05)


def test_a_damaged_or_replaced_memory_is_a_bundle_error(run, not_cars):
    run.references_path.write_bytes(run.references_path.read_bytes()[:-5])
    with pytest.raises(BundleError, match=r"familiarity\.npz is not the file"):
        lotlens.load(run.path).predict(not_cars)
    run.references_path.unlink()
    with pytest.raises(BundleError, match=r"cannot read .*familiarity\.npz"):
        lotlens.load(run.path).predict(not_cars)


def test_a_model_of_before_names_every_photo_and_cannot_set_gates(run, not_cars):
    values = json.loads(run.card_path.read_text("utf-8"))
    del values["refusal"]
    run.card_path.write_text(json.dumps(values))
    frame = lotlens.load(run.path).predict(not_cars)
    assert (frame["verdict"] == "model").all()
    with pytest.raises(BundleError, match="remembers nothing of its training photos"):
        lotlens.set_refusal(run.path)


def test_data_that_changed_are_refused(run, lot, tmp_path):
    other = Path(shutil.copytree(lot, tmp_path / "other"))
    (other / "Heron" / "0-0.png").unlink()
    run.write_source({"data": str(other)})
    with pytest.raises(BundleError, match="have changed since it was trained"):
        lotlens.set_refusal(run.path)


def test_damaged_answers_are_found_before_strangers_are_met(run, not_cars, monkeypatch):
    run.validation_path.write_bytes(run.validation_path.read_bytes()[:-5])
    monkeypatch.setattr(choosing, "_meet_strangers", lambda *_: pytest.fail("work was done"))
    with pytest.raises(BundleError, match=r"validation\.npz"):
        lotlens.set_refusal(run.path, negatives=not_cars)


@pytest.mark.parametrize("wish", [{"cost": -1}, {"answered": 95}, {"coverage": 2}, {"wrong": 0}])
def test_numbers_out_of_range_are_found_before_strangers_are_met(run, monkeypatch, wish):
    monkeypatch.setattr(choosing, "_meet_strangers", lambda *_: pytest.fail("work was done"))
    with pytest.raises(InputError, match="must be"):
        lotlens.set_refusal(run.path, **wish)


def test_folds_have_a_memory_each_and_no_energy(lot, recipe, tmp_path, given, not_cars):
    folded = {**recipe, "folds": 3}
    del folded["validation"]
    with without_lookalikes():
        model = lotlens.train(lot, parse_recipe(folded), out=tmp_path / "run")
    assert len(model.read_references()) == 3
    validation = load_predictions(model.run.validation_path)
    assert np.isnan(validation.familiarity[:, 0]).all()
    assert np.isfinite(validation.familiarity[:, 1:3]).all()
    assert model.card.refusal.num_photos == 120
    chosen = lotlens.set_refusal(model.run.path, negatives=given)
    assert {row.method for row in chosen.comparison} == set(METHODS) - {"others"} - {"energy"}
    model = lotlens.load(model.run.path)
    assert (model.predict(lot)["verdict"].isin(["model", "unsure"])).mean() > 0.9
    assert (model.predict(not_cars)["verdict"] != "model").mean() > 0.8
    # Folders of negatives are words of all members together. Views learn the gates anew, by the
    # pictures that lotlens makes alone.
    for name in ("down", "across"):
        draw_stripes(tmp_path / "sorted" / name, name, 1, 20)
    words = lotlens.set_refusal(model.run.path, negatives=tmp_path / "sorted").refusal.words
    assert [word.name for word in words] == ["across", "down"]
    lotlens.adopt_views(model.run.path, views=["mirror"])
    assert lotlens.load(model.run.path).card.refusal.words == ()


def test_the_command_prints_a_table_and_valid_json(run, not_cars, tmp_path):
    def call(*words):
        result = CliRunner().invoke(build_app(), [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.stdout

    said = call("refusal", run.path, "--negatives", not_cars, "--cost", 4, "-v")
    assert "not a car (given)" in said
    assert "with a probability above 0.80" in said
    stored = run.card_path.read_bytes()
    said = call("refusal", run.path)
    assert "with a probability above 0.80" in said
    assert "the right car is among them for 95 % of photos of known cars; set by " in said
    assert "AUROC" not in said
    assert run.card_path.read_bytes() == stored
    values = json.loads(call("refusal", run.path, "--json"))
    assert {"refusal", "comparison", "num_left_out"} == values.keys()
    assert (values["refusal"]["sure"], values["comparison"]) == (0.8, [])
    assert run.card_path.read_bytes() == stored
    assert json.loads(call("refusal", run.path, "--answered", 0.9, "--json"))["comparison"]
    assert run.card_path.read_bytes() != stored

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    out = tmp_path / "s.csv"
    text = call("predict", run.path, not_cars, "--out", out, "--json")
    values = json.loads(text, parse_constant=refuse)
    assert sum(values["verdicts"].values()) == len(values["photos"]) == 40
    assert list(values["photos"][0]) == COLUMNS
    assert "verdicts: " in call("predict", run.path, not_cars, "--out", out)


def draw_stripes(folder, name, seed, num_photos):
    """Pictures of stripes across, or of stripes down."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_photos):
        rng = np.random.default_rng([seed, number])
        width, height = SIZE
        along = np.arange(width if name == "down" else height) // int(rng.integers(3, 6)) % 2
        grid = along[None, :] if name == "down" else along[:, None]
        pixels = np.broadcast_to(grid * 200, (height, width)) + rng.normal(0, 8, (height, width))
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB")
        image.save(folder / f"{name}-{number}.png")


def test_folders_of_negatives_are_words_for_what_is_no_car(run, lot, tmp_path, not_cars):
    """In a zip too; a folder with few photos gives none, and cars bear none."""
    sorted_, new = tmp_path / "sorted", tmp_path / "new"
    names = {"down": "салон", "across": "papers"}
    for name, folder in names.items():
        draw_stripes(sorted_ / folder, name, 1, 20)
        draw_stripes(new, name, 2, 10)
    draw_stripes(sorted_ / "few", "few", 3, 2)
    (new / "broken.png").write_bytes(b"no photo")
    archive = shutil.make_archive(str(tmp_path / "sorted"), "zip", sorted_)
    chosen = lotlens.set_refusal(run.path, negatives=sorted_)
    assert [word.name for word in chosen.refusal.words] == ["papers", "салон"]
    zipped = lotlens.set_refusal(run.path, negatives=archive)
    assert zipped.refusal.words == chosen.refusal.words
    rows = lotlens.load(run.path).predict(new).to_dict("records")
    said = {row["id"]: row["reason"] for row in rows if "your photos" in row["reason"]}
    assert len(said) > 10
    for id_, reason in said.items():
        word = names[id_.partition("-")[0]]
        assert reason == f'It looks like your photos in "{word}", not like a whole car.'
        assert load_language("ru").reword(reason) == (
            f"Похоже на ваши фото из папки «{word}», а не на машину целиком."
        )
    cars = lotlens.load(run.path).predict(lot)["reason"]
    assert not cars.str.contains("your photos").any()
    shown = CliRunner().invoke(build_app(), ["refusal", str(run.path)])
    assert "in words      what is no car may show: papers, салон" in shown.output
    # Photos that lie in no folder have no words, and what was chosen before goes.
    assert lotlens.set_refusal(run.path, negatives=not_cars).refusal.words == ()
