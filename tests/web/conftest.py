"""A small lot with doubts, and a run folder that knows both; no model is needed to review."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from lotlens.improve.doubts import write_doubts
from lotlens.photos.decisions import decisions_path, read_decisions
from lotlens.photos.sources import open_lot
from lotlens.records import Catalog, Doubt
from lotlens.run import RunFolder

NUM_DOUBTS = 10


@dataclass
class Reviewed:
    """What a review works on."""

    run: RunFolder
    data: Path
    catalog: Catalog
    doubts: tuple[Doubt, ...]

    @property
    def path(self):
        return decisions_path(self.data)

    def read(self):
        """Photo id -> (verdict, label) of what is on the disk."""
        return {one.photo_id: (one.verdict, one.label) for one in read_decisions(self.path)}


def doubt(photo, suggested, rank, reasons=None):
    return Doubt(
        photo.id,
        photo.label,
        suggested,
        0.93,
        0.04,
        1 - rank / 10_000,
        reasons or {"label probably wrong": 0.9, "odd one out": 0.5},
    )


@pytest.fixture
def reviewed(tmp_path, photo_drawer):
    """Three classes of eight photos in folders, one of them broken, and ten doubts."""
    data = tmp_path / "lot"
    for label, name in enumerate(("Волна", "Heron 4", "Clover")):
        (data / name).mkdir(parents=True)
        for number in range(8):
            path = data / name / f"{label}-{number}.jpg"
            photo_drawer(label, number, (160, 120)).save(path)
    (data / "Clover" / "2-2.jpg").write_bytes(b"no photo at all")
    catalog = open_lot(data).train
    photos = [photo for photo in catalog.photos if int(photo.id[2]) < 4]
    labels = catalog.labels
    doubts = [
        doubt(photo, labels[(labels.index(photo.label) + 1) % 3], rank)
        for rank, photo in enumerate(photos[:NUM_DOUBTS])
    ]
    doubts[3] = doubt(photos[3], photos[3].label, 3, {"unsure between two": 0.8})
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.card_path.write_text("{}")
    run.weights_path.write_bytes(b"")
    run.source_path.write_text(json.dumps({"data": str(data)}))
    write_doubts(run.doubts_path, doubts, catalog.classes)
    return Reviewed(run, data, catalog, tuple(doubts))
