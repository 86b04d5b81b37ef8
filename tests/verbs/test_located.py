"""A run that finds the car first: trained, gone on with, exported and asked."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
from joblib import cpu_count
from PIL import Image

import lotlens
from lotlens.answering import exported as runtime
from lotlens.answering.answers import load_predictions
from lotlens.answering.engines import Engine
from lotlens.answering.locating import DetectorLocator, MapLocator, open_locator
from lotlens.audit.parts import read_split
from lotlens.audit.traces import measure_traces
from lotlens.deliver.parity import BOXES, Limits
from lotlens.drawn.cars import draw_car_photo
from lotlens.drawn.negatives import DRAWN
from lotlens.errors import BundleError, InputError
from lotlens.photos.archives import PhotoReader
from lotlens.photos.sources import open_lot, open_photos
from lotlens.recipes.loading import parse_recipe
from lotlens.records import Box, CarClass, Catalog, ImageSpec, ModelCard, Photo
from lotlens.run import RunFolder
from lotlens.training import locating
from lotlens.verbs.batch import show_batch
from lotlens.verbs.export import export
from lotlens.verbs.locator import locator
from lotlens.verbs.lr_find import find_rate
from lotlens.verbs.views import adopt_views
from lotlens.vision import stages
from lotlens.vision.planning import plan_training
from tests.conftest import make_tiny_recipe, write_detector

pytestmark = pytest.mark.usefixtures("plain_charts", "plain_training")


def draw_far(rng, label):
    """A car somewhere on a wide field, which a crop to it leaves out."""
    field = Image.new("RGB", (320, 240), tuple(rng.integers(100, 140, 3).tolist()))
    place = tuple(rng.integers((5, 5), (155, 115)).tolist())
    field.paste(draw_car_photo(rng, label, 160, 120, easy=True), place)
    return field


@pytest.fixture(scope="module")
def car_lot(tmp_path_factory):
    """Drawn cars of two designs in folders, and beside them photos to ask about."""
    lot = tmp_path_factory.mktemp("lot")
    for label in (0, 3):
        for number in range(14):
            rng = np.random.default_rng([7, label, number])
            folder = lot / "lot" / f"design {label}"
            folder.mkdir(parents=True, exist_ok=True)
            draw_far(rng, label).save(folder / f"{label}-{number}.jpg")
    asked = lot / "asked"
    asked.mkdir()
    for number in range(4):
        rng = np.random.default_rng([8, number])
        draw_far(rng, 3 * (number % 2)).save(asked / f"{number}.jpg")
    DRAWN["plain"](np.random.default_rng(0), (160, 120)).save(asked / "4-no-car.jpg")
    return lot


@pytest.fixture(scope="module")
def recipe(tiny_backbone):
    made = make_tiny_recipe(tiny_backbone)
    return made | {"image": made["image"] | {"locate": "map", "fit": "stretch"}}


@pytest.fixture(scope="module")
def run(car_lot, recipe, train_once):
    return train_once("located", car_lot / "lot", recipe)


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory):
    return export(run.path, out=tmp_path_factory.mktemp("export") / "bundle")


def test_a_run_keeps_what_finds_the_car_and_vouches_for_it(run, car_lot):
    card = run.read_card()
    assert card.image.locate == "map"
    assert card.recipe["image"]["locate"] == "map"
    assert hashlib.sha256(run.shown_path.read_bytes()).hexdigest() == card.locator_sha256
    validation = load_predictions(run.validation_path)
    assert np.isfinite(validation.boxes).all()
    found = lotlens.load(run.path).answer(open_photos([car_lot / "asked"]))
    assert [found.get_box(row) is not None for row in range(5)] == [True] * 4 + [False]
    (whole, boxed) = (lotlens.load(run.path).list_answers(found)[row]["box"] for row in (4, 0))
    assert whole is None
    assert len(boxed.split()) == 4


def test_a_file_that_was_replaced_is_refused(run, car_lot, tmp_path):
    copied = shutil.copytree(run.path, tmp_path / "run")
    (copied / "shown.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"shown\.onnx is not the file that"):
        lotlens.load(copied).open()
    (copied / "shown.onnx").unlink()
    with pytest.raises(BundleError, match=r"shown\.onnx"):
        lotlens.load(copied).open()


def test_tables_have_the_box_as_their_last_column(run, car_lot, tmp_path):
    asked = car_lot / "asked"
    lotlens.predict(run.path, asked, out=tmp_path / "a.csv", details=tmp_path / "d.csv")
    header, *lines = (tmp_path / "d.csv").read_text("utf-8").splitlines()
    assert header.split(",")[-1] == "box"
    ends = [line.rpartition(",")[2] for line in lines]
    assert [bool(end) for end in ends] == [True] * 4 + [False]
    assert all(0 <= float(edge) <= 1 for edge in " ".join(ends).split())


def test_an_export_has_the_same_boxes_without_torch(run, bundle, car_lot):
    assert not bundle.parity.faults
    assert bundle.parity.boxes <= BOXES
    assert bundle.card.checked["largest_box_difference"] == bundle.parity.boxes
    assert (bundle.path / "shown.onnx").read_bytes() == run.shown_path.read_bytes()
    assert bundle.card.refusal.shown_sha256 in ("", bundle.card.locator_sha256)
    code = f"""
