"""No learnt photo is judged, wherever it lies, whatever it is called, and however it was saved."""

import csv
import shutil

import pytest
from PIL import Image
from typer.testing import CliRunner

import lotlens
from lotlens.audit.known import KnownPhotos, know_photos, read_known, write_known
from lotlens.audit.parts import list_held_out, list_learnt, read_split
from lotlens.audit.signs import scan_photos
from lotlens.cli.app import build_app
from lotlens.deliver.learnt import COPIES, find_learnt
from lotlens.errors import BundleError, InputError
from lotlens.photos.sources import open_photos
from lotlens.recipes.loading import parse_recipe
from lotlens.run import RunFolder
from lotlens.verbs.export import export
from lotlens.verbs.refusal import set_refusal
from tests.conftest import draw_photo, encode, make_tiny_recipe

pytestmark = pytest.mark.usefixtures("without_curves")
NAMES = ("Волна", "Heron 4")


@pytest.fixture(scope="module")
def without_curves():
    from tests.conftest import without_charts

    with without_charts():
        yield


def draw(label, number):
    """A photo with the soft shapes that natural pictures have, which outlive another size."""
    return draw_photo(label, number, (64, 48)).resize((240, 180), Image.Resampling.BICUBIC)


def write_photos(folder, numbers, kind="JPEG"):
    for label, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            photo = draw(label, number)
            (folder / name / f"{number}.jpg").write_bytes(encode(photo, kind))


@pytest.fixture(scope="module")
def lot(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learnt") / "lot"
    write_photos(folder, range(16))
    return folder


def train(lot, backbone, out, **changes):
    recipe = make_tiny_recipe(backbone)
    recipe["stages"] = [{"kind": "probe", "penalties": [0.3]}]
    return lotlens.train(lot, parse_recipe({**recipe, "lock": 0.2, **changes}), out=out).run


@pytest.fixture(scope="module")
def run(lot, tiny_backbone, tmp_path_factory):
    return train(lot, tiny_backbone, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def moved(run, lot, tmp_path):
    """The run with data of its own that may change."""
    own, data = tmp_path / "run", tmp_path / "lot"
    shutil.copytree(run.path, own)
    shutil.copytree(lot, data)
    RunFolder(own).write_source({**run.read_source(), "data": str(data)})
    return RunFolder(own), data


def test_where_the_data_have_changed_nothing_learnt_is_judged(moved):
    run, data = moved
    photo = data / NAMES[0] / "new.jpg"
    photo.write_bytes(encode(draw(0, 500)))
    for given in (None, data):
        with pytest.raises(BundleError, match=r"have changed since it was trained.*--changed"):
            lotlens.evaluate(run.path, given)
    split = read_split(run.split_path)
    for given in (None, data):
        found = lotlens.evaluate(run.path, given, changed=True)
        assert {*found.predictions.ids} == {*list_held_out(split), "new.jpg"}
        assert found.left_out == {
            "learnt": len(list_learnt(split)),
            "locked away": len(split.parts["locked"]),
        }
    assert found.report_path != run.report_path
    assert "left out" in found.report_path.read_text("utf-8")
    with pytest.raises(
        BundleError, match=r"put them back, name other labelled photos to judge on$"
    ):
        lotlens.evaluate(run.path, locked=True, changed=True)


def test_a_learnt_photo_with_other_contents_is_still_that_photo(moved):
    run, data = moved
    split = read_split(run.split_path)
    for id_ in list_learnt(split)[:3]:
        (data / id_).write_bytes(encode(draw(1, 900 + len(id_))))
    found = lotlens.evaluate(run.path, data, changed=True)
    assert {*found.predictions.ids} == set(list_held_out(split))


def write_elsewhere(folder, lot, save):
    """All photos of a lot under other names, with their labels in a table."""
    (folder / "photos").mkdir(parents=True)
    rows, was = [], {}
    for number, path in enumerate(sorted(lot.rglob("*.jpg"))):
        id_ = f"advert {number}.jpg"
        save(path, folder / "photos" / id_)
        rows.append((id_, path.parent.name))
        was[id_] = f"{path.parent.name}/{path.name}"
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("Id", "Category"), *rows])
    return {"labels": folder / "labels.csv", "photos": folder / "photos"}, was


def save_smaller(source, target):
    with Image.open(source) as image:
        image.resize((200, 150), Image.Resampling.BICUBIC).save(target, quality=80)


def save_mirrored(source, target):
    with Image.open(source) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(target, quality=85)


