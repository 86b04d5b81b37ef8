"""Recipes are checked whole, and every mistake comes with its likely correction."""

import copy
import math
import os
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lotlens.errors import InputError, RecipeError
from lotlens.recipes.loading import list_recipes, load_recipe, parse_recipe
from lotlens.recipes.schema import (
    MONITORS,
    Constant,
    Cosine,
    Cyclic,
    Exponential,
    Finetune,
    Function,
    OneCycle,
    Optimiser,
    Plateau,
    Probe,
    Recipe,
    Steps,
)
from lotlens.values import parse_yaml


@pytest.mark.parametrize("name", list_recipes())
def test_built_in_recipes_are_valid_and_named_after_their_file(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert parse_recipe(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    "overrides",
    [
        ["image.height=96", "stages.1.lr=3e-4", "stages.1.optimiser=sgd", "views=[closer]"],
        {"image.height": 96, "stages.1": {"lr": 3e-4, "optimiser": "sgd"}, "views": ["closer"]},
        {
            "image": {"height": 96},
            "stages": {1: {"lr": 3e-4, "optimiser.name": "sgd"}},
            "views": ("closer",),
        },
    ],
)
def test_overrides_are_texts_or_a_mapping(overrides):
    changed = copy.deepcopy(overrides)
    changed = {**changed, "stages.1.sizes": [SIZE]} if isinstance(changed, dict) else changed
    texts = [] if isinstance(changed, dict) else [f"stages.1.sizes=[{SIZE}]"]
    recipe = load_recipe("standard", changed if isinstance(changed, dict) else [*changed, *texts])
    assert (recipe.image.height, recipe.image.width) == (96, 288)
    assert (recipe.stages[1].lr, recipe.stages[1].optimiser.name) == (3e-4, "sgd")
    assert recipe.stages[1].ema == 0.99
    assert recipe.views == ("closer",)


SIZE = {"height": 96, "width": 288, "epochs": 6}


def test_one_override_is_no_list_of_letters():
    assert load_recipe("quick", "seed=1").seed == 1
    assert load_recipe("quick", {"seed": 1}) == load_recipe("quick", "seed=1")
    with pytest.raises(RecipeError) as caught:
        load_recipe("quick", "seed")
    assert len(caught.value.mistakes) == 1


def test_mistakes_in_a_mapping_are_told_in_its_words():
    wanted = {"sed": 1, "image": {"heigth": 96}, "stages": {7: {"lr": 1}}, "name.x": 2}
    with pytest.raises(RecipeError) as caught:
        load_recipe("quick", wanted)
    told = str(caught.value)
    assert "did you mean 'seed'" in told
    assert "did you mean 'height'" in told
    assert "overrides stages.7.lr: stages has items 0 to 0, not '7'" in told
    assert "overrides name.x: name is a single value, it has no 'x'" in told
    assert "--set" not in told
    with pytest.raises(RecipeError, match="is no text"):
        load_recipe("quick", [("seed", 1)])


def test_a_mapping_is_left_as_it_is():
    views = ["closer"]
    assert load_recipe("quick", {"views": views}).views == ("closer",)
    given = {"stages": {0: {"penalties": [0.3]}}, "views": views}
    load_recipe("quick", given)
    assert given == {"stages": {0: {"penalties": [0.3]}}, "views": ["closer"]}


def test_quick_probes_and_standard_fine_tunes():
    assert [type(stage) for stage in load_recipe("quick").stages] == [Probe]
    assert [type(stage) for stage in load_recipe("standard").stages] == [Probe, Finetune]


def test_reference_is_the_chain_of_the_reference_solution():
    recipe = load_recipe("reference")
    stages = recipe.stages
    assert [(s.unfreeze, s.lr, s.num_epochs) for s in stages] == [
        ("head", 1e-3, 15),
        ("blocks.4", 1e-4, 12),
        ("all", 1e-5, 8),
        ("all", 1e-4, 12),
    ]
    assert [(s.sizes[-1].height, s.sizes[-1].width) for s in stages] == [(224, 224)] * 3 + [
        (320, 320)
    ]
    assert recipe.image.fit == "stretch"
    assert (recipe.head.kind, recipe.head.units, recipe.head.dropout) == ("dense", 128, 0.25)
    assert recipe.views == ()
    for stage in stages:
        assert stage.optimiser == Optimiser(name="amsgrad", weight_decay=0, layer_decay=1)
        assert stage.schedule.name == "exponential"
        assert math.isclose(stage.schedule.factor, math.exp(-0.1))
        assert (stage.early_stop.monitor, stage.early_stop.patience) == ("validation_log_loss", 4)
        assert (stage.ema, stage.loss.label_smoothing, stage.keep_best) == (0, 0, False)
        mixing = stage.augmentation
        assert (mixing.rotation, mixing.shift, mixing.brightness) == (10, 0.1, (0.5, 1.5))
        assert (mixing.flip, mixing.crop_scale, mixing.policy) == (0.5, 1, "none")
        assert (mixing.erase, mixing.mixup, mixing.cutmix) == (0, 0, 0)


def test_the_lowest_three_groups_stay_frozen_in_standard():
    assert load_recipe("standard").stages[1].unfreeze == "blocks.2"


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
    ("text", "schedule"),
    [
        ("constant", Constant(name="constant")),
        ("cosine", Cosine()),
        ("exponential", Exponential(name="exponential")),
        ("{name: step, every: 3}", Steps(name="step", every=3)),
        ("one-cycle", OneCycle(name="one-cycle")),
        ("cyclic", Cyclic(name="cyclic")),
        ("plateau", Plateau(name="plateau")),
        ("{name: function, function: mine}", Function(name="function", function="mine")),
    ],
)
def test_schedules_are_told_apart_by_name_and_a_bare_name_will_do(text, schedule):
    recipe = load_recipe("standard", [f"stages.1.schedule={text}"])
    assert recipe.stages[1].schedule == schedule
    assert parse_recipe(recipe.to_dict()) == recipe


