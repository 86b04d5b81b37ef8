"""The time left, as it is told in a log."""

from types import SimpleNamespace

from lotlens.cli import progress as progress_module
from lotlens.cli.progress import show_progress


def test_the_time_left_is_that_of_the_stage_at_hand(capsys, monkeypatch):
    now_s = 0.0
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: now_s))
    with show_progress() as watch:
        for seconds_a_step in (20, 60):
            for done in range(1, 12):
                watch("fine-tuning", done, 11)
                now_s += seconds_a_step
    told = capsys.readouterr().err.splitlines()
    assert told.count("fine-tuning: 1 of 11") == 2
    assert "fine-tuning: 6 of 11, 1.7 min left" in told
    assert "fine-tuning: 6 of 11, 5.0 min left" in told
