"""Grids: every combination is a whole recipe, and every mistake is told before anything trains."""

import re
import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lotlens.errors import InputError, RecipeError
from lotlens.recipes.loading import load_recipe
from lotlens.recipes.schema import Optimiser
from lotlens.sweep.grid import MAX_RUNS, build_grid, part_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a", ("a",)),
        ("1e-4, 3e-4 ", ("1e-4", "3e-4")),
        ("[1,2],[3]", ("[1,2]", "[3]")),
        ("{name: step, every: 3},cosine", ("{name: step, every: 3}", "cosine")),
        ("'a,b',\"c,d\"", ("'a,b'", '"c,d"')),
        ("{a: 'x]'},[{b: [1,2]},3]", ("{a: 'x]'}", "[{b: [1,2]},3]")),
        ("it's,its", ("it's", "its")),
        ("a,,b", ("a", "", "b")),
        ("", ("",)),
    ],
)
def test_values_are_parted_at_commas_outside_brackets_and_quotes(text, values):
    assert part_values(text) == values


@pytest.mark.parametrize("text", ["[1,2", "1,2]", "{a: [1}", "'a,b"])
def test_brackets_and_quotes_must_match(text):
    with pytest.raises(ValueError, match=r"missing|closes no"):
        part_values(text)


_VALUES = st.lists(
    st.one_of(
        st.integers(),
        st.booleans(),
        st.text(string.ascii_letters + ",[]{}'\" :", max_size=12),
        st.lists(st.integers(), max_size=3),
    ),
    min_size=1,
    max_size=5,
)


@given(_VALUES)
def test_what_yaml_writes_in_one_line_is_parted_again(values):
    texts = [
        yaml.safe_dump([value], default_flow_style=True, width=10**6).strip()[1:-1]
        for value in values
    ]
    assert [yaml.safe_load(text) for text in part_values(",".join(texts))] == values


def test_one_varied_key_is_no_list_of_letters():
    assert build_grid("views=[],[mirror]", "quick") == build_grid(["views=[],[mirror]"], "quick")


def test_the_grid_is_the_product_and_the_last_key_changes_fastest():
    grid = build_grid(["optimiser=adam,nadam", "stages.1.lr=1e-4,3e-4"], "standard", ["seed=4"])
    assert grid.keys == ("optimiser", "stages.1.lr")
    assert [variant.label for variant in grid.variants] == [
        "optimiser=adam, stages.1.lr=1e-4",
        "optimiser=adam, stages.1.lr=3e-4",
        "optimiser=nadam, stages.1.lr=1e-4",
        "optimiser=nadam, stages.1.lr=3e-4",
    ]
    stage = grid.variants[3].recipe.stages[1]
    assert (stage.optimiser, stage.lr) == (Optimiser(name="nadam"), 3e-4)
    assert {variant.recipe.seed for variant in grid.variants} == {4}
    assert [variant.slug for variant in grid.variants][:2] == [
        "optimiser-adam_lr-1e-4",
        "optimiser-adam_lr-3e-4",
    ]


def test_a_bare_key_of_a_stage_is_set_in_every_fine_tuning_stage():
    grid = build_grid(["optimiser=adamax", "augmentation.mixup=0,0.2"], "reference")
    # The reference's optimiser has settings of its own, which go with its name.
    for stage in grid.variants[1].recipe.stages:
        assert stage.optimiser == Optimiser(name="adamax")
        assert stage.augmentation.mixup == 0.2


