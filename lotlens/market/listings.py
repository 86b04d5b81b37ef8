"""Adverts out of a table as people have it: CSV, JSON lines or Parquet; it knows no photo.

Every row comes out as a `Listing`, in order; what could not be read in it stands in its problems.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from math import ceil
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from lotlens.errors import InputError
from lotlens.market.amounts import (
    doubt_mileage,
    find_currency,
    names_miles,
    parse_measure,
    parse_mileage,
    parse_price,
    parse_year,
)
from lotlens.naming import LONG_MAKES, fold_name, is_variant
from lotlens.photos.tables import Table, list_some, read_table
from lotlens.texts import describe, show
from lotlens.values import parse_json

Role = Literal[
    "id", "title", "make", "model", "price", "currency", "year", "mileage", "photos", "seller",
    "condition", "owners", "pts", "generation", "engine", "volume", "power", "fuel", "gearbox",
    "drive", "body", "wheel", "color", "trim", "city", "region", "date", "url", "description",
    "first_seen", "options",
]  # fmt: skip
"""What a column can be for."""

COLUMNS: Mapping[Role, tuple[str, ...]] = {
    "id": ("id", "advert id", "ad id", "listing id", "listing", "advert", "номер", "ид"),
    "title": ("title", "name", "заголовок", "название", "объявление", "наименование"),
    "make": (
        "make", "brand", "company", "manufacturer", "марка", "бренд", "бренд авто", "марка авто",
    ),
    "model": ("model", "модель", "модель авто"),
    "price": (
        "price", "asking price", "цена", "стоимость", "price rub", "цена руб", "цена р",
        "price usd", "price eur",
    ),
    "currency": ("currency", "валюта"),
    "year": ("year", "год", "год выпуска", "model year", "registration", "год в"),
    "mileage": (
        "mileage", "km", "kms", "kms driven", "km driven", "odometer", "miles", "kilometers",
        "пробег", "пробег км", "mileage km",
    ),
    "photos": (
        "photos", "photo", "images", "image", "pictures", "files", "file", "фото", "фотографии",
        "снимки", "изображения",
    ),
    "seller": ("seller", "seller type", "seller id", "продавец", "тип продавца"),
    "condition": ("condition", "состояние", "damage", "damaged", "повреждения"),
    "owners": (
        "owners", "owner", "владельцев", "владельцы", "владельцев по птс", "кол во владельцев",
        "num owners",
    ),
    "pts": ("pts", "птс"),
    "generation": ("generation", "поколение"),
    "engine": ("engine", "двигатель", "modification", "модификация"),
    "volume": (
        "volume", "engine volume", "displacement", "объем", "объем двигателя",
        "объем двигателя л",
    ),
    "power": (
        "power", "hp", "horsepower", "мощность", "мощность двигателя", "мощность двигателя лс",
        "л с",
    ),
    "fuel": ("fuel", "fuel type", "топливо", "тип топлива", "тип двигателя"),
    "gearbox": ("gearbox", "кпп", "коробка", "коробка передач", "transmission"),
    "drive": ("drive", "drivetrain", "drive type", "привод", "transmission"),
    "body": ("body", "body type", "кузов", "тип кузова"),
    "wheel": ("wheel", "steering", "руль"),
    "color": ("color", "colour", "цвет"),
    "trim": ("trim", "комплектация"),
    "city": ("city", "location", "город", "местоположение"),
    "region": ("region", "регион", "федеральный округ", "область"),
    "date": ("date", "posted", "creation date", "created", "дата", "дата размещения"),
    "url": ("url", "link", "ссылка"),
    "description": ("description", "text", "описание", "текст"),
    "first_seen": ("first seen", "впервые", "появилось"),
    "options": ("options", "climate", "управление климатом"),
}  # fmt: skip
"""Names of columns, of which the first that a table has is taken; case and signs do not count."""

FACTS: tuple[Role, ...] = (
    "generation", "engine", "fuel", "gearbox", "drive", "body", "wheel", "color", "trim", "pts",
    "city", "region", "seller", "options",
)  # fmt: skip
"""Roles whose cells are kept as words."""

_DRIVES = re.compile(r"полн|задн|передн|4wd|awd|fwd|rwd|front|rear", re.IGNORECASE)
_NOT_DAMAGED = re.compile(
    r"не\s*бит\w*|не\s*требует(\s+ремонт\w*)?|без\s*(повреж\w*|аварий|дтп)"
    r"|(повреж\w*|аварий|дтп)\s+(нет|не\s*был\w*)|(not|never) (damaged|wrecked)|undamaged"
    r"|no damage\w*|(no|0|zero) (\w+ )?accidents?|accident[ -]free",
    re.IGNORECASE,
)
_SOUND = re.compile(r"отличн|хорош|excellent|good", re.IGNORECASE)
_ASK_DAMAGE = ("damage", "damaged", "повреждения")  # heads of columns of yes and no
_YES, _NO = ("yes", "true", "1", "y", "да", "есть"), ("no", "false", "0", "n", "нет")
_DAMAGED = re.compile(
    r"бит|требует ремонт|аварий|повреж|не на ходу|запчаст|damaged|salvage|wreck|accident|for parts",
    re.IGNORECASE,
)
_PICTURE = re.compile(
    r"\.(jpe?g|png|webp|heic|heif|avif|gif|bmp|tiff?|jp2|ppm|pgm|pbm|tga)$", re.IGNORECASE
)
_SERIES = ("серии", "серия", "series", "class", "класс", "klasse")
_MOST_LINE_BYTES = 4_000_000
_MOST_COLUMNS = 500


@dataclass(frozen=True, slots=True)
class Listing:
    """An advert.

    Attributes:
        row: which row of the table it is, from 1.
        id: as written, else the row's number.
        title: how the advert calls itself.
        make, model: in the words of the table; the model is without its make.
        price: asked, in the table's currency; None with a problem that says why.
        year: of manufacture, or None.
        mileage: in km, or None where there is none or nobody should believe it.
        photos: names as written.
        facts: role of FACTS -> words, of those that are not empty.
        power, volume, owners: horsepower, litres, number, or None.
        is_damaged: None if the table does not say.
        condition, date, url, description, first_seen: as written.
        problems: what could not be read, one reason each.
    """

    row: int
    id: str
    title: str = ""
    make: str = ""
    model: str = ""
    price: float | None = None
    year: int | None = None
    mileage: float | None = None
    photos: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    power: float | None = None
    volume: float | None = None
    owners: float | None = None
    is_damaged: bool | None = None
    condition: str = ""
    date: str = ""
    url: str = ""
    description: str = ""
    first_seen: str = ""
    problems: tuple[str, ...] = ()

    @property
    def car(self) -> str:
        """Make and model, as people say them."""
        return f"{self.make} {self.model}".strip()

    def __repr__(self) -> str:
        return describe("Listing", f"{self.id} {self.car} {self.price}")


@dataclass(frozen=True)
class Listings:
    """A table of adverts; printed, it is a few lines for people.

    Attributes:
        source: the path as it was named.
        form: "CSV", "JSON lines" or "Parquet".
        columns: role -> the column's name.
        passed_over: columns that nothing was made of.
        rows: a listing for each row, in order.
        currency: of all prices, ISO 4217; "" if it is nowhere written.
        notes: what else was decided, one sentence each.
    """

    source: str
    form: str
    columns: Mapping[Role, str]
    passed_over: tuple[str, ...]
    rows: tuple[Listing, ...]
    currency: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        num_photos = sum(len(row.photos) for row in self.rows)
        cars = Counter(row.car for row in self.rows if row.car)
        lines = [("read as", f"{self.form} ({self.source})")]
        lines.append(("adverts", f"{len(self.rows):,}, {num_photos:,} photos named"))
        taken = ", ".join(f"{role} = {name}" for role, name in self.columns.items())
        lines.append(("columns", taken))
        if self.passed_over:
            lines.append(("passed over", list_some(self.passed_over, 12)))
        if cars:
            shown = ", ".join(f"{car} {count:,}" for car, count in cars.most_common(6))
            more = f" and {len(cars) - 6:,} more" if len(cars) > 6 else ""
            lines.append(("cars", f"{len(cars):,}: {shown}{more}"))
        priced = sum(row.price is not None for row in self.rows)
        lines.append(("prices", f"{priced:,} in {self.currency or 'a currency not written'}"))
        reasons = Counter(_sort_of(problem) for row in self.rows for problem in row.problems)
        lines += [("problem", f"{reason}: {count:,}") for reason, count in reasons.most_common(8)]
        lines += [("note", note) for note in self.notes]
        return "\n".join(f"{name:<14}{show(text, in_one_line=True)}" for name, text in lines)

    def __repr__(self) -> str:
        return describe("Listings", f"{len(self.rows):,} of {self.source}")


def read_listings(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    may_lack_columns: bool = False,
    currency: str = "",
    newest: int | None = None,
    cars: Sequence[str] = (),
) -> Listings:
    """Read a table of adverts.

    Args:
        path: a CSV, JSON lines (.jsonl, .ndjson, .json) or Parquet file.
        columns: role -> name of the column, where `COLUMNS` does not tell.
        may_lack_columns: whether names of `columns` that the table lacks are passed over; they may
            be another table's.
        currency: of prices without one, ISO 4217.
        newest: the last year that a car can be of; next year, if not given.
        cars: makes with models that are known, by which titles are read.

    Raises:
        InputError: it cannot be read, lacks a price or what the car is, or a mapping names no
            column or no role.
    """
    path = Path(path)
    table, form, reasons = _read(path)
    newest = newest or datetime.now(UTC).year + 1
    given_columns = dict(columns or {})
    if may_lack_columns:
        given_columns = {
            role: name for role, name in given_columns.items() if name in table.columns
        }
    roles, notes = _find_roles(table, given_columns)
    heads = {role: fold_name(table.columns[at]) for role, at in roles.items()}
    rows = [
        _read_row(
            number,
            dict(zip(roles, (cells[at] for at in roles.values()), strict=True)),
            newest,
            heads,
        )
        for number, cells in enumerate(table.rows, start=1)
    ]
    rows = [
        replace(row, problems=(reasons[row.row], *row.problems)) if row.row in reasons else row
        for row in rows
    ]
    rows = _doubt_mileages(rows)
    named_by = {role: table.columns[at] for role, at in roles.items()}
    given = find_currency(currency) or _code(currency)
    if currency and not given:
        raise InputError(f"{currency!r} is no currency: name it as RUB, USD or the like")
    rows, found_currency, more = _settle_currency(table, roles, rows, given)
    notes += more
    if "model" not in roles:
        rows = _read_titles(rows, cars)
        notes.append(f"models are taken from the titles ({named_by['title']})")
    taken = set(roles.values())
    passed_over = tuple(name for at, name in enumerate(table.columns) if at not in taken)
    return Listings(
        str(path), form, named_by, passed_over, tuple(rows), found_currency, tuple(notes)
    )


def split_photos(cell: str) -> tuple[str, ...]:
    """The names of photos in a cell: a list in JSON, or names parted by ; | or commas."""
    cell = cell.strip()
    if cell.startswith("["):
        try:
            names = json.loads(cell)
        except (ValueError, RecursionError):
            names = None
        if isinstance(names, list):
            return tuple(name for name in names if isinstance(name, str) and name.strip())
    parts = [part.strip() for part in re.split(r"[;|\n\t]", cell)]
    if len(parts) == 1:
        by_comma = [part.strip() for part in cell.split(",")]
        if all(_PICTURE.search(part) for part in by_comma):
            parts = by_comma
    return tuple(part for part in parts if part)


def judge_condition(text: str, *, asks_damage: bool = False) -> bool | None:
    """Whether a car is said to be damaged; None where nothing is said of it.

    Args:
        text: of the cell.
        asks_damage: whether the column's head asks for damage, so that a yes is one.
    """
    if asks_damage and text.casefold() in (*_YES, *_NO):
        return text.casefold() in _YES
    rest = _NOT_DAMAGED.sub(" ", text)
    if _DAMAGED.search(rest):
        return True
    return False if rest != text or _SOUND.search(rest) else None


def is_web_address(url: str) -> bool:
    """Whether an advert's address may be a link: of the web, and nothing that runs."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and url.isprintable()


