"""Whatever becomes of a run's files, they are read rightly or refused in one clear line."""

import copy
import hashlib
import json
import random
import shutil

import numpy as np
import pytest
import yaml

from lotlens.answering.answers import load_predictions
from lotlens.deliver.model import load
from lotlens.deliver.own_data import open_own_data
from lotlens.errors import LotlensError
from lotlens.improve.doubts import read_doubts, write_doubts
from lotlens.improve.history import read_rounds
from lotlens.improve.plan import read_base
from lotlens.photos.decisions import Decision, read_decisions, write_decisions
from lotlens.recipes.loading import parse_recipe
from lotlens.records import Doubt
from lotlens.report.charts import place_looks
from lotlens.report.run_report import count_training
from lotlens.run import RunFolder

ODD = (
    *(None, True, False, 0, -1, 1, 2.5, -0.0, 10**17, 10**30, 1e308, "", "0", "x" * 10_000),
    *([], {}, [None], [[]], {"a": 1}, "../../x", "\x00", "\ud800", ["a", "a"], "nan"),
    *(float("nan"), float("inf")),
)
NUM_DAMAGED = 25
OTHERS = {
    "rounds.csv": (
        b"Round,Run,Parent,What,Added,Hard,Relabelled,LeftOut,Judged,Photos,Before,After,Difference,"
        b"Low,High,Accepted,Sentence\n"
        b"1,b,a,nothing new,0,0,1,0,locked,9,0.5,0.6,0.1,-0.1,0.2,yes,So.\n"
    ),
    "round.json": json.dumps(
        dict(
            zip(
                ("parent", "round", "outside", "hard", "relabelled", "left_out", "anew", "rule"),
                ("runs/a", 1, None, 3, ["1.jpg"], [], False, "better"),
                strict=True,
            ),
            judged_on="locked",
            failing=["0"],
            base_recipe={"name": "a", "stages": [{"kind": "probe"}]},
        )
    ).encode(),
}
"""What rounds of improvement write."""


# What reads each file, beside `load`, which reads the card.
READERS = {
    "card.json": [
        lambda model: model.open(),
        lambda model: parse_recipe(dict(model.card.recipe)),
        lambda model: model.label_rules,
        lambda model: open_own_data(model).answers,
    ],
    "model.safetensors": [lambda model: model.open()],
    "familiarity.npz": [lambda model: model.read_references()],
    "validation.npz": [lambda model: load_predictions(model.run.validation_path)],
    "split.csv": [lambda model: open_own_data(model).answers],
    "source.json": [
        count_training,
        lambda model: model.data_path.name,
        lambda m: m.has_test_photos,
    ],
    "timing.json": [lambda model: (model.run.read_timing(), model.run.read_end())],
    "history.csv": [lambda model: place_looks(model.run.read_history())],
    "recipe.yaml": [lambda model: parse_recipe(model.run.read_recipe())],
    "rounds.csv": [lambda model: read_rounds(model.run)],
    "round.json": [read_base],
    "decisions.csv": [lambda model: read_decisions(model.run.decisions_path)],
    "doubts.csv": [lambda model: read_doubts(model.run.doubts_path)],
    "locked-openings.csv": [lambda model: model.run._read_table(model.run.openings_path)],
}


def read_all(path, name):
    """A run with one file read as load, predict, evaluate, doubts and improve read it."""
    model = load(path)
    for read in READERS[name]:
        try:
            read(model)
        except LotlensError as error:
            check_sentence(error)
    return model


def check_sentence(error):
    assert 0 < len(str(error)) < 2_000, str(error)[:200]
    assert "Traceback" not in str(error)


def try_all(path, name):
    try:
        read_all(path, name)
    except LotlensError as error:
        check_sentence(error)


def damage_bytes(data, rng):
    """A file cut, or with some bytes changed, doubled, left out or put in."""
    kind = rng.randrange(5)
    at, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + data[end:]
    if kind == 2:
        return data[:end] + data[at:]
    if kind == 3:
        return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        changed[rng.randrange(len(data))] = rng.choice(b'0a"{[,\n\x00\xff-9e')
    return bytes(changed)


def list_places(values, place=()):
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        yield (*place, key)
        if isinstance(value, dict | list):
            yield from list_places(value, (*place, key))


def put(values, place, value):
    values = copy.deepcopy(values)
    here = values
    for key in place[:-1]:
        here = here[key]
    if value is put:
        del here[place[-1]]
    else:
        here[place[-1]] = value
    return values


@pytest.fixture
def run_path(tiny_run, tmp_path):
    """A run with all the files that a run may have."""
    run = RunFolder(shutil.copytree(tiny_run.path, tmp_path / "run"))
    classes = run.read_card().classes
    photo, other = classes[0].label, classes[1].label
    write_doubts(run.doubts_path, [Doubt("1.jpg", photo, other, 0.5, 0.2, 0.9, {})], classes)
    write_decisions(run.decisions_path, [Decision("1.jpg", "drop", "", photo, "")])
    run.add_opening(0.5, 10)
    return run.path


def test_a_whole_run_is_read(run_path):
    for name, readers in READERS.items():
        if (run_path / name).exists():
            for read in readers:
                read(load(run_path))


