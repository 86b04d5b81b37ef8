"""Rounds are drawn one under another, accepted or not, the same bytes each time."""

import re

from lotlens.report.round_plot import draw_rounds


def row(number, accepted):
    return {
        "Round": str(number),
        "What": "outside photos; $anew",
        "Low": "-0.01",
        "High": "0.05",
        "Difference": "0.02",
        "Accepted": accepted,
    }


def test_differences_are_percentage_points_on_a_scale_that_does_not_flatter(tmp_path):
    none = row(1, "no") | {"Low": "0.0", "High": "0.0", "Difference": "-0.0001"}
    draw_rounds(tmp_path / "a.svg", [none, row(2, "yes")])
    words = re.findall("<!-- (.*?) -->", (tmp_path / "a.svg").read_text("utf-8"))
    assert "change in accuracy, % points, with its 95 % interval" in words
    assert "0.0 (0.0 to 0.0)" in words
    assert "+2.0 (\u22121.0 to +5.0)" in words
    draw_rounds(tmp_path / "b.svg", [none])
    words = re.findall("<!-- (.*?) -->", (tmp_path / "b.svg").read_text("utf-8"))
    assert {"\u22122", "0", "+2"} <= set(words)


def test_rounds_are_drawn_the_same_every_time(tmp_path):
    rows = [row(1, "yes"), row(2, "no")]
    for name in ("one.svg", "other.svg"):
        draw_rounds(tmp_path / name, rows)
    one = (tmp_path / "one.svg").read_bytes()
    assert one == (tmp_path / "other.svg").read_bytes()
    draw_rounds(tmp_path / "fewer.svg", rows[:1])
    assert one != (tmp_path / "fewer.svg").read_bytes()
    draw_rounds(tmp_path / "accepted.svg", [rows[0], row(2, "yes")])
    assert one != (tmp_path / "accepted.svg").read_bytes()
