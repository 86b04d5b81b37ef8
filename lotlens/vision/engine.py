"""A classifier made fast for answering: exported in memory to ONNX Runtime, checked, else torch.

It knows networks and arrays, not photos.
"""

from __future__ import annotations

import ctypes
import io
import logging
import sys
import warnings
from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from joblib import cpu_count

from lotlens.records import FloatArray
from lotlens.vision.classifier import Network
from lotlens.vision.distributed import processes_here

Engine = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""Prepared photos [N, 3, H, W] float32 in; logits [N, K] and features [N, F] float32 out."""

_WORTH_EXPORTING = 200
"""Below about this many photos the export takes longer than it saves (one second, measured)."""
_TOLERANCE = 1e-3
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


def build_engine(network: Network, height: int, width: int, *, num_photos: int) -> Engine:
    """A function that answers as `network` does in inference mode.

    On CPUs ONNX Runtime answers about twice as many photos per second as torch, because it folds
    BatchNorm and activations into the convolutions. The export is used only if its answers to
    random photos agree with torch's; else, and for few photos, torch answers itself.

    Args:
        network: put into inference mode; later changes of its weights may go unseen.
        height: of the photos to come, in pixels.
        width: likewise.
        num_photos: how many photos it will be asked about (an export takes about a second).
    """
    network.eval()
    if num_photos < _WORTH_EXPORTING or next(network.parameters()).device.type != "cpu":
        return _torch_engine(network)
    try:
        engine = _onnx_engine(network, height, width)
        probe = np.random.default_rng(0).standard_normal((2, 3, height, width), dtype=np.float32)
        for got, expected in zip(engine(probe), _torch_engine(network)(probe), strict=True):
            np.testing.assert_allclose(got, expected, rtol=_TOLERANCE, atol=_TOLERANCE)
    except (Exception, AssertionError) as error:
        # Exporters meet networks they cannot express, in many kinds of exception. Torch can.
        _log.info("answering with torch, the ONNX export failed: %s", error)
        return _torch_engine(network)
    return engine


def _torch_engine(network: Network) -> Engine:
    device = next(network.parameters()).device

    def answer(batch: FloatArray) -> tuple[FloatArray, FloatArray]:
        photos = torch.from_numpy(batch).to(device, memory_format=torch.channels_last)
        with torch.inference_mode():
            logits, features = network(photos)
        return logits.float().cpu().numpy(), features.float().cpu().numpy()

    return answer


def _onnx_engine(network: Network, height: int, width: int) -> Engine:
    model = io.BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but takes 1 s where its successor takes 6 to 12.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, height, width),),
            model,  # type: ignore[arg-type]  # takes a file object while dynamo=False
            dynamo=False,
            input_names=["photos"],
            output_names=["logits", "features"],
            dynamic_axes={name: {0: "N"} for name in ("photos", "logits", "features")},
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_count()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.getvalue(), options, providers=["CPUExecutionProvider"]
    )

    def answer(batch: FloatArray) -> tuple[FloatArray, FloatArray]:
        logits, features = session.run(None, {"photos": np.ascontiguousarray(batch)})
        return logits, features

    return answer
