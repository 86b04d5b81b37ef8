"""The sample lot: the competition's layout, and every planted fault as it is listed."""

import csv
import io
import zipfile
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lotlens.drawn import lot as drawing
from lotlens.drawn.designs import DESIGNS
from lotlens.drawn.lot import draw_contact_sheet, draw_lot, read_faults
from lotlens.errors import InputError, OutputError, UnreadablePhoto
from lotlens.photos.decode import decode
from lotlens.photos.synthetic import is_sample_lot

SIZE = (96, 72)
FILES = {
    *("train.csv", "train.zip", "test.zip", "sample-submission.csv", "classes.csv"),
    *("answers.csv", "faults.csv", "README.txt"),
}


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def lot(tmp_path_factory):
    return draw_lot(
        tmp_path_factory.mktemp("lots") / "lot",
        num_train=60,
        num_test=24,
        width=SIZE[0],
        height=SIZE[1],
        num_workers=1,
    )


@pytest.fixture(scope="module")
def photos(lot):
    """(part, id) -> bytes."""
    found = {}
    for part in ("train", "test"):
        with zipfile.ZipFile(lot / f"{part}.zip") as archive:
            for name in archive.namelist():
                found[part, name.rsplit("/", 1)[-1]] = archive.read(name)
    return found


def list_faults(lot, fault):
    return [row for row in read_rows(lot / "faults.csv") if row["Fault"] == fault]


def test_has_the_competitions_layout(lot):
    assert {path.name for path in lot.iterdir()} == FILES
    train, answers = read_rows(lot / "train.csv"), read_rows(lot / "answers.csv")
    submission = read_rows(lot / "sample-submission.csv")
    assert len(train) == 60
    assert [row["Id"] for row in submission] == [row["Id"] for row in answers]
    assert {row["Category"] for row in submission} == {"0"}
    assert {row["Category"] for row in train} == {str(index) for index in range(10)}
    with zipfile.ZipFile(lot / "train.zip") as archive:
        members = archive.namelist()
        assert sorted(members) == sorted(f"train/{row['Category']}/{row['Id']}" for row in train)
    with zipfile.ZipFile(lot / "test.zip") as archive:
        assert sorted(archive.namelist()) == sorted(f"test_upload/{row['Id']}" for row in answers)
    ids = [row["Id"] for row in train + answers]
    assert len(set(ids)) == 84
    assert all(id_.removesuffix(".jpg").isdigit() for id_ in ids)
    # Neither list gives its classes away by its order.
    assert ids[:60] != sorted(ids[:60])
    assert [row["Category"] for row in train] != sorted(row["Category"] for row in train)


def test_names_its_classes(lot):
    rows = read_rows(lot / "classes.csv")
    assert [row["Name"] for row in rows] == [design.name for design in DESIGNS]
    assert len({row["Name"] for row in rows}) == 10


def test_an_easy_lot_has_no_sister_models_and_the_same_faults(lot, tmp_path):
    easy = draw_lot(
        tmp_path / "easy",
        num_train=60,
        num_test=24,
        width=SIZE[0],
        height=SIZE[1],
        easy=True,
        num_workers=1,
    )
    names = [row["Name"] for row in read_rows(easy / "classes.csv")]
    usual = [row["Name"] for row in read_rows(lot / "classes.csv")]
    assert names == [name for name in usual if name not in ("Волна Лифт", "Merula Corta")]
    labels = {row["Category"] for row in read_rows(easy / "train.csv")}
    assert labels == {str(index) for index in range(8)}
    faults = [Counter(row["Fault"] for row in read_rows(one / "faults.csv")) for one in (easy, lot)]
    assert faults[0] == faults[1]
    readme = (easy / "README.txt").read_text("utf-8")
    assert is_sample_lot(easy)
    assert "eight car models" in readme
    assert "easy lot" in readme
    assert "Categories 0 and 1" not in readme
    told = read_faults(easy)
    assert [(one.part, one.photo_id, one.kind, one.related_id, one.detail) for one in told] == [
        tuple(row.values()) for row in read_rows(easy / "faults.csv")
    ]


def test_says_that_it_is_synthetic(lot, tmp_path):
    assert "SYNTHETIC" in (lot / "README.txt").read_text(encoding="utf-8")
    assert is_sample_lot(lot)
    assert not is_sample_lot(tmp_path)
    assert not is_sample_lot(lot / "train.zip")


