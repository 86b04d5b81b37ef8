"""A run folder is finished or it is not, and never anything between."""

import json
import os
import threading
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import pytest

from lotlens.errors import BundleError, InputError, OutputError
from lotlens.files import atomic_path, name_unfinished
from lotlens.records import MOST_CLASSES, CarClass, Gate, ImageSpec, Metric, ModelCard, Refusal
from lotlens.report.language import load_language
from lotlens.run import FORMAT_VERSION, MOST_MODEL_BYTES, RunFolder

SHARE = Metric("share", 0.5, 0.4, 0.6, 10)
CARD = ModelCard(
    format_version=FORMAT_VERSION,
    lotlens_version="0.1.0",
    classes=(CarClass("0", "Волна"), CarClass("1", "Heron")),
    image=ImageSpec(192, 288, mean=(0.4, 0.5, 0.6)),
    backbone="lite0",
    recipe={"name": "quick"},
    fingerprint="abc",
    views=("whole", "mirror"),
    metrics=(Metric("accuracy", 0.5, 0.4, 0.6, 10),),
    refusal=Refusal(
        (
            Gate("not a car", "mahalanobis", -50.0, SHARE, SHARE),
            Gate("unknown", "neighbours", 0.8, SHARE),
        ),
        candidate=0.1,
        tolerated=("blurred",),
        num_photos=10,
        references_sha256="abc",
    ),
)
REFUSAL = asdict(CARD.refusal)
GATE = asdict(CARD.refusal.gates[0])
IMAGE = asdict(CARD.image)
METRIC = asdict(CARD.metrics[0])


