"""Photos of other cars are learnt as none of the classes, and are kept apart from these."""

import csv
import zipfile
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import lotlens
from lotlens.audit.offered import Copies
from lotlens.deliver.learnt import find_learnt
from lotlens.errors import BundleError, InputError
from lotlens.photos.sources import open_lot, open_photos
from lotlens.photos.style import Style
from lotlens.recipes.loading import parse_recipe
from lotlens.recipes.schema import Image as Settings
from lotlens.records import CarClass, Locator, Photo, Split
from lotlens.training.others import (
    FEWEST,
    REASONS,
    Others,
    choose_held_out,
    find_reasons,
    find_style,
    read_others,
    take_others,
    write_others,
)
from lotlens.verbs.improve import improve, plan_round
from lotlens.verbs.refusal import set_refusal
from tests.audit.conftest import draw_texture
from tests.conftest import draw_photo, encode, make_tiny_recipe

pytestmark = pytest.mark.usefixtures("plain_training")

NUM_KINDS = 6
FRAME = Settings(height=48, width=64).spec()


def draw_other(kind, number):
    """An ellipse of a colour that no class has."""
    image = Image.fromarray(draw_texture([90 + kind, number], 64, 48))
    rng = np.random.default_rng([kind, number])
    left, top = (int(v) for v in rng.integers(2, 16, 2))
    colour = ((230, 220, 60), (240, 240, 240), (20, 20, 20), (230, 130, 20))[kind % 4]
    ImageDraw.Draw(image).ellipse((left, top, left + 30 + 2 * kind, top + 26), fill=colour)
    return image


def write_others_folder(folder, num_per_kind=20):
    for kind in range(NUM_KINDS):
        (folder / f"kind {kind}").mkdir(parents=True)
        for number in range(num_per_kind):
            path = folder / f"kind {kind}" / f"{kind}-{number}.jpg"
            path.write_bytes(encode(draw_other(kind, number)))
    return folder


@pytest.fixture(scope="module")
def other_cars(tmp_path_factory):
    return write_others_folder(tmp_path_factory.mktemp("others") / "other cars")


@pytest.fixture(scope="module")
def recipe(tiny_backbone):
    return make_tiny_recipe(tiny_backbone)


@pytest.fixture(scope="module")
def run(small_lot, other_cars, recipe, tmp_path_factory):
    """A run that learnt other cars."""
    told = []
    out = tmp_path_factory.mktemp("runs") / "run"
    values = {**recipe, "deterministic": True}
    model = lotlens.train(
        small_lot, parse_recipe(values), others=other_cars, out=out, tell=told.append
    )
    return model, told


def test_other_cars_are_refused_and_known_ones_are_named(run, small_lot, tmp_path):
    model, told = run
    assert any("photos learnt" in str(record) for record in told)
    assert model.card.num_others == len(read_others(model.run.others_path).learnt) > 0
    new = write_others_folder(tmp_path / "new", 4)
    fresh = open_photos([new])
    answers = model.answer(fresh)
    known = model.answer(open_lot(small_lot).test)
    at = lotlens.records.FAMILIARITIES.index("others")
    assert answers.logits.shape[1] == known.logits.shape[1] == 3
    assert np.median(known.familiarity[:, at]) > np.median(answers.familiarity[:, at])
    gate = next(g for g in model.card.refusal.gates if g.refuses == "unknown")
    assert gate.strangers.count == len(read_others(model.run.others_path).held_out)


def test_what_was_learnt_is_known_again_and_what_was_held_out_is_not(run, other_cars):
    model, _ = run
    offered = open_lot(other_cars).train
    found = find_learnt(model, offered.photos)
    parts = read_others(model.run.others_path)
    both = (parts.learnt, parts.held_out)
    learnt, held_out = ({p.id.rpartition("/")[2] for p in photos} for photos in both)
    assert {id_.rpartition("/")[2] for id_ in found} == learnt
    assert len(learnt) + len(held_out) == len(offered)
    # Whole kinds of cars are held out: they tell of cars that were never seen.
    assert not {p.label for p in parts.learnt} & {p.label for p in parts.held_out}


