"""Lays out a synthetic market beside a sample lot: adverts with prices, of which all is known.

Cars and prices are invented; the photos are those of the lot's test part. What adverts hide is
planted and listed in truth.csv. Everything follows from the seed, the lot and the language alone.
"""

from __future__ import annotations

import io
import math
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from lotlens.drawn.lot import read_faults, read_rows, store, write_rows
from lotlens.errors import InputError, OutputError
from lotlens.photos.synthetic import MARK, is_sample_lot

Planted = Literal[
    "", "bargain", "wrong-claim", "stolen", "stock", "repost", "damaged", "bad-cell",
]  # fmt: skip
Heads = Literal["en", "ru"]

NEWEST = 2024
"""The last year that a car of the market is of."""
TRUTH = ("id", "planted", "model", "usual_price", "asked_price", "related")
"""Columns of truth.csv: which model it is, what it is worth, what is asked, whose copy it is."""
_COLUMNS: Mapping[Heads, tuple[str, ...]] = {
    "en": ("id", "title", "model", "price", "year", "mileage", "city", "seller", "owners",
           "condition", "gearbox", "power", "photos"),
    "ru": ("Номер", "Заголовок", "Модель", "Цена", "Год", "Пробег", "Город", "Продавец",
           "Владельцев", "Состояние", "Коробка", "Мощность", "Фото"),
}  # fmt: skip
_SHARES: Mapping[Planted, float] = {
    "bargain": 0.1, "wrong-claim": 0.1, "stolen": 0.06, "repost": 0.05, "damaged": 0.04,
    "bad-cell": 0.05,
}  # fmt: skip
_NUM_STOCK = 5
_NUM_HISTORY = 1_500
_NOISE = 0.13
"""Standard deviation of log prices that nothing in an advert tells."""
_BARGAIN = (0.62, 0.74)
_THIEF = (0.7, 0.85)
_OTHERS = ("Вереск", "Lynx 2", "Sable")
"""Cars of the market that the lot has no photo of."""
_SISTERS = ({"Волна", "Волна Лифт"}, {"Merula", "Merula Corta"})
"""Which nobody can tell apart from ahead: a wrong claim names no sister."""
_CITIES = ("Уфа", "Омск", "Тверь", "Пермь", "Химки", "Рязань", "Томск", "Казань")
_SELLERS = ("Анна", "Пётр", "Автодом", "Иван", "Мария", "Трейд-ин", "Олег", "Лидия")


@dataclass(frozen=True)
class Advert:
    """One advert, and the truth of it.

    Attributes:
        id: its number.
        car: what it is; `claimed` is what it says.
        year, km, power, owners, gearbox, city, seller, condition: as it says.
        usual: what such cars are asked for, without the chance in `price`.
        price: asked.
        photos: ids of photos in the lot.
        planted: what is wrong with it, if anything.
        related: the advert that it copies.
    """

    id: str
    car: str
    claimed: str
    year: int
    km: int
    power: int
    owners: int
    gearbox: str
    city: str
    seller: str
    usual: int
    price: int
    condition: str = "Не битый"
    photos: tuple[str, ...] = ()
    planted: Planted = ""
    related: str = ""


