"""Charts are equal for equal figures, speak the language, and bear odd numbers."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from lotlens.judge.confidence import measure_reliability, pick_refusals, trace_refusals
from lotlens.report.charts import draw_curve, draw_refusals, draw_reliability, place_looks
from lotlens.report.language import ENGLISH, load_language

RUSSIAN = load_language("ru")
HISTORY = [
    {
        "stage": str(stage),
        "epoch": str(epoch),
        "train_loss": str(2 / epoch),
        "validation_log_loss": 1 / epoch,
        "validation_accuracy": str(1 - 0.5 / epoch),
    }
    for stage in (1, 2)
    for epoch in range(1, 5)
]


def draw_confidence(num_photos):
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1.0, num_photos)
    return confidence, rng.random(num_photos) < confidence


def read_words(svg):
    """Matplotlib draws letters as shapes and keeps the text as a comment."""
    parser = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))
    root = ET.fromstring(svg, parser)
    assert root.tag.endswith("svg")
    links = [v for node in root.iter() for k, v in node.attrib.items() if k.endswith("href")]
    assert all(link.startswith("#") for link in links)
    return {node.text.strip() for node in root.iter() if node.tag is ET.Comment}


def test_curves_name_their_stages_and_lines():
    stages = ("probe", "finetune", "finetune")
    words = read_words(draw_curve("loss", HISTORY, ENGLISH, stages))
    expected = {"stage 2: fine-tuning", "stage 3: fine-tuning", "epoch", "in training"}
    assert expected | {"on validation"} <= words
    words = read_words(draw_curve("accuracy", HISTORY, RUSSIAN, stages))
    assert {"этап 2: дообучение", "эпоха", "на проверке"} <= words
    assert any(word.endswith("\u202f%") for word in words)


def test_one_look_per_fold_and_many_short_stages_can_be_drawn():
    folds = [{"fold": n, "stage": 1, "epoch": 1, "train_loss": n} for n in (1, 2, 3)]
    words = read_words(draw_curve("loss", folds, ENGLISH, ("probe", "finetune")))
    assert "stage 2: fine-tuning" in words
    many = [
        {"stage": stage, "epoch": epoch, "train_loss": 1} for stage in range(9) for epoch in (1, 2)
    ]
    words = read_words(draw_curve("loss", many, ENGLISH, ("finetune",) * 9))
    # Names too long for their stage give way to its number.
    assert "9" in words
    assert "stage 9: fine-tuning" not in words


def test_unknown_columns_and_stages_are_shown_as_they_are():
    history = [{"stage": "0", "epoch": n, "strange_loss$": n} for n in (1, 2)]
    words = read_words(draw_curve("loss", history, RUSSIAN, ("distil",)))
    assert {"strange loss$", "этап 1: distil"} <= words
    words = read_words(draw_curve("loss", history, RUSSIAN))
    assert not any("этап" in word for word in words)


@pytest.mark.parametrize(
    ("history", "is_drawn"),
    [
        ([], False),
        (HISTORY[:1], False),
        (HISTORY, True),
        ([{"epoch": 1, "lr": 0.1}, {"epoch": 2, "lr": 0.2}], False),
        ([{"loss": "nan"}, {"loss": None}, {}, {"loss": "1"}, {"loss": "2"}], True),
    ],
)
def test_curves_need_two_numbers(history, is_drawn):
    assert (draw_curve("loss", history, ENGLISH) is not None) == is_drawn


def test_curves_stand_over_the_epochs_they_tell_of():
    drawn = []
    for epochs in ((1, 2, 3), (10, 20, 30), (1, 2, 3)):
        history = [
            {"epoch": epoch, "train_loss": loss}
            for epoch, loss in zip(epochs, (2.0, 1.0, 0.5), strict=True)
        ]
        drawn.append(draw_curve("loss", history, ENGLISH))
    assert drawn[0] != drawn[1]
    assert drawn[0] == drawn[2]


def test_stages_stand_one_after_another_and_folds_one_over_another():
    stages = [("0", "2"), ("0", "4"), ("1", "1"), ("1", "2"), ("2", "3")]
    history = [{"stage": stage, "epoch": epoch} for stage, epoch in stages]
    rows, epochs, spans = place_looks(history)
    assert (rows, epochs) == ([[0, 1, 2, 3, 4]], [2, 4, 5, 6, 9])
    assert spans == [("0", 0, 4), ("1", 4, 6), ("2", 6, 9)]
    # The second fold's first stage stopped earlier.
    folded = [{**row, "fold": "1"} for row in history] + [
        {**row, "fold": "2"} for row in [history[0], *history[2:]]
    ]
    rows, epochs, spans = place_looks(folded)
    assert rows == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]
    assert epochs == [2, 4, 5, 6, 9, 2, 3, 4, 7]
    assert spans == [("0", 0, 4), ("1", 4, 6), ("2", 6, 9)]
    assert place_looks([{"loss": "1"}, {"loss": "2"}]) == ([[0, 1]], [1, 2], [("", 0, 2)])


@pytest.mark.parametrize("num_photos", [1, 2, 40, 5000])
def test_reliability_and_refusals_of_few_and_many_photos(num_photos):
    confidence, is_right = draw_confidence(num_photos)
    bins = measure_reliability(confidence, is_right)
    words = read_words(draw_reliability(bins, RUSSIAN))
    assert {"доля верных", "заявленная уверенность", "фото"} <= words
    curve = trace_refusals(confidence, is_right)
    svg = draw_refusals(curve, pick_refusals(curve), ENGLISH)
    assert {"share correct", "share of photos answered"} <= read_words(svg)
    assert len(svg) < 80_000


def test_equal_figures_are_equal_bytes():
    confidence, is_right = draw_confidence(60)
    bins, curve = measure_reliability(confidence, is_right), trace_refusals(confidence, is_right)
    for draw in (
        lambda: draw_reliability(bins, ENGLISH),
        lambda: draw_refusals(curve, pick_refusals(curve), ENGLISH),
        lambda: draw_curve("loss", HISTORY, ENGLISH, ("a", "b")),
    ):
        assert draw() == draw()
