"""Prices that a scan has learnt, kept in a file and asked again."""

import csv
import json
import sys

import pytest
from typer.testing import CliRunner

from lotlens.cli.app import build_app
from lotlens.drawn.market import draw_adverts, write_adverts
from lotlens.errors import InputError, MissingExtra, OutputError
from lotlens.verbs.price import COLUMNS, price
from lotlens.verbs.scan import scan

CARS = ("Волна", "Heron 4", "Clover")


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def saved(tiny_run, tmp_path_factory):
    """A table of 400 adverts, prices learnt from it, and a table of 30 others."""
    folder = tmp_path_factory.mktemp("saved")
    write_adverts(folder / "old.csv", draw_adverts(400, CARS))
    write_adverts(folder / "new.csv", draw_adverts(30, CARS, first_id=1001))
    scan(tiny_run.path, folder / "old.csv", out=folder / "old", save_prices=folder / "prices.json")
    return folder


def test_new_adverts_are_priced_by_what_a_scan_has_learnt(saved, tmp_path):
    told = []
    priced = price(
        saved / "prices.json", saved / "new.csv", out=tmp_path / "p.csv", tell=told.append
    )
    assert (priced.num_priced, len(priced.fair)) == (30, 30)
    rows = read(tmp_path / "p.csv")
    assert tuple(next(iter(rows.values()))) == COLUMNS
    usual = {one.id: one.usual for one in draw_adverts(30, CARS, first_id=1001)}
    assert list(rows) == list(usual)
    wrong = sorted(abs(int(row["fair_price"]) / usual[id_] - 1) for id_, row in rows.items())
    assert wrong[15] < 0.1
    for row in rows.values():
        assert int(row["fair_low90"]) <= int(row["fair_low"]) <= int(row["fair_price"])
        assert row["currency"] == "RUB"
    notes = " ".join(told[0].notes)
    assert "prices are by" in notes
    assert "400 adverts of old.csv" in notes


def test_a_scan_takes_the_same_prices(saved, tiny_run, tmp_path, monkeypatch):
    price(saved / "prices.json", saved / "new.csv", out=tmp_path / "p.csv")
    rows = read(tmp_path / "p.csv")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtra):
        scan(tiny_run.path, saved / "new.csv", out=tmp_path / "deals")
    found = scan(tiny_run.path, saved / "new.csv", prices=saved / "prices.json",
                 out=tmp_path / "deals")  # fmt: skip
    assert any("prices are by" in note for note in found.listings.notes)
    deals = read(tmp_path / "deals" / "deals.csv")
    assert {id_: row["fair_price"] for id_, row in deals.items()} == {
        id_: row["fair_price"] for id_, row in rows.items()
    }
    assert all(row["analogues"] for row in deals.values())


def test_what_does_not_fit_is_one_clear_line(saved, tiny_run, tmp_path):
    prices, new = saved / "prices.json", saved / "new.csv"
    dollars = tmp_path / "dollars.csv"
    dollars.write_text("model,price,year\nClover,$3000,2015\n", "utf-8")
    with pytest.raises(InputError, match=r"in USD and .* in RUB"):
        price(prices, dollars, out=tmp_path / "p.csv")
    with pytest.raises(InputError, match="holds no fitted prices"):
        price(new, new, out=tmp_path / "p.csv")
    for mine in (prices, new):
        with pytest.raises(OutputError, match="would replace"):
            price(prices, new, out=mine)
    with pytest.raises(InputError, match="need no history"):
        scan(tiny_run.path, new, prices=prices, history=saved / "old.csv", out=tmp_path / "deals")
    with pytest.raises(InputError, match="kept from 300 on"):
        scan(tiny_run.path, new, save_prices=tmp_path / "p.json", out=tmp_path / "deals")
    with pytest.raises(OutputError, match="a file of the scan's own"):
        scan(tiny_run.path, saved / "old.csv", out=tmp_path / "deals",
             save_prices=tmp_path / "deals" / ".." / "deals" / "deals.json")  # fmt: skip
    assert not list(tmp_path.glob("p.*"))


def test_prices_that_cannot_be_kept_cost_no_list(saved, tiny_run, tmp_path, monkeypatch):
    def fail(*_):
        raise InputError("no prices")

    monkeypatch.setattr("lotlens.verbs.scan.keep_prices", fail)
    with pytest.raises(InputError, match="no prices"):
        scan(tiny_run.path, saved / "old.csv", out=tmp_path / "deals", save_prices=tmp_path / "p")
    assert len(read(tmp_path / "deals" / "deals.csv")) == 400


def test_the_commands_say_what_they_did(saved, tiny_run, tmp_path):
    words = ["price", str(saved / "prices.json"), str(saved / "new.csv"), "-o",
             str(tmp_path / "p.csv")]  # fmt: skip
    said = CliRunner().invoke(build_app(), words)
    assert said.exit_code == 0, said.output
    assert "30 of 30 adverts have a usual price" in said.output
    told = json.loads(CliRunner().invoke(build_app(), [*words, "--json"]).output)
    assert (told["priced"], told["currency"]) == (30, "RUB")
    scan_words = ["scan", str(tiny_run.path), str(saved / "new.csv"), "--prices",
                  str(saved / "prices.json"), "--out", str(tmp_path / "deals")]  # fmt: skip
    said = CliRunner().invoke(build_app(), scan_words)
    assert said.exit_code == 0, said.output
    assert "of 30 adverts are worth a call" in said.output
