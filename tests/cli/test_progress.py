"""What a log is told of the work: when it begins, when it has ended, and of long work more."""

from types import SimpleNamespace

import pytest

from lotlens.cli import progress as progress_module
from lotlens.cli.progress import format_time, show_progress
from lotlens.cli.screen import VOICE


@pytest.fixture
def clock(monkeypatch):
    """The time, which passes when it is told to."""
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    return clock


def test_work_has_a_line_when_it_begins_and_one_when_it_has_ended(capsys, clock):
    with show_progress() as watch:
        for done in (48, 96, 874):
            watch("looking at photos", done, 874)
            clock.now_s += 2
        for _ in range(2):
            watch("fitting the probe", 0, 1)
            clock.now_s += 20
            watch("fitting the probe", 1, 1)
        watch("reading", 5, 5)  # all at once
    assert capsys.readouterr().err.splitlines() == [
        "looking at photos (874)",
        "looking at photos: done in 4.0 s",
        *["fitting the probe", "fitting the probe: done in 20 s"] * 2,
        "reading (5)",
        "reading: done in 0.0 s",
    ]


def test_long_work_says_ever_more_rarely_how_long_its_stage_will_take(capsys, clock):
    with show_progress() as watch:
        for seconds_a_step in (20, 60):
            for done in range(1, 12):
                watch("fine-tuning", done, 11)
                clock.now_s += seconds_a_step
    first, second = capsys.readouterr().err.split("fine-tuning (11)\n")[1:]
    assert first.splitlines() == [
        "fine-tuning: 4 of 11, about 2.3 min left",
        "fine-tuning: 7 of 11, about 80 s left",
        "fine-tuning: done in 3.3 min",
    ]
    assert second.splitlines() == [
        "fine-tuning: 2 of 11, about 9.0 min left",
        "fine-tuning: 3 of 11, about 8.0 min left",
        "fine-tuning: 5 of 11, about 6.0 min left",
        "fine-tuning: 9 of 11, about 2.0 min left",
        "fine-tuning: done in 10 min",
    ]


def test_the_same_amount_done_once_more_is_no_new_work(capsys, clock):
    with show_progress() as watch:
        for done in (0, 0, 3, 3, 3):
            watch("reading", done, 3)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_quiet_shows_nothing(capsys, monkeypatch):
    monkeypatch.setattr(VOICE, "is_quiet", True)
    with show_progress() as watch:
        watch("reading", 0, 3)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (75, "75 s"), (125, "2.1 min"), (3000, "50 min")],
)
def test_a_time_is_told_in_the_unit_that_suits_it(seconds, said):
    assert format_time(seconds) == said
    assert format_time(2.5 * 3600) == "2.5 h"
