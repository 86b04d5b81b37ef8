"""A scanned market of a few adverts, made by hand: for tests of pages; no network is needed."""

from lotlens.market.claims import Claim
from lotlens.market.copies import Shared
from lotlens.market.listings import Listing
from lotlens.market.prices import Fair
from lotlens.market.ranking import Terms, rank_offers
from lotlens.records import CarClass, Locator, Photo
from lotlens.report.deals_page import Scanned

GOLF, CAMRY = CarClass("0", "VW Golf"), CarClass("1", "Toyota Camry")
CONFIRMED = Claim("confirmed", "", GOLF, GOLF, 0.97, 0.97)
WRONG = Claim("contradicted", "", GOLF, CAMRY, 0.98, 0.001)
HOSTILE = "<script>alert(1)</script>\u202e\x1b"


def list_rows(prefix="a"):
    """Adverts: a bargain, a usual one, a dear one, a wrong claim, a hostile one, one of nothing."""
    places = {"city": "Нижний Новгород", "gearbox": "Автомат"}

    def row(number, **given):
        told = {"make": "VW", "model": "Golf", "title": "VW Golf, 2012", "year": 2012,
                "mileage": 120_000.0, "facts": places,
                "url": f"https://example.com/{prefix}{number}"}  # fmt: skip
        return Listing(number, f"{prefix}{number}", **(told | given))

    return [
        row(1, price=600_000.0),
        row(2, price=790_000.0, title="VW Golf, 2015", year=2015),
        row(3, price=1_150_000.0, make="Toyota", model="Camry", title="Toyota Camry, 2014"),
        row(4, price=650_000.0),
        row(5, title=HOSTILE, model=HOSTILE, facts={"city": HOSTILE}, url="javascript:alert(1)",
            price=700_000.0, condition=HOSTILE * 50, is_damaged=True,
            problems=(f"no year: {HOSTILE!r}",)),
        Listing(6, "6", title="ВАЗ-2107 с очень длинным названием, которому нет места " * 3),
    ]  # fmt: skip


def build_scanned(folder, photo_drawer, *, prefix="a", photos=True, new=None):
    """What a scan of them finds; half of them have photos, if any."""
    rows = list_rows(prefix)
    usual = Fair(800_000, 720_000, 890_000, 660_000, 960_000, "model", 40, (1, 2, 3))
    camry = Fair(1_100_000, 1_000_000, 1_200_000, 900_000, 1_300_000, "analogues", 9, (2,))
    fair = [usual, usual, camry, usual, usual, Fair()]
    claims = [CONFIRMED, CONFIRMED, Claim("open", "not sure", CAMRY, CAMRY, 0.7, 0.7), WRONG,
              Claim("open", "no usable photo", GOLF, set_aside={0: "shows no car"}),
              Claim("open", "no photos")]  # fmt: skip
    shared = [None, None, None, Shared("stolen", (0,)), None, None]
    if not photos:
        claims = [None] * len(rows)
    offers = rank_offers(rows, fair, claims, shared, Terms(costs=20_000.0))
    shown = {}
    for row in rows[: 4 if photos else 0]:
        path = folder / f"{prefix}{row.row}.jpg"
        photo_drawer(row.row % 3, row.row, (320, 240)).save(path)
        shown[row.row] = Photo(path.name, Locator(path), None)
    return Scanned(offers, rows, rows, shown, "RUB", Terms(costs=20_000.0), new)
