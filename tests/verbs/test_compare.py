"""Two runs on the same photos."""

import json
import shutil

import numpy as np
import pytest

import lotlens
from lotlens.answering.answers import load_predictions
from lotlens.errors import InputError
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe

pytestmark = pytest.mark.usefixtures("plain_charts")


def test_two_runs_are_compared_on_what_both_held_out_or_on_other_photos(
    trained, folded, small_lot, spoilt_lot, tmp_path
):
    first, second = trained.run.path, folded.run.path
    own = lotlens.compare(first, second)
    held_out = load_predictions(trained.run.validation_path)
    catalog = open_lot(spoilt_lot).train
    labels = dict(zip(catalog.ids, (photo.label for photo in catalog.photos), strict=True))
    truth = [held_out.classes[k].label for k in held_out.logits.argmax(axis=1)]
    right = [said == labels[id_] for id_, said in zip(held_out.ids, truth, strict=True)]
    assert own.result.pair.num_photos == len(held_out.ids)
    assert own.result.first == pytest.approx(np.mean(right))
    assert "both held out" in own.about
    counts = [model.card.num_candidates for model in (trained, folded)]
    assert counts[0] > counts[1]
    assert f"A among {counts[0]} sets and those of B among {counts[1]}" in own.about
    assert "flatters" not in lotlens.compare(first, first).about
    turned = lotlens.compare(second, first).result
    assert turned.pair.difference == pytest.approx(-own.result.pair.difference)

    answers = {"labels": spoilt_lot / "answers.csv", "photos": spoilt_lot / "test.zip"}
    other = lotlens.compare(first, second, **answers)
    single = [
        lotlens.evaluate(path, **answers, report=tmp_path / "r.html") for path in (first, second)
    ]
    # The broken photo counts as wrong.
    assert other.result.pair.num_photos == 12
    assert other.result.first == pytest.approx(single[0].accuracy.value * 11 / 12)
    assert other.result.second == pytest.approx(single[1].accuracy.value * 11 / 12)

    with pytest.raises(InputError, match="leave it out to compare"):
        lotlens.compare(first, second, spoilt_lot)
    with pytest.raises(InputError, match="no locked part"):
        lotlens.compare(first, second, locked=True)
    moved = tmp_path / "moved"
    shutil.copytree(second, moved)
    card = json.loads((moved / "card.json").read_text("utf-8"))
    for change, message in (
        ({"fingerprint": "0" * 64}, "trained on different data"),
        ({"classes": card["classes"][:2]}, "different classes"),
    ):
        (moved / "card.json").write_text(json.dumps({**card, **change}), "utf-8")
        with pytest.raises(InputError, match=message):
            lotlens.compare(first, moved)


def test_runs_without_a_photo_that_both_held_out_cannot_be_compared(
    small_lot, tiny_recipe, tmp_path
):
    recipe = parse_recipe({**tiny_recipe, "stages": tiny_recipe["stages"][:1]})
    split_path = tmp_path / "split.csv"
    lotlens.split(small_lot, split_path, validation=0.25)
    first = lotlens.train(small_lot, recipe, out=tmp_path / "a", split_path=split_path).run.path
    rows = split_path.read_text("utf-8").splitlines()
    # A class's photos of the other side take the place of those held out.
    swapped = []
    for label in "123":
        held_out = [row for row in rows if row.startswith(label) and ",validation," in row]
        taken = [row for row in rows if row.startswith(label) and ",train," in row]
        swapped += [row.replace(",validation,", ",train,") for row in held_out]
        swapped += [row.replace(",train,", ",validation,") for row in taken[: len(held_out)]]
        swapped += taken[len(held_out) :]
    split_path.write_text("\n".join([rows[0], *swapped]) + "\n", "utf-8")
    second = lotlens.train(small_lot, recipe, out=tmp_path / "b", split_path=split_path).run.path
    with pytest.raises(InputError, match="held out no photo in common"):
        lotlens.compare(first, second)
