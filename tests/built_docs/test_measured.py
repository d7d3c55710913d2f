"""The page "Measured": each figure, and the reason of each goal that is missed."""

import importlib.util
import json
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIGURES = tomllib.loads((ROOT / "benchmarks" / "figures.toml").read_text("utf-8"))
MEASURED = json.loads((ROOT / "benchmarks" / "measured.json").read_text("utf-8"))
NAMES = [(script, name) for script, figures in FIGURES.items() for name in figures]


@pytest.fixture
def measured():
    """The module that writes the page's tables."""
    path = ROOT / "docs" / "measured.py"
    specification = importlib.util.spec_from_file_location("measured", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("script", "name"), NAMES, ids=".".join)
def test_each_figure_is_on_the_page(measured, script, name):
    """Each figure of `figures.toml` was measured in the last `make prove`, and has its line."""
    texts = measured.texts(MEASURED, FIGURES)
    goal = FIGURES[script][name]
    table = texts["memory" if goal.get("memory") else script]
    assert f"**{goal['title']}**<br>{goal['means']}" in table


def test_a_missed_goal_has_its_reason(measured):
    """A missed goal is marked in the table, and explained below it."""
    words = {"title": "a / b", "goal": 1, "means": "m", "best": "b", "missed": "It is slow."}
    figures = [{"key": "results.read", "value": 2.0, "quartiles": [1.5, 2.5], "remark": ""}]
    reports = {**MEASURED["reports"], "results": {"figures": figures, "plots": {}}}
    goals = {**FIGURES, "results": {"read": words}}
    texts = measured.texts({**MEASURED, "reports": reports}, goals)
    assert "| **2, missed** (1.50 to 2.50) | 1 |" in texts["results"]
    assert "- **a / b: 2**, goal 1. It is slow." in texts["missed"]
    del words["missed"]
    with pytest.raises(ValueError, match=r"results\.read is missed, and figures.toml does not say"):
        measured.texts({**MEASURED, "reports": reports}, goals)