def test_whole_recipes_are_varied_on_one_split(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nvalidation: 0.4\nseed: 9\nstages: [{kind: probe}]\n")
    grid = build_grid([f"recipe=quick,{path}"], overrides=["lock=0.1"])
    assert [variant.recipe.name for variant in grid.variants] == ["quick", "mine"]
    assert grid.base == load_recipe("quick", ["lock=0.1"])
    mine = grid.variants[1].recipe
    assert (mine.validation, mine.seed, mine.lock) == (0.15, 0, 0.1)


def test_nothing_varied_is_the_recipe_itself():
    (variant,) = build_grid([], "quick").variants
    assert variant.recipe == load_recipe("quick")
    assert (variant.label, variant.slug) == ("quick", "quick")
    assert build_grid([]).base.name == "standard"
    assert build_grid(["lr=1e-3"], load_recipe("standard"), ["seed=3"]).base.seed == 3


def test_slugs_are_safe_unique_and_the_same_in_a_larger_grid():
    vary = "backbone=lite0,timm:resnet18,timm-resnet18,timm:Ünï/" + "x" * 200
    slugs = [variant.slug for variant in build_grid([vary]).variants]
    assert len({slug.casefold() for slug in slugs}) == 4
    for slug in slugs:
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,79}", slug)
    alone = build_grid(["backbone=timm:resnet18"]).variants[0].slug
    assert alone == slugs[1]
    both = build_grid(["stages.0.lr=1e-4,1e-5", "stages.1.lr=1e-3"], "reference").variants
    assert both[0].slug == "stages.0.lr-1e-4_stages.1.lr-1e-3"


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        (["optimizer=adam,nadam"], ["optimizer=adam,nadam: unknown key, did you mean 'optimiser'"]),
        (["optimiser"], ["write it as KEY=V1,V2"]),
        (["lr=1e-3,,1e-4"], ["a value is empty"]),
        (["lr="], ["a value is empty"]),
        (["lr=[1"], ["] is missing in"]),
        (["lr=1e-3,1e-4,1e-3"], ["1e-3 is there twice"]),
        (["lr=1e-3,0.001"], ["lr=1e-3 and lr=0.001 are one recipe"]),
        (["lr=1e-3", "lr=1e-4"], ["varied twice"]),
        (["seed=1,2"], ["use --seeds"]),
        (["validation=0.1,0.2", "lock=0.1"], ["2 mistakes", "validation cannot", "lock cannot"]),
        (["lr=5,1e-3", "ema=0.5,7"], ["--vary lr=5: stages.1.lr: must be", "--vary ema=7: stages"]),
        (["stages.1.lrr=1,2"], ["stages.1.lrr: unknown key, did you mean 'lr'?"]),
        (["stages.7.lr=1"], ["--vary stages.7.lr=1: stages has items 0 to 1, not '7'"]),
        (["optimiser=adam,adan"], ["--vary optimiser=adan", "did you mean 'adam'?"]),
        (["head.kind=linear,cosine"], ["--vary head.kind=cosine: head.kind: a probe fits"]),
        (["kind=probe"], ["unknown key"]),
        (["recipe=quick,standart"], ["did you mean 'standard'?"]),
        (["recipe=quick,standard", "lr=1e-3"], ["recipe=quick: the recipe quick has no fine-tun"]),
    ],
)
def test_mistakes_are_told_with_the_values_that_make_them(vary, words):
    with pytest.raises(RecipeError) as caught:
        build_grid(vary)
    for word in words:
        assert word in str(caught.value)


def test_a_mistake_of_a_combination_names_it():
    vary = ["loss.kind=cross-entropy,arcface", "augmentation.mixup=0,0.2"]
    values = load_recipe("reference", ["head.kind=cosine"])
    with pytest.raises(RecipeError, match=r"loss.kind=arcface, augmentation.mixup=0.2: stages.0"):
        build_grid(vary, values)


def test_a_recipe_is_named_in_one_place():
    with pytest.raises(RecipeError, match="takes the place of --recipe"):
        build_grid(["recipe=quick,standard"], "quick")


def test_too_many_runs_and_bad_seeds_are_refused():
    rates = ",".join(f"{n}e-6" for n in range(1, 40))
    with pytest.raises(InputError, match=rf"1,521 combinations.*{MAX_RUNS} at most"):
        build_grid([f"lr={rates}", f"ema={rates}"], num_seeds=3)
    with pytest.raises(InputError, match="one seed or more"):
        build_grid(["lr=1e-3"], num_seeds=0)
    with pytest.raises(InputError, match="lower seed"):
        build_grid([], "quick", [f"seed={2**31 - 2}"], num_seeds=3)
