"""A checkpoint is read as it was written, or refused in one line."""

import json

import pytest

from lotlens.errors import BundleError
from lotlens.vision.classifier import build_classifier
from lotlens.vision.state import Candidate, State


@pytest.fixture
def classifier(tiny_backbone):
    return build_classifier(tiny_backbone, 3)


@pytest.fixture
def folder(classifier, tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    state = State(1, [Candidate("probe", 0.5, 1.0)], history=[{"stage": 1, "epoch": 1}])
    state.save(folder, classifier)
    return folder


def test_a_checkpoint_comes_back(folder, classifier):
    state = State.load(folder, classifier)
    assert (state.next_stage, state.chosen.name, state.is_tuned) == (1, "probe", False)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "../stage-0.safetensors"},
        {"weights": "/etc/passwd"},
        {"weights": "stages.json"},
        {"weights": None},
        {"next_stage": -1},
        {"next_stage": "1"},
        {"candidates": [{"name": "probe"}]},
        {"candidates": 5},
        {"history": [5]},
        {"history": None},
        {"is_tuned": "no"},
    ],
)
def test_damaged_checkpoints_are_bundle_errors(folder, classifier, change):
    path = folder / "stages.json"
    (folder.parent / "stage-0.safetensors").write_bytes(
        (folder / "stage-0.safetensors").read_bytes()
    )
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BundleError, match="train anew without --resume") as caught:
        State.load(folder, classifier)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff", b"[" * 5000])
def test_files_that_are_no_checkpoints(folder, classifier, content):
    (folder / "stages.json").write_bytes(content)
    with pytest.raises(BundleError, match="train anew without --resume"):
        State.load(folder, classifier)
