"""The desk's memory: keys, recent checks, corrections and marks, in SQLite or PostgreSQL.

What is written is on the disk before the function returns. It knows no HTTP and no model.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from PIL import Image
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from lotlens.errors import InputError, MissingExtra, OutputError, UnreadablePhoto
from lotlens.files import write_rows_atomically
from lotlens.photos.decode import decode
from lotlens.photos.labelled import add_labelled
from lotlens.records import CarClass
from lotlens.texts import protect_cell

Mark = Literal["", "called", "bought", "rubbish"]
"""What people say of an advert; nothing, if it is empty."""
NONE_OF_THESE = ""
"""The label of a correction that no class fits."""
OTHERS = "others"
"""The folder of cars that are none of the classes, in that of corrections."""
OTHER_CAR = "another car"
"""The label of one that nobody has named."""
_SHOWS_CAR = ("model", "unsure", "unknown")
MOST_CHECKS = 1000
"""That are remembered without a correction; the oldest go first."""
_KEY_BYTES = 24
_JPEG_QUALITY = 95

_metadata = sa.MetaData()
_keys = sa.Table(
    "lotlens_keys",
    _metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("made_at", sa.String(32), nullable=False),
)
_checks = sa.Table(
    "lotlens_checks",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("model_id", sa.String(64), nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("photos_sha256", sa.Text, nullable=False),
)
_corrections = sa.Table(
    "lotlens_corrections",
    _metadata,
    sa.Column("check_id", sa.String(32), sa.ForeignKey(_checks.c.id), primary_key=True),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
)
_photos = sa.Table(
    "lotlens_photos",
    _metadata,
    sa.Column("check_id", sa.String(32), sa.ForeignKey(_checks.c.id), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("jpeg", sa.LargeBinary, nullable=False),
)
_marks = sa.Table(
    "lotlens_marks",
    _metadata,
    sa.Column("advert", sa.String(64), primary_key=True),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("mark", sa.String(16), nullable=False),
    sa.Column("number", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class Check:
    """One car that was asked about.

    Attributes:
        id: of this check; nobody guesses it.
        at: when, in UTC (ISO 8601).
        model_id: which model answered.
        answer: what it said, plain values.
        photos_sha256: of the photos' files, in their order.
        correction: label and name of what it is in fact; None if nobody has said so. The label is
            `NONE_OF_THESE` where no class fits.
    """

    id: str
    at: str
    model_id: str
    answer: Mapping[str, Any]
    photos_sha256: tuple[str, ...]
    correction: tuple[str, str] | None = None


class Store:
    """A database. For many threads.

    Args:
        url: of SQLAlchemy: "sqlite:////path/desk.sqlite", "postgresql+psycopg://...".

    Raises:
        InputError: there is no such database, or it cannot be written.
        MissingExtra: what speaks with it is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            self._engine = sa.create_engine(url)
            if self._engine.dialect.name == "sqlite":
                sa.event.listen(self._engine, "connect", _set_up_sqlite)
            _metadata.create_all(self._engine)
        except ModuleNotFoundError as error:
            raise MissingExtra("postgres", error.name or url.partition(":")[0]) from error
        except SQLAlchemyError as error:
            told = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise InputError(f"the database cannot be used: {told}") from error

    def close(self) -> None:
        """Let go of its connections."""
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            told = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise OutputError(f"the database cannot be written: {told}") from error

    def make_key(self, name: str) -> str:
        """A new API key; it is kept as a hash alone, so this is the only time to see it.

        A key of 192 bits of chance needs no slow hash, as passwords do.

        Raises:
            InputError: there is one of this name.
        """
        key = f"lot_{secrets.token_urlsafe(_KEY_BYTES)}"
        row = {"name": name, "sha256": _hash(key.encode()), "made_at": _now()}
        try:
            with self._writing() as connection:
                connection.execute(_keys.insert().values(row))
        except IntegrityError:
            raise InputError(f"there is a key called {name!r} already") from None
        return key

    def list_keys(self) -> list[tuple[str, str]]:
        """Name and time of making of every key."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(_keys.c.name, _keys.c.made_at).order_by("made_at"))
            return [(str(name), str(at)) for name, at in rows]

    def remove_key(self, name: str) -> bool:
        """Let a key open nothing any more; returns whether there was one of this name."""
        with self._writing() as connection:
            done = connection.execute(_keys.delete().where(_keys.c.name == name))
            return bool(done.rowcount)

    def find_key(self, key: str) -> str | None:
        """The name of a key, if it is one."""
        found = sa.select(_keys.c.name).where(
            _keys.c.sha256 == _hash(key.encode("utf-8", "replace"))
        )
        with self._engine.connect() as connection:
            name = connection.execute(found).scalar()
        return None if name is None else str(name)

    def remember(self, model_id: str, answer: Mapping[str, Any], photos: Sequence[bytes]) -> str:
        """Keep an answer, without its photos, but for their hashes; returns the check's id.

        Raises:
            OutputError: the database cannot be written.
        """
        id_ = secrets.token_hex(16)
        row = {
            "id": id_,
            "at": _now(),
            "model_id": model_id,
            "answer": json.dumps(answer, ensure_ascii=True),
            "photos_sha256": json.dumps([_hash(photo) for photo in photos]),
        }
        corrected = sa.select(_corrections.c.check_id)
        with self._writing() as connection:
            number = connection.execute(_checks.insert().values(row)).inserted_primary_key
            if number is not None:
                connection.execute(
                    _checks.delete().where(
                        _checks.c.number <= int(number[0]) - MOST_CHECKS,
                        _checks.c.id.not_in(corrected),
                    )
                )
        return id_

    def find_check(self, id_: str) -> Check | None:
        """The check of this id, if it is remembered."""
        return next(iter(self._list(_checks.c.id == id_, 1)), None)

    def list_checks(self, most: int = 50) -> list[Check]:
        """The latest, the last one first."""
        return self._list(sa.true(), most)

    def list_corrected(self) -> list[Check]:
        """All that were corrected, the last one first."""
        return self._list(_corrections.c.label.is_not(None), None)

    def _list(self, which: Any, most: int | None) -> list[Check]:
        joined = _checks.outerjoin(_corrections, _corrections.c.check_id == _checks.c.id)
        query = (
            sa.select(_checks, _corrections.c.label, _corrections.c.name)
            .select_from(joined)
            .where(which)
            .order_by(_checks.c.number.desc())
            .limit(most)
        )
        with self._engine.connect() as connection:
            return [
                Check(
                    row.id,
                    row.at,
                    row.model_id,
                    json.loads(row.answer),
                    tuple(json.loads(row.photos_sha256)),
                    None if row.label is None else (row.label, row.name),
                )
                for row in connection.execute(query)
            ]

    def correct(self, check: Check, label: str, name: str, photos: Sequence[bytes]) -> bool:
        """Keep what a car is in fact, in place of what was said of it before, with its photos.

        Photos are kept as upright JPEGs without any of their notes: who took them where and when is
        nobody's business. A photo that cannot be read is not kept.

        Args:
            check: what is corrected.
            label: of a class, or `NONE_OF_THESE`.
            name: of the class, or in words what it is.
            photos: the files that were checked, in their order; others than those of its hashes
                are refused.

        Returns:
            whether it is kept; the check may have been forgotten since it was found.

        Raises:
            InputError: they are other photos.
            OutputError: the database cannot be written.
        """
        if tuple(_hash(photo) for photo in photos) != check.photos_sha256:
            raise InputError("these are not the photos that were checked")
        row = {"check_id": check.id, "at": _now(), "label": label, "name": name}
        kept = [
            {"check_id": check.id, "position": position, "jpeg": jpeg}
            for position, photo in enumerate(photos)
            if (jpeg := strip(photo)) is not None
        ]
        for _ in range(2):  # somebody else may correct it at the same moment: then in place of that
            try:
                with self._writing() as connection:
                    for table in (_corrections, _photos):
                        connection.execute(table.delete().where(table.c.check_id == check.id))
                    connection.execute(_corrections.insert().values(row))
                    if kept:
                        connection.execute(_photos.insert(), kept)
                return True
            except IntegrityError:
                if self.find_check(check.id) is None:
                    return False
        raise OutputError("the database cannot be written: others write the same correction")

    def read_photos(self, check_id: str) -> dict[int, bytes]:
        """The JPEGs that were kept with a correction, by their place among those checked."""
        query = (
            sa.select(_photos.c.position, _photos.c.jpeg)
            .where(_photos.c.check_id == check_id)
            .order_by(_photos.c.position)
        )
        with self._engine.connect() as connection:
            return {int(place): bytes(jpeg) for place, jpeg in connection.execute(query)}

    def write_csv(self) -> str:
        """All corrections as a table: check, at, model, said, label, name, photos."""
        rows = []
        for check in self.list_corrected():
            label, name = check.correction or ("", "")
            said = str(check.answer.get("sentence", ""))
            cells = [check.id, check.at, check.model_id, said, label, name]
            rows.append([*cells, str(len(check.photos_sha256))])
        return _write_csv(["check", "at", "model", "said", "label", "name", "photos"], rows)

    def mark(self, advert: str, mark: Mark, told: Mapping[str, str]) -> None:
        """Keep a mark of an advert in place of the one before; an empty one takes it away.

        Args:
            advert: its key (`market.listings.name_key`).
            mark: of it.
            told: number, title and url, for the table of marks.

        Raises:
            OutputError: the database cannot be written.
        """
        row = {"advert": advert, "at": _now(), "mark": mark, **told}
        for _ in range(2):  # somebody else may mark it at the same moment: then in place of that
            try:
                with self._writing() as connection:
                    connection.execute(_marks.delete().where(_marks.c.advert == advert))
                    if mark:
                        connection.execute(_marks.insert().values(row))
                return
            except IntegrityError:
                continue
        raise OutputError("the database cannot be written: others write the same mark")

    def list_marks(self) -> dict[str, str]:
        """Key of an advert -> its mark."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(_marks.c.advert, _marks.c.mark))
            return {str(advert): str(mark) for advert, mark in rows}

    def write_marks_csv(self) -> str:
        """All marks as a table, the last one first: at, mark, number, title, url, advert."""
        names = ("at", "mark", "number", "title", "url", "advert")
        query = sa.select(*(_marks.c[name] for name in names))
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_marks.c.at.desc(), _marks.c.advert))
            return _write_csv(names, [list(map(str, row)) for row in rows])