def test_a_training_with_others_goes_on_where_it_was_killed(
    run, small_lot, other_cars, recipe, tmp_path, monkeypatch
):
    from lotlens.recipes.loading import parse_recipe
    from lotlens.vision import stages

    whole, _ = run
    tuning = stages._run_finetune

    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "_run_finetune", stop)
    values = parse_recipe({**recipe, "deterministic": True})
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        lotlens.train(small_lot, values, others=other_cars, out=out)
    monkeypatch.setattr(stages, "_run_finetune", tuning)
    again = lotlens.train(small_lot, out=out, resume=True)
    assert again.card.weights_sha256 == whole.card.weights_sha256
    assert again.card.refusal == whole.card.refusal


def test_choosing_refusal_and_views_anew_asks_about_those_held_out(run, tmp_path):
    import shutil

    model, _ = run
    copy = tmp_path / "run"
    shutil.copytree(model.run.path, copy)
    choice = set_refusal(copy, answered=0.9)
    assert "other cars held out" in {row.strangers for row in choice.comparison}
    lotlens.views(copy, ["mirror"])
    gates = lotlens.load(copy).card.refusal.gates
    assert all(g.strangers is not None for g in gates if g.refuses == "unknown")


def test_an_exported_bundle_refuses_as_the_run_does(run, small_lot, tmp_path):
    model, _ = run
    lotlens.export(model.run.path, out=tmp_path / "bundle")
    bundle = lotlens.load(tmp_path / "bundle")
    photos = open_lot(small_lot).test
    ours, theirs = model.answer(photos), bundle.answer(photos)
    np.testing.assert_allclose(ours.familiarity, theirs.familiarity, rtol=1e-2, atol=1e-3)
    assert bundle.card.num_others == model.card.num_others


def test_what_must_not_be_learnt_as_another_car_is_left_out(small_lot, other_cars, tmp_path):
    lot = open_lot(small_lot)
    offer = write_others_folder(tmp_path / "offer", 15)
    first = next(iter((offer / "kind 0").iterdir()))
    (offer / "kind 1" / "twice.jpg").write_bytes(first.read_bytes())
    (offer / "kind 1" / "broken.jpg").write_bytes(b"no photo")
    (offer / "Heron 4").mkdir()  # a class of the data
    (offer / "Heron 4" / "a.jpg").write_bytes(encode(draw_photo(1, 900)))
    with zipfile.ZipFile(small_lot / "test.zip") as archive:
        (offer / "kind 2" / "test.jpg").write_bytes(archive.read(archive.namelist()[0]))
    with zipfile.ZipFile(small_lot / "train.zip") as archive:
        (offer / "kind 2" / "train.jpg").write_bytes(archive.read(archive.namelist()[0]))
    ids = lot.train.ids
    split = Split({"train": ids[:20], "validation": ids[20:]}, 0, "")
    taken = take_others(offer, lot, split, FRAME, seed=0)
    assert taken.turned_away == {"copy": 2, "repeated": 1, "unreadable": 1, "known class": 1}
    assert len(taken.learnt) + len(taken.held_out) == NUM_KINDS * 15
    assert str(taken.told).startswith("other cars")


def test_a_flat_folder_will_do_and_too_few_are_refused(small_lot, tmp_path):
    lot = open_lot(small_lot)
    split = Split({"train": lot.train.ids[:20], "validation": lot.train.ids[20:]}, 0, "")
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(FEWEST):
        (flat / f"{number}.jpg").write_bytes(encode(draw_other(number % NUM_KINDS, number)))
    taken = take_others(flat, lot, split, FRAME, seed=0)
    assert (len(taken.learnt), len(taken.held_out)) == (30, 30)
    (flat / "0.jpg").unlink()
    with pytest.raises(InputError, match="59 photos of other cars are left of the 59"):
        take_others(flat, lot, split, FRAME, seed=0)


def test_what_the_model_names_is_left_out_where_no_label_says_otherwise(
    small_lot, other_cars, tmp_path
):
    lot = open_lot(small_lot)
    split = Split({"train": lot.train.ids[:20], "validation": lot.train.ids[20:]}, 0, "")
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(FEWEST + 9):
        (flat / f"{number}.jpg").write_bytes(encode(draw_other(number % NUM_KINDS, number)))
    asked = []

    def find_named(catalog):
        asked.append(len(catalog))
        return [at < 5 for at in range(len(catalog))]

    taken = take_others(flat, lot, split, FRAME, seed=0, is_named=find_named)
    assert taken.turned_away == {"named": 5}
    assert len(taken.learnt) + len(taken.held_out) == FEWEST + 4
    labelled = take_others(other_cars, lot, split, FRAME, seed=0, is_named=find_named)
    assert labelled.turned_away == {}
    assert asked == [FEWEST + 9, 0]


