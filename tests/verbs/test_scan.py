"""A scan over drawn photos: what it writes, what it keeps after a kill, what it refuses."""

import csv
import json
import re
import shutil
import zipfile
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import lotlens.verbs.predict as predicting
from lotlens.cli.app import build_app
from lotlens.deliver.model import OpenModel
from lotlens.errors import InputError, OutputError
from lotlens.photos.sources import open_lot
from lotlens.records import ImageSpec, Locator, Photo, Split
from lotlens.training.others import Others, take_others
from lotlens.verbs import scan as scanning
from lotlens.verbs.scan import COLUMNS, scan

NAMES = ("Волна", "Heron 4", "Clover")
HEADER = "id,title,model,Цена,Год,Пробег,Город,photos,url\n"


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def adverts(small_lot, tmp_path_factory):
    """Adverts with the lot's test photos, and others without to learn prices from."""
    folder = tmp_path_factory.mktemp("adverts")
    rows, past = [], []
    for label, name in enumerate(NAMES):
        for number in range(4):
            id_ = 10_000 * (label + 1) + number
            price = 200_000 if (label, number) == (0, 1) else 300_000 + 1_000 * number
            rows.append(f"{id_},{name} {id_},{name},{price} ₽,2015,{50_000 + id_},Уфа,{id_}.jpg,"
                        f"https://example.com/{id_}\n")  # fmt: skip
        past += [f"h{label}{n},{name},{name},{298_000 + n * 1000},2015,{40_000 + n},Уфа,,\n"
                 for n in range(8)]  # fmt: skip
    rows.append("thief,Clover,Clover,240000,2015,70000,Омск,test_upload/10000.jpg,\n")
    rows.append("bad,<b>x</b>,Zastava,договорная,zest,1,Уфа,nowhere.jpg,javascript:alert(1)\n")
    (folder / "adverts.csv").write_text(HEADER + "".join(rows), "utf-8")
    (folder / "history.csv").write_text(HEADER + "".join(past), "utf-8")
    return folder, small_lot / "test.zip"


@pytest.fixture(scope="module")
def scanned(tiny_run, adverts, tmp_path_factory):
    folder, photos = adverts
    out = tmp_path_factory.mktemp("scan") / "deals"
    found = scan(tiny_run.path, folder / "adverts.csv", photos, history=folder / "history.csv",
                 out=out)  # fmt: skip
    return found, read(out / "deals.csv")


def test_every_advert_comes_out_with_its_reasons(scanned):
    found, deals = scanned
    assert len(found.offers) == len(deals) == 14
    assert tuple(next(iter(deals.values()))) == COLUMNS
    assert found.num_photos == 12
    assert found.num_missing == 1
    bad = deals["bad"]
    assert bad["rank"] == ""
    assert "no price" in bad["by_hand_because"]
    assert "no year: 'zest'" in bad["problems"]
    assert bad["photos_missing"] == "nowhere.jpg"
    assert bad["claim_open_because"] == "no photos"


def test_the_bargain_is_told_by_its_price(scanned):
    _, deals = scanned
    bargain = deals["10001"]
    assert 280_000 < int(bargain["fair_price"]) < 320_000
    assert bargain["fair_by"] == "analogues"
    assert int(bargain["sure_gain"]) > 0
    usual = deals["10002"]
    assert int(usual["sure_gain"]) <= 0
    assert usual["worth_a_call"] == "0"


def test_a_stolen_photo_is_found_across_adverts(scanned):
    _, deals = scanned
    thief = deals["thief"]
    assert thief["same_picture"] == "stolen"
    assert thief["same_picture_in"] == "10000"
    assert "stolen" in thief["by_hand_because"]


def test_the_page_shows_strangers_text_as_text(scanned):
    found, _ = scanned
    page = (found.folder / "deals.html").read_text("utf-8")
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<b>x</b>" not in page
    assert "javascript:" not in page
    assert 'href="https://example.com/10001"' in page
    assert page.count('<li class="') == 14
    assert page.count("data:image/jpeg") == 13


def test_parquet_says_the_same(scanned):
    parquet = pytest.importorskip("pyarrow.parquet")
    found, deals = scanned
    table = parquet.read_table(found.folder / "deals.parquet")
    assert found.has_parquet
    assert table.column_names == list(COLUMNS)
    assert table["id"].to_pylist() == list(deals)


