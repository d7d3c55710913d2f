"""A run that is killed at a request boundary, and started again: the same jobs, the same output."""

import asyncio
import importlib.util
import os
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[1] / "benchmarks" / "crashes.py"


@pytest.fixture
def crashes():
    """The harness, which `make prove` runs for every boundary."""
    specification = importlib.util.spec_from_file_location("crashes", HARNESS)
    module = importlib.util.module_from_spec(specification)
    sys.modules["crashes"] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules["crashes"]


@pytest.mark.once
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.timeout(240)
def test_killed_runs_make_three_jobs_and_one_output(crashes):
    """At every fifth boundary, and fewer with lost answers."""
    assert asyncio.run(crashes.prove(step=5)) >= 16
