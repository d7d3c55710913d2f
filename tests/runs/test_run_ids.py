"""Ids made of content: always valid, different when anything differs, the same everywhere."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch import ConfigurationError
from fireworks_batch.runs.spec import (
    RunKey,
    attempt_id,
    attempt_of,
    check_run_name,
    input_id,
    is_of_name,
    output_id,
)

VALID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?").fullmatch
KEY = RunKey(
    account_id="acme",
    model="accounts/fireworks/models/demo-8b",
    parameters={"inferenceParameters": {"maxTokens": 5, "extraBody": '{"stop": ["\\n"]}'}},
    name="nightly-2026-11-23",
)
CONTENT = "ab" * 32
GOLDEN = ["nightly-2026-11-23-zuyfr63dxhbp5e2wmmfh", "batch-jxnzwkplnjbl5e6canh4"]

names = st.text(min_size=1, max_size=100).filter(str.strip)
keys = st.builds(
    RunKey,
    account_id=st.sampled_from(["a", "b"]),
    model=st.sampled_from(["m", "n"]),
    parameters=st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 2), max_size=2),
    name=st.sampled_from(["", "x", "X", "x ", "é"]),
)


@given(names, st.integers(0, 19))
def test_every_id_is_valid(name, number):
    """Whatever a run is called, its ids keep the server's rule, and say which attempt is meant."""
    base = RunKey(account_id="a", model="m", parameters={}, name=name).base(CONTENT)
    made = attempt_id(base, number)

    assert VALID(made)
    assert VALID(input_id(base, number, CONTENT))
    assert VALID(output_id(base, number))
    assert (base, number) == attempt_of(made)
    assert is_of_name(name, base)


@pytest.mark.parametrize(
    "job_id", ["", "x", "x-", "-1", "x-01", "x-1-out", "x-1a", "x-\u0661", "x-1000"]
)
def test_other_ids_are_of_no_attempt(job_id):
    """Ids of other jobs are in the same listing."""
    assert attempt_of(job_id) is None


def test_input_says_which_rows_are_in_it():
    """Two callers may see other rows without a response: their datasets have two ids."""
    assert "x-0" == input_id("x", 0, CONTENT)
    assert f"x-1-{CONTENT[:8]}" == input_id("x", 1, CONTENT)


@given(keys, keys, st.sampled_from(["c", "d"]), st.sampled_from(["c", "d"]))
def test_ids_differ_exactly_when_an_ingredient_does(one, other, content, other_content):
    """Two jobs have one id if and only if account, model, parameters, name, content agree."""
    is_same = one == other and content == other_content

    assert is_same == (one.base(content) == other.base(other_content))


def test_id_begins_with_what_can_be_read_of_the_name():
    """The name stands in front, so that a person finds the job in a listing."""
    assert KEY.base(CONTENT).startswith("nightly-2026-11-23-")


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("", "batch"),
        ("2026 run", "batch-2026-run"),
        ("ÄÖ", "batch"),
        ("--A__b--", "a-b"),
        ("x" * 100, "x" * 30),
        ("a" * 29 + " b", "a" * 29),
    ],
)
def test_prefix_keeps_the_rule(name, prefix):
    """A letter first, no hyphen last, cut where there is no room."""
    base = RunKey(account_id="a", model="m", parameters={}, name=name).base(CONTENT)

    assert prefix == base.rpartition("-")[0]


def test_golden_ids():
    """These ids stay what they are in every release, or running jobs would not be found again."""
    plain = RunKey(account_id="acme", model="accounts/fireworks/models/demo-8b", parameters={})

    assert GOLDEN == [KEY.base(CONTENT), plain.base(CONTENT)]


def test_parameters_are_read_as_what_they_mean():
    """The order of members, 1.0 for 1, and spaces in extraBody make no other job."""
    one = {"inferenceParameters": {"n": 1, "temperature": 1, "extraBody": '{"a":1,"b":2}'}}
    other = {"inferenceParameters": {"extraBody": '{ "b": 2, "a": 1 }', "temperature": 1.0, "n": 1}}
    bases = {
        RunKey(account_id="a", model="m", parameters=parameters).base(CONTENT)
        for parameters in (one, other)
    }

    assert 1 == len(bases)


def test_ids_are_the_same_in_another_process():
    """No hash of Python's own gets into an id: its seed changes with each process."""
    program = (
        f"from fireworks_batch.runs.spec import RunKey\nkey = {KEY!r}\nprint(key.base({CONTENT!r}))"
    )
    said = subprocess.check_output([sys.executable, "-c", program], text=True)

    assert KEY.base(CONTENT) == said.strip()


@pytest.mark.parametrize("name", ["", "  ", "x" * 501, "\ud800", 7])
def test_bad_name_is_refused(name):
    """A name that is empty, too long, unwritable or no text is named in the error."""
    with pytest.raises(ConfigurationError, match="name must"):
        check_run_name(name)


def test_no_name_is_an_empty_one():
    """A run need not have a name."""
    assert "" == check_run_name(None)
