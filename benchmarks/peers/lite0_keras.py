"""EfficientNet-Lite0 in Keras, with the very weights that timm's has.

Keras' own applications have EfficientNet, but not Lite (Liu 2020), which is without squeeze and
excitation and has ReLU6.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import layers
from safetensors.numpy import load_file

# kernel, stride, expansion, channels, repeats: of EfficientNet-B0 (Tan and Le 2019, table 1)
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def build_lite0(laid: Path, height: int, width: int) -> keras.Model:
    """Photos [N, H, W, 3] with values in -1 to 1 in, pooled features [N, 1280] out.

    Layers are named as timm's, with "_" for "."; the weights are checked by torch's logits.
    """
    pixels = keras.Input((height, width, 3))
    x = _normalise(_convolve(pixels, 32, 3, 2, "conv_stem"), "bn1")
    for stage, (kernel, stride, expansion, channels, repeats) in enumerate(STAGES):
        for block in range(repeats):
            begin, name = x, f"blocks_{stage}_{block}"
            step = stride if block == 0 else 1
            if expansion > 1:
                x = _convolve(x, x.shape[-1] * expansion, 1, 1, f"{name}_conv_pw")
                x = _normalise(x, f"{name}_bn1")
            x = layers.DepthwiseConv2D(
                kernel, step, padding="same", use_bias=False, name=f"{name}_conv_dw"
            )(x)
            x = _normalise(x, f"{name}_{'bn2' if expansion > 1 else 'bn1'}")
            last = ("conv_pwl", "bn3") if expansion > 1 else ("conv_pw", "bn2")
            x = _convolve(x, channels, 1, 1, f"{name}_{last[0]}")
            x = _normalise(x, f"{name}_{last[1]}", activate=False)
            if step == 1 and begin.shape[-1] == channels:
                x = layers.Add(name=f"{name}_add")([begin, x])
    x = _normalise(_convolve(x, 1280, 1, 1, "conv_head"), "bn2")
    network = keras.Model(pixels, layers.GlobalAveragePooling2D()(x), name="lite0")
    _load(network, laid)
    return network


def _convolve(x: keras.KerasTensor, channels: int, kernel: int, stride: int, name: str):
    return layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=name)(x)


def _normalise(x: keras.KerasTensor, name: str, *, activate: bool = True):
    # torch's momentum of 0.1 is 0.9 in Keras
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)(x)
    return layers.ReLU(6.0, name=f"{name}_act")(x) if activate else x


def _load(network: keras.Model, laid: Path) -> None:
    saved = {
        name.replace(".", "_"): value
        for name, value in load_file(laid / "weights.safetensors").items()
        if not name.endswith("num_batches_tracked")
    }
    used = set()
    for layer in network.layers:
        if isinstance(layer, layers.DepthwiseConv2D):
            names, order = ("weight",), (2, 3, 0, 1)
        elif isinstance(layer, layers.Conv2D):
            names, order = ("weight",), (2, 3, 1, 0)
        elif isinstance(layer, layers.BatchNormalization):
            names, order = ("weight", "bias", "running_mean", "running_var"), (0,)
        else:
            continue
        own = [f"{layer.name}_{name}" for name in names]
        layer.set_weights([saved[name].transpose(order) for name in own])
        used.update(own)
    assert set(saved) - used == {"classifier_weight", "classifier_bias"}
    check = load_file(laid / "check.safetensors")
    features = network.predict(check["pixels"].transpose(0, 2, 3, 1), verbose=0)
    logits = features @ saved["classifier_weight"].T + saved["classifier_bias"]
    assert np.abs(logits - check["logits"]).max() < 1e-3 * np.abs(check["logits"]).max()
