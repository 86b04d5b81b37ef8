"""RunFolder: the only module that knows what files a run has and how they are named."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

from lotlens.errors import BundleError, InputError, OutputError, shorten
from lotlens.files import (
    explain,
    is_unfinished,
    name_unfinished,
    remove_unfinished,
    remove_unfinished_of,
    write_bytes_atomically,
    write_json_atomically,
    write_rows_atomically,
    write_text_atomically,
)
from lotlens.locks import hold
from lotlens.records import Locate, ModelCard
from lotlens.texts import restore_cell
from lotlens.values import (
    MOST_JSON_BYTES,
    parse_json,
    parse_yaml,
    quote,
    read_count,
    read_fields,
    read_mapping,
    read_name,
    read_named,
    read_number,
    read_text,
    read_word,
    require_fields,
)

FORMAT_VERSION = 1
"""Version of the bundle: what card.json and the weights hold."""

NOTE_SUFFIX = ".progress"
"""Of files beside checkpoints that say how far a training is; there is nothing to go on with."""

PATIENCE_S = 3600.0
"""How long one who has done all of the work waits to write it down in a run that others hold."""
MOST_MODEL_BYTES = 2_000_000_000
"""The largest file of a network, or of what it remembers, that is read."""

MOST_TABLE_BYTES = 100_000_000
"""The largest table of a run that is read."""

_EXPORTED = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin")}
"""Engine -> the files of a network that was exported for it."""

_LONGEST_NAME = 100
"""Bytes of a run folder's name before its number; most disks take 255 in all."""


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds one training run; its model.safetensors and card.json are the bundle.

    Where several runs answer together it has no weights of its own, but a bundle for each of them
    in members/.
    """

    path: Path

    @property
    def card_path(self) -> Path:
        return self.path / "card.json"

    @property
    def weights_path(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def split_path(self) -> Path:
        return self.path / "split.csv"

    @property
    def history_path(self) -> Path:
        return self.path / "history.csv"

    @property
    def source_path(self) -> Path:
        """Which data the run was trained on, so that later commands need not be told again."""
        return self.path / "source.json"

    @property
    def validation_path(self) -> Path:
        """The chosen model's Predictions on the validation photos."""
        return self.path / "validation.npz"

    @property
    def photos_path(self) -> Path:
        """By what the photos that it was trained with are known again."""
        return self.path / "photos.npz"

    @property
    def references_path(self) -> Path:
        """What the model remembers of its training photos, to tell what is familiar to it."""
        return self.path / "familiarity.npz"

    @property
    def shown_path(self) -> Path:
        """The network that says what photos show, and where: of an exported bundle for those that
        are unfamiliar, of a run where the car is found first by its map.
        """
        return self.path / "shown.onnx"

    @property
    def detector_path(self) -> Path:
        """The network that finds the car, where a detector does."""
        return self.path / "detector.onnx"

    def locator_path(self, locate: Locate) -> Path:
        """The network that finds the car, if it is found first."""
        return self.detector_path if locate == "detector" else self.shown_path

    @property
    def locate_path(self) -> Path:
        """Whether the car is found first, where that was tried, and what came of it."""
        return self.path / "locate.json"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.json"

    def report_of(self, name: str) -> Path:
        """The report of other photos than the run's own validation part, which stands beside it."""
        return self.path / f"report-{plain_name(name)}.html"

    def metrics_of(self, name: str) -> Path:
        """The figures of that report."""
        return self.path / f"metrics-{plain_name(name)}.json"

    @property
    def findings_path(self) -> Path:
        """What is wrong with the photos, labels and tables it was trained on."""
        return self.path / "findings.csv"

    @property
    def decisions_path(self) -> Path:
        """What people had decided of labelled photos when it was trained."""
        return self.path / "decisions.csv"

    @property
    def photo_weights_path(self) -> Path:
        """How much each photo counted in training, of those that did not count 1."""
        return self.path / "photo-weights.csv"

    @property
    def round_path(self) -> Path:
        """How a round of improvement that made this run was begun and judged."""
        return self.path / "round.json"

    @property
    def rounds_path(self) -> Path:
        """Rounds of improvement: those that led to this run, and those that began with it."""
        return self.path / "rounds.csv"

    @property
    def doubts_path(self) -> Path:
        """Photos worth a second look, the most doubtful first."""
        return self.path / "doubts.csv"

    @property
    def openings_path(self) -> Path:
        """When the locked part was judged on, and with what result: one row each time."""
        return self.path / "locked-openings.csv"

    @property
    def outside_path(self) -> Path:
        """What became of every outside photo that was offered to it."""
        return self.path / "outside.csv"

    @property
    def additions_path(self) -> Path:
        """The outside photos that it was trained on, beside those of its data."""
        return self.path / "additions.csv"

    @property
    def others_path(self) -> Path:
        """Photos of other cars that are learnt as none of the classes, and those held out."""
        return self.path / "others.csv"

    @property
    def others_answers_path(self) -> Path:
        """The model's Predictions on those held out."""
        return self.path / "others.npz"

    @property
    def exports_path(self) -> Path:
        """A folder of bundles that were exported from the run."""
        return self.path / "exports"

    @property
    def parity_path(self) -> Path:
        """Of an exported bundle, its answers beside those of the run it was made from."""
        return self.path / "parity.csv"

    @property
    def tensorboard_path(self) -> Path:
        """A folder of TensorBoard's event files, one folder for each stage of fine-tuning."""
        return self.path / "tensorboard"

    @property
    def timing_path(self) -> Path:
        """How long the training took, stops and what a kill undid left out."""
        return self.path / "timing.json"

    @property
    def batch_path(self) -> Path:
        """The first photos of the training as it saw them, augmented, on one sheet."""
        return self.path / "batch.jpg"

    @property
    def checkpoint_path(self) -> Path:
        """The state of a training that is not finished; gone when it is."""
        return self.path / "checkpoint"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to go on with."""
        return self.checkpoint_path.is_dir() and any(
            path.is_file() and not is_unfinished(path) and path.suffix != NOTE_SUFFIX
            for path in self.checkpoint_path.rglob("*")
        )

    @property
    def can_go_on(self) -> bool:
        """Whether a training here has something to lose: a checkpoint, or a model."""
        return self.has_checkpoint or self.card_path.is_file()

    @property
    def is_unfinished(self) -> bool:
        """Whether a training began here and did not end: it has no model yet, or no report."""
        return self.recipe_path.is_file() and (
            not self.card_path.is_file() or self.checkpoint_path.is_dir()
        )

    @property
    def is_finished(self) -> bool:
        """Whether a training began here and ended."""
        return self.recipe_path.is_file() and not self.is_unfinished

    def check_free(self) -> None:
        """Refuse a folder that `create` would refuse, before there is work to lose.

        Raises:
            InputError: it already holds something else, or a training that can go on.
        """
        path = self.path
        if self.is_unfinished:
            if self.can_go_on:
                raise InputError(
                    f"{path} holds a training that was stopped: go on with --resume, or remove it"
                    " or name another folder with --out"
                )
            self._refuse_strange()
        elif path.is_dir() and not all(is_unfinished(file) for file in path.iterdir()):
            raise InputError(
                f"{path} already holds files; name another folder with --out, or remove it first"
            )
        elif path.is_file():
            raise InputError(f"{path} is a file; name a folder with --out")

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Make a new, empty run folder.

        What is left of a training that was stopped before its first checkpoint is cleared away.

        Raises:
            InputError: the folder already holds something else, or a training that can go on.
            OutputError: it cannot be made.
        """
        run = cls(path)
        run.check_free()
        if run.is_unfinished:
            run.remove()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the run folder {path}: {explain(error)}") from error
        return run

    @classmethod
    @contextmanager
    def claim(cls, path: Path, what: str, *, wait_s: float = 0.0) -> Iterator[RunFolder]:
        """Be the only one who writes to a run folder, which need not be there yet.

        What a killed process left half-written in it is removed.

        Args:
            path: the folder.
            what: what is done to it, for others who ask meanwhile.
            wait_s: how long to wait for one who writes to it.

        Raises:
            InputError: somebody else writes to it now.
            OutputError: the folder that it is to lie in cannot be made.
        """
        with hold(path, what, wait_s=wait_s):
            run = cls(path)
            if run.recipe_path.is_file() or run.card_path.is_file():
                run._remove_unfinished()
            yield run

    @classmethod
    @contextmanager
    def claim_next(cls, parent: Path, stem: str, what: str) -> Iterator[RunFolder]:
        """Claim the first free one of parent/stem-1, parent/stem-2, ...

        What no folder can be called is left out of the stem: it never leads out of `parent`.

        Raises:
            OutputError: as `claim`.
        """
        stem = plain_name(stem)
        with ExitStack() as claimed:
            for number in itertools.count(1):
                path = parent / f"{stem}-{number}"
                if path.exists():
                    continue
                with suppress(InputError):  # somebody else begins a run there
                    run = claimed.enter_context(cls.claim(path, what))
                    if not path.exists():
                        break
                    claimed.close()
            yield run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing, finished run.

        Raises:
            BundleError: no such folder, or it holds no finished model.
        """
        run = cls(path)
        exported = [path / files[0] for files in _EXPORTED.values()]
        weights = (run.weights_path, run.member(0).weights_path, *exported)
        try:
            is_there = path.is_dir()
            is_whole = run.card_path.is_file() and any(file.is_file() for file in weights)
        except OSError as error:
            raise BundleError(f"cannot read {path}: {error.strerror}") from error
        if not is_there:
            raise BundleError(_tell_absent(path))
        if not is_whole:
            raise BundleError(
                f"{path} holds no finished model (card.json and model.safetensors):"
                " train one with  lotlens train DATA"
            )
        return run

    def member(self, number: int) -> RunFolder:
        """The bundle of one of the runs that answer together, counted from 0."""
        return RunFolder(self.path / "members" / str(number))

    def add_member(self, number: int, run: RunFolder) -> None:
        """Copy the bundle of a run: weights, what it remembers of its photos, then the card.

        Raises:
            BundleError: the run's files cannot be read.
            OutputError: a file cannot be written.
        """
        own = self.member(number)
        for source, target in (
            (run.weights_path, own.weights_path),
            (run.references_path, own.references_path),
            (run.shown_path, own.shown_path),
            (run.detector_path, own.detector_path),
            (run.card_path, own.card_path),
        ):
            # Runs of before remember nothing, and few find the car first.
            is_needed = source in (run.weights_path, run.card_path)
            if is_needed or source.is_file():
                write_bytes_atomically(target, _read_bytes(source))

    def hash_members(self, num_members: int) -> str:
        """SHA-256 of the members' cards, each of which vouches for its weights.

        Raises:
            BundleError: a card cannot be read.
        """
        total = hashlib.sha256()
        for number in range(num_members):
            card = _read_bytes(self.member(number).card_path)
            total.update(hashlib.sha256(card).digest())
        return total.hexdigest()

    def remove(self) -> None:
        """Delete the folder, if it is a run's: it holds a recipe.yaml of lotlens.

        Raises:
            InputError: it holds something else.
            OutputError: a file cannot be removed.
        """
        if any(self.path.iterdir()) and not self.recipe_path.is_file():
            raise InputError(f"{self.path} is not a run folder; move it away first")
        self._refuse_strange()
        try:
            # The recipe last: what a kill leaves is still known for a run's, and can be removed.
            for path in sorted(self.path.iterdir(), key=self.recipe_path.__eq__):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError as error:
            raise OutputError(f"cannot remove {error.filename}: {explain(error)}") from error
        with suppress(OSError):  # of a link to a folder, or one that a disk is mounted at
            self.path.rmdir()

    def _refuse_strange(self) -> None:
        """Refuse a folder that holds a recipe.yaml of its own and is somebody's: it is cleared."""
        strange = sorted(path.name for path in self.path.iterdir() if not _is_own(path))
        if strange:
            raise InputError(
                f"{self.path} is no run's alone, it holds {shorten(', '.join(strange), 200)}: name"
                " another folder with --out, or move them away"
            )

    def _remove_unfinished(self) -> None:
        """Remove what kills have left of its own files; others may be written here by others."""
        for name in _OWN_NAMES:
            remove_unfinished_of(self.path / name)
        for folder in (self.checkpoint_path, self.exports_path, self.path / "members"):
            remove_unfinished(folder)

    def remove_beginning(self) -> None:
        """Delete the folder of a training that failed, if it holds nothing to go on with."""
        if self.is_unfinished and not self.can_go_on:
            self.remove()
        elif not self.recipe_path.is_file():  # which is written first
            with suppress(OSError):
                self.path.rmdir()

    def remove_checkpoint(self) -> None:
        """Delete the state of the training, which is finished."""
        if self.checkpoint_path.is_dir():
            # Away in one step: a kill among its files must not leave a training that seems stopped.
            gone = name_unfinished(self.checkpoint_path)
            with suppress(OSError):
                self.checkpoint_path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def read_card(self) -> ModelCard:
        """The model card.

        Raises:
            BundleError: there is no folder; card.json is missing, damaged, or of a newer format.
        """
        with suppress(OSError):  # which is told below
            if not self.path.exists():
                raise BundleError(_tell_absent(self.path))
        values = self._read_json(self.card_path)
        version = values.get("format_version")
        if isinstance(version, int) and not isinstance(version, bool) and version > FORMAT_VERSION:
            raise BundleError(
                f"{self.card_path} is of format {quote(version)}, this lotlens reads up to"
                f" {FORMAT_VERSION}: install a newer lotlens"
            )
        engine = values.get("engine", "torch")
        if engine != "torch":
            self.exported_paths(engine)
        with _blame(self.card_path):
            return ModelCard.from_dict(values)

    def read_references(self, sha256: str) -> bytes:
        """The file with what the model remembers, which the card vouches for.

        Raises:
            BundleError: it is missing, or not the file that the card describes.
        """
        return self._read_vouched(self.references_path, sha256)

    def read_shown(self, sha256: str) -> bytes:
        """The file with the network that says what photos show, which the card vouches for.

        Raises:
            BundleError: it is missing, or not the file that the card describes.
        """
        return self._read_vouched(self.shown_path, sha256)

    def read_locator(self, card: ModelCard) -> bytes:
        """The file with the network that finds the car, which a card vouches for.

        Raises:
            BundleError: it is missing, or not the file that the card describes.
        """
        return self._read_vouched(self.locator_path(card.image.locate), card.locator_sha256)

    def _read_vouched(self, path: Path, sha256: str) -> bytes:
        data = _read_bytes(path)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BundleError(
                f"{path} is not the file that {self.card_path} describes (its SHA-256 differs): it"
                " was damaged or replaced; train again or restore it"
            )
        return data

    def read_weights(self) -> bytes:
        """The file with the weights.

        Raises:
            BundleError: it cannot be read, or is larger than `MOST_MODEL_BYTES`.
        """
        return _read_bytes(self.weights_path)

    def exported_paths(self, engine: str) -> tuple[Path, ...]:
        """The files of a network that was exported for an engine.

        Raises:
            BundleError: no engine of this lotlens.
        """
        if not isinstance(engine, str) or engine not in _EXPORTED:
            raise BundleError(
                f"{self.card_path} names an engine {quote(engine)} that this lotlens does not know:"
                " it is damaged, or of a newer lotlens; install a newer one"
            )
        return tuple(self.path / name for name in _EXPORTED[engine])

    def read_exported(self, card: ModelCard) -> tuple[bytes, ...]:
        """The files of an exported network, which the card vouches for.

        Raises:
            BundleError: one is missing, or they are not the files that the card describes.
        """
        paths = self.exported_paths(card.engine)
        files = tuple(_read_bytes(path) for path in paths)
        if hash_files(files) != card.weights_sha256:
            raise BundleError(
                f"{' and '.join(map(str, paths))} {'is' if len(paths) == 1 else 'are'} not what"
                f" {self.card_path} describes (the SHA-256 differs): damaged or replaced; export"
                " the run again"
            )
        return files

    def write_locator(self, locate: Locate, data: bytes) -> None:
        """Write the network that finds the car."""
        write_bytes_atomically(self.locator_path(locate), data)

    def write_references(self, data: bytes) -> str:
        """Write that file, and give its SHA-256 for the card."""
        write_bytes_atomically(self.references_path, data)
        return hashlib.sha256(data).hexdigest()

    def write_card(self, card: ModelCard) -> None:
        self._write_json(self.card_path, card.to_dict())

    def read_source(self) -> dict[str, Any]:
        """What `write_source` stored: plain values, "data" always among them.

        Raises:
            BundleError: it is missing or damaged.
        """
        values = self._read_json(self.source_path)
        with _blame(self.source_path):
            known = read_fields(values, _SOURCE_READERS)
            require_fields(known, ("data",))
        return values | known

    def write_source(self, values: Mapping[str, Any]) -> None:
        self._write_json(self.source_path, values)

    def read_recipe(self) -> dict[str, Any]:
        """What `write_recipe` stored.

        Raises:
            BundleError: it is missing or damaged.
        """
        data = _read_bytes(self.recipe_path, MOST_JSON_BYTES)
        with _blame(self.recipe_path):
            return read_mapping(parse_yaml(data.decode("utf-8")))

    def write_recipe(self, values: Mapping[str, Any]) -> None:
        import yaml  # slow to import, and answering does without

        text = yaml.safe_dump(dict(values), allow_unicode=True, sort_keys=False)
        write_text_atomically(self.recipe_path, text)

    def write_metrics(self, values: Mapping[str, Any], path: Path | None = None) -> None:
        """Write figures; without a path as those of the run's own validation part."""
        self._write_json(path or self.metrics_path, values)

    def read_located(self) -> dict[str, Any] | None:
        """What `write_located` wrote; None if nothing did.

        Raises:
            BundleError: it is damaged.
        """
        if not self.locate_path.is_file():
            return None
        values = self._read_json(self.locate_path)
        with _blame(self.locate_path):
            read_word(values.get("locate"), words=get_args(Locate))
        return values

    def write_located(self, values: Mapping[str, Any]) -> None:
        """Write what a trial chose, one of `Locate` as "locate", with the gain it rests on."""
        self._write_json(self.locate_path, values)

    def read_findings(self) -> list[dict[str, str]]:
        """The rows of findings.csv; none if nothing was found, or there is no such file.

        Raises:
            BundleError: it is damaged.
        """
        return self._read_table(self.findings_path)

    def read_timing(self) -> dict[str, float]:
        """Seconds of training so far, zero if not known.

        "wall_s", and "cpu_s" of all threads and of the processes that augmented photos.
        """
        stored = self._read_json(self.timing_path) if self.timing_path.is_file() else {}
        with _blame(self.timing_path):
            return {
                key: read_named(key, _read_seconds, stored.get(key, 0.0))
                for key in ("wall_s", "cpu_s")
            }

    def read_end(self) -> date | None:
        """On which day the training ended or was stopped last; None if that is not known.

        Raises:
            BundleError: timing.json is damaged.
        """
        stored = self._read_json(self.timing_path) if self.timing_path.is_file() else {}
        with _blame(self.timing_path):
            if "ended" not in stored:
                return None
            return date.fromisoformat(read_text(stored["ended"])[:10])

    @contextmanager
    def keep_time(self) -> Iterator[None]:
        """Add what happens inside to the training's seconds, however it ends, and note the day."""
        before = self.read_timing()
        wall_s, cpu_s = time.perf_counter(), _cpu_s()
        try:
            yield
        finally:
            spent = {
                "wall_s": before["wall_s"] + time.perf_counter() - wall_s,
                "cpu_s": before["cpu_s"] + _cpu_s() - cpu_s,
                "ended": datetime.now().astimezone().isoformat(timespec="seconds"),
            }
            # On a full disk, what ended the training is what must be heard of.
            with suppress(OutputError):
                if self.path.is_dir():
                    self._write_json(self.timing_path, spent)

    def read_history(self) -> list[dict[str, str]]:
        """One row per epoch; empty if the run had no such stage."""
        return self._read_table(self.history_path)

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.write_table(self.history_path, rows)

    def write_table(self, path: Path, rows: Sequence[Mapping[Any, Any]]) -> None:
        """Rows as CSV, columns in the order in which they first appear."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        write_rows_atomically(path, columns, [[row.get(c, "") for c in columns] for row in rows])

    def add_opening(self, accuracy: float, num_photos: int) -> int:
        """Write down that the locked part was judged on; returns how often it was so far.

        Who asks for this holds the run (see `claim`).

        Raises:
            BundleError: locked-openings.csv is damaged.
            OutputError: it cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        values = {"time": now, "accuracy": f"{accuracy:.4f}", "photos": num_photos}
        rows: list[Mapping[str, Any]] = [*self._read_table(self.openings_path), values]
        self.write_table(self.openings_path, rows)
        return len(rows)

    def _read_table(self, path: Path) -> list[dict[str, str]]:
        """Rows as `write_table` wrote them; none without the file.

        Raises:
            BundleError: it cannot be read, or is damaged.
        """
        if not path.is_file():
            return []
        text = _read_bytes(path, MOST_TABLE_BYTES).decode("utf-8", "surrogateescape")
        try:
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        except csv.Error as error:
            raise BundleError(f"{path} is damaged: {error}") from error
        columns = rows[0] if rows else []
        for number, row in enumerate(rows, start=1):
            if len(row) != len(columns):
                raise BundleError(
                    f"{path} is damaged: row {number} has {len(row)} cells, and the header"
                    f" {len(columns)}"
                )
        rows = [[restore_cell(cell) for cell in row] for row in rows]
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]

    def _read_json(self, path: Path) -> dict[str, Any]:
        return read_object(path)

    def _write_json(self, path: Path, values: Mapping[str, Any]) -> None:
        write_json_atomically(path, values)