@pytest.fixture
def finished(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    run.write_card(CARD)
    run.weights_path.write_bytes(b"weights")
    return run


def test_card_comes_back_as_it_went(finished):
    assert RunFolder.open(finished.path).read_card() == CARD


def test_card_is_readable_by_people(finished):
    assert "Волна" in finished.card_path.read_text("utf-8")


def test_unknown_keys_of_newer_cards_are_ignored(finished):
    values = json.loads(finished.card_path.read_text("utf-8"))
    finished.card_path.write_text(json.dumps(values | {"novelty": 1}))
    assert finished.read_card() == CARD


def test_cards_of_before_may_have_infinity_among_their_notes(finished):
    values = json.loads(finished.card_path.read_text("utf-8"))
    checked = {"limits": {"difference": float("inf")}}
    finished.card_path.write_text(json.dumps(values | {"checked": checked}))
    assert finished.read_card() == replace(CARD, checked=checked)


def test_cards_of_before_know_no_refusal(finished):
    values = json.loads(finished.card_path.read_text("utf-8"))
    del values["refusal"]
    finished.card_path.write_text(json.dumps(values))
    assert finished.read_card() == replace(CARD, refusal=None)


def test_what_is_remembered_is_vouched_for(finished):
    sha256 = finished.write_references(b"what is remembered")
    assert finished.read_references(sha256) == b"what is remembered"
    finished.references_path.write_bytes(b"something else")
    with pytest.raises(BundleError, match="SHA-256 differs"):
        finished.read_references(sha256)
    finished.references_path.unlink()
    with pytest.raises(BundleError, match=r"cannot read .*familiarity\.npz"):
        finished.read_references(sha256)


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": FORMAT_VERSION + 1},
        {"format_version": "one"},
        {"image": {}},
        {"image": None},
        {"classes": [{"label": "0"}]},
        {"metrics": 5},
        {"views": 5},
        {"shares": 5},
        {"refusal": 5},
        {"refusal": []},
        {"refusal": "never"},
        {"refusal": float("nan")},
        {"refusal": {}},
        {"refusal": REFUSAL | {"gates": {}}},
        {"refusal": REFUSAL | {"gates": [5]}},
        {"refusal": REFUSAL | {"gates": [GATE | {"method": "guess"}]}},
        {"refusal": REFUSAL | {"gates": [GATE | {"method": ["energy"]}]}},
        {"refusal": REFUSAL | {"gates": [GATE | {"refuses": "everything"}]}},
        {"refusal": REFUSAL | {"gates": [GATE | {"threshold": "0.5"}]}},
        {"refusal": REFUSAL | {"gates": [GATE | {"threshold": float("nan")}]}},
        {"refusal": REFUSAL | {"gates": [GATE | {"known": None}]}},
        {"refusal": REFUSAL | {"gates": [GATE | {"strangers": {"value": 1}}]}},
        {"refusal": REFUSAL | {"sure": 5}},
        {"refusal": REFUSAL | {"candidate": None}},
        {"refusal": REFUSAL | {"coverage": True}},
        {"refusal": REFUSAL | {"tolerated": "blurred"}},
        {"refusal": REFUSAL | {"tolerated": [1]}},
        {"refusal": REFUSAL | {"num_photos": "many"}},
        {"refusal": REFUSAL | {"num_photos": float("inf")}},
        {"refusal": REFUSAL | {"references_sha256": "no hash"}},
        {"format_version": True},
        {"format_version": 0},
        *({"temperature": t} for t in (-1, 0, "1", None, True, [1], 1e-9, 1e9, 10**400)),
        *({"temperature": float(t)} for t in ("nan", "inf", "-inf")),
        {"classes": []},
        {"classes": {}},
        {"classes": [{"label": "0", "name": "a"}, {"label": "0", "name": "b"}]},
        {"classes": [{"label": "", "name": "a"}]},
        {"classes": [{"label": "0", "name": ""}]},
        {"classes": [{"label": 0, "name": "a"}]},
        {"classes": ["a", "b"]},
        {"classes": [{"label": str(n), "name": "a"} for n in range(MOST_CLASSES + 1)]},
        *(
            {"image": IMAGE | change}
            for change in (
                {"height": 0},
                {"height": -192},
                {"height": 10**9},
                {"height": 192.0},
                {"height": "192"},
                {"width": True},
                {"width": 10**400},
                {"fit": "squeeze"},
                {"fit": ["pad"]},
                {"interpolation": None},
                {"mean": [0.5]},
                {"mean": [0.5] * 4},
                {"mean": 0.5},
                {"mean": "0.5"},
                {"mean": [0.5, 0.5, "0.5"]},
                {"mean": [0.5, 0.5, float("nan")]},
                {"mean": [0.5, 0.5, 128.0]},
                {"std": [0.5, 0.5, 0]},
                {"std": [0.5, 0.5, -0.5]},
                {"std": [0.5, 0.5, 1e-30]},
                {"std": [0.5, 0.5, float("inf")]},
            )
        ),
        *({"backbone": b} for b in ("", 5, None, ["lite0"], "lite\u00000")),
        *({"recipe": r} for r in (None, 5, "quick", [])),
        *({"fingerprint": f} for f in (None, 5, "../abc", "A" * 64, "a" * 65)),
        *({"weights_sha256": f} for f in (None, 5, "xyz")),
        *({"feature_levels": n} for n in (0, -1, 6, "2", 2.0, None, True)),
        *({"members": n} for n in (0, 51, "2", 2.0, None, True)),
        *({"head": h} for h in (None, 5, "linear", [])),
        *({"views": v} for v in ([], "whole", ["whole", "whole"], [1], [""], {})),
        *({"commonest_label": c} for c in ("2", 5, None)),
        {"chosen": None},
        *({"metrics": [METRIC | change]} for change in ({"value": "0.5"}, {"count": -1})),
        *({"metrics": [METRIC | change]} for change in ({"name": ""}, {"low": float("nan")})),
        {"metrics": [METRIC] * 1000},
        {"synthetic": "no"},
        {"synthetic": 1},
        {"shares": ["0.5", "0.5"]},
        {"shares": [float("inf")]},
        *({"engine": e} for e in ("tensorrt", None, ["onnx"], {})),
        {"precision": "fp4"},
        {"checked": []},
    ],
)
def test_damaged_cards_are_bundle_errors(finished, change):
    values = json.loads(finished.card_path.read_text("utf-8"))
    finished.card_path.write_text(json.dumps(values | change))
    with pytest.raises(BundleError, match=r"card\.json") as caught:
        finished.read_card()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 999])
