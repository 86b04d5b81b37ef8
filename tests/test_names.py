"""Names that the documents promise, and where they lead."""

import pytest

import lotlens
from lotlens.verbs import doubts, improve


def test_every_public_name_is_there():
    for name in lotlens.__all__:
        assert getattr(lotlens, name), name


def test_names_of_before_go_on_to_answer():
    from lotlens import evidence, rounds

    assert evidence.doubt is doubts.doubt
    assert (rounds.improve, rounds.plan_round) == (improve.improve, improve.plan_round)


def test_other_names_are_an_error():
    with pytest.raises(AttributeError, match="no attribute 'drive'"):
        lotlens.drive  # noqa: B018