import json, sys, lotlens
model = lotlens.load({str(bundle.path)!r})
found = model.answer(lotlens.open_photos([{str(car_lot / "asked")!r}]))
assert not any(name.partition(".")[0] in ("torch", "timm") for name in sys.modules)
print(json.dumps([found.boxes.tolist(), found.logits.tolist()]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    boxes, logits = json.loads(done.stdout)
    here = lotlens.load(run.path).answer(open_photos([car_lot / "asked"]))
    np.testing.assert_allclose(np.array(boxes), here.boxes, atol=1e-3)
    np.testing.assert_allclose(np.array(logits), here.logits, rtol=1e-2, atol=1e-2)


def test_an_export_that_finds_cars_elsewhere_is_not_written(run, tmp_path, monkeypatch):
    def open_astray(*args):
        locate = open_rightly(*args)

        def find(photo):
            box = locate(photo)
            return None if box is None else replace(box, left=0.0, right=0.3)

        return find

    open_rightly = runtime.open_own_locator
    monkeypatch.setattr(runtime, "open_own_locator", open_astray)
    with pytest.raises(BundleError, match=r"read otherwise: .*its car at 0\.\d+ .*, exported: 0"):
        export(run.path, out=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_an_export_in_eight_bits_finds_them_too(run, car_lot, tmp_path):
    anything = Limits(difference=float("inf"), same=0, lost=1)  # so few photos say nothing of bits
    found = export(run.path, precision="int8", out=tmp_path / "int8", limits=anything)
    assert found.parity.boxes <= BOXES
    answers = lotlens.load(found.path).answer(open_photos([car_lot / "asked"]))
    assert np.isfinite(answers.boxes[:4]).all()


def test_a_training_that_was_stopped_goes_on_with_the_same_boxes(
    run, recipe, car_lot, tmp_path, monkeypatch
):
    out = tmp_path / "stopped"

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stages, "_run_finetune", stop)
        with pytest.raises(KeyboardInterrupt):
            lotlens.train(car_lot / "lot", parse_recipe(recipe), out=out)
    made = (out / "shown.onnx").read_bytes()
    # Going on asks the file that lies there, and makes none anew.
    monkeypatch.setattr(locating, "make_network", stop)
    other = recipe | {"image": recipe["image"] | {"locate": "none"}}
    with pytest.raises(InputError, match="began with another recipe"):
        lotlens.train(car_lot / "lot", parse_recipe(other), out=out, resume=True)
    lotlens.train(car_lot / "lot", out=out, resume=True)
    card = lotlens.load(out).card
    assert card.locator_sha256 == hashlib.sha256(made).hexdigest()
    validation = load_predictions(out / "validation.npz")
    np.testing.assert_array_equal(validation.boxes, load_predictions(run.validation_path).boxes)


def test_whatever_opens_a_run_or_recipe_anew_finds_the_car_too(run, recipe, car_lot, tmp_path):
    """Views, doubts, the report with heat maps, the sheet of a batch, and the rate finder."""
    copied = shutil.copytree(run.path, tmp_path / "run")
    adopt_views(copied, ["mirror"])
    assert np.isfinite(load_predictions(copied / "validation.npz").boxes).all()
    lotlens.doubts(copied)
    assert (copied / "doubts.csv").is_file()
    lotlens.evaluate(copied, report=tmp_path / "report.html")
    parsed = parse_recipe(recipe)
    assert show_batch(car_lot / "lot", parsed).jpeg[:2] == b"\xff\xd8"
    find_rate(car_lot / "lot", parsed, num_steps=10)


def test_cards_of_before_look_at_whole_photos(tiny_run):
    values = json.loads(json.dumps(tiny_run.read_card().to_dict()))
    del values["image"]["locate"], values["locator_sha256"]
    card = ModelCard.from_dict(values)
    assert (card.image.locate, card.locator_sha256) == ("none", "")
    assert not tiny_run.shown_path.exists()
    assert lotlens.load(tiny_run.path).open_locator() is None
    with pytest.raises(ValueError, match="locate"):
        ImageSpec.from_dict(values["image"] | {"locate": "compass"})


def test_folds_find_the_car_once_for_each_photo(recipe, car_lot, tmp_path, monkeypatch):
    """Of each fold, and once more when validation settles views and what is familiar."""
    made = []
    opened = locating.make_network

    def count(locate):
        made.append(1)
        return opened(locate)

    monkeypatch.setattr(locating, "make_network", count)
    probe_alone = recipe | {"folds": 2, "stages": recipe["stages"][:1]}
    lotlens.train(car_lot / "lot", parse_recipe(probe_alone), out=tmp_path / "folds")
    card = lotlens.load(tmp_path / "folds").card
    assert card.members == 2
    assert made == [1]
    assert card.locator_sha256


@pytest.fixture
def choose(recipe, car_lot, tmp_path, monkeypatch):
    """Trains with `auto`, a crop being as good as is said: (the run, the ways that were tried)."""
    tried = []

    def choose(is_better, out="auto", best="map"):
        def try_probe(own, photos, sides, **_):
            tried.append(own.image.locate)
            asked = [id_ for _, held_out in sides for id_ in held_out]
            targets = photos.select(asked).targets()
            knows = (own.image.locate == best) == is_better  # or it has no idea
            return asked, 4 * knows * np.eye(2, dtype=np.float32)[targets], targets

        with monkeypatch.context() as patched:
            patched.setattr(stages, "try_probe", try_probe)
            left = recipe | {
                "image": recipe["image"] | {"locate": "auto"},
                "stages": recipe["stages"][:1],
            }
            lotlens.train(car_lot / "lot", parse_recipe(left), out=tmp_path / out)
        return RunFolder(tmp_path / out), tried

    return choose


@pytest.mark.parametrize("is_better", [True, False])
def test_validation_chooses_whether_to_look_for_the_car(choose, is_better):
    run, tried = choose(is_better)
    assert tried == ["none", "map"]
    card = run.read_card()
    assert card.image.locate == ("map" if is_better else "none")
    assert card.recipe["image"]["locate"] == "auto"  # what was asked for
    assert bool(card.locator_sha256) == is_better
    assert run.shown_path.is_file() == is_better
    kept = run.read_located()
    assert kept["locate"] == card.image.locate
    assert (kept["gains"]["map"]["value"] > 0) == is_better


def test_a_choice_is_made_once_for_a_run(choose, recipe, car_lot):
    run, tried = choose(True)
    catalog = open_lot(car_lot / "lot").train
    auto = parse_recipe(recipe | {"image": recipe["image"] | {"locate": "auto"}})
    assert locating.choose_located(run, auto, catalog) == "map"
    assert tried == ["none", "map"]
    run.locate_path.write_text('{"locate": "compass"}')
    with pytest.raises(BundleError, match=r"locate\.json"):
        locating.choose_located(run, auto, catalog)


def test_probes_of_both_ways_are_what_is_compared(recipe, car_lot):
    catalog = open_lot(car_lot / "lot").train
    sides = [(catalog.ids[::2], catalog.ids[1::2]), (catalog.ids[1::2], catalog.ids[::2])]
    locate = open_locator(locating.make_network())
    auto = parse_recipe(recipe | {"image": recipe["image"] | {"locate": "auto"}})
    ids, whole, targets = stages.try_probe(auto.located("none"), catalog, sides, locate=locate)
    same, boxed, again = stages.try_probe(auto.located("map"), catalog, sides, locate=locate)
    assert whole.shape == boxed.shape == (len(catalog), 2)
    asked = catalog.select([id_ for _, held_out in sides for id_ in held_out])
    assert ids == same == list(asked.ids)
    assert targets.tolist() == again.tolist() == asked.targets().tolist()
    assert np.abs(whole - boxed).max() > 0.01


@pytest.mark.parametrize("mirror", [False, True])
def test_a_photo_is_answered_by_a_probe_that_has_not_learnt_it(recipe, car_lot, mirror):
    """Each side's answers are those of a probe to which the other photos do not exist."""
    catalog = open_lot(car_lot / "lot").train
    probe = recipe["stages"][0] | {"mirror": mirror, "penalties": [0.1]}
    plain = parse_recipe(recipe | {"image": {"height": 48, "width": 64}, "stages": [probe]})
    sides = [(catalog.ids[::2], catalog.ids[1::2]), (catalog.ids[1::2], catalog.ids[::2])]
    _, both, _ = stages.try_probe(plain, catalog, sides)
    _, first, _ = stages.try_probe(plain, catalog, sides[:1])
    _, second, _ = stages.try_probe(plain, catalog, sides[1:])
    np.testing.assert_allclose(both, np.concatenate([first, second]), rtol=1e-5, atol=1e-5)
    labels = [car.label for car in catalog.classes]
    swap = dict(zip(labels, reversed(labels), strict=True))
    held_out = set(sides[0][1])
    spoilt = replace(
        catalog,
        photos=tuple(
            replace(one, label=swap[one.label]) if one.id in held_out else one
            for one in catalog.photos
        ),
    )
    _, found, _ = stages.try_probe(plain, spoilt, sides[:1])
    np.testing.assert_allclose(found, first, rtol=1e-5, atol=1e-5)


def test_what_a_probe_cannot_learn_it_is_not_asked(recipe, car_lot):
    catalog = open_lot(car_lot / "lot").train
    plain = parse_recipe(recipe | {"image": {"height": 48, "width": 64}})
    by_label = {}
    for photo in catalog.photos:
        by_label.setdefault(photo.label, []).append(photo.id)
    one, other = by_label.values()
    sides = [(one, other), (one[1:] + other[1:], one[:1] + other[:1])]
    ids, logits, targets = stages.try_probe(plain, catalog, sides)
    assert ids == [one[0], other[0]]
    assert logits.shape == (2, 2)
    assert sorted(targets.tolist()) == [0, 1]
    ids, logits, targets = stages.try_probe(plain, catalog, sides[:1])
    assert ids == []
    assert logits.shape == (0, 2)
    assert not len(targets)


def test_too_few_cars_to_part_are_taken_whole(recipe, car_lot, tmp_path):
    catalog = open_lot(car_lot / "lot").train
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    auto = parse_recipe(recipe | {"image": recipe["image"] | {"locate": "auto"}})
    one_car = dict.fromkeys(catalog.ids, 0)
    assert locating.choose_located(run, auto, catalog, clusters=one_car) == "none"
    assert run.read_located() == {"locate": "none", "gains": {}}


def test_copies_are_never_on_both_sides_of_a_choice(choose, recipe, car_lot, tmp_path, monkeypatch):
    catalog = open_lot(car_lot / "lot").train
    adverts = {id_: number // 4 for number, id_ in enumerate(catalog.ids)}
    seen = []

    def try_probe(own, photos, sides, **_):
        seen.extend(sides)
        return [], np.zeros((0, 2), np.float32), np.zeros(0, np.int64)

    monkeypatch.setattr(stages, "try_probe", try_probe)
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    auto = parse_recipe(recipe | {"image": recipe["image"] | {"locate": "auto"}})
    locating.choose_located(run, auto, catalog, clusters=adverts)
    assert sorted(id_ for _, held_out in seen for id_ in held_out) == sorted(2 * catalog.ids)
    for kept, held_out in seen:
        assert not {adverts[id_] for id_ in kept} & {adverts[id_] for id_ in held_out}


@pytest.fixture
def see_sides(recipe, car_lot, tmp_path, monkeypatch):
    """Trains with `auto` and settings: (its run, what the trial's probes learn and answer)."""
    seen = []

    def try_probe(own, photos, sides, **_):
        seen.append(sides)
        return [], np.zeros((0, 2), np.float32), np.zeros(0, np.int64)

    def see(data, out, split=None, **settings):
        with monkeypatch.context() as patched:
            patched.setattr(stages, "try_probe", try_probe)
            auto = {"image": recipe["image"] | {"locate": "auto"}, "stages": recipe["stages"][:1]}
            parsed = parse_recipe(recipe | auto | settings)
            lotlens.train(data, parsed, out=tmp_path / out, split_path=split)
        return RunFolder(tmp_path / out), seen[-2]

    return see


def test_photos_that_hang_together_by_one_left_out_stay_together(see_sides, car_lot, tmp_path):
    """Two adverts with a copy of one photo in both are one car, if that copy is left out or not."""
    catalog = open_lot(car_lot / "lot").train
    own = [photo for photo in catalog.photos if photo.label == catalog.photos[0].label]
    data = tmp_path / "adverts"
    data.mkdir()
    rows = ["id,label,listing"]
    for number, photo in enumerate(catalog.photos):
        if photo in own[:4]:
            continue
        (data / f"{number}.jpg").write_bytes(PhotoReader().read(photo.locator))
        rows.append(f"{number}.jpg,{photo.label},{number}")
    for name, photo, advert in zip("abcd", (*own[:2], own[1], own[2]), "ppqq", strict=True):
        (data / f"{name}.jpg").write_bytes(PhotoReader().read(photo.locator))
        rows.append(f"{name}.jpg,{photo.label},{advert}")
    (data / "photos.csv").write_text("\n".join(rows))
    kept = open_lot(data).train
    assert {"a.jpg", "b.jpg", "c.jpg", "d.jpg"} <= set(kept.ids)
    for seed in range(4):
        _, sides = see_sides(data, f"seed-{seed}", seed=seed, audit={"duplicate": "drop"})
        placed = [
            number
            for number, (_, held_out) in enumerate(sides)
            for id_ in held_out
            if id_ in ("a.jpg", "d.jpg")
        ]
        assert len(placed) == 2
        assert len(set(placed)) == 1


def test_what_another_runs_network_has_learnt_is_not_asked(see_sides, car_lot, tmp_path):
    """Its features know those photos' labels; only held-out ones may say whether to crop."""
    first, sides = see_sides(car_lot / "lot", "first")
    asked = {id_ for _, held_out in sides for id_ in held_out}
    parts = read_split(first.split_path).parts
    assert asked == {*parts["train"], *parts["validation"]}
    data = car_lot / "lot"
    _, sides = see_sides(data, "second", first.split_path, backbone=f"run:{first.path}")
    (told,) = sides
    assert tuple(map(sorted, told)) == (sorted(parts["train"]), sorted(parts["validation"]))


def test_ways_are_compared_by_the_photos_that_all_of_them_could_read():
    targets = np.array([0, 1, 0, 1, 0, 1])
    logits = 4 * np.eye(2, dtype=np.float32)[targets]
    ids = list("abcdef")
    order = [5, 3, 1, 0]  # read in another order, without two
    gains = locating._compare(
        {
            "none": (ids, logits[:, ::-1], targets),
            "map": ([ids[at] for at in order], logits[order], targets[order]),
        }
    )
    assert gains["map"].value > 0.5
    alike = {"none": (ids, logits, targets), "map": (ids[::-1], logits[::-1], targets[::-1])}
    assert locating._compare(alike)["map"].value == pytest.approx(0)
    apart = {"none": (ids[:3], logits[:3], targets[:3]), "map": (ids[3:], logits[3:], targets[3:])}
    assert locating._compare(apart) == {}


@pytest.mark.parametrize(("num_classes", "num_each"), [(2, 900), (150, 12), (700, 3), (2000, 2)])
def test_a_trial_takes_some_photos_however_many_classes_there_are(num_classes, num_each):
    labels = [f"{number:04}" for number in range(num_classes)]
    photos = [Photo(f"{label}/{k}", None, label) for label in labels for k in range(num_each)]
    classes = tuple(CarClass(label, label) for label in labels)
    drawn = locating._draw(Catalog(tuple(photos), classes), 1000)
    assert 0 < len(drawn) <= 1100
    assert set(drawn.labels) == {photo.label for photo in drawn.photos}
    counts = Counter(photo.label for photo in drawn.photos)
    assert min(counts.values()) >= min(num_each, 5)


def test_a_training_looks_for_each_car_once(recipe, car_lot, tmp_path, monkeypatch):
    """While it chooses, learns, judges and learns to refuse: the boxes are kept."""
    looked = []
    look = MapLocator.__call__

    def count(self, photo):
        looked.append(photo.tobytes())
        return look(self, photo)

    monkeypatch.setattr(MapLocator, "__call__", count)
    auto = recipe | {
        "image": recipe["image"] | {"locate": "auto"},
        "stages": recipe["stages"][:1],
    }
    lotlens.train(car_lot / "lot", parse_recipe(auto), out=tmp_path / "run")
    assert RunFolder(tmp_path / "run").read_located()["gains"]
    assert len(looked) == len(set(looked)) > 0


def test_a_plan_counts_the_time_to_find_cars(recipe):
    def be_slow(_):
        time.sleep(0.05)

    parsed = parse_recipe(recipe)
    planned = plan_training(parsed, 2, 300, 100, roughly=True, locate=be_slow)
    assert planned.before_s > 400 * 0.05 / cpu_count()
    assert [stage.kind for stage in planned.stages] == ["probe", "finetune"]


def test_a_plan_counts_the_time_to_choose(recipe):
    def be_slow(_):
        time.sleep(0.05)

    parsed = parse_recipe(recipe | {"image": recipe["image"] | {"locate": "auto"}})
    tried = locating.count_tried(parsed, 400)
    assert tried == (400, 2, 5)  # all of them
    assert locating.count_tried(parsed, 310_000)[0] == 1000  # whatever the lot's size
    assert locating.count_tried(parsed.located("map"), 400) == (0, 0, 0)
    by_map = plan_training(parsed, 2, 300, 100, roughly=True, locate=be_slow, trial=tried)
    assert by_map.before_s > 400 * 0.05 / cpu_count()  # each once
    by_both = plan_training(parsed, 2, 300, 100, roughly=True, locate=be_slow, trial=(400, 3, 5))
    assert by_both.before_s > 800 * 0.05 / cpu_count()


def test_large_lots_choose_by_photos_from_all_over_them(choose, monkeypatch):
    """In the classes' proportions, but a rare class is not lost; small lots by all photos."""
    sizes = []
    draw = locating._draw

    def see(catalog, most):
        drawn = draw(catalog, most)
        sizes.append((len(catalog), len(drawn)))
        return drawn

    monkeypatch.setattr(locating, "_draw", see)
    choose(True)
    assert all(drawn == whole for whole, drawn in sizes)
    assert len(sizes) == 1
    labels = ["common"] * 2000 + ["rare"] * 40 + ["rarest"] * 3
    photos = tuple(Photo(f"{k}", None, label) for k, label in enumerate(labels))
    classes = tuple(CarClass(label, label) for label in ("common", "rare", "rarest"))
    drawn = draw(Catalog(photos, classes), 400)
    assert Counter(photo.label for photo in drawn.photos) == {"common": 392, "rare": 8, "rarest": 3}
    assert drawn.classes == classes
    ids = sorted(int(photo.id) for photo in drawn.photos if photo.label == "common")
    assert max(np.diff(ids)) <= 6  # from all over


def test_how_photos_are_stored_is_told_by_all_of_them(car_lot):
    photos = open_lot(car_lot / "lot").train.photos[:6]
    spec = ImageSpec(48, 64, locate="map")
    whole = measure_traces(photos, spec=replace(spec, locate="none"))
    np.testing.assert_array_equal(measure_traces(photos, spec=spec), whole)


def test_what_says_what_photos_show_says_where(run):
    network = onnx.load_model_from_string(run.shown_path.read_bytes())
    assert [one.name for one in network.graph.output] == ["logits", "features"]
    assert Box(0.1, 0.2, 0.3, 0.4).mirrored.values == pytest.approx((0.7, 0.2, 0.9, 0.4, 1.0))


def test_a_detector_that_was_added_is_chosen_where_it_is_better(choose, tmp_path):
    locator(write_detector(tmp_path / "own.onnx"))
    run, tried = choose(True, best="detector")
    assert tried == ["none", "map", "detector"]
    assert run.read_card().image.locate == "detector"
    assert run.detector_path.read_bytes() == (tmp_path / "own.onnx").read_bytes()
    assert not run.shown_path.exists()
    assert set(run.read_located()["gains"]) == {"map", "detector"}
    run, _ = choose(True, out="other")
    assert run.read_card().image.locate == "map"
    assert not run.detector_path.exists()


def test_a_run_with_a_detector_keeps_it_and_its_export_has_the_same_boxes(
    recipe, car_lot, tmp_path, monkeypatch
):
    own = recipe | {"image": recipe["image"] | {"locate": "detector"}}
    out = tmp_path / "run"
    with pytest.raises(InputError, match=r"needs a detector, and none was added: `npm pack"):
        lotlens.train(tmp_path / "no photos were read yet", parse_recipe(own), out=out)
    locator(write_detector(tmp_path / "own.onnx"))
    added = locator().path
    whole = added.read_bytes()
    added.write_bytes(whole[: len(whole) // 2])
    for way in ("detector", "auto"):
        damaged = own | {"image": own["image"] | {"locate": way}}
        with pytest.raises(InputError, match=r"detector\.onnx is damaged \(.*add it anew with"):
            lotlens.train(tmp_path / "no photos were read yet", parse_recipe(damaged), out=out)
    added.write_bytes(whole)
    lotlens.train(car_lot / "lot", parse_recipe(own), out=out)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))  # the run has its own
    run = lotlens.load(out)
    assert run.card.image.locate == "detector"
    assert run.card.locator_sha256 == hashlib.sha256(run.run.detector_path.read_bytes()).hexdigest()
    asked = open_photos([car_lot / "asked"])
    here = run.answer(asked)
    assert [str(here.get_box(row)) for row in range(4)] == ["0.100 0.200 0.800 0.900"] * 4
    found = export(out, out=tmp_path / "bundle")
    assert not found.parity.faults
    assert (found.path / "detector.onnx").read_bytes() == run.run.detector_path.read_bytes()
    there = lotlens.load(found.path).answer(asked)
    np.testing.assert_allclose(there.boxes, here.boxes, atol=1e-6)
    np.testing.assert_allclose(there.logits, here.logits, rtol=1e-2, atol=1e-2)
    (found.path / "detector.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"detector\.onnx is not the file that"):
        lotlens.load(found.path).open()


def test_a_detector_that_gives_something_else_is_no_detector():
    engine = Engine(lambda _: (np.zeros((2, 3), np.float32), np.zeros(2, np.float32)))
    with pytest.raises(BundleError, match=r"no boxes \[N, 4\] with scores \[N\]"):
        DetectorLocator(engine)(np.zeros((30, 40, 3), np.uint8))
