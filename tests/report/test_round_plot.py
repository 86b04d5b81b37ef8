"""Rounds are drawn one under another, accepted or not, the same bytes each time."""

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