def name_key(row: Listing) -> str:
    """By what an advert is known again in the next table, whatever its price has become.

    Its number with the site's name, if it has one of its own; else its address; else what it says
    of the car. Hexadecimal digits, so that it can stand anywhere.
    """
    site = urlsplit(row.url).hostname if is_web_address(row.url) else ""
    told: Sequence[object] = ("address", row.url)
    if row.id != str(row.row):
        told = ("number", site, row.id)
    elif not site:
        car = (fold_name(row.car), row.year, row.mileage, row.title, row.photos)
        told = ("car", *car, row.facts.get("city", ""))
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def group_reposts(rows: Sequence[Listing]) -> list[int]:
    """For each advert the position of the first that seems to offer the same car.

    That is one of the same car, year, mileage to the km, engine, colour, city and owners; the price
    may have changed. Adverts without a mileage are alone.
    """
    first: dict[tuple[object, ...], int] = {}
    groups = []
    for at, row in enumerate(rows):
        if row.mileage is None or row.year is None:
            groups.append(at)
            continue
        facts = (row.facts.get(role, "") for role in ("gearbox", "color", "city", "drive", "body"))
        key = (fold_name(row.car), row.year, row.mileage, row.power, row.volume, row.owners, *facts)
        groups.append(first.setdefault(key, at))
    return groups


