"""No copy of a test photo comes in; every outside photo gets one verdict, with its reason."""

import csv
import io
import shutil
import unicodedata
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

import lotlens
from lotlens.audit.offered import PARTS, Copies, list_own
from lotlens.deliver.own_data import open_own_data
from lotlens.drawn.scenes import draw_other_photo
from lotlens.errors import BundleError, InputError
from lotlens.improve.additions import (
    read_additions,
    write_additions,
)
from lotlens.improve.outside import (
    ADMITTED,
    NO_LABEL,
    REASONS,
    UNKNOWN_CLASS,
    choose_least,
    find_reasons,
    write_vetted,
)
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe
from lotlens.records import CarClass, Split
from lotlens.refusal.verdicts import KINDS, Verdict
from lotlens.run import RunFolder
from tests.audit.conftest import draw_texture
from tests.conftest import COLOURS, NAMES, encode

pytestmark = pytest.mark.usefixtures("plain_charts")

SIZE = (128, 96)
CLASSES = tuple(CarClass(str(k), name) for k, name in enumerate(NAMES))
NAMED = Verdict("model", (), 0.9, (), "It is that.")


def draw(label, number):
    """A box in the class's colour and shape on a ground that no other photo has."""
    image = Image.fromarray(draw_texture([label, number], *SIZE))
    left, top = (int(v) for v in np.random.default_rng([label, number]).integers(4, 28, 2))
    box = (left, top, left + 60 + 10 * label, top + 60 - 10 * label)
    ImageDraw.Draw(image).rounded_rectangle(box, radius=3 + 5 * label, fill=COLOURS[label])
    return image


