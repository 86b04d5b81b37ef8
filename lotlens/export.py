"""A run becomes a bundle that answers without torch, if its answers are the same; prints nothing.

The network goes to ONNX, and from there to eight bits or OpenVINO where that is asked for. What was
written answers photos of the run, and others that are easy to get wrong, through the very code that
users will run; it is kept only if it answers as torch did.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from lotlens.api import list_learnt, open_own_data
from lotlens.audit.split import list_held_out
from lotlens.deliver.parity import COLUMNS, EXACT, ROUGH, Limits, Parity, check_parity
from lotlens.deliver.quantise import quantise, rank_groups, write_metadata
from lotlens.engines import EngineName, convert_to_openvino
from lotlens.errors import BundleError, InputError, OutputError, UnreadablePhoto
from lotlens.extras import import_vision
from lotlens.files import write_bytes_atomically, write_rows_atomically
from lotlens.judge.familiarity import Reference
from lotlens.model import Model, answer_by, load
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decode
from lotlens.photos.nasty import draw_nasty
from lotlens.photos.prepare import decode_size
from lotlens.photos.sources import open_photos
from lotlens.records import (
    Catalog,
    FloatArray,
    ModelCard,
    Predictions,
    Predictor,
    Watcher,
    watch_part,
)
from lotlens.run import RunFolder, hash_files

Precision = Literal["fp32", "int8"]
_MOST_CHECKED = 500
_MOST_CALIBRATED = 128
_BATCH = 8
_MOST_KEPT = 4
"""Groups of layers that keep 32 bits at most: with more, eight bits gain too little."""


@dataclass(frozen=True)
class Exported:
    """A bundle that was exported.

    Attributes:
        path: its folder.
        card: its model card.
        parity: how its answers were compared with torch's.
        limits: what they might differ by.
        kept: names of nodes that keep 32 bits, of an "int8" one.
        num_bytes: of the network's files.
    """

    path: Path
    card: ModelCard
    parity: Parity
    limits: Limits
    kept: tuple[str, ...]
    num_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "path": str(self.path),
            "engine": self.card.engine,
            "precision": self.card.precision,
            "bytes": self.num_bytes,
            "kept": list(self.kept),
            **self.parity.to_dict(),
        }


def export(
    run: Path | str,
    *,
    engine: str = "onnx",
    precision: str = "fp32",
    out: Path | str | None = None,
    limits: Limits | None = None,
    watch: Watcher | None = None,
) -> Exported:
    """Write a run's model for ONNX Runtime or OpenVINO, if it answers there as it did.

    The answers are compared photo by photo: up to 500 photos of the run that it held out of
    training, and photos made to be read wrongly (grey, rotated by EXIF, tiny, huge, HEIC and
    others; see `photos.nasty`). Eight bits are tried for all layers but the head first, and then
    with one group of layers after the other in 32 bits, those first that are worth most, until the
    answers are good enough.

    Args:
        run: a run folder with weights of its own.
        engine: "onnx" or "openvino".
        precision: "fp32" or "int8".
        out: the folder to write; None for exports/ENGINE-PRECISION in the run.
        limits: what answers may differ by; None for `parity.EXACT`, or `parity.ROUGH` for "int8",
            whose network in 32 bits must hold to `EXACT` all the same.
        watch: told of the work as it goes on.

    Raises:
        InputError: an unknown engine or precision, an ensemble of runs, a folder that is there.
        BundleError: the export answers otherwise: nothing is written, and the error says which
            photos differ; or the run is damaged, or its data have changed.
        MissingExtra: lotlens[train] is not installed, or lotlens[openvino] for OpenVINO.
        OutputError: the folder cannot be written.
    """
    model = load(run)
    _check_asked(model, engine, precision)
    target = model.run.exports_path / f"{engine}-{precision}" if out is None else Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} is already there: remove it, or name another folder with --out")
    lot, split = open_own_data(model)
    network, card = import_vision("bundle").load_bundle(model.run)
    held_out = lot.train.select(_spread(list_held_out(split), _MOST_CHECKED))
    plain = import_vision("predictor").ClassifierPredictor(network, card)  # torch itself
    image = card.image
    with tempfile.TemporaryDirectory(prefix="lotlens-") as name:
        made = _draw_made(held_out, card, Path(name))
        before = _ask(plain, model.read_references(), held_out, made, watch, "asking the run")
        bench = _Bench(model, replace(card, engine=engine), held_out, made, before, target, watch)
        onnx: bytes = import_vision("engine").export_onnx(network, image.height, image.width)
        exact = limits if limits is not None and precision == "fp32" else EXACT
        found = bench.try_out(onnx, "fp32", exact)
        if precision == "int8" and not found.parity.faults:
            learnt = lot.train.select(_spread(list_learnt(split), _MOST_CALIBRATED))
            photos = import_vision("batches").decode_photos(learnt, image)
            found = _find_int8(bench, onnx, [*photos.batches(_BATCH)], limits or ROUGH)
    if found.parity.faults:
        raise BundleError(
            f"the {found.card.precision} export for {engine} answers otherwise than"
            f" {model.run.path}, so nothing was written: {'; '.join(found.parity.faults)}"
        )
    checked = {**found.parity.to_dict(), "kept": list(found.kept), "limits": asdict(found.limits)}
    card = replace(found.card, checked=checked)
    with _folder_beside(target) as folder:
        bench.write(folder, found.files, card)
        write_rows_atomically(folder.parity_path, COLUMNS, found.parity.rows)
        _move(folder.path, target)
    size = sum(len(data) for data in found.files)
    return Exported(target, card, found.parity, found.limits, found.kept, size)


@dataclass(frozen=True)
class _Candidate:
    """A bundle that was tried out."""

    files: tuple[bytes, ...]
    card: ModelCard
    parity: Parity
    limits: Limits
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Bench:
    """Where candidates are written, opened as a user opens them, and asked.

    Attributes:
        model: the run.
        card: its card, with the engine that is exported for.
        held_out: real photos to ask about.
        made: others that are easy to get wrong.
        before: what torch answers to both.
        target: beside which candidates are written.
        watch: told of the work as it goes on.
    """

    model: Model
    card: ModelCard
    held_out: Catalog
    made: Catalog
    before: tuple[Predictions, Predictions]
    target: Path
    watch: Watcher | None

    def try_out(
        self, onnx: bytes, precision: Precision, limits: Limits, kept: tuple[str, ...] = ()
    ) -> _Candidate:
        """Whether a network answers as torch does once it is written and opened anew."""
        card = replace(self.card, precision=precision)
        about = {"lotlens": json.dumps(replace(card, weights_sha256="").to_dict())}
        files: tuple[bytes, ...] = (write_metadata(onnx, about),)
        if card.engine == "openvino":
            files = convert_to_openvino(files[0], about)
        card = replace(card, weights_sha256=hash_files(files))
        with _folder_beside(self.target) as folder:
            self.write(folder, files, card)
            opened = Model(folder)
            predictor = opened.build_predictor(len(self.held_out))
            what = f"asking the export, {precision}"
            after = _ask(
                predictor, opened.read_references(), self.held_out, self.made, self.watch, what
            )
        real, made = zip(self.before, after, strict=True)
        parity = check_parity(self.card, real, made, self.held_out.targets(), limits)
        return _Candidate(files, card, parity, limits, kept)

    def write(self, folder: RunFolder, files: Sequence[bytes], card: ModelCard) -> None:
        """The network, all that belongs to it, and the card last."""
        for path, data in zip(folder.exported_paths(card.engine), files, strict=True):
            write_bytes_atomically(path, data)
        own = self.model.run
        # The split and the source keep photos that were learnt from being judged on.
        for name in ("references_path", "split_path", "source_path", "decisions_path"):
            source: Path = getattr(own, name)
            if source.is_file():
                write_bytes_atomically(getattr(folder, name), source.read_bytes())
        folder.write_card(card)


def _find_int8(
    bench: _Bench, onnx: bytes, batches: Sequence[FloatArray], limits: Limits
) -> _Candidate:
    """Eight bits wherever the answers allow it."""
    found = bench.try_out(quantise(onnx, batches), "int8", limits)
    if not found.parity.faults:
        return found
    kept: tuple[str, ...] = ()
    for group in rank_groups(onnx, batches)[:_MOST_KEPT]:
        kept = (*kept, *group)
        found = bench.try_out(quantise(onnx, batches, kept=kept), "int8", limits, kept)
        if not found.parity.faults:
            break
    return found


def _check_asked(model: Model, engine: str, precision: str) -> None:
    for name, value, known in (
        ("engine", engine, get_args(EngineName)),
        ("precision", precision, get_args(Precision)),
    ):
        if value not in known:
            raise InputError(f"unknown {name} {value!r}: use {' or '.join(known)}")
    if model.members:
        raise InputError(
            f"{model.run.path} is an ensemble of runs, each with preprocessing of its own: export"
            " one of its runs, or train with folds, whose ensemble is one network"
        )
    if model.card.engine != "torch":
        raise InputError(f"{model.run.path} is an export already: export the run it was made from")


def _ask(
    predictor: Predictor,
    references: Sequence[Reference],
    held_out: Catalog,
    made: Catalog,
    watch: Watcher | None,
    what: str,
) -> tuple[Predictions, Predictions]:
    return (
        answer_by(predictor, references, held_out, watch_part(watch, what)),
        answer_by(predictor, references, made, None),
    )


def _draw_made(catalog: Catalog, card: ModelCard, folder: Path) -> Catalog:
    """Photos that are easy to get wrong, made of the first photo that can be read."""
    with PhotoReader() as reader:
        for photo in catalog.photos:
            with suppress(UnreadablePhoto):
                if photo.locator is None:
                    continue
                pixels = decode(reader.read(photo.locator), min_size=decode_size(card.image))
                for name, data in draw_nasty(pixels):
                    (folder / name).write_bytes(data)
                return open_photos([folder])
    raise InputError("no photo that was held out of training can be read: nothing to check with")


def _spread(ids: Sequence[str], most: int) -> list[str]:
    """So many of them at most, from all over the list."""
    if len(ids) <= most:
        return [*ids]
    return [ids[round(at)] for at in np.linspace(0, len(ids) - 1, most)]


@contextmanager
def _folder_beside(target: Path) -> Iterator[RunFolder]:
    """A hidden folder on the disk of `target`, gone afterwards unless it was moved."""
    path = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}") from error
    try:
        yield RunFolder(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)  # an empty folder in its place is replaced
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}") from error