def settle_currency(read: Listings, currency: str, source: str) -> Listings:
    """A table whose prices name no currency takes that of another source, and says so.

    Raises:
        InputError: they are in two currencies.
    """
    if read.currency == currency or not currency:
        return read
    if read.currency:
        raise InputError(
            f"{read.source} is in {read.currency} and {source} in {currency}: prices are not"
            " compared across currencies"
        )
    note = f"no price names its currency: they are taken for {currency}, as in {source}"
    return replace(read, currency=currency, notes=(*read.notes, note))


# --- the table -----------------------------------------------------------------------------------


def _read(path: Path) -> tuple[Table, str, dict[int, str]]:
    """The cells, what the file is, and why single rows are not whole, by number from 1."""
    ending = path.suffix.lower()
    if ending == ".parquet":
        return _read_parquet(path), "Parquet", {}
    if ending in (".jsonl", ".ndjson", ".json"):
        table, reasons = _read_lines(path)
        return table, "JSON lines", reasons
    too_long: list[int] = []
    table = read_table(path, too_long=too_long)
    return table, "CSV", dict.fromkeys(too_long, "more cells than the header has columns")


def _read_lines(path: Path) -> tuple[Table, dict[int, str]]:
    columns: dict[str, int] = {}
    records: list[dict[str, str]] = []
    reasons: dict[int, str] = {}
    try:
        with path.open("rb") as file:
            while line := file.readline(_MOST_LINE_BYTES + 1):
                if not line.strip():
                    continue
                record, reason = _read_record(line)
                records.append(record)
                if reason:
                    reasons[len(records)] = reason
                for name in record:
                    columns.setdefault(name, len(columns))
                while len(line) > _MOST_LINE_BYTES and not line.endswith(b"\n"):
                    line = file.readline(_MOST_LINE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not columns:
        raise InputError(f"{path} has no lines that are JSON objects: it needs one advert a line")
    if len(columns) > _MOST_COLUMNS:
        raise InputError(f"{path} has {len(columns):,} keys; adverts have {_MOST_COLUMNS} at most")
    rows = tuple(tuple(record.get(name, "") for name in columns) for record in records)
    return Table(str(path), tuple(columns), rows), reasons


def _read_record(line: bytes) -> tuple[dict[str, str], str]:
    """The cells of a line, or none and why."""
    if len(line) > _MOST_LINE_BYTES:
        return {}, "the line is too long"
    try:
        values = parse_json(line.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        return {}, f"no JSON: {error}"
    if not isinstance(values, dict):
        return {}, "no JSON object"
    return {name.strip(): _write_cell(value) for name, value in values.items()}, ""


def _write_cell(value: Any) -> str:
    """A plain value as a cell of a CSV would have it."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value)


def _read_parquet(path: Path) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        raise InputError(
            f"{path}: Parquet needs the package pyarrow (pip install pyarrow), or save it as CSV"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            names = tuple(name.strip() for name in file.schema_arrow.names)
            rows = [
                tuple(_write_cell(value) for value in record.values())
                for batch in file.iter_batches(batch_size=4096)
                for record in batch.to_pylist()
            ]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    except ArrowException as error:
        raise InputError(f"{path} is no Parquet file: {error}") from error
    if not rows:
        raise InputError(f"{path} has no rows")
    return Table(str(path), names, tuple(rows))


# --- columns -------------------------------------------------------------------------------------


def _find_roles(table: Table, given: Mapping[str, str]) -> tuple[dict[Role, int], list[str]]:
    """Which column has which role, and what was decided about them."""
    unknown = [role for role in given if role not in get_args(Role)]
    missing = [name for name in given.values() if name not in table.columns]
    if unknown or missing:
        wrong = [f"no role {role!r} (roles: {', '.join(get_args(Role))})" for role in unknown]
        wrong += [
            f"no column {name!r} (it has: {list_some(table.columns, 30)})" for name in missing
        ]
        raise InputError(f"{table.name}: {'; '.join(wrong)}")
    names = [fold_name(column) for column in table.columns]
    roles: dict[Role, int] = {}
    for role in get_args(Role):
        if role in given:
            roles[role] = table.columns.index(given[role])
    taken = set(roles.values())
    notes = []
    for role, known in COLUMNS.items():
        at = next(
            (names.index(n) for n in known if n in names and names.index(n) not in taken), None
        )
        if at is None or role in roles:
            continue
        if names[at] == "transmission":
            # "transmission" is a gearbox to some and the driven wheels to others: the cells say.
            cells = [row[at] for row in table.rows[:1000] if row[at].strip()]
            is_drive = sum(_DRIVES.search(cell) is not None for cell in cells) > len(cells) / 2
            if is_drive != (role == "drive"):
                continue
            notes.append(f"{table.columns[at]} is the {role}, by what stands in it")
        roles[role] = at
        taken.add(at)
    lacking = [] if "price" in roles else ["no column for the price"]
    if "model" not in roles and "title" not in roles:
        lacking.append("none for the model or a title")
    if lacking:
        raise InputError(
            f"{table.name}: {' and '.join(lacking)}; it has: {list_some(table.columns, 30)}. Name"
            " them, such as price=COLUMN"
        )
    return {role: roles[role] for role in get_args(Role) if role in roles}, notes


def _read_row(
    number: int, cells: Mapping[Role, str], newest: int, heads: Mapping[Role, str]
) -> Listing:
    """An advert; what a cell leaves open its column's head may tell."""
    problems: list[str] = []

    def say(role: Role) -> str:
        return " ".join(cells.get(role, "").split())

    price = year = mileage = None
    try:
        price = parse_price(say("price")).amount
    except ValueError as error:
        problems.append(str(error))
    if "year" in cells:
        try:
            year = parse_year(say("year"), newest)
        except ValueError as error:
            problems.append(str(error))
    if "mileage" in cells:
        try:
            mileage = parse_mileage(say("mileage"), in_miles=names_miles(heads["mileage"]))
        except ValueError as error:
            problems.append(str(error))
    make, model, title = say("make"), say("model"), say("title")
    make, model = _part_make(make, model)
    if not (model or title):
        problems.append("no model")
    facts: dict[str, str] = {role: word for role in FACTS if (word := say(role))}
    condition = say("condition")
    return Listing(
        row=number,
        id=say("id") or str(number),
        title=title or " ".join(part for part in (make, model) if part),
        make=make,
        model=model,
        price=price,
        year=year,
        mileage=mileage,
        photos=split_photos(cells.get("photos", "")),
        facts=facts,
        power=_measure(say("power"), 10, 2500) or _measure_engine(say("engine"), "power"),
        volume=_measure(say("volume"), 0.3, 10) or _measure_engine(say("engine"), "volume"),
        owners=_measure(say("owners"), 0, 50),
        is_damaged=judge_condition(
            condition, asks_damage=heads.get("condition", "") in _ASK_DAMAGE
        ),
        condition=condition,
        date=say("date"),
        url=say("url"),
        description=say("description"),
        first_seen=say("first_seen"),
        problems=tuple(problems),
    )


def _doubt_mileages(rows: Sequence[Listing]) -> list[Listing]:
    """Without mileages that nobody should believe; cars are as old as the newest makes them.

    The table may be of years ago, so today says nothing of ages.
    """
    years = sorted(row.year for row in rows if row.year is not None)
    newest = years[ceil(0.995 * (len(years) - 1))] if years else None
    checked = []
    for row in rows:
        age = None if newest is None or row.year is None else float(newest - row.year)
        doubt = "" if row.mileage is None else doubt_mileage(row.mileage, age)
        checked.append(
            replace(row, mileage=None, problems=(*row.problems, doubt)) if doubt else row
        )
    return checked


def _measure(cell: str, least: float, most: float) -> float | None:
    try:
        return parse_measure(cell, least, most)
    except ValueError:
        return None


def _measure_engine(cell: str, what: Literal["power", "volume"]) -> float | None:
    """Out of a cell such as "2.0 л / 163 л.с. / Дизель"."""
    unit = r"(?:л\.? ?с|hp|bhp|ps)" if what == "power" else r"(?:л(?!\.? ?с)|l\b)"
    found = re.search(rf"(\d+(?:[.,]\d+)?) ?{unit}", cell.lower())
    bounds = (10, 2500) if what == "power" else (0.3, 10)
    return _measure(found.group(1), *bounds) if found else None


def _part_make(make: str, model: str) -> tuple[str, str]:
    """The model without the make before it; a make that stands in the model's cell alone stays."""
    if make and fold_name(model).startswith(fold_name(make) + " "):
        return make, " ".join(model.split()[len(make.split()) :]) or model
    return make, model


def _read_titles(rows: Sequence[Listing], cars: Sequence[str]) -> list[Listing]:
    """Makes and models out of titles, by the longest known name, else by the first words."""
    known: dict[tuple[str, ...], str] = {tuple(fold_name(car).split()): car for car in cars}
    longest = max(map(len, known), default=0)
    return [_read_title(row, known, longest) for row in rows]


def _read_title(row: Listing, known: Mapping[tuple[str, ...], str], longest: int) -> Listing:
    words = re.sub(r"[,(].*", "", row.title).split()
    folded = [fold_name(word) for word in words]
    for count in range(min(longest, len(words)), 0, -1):
        car = known.get(tuple(" ".join(folded[:count]).split()))
        if car is not None:
            own = car.split()
            if not is_variant(" ".join(folded[count : count + 1]).split()):
                own.append(words[count])  # a Land Cruiser Prado is no Land Cruiser
            size = 2 if " ".join(folded[:2]) in LONG_MAKES else 1
            if len(own) <= size:  # a class without a make
                return replace(row, model=" ".join(own))
            return replace(row, make=" ".join(own[:size]), model=" ".join(own[size:]))
    make = row.make or " ".join(words[:1])
    if " ".join(folded[:2]) in LONG_MAKES:
        make = " ".join(words[:2])
    begins_with_make = fold_name(" ".join(words)).startswith(fold_name(make))
    rest = words[len(make.split()) :] if begins_with_make else words
    count = 2 if len(rest) > 1 and fold_name(rest[1]) in _SERIES else 1
    if not rest:
        return replace(row, make=make, problems=(*row.problems, "no model in the title"))
    return replace(row, make=make, model=" ".join(rest[:count]))


def _settle_currency(
    table: Table, roles: Mapping[Role, int], rows: Sequence[Listing], given: str
) -> tuple[list[Listing], str, list[str]]:
    """Prices of one currency alone; the others lose theirs, with the reason."""
    at = roles["price"]
    of_header = find_currency(table.columns[at])
    of_column = roles.get("currency")
    written = []
    for cells in table.rows:
        own, named = find_currency(cells[at]), ""
        if of_column is not None:
            named = find_currency(cells[of_column]) or _code(cells[of_column])
        written.append(own or named or of_header)
    counts = Counter(
        code for code, row in zip(written, rows, strict=True) if code and row.price is not None
    )
    num_bare = sum(
        not code and row.price is not None for code, row in zip(written, rows, strict=True)
    )
    main = given or (counts.most_common(1)[0][0] if counts else "")
    notes = []
    if num_bare and counts and not given and len(counts) == 1:
        notes.append(f"{num_bare:,} prices without a currency are taken for {main}, as the others")
    if num_bare and given:
        notes.append(f"{num_bare:,} prices without a currency are taken for {main}, as you said")
    others = {code: count for code, count in counts.items() if code != main}
    if others:
        told = ", ".join(f"{count:,} in {code}" for code, count in others.items())
        notes.append(f"prices are compared in {main} alone; left out are {told}")
    settled = []
    for code, row in zip(written, rows, strict=True):
        reason = ""
        if row.price is not None and code and code != main:
            reason = f"the price is in {code}, the market in {main}"
        elif row.price is not None and not code and len(counts) > 1 and not given:
            reason = "the price has no currency, and the table has several"
        settled.append(
            replace(row, price=None, problems=(*row.problems, reason)) if reason else row
        )
    return settled, main, notes


def _code(cell: str) -> str:
    """A code of three letters as it stands in a column for the currency."""
    word = cell.strip().upper()
    return word if re.fullmatch(r"[A-Z]{3}", word) else ""


def _sort_of(problem: str) -> str:
    """A problem without what is quoted in it, to count by."""
    plain = re.sub(r"(['\"]).*\1", "…", problem)
    return re.sub(r"\d[\d.]*", "N", plain)