def find_file(url: str) -> Path | None:
    """The file of a database; None where it is a server's, or in memory.

    Raises:
        InputError: that is no URL.
    """
    try:
        told = sa.make_url(url)
    except SQLAlchemyError as error:
        raise InputError(f"the database cannot be used: {error}") from error
    is_file = told.get_backend_name() == "sqlite" and told.database not in (None, "", ":memory:")
    return Path(str(told.database)) if is_file else None


class Saved(NamedTuple):
    """Photos that were written: of the model's classes, and of other cars."""

    num_labelled: int
    num_others: int


def save_corrections(store: Store, classes: Sequence[CarClass], path: Path) -> Saved:
    """Write all corrections as labelled photos, which `lotlens improve` takes.

    A folder with photos/, labels.csv (path, category, listing: the check) and classes.csv, whole or
    not at all. Its folder others/ has the cars that are none of the classes, under the name that
    they were claimed to be, if any; photos that show no car are none of them.

    Args:
        store: that has them.
        classes: of the model.
        path: a folder that does not exist yet.

    Raises:
        InputError: the folder exists, or there is no correction.
        OutputError: it cannot be written.
    """
    if path.exists():
        raise InputError(f"{path} exists already: name another folder")
    labels = {car.label for car in classes}
    rows = []
    others: list[tuple[bytes, str, str]] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as name:
            whole = Path(name) / "whole"
            (whole / "photos").mkdir(parents=True)
            for check in store.list_corrected():
                label = check.correction[0] if check.correction else NONE_OF_THESE
                if label == NONE_OF_THESE:
                    others += _list_others(check, store.read_photos(check.id))
                if label not in labels:
                    continue
                for position, jpeg in store.read_photos(check.id).items():
                    place = f"photos/{check.id}-{position}.jpg"
                    (whole / place).write_bytes(jpeg)
                    rows.append((place, label, check.id))
            if not rows and not others:
                raise InputError("there is no correction whose photos show a car")
            if rows:
                names = [(car.label, car.name) for car in classes]
                write_rows_atomically(whole / "labels.csv", ("path", "category", "listing"), rows)
                write_rows_atomically(whole / "classes.csv", ("Category", "Name"), names)
            if others:
                add_labelled(whole / OTHERS, others)
            whole.rename(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    return Saved(len(rows), len(others))


def _list_others(check: Check, photos: Mapping[int, bytes]) -> list[tuple[bytes, str, str]]:
    """Photo, label and check of each photo of a car that is none of the classes.

    Each has a label: without one, `improve` would ask the model, which was wrong.
    """
    claim = check.answer.get("claim") or {}
    label = claim.get("text") if claim.get("label") is None else ""
    told = check.answer.get("photos") or []
    return [
        (jpeg, label or OTHER_CAR, check.id)
        for place, jpeg in photos.items()
        if place >= len(told) or told[place].get("verdict") in _SHOWS_CAR
    ]


def strip(photo: bytes) -> bytes | None:
    """A photo's pixels, upright, as a JPEG that has no notes; None if it cannot be read."""
    try:
        pixels = decode(photo)
    except UnreadablePhoto:
        return None
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def _write_csv(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([protect_cell(cell) for cell in row] for row in rows)
    return stream.getvalue()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _set_up_sqlite(connection: Any, record: Any) -> None:
    del record
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
