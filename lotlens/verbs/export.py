"""Write a bundle that answers without torch, if its answers are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lotlens.answering.engines import EngineName
from lotlens.deliver.bench import (
    Bench,
    Candidate,
    Precision,
    ask_both,
    draw_made,
    find_int8,
    folder_beside,
    move_in,
)
from lotlens.deliver.model import Model, OpenModel, load
from lotlens.deliver.own_data import OwnData, open_own_data
from lotlens.deliver.parity import COLUMNS, EXACT, ROUGH, Limits, Parity
from lotlens.deliver.shown import export_shown, with_shown
from lotlens.errors import BundleError, InputError
from lotlens.extras import import_vision
from lotlens.files import check_writable, remove_unfinished_of, write_rows_atomically
from lotlens.locks import hold
from lotlens.records import ModelCard, Watcher
from lotlens.run import RunFolder
from lotlens.texts import describe

_MOST_CHECKED = 500
_MOST_CALIBRATED = 128
_BATCH = 8


@dataclass(frozen=True)
class Exported:
    """A bundle that was exported.

    Attributes:
        path: its folder.
        card: its model card.
        parity: how its answers were compared with torch's.
        limits: what they might differ by.
        kept: names of nodes that keep 32 bits, of an "int8" one.
        num_bytes: of the networks' files.
    """

    path: Path
    card: ModelCard
    parity: Parity
    limits: Limits
    kept: tuple[str, ...]
    num_bytes: int

    def __repr__(self) -> str:
        return describe("Exported", f"{self.card.precision} for {self.card.engine} in {self.path}")

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
    others; see `drawn.nasty`). Eight bits are tried for all layers but the head first, and then
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
    with _claim(model.run, target):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(
                f"{target} is already there: remove it, or name another folder with --out"
            )
        check_writable(target / "card.json")
        own = open_own_data(model)
        with folder_beside(target) as scratch:
            bench, found, difference = _try_out(
                own, engine, precision, limits, target, scratch.path, watch
            )
        if found.parity.faults:
            raise BundleError(
                f"the {found.card.precision} export for {engine} answers otherwise than"
                f" {model.run.path}, so nothing was written: {'; '.join(found.parity.faults)}"
            )
        parity = found.parity
        # JSON knows no infinity: a limit that does not matter is none.
        limited = {
            key: value if isfinite(value) else None for key, value in asdict(found.limits).items()
        }
        checked = {**parity.to_dict(), "kept": list(found.kept), "limits": limited}
        if difference is not None:
            checked["shown_difference"] = difference
        card = replace(found.card, checked=checked)
        with folder_beside(target) as folder:
            bench.write(folder, found.files, card)
            write_rows_atomically(folder.parity_path, COLUMNS, parity.rows)
            move_in(folder.path, target)
    size = sum(len(data) for data in (*found.files, bench.shown or b"", bench.detector or b""))
    return Exported(target, card, parity, found.limits, found.kept, size)


@contextmanager
def _claim(run: RunFolder, target: Path) -> Iterator[None]:
    """Be the only one who writes to the folder of an export, or to the run that it lies in."""
    if target.resolve().is_relative_to(run.path.resolve()):
        with RunFolder.claim(run.path, "export"):
            yield
        return
    with hold(target, "export"):
        remove_unfinished_of(target)
        yield


def _try_out(
    own: OwnData,
    engine: str,
    precision: str,
    limits: Limits | None,
    target: Path,
    scratch: Path,
    watch: Watcher | None,
) -> tuple[Bench, Candidate, float | None]:
    """The bench, the last bundle that was tried, good or not, and what its shares differ by."""
    model = own.model
    classifier, card = import_vision("bundle").load_bundle(model.run, model.card)
    catalog = own.lot.train
    held_out = catalog.select(_spread(own.validation.ids, _MOST_CHECKED))
    locate = model.open_locator(len(held_out))
    torch_itself = import_vision("predictor").ClassifierPredictor(classifier, card, locate=locate)
    open_shown = model.find_shown()
    plain = OpenModel(card, torch_itself, model.read_references(), open_shown=open_shown)
    # One file says what photos show and where: of a run that finds the car by it, it is the run's.
    network = None if locate is None else model.run.read_locator(card)
    located = network if card.image.locate == "map" else None
    detector = network if card.image.locate == "detector" else None
    shown = None if open_shown is None else export_shown(open_shown, held_out, located)
    card = with_shown(card, shown)
    made = draw_made(held_out, card, scratch)
    before = ask_both(plain, held_out, made, watch, "asking the run")
    data = located if shown is None else shown.data
    asked = replace(card, engine=engine)
    bench = Bench(model, asked, held_out, made, before, data, detector, target, watch)
    image = card.image
    onnx: bytes = import_vision("engine").export_onnx(classifier, image.height, image.width)
    exact = limits if limits is not None and precision == "fp32" else EXACT
    found = bench.try_out(onnx, "fp32", exact)
    if precision == "int8" and not found.parity.faults:
        learnt = catalog.select(_spread(own.learnt, _MOST_CALIBRATED))
        photos = import_vision("batches").decode_photos(learnt, image, locate=locate)
        found = find_int8(bench, onnx, [*photos.batches(_BATCH)], limits or ROUGH)
    return bench, found, None if shown is None else shown.difference


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


def _spread(ids: Sequence[str], most: int) -> list[str]:
    """So many of them at most, from all over the list."""
    if len(ids) <= most:
        return [*ids]
    return [ids[round(at)] for at in np.linspace(0, len(ids) - 1, most)]