def write_csv(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def save(photos, folder):
    """Photos by class folder: {"Heron 4/1.jpg": image or bytes}."""
    for name, photo in photos.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = encode(photo, quality=90) if isinstance(photo, Image.Image) else photo
        path.write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def lot(tmp_path_factory):
    """Three classes in the competition's layout: 30 training photos of each, 4 of test."""
    folder = tmp_path_factory.mktemp("outside") / "lot"
    folder.mkdir()
    rows = {"train": [], "test": []}
    with (
        zipfile.ZipFile(folder / "train.zip", "w") as train,
        zipfile.ZipFile(folder / "test.zip", "w") as test,
    ):
        for label in range(3):
            for number in range(34):
                id_ = f"{1000 * label + number}.jpg"
                part = "train" if number < 30 else "test"
                data = encode(draw(label, number), quality=90)
                if part == "train":
                    train.writestr(f"train/{label}/{id_}", data)
                else:
                    test.writestr(f"test_upload/{id_}", data)
                rows[part].append((id_, label))
    write_csv(folder / "train.csv", ("Id", "Category"), rows["train"])
    write_csv(folder / "sample-submission.csv", ("Id", "Category"), rows["test"])
    write_csv(folder / "classes.csv", ("Category", "Name"), list(enumerate(NAMES)))
    return folder


@pytest.fixture(scope="module")
def trained(lot, tiny_backbone, tmp_path_factory):
    recipe = {
        "name": "tiny",
        "backbone": tiny_backbone,
        "image": {"height": 48, "width": 64},
        "validation": 0.4,
        "lock": 0.1,
        "stages": [{"kind": "probe", "penalties": [0.1]}],
    }
    return lotlens.train(lot, parse_recipe(recipe), out=tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def guarded(trained, tmp_path_factory):
    """The same with gates that were shown what is no car."""
    folder = tmp_path_factory.mktemp("not-cars")
    for number in range(40):
        photo = draw_other_photo(np.random.default_rng([8, number]), "document", *SIZE)
        photo.save(folder / f"{number}.png")
    lotlens.set_refusal(trained.run.path, negatives=folder)
    return lotlens.load(trained.run.path)


@pytest.fixture(scope="module")
def parts(trained, lot):
    """Photos by part of the run's own data."""
    found = {}
    split = open_own_data(trained).split
    for part, photo in list_own(open_lot(lot), split):
        found.setdefault(part, []).append(photo)
    return found


def read_own(photo):
    """The picture of an own photo: its id tells how it was drawn."""
    return draw(*divmod(int(photo.id.removesuffix(".jpg")), 1000))


@pytest.fixture(scope="module")
def offer(tmp_path_factory, parts):
    """Folders per class with one photo, or more, for every reason."""
    own = {part: photos[0] for part, photos in parts.items()}
    dark = Image.new("RGB", SIZE, (5, 5, 5))
    photos = {f"{NAMES[k]}/new-{n}.jpg": draw(k, 100 + n) for k in range(3) for n in range(4)}
    photos |= {
        "Clover/lies.jpg": draw(0, 200),
        "Clover/dark.jpg": dark,
        "Clover/paper.png": draw_other_photo(np.random.default_rng([9, 1]), "document", *SIZE),
        "Clover/broken.jpg": b"no photo",
        "Pobeda/stranger.jpg": draw(1, 201),
        "Clover/again-1.jpg": draw(2, 202),
        "Clover/again-2.jpg": encode(draw(2, 202), quality=60),
        "Волна/both.jpg": draw(0, 203),
        "Heron 4/both.jpg": encode(draw(0, 203), quality=60),
        # Ids that own photos have too.
        f"Clover/{own['test'].id}": read_own(own["test"]),
        f"Heron 4/{own['training'].id}": encode(read_own(own["training"]), quality=60),
        "Heron 4/locked.jpg": encode(read_own(own["locked"]), quality=60),
        "Heron 4/held.jpg": encode(read_own(own["validation"]), quality=60),
        "Pobeda/test.jpg": encode(read_own(parts["test"][1]), quality=60),
    }
    return save(photos, tmp_path_factory.mktemp("offer") / "found")


@pytest.fixture(scope="module")
def vetting(guarded, offer):
    return lotlens.vet_outside(guarded.run.path, offer)


def test_every_reason_is_given_where_it_holds(vetting, offer, parts):
    reason = {one.offered_id: one.reason for one in vetting.vetted}
    assert reason["dark.jpg"] == "poor photo"
    assert reason["lies.jpg"] == "label contradicted"
    assert reason["paper.png"] == "not a car"
    assert reason["broken.jpg"] == "unreadable"
    assert reason["stranger.jpg"] == "unknown class"
    assert reason["again-1.jpg"] == ADMITTED
    assert reason["again-2.jpg"] == "repeated"
    assert reason["Волна/both.jpg"] == reason["Heron 4/both.jpg"] == "label conflict"
    assert reason[parts["test"][0].id] == reason["test.jpg"] == "copy of test"
    assert reason[parts["training"][0].id] == "copy of training"
    assert reason["locked.jpg"] == "copy of locked"
    assert reason["held.jpg"] == "copy of validation"
    new = [why for id_, why in reason.items() if id_.startswith("new-") or "/new-" in id_]
    assert len(new) == 12
    assert new.count(ADMITTED) >= 9
    assert set(reason.values()) <= REASONS.keys()
    assert len(vetting.vetted) == len(list(offer.rglob("*.*")))
    for one in vetting.vetted:
        assert one.sentence.endswith("."), one.sentence
        assert one.admitted == (one.reason == ADMITTED)
        assert (one.weight > 0) == one.admitted
        assert one.source == str(offer)


def test_sentences_name_figures_and_photos(vetting, parts):
    told = {one.offered_id: one for one in vetting.vetted}
    lies = told["lies.jpg"]
    assert lies.sentence.startswith("It is labelled Clover, which the model gives 0.")
    assert f"its answer is {NAMES[0]}" in lies.sentence
    assert lies.answer == CLASSES[0]
    assert lies.probability > 0.5
    copy = told[parts["test"][0].id]
    assert copy.related_ids == (copy.offered_id,)
    assert copy.sentence == f"It is the same file as {copy.offered_id}, in the test part."
    assert told["again-2.jpg"].related_ids == ("found/again-1.jpg",)
    assert told["broken.jpg"].answer is None
    assert told["broken.jpg"].sentence.startswith("It cannot be read: ")


def test_additions_have_the_targets_labels_and_ids_of_their_own(vetting, lot, parts):
    own = open_lot(lot)
    taken = {*own.train.ids, *own.test.ids}
    assert not taken & {one.photo.id for one in vetting.vetted}
    for addition in vetting.plan.additions:
        assert addition.photo.id.startswith("found/")
        assert addition.photo.label in ("0", "1", "2")
        assert addition.photo.locator.path.is_file()
    assert vetting.compared == {part: len(photos) for part, photos in parts.items()}
    assert set(vetting.compared) == {*PARTS} - {"additions"}
    assert vetting.has_gates
    told = vetting.to_dict()
    assert len(told["photos"]) == len(vetting.vetted)
    assert told["plan"]["added"] == len(vetting.plan.additions)


def crop(image):
    width, height = image.size
    return image.crop((round(0.05 * width), round(0.05 * height), width, height))


CHANGES = {
    "as it is": lambda image: image,
    "saved anew": lambda image: Image.open(io.BytesIO(encode(image, quality=40))),
    "cut": crop,
    "mirrored": ImageOps.mirror,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_test_photo_never_comes_in(trained, parts, tmp_path, change):
    photos = {
        f"{NAMES[number // 4]}/{number}.png": encode(CHANGES[change](read_own(photo)), "PNG")
        for number, photo in enumerate(parts["test"])
    }
    vetting = lotlens.vet_outside(trained.run.path, save(photos, tmp_path / "copies"))
    assert [one.reason for one in vetting.vetted] == ["copy of test"] * 12
    assert not vetting.plan.additions


def test_photos_without_labels_are_turned_away(trained, tmp_path, monkeypatch):
    folder = save({"1.jpg": draw(0, 300), "2.jpg": draw(1, 301)}, tmp_path / "plain")
    monkeypatch.chdir(folder)
    vetting = lotlens.vet_outside(trained.run.path.absolute(), ".")
    assert vetting.vetted[0].photo.id == "plain/1.jpg"
    assert [one.reason for one in vetting.vetted] == ["no label", "no label"]
    assert vetting.plan.unmatched == {"no label": 2}
    assert vetting.plan.num_offered == 2


def test_a_csv_with_other_numbers_goes_by_names(trained, tmp_path):
    """Label 2 of the offer is called as label 0 of the target."""
    folder = tmp_path / "csv"
    photos = {f"offer/{n}.jpg": draw(0, 400 + n) for n in range(3)}
    photos |= {f"offer/{n}.jpg": draw(1, 400 + n) for n in range(3, 6)}
    save(photos, folder)
    write_csv(
        folder / "offer.csv", ("Id", "Category"), [(f"{n}.jpg", 2 - n // 3) for n in range(6)]
    )
    names = [(0, "Pobeda"), (1, unicodedata.normalize("NFD", "HERON  4")), (2, " волна")]
    write_csv(folder / "classes.csv", ("Category", "Name"), names)
    vetting = lotlens.vet_outside(trained.run.path, folder / "offer.csv")
    assert [one.photo.label for one in vetting.vetted] == ["0"] * 3 + ["1"] * 3
    assert sum(one.admitted for one in vetting.vetted) >= 4


def test_earlier_additions_are_known_and_damaged_ones_are_refused(trained, tmp_path):
    first = save({"Clover/1.jpg": draw(2, 500), "Волна/2.jpg": draw(0, 501)}, tmp_path / "a")
    again = {"Clover/3.jpg": encode(draw(2, 500), quality=50), "Волна/4.jpg": draw(0, 502)}
    second = save(again, tmp_path / "b" / "a")
    path = trained.run.additions_path
    try:
        plan = lotlens.vet_outside(trained.run.path, first).plan
        made, before = plan.additions, {one.car.label: one.num_train for one in plan.classes}
        assert len(made) == 2
        write_additions(path, made)
        assert read_additions(path, CLASSES) == made
        vetting = lotlens.vet_outside(trained.run.path, second)
        reasons = {one.photo.id: one.reason for one in vetting.vetted}
        assert reasons["a/3.jpg"] == "copy of additions"
        grown = {
            one.car.label: one.num_train - before[one.car.label] for one in vetting.plan.classes
        }
        assert grown == {"0": 1, "1": 0, "2": 1}
        path.write_text("nonsense", "utf-8")
        with pytest.raises(InputError, match=r"additions\.csv"):
            lotlens.vet_outside(trained.run.path, second)
    finally:
        path.unlink()


def test_an_offer_of_nothing_or_nowhere_says_so(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        lotlens.vet_outside(trained.run.path, tmp_path / "empty")
    with pytest.raises(InputError, match="missing"):
        lotlens.vet_outside(trained.run.path, tmp_path / "missing")
    with pytest.raises(BundleError, match="no run"):
        lotlens.vet_outside(tmp_path / "none", tmp_path)


def test_nothing_of_the_targets_own_lot_comes_in(lot, trained):
    vetting = lotlens.vet_outside(trained.run.path, lot)
    assert len({one.photo.id for one in vetting.vetted}) == 102
    assert {one.reason for one in vetting.vetted} == {
        f"copy of {part}" for part in PARTS if part != "additions"
    }


def test_labelled_and_unlabelled_photos_of_one_name_are_told_apart(trained, tmp_path):
    photos = {f"train/{NAMES[k]}/1.jpg": draw(k, 700) for k in range(2)}
    photos |= {f"train/{NAMES[k]}/new-{k}.jpg": draw(k, 701) for k in range(2)}
    photos["test/new-0.jpg"] = draw(0, 702)
    folder = save(photos, tmp_path / "parts")
    told = {one.offered_id: one for one in lotlens.vet_outside(trained.run.path, folder).vetted}
    assert len(told) == 5
    assert told["test/new-0.jpg"].reason == "no label"
    assert told["new-0.jpg"].photo.label == "0"


def test_without_gates_the_probability_of_the_label_alone_decides(trained, offer, tmp_path):
    run = RunFolder(tmp_path / "old")
    shutil.copytree(trained.run.path, run.path)
    run.write_card(replace(run.read_card(), refusal=None))
    vetting = lotlens.vet_outside(run.path, offer)
    assert not vetting.has_gates
    reasons = {one.offered_id: one.reason for one in vetting.vetted}
    assert reasons["lies.jpg"] == "label contradicted"
    assert "not a car" not in reasons.values()


def test_outside_csv_has_every_photo(vetting, tmp_path):
    path = tmp_path / "outside.csv"
    write_vetted(path, vetting.vetted)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("Id", "Source", "Claimed", "Admitted", "Reason", "Sentence"),
        *("Answer", "Probability", "Weight", "Related"),
    ]
    assert [row["Id"] for row in rows] == [one.photo.id for one in vetting.vetted]
    assert {row["Admitted"] for row in rows} == {"yes", "no"}


# The parts of it.


def test_own_photos_have_the_part_that_they_are_judged_by(lot):
    own = open_lot(lot)
    split = Split({"train": ("0.jpg",), "validation": ("1.jpg",), "locked": ("2.jpg",)}, 0, "")
    part_of = {photo.id: part for part, photo in list_own(own, split) if part != "test"}
    assert part_of["0.jpg"] == part_of["3.jpg"] == "training"
    assert part_of["1.jpg"] == "validation"
    assert part_of["2.jpg"] == "locked"
    folds = Split({"fold-1": ("0.jpg",), "fold-2": ("1.jpg",)}, 0, "")
    part_of = {photo.id: part for part, photo in list_own(own, folds) if part != "test"}
    assert part_of["0.jpg"] == part_of["1.jpg"] == "validation"


def test_the_least_probability_is_a_candidates_or_what_two_of_ten_labels_can_have():
    assert choose_least(10, candidate=0.6) == 0.6
    assert choose_least(10, candidate=0.1) == pytest.approx(1 / 3)
    assert choose_least(3) == pytest.approx(1 / 2)
    assert choose_least(196) == pytest.approx(1 / 40)


@given(
    num_classes=st.integers(2, 300),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
    sharpness=st.floats(0.01, 5),
)
def test_no_photo_passes_with_more_labels_than_that(num_classes, share, seed, sharpness):
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(num_classes, sharpness), 20)
    chances = np.concatenate([chances, np.full((1, num_classes), 1 / num_classes)])
    least = choose_least(num_classes, most=share)
    most = max(int(share * num_classes + 1e-9), 1)
    assert ((chances >= least).sum(axis=1) <= most).all()


@st.composite
def offers(draw):
    """What is known of N photos, in clusters of copies."""
    num = draw(st.integers(1, 12))
    clusters = draw(st.lists(st.integers(0, 4), min_size=num, max_size=num))
    part_of = draw(st.lists(st.sampled_from([None, None, *PARTS]), min_size=5, max_size=5))
    copies = [
        Copies(
            draw(st.sampled_from(["ok", "ok", "ok", "broken"])),
            part_of[cluster],
            ("own",) if part_of[cluster] else (),
            tuple(o for o in range(num) if o != at and clusters[o] == cluster),
        )
        for at, cluster in enumerate(clusters)
    ]
    claimed = draw(
        st.lists(
            st.sampled_from([0, 0, 0, 1, 2, NO_LABEL, UNKNOWN_CLASS]), min_size=num, max_size=num
        )
    )
    kinds = draw(st.lists(st.sampled_from(["model", *KINDS]), min_size=num, max_size=num))
    seed = draw(st.integers(0, 999))
    chances = np.random.default_rng(seed).dirichlet(np.full(3, 0.3), num)
    ids = [f"{value}.jpg" for value in draw(st.permutations(range(num)))]
    return ids, claimed, copies, [replace(NAMED, kind=kind) for kind in kinds], chances


@given(offers())
def test_every_photo_gets_one_reason_and_no_copy_comes_in(offer):
    ids, claimed, copies, _, chances = offer
    reasons = find_reasons(*offer, 0.4)
    assert len(reasons) == len(ids)
    assert set(reasons) <= REASONS.keys()
    admitted = [at for at, reason in enumerate(reasons) if reason == ADMITTED]
    for at, copy in enumerate(copies):
        if copy.part:
            assert reasons[at] == f"copy of {copy.part}"
    for at in admitted:
        assert copies[at].part is None
        assert claimed[at] >= 0
        assert chances[at, claimed[at]] >= 0.4
        assert not set(copies[at].offered) & set(admitted)
    for at, reason in enumerate(reasons):
        if reason == "repeated":
            others = set(copies[at].offered) & set(admitted)
            assert others
            assert all(ids[other] < ids[at] for other in others)
