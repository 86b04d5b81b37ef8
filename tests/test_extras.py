"""A part that is not installed is named; a mistake within lotlens is not taken for one."""

import json

import pytest

from lotlens.errors import MissingExtra
from lotlens.extras import import_extra, import_vision


def test_a_module_that_is_there_is_given():
    assert import_extra("json", "train") is json
    assert import_vision("compat").__name__ == "lotlens.vision.compat"


def test_what_is_missing_says_what_to_install():
    with pytest.raises(MissingExtra, match=r"'no_such_module'.*pip install 'lotlens\[web\]'"):
        import_extra("no_such_module", "web")


def test_a_module_that_lotlens_itself_lacks_is_no_missing_extra():
    with pytest.raises(ModuleNotFoundError, match=r"lotlens\.vision\.nothing"):
        import_vision("nothing")
