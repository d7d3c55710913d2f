"""What the benchmarks say of their figures, and when a figure is worse than before."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def figures():
    """What the benchmarks share, on the machine that `known.json` tells of."""
    specification = importlib.util.spec_from_file_location("figures", BENCHMARKS / "figures.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["figures"] = module
    specification.loader.exec_module(module)
    told = json.loads(module.KNOWN.read_text("utf-8"))["machine"]
    module.machine = lambda: told
    yield module
    del sys.modules["figures"]


@pytest.fixture(scope="module")
def benchmarks(figures):
    """The program that runs them all."""
    specification = importlib.util.spec_from_file_location("all", BENCHMARKS / "__main__.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_a_known_figure_has_words(figures):
    """Each figure of `known.json` has a title, a goal and a meaning in `figures.toml`."""
    assert set(figures.known_figures()) <= set(figures.goals())


def test_a_regression_of_thirty_percent_is_worse(figures):
    """Each figure is worse if it is 1.3 times what it was in a usual run."""
    assert figures.known_figures()
    for key, known in figures.known_figures().items():
        slower = figures.Figure(key, 1.3 * known.median)
        assert slower.change == ("WORSE" if known.median else "as known"), key


def test_noise_is_no_regression(figures):
    """Of ten runs, three at most are above the limit: a figure is worse if three of five are."""
    for key, known in figures.known_figures().items():
        again = [value for value in known.values if value > known.limit]
        assert len(known.values) >= 10, key
        assert len(again) <= 3, key


@pytest.mark.parametrize(
    ("tries", "counts"),
    [([9], 9), ([9, 1], 1), ([9, 8, 1], 8), ([9, 8, 1, 2], 2), ([9, 8, 1, 7, 2], 7)],
)
def test_the_median_of_the_runs_counts(benchmarks, figures, tries, counts):
    """After two runs, or four, the better one in the middle: it may be over by then."""
    runs = [[figures.Figure("results.read", value)] for value in tries]
    assert benchmarks.medians(runs) == [figures.Figure("results.read", counts)]


def test_another_machine_has_no_known_figures(figures, monkeypatch, capsys):
    """Its ratios are other ones; it is said which machine the known figures are of."""
    monkeypatch.setattr(figures, "machine", lambda: "a watch")
    figures.known_figures.cache_clear()

    assert not figures.known_figures()
    assert "this is a watch" in capsys.readouterr().out
    figures.known_figures.cache_clear()
