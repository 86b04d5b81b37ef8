"""Fitted prices as a file: what was learnt from some adverts, for others at another time.

The file is JSON, so that nothing in it can be executed; it needs no scikit-learn. All of it is
checked: whoever wrote it, reading ends in prices or in an error.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotlens.errors import InputError
from lotlens.files import write_bytes_atomically
from lotlens.market.encoding import BOOSTED, EFFECTS, LONGEST_WORD, NUM_NUMBERS, Encoding
from lotlens.market.listings import Listing, Listings, settle_currency
from lotlens.market.prices import (
    ENDS,
    FEWEST_OF_CAR,
    FEWEST_TO_FIT,
    Adjustment,
    Booster,
    Fair,
    Learnt,
    Middle,
    Pool,
    Regressor,
    build_fair,
    can_ask,
    can_teach,
    complete_makes,
    fit_ends,
    fit_middle,
    stack_for_ends,
)
from lotlens.market.trees import Trees, read_numbers, read_wholes
from lotlens.naming import fold_name
from lotlens.photos.tables import list_some
from lotlens.texts import describe
from lotlens.values import (
    MOST_JSON_BYTES,
    parse_json,
    read_fields,
    read_list,
    read_number,
    read_text,
    read_whole,
    require_fields,
)
from lotlens.version import __version__

FORM = "lotlens prices 1"
"""With which a file says what it is."""
_MOST_ADVERTS, _MOST_WORDS = 10_000_000, 500_000
_TOLERANCE, _MOST_LOG = 1e-9, 40.0
_BOOSTERS = ("rest", "whole", "plain")

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class FittedPrices:
    """What estimates the prices of adverts that it was not learnt from.

    Attributes:
        sources: names of the tables that it was learnt from.
        fitted_on: the day, as ISO 8601.
        currency: of all prices, ISO 4217; "" if it was nowhere written.
        num_adverts: that it was learnt from.
        encoding: how adverts become numbers.
        counts: [cars] of them, by code.
        make_counts: [makes] likewise.
        middle: estimates the logarithm of a price.
        ends: estimate the quantiles ENDS of its errors.
        adjustment: what is added to these.
        learnt: marks of the adverts, by which they are known again.
    """

    sources: tuple[str, ...]
    fitted_on: str
    currency: str
    num_adverts: int
    encoding: Encoding
    counts: IntArray
    make_counts: IntArray
    middle: Middle
    ends: tuple[Booster, ...]
    adjustment: Adjustment
    learnt: frozenset[int]

    def __str__(self) -> str:
        return (
            f"learnt on {self.fitted_on} from {self.num_adverts:,} adverts of"
            f" {', '.join(self.sources)}, {self.currency or 'a currency not written'}"
        )

    def __repr__(self) -> str:
        return describe("FittedPrices", str(self))

    def estimate(self, rows: Sequence[Listing]) -> list[Fair]:
        """A fair price for each advert, without analogues; none where its make was not seen.

        An advert that it was learnt from has a say in its own price: see `count_learnt`.
        """
        known_makes = self.encoding.words["make",]
        rows = complete_makes(rows, known_makes)
        fair = [Fair()] * len(rows)
        wanted = np.flatnonzero([can_ask(row) for row in rows])
        if not len(wanted):
            return fair
        table = self.encoding.encode([rows[at] for at in wanted])
        car, make = table.codes["car",], table.codes["make",]
        count = np.append(self.counts, 0)[car]
        # What people learnt lies well within these bounds; what a file says need not.
        middle = np.clip(self.middle.estimate(table, np.arange(len(wanted))), -_MOST_LOG, _MOST_LOG)
        inputs = stack_for_ends(table, middle, count)
        quantiles = np.column_stack([end.predict(inputs) for end in self.ends])
        quantiles = np.clip(quantiles, -_MOST_LOG, _MOST_LOG)
        seen = np.append(self.make_counts, 0)[make]
        for number, at in enumerate(wanted.tolist()):
            num_like = int(count[number])
            # As among adverts that are learnt from, where a make counts the advert itself too: a
            # name without a make must be known itself.
            is_known = (seen[number] if rows[at].make else num_like) >= FEWEST_OF_CAR
            if not is_known:
                fair[at] = Fair(num_like=num_like)
                continue
            bounds = self.adjustment.widen(quantiles[number], int(car[number]), int(make[number]))
            bounds = np.clip(middle[number] + bounds, -_MOST_LOG, _MOST_LOG) - middle[number]
            fair[at] = replace(
                build_fair(float(middle[number]), bounds),
                method="model" if num_like >= FEWEST_OF_CAR else "make",
                num_like=num_like,
            )
        return fair

    def introduce(self, read: Listings, name: str) -> Listings:
        """A table of adverts to price, with what is to be said of it and of these prices.

        Args:
            read: the table.
            name: of the file of prices.

        Raises:
            InputError: it is in another currency.
        """
        read = settle_currency(read, self.currency, name)
        notes = [f"prices are by {name}, {self}"]
        strangers = self.list_strangers(read.rows)
        if strangers:
            num = f"{len(strangers):,} models" if len(strangers) > 1 else "1 model"
            notes.append(f"{name} has seen no advert of {num}: {list_some(strangers, 6)}")
        num_learnt = self.count_learnt(read.rows)
        if num_learnt:
            notes.append(
                f"{num_learnt:,} of these adverts were learnt from: their usual prices lean towards"
                " what they ask themselves"
            )
        return replace(read, notes=(*read.notes, *notes))

    def count_learnt(self, rows: Iterable[Listing]) -> int:
        """How many of these adverts it was learnt from: these prices are too near what is asked."""
        return sum(_mark(row) in self.learnt for row in rows)

    def list_strangers(self, rows: Iterable[Listing]) -> tuple[str, ...]:
        """The cars among these adverts of which it has seen none."""
        known = self.encoding.words["car",]
        named = [row.car for row in complete_makes(list(rows), self.encoding.words["make",])]
        return tuple(dict.fromkeys(car for car in named if car and fold_name(car) not in known))


def check_enough(rows: Sequence[Listing]) -> None:
    """Make sure that prices of these adverts can be kept.

    Raises:
        InputError: they are too few.
    """
    num = sum(map(can_teach, rows))
    if num < FEWEST_TO_FIT:
        raise InputError(
            f"{num:,} adverts have a price, a model and a year: prices are kept from"
            f" {FEWEST_TO_FIT} on, since fewer are estimated by analogues"
        )


def keep_prices(
    learnt: Learnt, sources: Sequence[str], currency: str, *, today: date | None = None
) -> FittedPrices:
    """Fit prices to all adverts, for others to come.

    Intervals are made from the errors that each advert had while it was left out, so they are
    as wide as those of the scan.

    Args:
        learnt: of `prices.learn_prices`.
        sources: names of the tables.
        currency: of all prices.
        today: the day that the file names.

    Raises:
        InputError: the adverts were too few, or the installed scikit-learn keeps its trees in a
            way that is not known here.
    """
    market = learnt.market
    if market is None:
        raise InputError("too few adverts to keep prices of")
    at = market.teaching
    rows = [learnt.rows[one] for one in at]
    encoding = Encoding.of(rows)
    table = encoding.encode(rows)
    every = np.arange(len(rows))
    log_price, groups = market.log_price[at], market.groups[at]
    middle = fit_middle(table, log_price, every, groups, seed=market.seed)
    car, make = table.codes["car",], table.codes["make",]
    counts = np.bincount(car, minlength=len(encoding.words["car",]))
    residuals = market.residuals[at]
    ends = fit_ends(stack_for_ends(table, market.middle[at], counts[car]), residuals, market.seed)
    return FittedPrices(
        sources=tuple(sources),
        fitted_on=(today or datetime.now(UTC).date()).isoformat(),
        currency=currency,
        num_adverts=len(rows),
        encoding=encoding,
        counts=counts,
        make_counts=np.bincount(make, minlength=len(encoding.words["make",])),
        middle=middle,
        ends=tuple(ends),
        adjustment=Adjustment.of(car, make, market.scores[at]),
        learnt=frozenset(map(_mark, rows)),
    )


def estimate_by_file(fitted: FittedPrices, rows: Sequence[Listing]) -> list[Fair]:
    """A fair price for each advert by what was learnt before, else by the other adverts.

    Analogues are among these adverts.
    """
    pool = Pool.of(complete_makes(rows, fitted.encoding.words["make",]))
    fair = fitted.estimate(rows)
    for at, row in enumerate(rows):
        if can_ask(row):
            one = fair[at] if fair[at].method != "none" else pool.estimate_alone(at)
            fair[at] = pool.add_analogues(at, one)
    return fair


# --- the file ------------------------------------------------------------------------------------


def write_prices(path: Path, fitted: FittedPrices) -> None:
    """Write fitted prices, whole or not at all.

    Raises:
        InputError: `read_prices` would not read it, as they were learnt from too many adverts or
            different words; or trees are kept in a way that is not known here.
        OutputError: the file cannot be written.
    """
    text = json.dumps(_to_values(fitted), ensure_ascii=False, separators=(",", ":"))
    data = text.encode("utf-8", "surrogateescape")
    try:
        _from_values(parse_json(data))
    except ValueError as error:
        raise InputError(
            f"the prices could not be read again ({error}): learn them from fewer adverts"
        ) from error
    write_bytes_atomically(path, data)


def _to_values(fitted: FittedPrices) -> dict[str, Any]:
    middle, adjustment, encoding = fitted.middle, fitted.adjustment, fitted.encoding
    return {
        "form": FORM,
        "lotlens": __version__,
        "sources": list(fitted.sources),
        "fitted_on": fitted.fitted_on,
        "currency": fitted.currency,
        "num_adverts": fitted.num_adverts,
        "newest": encoding.newest,
        "middles": list(encoding.middles),
        "words": {_join(names): list(known) for names, known in encoding.words.items()},
        "common": {name: list(codes) for name, codes in encoding.common.items()},
        "counts": fitted.counts.tolist(),
        "make_counts": fitted.make_counts.tolist(),
        "level": middle.level,
        "effects": middle.effects.tolist(),
        "means": middle.means.tolist(),
        "boosters": {
            name: _freeze(getattr(middle, name), width).to_values()
            for name, width in zip(_BOOSTERS, _list_widths(), strict=True)
        },
        "ends": [_freeze(end, NUM_NUMBERS + 2).to_values() for end in fitted.ends],
        "adjustment": {
            "by_car": {str(code): add.tolist() for code, add in adjustment.by_car.items()},
            "by_make": {str(code): add.tolist() for code, add in adjustment.by_make.items()},
            "over_all": adjustment.over_all.tolist(),
        },
        "learnt": sorted(fitted.learnt),
    }


def _list_widths() -> tuple[int, int, int]:
    """How many inputs the boosters of a middle take."""
    width = NUM_NUMBERS + len(BOOSTED)
    return width + 2, width + 2, width + 1


def _join(names: tuple[str, ...]) -> str:
    return " + ".join(names)


def _freeze(booster: Booster, width: int) -> Trees:
    """Trees of scikit-learn as arrays, which answer as it does."""
    if isinstance(booster, Trees):
        return booster
    if not isinstance(booster, Regressor):
        raise TypeError(f"no trees can be made of {booster!r}")
    try:
        trees = Trees.of(booster.model, booster.told)
        inputs = _draw_inputs(trees, width)
        apart = np.abs(trees.predict(inputs) - booster.predict(inputs))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise _say_unknown() from error
    if apart.max() > _TOLERANCE:
        raise _say_unknown()
    return trees


def _say_unknown() -> InputError:
    import sklearn

    return InputError(
        f"scikit-learn {sklearn.__version__} keeps its trees in a way that is not known here:"
        " prices cannot be kept; install another version"
    )


def _draw_inputs(trees: Trees, width: int) -> FloatArray:
    """[1000, width] inputs about where trees part them, with gaps and unknown codes."""
    rng = np.random.default_rng(0)
    inputs = np.full((1000, width), np.nan)
    for column in range(width):
        if column in trees.known:
            inputs[:, column] = rng.integers(0, 1 + trees.known[column].sum(), len(inputs))
            continue
        parting = trees.threshold[
            (trees.column == column) & (trees.left != np.arange(len(trees.left)))
        ]
        if len(parting):
            inputs[:, column] = rng.choice(parting, len(inputs)) + rng.normal(0, 1e-3, len(inputs))
    inputs[rng.random(inputs.shape) < 0.05] = np.nan
    return inputs


def read_prices(path: Path | str) -> FittedPrices:
    """Fitted prices out of their file.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_JSON_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return _from_values(parse_json(data))
    except ValueError as error:
        raise InputError(f"{path} holds no fitted prices of lotlens: {error}") from error


