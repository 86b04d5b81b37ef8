"""Lays out the sample lot: a synthetic competition with planted faults; knows not how a car looks.

The lot has the competition's exact layout, plus `faults.csv` (all that was planted), `answers.csv`
(the test labels) and `README.txt` (which says that nothing in it is real). Everything in it follows
from the seed and the sizes alone: the randomness of a photo comes from (seed, part, number), never
from the process that draws it, so that the bytes are the same for any number of workers.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import shutil
import signal
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from lotlens.drawn.cars import draw_car_photo
from lotlens.drawn.designs import DESIGNS
from lotlens.drawn.scenes import NO_CAR_KINDS, add_watermark, draw_other_photo, load_font
from lotlens.errors import InputError, OutputError
from lotlens.photos.synthetic import MARK, is_sample_lot

PartName = Literal["train", "test"]
Damage = Literal["truncated", "empty", "text", "garbage"]
Change = Literal["rescaled", "recompressed", "watermarked", "mirrored", "cropped"]

MIN_TRAIN, MIN_TEST = 40, 20
MIN_SIDE, MAX_SIDE = 48, 4000
_DAMAGES: tuple[Damage, ...] = ("truncated", "empty", "text", "garbage")
_CHANGES: tuple[Change, ...] = ("rescaled", "mirrored", "cropped", "recompressed", "watermarked")
_ORIENTATIONS = (6, 8, 3)
# Real lots are uneven; these are the shares of the car models that are drawn.
_SHARES = np.array([1.15, 0.9, 1.05, 0.95, 1.1, 0.85, 0.9, 1.2, 0.95, 0.95])
_ALL, _NO_SISTERS = tuple(range(len(DESIGNS))), (0, 2, 4, 5, 6, 7, 8, 9)
"""Numbers of the designs that a lot shows, in the order of its classes."""
_ZIP_DATE = (2024, 1, 1, 0, 0, 0)
_FAULT_COLUMNS = ("Part", "Id", "Fault", "Related", "Detail")

_README = f"""{MARK}: SYNTHETIC

Nothing here is a photograph. The %s car models are invented and were drawn by a program
(lotlens sample). A figure measured on this lot says that the software works; it says nothing
about real cars, and it must never be shown without the word "synthetic".

train.csv              Id,Category of the training photos (some labels are wrong on purpose)
train.zip              train/<Category>/<Id>
test.zip               test_upload/<Id>
sample-submission.csv  every test photo, Category 0
classes.csv            Category,Name
answers.csv            the true Category of every test photo
faults.csv             everything that was planted: Part,Id,Fault,Related,Detail

%s
"""
_SISTERS = """\
Categories 0 and 1, and 2 and 3, are sister models: the same car with another tail. From
straight ahead nobody can tell them apart."""
_EASY = """\
It is an easy lot: by day, never from straight ahead or behind, with nothing in front of a car,
and no two models are sisters."""


@dataclass(frozen=True)
class _Plan:
    """What one photo of the lot is to be.

    Attributes:
        part, number: of the photo; with the seed they are all its randomness.
        id: its file name.
        true: class it shows, or was advertised as.
        given: class in train.csv.
        no_car: what it shows instead of a car.
        damage: how its file is spoilt.
        grey: without colours.
        orientation: EXIF orientation its pixels are stored in; 1 is upright.
        source: the plan it is a near-duplicate of, and how it was changed.
    """

    part: PartName
    number: int
    id: str
    true: int
    given: int
    no_car: str | None = None
    damage: Damage | None = None
    grey: bool = False
    orientation: int = 1
    source: _Plan | None = None
    change: Change | None = None

    @property
    def member(self) -> str:
        """Its name in its part's zip."""
        return f"train/{self.given}/{self.id}" if self.part == "train" else f"test_upload/{self.id}"


@dataclass(frozen=True)
class _Job:
    """All that a worker process needs to draw one photo.

    Attributes:
        plan: what it is to be.
        seed: of the lot.
        width, height: of the photo in pixels.
        designs: number of the design of each class.
        easy: see `draw_lot`.
    """

    plan: _Plan
    seed: int
    width: int
    height: int
    designs: tuple[int, ...]
    easy: bool


