"""The synthetic market: what it plants is what its truth says."""

import csv
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from lotlens.drawn.lot import draw_lot
from lotlens.drawn.market import TRUTH, draw_adverts, draw_market
from lotlens.errors import InputError
from lotlens.market.listings import read_listings
from lotlens.photos.sources import open_lot

KINDS = {"", "bargain", "wrong-claim", "stolen", "stock", "repost", "damaged", "bad-cell"}


@pytest.fixture(scope="module")
def lot(tmp_path_factory):
    path = tmp_path_factory.mktemp("market") / "lot"
    draw_lot(path, num_train=40, num_test=60, width=96, height=72, num_workers=1)
    return path


@pytest.fixture(scope="module")
def market(lot):
    before = open_lot(lot)
    folder = draw_market(lot)
    after = open_lot(lot)
    assert after.train.ids == before.train.ids
    assert after.test.ids == before.test.ids
    return folder


@pytest.fixture(scope="module")
def truth(market):
    with (market / "truth.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def read_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes(lot, market):
    first = read_bytes(market)
    assert set(first) == {"listings.csv", "history.csv", "truth.csv", "photos.zip", "README.txt"}
    assert read_bytes(draw_market(lot)) == first
    other = read_bytes(draw_market(lot, seed=1))
    assert other["listings.csv"] != first["listings.csv"]
    assert read_bytes(draw_market(lot)) == first


def test_every_row_has_its_truth_and_reads_as_it_says(market, truth):
    assert tuple(next(iter(truth.values()))) == TRUTH
    assert {row["planted"] for row in truth.values()} == KINDS
    found = read_listings(market / "listings.csv")
    assert found.currency == "RUB"
    assert [row.id for row in found.rows] == list(truth)
    for row in found.rows:
        told = truth[row.id]
        assert bool(row.problems) == (told["planted"] == "bad-cell"), row
        if row.price is not None:
            assert row.price == int(told["asked_price"])
        assert bool(row.is_damaged) == (told["planted"] == "damaged")
        claims_another = row.model != told["model"]
        assert claims_another == (told["planted"] in ("wrong-claim", "stolen"))
        assert not (claims_another and row.model.split()[0] == told["model"].split()[0])
    history = read_listings(market / "history.csv")
    assert {row.problems for row in history.rows} == {()}


def test_prices_are_what_was_planted(truth):
    shares = {kind: [] for kind in KINDS}
    for row in truth.values():
        shares[row["planted"]].append(int(row["asked_price"]) / int(row["usual_price"]))
    honest = np.log(shares[""])
    assert 0.05 < honest.std() < 0.25
    assert abs(honest.mean()) < 0.1
    for kind in ("bargain", "damaged", "stolen"):
        assert np.log(shares[kind]).mean() < honest.mean() - 0.1, kind


def test_photos_are_the_adverts_and_copies_are_saved_anew(market, truth):
    rows = {row.id: row for row in read_listings(market / "listings.csv").rows}
    with zipfile.ZipFile(market / "photos.zip") as archive:
        named = [name for row in rows.values() for name in row.photos]
        assert sorted(archive.namelist()) == sorted(named)
        files = {name: archive.read(name) for name in named}
    copies = [row for row in truth.values() if row["related"]]
    assert {row["planted"] for row in copies} == {"stolen", "repost"}
    for copy in copies:
        source = files[rows[copy["related"]].photos[0]]
        data = files[rows[copy["id"]].photos[0]]
        assert data != source
        one, other = (
            np.asarray(Image.open(io.BytesIO(some)).convert("L").resize((32, 24)), float)
            for some in (data, source)
        )
        assert np.abs(one - other).mean() < 10
    stock = {files[rows[id_].photos[0]] for id_, row in truth.items() if row["planted"] == "stock"}
    assert len(stock) == 1
    everything = [data for id_, row in rows.items() if truth[id_]["planted"] in ("", "bargain")
                  for data in (files[name] for name in row.photos)]  # fmt: skip
    assert len(set(everything)) == len(everything)


def test_heads_may_be_russian(lot, market):
    english = read_listings(market / "listings.csv")
    russian = read_listings(draw_market(lot, heads="ru") / "listings.csv")
    draw_market(lot)
    assert russian.columns["price"] == "Цена"
    assert set(russian.columns) == set(english.columns)
    assert russian.rows == english.rows


def test_any_number_of_adverts_is_drawn_by_the_seed_alone():
    some = draw_adverts(50, ("a", "b"), seed=3)
    assert draw_adverts(50, ("a", "b"), seed=3) == some
    assert draw_adverts(50, ("a", "b"), seed=4) != some
    assert [one.id for one in some] == [str(number) for number in range(1, 51)]


def test_a_market_needs_a_sample_lot(tmp_path):
    with pytest.raises(InputError, match="no sample lot"):
        draw_market(tmp_path)
