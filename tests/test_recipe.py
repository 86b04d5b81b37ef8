"""Recipes are checked whole, and every mistake comes with its likely correction."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lotlens.errors import InputError, RecipeError
from lotlens.recipe import Finetune, Probe, Recipe, list_recipes, load_recipe, parse_recipe


@pytest.mark.parametrize("name", list_recipes())
def test_built_in_recipes_are_valid_and_named_after_their_file(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert parse_recipe(recipe.to_dict()) == recipe


def test_quick_probes_and_standard_fine_tunes():
    assert [type(stage) for stage in load_recipe("quick").stages] == [Probe]
    assert [type(stage) for stage in load_recipe("standard").stages] == [Probe, Finetune]


def test_overrides_reach_into_stages():
    recipe = load_recipe(
        "standard",
        ["stages.1.lr=3e-4", "seed=7", "image.fit=stretch", "stages.1.augmentation.policy=none"],
    )
    assert recipe.stages[1].lr == 3e-4
    assert recipe.seed == 7
    assert recipe.image.fit == "stretch"
    assert recipe.stages[1].augmentation.policy == "none"


def test_whole_values_can_be_overridden():
    recipe = load_recipe("quick", ["stages.0.penalties=[0.5]", "stages.0={kind: probe}"])
    assert recipe.stages == (Probe(kind="probe"),)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stages.1.lrr=1", "did you mean 'lr'"),
        ("stages.1.optimiser.layer_decai=0.5", "did you mean 'layer_decay'"),
        ("stages.1.augmentation.policy=trivail", "did you mean 'trivial'"),
        ("stages.1.sizes.0.hight=96", "did you mean 'height'"),
        ("stages.0.kind=prob", "did you mean 'probe'"),
        ("image.heigth=96", "did you mean 'height'"),
        ("sed=1", "did you mean 'seed'"),
        ("stages.5.lr=1", "items 0 to 1"),
        ("stages.x.lr=1", "items 0 to 1"),
        ("name.deeper=1", "single value"),
        ("lr", "path.to.key=value"),
        ("=3", "path.to.key=value"),
        ("seed=[1", "not valid YAML"),
        ("validation=2", "less than 1"),
        ("stages.1.lr=-1", "greater than 0"),
        ("stages.1.lr=.nan", "finite"),
        ("stages=[]", "at least 1 item"),
        ("stages.1={lr: 1}", "needs a kind"),
        ("stages.1=3", "stages.1"),
        ("stages.1.lr=fast", "valid number"),
        ("image.height=128", "the last size is 192x288"),
        ("views=[upside-down]", "mirror"),
        ("stages.1.validate_every=5", "does not divide the 24 epochs"),
    ],
)
def test_a_mistake_is_named_with_its_correction(override, words):
    with pytest.raises(RecipeError, match=words.replace("'", ".").replace("[", r"\[")) as caught:
        load_recipe("standard", [override])
    assert len(caught.value.mistakes) == 1


def test_all_mistakes_come_at_once():
    with pytest.raises(RecipeError) as caught:
        load_recipe("standard", ["sed=1", "stages.1.lr=-1", "nonsense", "image.fit=squeeze"])
    assert len(caught.value.mistakes) == 4
    assert "4 mistakes" in str(caught.value)


def test_mistakes_in_items_are_not_echoed_as_too_few_items():
    with pytest.raises(RecipeError) as caught:
        load_recipe("quick", ["stages.0.penaltis=[1]"])
    assert caught.value.mistakes == ("stages.0.penaltis: unknown key, did you mean 'penalties'?",)


def test_a_probe_comes_first_or_not_at_all():
    values = load_recipe("standard").to_dict()
    values["stages"] = values["stages"][::-1]
    with pytest.raises(RecipeError, match="only be the first"):
        parse_recipe(values)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "мой.yaml"
    path.write_text("name: мой\nstages: [{kind: probe}]\n", encoding="utf-8-sig")
    assert load_recipe(path).name == "мой"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stages: [", "not valid YAML at line"),
        ("- 1", "must be a mapping"),
        ("", "must be a mapping"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("name: x", "stages: this key is needed"),
    ],
)
def test_files_that_are_no_recipes(tmp_path, text, words):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        load_recipe(path)


def test_missing_and_unknown_names(tmp_path):
    with pytest.raises(InputError, match="did you mean 'standard'"):
        load_recipe("standart")
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe(tmp_path / "binary.yaml")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
keys = st.sampled_from([*Recipe.model_fields, "kind", "lr", "sizes", "optimiser", "nonsense"])


@given(st.dictionaries(keys, json_values | st.lists(st.dictionaries(keys, json_values))))
def test_nothing_but_a_recipe_or_a_recipe_error_comes_out(values):
    try:
        recipe = parse_recipe(values)
    except RecipeError as error:
        mistakes = error.mistakes
    else:
        mistakes = ("none",)
        assert parse_recipe(yaml.safe_load(yaml.safe_dump(recipe.to_dict()))) == recipe
    assert mistakes
    assert all(isinstance(mistake, str) and mistake for mistake in mistakes)
