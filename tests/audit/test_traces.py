"""Sets that differ in storage are told apart and named by it; sets that differ in cars are not."""

from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lotlens.audit import traces
from lotlens.audit.traces import (
    FEWEST,
    KINDS,
    MOST,
    Difference,
    Traces,
    compare_sources,
    compare_traces,
    look_for_traces,
    measure_traces,
)
from lotlens.photos.decode import decode
from lotlens.photos.style import Style, measure_style
from lotlens.records import ImageSpec, Locator, Metric, Photo
from tests.conftest import encode

NUM = 60


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(traces, "_NUM_TREES", 10)  # tell as much of these, in a third of the time


@cache
def draw_scene(number, size=(120, 90)):
    """Grainy ground with shapes on it, at twice the size and made smaller, as cameras do."""
    rng = np.random.default_rng([7, number])
    width, height = 2 * size[0], 2 * size[1]
    coarse = rng.integers(40, 215, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    for _ in range(12):
        left, top = int(rng.integers(width)), int(rng.integers(height))
        box = (left, top, left + int(rng.integers(8, 90)), top + int(rng.integers(8, 60)))
        image.paste(tuple(int(value) for value in rng.integers(20, 235, 3)), box)
    grain = rng.normal(0, 6, (height, width, 3))
    grainy = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(grainy).resize(size, Image.Resampling.LANCZOS)


def lay(folder, numbers, change=lambda image: image, **options):
    folder.mkdir()
    options = {"quality": 88, **options}
    found = []
    for number in numbers:
        path = folder / f"{number}.jpg"
        path.write_bytes(encode(change(draw_scene(number)), **options))
        found.append(Photo(path.name, Locator(path)))
    return found


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return lay(tmp_path_factory.mktemp("traces") / "known", range(NUM))


OTHERS = range(1000, 1000 + NUM)


def test_photos_of_one_source_are_not_told(known, tmp_path):
    found = compare_sources(known, lay(tmp_path / "a", OTHERS))
    assert not found.is_told
    assert found.telling == ()
    assert (found.num_known, found.num_others) == (NUM, NUM)
    assert found.auroc.count == NUM
    assert "the same source" in found.sentence
    assert f"AUROC {found.auroc.value:.2f}" in found.sentence


def test_it_is_the_same_on_every_call(known, tmp_path):
    others = lay(tmp_path / "a", OTHERS, quality=70)
    assert compare_sources(known, others) == compare_sources(known, others)


def shrink(image):
    return image.resize((100, 75), Image.Resampling.LANCZOS)


def frame(image):
    image = image.copy()
    image.paste((0, 0, 0), (0, 0, image.width, 6))
    return image


def blur(image):
    return image.filter(ImageFilter.GaussianBlur(1.2))


def add_grain(image):
    grain = np.random.default_rng(image.tobytes()[0]).normal(0, 12, (*image.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def squash(image):
    return image.resize((120, 120), Image.Resampling.LANCZOS)


def redden(image):
    red, green, blue = image.split()
    return Image.merge("RGB", (red.point(lambda value: min(value + 60, 255)), green, blue))


@pytest.mark.parametrize(
    ("kind", "change", "options"),
    [
        ("size", shrink, {}),
        ("shape", squash, {}),
        ("compression", lambda image: image, {"quality": 60}),
        ("compression", lambda image: image, {"subsampling": 0}),
        ("sharpness", blur, {}),
        ("noise", add_grain, {}),
        ("borders", frame, {}),
        ("colours at the edge", redden, {}),
    ],
)
def test_what_differs_is_named(kind, change, options, known, tmp_path):
    found = compare_sources(known, lay(tmp_path / "a", OTHERS, change, **options))
    assert found.is_told
    alone = dict(found.by_kind)
    assert alone[kind].low > 0.6
    assert alone[kind].value > max(alone.values(), key=lambda one: one.value).value - 0.1
    assert list(alone) == sorted(alone, key=lambda one: -alone[one].value)
    assert all(one in found.sentence for one in found.telling)
    assert found.sentence.endswith("Take them from the same source.")


def test_a_common_style_hides_how_photos_were_stored(known, tmp_path):
    others = lay(tmp_path / "a", OTHERS, shrink, quality=80)
    ours, theirs = measure_style(known), measure_style(others)
    quality = min(ours.quality, theirs.quality)
    both = Style(min(ours.side, theirs.side) * 7 // 8, quality, 2)
    assert compare_sources(known, others).is_told
    found = compare_sources(known, others, known_style=both, other_style=both)
    assert not found.is_told
    assert dict(found.by_kind)["size"].value == 0.5


def test_in_a_networks_frame_size_is_gone_and_sharpness_is_not(known, tmp_path):
    others = lay(tmp_path / "a", OTHERS, lambda image: image.resize((40, 30)))
    found = compare_sources(known, others, spec=ImageSpec(90, 120))
    alone = dict(found.by_kind)
    assert alone["size"].value == alone["shape"].value == 0.5
    assert alone["sharpness"].low > 0.6
    assert found.is_told


@pytest.mark.parametrize("numbers", [(FEWEST - 1, FEWEST), (FEWEST, FEWEST - 1), (0, 0)])
def test_few_are_not_judged(numbers):
    rng = np.random.default_rng(0)
    found = compare_traces(*(rng.normal(size=(count, 16)) for count in numbers))
    assert found == Difference(None, (), *numbers)
    assert not found.is_told
    assert "not judged" in found.sentence
    assert f"there are {numbers[0]} of known cars and {numbers[1]} of other cars" in found.sentence


def test_as_many_as_are_needed_are_judged():
    rng = np.random.default_rng(0)
    found = compare_traces(rng.normal(size=(FEWEST, 16)), rng.normal(size=(FEWEST, 16)))
    assert found.auroc is not None


def test_sets_of_one_source_are_called_told_hardly_ever():
    rng = np.random.default_rng(1)
    drawn = [rng.normal(size=(count, 16)) for count in (40, 60) for _ in range(4)]
    told = [
        compare_traces(one, other).is_told
        for one, other in zip(drawn[::2], drawn[1::2], strict=True)
    ]
    assert not any(told)


def test_a_listing_counts_once_and_broken_files_not_at_all(known, tmp_path):
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(b"\xff\xd8\xff torn")
    photos = [Photo(str(n), one.locator, listing=str(n // 3)) for n, one in enumerate(known[:9])]
    photos += [*known[9:12], Photo("torn", Locator(torn)), Photo("gone", None)]
    for spec in (None, ImageSpec(48, 64)):
        assert measure_traces(photos, spec=spec).shape == (6, 16)
    assert measure_traces(photos, Style(60, 80)).shape == (6, 16)
    assert measure_traces([]).shape == (0, 16)


def test_no_more_are_looked_at_than_said(known):
    assert len(measure_traces(known[:1] * (MOST + 50), spec=ImageSpec(8, 8))) == MOST


def test_every_trace_is_of_one_kind():
    names = [name for kind in KINDS.values() for name in kind]
    assert sorted(names) == sorted(Traces.__slots__)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (7, 9), (9, 7), (17, 17), (1100, 1500)])
def test_a_photo_of_any_size_has_traces(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = look_for_traces(pixels)
    assert found.side == max(shape)
    assert found.aspect == pytest.approx(np.log(shape[1] / shape[0]))
    assert not np.isinf([getattr(found, name) for name in Traces.__slots__]).any()


def test_bars_are_measured():
    pixels = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    assert look_for_traces(pixels).bars == 0
    pixels[:10] = 255
    pixels[:, -30:] = 20
    assert look_for_traces(pixels).bars == pytest.approx((0.1 + 0.15) / 4)
    assert look_for_traces(pixels.swapaxes(0, 1)).bars == pytest.approx((0.1 + 0.15) / 4)
    assert look_for_traces(np.full((30, 40, 3), 7, np.uint8)).bars == 1


def test_noise_is_measured_in_grey_levels():
    rng = np.random.default_rng(0)
    slope = np.add.outer(np.arange(200.0), np.arange(300.0))[..., None] / 3 + 20
    for sigma in (2, 5):
        grain = rng.normal(0, sigma, (200, 300, 1)) + np.zeros(3)
        pixels = np.clip(np.rint(slope + grain), 0, 255).astype(np.uint8)
        # The flattest quarter has a little less.
        assert 0.6 * sigma < np.exp(look_for_traces(pixels).noise) < sigma


def test_blocks_are_seen_where_they_are():
    scene = draw_scene(1, (240, 160))
    sound = look_for_traces(np.asarray(scene)).blockiness
    poor = decode(encode(scene, quality=10))
    assert sound == pytest.approx(1, abs=0.15)
    assert look_for_traces(poor).blockiness > sound + 0.3


def test_three_kinds_at_most_are_named():
    sure = Metric("AUROC", 0.95, 0.9, 0.99, 50)
    by_kind = tuple((kind, sure) for kind in KINDS)
    assert Difference(sure, by_kind, 50, 50).sentence.startswith(
        "The photos of other cars can be told by size, shape and compression alone (AUROC 0.95)"
    )
    unsure = Metric("AUROC", 0.6, 0.5, 0.7, 50)
    joined = Difference(sure, (("noise", unsure), ("size", unsure)), 50, 50)
    assert "told by noise alone" in joined.sentence