def _from_values(values: Any) -> FittedPrices:
    if not isinstance(values, dict) or values.get("form") != FORM:
        raise ValueError(f"it does not begin with {FORM!r}")
    widths = dict(zip(_BOOSTERS, _list_widths(), strict=True))
    readers = {
        "sources": lambda one: read_list(one, read_text, 0, 100),
        "fitted_on": _read_day,
        "currency": _read_currency,
        "num_adverts": lambda one: read_whole(one, 1, _MOST_ADVERTS),
        "newest": lambda one: read_whole(one, 1900, 2200),
        "middles": lambda one: read_list(one, read_number, NUM_NUMBERS, NUM_NUMBERS),
        "words": lambda one: _read_each(one, {_join(names): _read_words for names in EFFECTS}),
        "common": lambda one: _read_each(one, dict.fromkeys(BOOSTED, _read_codes)),
        "counts": lambda one: read_wholes(one, 0, _MOST_ADVERTS, _MOST_WORDS),
        "make_counts": lambda one: read_wholes(one, 0, _MOST_ADVERTS, _MOST_WORDS),
        "level": lambda one: read_number(one, -100, 100),
        "effects": lambda one: read_numbers(one, 10 * _MOST_WORDS),
        "means": lambda one: read_numbers(one, _MOST_WORDS),
        "boosters": lambda one: _read_each(
            one, {name: _read_trees(width) for name, width in widths.items()}
        ),
        "ends": lambda one: read_list(one, _read_trees(NUM_NUMBERS + 2), len(ENDS), len(ENDS)),
        "adjustment": _read_adjustment,
        "learnt": lambda one: read_wholes(one, 0, 2**48, _MOST_WORDS),
    }
    found = read_fields(values, readers)
    require_fields(found, readers)
    words = {names: found["words"][_join(names)] for names in EFFECTS}
    for name, codes in found["common"].items():
        if codes and max(codes) >= len(words[name,]):
            raise ValueError(f"common: {name}: there are not so many words")
    encoding = Encoding(found["newest"], words, found["common"], found["middles"])
    num_cars = len(words["car",])
    wanted_of = {
        "counts": num_cars, "means": num_cars, "make_counts": len(words["make",]),
        "effects": encoding.width,
    }  # fmt: skip
    for name, wanted in wanted_of.items():
        if len(found[name]) != wanted:
            raise ValueError(f"{name}: must be {wanted:,} numbers, not {len(found[name]):,}")
    return FittedPrices(
        sources=found["sources"],
        fitted_on=found["fitted_on"],
        currency=found["currency"],
        num_adverts=found["num_adverts"],
        encoding=encoding,
        counts=found["counts"],
        make_counts=found["make_counts"],
        middle=Middle(found["level"], found["effects"], found["means"], **found["boosters"]),
        ends=found["ends"],
        adjustment=found["adjustment"],
        learnt=frozenset(found["learnt"].tolist()),
    )


