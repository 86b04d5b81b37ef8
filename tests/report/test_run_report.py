"""The report of a real run: heat maps of the members that answered, or none."""

from dataclasses import replace

import numpy as np
import pytest

import lotlens
from lotlens.answering.answers import load_predictions
from lotlens.audit.parts import read_split
from lotlens.errors import InputError, MissingExtra
from lotlens.judge.judged import Subject, judge
from lotlens.photos.prepare import normalise
from lotlens.photos.reading import read_ahead
from lotlens.photos.sources import open_lot
from lotlens.records import Catalog, Locator
from lotlens.report import run_report
from lotlens.report.run_report import find_heat_maps
from lotlens.vision import explain as explaining
from lotlens.vision.bundle import load_bundle
from lotlens.vision.explain import explain


def test_heat_maps_are_those_of_the_member_that_answered(folded, spoilt_lot):
    split = read_split(folded.run.split_path)
    stored = load_predictions(folded.run.validation_path)
    catalog = open_lot(spoilt_lot).train
    judged = judge(folded.card, stored, catalog)
    errors = judged.errors
    assert errors
    maps = find_heat_maps(folded, judged, catalog, Subject("folds", "f", num_models=3))
    assert set(maps) == {error.photo_id for error in errors}
    network, card = load_bundle(folded.run)
    error = errors[0]
    fold = next(n for n in (1, 2, 3) if error.photo_id in split.parts[f"fold-{n}"])
    batch = normalise(
        np.stack([next(read_ahead(catalog.select([error.photo_id]).photos, card.image)).pixels]),
        card.image,
    )
    for car, found in (
        (error.predicted, maps[error.photo_id].said),
        (error.true, maps[error.photo_id].truth),
    ):
        expected = explain(network.members[fold - 1], batch, np.array([card.classes.index(car)]))
        np.testing.assert_allclose(found, expected[0], atol=1e-4)
    # Of photos from outside all members are asked.
    outside = find_heat_maps(folded, judged, catalog, Subject("other", "f", "x"))
    assert not np.allclose(outside[error.photo_id].said, maps[error.photo_id].said)


def test_without_torch_or_photos_the_report_has_no_heat_maps(
    folded, spoilt_lot, tmp_path, monkeypatch
):
    stored = load_predictions(folded.run.validation_path)
    catalog = open_lot(spoilt_lot).train
    judged = judge(folded.card, stored, catalog)
    assert judged.errors
    gone = Catalog(
        tuple(replace(photo, locator=Locator(tmp_path / "gone.jpg")) for photo in catalog.photos),
        catalog.classes,
    )
    assert find_heat_maps(folded, judged, gone, Subject("other", "f", "x")) == {}

    def fail(module):
        raise MissingExtra("train", "torch")

    monkeypatch.setattr(run_report, "import_vision", fail)
    lotlens.evaluate(folded.run.path, report=tmp_path / "own.html", lang="ru")
    page = (tmp_path / "own.html").read_text("utf-8")
    assert '<html lang="ru">' in page
    assert 'class="error"' in page
    assert "The places that point" not in page


def test_a_network_without_maps_has_none_and_photos_that_fail_otherwise_are_not_hushed(
    folded, spoilt_lot, monkeypatch
):
    catalog = open_lot(spoilt_lot).train
    judged = judge(folded.card, load_predictions(folded.run.validation_path), catalog)

    def refuse(*args, **options):
        raise InputError("out of luck")

    asked = (folded, judged, catalog, Subject("other", "f", "x"))
    with monkeypatch.context() as patch:
        patch.setattr(explaining, "explain", refuse)
        assert find_heat_maps(*asked) == {}
    monkeypatch.setattr(explaining, "read_ahead", refuse)
    with pytest.raises(InputError, match="out of luck"):
        find_heat_maps(*asked)