def draw_adverts(
    num_adverts: int, cars: Sequence[str], *, seed: int = 0, first_id: int = 1
) -> list[Advert]:
    """Honest adverts of a market, without photos.

    Args:
        num_adverts: how many.
        cars: models, the first the cheapest.
        seed: the same one gives the same adverts.
        first_id: number of the first.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(7, first_id)))
    return [
        _draw_advert(rng, str(first_id + number), cars, int(rng.integers(len(cars))))
        for number in range(num_adverts)
    ]


def _draw_advert(rng: np.random.Generator, id_: str, cars: Sequence[str], at: int) -> Advert:
    age = int(np.clip(rng.gamma(3.0, 3.2), 0, 24))
    km = max(1, round(age * rng.uniform(8, 22) + rng.uniform(1, 9)))
    power = int(rng.choice((75, 98, 110, 122, 150, 181)))
    is_automatic = bool(rng.random() < 0.45)
    usual = (
        13.9 + 0.09 * (at % 10) - 0.075 * age - 0.0009 * km
        + 0.4 * math.log(power / 110) + 0.08 * is_automatic
    )  # fmt: skip
    return Advert(
        id_,
        cars[at],
        cars[at],
        NEWEST - age,
        1000 * km,
        power,
        1 + int(rng.integers(4)),
        "Автомат" if is_automatic else "Механика",
        str(rng.choice(_CITIES)),
        str(rng.choice(_SELLERS)),
        _round(math.exp(usual)),
        _round(math.exp(usual + _NOISE * rng.standard_normal())),
    )


def draw_market(lot_path: Path, *, seed: int = 0, heads: Heads = "en") -> Path:
    """Draw a market into the folder "market" of a sample lot.

    listings.csv has adverts with the lot's test photos, which lie in photos.zip under the adverts'
    numbers; history.csv has older ones without photos; truth.csv has what was planted.

    Args:
        lot_path: a sample lot.
        seed: the same one gives the same bytes for the same lot.
        heads: the language of the columns' heads.

    Returns:
        the folder.

    Raises:
        InputError: `lot_path` is no sample lot.
        OutputError: it cannot be written.
    """
    if not is_sample_lot(lot_path):
        raise InputError(f"{lot_path} is no sample lot: draw one with  lotlens sample {lot_path}")
    target = lot_path / "market"
    partial = lot_path / ".market.partial"
    names = {row["Category"]: row["Name"] for row in read_rows(lot_path / "classes.csv")}
    useless = {
        fault.photo_id: fault.kind
        for fault in read_faults(lot_path)
        if fault.part == "test" and fault.kind in ("unreadable", "near-duplicate", "no-car")
    }
    photos: dict[str, list[str]] = {name: [] for name in names.values()}
    for row in read_rows(lot_path / "answers.csv"):
        if row["Id"] not in useless:
            photos[names[row["Category"]]].append(row["Id"])
    carless = [id_ for id_, kind in useless.items() if kind == "no-car"]
    adverts = _plan(photos, carless, seed)
    cars = (*photos, *_OTHERS)
    history = draw_adverts(_NUM_HISTORY, cars, seed=seed, first_id=10_001)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            write_adverts(partial / "listings.csv", adverts, heads, seed=seed)
            write_adverts(partial / "history.csv", history, heads, seed=seed)
            truth = [
                (one.id, one.planted, one.car, one.usual, one.price, one.related) for one in adverts
            ]
            write_rows(partial / "truth.csv", TRUTH, truth)
            _write_photos(partial / "photos.zip", lot_path / "test.zip", adverts)
            (partial / "README.txt").write_text(
                f"{MARK}: SYNTHETIC\n\nAdverts, cars and prices are invented; truth.csv says what"
                " was planted in listings.csv.\n",
                encoding="utf-8",
                newline="\n",
            )
            shutil.rmtree(target, ignore_errors=True)
            os.replace(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"the market cannot be written to {target}: {error.strerror or error}"
        ) from error
    return target


# --- what is planted -----------------------------------------------------------------------------


def _plan(photos: Mapping[str, Sequence[str]], carless: Sequence[str], seed: int) -> list[Advert]:
    """Adverts that share out the photos, with all that is planted, in a mixed order."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(7, 0)))
    cars = tuple(photos)
    left = {car: [str(one) for one in rng.permutation(ids)] for car, ids in photos.items()}
    stocked = max(left, key=lambda car: len(left[car]))
    stock = left[stocked].pop()
    adverts = []
    for at, car in enumerate(cars):
        while left[car]:
            count = int(rng.choice((1, 2, 3), p=(0.35, 0.4, 0.25)))
            shown, left[car] = left[car][:count], left[car][count:]
            adverts.append(replace(_draw_advert(rng, "", cars, at), photos=tuple(shown)))
    adverts = [adverts[at] for at in rng.permutation(len(adverts)).tolist()]
    fewest = 2 if len(adverts) >= 20 else 1
    counts = {kind: max(fewest, round(share * len(adverts))) for kind, share in _SHARES.items()}
    at = 0
    spoilt: tuple[Planted, ...] = ("bargain", "wrong-claim", "damaged", "bad-cell")
    for kind in spoilt:
        for _ in range(counts[kind]):
            adverts[at] = _spoil(rng, adverts[at], kind, cars)
            at += 1
    honest = adverts[at:]
    copies = [_copy(rng, source, "stolen", cars) for source in honest[: counts["stolen"]]]
    copies += [_copy(rng, source, "repost", cars) for source in honest[::-1][: counts["repost"]]]
    for number, photo in enumerate(carless):
        row = honest[number % len(honest)]
        row = replace(row, photos=(*row.photos, photo))
        adverts[at + number % len(honest)] = row
    place = cars.index(stocked)
    stocks = [
        replace(_draw_advert(rng, "", cars, place), photos=(stock,), planted="stock")
        for _ in range(_NUM_STOCK)
    ]
    others = [_draw_advert(rng, "", _OTHERS, number) for number in range(len(_OTHERS))]
    whole = [*adverts, *copies, *stocks, *others]
    order = rng.permutation(len(whole)).tolist()
    number_of = {at: str(number) for number, at in enumerate(order, start=1)}
    sources = {honest[n].photos[0]: str(number_of[at + n]) for n in range(len(honest))}
    return [
        replace(
            whole[old],
            id=number_of[old],
            related=sources[whole[old].related] if whole[old].related else "",
        )
        for old in order
    ]


