"""Say what adverts' cars are usually offered for, by fitted prices that a scan has saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lotlens.files import check_apart, check_writable, write_rows_atomically
from lotlens.market.fitted import read_prices
from lotlens.market.listings import Listing, Listings, read_listings
from lotlens.market.prices import Fair
from lotlens.texts import describe

COLUMNS = (
    "id", "title", "make", "model", "year", "mileage_km", "price", "currency", "fair_price",
    "fair_low", "fair_high", "fair_low90", "fair_high90", "fair_by", "num_like", "problems", "url",
)  # fmt: skip
"""Of the table that is written; they mean what they do in deals.csv."""


@dataclass(frozen=True)
class Priced:
    """Adverts with what their cars are usually offered for.

    Attributes:
        path: the table.
        fair: of each advert, in order.
        listings: how the adverts were read.
    """

    path: Path
    fair: tuple[Fair, ...]
    listings: Listings

    @property
    def num_priced(self) -> int:
        """Adverts that have a usual price."""
        return sum(one.method != "none" for one in self.fair)

    def __repr__(self) -> str:
        return describe("Priced", f"{self.num_priced:,} of {len(self.fair):,} adverts")


def price(
    prices: Path | str,
    listings: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    currency: str = "",
    out: Path | str = "prices.csv",
    tell: Callable[[Listings], None] | None = None,
) -> Priced:
    """Estimate what the cars of a table are usually offered for; no photo is looked at.

    It needs no scikit-learn, and takes a second.

    Args:
        prices: what `scan(..., save_prices=...)` has written.
        listings: the table of adverts (see `market.listings`); it needs no prices.
        columns: role -> column, where names do not tell.
        currency: of prices without one.
        out: the table to write.
        tell: told how the adverts were read, before work begins.

    Raises:
        InputError: a file cannot be read, or the adverts are in another currency.
        OutputError: the table cannot be written.
    """
    path = Path(out)
    check_apart(path, [Path(prices), Path(listings)])
    check_writable(path)
    fitted = read_prices(prices)
    read = fitted.introduce(
        read_listings(listings, columns=columns, currency=currency), str(prices)
    )
    if tell is not None:
        tell(read)
    fair = fitted.estimate(read.rows)
    cells = [_list_cells(row, one, read.currency) for row, one in zip(read.rows, fair, strict=True)]
    write_rows_atomically(path, COLUMNS, cells)
    return Priced(path, tuple(fair), read)


def _list_cells(row: Listing, fair: Fair, currency: str) -> list[object]:
    numbers = (fair.price, fair.low, fair.high, fair.low90, fair.high90)
    return [
        row.id, row.title, row.make, row.model, row.year, _round(row.mileage), _round(row.price),
        currency, *map(_round, numbers), fair.method, fair.num_like, "; ".join(row.problems),
        row.url,
    ]  # fmt: skip


def _round(value: float | None) -> int | None:
    return None if value is None or math.isnan(value) else round(value)