def _tell_absent(path: Path) -> str:
    """That there is no run folder, and why where an address was given, which a Path writes with
    one slash, and which may have been made absolute.
    """
    written = path
    with suppress(OSError, ValueError):
        written = path.relative_to(Path.cwd())
    first, *rest = written.parts or ("",)
    if rest and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+:", first):
        address = shorten(f"{first}//{'/'.join(rest)}", 200)
        return (
            f"{address} looks like an address, and a run is read from this machine: copy its folder"
            " here, and name that"
        )
    return f"no run folder at {path}"


_OWN_NAMES = frozenset(
    ["members", "rounds.svg"]
    + [
        getattr(RunFolder(Path()), name).name
        for name, kind in vars(RunFolder).items()
        if isinstance(kind, property) and name.endswith("_path")
    ]
)
"""All that a run folder holds, but for reports and metrics of other photos."""
_OF_OTHERS = re.compile(r"(report|metrics)-.*\.(html|json)", re.DOTALL)


def _is_own(path: Path) -> bool:
    """Whether lotlens has made what lies in a run folder under this name."""
    name = path.name
    is_hidden = is_unfinished(path) or re.fullmatch(r"\..*\.(lock|part|pieces)", name, re.DOTALL)
    return name in _OWN_NAMES or bool(is_hidden) or bool(_OF_OTHERS.fullmatch(name))


