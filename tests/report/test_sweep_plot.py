"""The picture of a sweep: readable names, equal files, no trouble with odd rows."""

import pytest

from lotlens.report.sweep_plot import draw_sweep


def row(name, *accuracies):
    mean = sum(accuracies) / len(accuracies)
    return (name, accuracies, mean, mean - 0.05, mean + 0.05)


def test_equal_sweeps_are_equal_files_with_every_name(tmp_path):
    rows = [row("a" * 20 + ", " + "b" * 30, 0.8, 0.9), row("cost=$5, up to $6", 0.7)]
    for name in ("one.svg", "two.svg"):
        draw_sweep(tmp_path / name, rows, num_photos=40)
    text = (tmp_path / "one.svg").read_text("utf-8")
    assert text == (tmp_path / "two.svg").read_text("utf-8")
    # Matplotlib draws letters as shapes and keeps the text as a comment.
    for words in ("b" * 30, "up to $6", "40 validation photos"):
        assert words in text.replace(r"\$", "$")


@pytest.mark.parametrize("number", [1, 90])
def test_one_row_and_very_many_can_be_drawn(tmp_path, number):
    rows = [row(f"variant {n}", 0.5, 0.5) for n in range(number)]
    draw_sweep(tmp_path / "s.svg", rows, num_photos=1)
    assert (tmp_path / "s.svg").read_text("utf-8").count("<!-- variant") == min(number, 60)