def draw_lot(
    out_path: Path | str,
    *,
    seed: int = 0,
    num_train: int = 600,
    num_test: int = 200,
    width: int = 320,
    height: int = 240,
    easy: bool = False,
    num_workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draws the sample lot into a new folder.

    The folder is drawn under a hidden name beside `out_path` and renamed when it is whole.

    Args:
        out_path: the folder to make; an empty one may be there.
        seed: the same seed and sizes give the same bytes in every file.
        num_train: photos to train on, near-duplicates and unreadable ones included.
        num_test: photos to predict.
        width: of a photo in pixels.
        height: of a photo in pixels.
        easy: eight cars that differ instead of ten with sister models among them, by day, from a
            corner or the side, and nothing in front of them. The faults are the same.
        num_workers: processes that draw; None for what the machine and the lot's size suggest.
            With more than one, a script must call this under `if __name__ == "__main__":`.
        overwrite: replace a sample lot that is already there (and nothing else).
        progress: told (photos drawn, photos in all) after each photo.

    Returns:
        `out_path`.

    Raises:
        InputError: an option is out of range, or the folder holds something.
        OutputError: the lot cannot be written.
        MissingExtra: lotlens[notebook] is not installed.
    """
    load_font(18)  # with matplotlib; if that is missing it is said before anything is drawn
    _check_options(seed, num_train, num_test, width, height, num_workers)
    out_path = Path(out_path)
    target = out_path.resolve()
    _check_target(out_path, target, overwrite=overwrite)
    partial = target.with_name(f".{target.name}.partial")
    designs = _NO_SISTERS if easy else _ALL
    plans = _plan_lot(seed, num_train, num_test, designs)
    jobs = [_Job(plan, seed, width, height, designs, easy) for plan in plans]
    if num_workers is None:
        num_workers = min(_count_cores(), 1 + len(jobs) // 100)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        partial.mkdir()
        try:
            _write_tables(partial, plans, seed, designs, easy=easy)
            _write_zips(partial, jobs, num_workers, progress)
            _move_in(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"the sample lot cannot be written to {out_path}: {error.strerror or error}; "
            "free some space or choose another folder"
        ) from error
    return out_path


def draw_contact_sheet(lot_path: Path, sheet_path: Path, per_class: int = 8) -> Path:
    """A PNG to practise on: a row of training photos for each class, with its name.

    Photos with a wrong label, without a car and unreadable ones are left out.

    Args:
        lot_path: a sample lot.
        sheet_path: the PNG to write.
        per_class: photos in a row, at most.

    Returns:
        `sheet_path`.

    Raises:
        InputError: `lot_path` is no sample lot, or `per_class` is less than 1.
        OutputError: the sheet cannot be written.
    """
    if not is_sample_lot(lot_path):
        raise InputError(f"{lot_path} is no sample lot: draw one with  lotlens sample {lot_path}")
    if per_class < 1:
        raise InputError(f"per_class is {per_class}: a row needs at least 1 photo")
    misleading = {
        row["Id"]
        for row in read_rows(lot_path / "faults.csv")
        if row["Fault"] in ("unreadable", "wrong-label", "no-car")
    }
    names = {row["Category"]: row["Name"] for row in read_rows(lot_path / "classes.csv")}
    rows = [row for row in read_rows(lot_path / "train.csv") if row["Id"] not in misleading]
    cell_width, cell_height, margin = 240, 180, 6
    label_width = 190
    sheet = Image.new(
        "RGB",
        (label_width + per_class * (cell_width + margin), 40 + len(names) * (cell_height + margin)),
        (250, 250, 250),
    )
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (12, 8),
        "lotlens sample lot: drawn, not photographed (synthetic)",
        fill=(90, 90, 90),
        font=load_font(18),
    )
    with zipfile.ZipFile(lot_path / "train.zip") as archive:
        for line, (category, name) in enumerate(names.items()):
            top = 40 + line * (cell_height + margin)
            draw.text((12, top + 50), name, fill=(20, 20, 20), font=load_font(22))
            draw.text(
                (12, top + 82), f"Category {category}", fill=(120, 120, 120), font=load_font(15)
            )
            chosen = islice((row["Id"] for row in rows if row["Category"] == category), per_class)
            for column, id_ in enumerate(chosen):
                with Image.open(io.BytesIO(archive.read(f"train/{category}/{id_}"))) as photo:
                    cell = _turn_upright(photo).resize((cell_width, cell_height))
                sheet.paste(cell, (label_width + column * (cell_width + margin), top))
    partial = sheet_path.with_name(f".{sheet_path.name}.partial")
    try:
        sheet_path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(partial, format="PNG")
        os.replace(partial, sheet_path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise OutputError(
            f"the contact sheet cannot be written to {sheet_path}: {error.strerror or error}"
        ) from error
    return sheet_path


def _check_options(
    seed: int, num_train: int, num_test: int, width: int, height: int, num_workers: int | None
) -> None:
    if seed < 0:
        raise InputError(f"seed is {seed}: give a whole number of 0 or more")
    for name, count, least in (
        ("num_train", num_train, MIN_TRAIN),
        ("num_test", num_test, MIN_TEST),
    ):
        if count < least:
            raise InputError(
                f"{name} is {count}: the sample lot needs at least {least}, "
                "or its ten classes and its faults do not fit in"
            )
        if count > 100_000:
            raise InputError(f"{name} is {count}: at most 100000 photos can be drawn")
    for name, side in (("width", width), ("height", height)):
        if not MIN_SIDE <= side <= MAX_SIDE:
            raise InputError(f"{name} is {side}: give {MIN_SIDE} to {MAX_SIDE} pixels")
    if num_workers is not None and num_workers < 1:
        raise InputError(f"num_workers is {num_workers}: give 1 or more, or leave it out")


def _check_target(out_path: Path, target: Path, *, overwrite: bool) -> None:
    if target == Path.cwd() or not target.name:
        raise InputError(
            f"the sample lot needs a folder of its own, and {out_path} is where you stand: "
            "give the name of a new folder"
        )
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{out_path} is a file: give the name of a new folder")
    if not any(target.iterdir()):
        return
    if not is_sample_lot(target):
        raise InputError(
            f"{out_path} is not empty and no sample lot: it is left as it is; "
            "give the name of a new folder"
        )
    if not overwrite:
        raise InputError(
            f"{out_path} holds a sample lot already: add --overwrite to replace it, "
            "or give the name of a new folder"
        )


def _move_in(partial: Path, target: Path) -> None:
    """Puts the finished folder in its place; the old lot is kept aside until that is done."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(partial, target)
    shutil.rmtree(old, ignore_errors=True)


def _count_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


# Planning: which photo is what.


class _Pool:
    """The plans of one part, by class, from which faults take photos that have none yet."""

    def __init__(
        self, rng: np.random.Generator, part: PartName, num_photos: int, designs: Sequence[int]
    ) -> None:
        shares = _SHARES[list(designs)]
        quota = shares / shares.sum() * num_photos
        counts = np.floor(quota).astype(int)
        for index in np.argsort(counts - quota, kind="stable")[: num_photos - counts.sum()]:
            counts[index] += 1
        labels = rng.permutation(np.repeat(np.arange(len(designs)), counts)).tolist()
        self.plans = [
            _Plan(part, number, "", true=label, given=label) for number, label in enumerate(labels)
        ]
        self._free: list[list[int]] = [
            [number for number, label in enumerate(labels) if label == index]
            for index in range(len(designs))
        ]
        self._sizes = counts

    def take(self, label: int | None = None) -> int:
        """A photo without a fault: of this class, or of the one with the most left of its own."""
        if label is None:
            left = [len(free) / size for free, size in zip(self._free, self._sizes, strict=True)]
            label = int(np.argmax(left))
        return self._free[label].pop()

    def has(self, label: int) -> bool:
        return bool(self._free[label])

    def alter(self, number: int, **changes: object) -> None:
        self.plans[number] = replace(self.plans[number], **changes)  # type: ignore[arg-type]


def _plan_lot(
    seed: int, num_train: int, num_test: int, designs: Sequence[int] = _ALL
) -> list[_Plan]:
    """Every photo of the lot, in the order of the zips."""
    rng = np.random.default_rng(seed)
    pools = {
        "train": _Pool(rng, "train", num_train, designs),
        "test": _Pool(rng, "test", num_test, designs),
    }
    numbers = 100_000 + rng.choice(900_000, size=num_train + num_test, replace=False)
    ids = iter([f"{number}.jpg" for number in numbers.tolist()])
    for pool in pools.values():
        for plan in pool.plans:
            pool.alter(plan.number, id=next(ids))

    num_wrong = max(2, round(0.03 * num_train))
    num_conflicts = max(1, num_wrong // 8)  # wrong labels on near-duplicates
    copies = _plan_copies(pools["train"], pools["test"], num_train, num_test)
    damage = 0
    for pool, num_photos, share in (
        (pools["train"], num_train, 0.007),
        (pools["test"], num_test, 0.01),
    ):
        train = pool is pools["train"]
        for _ in range(max(3 if train else 1, round(share * num_photos))):
            pool.alter(pool.take(), damage=_DAMAGES[damage % len(_DAMAGES)])
            damage += 1
        for _ in range(max(1, round(0.015 * num_photos))):
            pool.alter(pool.take(), grey=True)
        for count in range(max(1, round(0.02 * num_photos))):
            pool.alter(pool.take(), orientation=_ORIENTATIONS[count % len(_ORIENTATIONS)])
        for count in range(max(2 if train else 1, round(0.015 * num_photos))):
            kind = NO_CAR_KINDS[(count + (0 if train else 2)) % len(NO_CAR_KINDS)]
            pool.alter(pool.take(), no_car=kind)
    wrong = [*copies[:num_conflicts]]
    wrong += [pools["train"].take() for _ in range(num_wrong - len(wrong))]
    for number in wrong:
        true = pools["train"].plans[number].true
        other = int(rng.integers(len(designs) - 1))
        pools["train"].alter(number, given=other + (other >= true))
    plans = [plan for pool in pools.values() for plan in pool.plans]
    return sorted(plans, key=lambda plan: (plan.part != "train", plan.member))


def _plan_copies(train: _Pool, test: _Pool, num_train: int, num_test: int) -> list[int]:
    """Plants near-duplicates; returns the numbers of the copies within the training part."""
    counts = (
        (train, train, max(2, round(0.02 * num_train))),
        (test, test, max(1, round(0.01 * num_test))),
        (test, train, max(2, min(round(0.03 * num_test), round(0.2 * num_train)))),
    )
    within: list[int] = []
    made = 0
    for pool, source_pool, count in counts:
        for _ in range(count):
            number = pool.take()
            label = pool.plans[number].true
            if not source_pool.has(label):
                continue  # of many test photos and few to train on, not all find a source
            source = source_pool.plans[source_pool.take(label)]
            pool.alter(number, source=source, change=_CHANGES[made % len(_CHANGES)])
            made += 1
            if pool is train:
                within.append(number)
    return within


def _list_faults(plans: Iterable[_Plan], seed: int) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for plan in plans:

        def add(fault: str, detail: str, related: str = "", plan: _Plan = plan) -> None:
            values = (plan.part, plan.id, fault, related, detail)
            rows.append(dict(zip(_FAULT_COLUMNS, values, strict=True)))

        if plan.damage is not None:
            add("unreadable", plan.damage)
        if plan.source is not None and plan.change is not None:
            amount = _choose_amount(_start_randomness(seed, plan), plan.change)
            detail = plan.change if amount is None else f"{plan.change} {amount:.2f}"
            add("near-duplicate", f"{detail}, source in {plan.source.part}", plan.source.id)
        if plan.given != plan.true:
            add("wrong-label", str(plan.true))
        if plan.grey:
            add("grey", "")
        if plan.orientation != 1:
            add("rotated", f"EXIF orientation {plan.orientation}")
        if plan.no_car is not None:
            add("no-car", plan.no_car)
    return rows


# Writing.


def _write_tables(
    folder: Path, plans: Sequence[_Plan], seed: int, designs: Sequence[int], *, easy: bool
) -> None:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))

    def shuffle(part: PartName) -> list[_Plan]:
        chosen = [plan for plan in plans if plan.part == part]
        return [chosen[number] for number in rng.permutation(len(chosen))]

    train, test = shuffle("train"), shuffle("test")
    label = ("Id", "Category")
    write_rows(folder / "train.csv", label, [(plan.id, plan.given) for plan in train])
    write_rows(folder / "sample-submission.csv", label, [(plan.id, 0) for plan in test])
    write_rows(folder / "answers.csv", label, [(plan.id, plan.true) for plan in test])
    names = [(index, DESIGNS[design].name) for index, design in enumerate(designs)]
    write_rows(folder / "classes.csv", ("Category", "Name"), names)
    faults = [tuple(row.values()) for row in _list_faults(plans, seed)]
    write_rows(folder / "faults.csv", _FAULT_COLUMNS, faults)
    readme = _README % (("eight", _EASY) if easy else ("ten", _SISTERS))
    (folder / "README.txt").write_text(readme, encoding="utf-8", newline="\n")


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV whose bytes are the same on every system.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