@pytest.mark.parametrize("name", ["adam", "amsgrad", "sgd", "timm:lamb"])
def test_an_optimiser_may_be_a_bare_name(name):
    recipe = load_recipe("reference", [f"stages.1.optimiser={name}"])
    assert recipe.stages[1].optimiser == Optimiser(name=name)


def test_a_bare_name_can_be_added_to():
    overrides = ["stages.1.optimiser=sgd", "stages.1.optimiser.momentum=0.5"]
    recipe = load_recipe("standard", overrides)
    assert recipe.stages[1].optimiser == Optimiser(name="sgd", momentum=0.5)


def test_what_is_null_can_be_given_keys():
    values = load_recipe("standard").to_dict()
    assert values["stages"][1]["early_stop"] is None
    recipe = load_recipe("standard", ["stages.1.early_stop=null", "stages.1.early_stop.patience=2"])
    assert recipe.stages[1].early_stop.patience == 2


def test_an_override_changes_one_of_two_stages_that_share_a_mapping_in_yaml():
    recipe = load_recipe(
        "reference", ["stages.3.optimiser.weight_decay=0.5", "stages.3.augmentation.flip=0"]
    )
    assert [stage.optimiser.weight_decay for stage in recipe.stages] == [0, 0, 0, 0.5]
    assert [stage.augmentation.flip for stage in recipe.stages] == [0.5, 0.5, 0.5, 0]


def test_precision_may_be_a_number():
    assert load_recipe("quick", ["precision=16"]).precision == "16"


@pytest.mark.parametrize("unfreeze", ["all", "head", "blocks.4", 0.5, 1])
def test_unfreeze_is_a_name_or_a_share(unfreeze):
    assert load_recipe("standard", [f"stages.1.unfreeze={unfreeze}"]).stages[1].unfreeze == unfreeze


