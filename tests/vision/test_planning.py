"""A plan tells what training does, and trains nothing."""

import pytest
import torch

import lotlens
from lotlens.audit.parts import read_split
from lotlens.errors import InputError
from lotlens.recipes.loading import parse_recipe
from lotlens.vision.planning import plan_stages

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
        plan_stages(parse_recipe(tiny_recipe), 3, 30, 10)


def test_torchs_generator_is_left_alone(tiny_recipe):
    before = torch.random.get_rng_state()
    plan_stages(parse_recipe(tiny_recipe), 3, 30, 10)
    assert torch.equal(torch.random.get_rng_state(), before)