def test_unreadable_photos_cannot_be_decoded_and_all_others_can(lot, photos):
    unreadable = {(row["Part"], row["Id"]): row["Detail"] for row in list_faults(lot, "unreadable")}
    assert set(unreadable.values()) == {"truncated", "empty", "text", "garbage"}
    assert {part for part, _ in unreadable} == {"train", "test"}
    resized = {row["Id"] for row in list_faults(lot, "near-duplicate")}
    for key, data in photos.items():
        if key in unreadable:
            with pytest.raises(UnreadablePhoto):
                decode(data)
        elif key[1] not in resized:
            assert decode(data).shape == (SIZE[1], SIZE[0], 3)


def test_near_duplicates_show_their_source(lot, photos):
    rows = list_faults(lot, "near-duplicate")
    kinds = {row["Detail"].split()[0].rstrip(",") for row in rows}
    assert kinds == {"rescaled", "recompressed", "watermarked", "mirrored", "cropped"}
    part_of = {id_: part for part, id_ in photos}
    pairs = Counter((part_of[row["Related"]], row["Part"]) for row in rows)
    assert set(pairs) == {("train", "train"), ("test", "test"), ("train", "test")}

    def shrink(part, id_, mirror=False):
        image = Image.fromarray(decode(photos[part, id_])).convert("L").resize((16, 12))
        values = np.asarray(image, dtype=float)
        return (values[:, ::-1] if mirror else values).ravel()

    for row in rows:
        assert row["Related"] != row["Id"]
        copy = shrink(row["Part"], row["Id"], mirror=row["Detail"].startswith("mirrored"))
        source = shrink(part_of[row["Related"]], row["Related"])
        assert np.corrcoef(copy, source)[0, 1] > 0.75, row


def test_duplicates_show_the_class_of_their_source(lot):
    true = {
        row["Id"]: row["Category"]
        for name in ("train", "answers")
        for row in read_rows(lot / f"{name}.csv")
    }
    true |= {row["Id"]: row["Detail"] for row in list_faults(lot, "wrong-label")}
    for row in list_faults(lot, "near-duplicate"):
        assert true[row["Id"]] == true[row["Related"]]


def test_wrong_labels_tell_the_true_one(lot):
    given_labels = {row["Id"]: row["Category"] for row in read_rows(lot / "train.csv")}
    rows = list_faults(lot, "wrong-label")
    assert len(rows) == 2
    for row in rows:
        assert row["Part"] == "train"
        assert row["Detail"] != given_labels[row["Id"]]
        assert int(row["Detail"]) in range(10)
    # One of them contradicts its near-duplicate.
    copies = {row["Id"] for row in list_faults(lot, "near-duplicate")}
    assert copies & {row["Id"] for row in rows}


def test_grey_photos_have_one_channel(lot, photos):
    grey = {(row["Part"], row["Id"]) for row in list_faults(lot, "grey")}
    assert {part for part, _ in grey} == {"train", "test"}
    for key in grey:
        with Image.open(io.BytesIO(photos[key])) as image:
            assert image.mode == "L"


def test_rotated_photos_carry_their_orientation(lot, photos):
    rows = list_faults(lot, "rotated")
    assert {row["Part"] for row in rows} == {"train", "test"}
    for row in rows:
        orientation = int(row["Detail"].split()[-1])
        with Image.open(io.BytesIO(photos[row["Part"], row["Id"]])) as image:
            assert image.getexif()[0x0112] == orientation
            assert image.size == (SIZE if orientation == 3 else SIZE[::-1])


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_stored_pixels_decode_upright(orientation):
    pixels = np.zeros((48, 64, 3), dtype=np.uint8)
    pixels[:16, :24] = 255  # a bright corner, top left
    data = drawing._encode(Image.fromarray(pixels), 95, orientation)
    upright = decode(data)
    assert upright.shape == (48, 64, 3)
    assert upright[4:12, 4:20].min() > 220
    assert upright[24:].max() < 30


def test_photos_of_no_car_are_listed(lot):
    rows = list_faults(lot, "no-car")
    assert {row["Part"] for row in rows} == {"train", "test"}
    assert len({row["Detail"] for row in rows}) >= 3


def test_is_the_same_for_any_number_of_workers(tmp_path):
    options = {"seed": 3, "num_train": 40, "num_test": 20, "width": 48, "height": 48}
    one = draw_lot(tmp_path / "one", num_workers=1, **options)
    two = draw_lot(tmp_path / "two", num_workers=2, **options)
    for name in FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**40), num_train=st.integers(40, 700), num_test=st.integers(20, 300))
