"""A part that is not installed is named; a mistake within lotlens is not taken for one."""

import json
import shlex
from pathlib import Path

import pytest

from lotlens import errors
from lotlens.errors import MissingExtra, tell_install
from lotlens.extras import import_extra, import_vision


def test_a_module_that_is_there_is_given():
    assert import_extra("json", "train") is json
    assert import_vision("compat").__name__ == "lotlens.vision.compat"


def test_what_is_missing_says_what_to_install():
    with pytest.raises(MissingExtra, match=r"'no_such_module'.*pip install .*\[web\]'"):
        import_extra("no_such_module", "web")


def test_a_module_that_lotlens_itself_lacks_is_no_missing_extra():
    with pytest.raises(ModuleNotFoundError, match=r"lotlens\.vision\.nothing"):
        import_vision("nothing")


def test_the_line_to_install_names_this_checkout():
    words = shlex.split(tell_install("web"))
    root = Path(__file__).parent.parent
    assert words == [
        *("pip", "install", "-c", str(root / "constraints.txt")),
        *("-e", f"{root}[web]"),
    ]


@pytest.mark.parametrize("is_there", [True, False])
def test_an_installed_lotlens_knows_the_checkout_that_it_came_from(is_there, tmp_path, monkeypatch):
    checkout = tmp_path / "my cars" / "lotlens"
    checkout.mkdir(parents=True)
    if is_there:
        (checkout / "pyproject.toml").touch()
    told = json.dumps({"url": checkout.as_uri(), "dir_info": {}})

    class Distribution:
        def read_text(self, name):
            return told

    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Distribution())
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "site-packages" / "lotlens" / "x.py"))
    words = shlex.split(tell_install("train"))
    assert words[2:] == (
        [f"{checkout}[train]"]
        if is_there
        else [".[train]", "in", "the", "checkout", "of", "lotlens"]
    )