@dataclass(frozen=True)
class Fault:
    """One fault that was planted in a sample lot.

    Attributes:
        part: "train" or "test".
        photo_id: the photo.
        kind: "unreadable", "near-duplicate", "wrong-label", "grey", "rotated" or "no-car".
        related_id: the photo that a near-duplicate was made of; else "".
        detail: how it was done, the true label, or what a photo shows instead of a car.
    """

    part: PartName
    photo_id: str
    kind: str
    related_id: str
    detail: str


def read_faults(lot_path: Path) -> tuple[Fault, ...]:
    """All that was planted in a sample lot, as its faults.csv tells.

    Raises:
        InputError: it cannot be read.
    """
    rows = read_rows(lot_path / "faults.csv")
    return tuple(
        Fault(
            "test" if row["Part"] == "test" else "train",
            *(row[column] for column in _FAULT_COLUMNS[1:]),
        )
        for row in rows
    )


def read_rows(path: Path) -> list[dict[str, str]]:
    """A table of a sample lot.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}; draw the lot anew"
        ) from error


def _write_zips(
    folder: Path,
    jobs: Sequence[_Job],
    num_workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    with (
        zipfile.ZipFile(folder / "train.zip", "w") as train,
        zipfile.ZipFile(folder / "test.zip", "w") as test,
    ):
        for done, (job, data) in enumerate(
            zip(jobs, _draw_all(jobs, num_workers), strict=True), start=1
        ):
            store(train if job.plan.part == "train" else test, job.plan.member, data)
            if progress is not None:
                progress(done, len(jobs))


def store(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Put a file into an archive whose bytes do not tell when or where it was written."""
    entry = zipfile.ZipInfo(name, _ZIP_DATE)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    archive.writestr(entry, data)