@pytest.mark.parametrize("monitor", MONITORS)
def test_every_monitor_can_be_watched(monitor):
    stage = load_recipe(
        "standard",
        [
            f"stages.1.checkpoint={monitor}",
            f"stages.1.early_stop.monitor={monitor}",
            f"stages.1.schedule={{name: plateau, monitor: {monitor}}}",
        ],
    ).stages[1]
    assert (stage.checkpoint, stage.early_stop.monitor) == (monitor, monitor)


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
        ("stages.1={lr: 1}", "stages.1: needs a kind: probe, finetune"),
        ("stages.1=finetune", "stages.1: must be a mapping with a kind (probe, finetune)"),
        ("stages.1=3", "stages.1"),
        ("stages.1.lr=fast", "valid number"),
        ("image.height=128", "the last size is 192x288"),
        ("views=[upside-down]", "mirror"),
        ("stages.1.validate_every=5", "does not divide the 12 epochs"),
        ("views=[left,mirror,left]", "views: left is named twice"),
        ("stages.1.schedule.name=cosin", "stages.1.schedule.name: 'cosin' is not one of constant,"),
        ("stages.1.schedule=cosin", "stages.1.schedule.name: 'cosin' is not one of constant,"),
        ("stages.1.schedule.name=cosin", "did you mean 'cosine'?"),
        ("stages.1.schedule={warmup: 0.1}", "stages.1.schedule: needs a name: constant, cosine,"),
        ("stages.1.schedule=3", "stages.1.schedule: must be a mapping with a name (constant,"),
        ("stages.1.schedule={name: [1]}", "stages.1.schedule.name: '[1]' is not one of"),
        ("stages.1.schedule=step", "stages.1.schedule.every: this key is needed"),
        ("stages.1.schedule=function", "stages.1.schedule.function: this key is needed"),
        ("stages.1.schedule.patience=1", "schedule.patience: unknown key; known here: name, warm"),
        (
            "stages.1.schedule.name=one-cycle",
            "schedule.warmup: unknown key; known here: name, peak",
        ),
        ("stages.1.schedule.warmpu=1", "stages.1.schedule.warmpu: unknown key, did you mean 'warm"),
        ("stages.1.schedule.warmup=1", "stages.1.schedule.warmup: must be less than 1 (it is 1)"),
        ("stages.1.schedule={name: plateau, monitor: val_loss}", "mean 'validation_log_loss'?"),
        ("stages.1.freeze=3", "stages.1.freeze: unknown key, use unfreeze:"),
        ("stages.1.label_smoothing=0.1", "did you mean 'loss.label_smoothing'?"),
        ("stages.1.monitor=x", "did you mean 'schedule.monitor' or 'early_stop.monitor'?"),
        ("stages.1.height=96", "did you mean 'sizes.N.height'?"),
        ("stages.0.C=1", "stages.0.C: unknown key; known here: kind, mirror, penalties"),
        ("optimiser=adam", "optimiser: unknown key, did you mean 'stages.N.optimiser'?"),
        ("mixup=0.2", "did you mean 'stages.N.augmentation.mixup'?"),
        (
            "stages.1.unfreeze=7",
            "stages.1.unfreeze: must be all, head, the name of a layer group, or",
        ),
        ("stages.1.unfreeze=0", "or a share above 0 and up to 1 (it is 0)"),
        ("stages.1.unfreeze=[head]", "or a share above 0 and up to 1 (it is ['head'])"),
        ("stages.1.optimiser=adm", "stages.1.optimiser.name: 'adm' is not adam, adamw,"),
        ("stages.1.optimiser=AdamW", "did you mean 'adamw'?"),
        ("stages.1.optimiser=rmsprop", "amsgrad, nadam, adamax, sgd or timm:NAME"),
        ("stages.1.optimiser=tim:lamb", "did you mean 'timm:lamb'?"),
        ("stages.1.optimiser={name: 'timm:'}", "'timm:' is not adam"),
        (
            "stages.1.optimiser=3",
            "must be a mapping of name, weight_decay, layer_decay, momentum, n",
        ),
        ("stages.1.optimiser.beta=3", "known here: name, weight_decay, layer_decay, momentum"),
        (
            "head=dense",
            "must be a mapping of kind, units, dropout, scale, not 'dense', did you mean",
        ),
        ("head=dense", "did you mean head.kind: dense?"),
        ("head.kind=dens", "did you mean 'dense'?"),
        ("head.kind=cosine", "head.kind: a probe fits a linear head, not a cosine one"),
        ("stages.1.loss=arcface", "did you mean stages.1.loss.kind: arcface?"),
        ("stages.1.loss.kind=cross_entropy", "did you mean 'cross-entropy'?"),
        ("stages.1.loss.kind=arcface", "stages.1.loss.kind: arcface needs head.kind: cosine"),
        ("stages.1.early_stop=none", "mapping of monitor, patience, min_delta or null, not 'none'"),
        ("stages.1.early_stop.patience=0", "must be greater than or equal to 1 (it is 0)"),
        (
            "stages.1.checkpoint=best",
            "'best' is not one of last, validation_log_loss, validation_a",
        ),
        ("stages.1.augmentation.brightness=0.5", "augmentation.brightness: must be a list (it is"),
        ("stages.1.augmentation.brightness=[0.5]", "brightness.1: a value is missing"),
        ("stages.1.augmentation.brightness=[0.5, 1, 2]", "at most 2 items, not 3"),
        ("stages.1.augmentation.brightness=[2, 1]", "lowest factor 2 is above the highest 1"),
        ("stages.1.augmentation.policy=randaugment", "did you mean 'rand'?"),
        (
            "stages.1.average_last=5",
            "stages.1.average_last: 5 looks cannot be averaged, the stage takes 2; lower it",
        ),
        ("feature_levels=1", "feature_levels: pooling: covariance needs 2 or more"),
        ("folds=1", "folds: 1 leaves nothing to train on; 0 holds out a share, 5 are usual"),
        ("folds=51", "folds: must be less than or equal to 50 (it is 51)"),
        ("precision=8", "precision: '8' is not one of auto, 32, bf16, 16"),
        ("seed=1:30", "valid integer, unable to parse string as an integer (it is '1:30')"),
        ("seed=0x10", "valid integer, unable to parse string as an integer (it is '0x10')"),
        ("stages.1.lr=1:30", "valid number, unable to parse string as a number (it is '1:30')"),
        ("stages.1.lr=1e400", "finite number"),
        ("stages.1.lr=" + "1" * 5000, "stages.1.lr: must be"),
        ("seed=" + "1" * 5000, "seed: "),
        ("seed=" + "1" * 19, "seed: "),
        ("stages." + "1" * 5000 + ".lr=1", "items 0 to 1"),
        ("seed={a: 1, a: 2}", "the key 'a' is there twice"),
        ("seed=[&a [*a]]", "leads back"),
        ("name=../../outside", "name: must be a plain name, without slashes"),
        ("name=a/b", "must be a plain name"),
        ("name='a\\b'", "must be a plain name"),
        ("name=.hidden", "must be a plain name"),
        ("name='  '", "must be a plain name"),
        ('name="a\\0b"', "must be a plain name"),
        ('name="a\\nb"', "must be a plain name"),
        ('name="\\e[31m"', "must be a plain name"),
        ("name=" + "a" * 81, "at most 80 characters"),
        ("description=" + "a" * 10_001, "10,000 letters at most"),
        ("stages.0.penalties=[" + "1," * 200 + "1]", "at most 100 items, not 201"),
        ("stages.².lr=1", "items 0 to 1"),
    ],
)
def test_a_mistake_is_named_with_its_correction(override, words):
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        load_recipe("standard", [override])
    assert len(caught.value.mistakes) == 1