def test_a_card_of_a_newer_format_says_what_to_install(finished, version):
    values = json.loads(finished.card_path.read_text("utf-8"))
    finished.card_path.write_text(json.dumps(values | {"format_version": version}))
    with pytest.raises(BundleError, match="up to 1: install a newer lotlens") as caught:
        finished.read_card()
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    "card",
    [{}, {"format_version": None}, *({"format_version": v} for v in ("2", True, 0, -1, 2.5))],
)
def test_a_card_of_no_format_is_damaged_and_not_newer(finished, card):
    finished.card_path.write_text(json.dumps(card))
    with pytest.raises(BundleError, match=r"card\.json is damaged: ") as caught:
        finished.read_card()
    assert "newer" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("http://x/run", "http://x/run"),
        ("https:/x/run", "https://x/run"),
        ("s3://bucket/runs/cars-1", "s3://bucket/runs/cars-1"),
    ],
)
def test_a_run_at_an_address_is_told_where_runs_lie(tmp_path, monkeypatch, path, address):
    monkeypatch.chdir(tmp_path)
    for given in (Path(path), Path(path).absolute()):
        for read in (RunFolder.open, lambda one: RunFolder(one).read_card()):
            with pytest.raises(BundleError) as caught:
                read(given)
            assert str(caught.value).startswith(f"{address} looks like an address, and a run is")
            assert load_language("ru").reword(str(caught.value)) is not None


@pytest.mark.parametrize("path", ["none", "C:/runs/x", "runs/http:/x", "http:"])
def test_what_is_no_address_is_no_run(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    for read in (RunFolder.open, lambda one: RunFolder(one).read_card()):
        with pytest.raises(BundleError, match=f"^no run folder at {path}$"):
            read(Path(path))


def test_a_folder_may_be_called_as_an_address_begins(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    finished.path.rename(tmp_path / "http:" / "run")
    assert RunFolder(Path("http:/run")).read_card() is not None


@pytest.mark.parametrize("key", ["format_version", "classes", "image", "backbone", "fingerprint"])
def test_cards_without_what_is_needed_are_refused(finished, key):
    values = json.loads(finished.card_path.read_text("utf-8"))
    del values[key]
    finished.card_path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match=r"card\.json"):
        finished.read_card()


@pytest.mark.parametrize("key", [key for key in IMAGE if key not in ("locate", "box_fit")])
def test_cards_without_a_part_of_the_preprocessing_are_refused(finished, key):
    values = json.loads(finished.card_path.read_text("utf-8"))
    del values["image"][key]
    finished.card_path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match=f"image: {key} is missing"):
        finished.read_card()


def test_cards_of_before_look_at_whole_photos(finished):
    values = json.loads(finished.card_path.read_text("utf-8"))
    del values["image"]["locate"], values["image"]["box_fit"]
    finished.card_path.write_text(json.dumps(values))
    assert finished.read_card().image.locate == "none"


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"data": ""}',
        b'{"data": 5}',
        b'{"data": null}',
        b'{"data": "a\\u0000b"}',
        b'{"data": "a", "test": -1}',
        b'{"data": "a", "test": "many"}',
        b'{"data": "a", "photos": 5}',
        b'{"data": "a", "photos": {"0": "many"}}',
        b'{"data": "a", "photos": {"0": NaN}}',
        b'{"data": "a", "data": "b"}',
    ],
)
def test_damaged_sources_are_bundle_errors(finished, content):
    finished.source_path.write_bytes(content)
    with pytest.raises(BundleError, match=r"source\.json is damaged"):
        finished.read_source()


