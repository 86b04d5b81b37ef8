"""Exported networks answer here, by ONNX Runtime or OpenVINO; it knows neither photos nor torch."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lotlens.answering.protobuf import check_self_contained
from lotlens.errors import BundleError, shorten
from lotlens.extras import import_extra
from lotlens.records import CarLocator, FloatArray, ModelCard
from lotlens.threads import map_ahead

Answers = tuple[FloatArray, FloatArray]
EngineName = Literal["onnx", "openvino"]
INPUT, OUTPUTS = "photos", ("logits", "features")
"""What an exported network's input and outputs are called."""
SMALL_BATCH = 8
"""Photos that a CPU had best be asked about at once: as fast as 32, in a quarter of the memory
(measured, docs/LOG.md); where several threads answer, none waits long for the others at the end."""
_WORTH_STREAMS = 16
"""From so many photos several threads answer, each on a core; below, one call has all cores."""


@dataclass(frozen=True)
class Engine:
    """A network that answers.

    Attributes:
        answer: prepared photos [N, 3, H, W] float32 in; logits [N, K] and features [N, F] out.
        num_streams: how many threads may call it at the same time, each of which keeps one core
            busy; 1 where a single call uses all cores.
        frame: (height, width) of the photos that it takes; None if it takes others too, or does
            not say.
        batch_size: photos that it had best be asked about at once.
    """

    answer: Callable[[FloatArray], Answers]
    num_streams: int = 1
    frame: tuple[int, int] | None = None
    batch_size: int = SMALL_BATCH

    def __call__(self, batch: FloatArray) -> Answers:
        return self.answer(batch)

    def map(self, batches: Iterable[FloatArray]) -> Iterator[Answers]:
        """Answers to batches in their order, with all streams at work; few batches wait."""
        if self.num_streams == 1:
            yield from map(self.answer, batches)
            return
        yield from map_ahead(
            self.answer,
            batches,
            num_threads=self.num_streams,
            num_ahead=2 * self.num_streams,
            name="engine",
        )


class EnginePredictor:
    """Answers of an engine, as the `Predictor` protocol asks.

    Args:
        engine: the network.
        card: what belongs to it.
        locate: finds the car in photos, where the card says that it is found first.
    """

    def __init__(self, engine: Engine, card: ModelCard, locate: CarLocator | None = None) -> None:
        self._engine, self._card, self._locate = engine, card, locate

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def num_streams(self) -> int:
        return self._engine.num_streams

    @property
    def batch_size(self) -> int:
        return self._engine.batch_size

    @property
    def locate(self) -> CarLocator | None:
        return self._locate

    def __call__(self, batch: FloatArray) -> Answers:
        """Prepared photos [N, 3, H, W] in; logits [N, K] and features [N, F] out."""
        return self._engine(batch)


def count_streams(num_photos: int) -> int:
    """How many threads had best answer for so many photos."""
    if num_photos < _WORTH_STREAMS:
        return 1
    from joblib import cpu_count  # slow to import, and a single photo does without

    return int(cpu_count())


