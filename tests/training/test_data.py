"""data: what trainings share is told before it is refused, and so is what the audit found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lotlens.errors import InputError
from lotlens.photos.decisions import Decision, decisions_path, write_decisions
from lotlens.recipes.loading import load_recipe, parse_recipe
from lotlens.records import CarClass, Catalog, Checked, Photo, Reading
from lotlens.training.data import TrainingData, find_commonest_label, read_rules

RECIPE = load_recipe("quick")


def lay(folder: Path, rows: list[str]) -> Path:
    (folder / "photos").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for row in rows:
        pixels = rng.integers(0, 255, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / row.split(",")[0])
    (folder / "cars.csv").write_text("\n".join(["id,label", *rows]))
    return folder


def test_what_was_understood_is_told_before_it_is_refused(tmp_path: Path) -> None:
    told: list[Any] = []
    data = lay(tmp_path / "lot", ["1.png,Niva", "2.png,niva"])
    with pytest.raises(InputError, match=r"labels\.fold"):
        TrainingData(data, RECIPE, tell=told.append)
    (reading,) = told
    assert isinstance(reading, Reading)
    assert reading.classes == {"Niva": 1, "niva": 1}


@pytest.mark.parametrize(
    ("override", "classes"),
    [
        ("labels.fold=true", ["Niva", "Oka"]),
        ("labels.fold=false", ["Niva", "Oka", "niva"]),
    ],
)
def test_a_recipe_says_what_is_made_of_labels(
    tmp_path: Path, override: str, classes: list[str]
) -> None:
    rows = ["1.png,Niva", "2.png,niva", "3.png,Niva", "4.png,Oka", "5.png,nan"]
    data = lay(tmp_path / "lot", rows)
    photos = TrainingData(data, load_recipe("quick", [override]))
    assert list(photos.lot.train.labels) == classes
    kept = TrainingData(data, load_recipe("quick", [override, "labels.keep=[nan, -1]"]))
    assert sorted(kept.lot.train.labels) == sorted([*classes, "nan"])
    assert kept.rules == read_rules(load_recipe("quick", [override, "labels.keep=[-1, NaN]"]))


def test_errors_and_decisions_are_told(tmp_path: Path) -> None:
    data = lay(tmp_path / "lot", ["1.png,A", "2.png,B", "3.png,A", "4.png,B", "5.png,A"])
    (data / "photos" / "4.png").write_bytes(b"<html>404")
    decisions = [
        Decision("1.png", "keep", "A", "A"),
        Decision("3.png", "relabel", "B", "A"),
        Decision("gone.png", "drop", "", "A"),
    ]
    write_decisions(decisions_path(data), decisions)
    photos = TrainingData(data, RECIPE)
    checked = photos.check(photos.audit(RECIPE.audit))
    assert (checked.errors, checked.num_decisions, checked.num_applied) == ({"unreadable": 1}, 3, 2)
    assert str(checked).splitlines() == [
        "error         1 unreadable: cannot be decoded: empty, truncated or no photo",
        "warning       100 % of the photos tiny: too small to tell models apart",
        "decisions     2 of 3 applied",
    ]
    assert str(Checked({}, {}, 0, 0)) == "audit         no errors"


@pytest.mark.parametrize(
    ("side", "brightest", "named"),
    [(1, 256, {"tiny", "flat"}), (200, 8, {"dark"}), (200, 256, set())],
)
def test_a_lot_of_poor_photos_is_told_before_it_is_learnt(
    tmp_path: Path, side: int, brightest: int, named: set[str]
) -> None:
    """A model of such photos may be right in all of them, and be of no use."""
    rng = np.random.default_rng(0)
    for number in range(20):
        folder = tmp_path / "lot" / "AB"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        drawn = rng.integers(0, 256 if number > 17 else brightest, (side, side, 3), np.uint8)
        Image.fromarray(drawn).save(folder / f"{number}.png")
    photos = TrainingData(tmp_path / "lot", RECIPE)
    checked = photos.check(photos.audit(RECIPE.audit))
    assert set(checked.poor) == named
    told = [line for line in str(checked).splitlines() if line.startswith("warning")]
    assert len(told) == len(named)
    if brightest == 8:
        assert "warning       90 % of the photos dark: nearly black" in told


@pytest.mark.parametrize(
    ("num_tiny", "num_dark", "settings", "told"),
    [
        (3, 3, {}, {"tiny": 3, "dark": 3}),  # neither is a tenth of forty, both together are
        (1, 2, {}, {}),
        (8, 0, {"tiny": "drop"}, {}),  # these are not learnt
        (8, 4, {"tiny": "drop"}, {"dark": 4}),
    ],
)
def test_poor_photos_count_once_and_only_where_they_are_learnt(
    tmp_path: Path, num_tiny: int, num_dark: int, settings: dict[str, str], told: dict[str, int]
) -> None:
    rng = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "lot" / "AB"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        side = 30 if number < num_tiny else 200
        brightest = 8 if 0 <= number - num_tiny < num_dark else 256
        drawn = rng.integers(0, brightest, (side, side, 3), np.uint8)
        Image.fromarray(drawn).save(folder / f"{number}.png")
    recipe = parse_recipe({"name": "mine", "stages": [{"kind": "probe"}], "audit": settings})
    photos = TrainingData(tmp_path / "lot", recipe)
    found = photos.audit(recipe.audit)
    num_learnt = 40 - len(found.dropped)
    shares = {check: count / num_learnt for check, count in told.items()}
    assert photos.check(found).poor == pytest.approx(shares)


def test_commonest_label() -> None:
    labels = ["5", "3", None, "3", "5", None, None]
    classes = tuple(CarClass(str(label), f"Car {label}") for label in (7, 3, 5))
    photos = tuple(Photo(str(n), None, label) for n, label in enumerate(labels))
    assert find_commonest_label(Catalog(photos, classes)) == "3"
    with pytest.raises(InputError, match="no photo has a label"):
        find_commonest_label(Catalog(photos[-1:], classes))