def test_sources_may_be_called_by_any_bytes(finished):
    name = os.fsdecode(b"/data/\xff\xfe")
    finished.write_source({"data": name})
    assert finished.read_source() == {"data": name}


def test_the_day_of_a_training_is_kept_and_a_run_of_before_has_none(finished):
    with finished.keep_time():
        pass
    assert finished.read_end() == datetime.now().astimezone().date()
    finished.timing_path.write_bytes(b'{"wall_s": 1.0}')
    assert finished.read_end() is None
    finished.timing_path.unlink()
    assert finished.read_end() is None
    for content in (b'{"ended": "yesterday"}', b'{"ended": 5}'):
        finished.timing_path.write_bytes(content)
        with pytest.raises(BundleError, match="damaged"):
            finished.read_end()


@pytest.mark.parametrize("content", [b'{"wall_s": "1"}', b'{"cpu_s": -1}', b'{"wall_s": 1e999}'])
def test_damaged_timings_are_bundle_errors(finished, content):
    finished.timing_path.write_bytes(content)
    with pytest.raises(BundleError, match=r"timing\.json is damaged"):
        finished.read_timing()


@pytest.mark.parametrize("content", [b"a,b\n1\n", b"a\n1,2\n", b'a\n"1', b"a\n" + b"x" * 200_000])
def test_damaged_histories_are_bundle_errors(finished, content):
    finished.history_path.write_bytes(content)
    with pytest.raises(BundleError, match=r"history\.csv is damaged"):
        finished.read_history()


def test_files_that_no_run_has_so_large_are_not_read(finished):
    with finished.weights_path.open("wb") as file:
        file.truncate(MOST_MODEL_BYTES + 1)
    with pytest.raises(BundleError, match="2,000,000,000 at most"):
        finished.read_weights()
    with finished.card_path.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(BundleError, match="16,000,000 at most"):
        finished.read_card()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_not_waited_for(finished):
    finished.card_path.unlink()
    os.mkfifo(finished.card_path)
    with pytest.raises(BundleError, match="not a plain file"):
        finished.read_card()


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("cars-quick", "cars-quick"),
        ("../../cars", "-..-cars"),
        ("/etc/cars", "-etc-cars"),
        ("..", "run"),
        ("", "run"),
        (".hidden", "hidden"),
        ("a\\b:c\0d\n", "a-b-c-d-"),
        ("машины", "машины"),
        ("я" * 300, "я" * 50),
        ("a" * 300, "a" * 100),
        ("\udcff", "-"),
    ],
)
def test_a_runs_name_never_leads_out_of_its_folder(tmp_path, stem, name):
    with (
        RunFolder.claim_next(tmp_path / "runs", stem, "train") as run,
        RunFolder.claim_next(tmp_path / "runs", stem, "train") as second,
    ):
        assert run.path == tmp_path / "runs" / f"{name}-1"
        assert second.path.name == f"{name}-2"
        assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null"])
def test_files_that_are_no_cards(finished, content):
    finished.card_path.write_bytes(content)
    with pytest.raises(BundleError, match=r"card\.json"):
        finished.read_card()


@pytest.mark.parametrize("name", ["card.json", "model.safetensors"])
def test_an_unfinished_run_does_not_open(finished, name):
    (finished.path / name).unlink()
    with pytest.raises(BundleError, match="no finished model"):
        RunFolder.open(finished.path)