def test_files_with_other_bytes_are_read_or_refused(run_path):
    rng = random.Random(0)
    for name in READERS:
        path = run_path / name
        data = path.read_bytes() if path.exists() else OTHERS[name]
        for number in range(NUM_DAMAGED if len(data) < 10**5 else 5):
            path.write_bytes(b"" if not number else damage_bytes(data, rng))
            try_all(run_path, name)
        path.write_bytes(data)


@pytest.mark.parametrize("name", ["card.json", "source.json", "timing.json", "round.json"])
def test_values_of_other_kinds_are_read_or_refused(run_path, name):
    path, rng = run_path / name, random.Random(1)
    values = json.loads(path.read_bytes() if path.exists() else OTHERS[name])
    places = list(list_places(values))
    for _ in range(4 * NUM_DAMAGED):
        damaged = put(values, rng.choice(places), rng.choice((*ODD, put)))
        path.write_text(json.dumps(damaged), "utf-8")
        try_all(run_path, name)


def test_a_card_that_loads_after_all_answers_with_what_it_says(run_path):
    """A card's every value is changed in turn: what still loads has values of the right kinds."""
    path = run_path / "card.json"
    values = json.loads(path.read_text("utf-8"))
    for key in values:
        for odd in ODD:
            path.write_text(json.dumps(values | {key: odd}), "utf-8")
            try:
                card = load(run_path).card
            except LotlensError as error:
                check_sentence(error)
                continue
            assert 0 < card.temperature < float("inf")
            assert len({car.label for car in card.classes}) == len(card.classes) > 0
            assert len(card.image.mean) == len(card.image.std) == 3
            assert type(card.members) is type(card.feature_levels) is int


def test_recipes_of_other_kinds_are_read_or_refused(run_path):
    name, rng = "recipe.yaml", random.Random(2)
    path = run_path / name
    values = yaml.safe_load(path.read_text("utf-8"))
    places = list(list_places(values))
    odd = [value for value in ODD if value != "\ud800"]
    for _ in range(NUM_DAMAGED):
        path.write_text(yaml.safe_dump(put(values, rng.choice(places), rng.choice(odd))), "utf-8")
        try_all(run_path, name)


@pytest.mark.parametrize("name", ["split.csv", "history.csv", "doubts.csv", "rounds.csv"])
def test_cells_of_other_kinds_are_read_or_refused(run_path, name):
    path, rng = run_path / name, random.Random(3)
    text = path.read_text("utf-8") if path.exists() else OTHERS[name].decode()
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(NUM_DAMAGED):
        damaged = copy.deepcopy(rows)
        row = rng.choice(damaged)
        row[rng.randrange(len(row))] = rng.choice(
            ["", "nan", "-1", "1e999", "x", '"', "9" * 5000, "train", "fold-1", "²", "a,b"]
        )
        path.write_text("\n".join(map(",".join, damaged)), "utf-8")
        try_all(run_path, name)


def write_vouched(run_path, name, data):
    """Write a file whose hash the card has: what was damaged before it was vouched for."""
    (run_path / name).write_bytes(data)
    card_path = run_path / "card.json"
    card = json.loads(card_path.read_text("utf-8"))
    sha256 = hashlib.sha256(data).hexdigest()
    if name == "model.safetensors":
        card["weights_sha256"] = sha256
    else:
        card["refusal"]["references_sha256"] = sha256
    card_path.write_text(json.dumps(card), "utf-8")


@pytest.mark.parametrize("name", ["model.safetensors", "familiarity.npz"])
def test_files_that_the_card_vouches_for_are_not_trusted_either(run_path, name):
    rng = random.Random(4)
    data = (run_path / name).read_bytes()
    head = min(len(data), 4_000)
    for number in range(NUM_DAMAGED):
        damaged = (
            damage_bytes(data[:head], rng) + data[head:] if number % 2 else damage_bytes(data, rng)
        )
        write_vouched(run_path, name, damaged)
        try_all(run_path, name)


@pytest.mark.parametrize("name", ["validation.npz", "familiarity.npz"])
def test_arrays_of_other_shapes_and_kinds_are_read_or_refused(run_path, name, tmp_path):
    with np.load(run_path / name) as stored:
        arrays = dict(stored)
    for key, array in arrays.items():
        odd = [array[:-1] if array.ndim else array, array[..., None], array.ravel()[:0]]
        odd += [np.array(5), np.array(["x"]), np.array([None, {}], object), array.astype(object)]
        if array.dtype.kind == "f":
            odd += [
                np.full_like(array, np.nan),
                np.full_like(array, np.inf),
                -np.abs(array.astype(np.float64)) * 1e300,
            ]
            odd += [array.astype(complex), array > 0]
        if array.ndim == 1 and len(array) > 1:
            odd += [np.repeat(array[:1], len(array))]
        for other in odd:
            with (tmp_path / "odd.npz").open("wb") as file:
                np.savez(file, **{**arrays, key: other})
            data = (tmp_path / "odd.npz").read_bytes()
            if name == "familiarity.npz":
                write_vouched(run_path, name, data)
            else:
                (run_path / name).write_bytes(data)
            try_all(run_path, name)
