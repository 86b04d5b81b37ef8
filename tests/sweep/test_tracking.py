"""MLflow, where it is installed: every run once, nothing global changed, not a word said."""

import json
import logging
import os
import sys
import types
import warnings

import pytest

from lotlens.errors import OutputError
from lotlens.records import CarClass, ImageSpec, Metric, ModelCard
from lotlens.run import RunFolder
from lotlens.sweep.tracking import is_tracking_installed, log_run

TELEMETRY = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")


@pytest.fixture
def run(tmp_path):
    """A finished run's small files."""
    folder = RunFolder.create(tmp_path / "optimiser-adam-seed-0")
    recipe = {"name": "tiny", "seed": 0, "views": [], "stages": [{"lr": 0.1, "sizes": [[1, 2]]}]}
    folder.write_recipe(recipe)
    folder.write_history([{"epoch": 1, "validation_accuracy": 0.5, "note": "x"}, {"epoch": 2}])
    folder.write_card(
        ModelCard(
            1,
            "0.1.0",
            (CarClass("0", "A"),),
            ImageSpec(32, 32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
            "lite0",
            recipe,
            "f" * 64,
            chosen="probe; because",
            metrics=(Metric("accuracy, unanswered as wrong", 0.5, 0.4, 0.6, 10),),
            weights_sha256="abc",
        )
    )
    return folder


class FakeClient:
    """Remembers what it is told, as MLflow's own client would."""

    def __init__(self):
        self.runs, self.calls, self.environment = [], [], None

    def __call__(self, tracking_uri):
        self.calls.append(("open", tracking_uri))
        self.environment = [os.environ.get(key) for key in TELEMETRY]
        warnings.warn("a warning of MLflow", stacklevel=1)
        logging.getLogger("mlflow").warning("chatter")
        return self

    def get_experiment_by_name(self, name):
        return None if not self.runs else types.SimpleNamespace(experiment_id="1")

    def create_experiment(self, name, artifact_location):
        self.calls.append(("experiment", name, artifact_location))
        return "1"

    def search_runs(self, ids, filter_string):
        name = filter_string.split("'")[1]
        return [run for run in self.runs if run.data.tags["lotlens.run"] == name]

    def create_run(self, experiment_id, tags, run_name):
        info = types.SimpleNamespace(run_id=str(len(self.runs)), start_time=7, status="RUNNING")
        self.runs.append(types.SimpleNamespace(info=info, data=types.SimpleNamespace(tags=tags)))
        return self.runs[-1]

    def delete_run(self, id_):
        self.runs = [run for run in self.runs if run.info.run_id != id_]

    def log_batch(self, id_, params=(), metrics=()):
        self.calls += [("param", *param) for param in params]
        self.calls += [("metric", *metric) for metric in metrics]

    def log_artifact(self, id_, path):
        self.calls.append(("artifact", os.path.basename(path)))

    def set_terminated(self, id_, status):
        next(run for run in self.runs if run.info.run_id == id_).info.status = status


@pytest.fixture
def client(monkeypatch):
    """MLflow replaced by a client that only remembers."""
    fake = FakeClient()
    module, entities = types.ModuleType("mlflow"), types.ModuleType("mlflow.entities")
    entities.Param = lambda key, value: (key, value)
    entities.Metric = lambda key, value, timestamp, step: (key, value, step)
    module.MlflowClient, module.entities = fake, entities
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return fake


def test_a_run_is_logged_once_and_quietly(run, client, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DO_NOT_TRACK", "mine")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    store = tmp_path / "mlflow.db"
    assert is_tracking_installed()
    assert log_run(store, "my sweep", run, {"optimiser": "adam"})
    assert client.environment == ["true", "true"]
    assert [os.environ.get(key) for key in TELEMETRY] == [None, "mine"]
    assert not caplog.records
    assert ("open", f"sqlite:///{store.as_posix()}") in client.calls
    assert ("experiment", "my sweep", (tmp_path / "mlflow-artifacts").as_uri()) in client.calls
    assert ("param", "stages.0.lr", "0.1") in client.calls
    assert ("param", "vary optimiser", "adam") in client.calls
    assert ("param", "seed", "0") in client.calls
    assert ("metric", "accuracy- unanswered as wrong", 0.5, 0) in client.calls
    assert ("metric", "history/validation_accuracy", 0.5, 1) in client.calls
    assert ("metric", "history/epoch", 2.0, 2) in client.calls
    assert not [c for c in client.calls if "note" in str(c[1])]
    assert ("artifact", "recipe.yaml") in client.calls
    tags = client.runs[0].data.tags
    assert tags["lotlens.path"] == str(run.path)
    assert tags["lotlens.version"] == "0.1.0"
    assert not log_run(store, "my sweep", run)
    assert len(client.runs) == 1


def test_half_a_run_is_replaced_and_a_new_model_is_a_new_run(run, client, tmp_path):
    log_run(tmp_path / "mlflow.db", "s", run)
    client.runs[0].info.status = "RUNNING"
    assert log_run(tmp_path / "mlflow.db", "s", run)
    assert [found.info.status for found in client.runs] == ["FINISHED"]
    card = json.loads(run.card_path.read_text("utf-8"))
    run.card_path.write_text(json.dumps({**card, "weights_sha256": "0123"}), "utf-8")
    assert log_run(tmp_path / "mlflow.db", "s", run)
    assert len(client.runs) == 2


def test_what_goes_wrong_in_mlflow_is_one_line(run, client, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("locked\nand more")

    monkeypatch.setattr(client, "create_experiment", fail)
    with pytest.raises(OutputError, match=r"mlflow\.db: locked; move the store away"):
        log_run(tmp_path / "mlflow.db", "s", run)


def test_without_mlflow_nothing_happens(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "mlflow.entities", raising=False)
    assert not is_tracking_installed()
    assert not log_run(tmp_path / "store" / "mlflow.db", "s", run)
    assert not (tmp_path / "store").exists()


def test_the_real_mlflow(run, tmp_path, capfd, monkeypatch):
    pytest.importorskip("mlflow", reason="lotlens[track] is not installed")
    monkeypatch.chdir(tmp_path)
    import mlflow

    before = mlflow.get_tracking_uri()
    store = tmp_path / "out" / "mlflow.db"
    assert log_run(store, "my sweep", run, {"optimiser": "adam"})
    assert not log_run(store, "my sweep", run, {"optimiser": "adam"})
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    assert mlflow.get_tracking_uri() == before
    assert {path.name for path in tmp_path.iterdir()} == {run.path.name, "out"}
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{store}")
    experiment = client.get_experiment_by_name("my sweep")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.params["vary optimiser"] == "adam"
    assert found.data.metrics["accuracy- unanswered as wrong"] == 0.5
    assert found.data.tags["lotlens.run"] == run.path.name
    assert [step.step for step in client.get_metric_history(found.info.run_id, "history/epoch")]
    assert {item.path for item in client.list_artifacts(found.info.run_id)} == {
        "history.csv",
        "recipe.yaml",
    }
