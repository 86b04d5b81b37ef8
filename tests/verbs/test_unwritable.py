"""A result that could not be written is refused before the work, by every verb that writes one."""

import shutil
from functools import partial

import pytest

import lotlens
from lotlens.deliver import model as models
from lotlens.errors import OutputError
from lotlens.verbs.doubts import doubt
from lotlens.verbs.export import export
from lotlens.verbs.improve import improve
from lotlens.verbs.sample import draw_sample


def refuse(*_):
    raise AssertionError("work began")


@pytest.fixture
def file(tmp_path):
    """A file, in which no folder can be made."""
    path = tmp_path / "file"
    path.write_text("x")
    return path


@pytest.mark.parametrize(
    "ask",
    [
        lambda lot, path: lotlens.run_audit(lot, out=path),
        lambda lot, path: lotlens.split(lot, path / "split.csv"),
        lambda lot, path: lotlens.train(lot, out=path / "run"),
        lambda lot, path: lotlens.train(lot, out=path.parent / "r", split_path=path / "split.csv"),
        lambda lot, path: lotlens.plan(lot, plot=path / "rate.svg"),
        lambda lot, path: lotlens.find_rate(lot, out=path / "rate.svg"),
        lambda lot, path: lotlens.run_sweep(lot, ["optimiser=adam,nadam"], out=path / "sweep"),
        lambda lot, path: lotlens.demonstrate(path),
        lambda lot, path: lotlens.show_batch(lot, "quick", out=path / "batch.jpg"),
        lambda lot, path: draw_sample(path.parent / "new", sheet=path / "sheet.png"),
    ],
)
def test_verbs_on_data(small_lot, tmp_path, file, monkeypatch, ask):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="part of the path is a file"):
        ask(small_lot, file)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def ask_predict(run, path, name):
    lotlens.predict(run, **{name: path / "x.csv"})


@pytest.mark.parametrize(
    "ask",
    [
        partial(ask_predict, name="out"),
        partial(ask_predict, name="details"),
        lambda run, path: lotlens.evaluate(run, report=path / "report.html"),
        lambda run, path: export(run, out=path / "bundle"),
        lambda run, path: improve(run, hard=True, out=path / "run"),
        lambda run, path: lotlens.build_ensemble([run, run], path / "run"),
    ],
)
def test_verbs_on_runs(tiny_run, file, monkeypatch, ask):
    monkeypatch.setattr(models.Model, "open", refuse)
    with pytest.raises(OutputError, match="part of the path is a file"):
        ask(tiny_run.path, file)


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("report.html", lotlens.evaluate),
        ("metrics.json", lotlens.evaluate),
        ("doubts.csv", doubt),
        ("rounds.csv", partial(improve, hard=True)),
        ("card.json", lotlens.adopt_views),
        ("card.json", lotlens.set_refusal),
    ],
)
def test_verbs_that_write_into_a_run(tiny_run, tmp_path, monkeypatch, name, ask):
    """Where something else lies in the place of a file, or the folder is not to be written to."""
    run = shutil.copytree(tiny_run.path, tmp_path / "run")
    monkeypatch.setattr(models.Model, "open", refuse)
    if name == "card.json":
        monkeypatch.setattr("lotlens.files.tempfile.TemporaryFile", fail)
        words = "permission denied"
    else:
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir()
        words = "it is a folder"
    with pytest.raises(OutputError, match=words):
        ask(run)


def fail(**where):
    raise PermissionError(13, "Permission denied", str(where["dir"]))