def test_arcface_takes_no_mixed_photos():
    changes = ["head.kind=cosine", *(f"stages.{n}.loss.kind=arcface" for n in range(4))]
    assert load_recipe("reference", changes).stages[0].loss.kind == "arcface"
    for mix in ("mixup", "cutmix"):
        with pytest.raises(RecipeError, match=r"stages\.2\.loss\.kind: arcface takes no mixed"):
            load_recipe("reference", [*changes, f"stages.2.augmentation.{mix}=0.2"])


def test_names_of_pydantics_unions_never_show_up():
    values = load_recipe("standard").to_dict()
    stage = values["stages"][1]
    stage["schedule"] = {"name": "cosine", "warmup": 2, "cosine": 1}
    stage["finetune"] = stage["unfreeze"] = []
    stage["checkpoint"] = "never"
    with pytest.raises(RecipeError) as caught:
        parse_recipe(values)
    assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == [
        "stages.1.unfreeze",
        "stages.1.schedule.warmup",
        "stages.1.schedule.cosine",
        "stages.1.checkpoint",
        "stages.1.finetune",
    ]


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
        ("stages: [", "not valid YAML at line 1"),
        ("- 1", "must be a mapping"),
        ("", "must be a mapping"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("name: x", "stages: this key is needed"),
        ("[" * 5000, "nested too deeply"),
        ("name: x\nstages: &a [*a]", "an alias leads back"),
        ("name: x\nname: y", "the key 'name' is there twice"),
        ("name: x\nnote: &a {k: 1}\nb: {<<: [" + "*a," * 9_000 + "*a]}", "more than 5,000 values"),
        ("a: &a [1,1,1,1]\nb: &b [*a,*a]\n" + "c: [" + "*b," * 900 + "]", "more than 5,000"),
        ("#" * 200_000, "longer than 100,000 bytes"),
    ],
)
def test_files_that_are_no_recipes(tmp_path, text, words):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        load_recipe(path)


