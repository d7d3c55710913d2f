"""What the benchmarks say of their figures, and when a figure is worse than before."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def figures():
    """What the benchmarks share."""
    specification = importlib.util.spec_from_file_location("figures", BENCHMARKS / "figures.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["figures"] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules["figures"]


def test_a_known_figure_has_words(figures):
    """Each figure of `known.json` has a title, a goal and a meaning in `figures.toml`."""
    assert set(figures.known_figures()) <= set(figures.goals())


def test_the_limit_lies_between_noise_and_a_regression(figures):
    """A figure is worse above 1.25 times the lowest run, and so if it is 30 % above that run."""
    known = figures.Known(low=2.0, median=2.2, high=2.4)
    assert known.high < known.limit < 1.3 * known.low


def test_a_regression_of_thirty_percent_is_worse(figures):
    """Each figure is worse if it is 1.3 times what it was in the quickest of the known runs."""
    for key, known in figures.known_figures().items():
        slower = figures.Figure(key, 1.3 * known.low)
        assert slower.change == ("WORSE" if known.low else "as known"), key


def test_noise_is_no_regression(figures):
    """No known run of a figure is worse than the others."""
    for key, known in figures.known_figures().items():
        assert figures.Figure(key, known.high).change == "as known", key