def test_a_killed_scan_goes_on_and_new_adverts_are_marked(
    tiny_run, adverts, scanned, tmp_path, monkeypatch
):
    folder, photos = adverts
    monkeypatch.setattr(predicting, "_PIECE", 4)
    table = tmp_path / "adverts.csv"
    shutil.copy(folder / "adverts.csv", table)
    asked = []
    answer = OpenModel.answer_in_turn

    def count(self, catalog, size, **given):
        asked.append(len(catalog))
        return answer(self, catalog, size, **given)

    monkeypatch.setattr(OpenModel, "answer_in_turn", count)

    def stop(*_, **__):
        raise KeyboardInterrupt

    given = {"history": folder / "history.csv", "out": tmp_path / "deals"}
    with monkeypatch.context() as killing:
        killing.setattr(scanning, "scan_photos", stop)
        with pytest.raises(KeyboardInterrupt):
            scan(tiny_run.path, table, photos, **given)
    assert not (tmp_path / "deals" / "deals.csv").exists()
    scan(tiny_run.path, table, photos, **given)
    assert asked == [12]  # the second time nothing is answered again
    assert read(tmp_path / "deals" / "deals.csv") == scanned[1]
    assert not list((tmp_path / "deals").glob(".*.pieces"))

    table.write_text(
        table.read_text("utf-8").replace("10002,Волна,302000", "10002,Волна,290000")
        + "new,Clover new,Clover,250000,2015,90000,Уфа,,\n",
        "utf-8",
    )
    found = scan(tiny_run.path, table, photos, new_since=tmp_path / "deals", **given)
    deals = read(tmp_path / "deals" / "deals.csv")
    assert {id_ for id_, row in deals.items() if row["new"] == "1"} == {"new", "10002"}
    assert found.num_new == 2
    (tmp_path / "other.csv").write_text("id,price\n1,2\n", "utf-8")
    with pytest.raises(InputError, match="written by no scan"):
        scan(tiny_run.path, table, new_since=tmp_path / "other.csv", **given)


def test_adverts_without_numbers_are_known_again_by_what_they_say(tiny_run, adverts, tmp_path):
    """Though a row that comes before them gives each another number."""
    folder, _ = adverts
    with (folder / "adverts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table, given = tmp_path / "adverts.csv", {"history": folder / "history.csv"}
    for found in (rows[1:], rows):
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [name for name in rows[0] if name != "id"],
                                    extrasaction="ignore")  # fmt: skip
            writer.writeheader()
            writer.writerows(found)
        past = None if found is not rows else tmp_path / "deals"
        done = scan(tiny_run.path, table, out=tmp_path / "deals", new_since=past, **given)
    assert done.num_new == 1
    assert read(tmp_path / "deals" / "deals.csv")["1"]["new"] == "1"


def test_without_photos_prices_alone_are_judged(tiny_run, adverts, tmp_path):
    folder, _ = adverts
    found = scan(tiny_run.path, folder / "adverts.csv", history=folder / "history.csv",
                 out=tmp_path / "deals", lang="ru")  # fmt: skip
    assert found.num_photos == 0
    best = found.offers[0]
    assert (best.row.id, best.rank, best.is_worth_a_call) == ("10001", 1, True)
    page = (tmp_path / "deals" / "deals.html").read_text("utf-8")
    assert "Стоит позвонить" in page
    assert "Фото не проверялись." in page


def test_what_does_not_fit_is_one_clear_line(tiny_run, adverts, small_lot, tmp_path):
    folder, photos = adverts
    (tmp_path / "plain.csv").write_text("model,price,year\nClover,300000,2015\n", "utf-8")
    with pytest.raises(InputError, match="no advert names a photo"):
        scan(tiny_run.path, tmp_path / "plain.csv", photos, out=tmp_path / "deals")
    with pytest.raises(InputError, match="none of the adverts' photos"):
        scan(tiny_run.path, folder / "adverts.csv", small_lot / "train.zip", out=tmp_path / "deals")
    dollars = tmp_path / "dollars.csv"
    dollars.write_text("model,price,year\nClover,$3000,2015\n", "utf-8")
    with pytest.raises(InputError, match=r"RUB and .* in USD"):
        scan(tiny_run.path, folder / "adverts.csv", history=dollars, out=tmp_path / "deals")


