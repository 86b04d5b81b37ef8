"""A run becomes a bundle that answers without torch, if its answers are the same; prints nothing.

The network goes to ONNX, and from there to eight bits or OpenVINO where that is asked for. What was
written answers photos of the run, and others that are easy to get wrong, through the very code that
users will run; it is kept only if it answers as torch did.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lotlens.answering.engines import convert_to_openvino
from lotlens.audit.known import read_known, write_known
from lotlens.deliver.model import Model, OpenModel
from lotlens.deliver.parity import Limits, Parity, check_parity
from lotlens.deliver.quantise import quantise, rank_groups, write_metadata
from lotlens.drawn.nasty import draw_nasty
from lotlens.errors import InputError, OutputError, UnreadablePhoto
from lotlens.files import explain, name_unfinished, write_bytes_atomically
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decoding
from lotlens.photos.prepare import decode_size
from lotlens.photos.sources import open_photos
from lotlens.records import (
    Catalog,
    FloatArray,
    ModelCard,
    Predictions,
    Watcher,
)
from lotlens.run import RunFolder, hash_files

Precision = Literal["fp32", "int8"]
_MOST_KEPT = 4
"""Groups of layers that keep 32 bits at most: with more, eight bits gain too little."""


@dataclass(frozen=True)
class Candidate:
    """A bundle that was tried out."""

    files: tuple[bytes, ...]
    card: ModelCard
    parity: Parity
    limits: Limits
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bench:
    """Where candidates are written, opened as a user opens them, and asked.

    Attributes:
        model: the run.
        card: its card, with the engine that is exported for.
        held_out: real photos to ask about.
        made: others that are easy to get wrong.
        before: what torch answers to both.
        shown: the network that says what unfamiliar photos show, and where the car is, if the card
            names one.
        detector: the network that finds the car, where the card says that a detector does.
        target: beside which candidates are written.
        watch: told of the work as it goes on.
    """

    model: Model
    card: ModelCard
    held_out: Catalog
    made: Catalog
    before: tuple[Predictions, Predictions]
    shown: bytes | None
    detector: bytes | None
    target: Path
    watch: Watcher | None

    def try_out(
        self, onnx: bytes, precision: Precision, limits: Limits, kept: tuple[str, ...] = ()
    ) -> Candidate:
        """Whether a network answers as torch does once it is written and opened anew."""
        card = replace(self.card, precision=precision)
        about = {"lotlens": json.dumps(replace(card, weights_sha256="").to_dict())}
        files: tuple[bytes, ...] = (write_metadata(onnx, about),)
        if card.engine == "openvino":
            files = convert_to_openvino(files[0], about)
        card = replace(card, weights_sha256=hash_files(files))
        with folder_beside(self.target) as folder:
            self.write(folder, files, card)
            opened = Model(folder).open(len(self.held_out))
            what = f"asking the export, {precision}"
            after = ask_both(opened, self.held_out, self.made, self.watch, what)
        real, made = zip(self.before, after, strict=True)
        parity = check_parity(self.card, real, made, self.held_out.targets(), limits)
        return Candidate(files, card, parity, limits, kept)

    def write(self, folder: RunFolder, files: Sequence[bytes], card: ModelCard) -> None:
        """The network, all that belongs to it, and the card last."""
        for path, data in zip(folder.exported_paths(card.engine), files, strict=True):
            write_bytes_atomically(path, data)
        if self.shown is not None:
            write_bytes_atomically(folder.shown_path, self.shown)
        if self.detector is not None:
            write_bytes_atomically(folder.detector_path, self.detector)
        own = self.model.run
        # The split and the source keep photos that were learnt from being judged on.
        for name in ("references_path", "split_path", "source_path", "decisions_path"):
            source: Path = getattr(own, name)
            if source.is_file():
                write_bytes_atomically(getattr(folder, name), source.read_bytes())
        # By their bytes alone; their looks would take more room than a network of eight bits.
        write_known(folder.photos_path, read_known(own.photos_path).without_looks())
        folder.write_card(card)


def find_int8(
    bench: Bench, onnx: bytes, batches: Sequence[FloatArray], limits: Limits
) -> Candidate:
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


def ask_both(
    model: OpenModel, held_out: Catalog, made: Catalog, watch: Watcher | None, what: str
) -> tuple[Predictions, Predictions]:
    """Answers to real photos, and to those that are easy to get wrong."""
    return model.answer(held_out, what=what, watch=watch), model.answer(made)


def draw_made(catalog: Catalog, card: ModelCard, folder: Path) -> Catalog:
    """Photos that are easy to get wrong, made of the first photo that can be read."""
    with PhotoReader() as reader:
        for photo in catalog.photos:
            with suppress(UnreadablePhoto):
                if photo.locator is None:
                    continue
                data = reader.read(photo.locator)
                with decoding(data, min_size=decode_size(card.image)) as (pixels, _):
                    for name, made in draw_nasty(pixels):
                        (folder / name).write_bytes(made)
                return open_photos([folder])
    raise InputError("no photo that was held out of training can be read: nothing to check with")


@contextmanager
def folder_beside(target: Path) -> Iterator[RunFolder]:
    """A hidden folder on the disk of `target`, gone afterwards unless it was moved."""
    path = name_unfinished(target)
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {explain(error)}") from error
    try:
        yield RunFolder(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def move_in(source: Path, target: Path) -> None:
    """Put a finished folder in its place.

    Raises:
        OutputError: it cannot be moved there.
    """
    try:
        source.rename(target)  # an empty folder in its place is replaced
    except OSError as error:
        raise OutputError(f"cannot write {target}: {explain(error)}") from error