@pytest.mark.parametrize("save", [shutil.copy, save_smaller, save_mirrored])
def test_copies_elsewhere_are_left_out_by_whatever_name(run, lot, tmp_path, save):
    given, was = write_elsewhere(tmp_path / "elsewhere", lot, save)
    found = lotlens.evaluate(run.path, **given)
    split = read_split(run.split_path)
    learnt = set(list_learnt(split))
    assert {was[id_] for id_ in found.predictions.ids} == set(was.values()) - learnt
    (reason,) = found.left_out
    assert reason == COPIES[save is not shutil.copy]
    assert found.left_out[reason] == len(learnt)
    result = CliRunner().invoke(
        build_app(),
        [
            "evaluate",
            str(run.path),
            "--labels",
            str(given["labels"]),
            "--photos",
            str(given["photos"]),
        ],
        catch_exceptions=False,
    )
    assert f"{len(learnt)} left out: {len(learnt)} {reason}" in " ".join(result.output.split())


def test_where_all_was_learnt_nothing_is_judged(run, lot, tmp_path):
    split = read_split(run.split_path)
    for id_ in list_learnt(split):
        target = tmp_path / "lot" / id_
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(lot / id_, target)
    with pytest.raises(InputError, match=r"nothing is left to judge .* the same file as one that"):
        lotlens.evaluate(run.path, tmp_path / "lot")


def test_two_runs_are_compared_on_what_neither_has_learnt(run, lot, tiny_backbone, tmp_path):
    other = train(lot, tiny_backbone, tmp_path / "other", seed=4)
    given, was = write_elsewhere(tmp_path / "elsewhere", lot, save_smaller)
    learnt = {id_ for one in (run, other) for id_ in list_learnt(read_split(one.split_path))}
    found = lotlens.compare(run.path, other.path, **given)
    assert found.result.pair.num_photos == len(was) - len(learnt)
    assert f"{len(was) - len(learnt)} photos that neither has learnt" in found.about


def test_an_export_knows_them_by_their_bytes(run, lot, tmp_path):
    exported = export(run.path, out=tmp_path / "export").path
    given, was = write_elsewhere(tmp_path / "elsewhere", lot, shutil.copy)
    found = lotlens.evaluate(exported, **given)
    learnt = set(list_learnt(read_split(run.split_path)))
    assert {was[id_] for id_ in found.predictions.ids} == set(was.values()) - learnt
    assert (exported / "photos.npz").stat().st_size < run.photos_path.stat().st_size / 2


def test_learnt_photos_are_no_strangers(moved, lot, tmp_path):
    run, _ = moved
    learnt = list_learnt(read_split(run.split_path))
    (tmp_path / "strangers").mkdir()
    for number in range(6):
        stranger = draw(2, number)
        (tmp_path / "strangers" / f"{number}.jpg").write_bytes(encode(stranger))
    for number, id_ in enumerate(learnt[:4]):
        shutil.copy(lot / id_, tmp_path / "strangers" / f"known-{number}.jpg")
    assert set_refusal(run.path, unknown=tmp_path / "strangers").num_left_out == 4
    for number in range(6):
        (tmp_path / "strangers" / f"{number}.jpg").unlink()
    with pytest.raises(InputError, match="all photos given as unknown were learnt"):
        set_refusal(run.path, unknown=tmp_path / "strangers")


def test_what_is_kept_of_photos_comes_back(lot, tmp_path):
    photos = open_photos([lot]).photos[:5]
    signs = {p.id: s for p, s in zip(photos, scan_photos(photos), strict=True)}
    known = know_photos(photos[:4], photos[4:], signs)
    write_known(tmp_path / "photos.npz", known)
    again = read_known(tmp_path / "photos.npz")
    assert again.photos == known.photos
    assert again.stamps == known.stamps
    assert again.added == {photos[4].id}
    for id_, sign in signs.items():
        kept = again.signs[id_]
        assert (kept.status, kept.digest, kept.size) == (sign.status, sign.digest, sign.size)
        assert (kept.hash == sign.hash).all()


def test_a_run_of_before_keeps_none(tmp_path):
    assert read_known(tmp_path / "photos.npz") == KnownPhotos()


@pytest.mark.parametrize("damage", [b"", b"no archive", "cut"])
def test_what_is_damaged_is_refused(moved, damage):
    run, _ = moved
    whole = run.photos_path.read_bytes()
    run.photos_path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else damage)
    with pytest.raises(BundleError, match=r"photos.npz is damaged"):
        lotlens.evaluate(run.path)


def test_no_photo_no_work(run):
    assert find_learnt(lotlens.load(run.path), ()) == {}


def test_without_what_it_knows_its_photos_by_nothing_is_judged(moved, lot):
    run, _ = moved
    run.photos_path.unlink()
    with pytest.raises(BundleError, match=r"photos.npz is missing"):
        find_learnt(lotlens.load(run.path), open_photos([lot]).photos)
