"""A plan tells what training does, and trains nothing."""

import time

import pytest
import torch

import lotlens
from lotlens.audit.parts import read_split
from lotlens.errors import InputError
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe
from lotlens.vision import planning
from lotlens.vision.planning import plan_training

pytestmark = pytest.mark.usefixtures("plain_charts")


def test_the_plan_is_what_training_does(small_lot, tiny_recipe, tmp_path):
    tiny_recipe["stages"][1] |= {"accumulate": 2, "batch_size": 4}
    recipe = parse_recipe(tiny_recipe)
    planned = lotlens.plan(small_lot, recipe)
    probe, tuning = planned.stages
    assert (probe.kind, probe.trained, probe.num_steps) == ("probe", ("head",), 0)
    assert tuning.trained[-1] == "head"
    assert tuning.frozen
    assert probe.seconds > 0
    assert tuning.seconds > 0
    steps = []

    def watch(what, done, total):
        if what == "fine-tuning":
            steps.append((done, total))

    model = lotlens.train(small_lot, recipe, out=tmp_path / "run", watch=watch)
    assert steps[-1] == (tuning.num_steps, tuning.num_steps)
    sizes = (planned.num_train, planned.num_validation)
    parts = read_split(model.run.split_path).parts
    assert sizes == (len(parts["train"]), len(parts["validation"]))


def test_names_that_do_not_exist_are_found_before_training(tiny_recipe):
    tiny_recipe["stages"][1]["unfreeze"] = "blocks.77"
    with pytest.raises(InputError, match=r"no layer group 'blocks\.77'"):
        plan_training(parse_recipe(tiny_recipe), 3, 30, 10)


def test_torchs_generator_is_left_alone(tiny_recipe):
    before = torch.random.get_rng_state()
    plan_training(parse_recipe(tiny_recipe), 3, 30, 10)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_slow_photos_and_folds_take_longer(tiny_recipe):
    """Reading counts for the audit, for each way that is tried, for every model, and at the end."""
    recipe = parse_recipe(tiny_recipe)
    fast = plan_training(recipe, 3, 30, 10, roughly=True)
    slow = plan_training(recipe, 3, 30, 10, roughly=True, trial=(40, 2, 5), read_s=10.0)
    assert slow.before_s > (40 + 2 * 40) * 10
    assert slow.stages[0].seconds > 40 * 10
    assert slow.after_s - fast.after_s > 10 * 10
    in_stages = slow.sum() - slow.before_s - slow.after_s
    assert slow.sum(5) == pytest.approx(slow.sum() + 4 * in_stages)


def test_the_time_to_read_is_that_of_the_lots_own_photos(tiny_recipe, small_lot, monkeypatch):
    photos = open_lot(small_lot).train
    read = planning.read_ahead

    def be_slow(some, spec):
        for loaded in read(some, spec):
            time.sleep(0.01)
            yield loaded

    monkeypatch.setattr(planning, "read_ahead", be_slow)
    assert planning.time_reading(photos, parse_recipe(tiny_recipe)) > 0.01
    assert planning.time_reading(photos.select([]), parse_recipe(tiny_recipe)) == 0