def test_what_shows_no_car_is_kept_apart_and_sets_the_gate_against_it(
    small_lot, other_cars, recipe, tmp_path, monkeypatch
):
    """Neither learnt nor held out as another car, and not offered twice."""
    kinds = []

    def find_no_cars(catalog, **_):
        kinds.append(Counter(photo.label for photo in catalog.photos))
        return [photo.label in ("kind 0", "0") for photo in catalog.photos]

    monkeypatch.setattr("lotlens.verbs.train.find_no_cars", find_no_cars)
    told = []
    model = lotlens.train(
        small_lot, parse_recipe(recipe), others=other_cars, out=tmp_path / "run", tell=told.append
    )
    assert "20 without a car, kept as such" in "\n".join(map(str, told))
    kept = read_others(model.run.others_path)
    assert len(kept.no_cars) == 20 == kinds[0]["kind 0"]
    assert not {p.label for p in kept.no_cars} & {p.label for p in (*kept.learnt, *kept.held_out)}
    by_group = {gate.refuses: gate.strangers.count for gate in model.card.refusal.gates}
    assert by_group["unknown"] == len(kept.held_out)
    made = by_group["not a car"] - 20
    assert made > 0
    chosen = set_refusal(model.run.path)
    assert {gate.refuses: gate.strangers.count for gate in chosen.refusal.gates} == by_group
    with pytest.raises(InputError, match="0 photos of other cars are left of the 120"):
        plan_round(model.run.path, others=other_cars)


def test_photos_of_another_source_are_learnt_as_those_of_the_data_are(small_lot, tmp_path):
    """Small ones of a poor quality: what can be done is, and what cannot is said."""
    lot = open_lot(small_lot)
    split = Split({"train": lot.train.ids[:20], "validation": lot.train.ids[20:]}, 0, "")
    more, alike, poor = [], tmp_path / "alike", tmp_path / "poor"
    for folder in (alike, poor):
        folder.mkdir()
    for number in range(70):
        image = draw_other(number % NUM_KINDS, number)
        (alike / f"{number}.jpg").write_bytes(encode(image))
        (poor / f"{number}.jpg").write_bytes(encode(image.resize((32, 24)), quality=20))
        more.append(Photo(f"own-{number}", Locator(alike / f"{number}.jpg"), "0"))
    known = tuple(more[:60])
    others = [Photo(f"o-{n}", Locator(poor / f"{n}.jpg")) for n in range(70)]
    style, sentence = find_style(known, others, FRAME)
    assert style is not None
    assert style.side == 64
    assert sentence.startswith("They are learnt as yours are stored (64 px")
    assert "can be told by" in sentence  # what is poorer cannot be made better
    assert take_others(alike, lot, split, FRAME, seed=0).source
    assert find_style(more[::2], more[1::2], FRAME)[0] is None


