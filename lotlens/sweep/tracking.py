"""Finished runs in a local MLflow store, where MLflow is installed; it knows run folders alone."""

from __future__ import annotations

import importlib
import logging
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lotlens.errors import InputError, OutputError
from lotlens.locks import hold
from lotlens.run import RunFolder

_RUN_TAG = "lotlens.run"
_WEIGHTS_TAG = "lotlens.weights"
_FINISHED = "FINISHED"
_LONGEST_VALUE = 500
_MOST_PARAMS = 100
_MOST_METRICS = 1000
_PATIENCE_S = 300.0  # a new store takes half a minute to be made on a slow disk
_NO_TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def is_tracking_installed() -> bool:
    """Whether MLflow is there; it is imported, which takes seconds.

    Raises:
        OutputError: it is there, but broken.
    """
    with _quiet_mlflow():
        return _import_mlflow() is not None


def log_run(
    store_path: Path, experiment: str, run: RunFolder, values: Mapping[str, str] | None = None
) -> bool:
    """Write a finished run into a local SQLite store of MLflow, once.

    Params are the resolved recipe with flat keys ("stages.1.lr") and, as "vary KEY", what was
    varied; metrics the final ones with their intervals ("accuracy", "accuracy.low") and, per look
    at validation, the history ("history/validation_accuracy"); artifacts recipe.yaml and
    history.csv. No global tracking address is set, and MLflow's telemetry is off meanwhile.

    Args:
        store_path: the SQLite file; artifacts lie beside it in mlflow-artifacts/.
        experiment: its name; made if it is not there.
        run: finished.
        values: varied key -> value.

    Returns:
        True if it was written; False without MLflow, or if the same model of this run folder is
        there already. What an interrupted call left is replaced.

    Raises:
        BundleError: the run is damaged.
        OutputError: MLflow cannot write the store.
    """
    card, history = run.read_card(), run.read_history()
    tags = {
        _RUN_TAG: run.path.name,
        _WEIGHTS_TAG: card.weights_sha256,
        "lotlens.path": str(run.path.resolve()),
        "lotlens.version": card.lotlens_version,
        "lotlens.chosen": card.chosen,
    }
    params = {**_flatten(card.recipe), **{f"vary {k}": v for k, v in (values or {}).items()}}
    figures: list[tuple[str, float, int]] = []
    for metric in card.metrics:
        for ending, value in (("", metric.value), (".low", metric.low), (".high", metric.high)):
            figures.append((f"{metric.name}{ending}", value, 0))
    figures += [(key, seconds, 0) for key, seconds in run.read_timing().items()]
    for step, row in enumerate(history, start=1):
        figures += [(f"history/{key}", _read_number(value), step) for key, value in row.items()]
    with _quiet_mlflow():
        mlflow = _import_mlflow()
        if mlflow is None:
            return False
        try:
            # Of two that log a run at once each would find that it is not there.
            with hold(store_path, "sweep", wait_s=_PATIENCE_S):
                client = mlflow.MlflowClient(tracking_uri=_store_uri(store_path))
                entities = mlflow.entities
                return _log(client, entities, experiment, store_path, run, tags, params, figures)
        except OutputError:
            raise
        except InputError as error:  # somebody else holds it
            raise OutputError(str(error)) from error
        except Exception as error:
            # MLflow lets errors of SQLAlchemy and Alembic through, which are no part of ours.
            reason = (str(error).strip().splitlines() or [repr(error)])[0]
            raise OutputError(
                f"cannot log {run.path} to the MLflow store {store_path}: {reason}; move the store"
                " away to begin a new one"
            ) from error


def _log(
    client: Any,
    entities: Any,
    experiment: str,
    store_path: Path,
    run: RunFolder,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    figures: Sequence[tuple[str, float, int]],
) -> bool:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        artifacts = (store_path.parent / "mlflow-artifacts").resolve().as_uri()
        experiment_id = client.create_experiment(experiment, artifact_location=artifacts)
    else:
        experiment_id = found.experiment_id
    same_folder = f"tags.`{_RUN_TAG}` = '{run.path.name}'"
    for earlier in client.search_runs([experiment_id], filter_string=same_folder):
        is_whole = earlier.info.status == _FINISHED
        if is_whole and earlier.data.tags.get(_WEIGHTS_TAG) == tags[_WEIGHTS_TAG]:
            return False
        if not is_whole:
            client.delete_run(earlier.info.run_id)
    made = client.create_run(experiment_id, tags=dict(tags), run_name=run.path.name)
    id_, now_ms = made.info.run_id, made.info.start_time
    listed = [entities.Param(_clean(key), value[:_LONGEST_VALUE]) for key, value in params.items()]
    for begin in range(0, len(listed), _MOST_PARAMS):
        client.log_batch(id_, params=listed[begin : begin + _MOST_PARAMS])
    numbers = [
        entities.Metric(_clean(key), value, now_ms, step)
        for key, value, step in figures
        if math.isfinite(value)
    ]
    for begin in range(0, len(numbers), _MOST_METRICS):
        client.log_batch(id_, metrics=numbers[begin : begin + _MOST_METRICS])
    for path in (run.recipe_path, run.history_path):
        if path.is_file():
            client.log_artifact(id_, str(path))
    client.set_terminated(id_, _FINISHED)
    return True


@contextmanager
def _quiet_mlflow() -> Iterator[None]:
    """No telemetry, no warnings and no chatter from MLflow; all as it was afterwards."""
    before = {key: os.environ.get(key) for key in _NO_TELEMETRY}
    # MLflow sets its own loggers' levels when it is imported; this holds for all of them.
    disabled = logging.root.manager.disable
    os.environ.update(_NO_TELEMETRY)
    logging.disable(max(disabled, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _import_mlflow() -> Any:
    """MLflow, or None if it is not installed.

    Raises:
        OutputError: it is there, but broken.
    """
    try:
        mlflow = importlib.import_module("mlflow")
        importlib.import_module("mlflow.entities")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "mlflow":
            return None
        raise OutputError(f"MLflow is installed but cannot be imported: {error}") from error
    return mlflow


def _store_uri(path: Path) -> str:
    return f"sqlite:///{path.resolve().as_posix()}"


def _flatten(values: Any, prefix: str = "") -> dict[str, str]:
    """{"stages.1.lr": "0.002"}: leaves by their path, as text."""
    if isinstance(values, Mapping):
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, (list, tuple)) and any(isinstance(v, Mapping) for v in values):
        items = [(str(number), value) for number, value in enumerate(values)]
    else:
        return {prefix: str(values)}
    flat = {}
    for key, value in items:
        flat.update(_flatten(value, f"{prefix}.{key}" if prefix else key))
    return flat


def _clean(key: str) -> str:
    """MLflow allows letters, digits, and a few signs in names."""
    return re.sub(r"[^\w\-. /]", "-", key)


def _read_number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan
