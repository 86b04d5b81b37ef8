"""Names that the documents promise, and where they lead."""

import ast
import inspect
import re
import rlcompleter
import subprocess
import sys
from pathlib import Path

import pytest

import lotlens
from lotlens.cli.commands import COMMANDS
from lotlens.verbs import audit, doubts, ensemble, improve, lr_find, refusal, rounds, sweep

ROOMS = ("audit", "improve", "refusal", "sweep")


def test_every_public_name_is_there():
    for name in lotlens.__all__:
        assert getattr(lotlens, name), name


def test_every_command_is_a_verb_of_the_same_name():
    for command in COMMANDS:
        verb = getattr(lotlens, command.replace("-", "_"))
        assert callable(verb)
        assert command.replace("-", "_") in lotlens.__all__


def test_verbs_are_the_functions_of_the_verbs_room():
    for name, function in (
        ("audit", audit.run_audit),
        ("sweep", sweep.run_sweep),
        ("refusal", refusal.set_refusal),
        ("improve", improve.improve),
        ("doubts", doubts.doubt),
        ("rounds", rounds.list_rounds),
        ("lr_find", lr_find.find_rate),
        ("ensemble", ensemble.build_ensemble),
    ):
        verb = getattr(lotlens, name)
        assert inspect.unwrap(verb) is function
        assert inspect.signature(verb) == inspect.signature(function)
        assert inspect.getdoc(verb) == inspect.getdoc(function)
        assert getattr(lotlens, name) is verb


def test_names_of_before_go_on_to_answer():
    from lotlens import evidence, rounds

    assert evidence.doubt is doubts.doubt
    assert (rounds.improve, rounds.plan_round) == (improve.improve, improve.plan_round)
    for earlier, name in lotlens._EARLIER.items():
        assert getattr(lotlens, earlier) is getattr(lotlens, name)


def test_other_names_are_an_error():
    with pytest.raises(AttributeError, match="no attribute 'drive'"):
        lotlens.drive  # noqa: B018


def test_tab_shows_the_verbs_and_not_their_earlier_names():
    shown = dir(lotlens)
    assert {"train", "audit", "lr_find", "rounds", "open_lot", "__version__"} <= set(shown)
    assert not {*lotlens._EARLIER, "TYPE_CHECKING", "Any", "annotations"} & set(shown)
    completer = rlcompleter.Completer({"lotlens": lotlens})
    assert [text.rstrip("(") for text in completer.attr_matches("lotlens.tr")] == ["lotlens.train"]
    assert completer.attr_matches("lotlens.au") == ["lotlens.audit("]


def test_type_checkers_see_what_python_finds():
    tree = ast.parse(Path(lotlens.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (alias.asname or alias.name): f"{node.module}.{alias.name}".removeprefix("lotlens.")
        for node in block.body
        for alias in node.names
    }
    homes = dict(lotlens._HOMES)
    for earlier, name in lotlens._EARLIER.items():
        homes[earlier] = homes[name]
    assert seen == homes
    assert {*seen, "__version__"} == {*lotlens.__all__}


@pytest.mark.parametrize(
    "first",
    [
        "import lotlens",
        "import lotlens.verbs.audit, lotlens.verbs.sweep, lotlens.verbs.improve",
        "from lotlens import audit, sweep, refusal, improve",
        "import lotlens; lotlens.audit; lotlens.sweep; lotlens.refusal; lotlens.improve",
        "import lotlens.audit.findings, lotlens.sweep.grid, lotlens.refusal.gates,"
        " lotlens.improve.doubts",
        "from lotlens.audit.findings import audit_lot; from lotlens.sweep.grid import Grid",
        "import importlib, lotlens; importlib.reload(lotlens)",
    ],
)
def test_a_room_is_called_as_its_verb_in_every_order_of_imports(first):
    program = f"""
{first}
import importlib, inspect
import lotlens
import lotlens.audit.findings as findings
from lotlens import audit, improve, refusal, sweep
from lotlens.audit import checks
from lotlens.audit.findings import Audit
import lotlens.sweep.grid, lotlens.refusal.gates, lotlens.improve.doubts
assert findings is lotlens.audit.findings is importlib.import_module("lotlens.audit.findings")
assert checks is lotlens.audit.checks and Audit is findings.Audit
for name, room in dict(audit=audit, improve=improve, refusal=refusal, sweep=sweep).items():
    assert getattr(lotlens, name) is room is importlib.import_module("lotlens." + name)
    verbs = importlib.import_module("lotlens.verbs." + name)
    assert inspect.getmodule(inspect.unwrap(room)) is verbs
    assert [*inspect.signature(room).parameters][0] in ("data", "run")
try:
    audit("nowhere")
except lotlens.LotlensError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "nowhere" in done.stdout


def list_signatures():
    for name in lotlens.__all__:
        thing = getattr(lotlens, name)
        if callable(thing) and not inspect.isclass(thing):
            yield name, inspect.signature(thing)
    for name, method in inspect.getmembers(lotlens.Model, inspect.isfunction):
        if not name.startswith("_"):
            yield f"Model.{name}", inspect.signature(method)


def test_every_function_takes_a_path_as_text_too():
    for name, signature in list_signatures():
        for parameter in signature.parameters.values():
            note = str(parameter.annotation)
            if re.search(r"\bPath\b", note):
                assert re.search(r"\bstr\b", note), f"{name}({parameter})"


def test_a_model_has_the_verbs_that_are_about_one():
    for name in ("evaluate", "doubts", "export"):
        own = [*inspect.signature(getattr(lotlens.Model, name)).parameters.values()][1:]
        verb = [*inspect.signature(getattr(lotlens, name)).parameters.values()][1:]
        assert [(p.name, p.default) for p in own] == [(p.name, p.default) for p in verb]


def test_paths_as_text_are_opened(small_lot):
    lot = lotlens.open_lot(str(small_lot))
    assert len(lot.train) == 36
    for photos in (str(small_lot / "test.zip"), small_lot / "test.zip"):
        assert {*lotlens.open_photos(photos).ids} == {*lot.test.ids}
    apart = lotlens.open_lot(str(small_lot / "train.csv"), photos=str(small_lot / "train.zip"))
    assert len(apart.train) == 36