def hash_files(files: Sequence[bytes]) -> str:
    """SHA-256 of a bundle's network: of its one file, or of several one after another."""
    total = hashlib.sha256()
    for data in files:
        total.update(data)
    return total.hexdigest()


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file of a run: an object.

    Raises:
        BundleError: it is missing or damaged, or longer than `MOST_JSON_BYTES`.
    """
    data = _read_bytes(path, MOST_JSON_BYTES)
    with _blame(path):
        return read_mapping(parse_json(data))


def plain_name(text: str) -> str:
    """Text as the beginning of a file's name, which leads nowhere and which any disk takes."""
    kept = "".join("-" if c in _UNFIT or not c.isprintable() else c for c in text)
    cut = kept.encode("utf-8", "replace")[:_LONGEST_NAME].decode("utf-8", "ignore")
    return cut.strip(". ") or "run"


_UNFIT = frozenset('/\\:*?"<>|')
"""What is no letter of a file's name on one system or another."""


@contextmanager
def _blame(path: Path) -> Iterator[None]:
    """Say of a file that it is damaged, where its values are not what they should be."""
    try:
        yield
    except ValueError as error:
        raise BundleError(f"{path} is damaged: {error}") from error


def _read_bytes(path: Path, most: int = MOST_MODEL_BYTES) -> bytes:
    try:
        # A pipe would keep us waiting for ever, and a device never end.
        if path.exists() and not path.is_file():
            raise BundleError(f"cannot read {path}: it is not a plain file")
        size = path.stat().st_size
        if size > most:
            raise BundleError(
                f"{path} is damaged: it has {size:,} bytes, and {most:,} at most are read"
            )
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from error


def _read_seconds(value: Any) -> float:
    return read_number(value, 0.0, 1e12)


def _read_counts(value: Any) -> dict[str, int]:
    return {
        key: read_named(quote(key), read_count, one) for key, one in read_mapping(value).items()
    }


_SOURCE_READERS: Mapping[str, Callable[[Any], Any]] = {
    "data": read_name,
    "lotlens_version": read_text,
    "photos": _read_counts,
    "sizes": _read_counts,
    "test": read_count,
}


def _cpu_s() -> float:
    """CPU seconds of this process and of those it started that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