def test_members_are_copied_and_vouched_for(finished, tmp_path):
    run = RunFolder.create(tmp_path / "joined")
    run.write_card(CARD)
    with pytest.raises(BundleError, match="no finished model"):
        RunFolder.open(run.path)
    for number in range(2):
        run.add_member(number, finished)
    assert RunFolder.open(run.path).member(1).read_card() == CARD
    assert run.member(1).weights_path.read_bytes() == b"weights"
    mark = run.hash_members(2)
    assert mark != run.hash_members(1)
    run.member(1).card_path.write_bytes(b"{}")
    assert run.hash_members(2) != mark
    with pytest.raises(BundleError, match=r"cannot read .*2.card\.json"):
        run.hash_members(3)
    finished.weights_path.unlink()
    with pytest.raises(BundleError, match=r"cannot read .*model\.safetensors"):
        run.add_member(2, finished)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(BundleError, match="no run folder"):
        RunFolder.open(tmp_path / "absent")


def test_a_folder_with_files_is_not_taken_over(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="already holds files"):
        RunFolder.create(tmp_path)


def test_a_folder_is_looked_at_without_being_changed(tmp_path, finished):
    assert not finished.is_finished  # it began nowhere: an export
    finished.write_recipe({"name": "quick"})
    assert finished.is_finished
    with pytest.raises(InputError, match="already holds files"):
        finished.check_free()
    with pytest.raises(InputError, match="is a file"):
        RunFolder(finished.card_path).check_free()
    finished.card_path.unlink()
    assert not finished.is_finished
    finished.check_free()
    assert finished.recipe_path.is_file()
    RunFolder(tmp_path / "new").check_free()
    assert not (tmp_path / "new").exists()


def test_what_a_killed_training_left_is_cleared_away(tmp_path, finished):
    finished.write_recipe({"name": "quick"})
    with pytest.raises(InputError, match="already holds files"):
        RunFolder.create(finished.path)
    finished.card_path.unlink()
    assert list(RunFolder.create(finished.path).path.iterdir()) == []


def test_the_next_free_name_is_found(tmp_path):
    (tmp_path / "lot-2").mkdir()
    with (
        RunFolder.claim_next(tmp_path, "lot", "train") as first,
        RunFolder.claim_next(tmp_path, "lot", "train") as second,
    ):
        # Neither is there yet, but the first is somebody's already, as the folder of that name is.
        assert [run.path.name for run in (first, second)] == ["lot-1", "lot-3"]
    assert [path.name for path in tmp_path.iterdir()] == ["lot-2"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the run folder"):
        RunFolder.create(tmp_path / "file" / "run")


def test_only_runs_are_removed(tmp_path, finished):
    with pytest.raises(InputError, match="not a run folder"):
        finished.remove()
    finished.write_recipe({"name": "quick"})
    finished.remove()
    assert not finished.path.exists()


def test_the_history_is_a_plain_table(finished):
    assert finished.read_history() == []
    finished.write_history([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "extra": "x"}])
    rows = finished.read_history()
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["extra"] for row in rows] == ["", "x"]


def test_openings_are_added_up(finished):
    assert finished.add_opening(0.5, 20) == 1
    assert finished.add_opening(0.61234, 20) == 2
    head, *rows = finished.openings_path.read_text("utf-8").splitlines()
    assert head == "time,accuracy,photos"
    assert [row.partition(",")[2] for row in rows] == ["0.5000,20", "0.6123,20"]
    times = [datetime.fromisoformat(row.partition(",")[0]) for row in rows]
    assert times == sorted(times)
    assert all(time.tzinfo for time in times)


