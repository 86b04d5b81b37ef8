"""Draw a sample lot, and a sheet to look at it."""

from __future__ import annotations

from pathlib import Path

from lotlens.drawn.lot import draw_contact_sheet, draw_lot
from lotlens.drawn.market import Heads, draw_market
from lotlens.files import check_writable
from lotlens.records import Watcher, watch_part


def draw_sample(
    out: Path | str,
    *,
    seed: int = 0,
    num_train: int = 600,
    num_test: int = 200,
    sheet: Path | str | None = None,
    listings: Heads | None = None,
    overwrite: bool = False,
    watch: Watcher | None = None,
) -> Path:
    """Draw a sample lot (see `draw_lot`).

    Args:
        out: the folder to write it into.
        seed: the same one gives the same bytes.
        num_train: training photos.
        num_test: test photos.
        sheet: a contact sheet (PNG) to write besides.
        listings: draw a market of adverts with the test photos besides, into its folder "market"
            (see `draw_market`); the language of its heads, "en" or "ru".
        overwrite: replace a sample lot already there.
        watch: told of the work as it goes on.

    Returns:
        the folder.

    Raises:
        InputError: a number is out of range, or the folder holds something else.
        OutputError: it cannot be written.
    """
    for path in (Path(out) / "train.csv", sheet):
        if path is not None:
            check_writable(Path(path))
    lot_path = draw_lot(
        Path(out),
        seed=seed,
        num_train=num_train,
        num_test=num_test,
        overwrite=overwrite,
        progress=watch_part(watch, "drawing"),
    )
    if sheet is not None:
        draw_contact_sheet(lot_path, Path(sheet))
    if listings is not None:
        draw_market(lot_path, seed=seed, heads=listings)
    return lot_path
