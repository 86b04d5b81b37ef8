"""The demo, on a lot drawn for it."""

import csv

import pytest

import lotlens
from lotlens.recipes.loading import parse_recipe

pytestmark = pytest.mark.usefixtures("plain_charts")


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_demo_goes_the_whole_way(tmp_path, tiny_recipe):
    # The drawing is another test's subject: a small lot, drawn in this process.
    tiny_recipe["stages"] = tiny_recipe["stages"][:1]
    out = tmp_path / "demo"
    sizes = {"num_train": 40, "num_test": 20}
    done = lotlens.demonstrate(out, **sizes, recipe=parse_recipe(tiny_recipe))
    assert done.model.card.synthetic
    assert done.evaluation.synthetic
    sample = read_rows(out / "lot" / "sample-submission.csv")
    assert [row[0] for row in read_rows(done.submission_path)] == [row[0] for row in sample]
    assert "drawn" in done.model.run.report_path.read_text("utf-8")
    # A second demo replaces the first.
    lotlens.demonstrate(out, **sizes, recipe=parse_recipe(tiny_recipe))