def test_every_plan_is_sound(seed, num_train, num_test):
    plans = drawing._plan_lot(seed, num_train, num_test)
    assert Counter(plan.part for plan in plans) == {"train": num_train, "test": num_test}
    assert len({plan.id for plan in plans}) == len(plans)
    faults = Counter(row["Fault"] for row in drawing._list_faults(plans, seed))
    assert set(faults) == {
        *("unreadable", "near-duplicate", "wrong-label", "grey", "rotated", "no-car")
    }
    assert faults["wrong-label"] == max(2, round(0.03 * num_train))
    # Every class can be learnt: at least two training photos are what they say.
    sound = [
        plan
        for plan in plans
        if plan.part == "train" and plan.given == plan.true and not plan.damage and not plan.no_car
    ]
    assert min(Counter(plan.true for plan in sound).values()) >= 2
    assert {plan.true for plan in sound} == set(range(10))
    for plan in plans:
        if plan.source is not None:
            # A source is itself whole: its copy can only be as good.
            assert plan.source in plans
            untouched = replace(plan.source, true=0, given=0)
            assert untouched == drawing._Plan(untouched.part, untouched.number, untouched.id, 0, 0)
            assert plan.source.given == plan.source.true


def test_refuses_a_folder_that_holds_something(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "keep.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="not empty and no sample lot"):
            draw_lot(tmp_path / "mine", overwrite=overwrite)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["keep.txt"]
    with pytest.raises(InputError, match="is a file"):
        draw_lot(tmp_path / "mine" / "keep.txt")


def test_refuses_the_folder_one_stands_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="folder of its own"):
        draw_lot(tmp_path)


def test_replaces_a_lot_only_when_told(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "_draw_file", lambda job: job.plan.id.encode())
    options = {"num_train": 40, "num_test": 20, "num_workers": 1}
    out = tmp_path / "lot"
    out.mkdir()  # an empty folder is no obstacle
    draw_lot(out, seed=1, **options)
    before = (out / "train.csv").read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        draw_lot(out, seed=2, **options)
    assert (out / "train.csv").read_bytes() == before
    draw_lot(out, seed=2, overwrite=True, **options)
    assert (out / "train.csv").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["lot"]


def test_leaves_nothing_behind_when_it_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "_draw_file", lambda job: b"")

    def stop(done, total):
        assert total == 60
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_lot(tmp_path / "lot", num_train=40, num_test=20, num_workers=1, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_tells_when_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        draw_lot(tmp_path / "file" / "lot", num_train=40, num_test=20, num_workers=1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("seed", -1),
        ("num_train", 39),
        ("num_test", 3),
        ("num_train", 10**6),
        ("width", 10),
        ("height", 100_000),
        ("num_workers", 0),
    ],
)
def test_names_the_option_that_is_out_of_range(tmp_path, option, value):
    with pytest.raises(InputError, match=f"{option} is {value}"):
        draw_lot(tmp_path / "lot", **{option: value})
    assert list(tmp_path.iterdir()) == []


def test_draws_a_contact_sheet(lot, tmp_path):
    sheet = draw_contact_sheet(lot, tmp_path / "deep" / "sheet.png", per_class=2)
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        assert image.width > 2 * 240
        assert image.height > 10 * 180
        # Photos were pasted: the first cell of each row is not the paper's white.
        pixels = np.asarray(image.convert("L"))
        for row in range(10):
            assert pixels[60 + row * 186 : 180 + row * 186, 200:420].mean() < 240
    assert [path.name for path in sheet.parent.iterdir()] == ["sheet.png"]


def test_a_contact_sheet_needs_a_sample_lot(lot, tmp_path):
    with pytest.raises(InputError, match="no sample lot"):
        draw_contact_sheet(tmp_path, tmp_path / "sheet.png")
    with pytest.raises(InputError, match="per_class is 0"):
        draw_contact_sheet(lot, tmp_path / "sheet.png", per_class=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="contact sheet"):
        draw_contact_sheet(lot, tmp_path / "file" / "sheet.png")


def test_explains_a_worker_that_died(tmp_path, monkeypatch):
    class DeadPool:
        def __init__(self, *args, **kwargs):
            self.is_shut = False

        def map(self, *args, **kwargs):
            raise BrokenProcessPool

        def shutdown(self, **kwargs):
            self.is_shut = True

    monkeypatch.setattr(drawing, "ProcessPoolExecutor", DeadPool)
    with pytest.raises(InputError, match="__main__"):
        draw_lot(tmp_path / "lot", num_train=40, num_test=20, num_workers=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sizes", [(40, 20), (40, 1200), (40, 30_000), (2000, 20)])
def test_lots_of_any_proportion_are_planned(sizes):
    plans = drawing._plan_lot(0, *sizes)
    assert Counter(plan.part for plan in plans) == dict(zip(("train", "test"), sizes, strict=True))
    assert len({plan.id for plan in plans}) == len(plans)