def test_a_missing_path_is_refused_before_anything_is_written(small_lot, tiny_recipe, tmp_path):
    with pytest.raises(InputError):
        lotlens.train(
            small_lot, parse_recipe(tiny_recipe), others=tmp_path / "none", out=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_a_round_learns_more_other_cars_and_keeps_those_it_knows(run, recipe, tmp_path):
    model, _ = run
    before = read_others(model.run.others_path)
    more = tmp_path / "more"
    more.mkdir()
    for number in range(40):
        (more / f"{number}.jpg").write_bytes(encode(draw_other(3, 700 + number)))
    # A copy of one that is learnt already.
    (more / "old.jpg").write_bytes(before.learnt[0].locator.path.read_bytes())
    plan = plan_round(model.run.path, others=more)
    assert plan.rule == "others"
    assert plan.is_anew
    assert plan.num_new_others >= 30
    assert plan.others.turned_away["copy"] == 1
    assert plan.others.learnt[: len(before.learnt)] == before.learnt
    done = improve(model.run.path, others=more, out=tmp_path / "round")
    kept = read_others(done.model.run.others_path)
    assert kept.learnt == plan.others.learnt
    assert done.model.card.num_others == len(kept.learnt)
    found = done.judgement.other_cars
    assert found.after.count == len(kept.held_out)
    assert "other cars" in done.judgement.sentence
    # The next one, of another kind, keeps them too.
    following = plan_round(done.model.run.path, hard=True, anew=True)
    assert following.others.learnt == kept.learnt
    assert following.rule == "better"


def test_weights_that_know_no_other_cars_have_no_place_for_them(tiny_run, other_cars):
    with pytest.raises(InputError, match="leave out --continue"):
        plan_round(tiny_run.path, others=other_cars, anew=False)


copies = st.builds(
    Copies,
    status=st.sampled_from(["ok", "ok", "it is broken"]),
    part=st.sampled_from([None, None, None, "test", "training", "validation"]),
)


@given(st.lists(st.tuples(copies, st.sampled_from([None, "a", "b"])), max_size=12), st.data())
def test_no_copy_of_the_data_and_no_known_class_is_learnt(offer, data):
    groups = [data.draw(st.integers(0, 4)) for _ in offer]
    found = [
        replace(one, offered=tuple(k for k, other in enumerate(groups) if other == own and k != at))
        for at, ((one, _), own) in enumerate(zip(offer, groups, strict=True))
    ]
    photos = [Photo(str(at), None, label) for at, (_, label) in enumerate(offer)]
    reasons = find_reasons(photos, {"a": CarClass("1", "a"), "b": None}, found)
    kept = [at for at, reason in enumerate(reasons) if not reason]
    assert {reason for reason in reasons if reason} <= set(REASONS)
    for at in kept:
        assert found[at].part is None
        assert found[at].status == "ok"
        assert photos[at].label != "a"
        assert all(photos[other].label != "a" for other in found[at].offered)
    assert len({groups[at] for at in kept}) == len(kept)


@given(st.lists(st.sampled_from(["", *"abcdefgh"]), min_size=1, max_size=80), st.integers(0, 9))
def test_about_a_fifth_is_held_out_by_classes_and_adverts(labels, seed):
    photos = [
        Photo(str(at), None, label or None, listing=f"advert {at // 3}" if at % 2 else None)
        for at, label in enumerate(labels)
    ]
    held = choose_held_out(photos, seed=seed)
    assert held == choose_held_out(photos, seed=seed)
    assert sum(held) >= max(0.2 * len(photos), min(30, len(photos) / 2))
    later = choose_held_out(photos, seed=seed, num_before=30)
    assert sum(held) >= sum(later) >= 0.2 * len(photos)
    classes = {p.label for p in photos if p.label}
    for key in (lambda p: p.label if len(classes) >= 5 else None, lambda p: p.listing):
        sides = {}
        for photo, is_held in zip(photos, held, strict=True):
            if key(photo) and (len(classes) < 5 or not photo.label or key(photo) == photo.label):
                sides.setdefault(key(photo), set()).add(is_held)
        assert all(len(side) == 1 for side in sides.values())


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9)


@given(
    st.lists(st.tuples(names, names), min_size=1, max_size=9, unique_by=lambda one: one[0]),
    st.sampled_from([None, Style(200, 82, 2), Style(7, None, 0)]),
)
def test_what_was_written_comes_back(tmp_path_factory, rows, style):
    path = tmp_path_factory.mktemp("kept") / "others.csv"
    photos = [
        Photo(f"o/{id_}", Locator(path.parent / "a.zip", (f"x{name}",)), f"l{name}")
        for id_, name in rows
    ]
    others = Others(*(tuple(photos[at::3]) for at in range(3)), style=style)
    write_others(path, others)
    assert read_others(path) == others


def test_a_damaged_list_is_refused(tmp_path):
    path = tmp_path / "others.csv"
    assert read_others(path) == Others()
    for cells in (
        ("a", "/x.jpg", "[]", "", "spoilt", ""),
        ("a", "", "[]", "", "learnt", ""),
        ("a", "/x.jpg", "[]", "", "learnt", "0 90 2"),
        ("a", "/x.jpg", "[]", "", "learnt", "big"),
    ):
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("Id", "Path", "Members", "Label", "Part", "Style"), cells])
        with pytest.raises(BundleError, match="damaged"):
            read_others(path)
