"""Lots with copies and wrong labels, and runs that learnt them."""

import csv
import json
import shutil
import zipfile

import pytest

from tests.conftest import draw_photo, encode, make_once, write_lot


@pytest.fixture
def copied_lot(tmp_path):
    """A folder per class: photo 0 of each class is there three times, rescaled and recompressed;
    a copy of class 0's is in class 1 too."""
    lot = tmp_path / "copied"
    for label in range(3):
        (lot / str(label)).mkdir(parents=True)
        for number in range(12):
            # Enlarged, for details of several pixels as in a photo: single ones survive no copying.
            photo = draw_photo(label, number).resize((320, 240))
            (lot / str(label) / f"{label}-{number}.jpg").write_bytes(encode(photo))
        original = draw_photo(label, 0).resize((320, 240))
        small = original.resize((240, 180))
        (lot / str(label) / f"{label}-0-small.jpg").write_bytes(encode(small))
        (lot / str(label) / f"{label}-0-poor.jpg").write_bytes(encode(original, quality=40))
    shutil.copy(lot / "0" / "0-1.jpg", lot / "1" / "stray.jpg")
    return lot


NUM_CLASSES = 3
TWINS = ("2005.jpg", "9000.jpg")


def make_recipe(backbone, **changes):
    """A probe alone, as plain values."""
    values = {
        "name": "probe",
        "backbone": backbone,
        "image": {"height": 48, "width": 64},
        "validation": 0.3,
        "views": [],
        "stages": [{"kind": "probe", "penalties": [0.3], "mirror": False}],
    }
    return values | changes


def write_doubtful_lot(path):
    lot = write_lot(path / "lot", 20, spoil=True)
    with zipfile.ZipFile(lot / "train.zip", "a") as file:
        file.writestr(f"train/2/{TWINS[1]}", file.read(f"train/1/{TWINS[0]}"))
    with (lot / "train.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    wrong = [id_ for id_, label in rows if label == "0"][3:5]
    rows = [(id_, "2" if id_ in wrong else label) for id_, label in rows]
    with (lot / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows, (TWINS[1], "2")])
    (path / "wrong.txt").write_text("\n".join(wrong))


@pytest.fixture(scope="session")
def own_lot(tmp_path_factory):
    """20 training photos of each class, two of them under a wrong label; one cannot be read.

    One stands there twice, the second time under a label that is wrong. With the lot come the ids
    under the other wrong labels.
    """
    path = make_once(tmp_path_factory, "doubtful", write_doubtful_lot)
    return path / "lot", (path / "wrong.txt").read_text().split()


@pytest.fixture(scope="session")
def parents(own_lot, tiny_backbone, train_once):
    """A run with a validation part, one with a locked part besides, and one with folds."""
    changes = {"plain": {}, "locked": {"lock": 0.2}, "folds": {"folds": 3}}
    return {
        name: train_once(f"parent-{name}", own_lot[0], make_recipe(tiny_backbone, **own)).path
        for name, own in changes.items()
    }


@pytest.fixture
def runs(parents, own_lot, tmp_path):
    """Copies of the runs, and of their lot, which decisions may lie beside."""
    lot = tmp_path / "lot"
    shutil.copytree(own_lot[0], lot)
    for name, parent in parents.items():
        run = tmp_path / "runs" / name
        shutil.copytree(parent, run)
        source = json.loads((run / "source.json").read_text())
        (run / "source.json").write_text(json.dumps(source | {"data": str(lot)}))
    return tmp_path / "runs"
