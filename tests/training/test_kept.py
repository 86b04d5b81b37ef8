"""What a training has done is never lost, and never mixed with another's: not on a full disk, and
not where two are told the same folder."""

import errno
import os
import shutil

import pytest

import lotlens
from lotlens import files
from lotlens.errors import BundleError, InputError, OutputError
from lotlens.recipes.loading import parse_recipe
from lotlens.run import RunFolder
from lotlens.verbs import train as training
from lotlens.verbs.doubts import doubt
from lotlens.verbs.export import export
from lotlens.verbs.refusal import set_refusal
from tests.conftest import draw_photo, encode, make_tiny_recipe

pytestmark = pytest.mark.usefixtures("plain_training")


@pytest.fixture(scope="module")
def recipe(tiny_backbone):
    return parse_recipe({**make_tiny_recipe(tiny_backbone), "deterministic": True})


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full from the write of some number on; it counts them."""

    class Disk:
        full_at = None
        count = 0

    flush = files.flush_file

    def write(path):
        Disk.count += 1
        if Disk.full_at is not None and Disk.count > Disk.full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(path)

    monkeypatch.setattr(files, "flush_file", write)
    return Disk


def list_files(folder):
    """But for TensorBoard's, whose names tell the time."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {str(path) for path in paths if path.parts[0] != "tensorboard"}


def test_on_a_full_disk_what_was_trained_stays_and_goes_on(small_lot, recipe, disk, tmp_path):
    whole = lotlens.train(small_lot, recipe, out=tmp_path / "whole")
    num_writes, weights = disk.count, whole.card.weights_sha256
    kept = 0
    for full_at in range(0, num_writes - 1, 3):  # the last one is the time it took
        out = tmp_path / f"full-at-{full_at}"
        disk.count, disk.full_at = 0, full_at
        with pytest.raises(OutputError, match="no space is left on the disk") as error:
            lotlens.train(small_lot, recipe, out=out)
        run = RunFolder(out)
        if out.exists():
            kept += 1
            assert run.has_checkpoint
            assert f"is kept in {out}: make room, then go on with  --out {out} --resume" in str(
                error.value
            )
            disk.count, disk.full_at = 0, 0
            before = list_files(out)
            with pytest.raises(OutputError, match="no space is left on the disk"):
                lotlens.train(small_lot, out=out, resume=True)
            assert list_files(out) >= before
        disk.full_at = None
        model = lotlens.train(small_lot, recipe, out=out, resume=True)
        assert model.card.weights_sha256 == weights
        assert {path.name for path in out.iterdir()} == {
            path.name for path in whole.run.path.iterdir()
        }
        shutil.rmtree(out)
    assert kept >= num_writes // 4  # nothing is kept before the first checkpoint


def test_a_library_that_finds_the_disk_full_is_no_traceback(
    small_lot, recipe, tmp_path, monkeypatch
):
    def fill(*_, **__):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(training, "finish", fill)
    with pytest.raises(OutputError, match=r"disk quota is used up.*is kept in"):
        lotlens.train(small_lot, recipe, out=tmp_path / "run")
    assert RunFolder(tmp_path / "run").has_checkpoint


def test_a_mistake_found_late_takes_nothing_with_it(small_lot, recipe, tmp_path, monkeypatch):
    """Whatever is raised: what holds a checkpoint, and what was there before, stays."""

    def refuse(*_, **__):
        raise InputError("not like this")

    run = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(training, "finish", refuse)
        with pytest.raises(InputError, match="not like this"):
            lotlens.train(small_lot, recipe, out=run.path)
    assert run.has_checkpoint
    before = list_files(run.path)
    with monkeypatch.context() as patched:
        patched.setattr(training, "train_models", refuse)
        with pytest.raises(InputError, match="not like this"):
            lotlens.train(small_lot, out=run.path, resume=True)
        assert list_files(run.path) == before
        with pytest.raises(InputError, match="not like this"):
            lotlens.train(small_lot, recipe, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert lotlens.train(small_lot, out=run.path, resume=True).run.is_finished


def test_two_trainings_never_share_a_folder(small_lot, recipe, tmp_path):
    """The second one is refused while the first one works, whenever it comes."""
    out, refused = tmp_path / "run", []
    other = recipe.model_copy(update={"seed": 5})

    def intrude(what, done, total):
        if what not in refused:
            for resume in (False, True):
                with pytest.raises(InputError, match="run is being written by another lotlens"):
                    lotlens.train(small_lot, other, out=out, resume=resume)
            refused.append(what)

    model = lotlens.train(small_lot, recipe, out=out, watch=intrude)
    assert {"looking at photos", "fine-tuning"} <= set(refused)
    assert (
        model.card.weights_sha256
        == lotlens.train(small_lot, recipe, out=tmp_path / "alone").card.weights_sha256
    )


def test_a_split_that_is_not_the_models_own_is_refused(small_lot, trained_twice, tmp_path):
    first, second = trained_twice
    mixed = tmp_path / "mixed"
    shutil.copytree(first, mixed)
    shutil.copy(second / "split.csv", mixed)
    for ask in (lotlens.evaluate, doubt, lotlens.adopt_views, export):
        with pytest.raises(
            BundleError, match=r"split.csv is not the split that the model of .*/card"
        ):
            ask(mixed)
    shutil.copy(first / "split.csv", mixed)
    shutil.copy(second / "validation.npz", mixed)
    with pytest.raises(BundleError, match="are not those that the model card describes"):
        set_refusal(mixed)


@pytest.fixture(scope="module")
def trained_twice(small_lot, recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("twice")
    probe = recipe.model_copy(update={"stages": recipe.stages[:1]})
    for seed in (0, 1):
        changed = probe.model_copy(update={"seed": seed})
        lotlens.train(small_lot, changed, out=folder / str(seed))
    return folder / "0", folder / "1"


@pytest.mark.parametrize("ask", [lotlens.evaluate, doubt, lotlens.adopt_views])
def test_who_changes_a_finished_run_does_so_alone(trained_twice, ask):
    with (
        RunFolder.claim(trained_twice[0], "export"),
        pytest.raises(InputError, match=r"is being written by another lotlens \(export,"),
    ):
        ask(trained_twice[0])


def test_a_photo_that_was_replaced_by_one_of_its_size_is_noticed(tmp_path, recipe):
    """The folder's fingerprint looks at what files hold."""
    lot = tmp_path / "lot"
    for label in range(2):
        (lot / f"class {label}").mkdir(parents=True)
        for number in range(8):
            path = lot / f"class {label}" / f"{number}.bmp"
            path.write_bytes(encode(draw_photo(label, number), "BMP"))
            os.utime(path, (1e9, 1e9))
    probe = recipe.model_copy(update={"stages": recipe.stages[:1]})
    run = lotlens.train(lot, probe, out=tmp_path / "run").run.path
    lotlens.evaluate(run)
    path.write_bytes(encode(draw_photo(1, 99), "BMP"))
    with pytest.raises(BundleError, match="have changed since it was trained"):
        lotlens.evaluate(run)