def test_the_command_says_the_verdict_first(tiny_run, adverts, tmp_path):
    folder, _ = adverts
    words = ["scan", str(tiny_run.path), str(folder / "adverts.csv"), "--history",
             str(folder / "history.csv"), "--out", str(tmp_path / "deals")]  # fmt: skip
    said = CliRunner().invoke(build_app(), words)
    assert said.exit_code == 0, said.output
    assert "2 of 14 adverts are worth a call" in said.output
    assert "price = Цена" in said.output
    told = json.loads(CliRunner().invoke(build_app(), [*words, "--json"]).output)
    assert told["worth_a_call"] == 2
    assert told["offers"][0]["id"] == "10001"
    broken = CliRunner().invoke(build_app(), [*words, "--column", "price"])
    assert isinstance(broken.exception, InputError)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--haggle", "3"), ("--haggle", "nan"), ("--costs", "-5"), ("--costs", "inf")],
)
def test_a_term_that_cannot_be_is_refused_by_its_own_name(tiny_run, adverts, option, value):
    folder, _ = adverts
    words = ["scan", str(tiny_run.path), str(folder / "adverts.csv"), option, value]
    refused = CliRunner().invoke(build_app(), words).exception
    assert isinstance(refused, InputError)
    (other,) = {"--haggle", "--costs"} - {option}
    assert re.fullmatch(rf"{option} (is|are) .*, not {value}", str(refused))
    assert other not in str(refused)


def test_nothing_is_written_over_what_is_read(tiny_run, adverts, tmp_path):
    folder, _ = adverts
    for name in ("deals.csv", "deals.html", "deals.parquet"):
        before = (folder / "adverts.csv").read_bytes()
        out = tmp_path / name.replace(".", "-")
        out.mkdir()
        table = out / name
        table.write_bytes(before)
        for given in ({"listings": table}, {"listings": folder / "adverts.csv", "history": table}):
            if not name.endswith("csv") and "history" not in given:
                continue
            with pytest.raises(OutputError, match="which is read"):
                scan(tiny_run.path, out=out, **given)
        assert table.read_bytes() == before


def test_a_column_that_is_named_counts_in_the_history_too(tiny_run, adverts, tmp_path):
    folder, _ = adverts
    for name in ("adverts.csv", "history.csv"):
        text = (folder / name).read_text("utf-8").replace("Цена", "P", 1)
        (tmp_path / name).write_text(text, "utf-8")
    own = (tmp_path / "adverts.csv").read_text("utf-8").replace("Пробег", "M", 1)
    (tmp_path / "adverts.csv").write_text(own, "utf-8")
    told, worked = [], []
    scan(tiny_run.path, tmp_path / "adverts.csv", history=tmp_path / "history.csv",
         columns={"price": "P", "mileage": "M"}, out=tmp_path / "deals",
         tell=told.append, watch=lambda *work: worked.append(work))  # fmt: skip
    assert [(one.columns["price"], one.columns["mileage"]) for one in told] == [
        ("P", "M"), ("P", "Пробег"),
    ]  # fmt: skip
    assert [one for one in worked if one[0] == "learning prices"] == [
        ("learning prices", 0, 1), ("learning prices", 1, 1),
    ]  # fmt: skip
    with pytest.raises(InputError, match="no column 'Z'"):
        scan(
            tiny_run.path, tmp_path / "adverts.csv", columns={"price": "Z"}, out=tmp_path / "deals"
        )


def test_a_photo_counts_once_and_is_never_borrowed_from_another_folder(
    tiny_run, small_lot, tmp_path
):
    with zipfile.ZipFile(small_lot / "test.zip") as archive:
        data = archive.read("test_upload/10000.jpg")
    for place in ("b/1.jpg", "c/2.jpg"):
        (tmp_path / "photos" / place).parent.mkdir(parents=True)
        (tmp_path / "photos" / place).write_bytes(data)
    text = "id,model,price,year,photos\n1,Clover,300000,2015,a/1.jpg\n"
    text += "2,Clover,300000,2015,b/1.jpg;b/1.jpg;./b/1.jpg\n"
    (tmp_path / "adverts.csv").write_text(text, "utf-8")
    history = "model,price,year\n" + "".join(f"Clover,30000{n},2015\n" for n in range(9))
    (tmp_path / "history.csv").write_text(history, "utf-8")
    found = scan(tiny_run.path, tmp_path / "adverts.csv", tmp_path / "photos",
                 history=tmp_path / "history.csv", out=tmp_path / "deals")  # fmt: skip
    assert (found.num_photos, found.num_missing) == (1, 1)
    deals = read(tmp_path / "deals" / "deals.csv")
    assert deals["1"]["photos_missing"] == "a/1.jpg"
    assert deals["1"]["claim_open_because"] == "no photos"
    assert deals["2"]["photos_missing"] == ""