def test_openings_of_several_at_once_all_count(finished):
    def add():
        with RunFolder.claim(finished.path, "compare", wait_s=60):
            finished.add_opening(0.5, 20)

    openers = [threading.Thread(target=add) for _ in range(12)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert len(finished.openings_path.read_text("utf-8").splitlines()) == 13


def test_damaged_tables_and_deep_files_are_told(finished):
    finished.openings_path.write_bytes(b"time,accuracy\n\xff\xfe\n")
    with pytest.raises(BundleError, match=r"locked-openings.csv is damaged"):
        finished.add_opening(0.5, 20)
    finished.openings_path.write_text("x" * 200_000)
    with pytest.raises(BundleError, match=r"locked-openings.csv is damaged"):
        finished.add_opening(0.5, 20)
    finished.source_path.write_text("[" * 200_000)
    with pytest.raises(BundleError, match=r"source.json is damaged"):
        finished.read_source()


def test_names_that_are_no_utf_8_come_back(finished):
    values = {"data": "/photos/\udcff\udc80 лот", "runs": ["\x1b[31m", "\u202e"]}
    finished.write_source(values)
    assert finished.read_source() == values
    finished.source_path.read_text("utf-8")
    finished.write_recipe({"backbone": "timm:x@/\udcff.safetensors"})
    assert finished.read_recipe() == {"backbone": "timm:x@/\udcff.safetensors"}


def test_source_and_recipe_come_back(finished):
    finished.write_source({"data": "/photos/лот"})
    assert finished.read_source() == {"data": "/photos/лот"}
    finished.write_recipe({"name": "мой", "seed": 3})
    assert finished.recipe_path.read_text("utf-8") == "name: мой\nseed: 3\n"


def test_what_a_kill_left_of_the_first_file_does_not_fill_the_folder(tmp_path):
    with atomic_path(tmp_path / "recipe.yaml") as path:
        path.write_text("name:")
    (tmp_path / "recipe.yaml").rename(path)  # as if it had been killed in between
    assert RunFolder.create(tmp_path).path == tmp_path
    (tmp_path / ".notes").write_text("mine")
    with pytest.raises(InputError, match="already holds files"):
        RunFolder.create(tmp_path)


def test_a_stopped_training_is_neither_cleared_nor_overwritten(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    run.write_recipe({"name": "quick"})
    assert run.is_unfinished
    assert RunFolder.create(run.path).path == run.path  # nothing was done in it yet
    run.write_recipe({"name": "quick"})
    run.checkpoint_path.mkdir()
    assert RunFolder.create(run.path).path == run.path  # nor is there anything to go on with
    run.write_recipe({"name": "quick"})
    run.checkpoint_path.mkdir()
    (run.checkpoint_path / "stages.json").write_text("{}")
    with pytest.raises(InputError, match="go on with --resume"):
        RunFolder.create(run.path)
    assert run.read_recipe() == {"name": "quick"}
    run.remove_checkpoint()
    run.recipe_path.write_text("- 1")
    with pytest.raises(BundleError, match="must be a mapping"):
        run.read_recipe()


def test_a_folder_of_somebodys_is_never_cleared(tmp_path):
    """A recipe.yaml alone makes no run of a folder in which people keep other things."""
    (tmp_path / "recipe.yaml").write_text("name: mine")
    (tmp_path / "thesis.txt").write_text("years of work")
    run = RunFolder(tmp_path)
    for clear in (run.check_free, run.remove, run.remove_beginning):
        with pytest.raises(InputError, match=r"is no run's alone, it holds thesis.txt"):
            clear()
    with pytest.raises(InputError, match=r"it holds thesis.txt"):
        RunFolder.create(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_model_is_never_cleared_for_a_checkpoint_that_is_half_gone(finished):
    finished.write_recipe({"name": "quick"})
    finished.checkpoint_path.mkdir()
    with pytest.raises(InputError, match="go on with --resume"):
        RunFolder.create(finished.path)
    finished.remove_beginning()
    assert finished.weights_path.exists()
    finished.remove_checkpoint()
    assert finished.is_finished
    assert not [path for path in finished.path.iterdir() if path.name.startswith(".")]


def test_claiming_a_run_leaves_what_others_write_in_it(finished):
    other = name_unfinished(finished.path / "answers.csv")
    own = name_unfinished(finished.card_path)
    for path in (other, own):
        path.write_text("half")
    with RunFolder.claim(finished.path, "evaluate"):
        assert other.exists()
        assert not own.exists()