def _draw_all(jobs: Sequence[_Job], num_workers: int) -> Iterator[bytes]:
    """The files' bytes in the order of the jobs."""
    if num_workers == 1:
        yield from map(_draw_file, jobs)
        return
    pool = ProcessPoolExecutor(
        num_workers,
        # Not "fork": the caller may have threads (torch, OpenMP), and a fork of those can hang.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        yield from pool.map(_draw_file, jobs, chunksize=8)
    except BrokenProcessPool:
        raise InputError(
            "a process that draws the sample lot died: call draw_lot under  "
            'if __name__ == "__main__":  or give num_workers=1 (or there was not enough memory)'
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Makes a worker leave Ctrl-C to its parent, and end if its parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


# Drawing one file; runs in the workers.


def _start_randomness(seed: int, plan: _Plan) -> np.random.Generator:
    key = (0 if plan.part == "train" else 1, plan.number)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _draw_file(job: _Job) -> bytes:
    """The bytes of one photo's file, spoilt or whole."""
    plan = job.plan
    rng = _start_randomness(job.seed, plan)
    if plan.source is not None and plan.change is not None:
        return _change(rng, _draw_file(replace(job, plan=plan.source)), plan.change)
    if plan.damage == "empty":
        return b""
    if plan.damage == "text":
        return "<html><body>404: фото не найдено</body></html>\n".encode()
    if plan.damage == "garbage":
        return rng.bytes(int(rng.integers(4_000, 12_000)))
    if plan.no_car is not None:
        image = draw_other_photo(rng, plan.no_car, job.width, job.height)
    else:
        design = job.designs[plan.true]
        image = draw_car_photo(rng, design, job.width, job.height, easy=job.easy)
        if rng.random() < 0.08:
            image = add_watermark(rng, image)
    quality = int(rng.integers(48, 94))
    if plan.grey:
        image = image.convert("L")
    data = _encode(image, quality, plan.orientation)
    if plan.damage == "truncated":
        return data[: int(len(data) * rng.uniform(0.3, 0.6))]
    return data


_TURNS = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation -> how an upright picture is turned before it is stored."""


def _encode(image: Image.Image, quality: int, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    if orientation != 1:
        image = image.transpose(_TURNS[orientation])
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, exif=exif)
    return buffer.getvalue()


def _turn_upright(photo: Image.Image) -> Image.Image:
    undo = {
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_270,
        8: Image.Transpose.ROTATE_90,
    }
    orientation = photo.getexif().get(0x0112, 1)
    upright = photo.convert("RGB")
    return upright.transpose(undo[orientation]) if orientation in undo else upright


def _choose_amount(rng: np.random.Generator, change: Change) -> float | None:
    """How much of a change: a scale, a JPEG quality, the part cut off each side."""
    if change == "rescaled":
        return round(float(rng.uniform(0.55, 0.85)), 2)
    if change == "recompressed":
        return float(rng.integers(22, 40))
    if change == "cropped":
        return round(float(rng.uniform(0.03, 0.07)), 2)
    return None


def _change(rng: np.random.Generator, data: bytes, change: Change) -> bytes:
    """A near-duplicate of a photo."""
    amount = _choose_amount(rng, change)
    quality = 85
    with Image.open(io.BytesIO(data)) as photo:
        image = photo.convert("RGB")
    if change == "rescaled" and amount is not None:
        size = (round(image.width * amount), round(image.height * amount))
        image = image.resize(size, Image.Resampling.LANCZOS)
    elif change == "recompressed" and amount is not None:
        quality = int(amount)
    elif change == "cropped" and amount is not None:
        left, top = round(image.width * amount), round(image.height * amount)
        image = image.crop((left, top, image.width - left, image.height - top))
    elif change == "mirrored":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    else:
        image = add_watermark(rng, image)
    return _encode(image, quality)