def test_photos_set_aside_have_the_adverts_own_numbers(tiny_run, small_lot, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    with zipfile.ZipFile(small_lot / "test.zip") as archive:
        (folder / "car.jpg").write_bytes(archive.read("test_upload/10000.jpg"))
    (folder / "broken.jpg").write_bytes(b"no photo")
    text = "id,model,price,year,photos\n1,Clover,300000,2015,gone.jpg;car.jpg;car.jpg;broken.jpg\n"
    (tmp_path / "adverts.csv").write_text(text, "utf-8")
    history = "model,price,year\n" + "".join(f"Clover,30000{n},2015\n" for n in range(9))
    (tmp_path / "history.csv").write_text(history, "utf-8")
    scan(tiny_run.path, tmp_path / "adverts.csv", folder, history=tmp_path / "history.csv",
         out=tmp_path / "deals")  # fmt: skip
    row = read(tmp_path / "deals" / "deals.csv")["1"]
    assert row["photos_missing"] == "gone.jpg"
    assert row["photos_set_aside"].split("; ")[-1] == "photo 4 cannot be read"
    assert "photo 3" not in row["photos_set_aside"]  # the second one again


def test_prices_of_no_currency_are_taken_for_the_others_and_it_is_said(tiny_run, adverts, tmp_path):
    folder, _ = adverts
    bare = (folder / "adverts.csv").read_text("utf-8").replace(" ₽", "")
    (tmp_path / "bare.csv").write_text(bare, "utf-8")
    for listings, history in (
        (folder / "adverts.csv", folder / "history.csv"),
        (tmp_path / "bare.csv", folder / "adverts.csv"),
    ):
        told = []
        found = scan(tiny_run.path, listings, history=history, out=tmp_path / "deals",
                     tell=told.append)  # fmt: skip
        assert found.listings.currency == "RUB"
        assert [one.currency for one in told] == ["RUB", "RUB"]
        assert any("taken for RUB, as in" in note for one in told for note in one.notes)


def test_adverts_of_models_that_were_not_learnt_become_others(
    tiny_run, small_lot, tmp_path, monkeypatch, photo_drawer
):
    decide = scanning.decide_car

    def doubt(*args, **given):  # a small network may name anything
        car = decide(*args, **given)
        photos = tuple(replace(photo, kind="unknown") for photo in car.photos)
        return replace(car, verdict=photos[0], photos=photos, odd=(), chances=())

    monkeypatch.setattr(scanning, "decide_car", doubt)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        photo_drawer(number % 3, 900 + number, (64, 48)).save(folder / f"{number}.jpg")
    rows = [f"{n},Zastava,{101 + n // 2},300000,2015,{n}.jpg" for n in range(4)]
    rows += ["4,Volga,Clover,300000,2015,4.jpg", "5,zastava,101,300000,2015,5.jpg"]
    text = "id,make,model,price,year,photos\n" + "\n".join(rows) + "\n"
    (tmp_path / "adverts.csv").write_text(text, "utf-8")
    history = "make,model,price,year\n" + "".join(f"Kia,Rio,30000{n},2015\n" for n in range(9))
    (tmp_path / "history.csv").write_text(history, "utf-8")
    given = {"history": tmp_path / "history.csv", "out": tmp_path / "deals"}
    found = scan(tiny_run.path, tmp_path / "adverts.csv", folder, **given)
    assert found.num_others == 5  # a Clover is a class
    again = scan(tiny_run.path, tmp_path / "adverts.csv", folder, **given)
    assert again.num_others == 5
    assert len(list((found.others / "photos").iterdir())) == 5

    lot = open_lot(small_lot)
    split = Split({"train": lot.train.ids[:20], "validation": lot.train.ids[20:]}, 0, "")
    photo_drawer(1, 999, (64, 48)).save(tmp_path / "old.jpg")
    earlier = Others(learnt=(Photo("old", Locator(tmp_path / "old.jpg"), "old"),))
    frame = ImageSpec(48, 64)
    others = take_others(found.others, lot, split, frame, seed=0, earlier=earlier)
    assert others.turned_away == {}
    new = [photo for photo in (*others.learnt, *others.held_out) if photo.id != "old"]
    assert {photo.label for photo in new} == {"Zastava 101", "Zastava 102"}
    assert len(new) == 5
    assert all(photo.locator.path.is_relative_to(found.others) for photo in new)


def test_photos_at_an_address_are_looked_at_as_on_a_disk(tiny_run, adverts, scanned, tmp_path):
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: see lotlens[cluster]")
    folder, photos = adverts
    system = fsspec.filesystem("memory")
    with zipfile.ZipFile(photos) as archive:
        for name in archive.namelist():
            system.pipe(f"/cars/{name}", archive.read(name))
    try:
        for at, where in enumerate(["memory://cars", ["memory://cars/test_upload"]]):
            found = scan(tiny_run.path, folder / "adverts.csv", where,
                         history=folder / "history.csv", out=tmp_path / str(at))  # fmt: skip
            assert found.num_photos == 12
            assert read(found.folder / "deals.csv") == scanned[1]
    finally:
        system.rm("/cars", recursive=True)
