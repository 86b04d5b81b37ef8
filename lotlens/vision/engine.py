"""A classifier made fast for answering: exported to ONNX in memory, checked, else torch.

It knows networks and arrays, not photos.
"""

from __future__ import annotations

import copy
import ctypes
import io
import logging
import sys
import warnings
from typing import Any

import numpy as np
import torch
from joblib import cpu_count
from timm.layers.conv2d_same import Conv2dSame, Conv2dSameExport
from torch import Tensor, nn

from lotlens.answering.engines import INPUT, OUTPUTS, SMALL_BATCH, Answers, Engine, open_onnx
from lotlens.records import FloatArray
from lotlens.vision.distributed import processes_here

WORTH_EXPORTING = 200
"""Below about this many photos the export takes longer than it saves (one second, measured)."""
_TOLERANCE = 1e-3
_OPSET = 17
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 1 << 30
_log = logging.getLogger(__name__)


def tune_process() -> None:
    """Give torch the cores that this process may use, and let it keep freed memory.

    torch's own default for threads ignores containers' limits. And glibc hands large blocks back
    to the system as soon as they are freed: a third of the training time went into fetching the
    same pages anew in every step. Keeping them makes training 1.2 to 1.5 times faster (measured,
    docs/LOG.md) at the cost of holding on to the peak.
    """
    # Of several processes on a machine each takes its share of the cores.
    torch.set_num_threads(max(1, cpu_count() // processes_here()))
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
            mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def build_engine(network: nn.Module, height: int, width: int, *, num_photos: int) -> Engine:
    """A function that answers as `network` does in inference mode.

    On CPUs ONNX Runtime answers about twice as many photos per second as torch, because it folds
    BatchNorm and activations into the convolutions. The export is used only if its answers to
    random photos agree with torch's; else, and for few photos, torch answers itself.

    Args:
        network: gives logits and features, as a classifier does; put into inference mode; later
            changes of its weights may go unseen.
        height: of the photos to come, in pixels.
        width: likewise.
        num_photos: how many photos it will be asked about (an export takes about a second).
    """
    network.eval()
    plain = build_torch_engine(network)
    if num_photos < WORTH_EXPORTING or next(network.parameters()).device.type != "cpu":
        return plain
    try:
        model = export_onnx(network, height, width)
        engine = open_onnx(model, num_streams=max(1, cpu_count() // processes_here()))
        probe = np.random.default_rng(0).standard_normal((2, 3, height, width), dtype=np.float32)
        for got, expected in zip(engine(probe), plain(probe), strict=True):
            np.testing.assert_allclose(got, expected, rtol=_TOLERANCE, atol=_TOLERANCE)
    except (Exception, AssertionError) as error:
        # Exporters meet networks they cannot express, in many kinds of exception. Torch can.
        _log.info("answering with torch, the ONNX export failed: %s", error)
        return plain
    return engine


def choose_batch_size(network: nn.Module) -> int:
    """Photos that a network had best answer at once.

    On a CPU few of them are answered as fast as many, in a quarter of the memory: 8 for 32 take
    0.93 of the time by ONNX Runtime and the same by torch, on two cores (measured, docs/LOG.md).
    """
    return SMALL_BATCH if next(network.parameters()).device.type == "cpu" else 32


def build_torch_engine(network: nn.Module) -> Engine:
    """The network itself, called by one thread at a time, which takes all cores."""
    device = next(network.parameters()).device

    def answer(batch: FloatArray) -> Answers:
        photos = torch.from_numpy(batch).to(device, memory_format=torch.channels_last)
        with torch.inference_mode():
            logits, features = network(photos)
        return logits.float().cpu().numpy(), features.float().cpu().numpy()

    return Engine(answer, batch_size=choose_batch_size(network))


def export_onnx(network: nn.Module, height: int, width: int, *, any_size: bool = False) -> bytes:
    """The network in inference mode as an ONNX file, for batches of any size.

    Args:
        network: gives logits and features, as a classifier does; put into inference mode.
        height: of the photos to come, in pixels.
        width: likewise.
        any_size: photos of other sizes may come too, for which the convolutions must pad alike.

    Raises:
        Exception: of whatever kind, if the exporter cannot express the network.
    """
    network.eval()
    photos = torch.zeros(2, 3, height, width, device=next(network.parameters()).device)
    fixed = _fix_padding(network, photos)
    model = io.BytesIO()
    axes: dict[str, dict[int, str]] = {name: {0: "N"} for name in (INPUT, *OUTPUTS)}
    if any_size:
        axes[INPUT] |= {2: "H", 3: "W"}
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but takes 1 s where its successor takes 6 to 12.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            fixed,
            (photos,),
            model,  # type: ignore[arg-type]  # takes a file object while dynamo=False
            dynamo=False,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=[*OUTPUTS],
            dynamic_axes=axes,
        )
    return model.getvalue()


def _fix_padding(network: nn.Module, photos: Tensor) -> nn.Module:
    """A copy whose convolutions pad for photos of that size, instead of computing how each time.

    TensorFlow's "same" padding depends on the size of the input. Computed within the graph it takes
    fifty small nodes, and keeps engines from joining the padding, and what comes before it, with
    the convolution.
    """
    copied = copy.deepcopy(network)
    same = [module for module in copied.modules() if type(module) is Conv2dSame]
    module: Any
    for module in same:
        module.__class__ = Conv2dSameExport
        module.pad = None
    with torch.inference_mode():
        copied(photos)  # each remembers the padding for the size that it meets
    return copied