def test_words_that_yaml_takes_for_something_else_are_what_they_look_like(tmp_path):
    path = tmp_path / "words.yaml"
    path.write_text(
        "name: on\ndescription: 2026-13-01\nlabels: {keep: [no, yes, 010, 1:30, -1], fold: yes}\n"
        "deterministic: on\nseed: '7'\nstages: [{kind: probe, mirror: no}]\n"
    )
    recipe = load_recipe(path, ["labels.keep=off"])
    assert (recipe.name, recipe.description, recipe.seed) == ("on", "2026-13-01", 7)
    assert (recipe.deterministic, recipe.labels.fold, recipe.stages[0].mirror) == (
        True,
        True,
        False,
    )
    assert recipe.labels.keep == ("off",)
    assert load_recipe(path).labels.keep == ("no", "yes", "010", "1:30", "-1")


def test_a_thousand_mistakes_are_not_all_shown(tmp_path):
    path = tmp_path / "bad.yaml"
    lines = [f"{'x' * 60}{n}: 1" for n in range(1000)]
    path.write_text("\n".join(["name: x", *lines, "stages: [{kind: probe}]"]))
    with pytest.raises(RecipeError, match="1,000 mistakes") as caught:
        load_recipe(path)
    assert len(caught.value.mistakes) == 1000
    assert str(caught.value).endswith("and 980 more")
    assert len(str(caught.value)) < 20 * 520


def test_a_mistake_of_any_length_is_shown_shortly_and_obeyed_by_no_screen(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(f'name: x\n"\\e[31m{"k" * 900}": 1\nstages: [{{kind: probe}}]')
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert len(str(caught.value)) < 700
    assert "\x1b" not in str(caught.value)
    with pytest.raises(RecipeError) as caught:
        load_recipe("quick", [f"seed={'y' * 50_000}", f"{'z' * 50_000}.a=1", "z" * 50_000])
    assert len(str(caught.value)) < 2000


def test_huge_numbers_from_python_are_mistakes_too():
    values = load_recipe("quick").to_dict()
    for key in ("seed", "validation", "name", "precision"):
        with pytest.raises(RecipeError, match=key):
            parse_recipe(values | {key: 10**5000})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match="not a plain file"):
        load_recipe(tmp_path / "pipe.yaml")


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
keys = st.sampled_from(
    [*Recipe.model_fields, *Finetune.model_fields, "name", "mixup", "freeze", "nonsense"]
)
full = load_recipe("standard", ["stages.1.early_stop.patience=3"]).to_dict()


def list_places(values, place=()):
    """The way to every value in nested mappings and lists."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        yield (*place, key)
        if isinstance(value, dict | list):
            yield from list_places(value, (*place, key))


def check_that_mistakes_are_sentences(values):
    try:
        recipe = parse_recipe(values)
    except RecipeError as error:
        mistakes = error.mistakes
    else:
        mistakes = ("none",)
        assert parse_recipe(parse_yaml(yaml.safe_dump(recipe.to_dict()))) == recipe
    assert all(mistakes)
    assert 0 < len(mistakes) == len(set(mistakes))
    assert not any("Input should" in mistake for mistake in mistakes)


@given(st.dictionaries(keys, json_values | st.lists(st.dictionaries(keys, json_values))))
def test_nothing_but_a_recipe_or_a_recipe_error_comes_out(values):
    check_that_mistakes_are_sentences(values)


@given(st.sampled_from(list(list_places(full))), json_values | st.dictionaries(keys, json_values))
def test_any_value_in_any_place_is_taken_or_named(place, value):
    values = copy.deepcopy(full)
    here = values
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    check_that_mistakes_are_sentences(values)