def _spoil(rng: np.random.Generator, advert: Advert, kind: Planted, cars: Sequence[str]) -> Advert:
    if kind == "bargain":
        return replace(advert, planted=kind, price=_round(advert.price * rng.uniform(*_BARGAIN)))
    if kind == "damaged":
        price = _round(advert.price * rng.uniform(0.4, 0.65))
        return replace(advert, planted=kind, price=price, condition="Битый")
    if kind == "wrong-claim":
        return replace(_claim_another(rng, advert, cars), planted=kind)
    return replace(advert, planted=kind)


def _claim_another(rng: np.random.Generator, advert: Advert, cars: Sequence[str]) -> Advert:
    """The advert with another model's name and price, which is no sister of what it shows."""
    like = next((pair for pair in _SISTERS if advert.car in pair), {advert.car})
    others = [at for at, car in enumerate(cars) if car not in like]
    told = _draw_advert(rng, "", cars, int(rng.choice(others)))
    return replace(told, car=advert.car, photos=advert.photos)


def _copy(rng: np.random.Generator, advert: Advert, kind: Planted, cars: Sequence[str]) -> Advert:
    """An advert with a photo of another: of the same car, or of one that is not there."""
    copied = replace(advert, planted=kind, related=advert.photos[0], photos=advert.photos[:1])
    if kind == "repost":
        return replace(copied, price=_round(advert.price * rng.uniform(0.94, 0.99)))
    thief = _claim_another(rng, copied, cars)
    return replace(
        thief,
        planted=kind,
        related=copied.related,
        city=str(rng.choice([city for city in _CITIES if city != advert.city])),
        price=_round(thief.price * rng.uniform(*_THIEF)),
    )


def _round(price: float) -> int:
    return 5000 * max(4, round(price / 5000))


# --- writing -------------------------------------------------------------------------------------


def write_adverts(
    path: Path, adverts: Iterable[Advert], heads: Heads = "en", *, seed: int = 0
) -> None:
    """Write adverts as people write them: each price and mileage in one of several ways.

    Raises:
        OSError: it cannot be written.
    """
    write_rows(path, _COLUMNS[heads], _list_cells(adverts, seed))


def _list_cells(adverts: Iterable[Advert], seed: int) -> Iterator[list[object]]:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(7, 1)))
    num_bad = 0
    for advert in adverts:
        cells = _write_cells(rng, advert)
        if advert.planted == "bad-cell":
            _spoil_cell(cells, num_bad)
            num_bad += 1
        yield cells


def _write_cells(rng: np.random.Generator, advert: Advert) -> list[object]:
    price = f"{advert.price:,}"
    prices = [
        price.replace(",", "\u00a0") + "\u00a0₽", price.replace(",", " ") + " руб.",
        f"{advert.price} р.", f"{advert.price // 1000} тыс. ₽",
    ]  # fmt: skip
    km = f"{advert.km:,}".replace(",", " ")
    mileages = [f"{km} км", str(advert.km), f"{advert.km // 1000} тыс. км"]
    return [
        advert.id,
        f"{advert.claimed}, {advert.year}",
        advert.claimed,
        prices[int(rng.integers(len(prices)))],
        f"{advert.year} г." if rng.random() < 0.2 else advert.year,
        mileages[int(rng.integers(len(mileages)))],
        advert.city,
        advert.seller,
        advert.owners,
        advert.condition,
        advert.gearbox,
        f"{advert.power} л.с.",
        ";".join(_name_photos(advert)),
    ]


def _spoil_cell(cells: list[object], number: int) -> None:
    """One of the ways in which a row of a real table cannot be read."""
    place = {name: at for at, name in enumerate(_COLUMNS["en"])}
    ways: tuple[tuple[str, str], ...] = (
        ("price", "договорная"), ("mileage", "999999"), ("price", "$12,500"),
        ("year", "не указан"), ("price", "400-500 тыс."), ("mileage", "много"),
    )  # fmt: skip
    role, text = ways[number % len(ways)]
    cells[place[role]] = text


def _name_photos(advert: Advert) -> list[str]:
    return [f"{advert.id}-{number}.jpg" for number in range(1, len(advert.photos) + 1)]


def _write_photos(path: Path, source_path: Path, adverts: Iterable[Advert]) -> None:
    """The lot's photos under the adverts' numbers; what is copied is saved anew, a little smaller.

    A thief and a repost have their picture from a web page, which has stored it its own way.
    """
    with zipfile.ZipFile(source_path) as source, zipfile.ZipFile(path, "w") as archive:
        for advert in adverts:
            for name, photo in zip(_name_photos(advert), advert.photos, strict=True):
                data = source.read(f"test_upload/{photo}")
                if advert.related:
                    data = _save_anew(data)
                store(archive, name, data)


def _save_anew(data: bytes) -> bytes:
    written = io.BytesIO()
    with Image.open(io.BytesIO(data)) as photo:
        exif = photo.getexif()
        size = (round(0.85 * photo.width), round(0.85 * photo.height))
        photo.resize(size, Image.Resampling.LANCZOS).save(
            written, format="JPEG", quality=70, exif=exif
        )
    return written.getvalue()
