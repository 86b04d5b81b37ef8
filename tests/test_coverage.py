"""What the guide says of figures that flatter, and of folds, is what simulations say."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def coverage():
    spec = importlib.util.spec_from_file_location("coverage_simulations", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_best_of_six_flatters_by_about_a_point_and_of_twenty_by_more(coverage):
    few, apart = coverage.flatter(6, 130, 0.93, num_rounds=300)
    many, _ = coverage.flatter(20, 130, 0.93, num_rounds=100)
    larger, _ = coverage.flatter(6, 374, 0.93, num_rounds=100)
    alone, _ = coverage.flatter(1, 130, 0.93, num_rounds=20)
    assert 0.7 < few < 1.4
    assert larger < few < many < 2.2
    assert alone == 0
    assert 0.03 < apart < 0.08  # as runs of one recipe differ


@pytest.mark.parametrize("accuracy", [0.8, 0.93])
def test_folds_together_are_right_more_often_than_they_state(coverage, accuracy):
    found = [coverage.state_together(500, accuracy, seed=seed) for seed in range(4)]
    for one, together in found:
        assert abs(one) < 0.04
        assert -0.1 < together < -0.01
        assert together < one


def test_drawn_probabilities_are_true(coverage):
    drawn = coverage.draw_answers(
        coverage.np.random.default_rng(0), 20_000, 10, coverage.find_skill(10, 0.9), 1.0
    )
    true = coverage.measure_truth(*drawn)
    assert true["accuracy"] == pytest.approx(0.9, abs=0.01)
    assert true["calibration error"] < 0.02