def silence_onnxruntime() -> None:
    """Have onnxruntime send nothing to anybody, unless the user has decided about that.

    To be called before the first import of onnxruntime. Since 1.29 its wheels for Linux and macOS
    start a thread that uploads events, and keep a number for the machine in the user's cache. Who
    gave photos to lotlens has agreed to neither; and the thread has been seen elsewhere to abort
    processes at their very end.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def open_onnx(model: bytes, *, num_streams: int = 1, outputs: tuple[str, str] = OUTPUTS) -> Engine:
    """A session of ONNX Runtime on the CPU.

    Many streams of one thread each answer more photos per second than calls of many threads,
    which wait for one another in every layer; a single call is faster with all the cores.

    Args:
        model: an ONNX file's bytes, with INPUT and `outputs`.
        num_streams: threads that will call it; with 1 each call takes all cores.
        outputs: what its two outputs are called.

    Raises:
        BundleError: it is no such network, or it leads to other files.
    """
    try:
        check_self_contained(model)
    except ValueError as error:
        raise BundleError(f"ONNX Runtime cannot use the network: {error}") from error
    silence_onnxruntime()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # 0 is onnxruntime's own choice: one per core that the process may use.
    options.intra_op_num_threads = 1 if num_streams > 1 else 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # It has a format of its own, which was not looked through.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Threads that spin after an answer take the cores from what comes next: numpy's took 40 ms
    # instead of 2 to measure how familiar a photo is.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # CPUs without VNNI add pairs of eight-bit products in 16 bits, which overflow and answer
    # wrongly; with this they, and they alone, take a slower way that does not (U8U8; ONNX Runtime,
    # onnxruntime_session_options_config_keys.h).
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a kind of its own for each of its codes
        raise BundleError(f"ONNX Runtime cannot use the network: {_first_line(error)}") from error
    given = session.get_inputs()
    _check_names([i.name for i in given], [o.name for o in session.get_outputs()], outputs)
    kinds = {one.type for one in (*given, *session.get_outputs())}
    if kinds != {"tensor(float)"}:
        raise BundleError(
            f"the network takes or gives something else than numbers of 32 bits: {sorted(kinds)}"
        )
    frame = tuple(given[0].shape[2:])

    def answer(batch: FloatArray) -> Answers:
        try:
            first, second = session.run(outputs, {INPUT: np.ascontiguousarray(batch)})
        except Exception as error:
            raise BundleError(
                f"ONNX Runtime cannot use the network: {_first_line(error)}"
            ) from error
        return first, second

    is_fixed = len(frame) == 2 and all(isinstance(side, int) for side in frame)
    return Engine(answer, num_streams, frame if is_fixed else None)


def open_openvino(model: bytes, weights: bytes, *, num_streams: int = 1) -> Engine:
    """A network compiled by OpenVINO for the CPU, with the precision that its file has.

    Args:
        model: the .xml file's bytes.
        weights: the .bin file's bytes.
        num_streams: threads that will call it; with 1 each call takes all cores.

    Raises:
        BundleError: it is no such network.
        MissingExtra: openvino is not installed.
    """
    openvino = import_extra("openvino", "openvino")
    _check_xml(model)
    settings: dict[str, Any] = {
        "NUM_STREAMS": num_streams,
        # Left alone, it computes in bfloat16 where the CPU can, and answers otherwise than checked.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if num_streams > 1:
        settings["INFERENCE_NUM_THREADS"] = num_streams
    try:
        core = openvino.Core()
        network = core.read_model(model, weights)
        _check_names(
            [one.get_any_name() for one in network.inputs],
            [one.get_any_name() for one in network.outputs],
        )
        compiled = core.compile_model(network, "CPU", settings)
    except RuntimeError as error:
        raise BundleError(f"OpenVINO cannot use the network: {_first_line(error)}") from error
    own = threading.local()

    def answer(batch: FloatArray) -> Answers:
        if not hasattr(own, "request"):  # one may not be asked twice at the same time
            own.request = compiled.create_infer_request()
        request: Any = own.request
        request.infer({INPUT: np.ascontiguousarray(batch)})
        # Copied: the request writes its next answers over these.
        logits, features = (request.get_tensor(name).data.copy() for name in OUTPUTS)
        return logits, features

    return Engine(answer, num_streams)


def convert_to_openvino(model: bytes, metadata: Mapping[str, str]) -> tuple[bytes, bytes]:
    """An ONNX file as OpenVINO's two: the .xml and the .bin, with these entries among its notes.

    Raises:
        BundleError: OpenVINO cannot express the network.
        MissingExtra: openvino is not installed.
    """
    openvino = import_extra("openvino", "openvino")
    with tempfile.TemporaryDirectory(prefix="lotlens-") as name:
        source, target = Path(name) / "model.onnx", Path(name) / "model.xml"
        source.write_bytes(model)
        try:
            network = openvino.Core().read_model(source)
            for key, value in metadata.items():
                network.set_rt_info(value, key)
            openvino.save_model(network, target, compress_to_fp16=False)
        except RuntimeError as error:
            raise BundleError(f"OpenVINO cannot use the network: {_first_line(error)}") from error
        return target.read_bytes(), target.with_suffix(".bin").read_bytes()


def _check_xml(model: bytes) -> None:
    """Make sure that a network is plain XML: OpenVINO reads ONNX and others in its place too.

    Raises:
        BundleError: it is something else, or has entities, which may name other files.
    """
    if not model.lstrip()[:5].startswith((b"<?xml", b"<net")) or b"\0" in model:
        raise BundleError("OpenVINO cannot use the network: it is no XML file of OpenVINO")
    if re.search(rb"<!\s*(?:doctype|entity)", model, re.IGNORECASE):
        raise BundleError(
            "OpenVINO cannot use the network: its XML has entities, which are not read"
        )


def _check_names(inputs: list[str], outputs: list[str], wanted: tuple[str, str] = OUTPUTS) -> None:
    if inputs != [INPUT] or sorted(outputs) != sorted(wanted):
        made = ": it was not exported by lotlens" if wanted == OUTPUTS else ""
        raise BundleError(
            f"the network takes {inputs} and gives {outputs}, not [{INPUT!r}] and {[*wanted]}{made}"
        )


def _first_line(error: Exception) -> str:
    return shorten((str(error).strip().splitlines() or [type(error).__name__])[0])
