"""A few cases of each kind of chaos, always the same; `make chaos` plays more."""

import importlib

import pytest

from chaos import KINDS, driver

AT_ONCE = 5


def _cases():
    for kind in KINDS:
        cases = importlib.import_module(f"chaos.{kind}").CASES
        for first in range(0, cases, AT_ONCE):
            seeds = range(first, min(first + AT_ONCE, cases))
            yield pytest.param(kind, seeds, id=f"{kind}-{first}")


@pytest.mark.once
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "seeds"), list(_cases()))
def test_chaos_breaks_no_promise(kind, seeds):
    """What `chaos.invariants` says is true in every case."""
    for seed in seeds:
        case = driver.play(kind, seed)
        assert not case.violations, case.tell()