def _read_each(value: Any, readers: dict[str, Any]) -> dict[str, Any]:
    found = read_fields(value, readers)
    require_fields(found, readers)
    return found


def _read_trees(width: int) -> Any:
    return lambda one: Trees.from_values(one, width)


def _read_day(value: Any) -> str:
    return date.fromisoformat(read_text(value)).isoformat()


def _read_currency(value: Any) -> str:
    text = read_text(value)
    if text and not (len(text) == 3 and text.isascii() and text.isupper()):
        raise ValueError("must be a code such as RUB")
    return text


def _read_words(value: Any) -> dict[str, int]:
    if not isinstance(value, list) or len(value) > _MOST_WORDS:
        raise ValueError(f"must be a list of at most {_MOST_WORDS:,} words")
    if not all(isinstance(one, str) and len(one) <= LONGEST_WORD for one in value):
        raise ValueError(f"must be words of at most {LONGEST_WORD} letters")
    words = {word: code for code, word in enumerate(value)}
    if len(words) < len(value):
        raise ValueError("a word is there twice")
    return words


def _read_codes(value: Any) -> tuple[int, ...]:
    return tuple(read_wholes(value, 0, _MOST_WORDS, 256).tolist())


def _read_adjustment(value: Any) -> Adjustment:
    def read_pair(one: Any) -> FloatArray:
        return np.array(read_list(one, lambda add: read_number(add, -100, 100), 2, 2))

    def read_pairs(one: Any) -> dict[int, FloatArray]:
        if not isinstance(one, dict) or not all(re.fullmatch(r"[0-9]{1,9}", key) for key in one):
            raise ValueError("must be a mapping of codes")
        return {int(code): read_pair(add) for code, add in one.items()}

    return Adjustment(
        **_read_each(value, {"by_car": read_pairs, "by_make": read_pairs, "over_all": read_pair})
    )


def _mark(row: Listing) -> int:
    """48 bits by which an advert is known again: the car, its year, mileage, power and price."""
    told = (fold_name(row.car), row.year, row.mileage, row.power, row.volume, row.price)
    return int.from_bytes(hashlib.sha256(repr(told).encode()).digest()[:6], "big")
