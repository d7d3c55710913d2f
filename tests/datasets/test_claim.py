"""What is done about the dataset that bears an id."""

import re
from typing import Any

import attrs
import pytest

from fireworks_batch import (
    ConfigurationError,
    Dataset,
    DatasetConflictError,
    DatasetState,
    EncryptionState,
    InputRowsError,
    Limits,
)
from fireworks_batch.datasets.claim import (
    Claim,
    Measure,
    Survey,
    check_measure,
    content_id,
    file_name,
    is_done,
    stored_name,
)
from fireworks_batch.models.names import check_new_id

NAME = "accounts/acme/datasets/reviews"
CLAIM = Claim(dataset_id="reviews", takes_ready=False, source="'in.jsonl'", rows=3)


def found(state: str, rows: int = 3, **members: Any) -> Dataset:
    """A dataset that is there."""
    return Dataset(name=NAME, state=DatasetState(state), example_count=rows, **members)


def surveyed(content: bytes) -> Measure:
    """The survey of a content."""
    survey = Survey()
    survey.update(content)
    return survey.measure


def test_the_same_content_has_the_same_id():
    """It is valid, and another content has another one."""
    first = content_id(surveyed(b"{}\n"))

    assert first == content_id(surveyed(b"{}\n")) == "d-ca3d163bab055381827226140568f3bef7eaac18"
    assert check_new_id("dataset id", first) == first
    assert first != content_id(surveyed(b"{} \n"))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("input.jsonl", "input.jsonl"),
        ("a.B-c_9.jsonl", "a.B-c_9.jsonl"),
        ("", "reviews.jsonl"),
        ("input.json", "reviews.jsonl"),
        ("input.JSONL", "reviews.jsonl"),
        (".jsonl", "reviews.jsonl"),
        ('in"put.jsonl', "reviews.jsonl"),
        ("ein ü.jsonl", "reviews.jsonl"),
        ("a.jsonl\n", "reviews.jsonl"),
        ("a" * 101 + ".jsonl", "reviews.jsonl"),
    ],
)
def test_the_file_keeps_its_name_where_the_server_takes_it(source, name):
    """Else it is named after the dataset."""
    assert file_name(source, "reviews") == name


@pytest.mark.parametrize(("takes_ready", "name"), [(False, "input.jsonl"), (True, "reviews.jsonl")])
def test_what_several_may_upload_has_one_name_in_storage(takes_ready, name):
    """Under two names, one file would take the other out of the dataset, or both would stay."""
    claim = Claim(dataset_id="reviews", takes_ready=takes_ready, source="input.jsonl")

    assert stored_name("input.jsonl", claim) == name


@pytest.mark.parametrize(
    ("change", "state", "done"),
    [
        ({"takes_ready": True}, "READY", True),
        ({"takes_ready": True, "rows": 4}, "READY", True),
        ({}, "UPLOADING", False),
        ({"takes_ready": True}, "UPLOADING", False),
        ({"rows": None}, "UPLOADING", False),
        ({}, "STATE_OF_2030", False),
    ],
)
def test_what_is_there_is_taken_or_gone_on_with(change, state, done):
    """READY is taken where the id or the caller says so; what is not READY is uploaded to."""
    assert is_done(attrs.evolve(CLAIM, **change), found(state)) is done


def test_a_ready_dataset_of_a_given_id_is_a_conflict():
    """The error says what to do."""
    with pytest.raises(DatasetConflictError, match=r"'reviews' is READY.* reuse=True .*'in.jsonl'"):
        is_done(CLAIM, found("READY"))


@pytest.mark.parametrize("takes_ready", [False, True])
def test_another_number_of_rows_is_a_conflict(takes_ready):
    """It names both numbers."""
    claim = attrs.evolve(CLAIM, takes_ready=takes_ready)
    with pytest.raises(DatasetConflictError, match=r"for 2,000 rows, and 'in.jsonl' has 3"):
        is_done(claim, found("UPLOADING", 2000))


@pytest.mark.parametrize(
    ("content", "limits", "message"),
    [
        (b"", Limits(), "in.jsonl is empty: a dataset needs at least one line"),
        (b" \n\n", Limits(), "in.jsonl has 3 bytes and no row in them"),
        (b"{}\n{}\n", Limits(max_bytes=5), r"has 6 bytes; a dataset may have 5 (Limits.max_bytes)"),
        (b"{}\n{}\n", Limits(max_rows=1), r"has 2 rows; a dataset may have 1 (Limits.max_rows)"),
    ],
)
def test_what_the_server_would_refuse_is_refused(content, limits, message):
    """By name, with the number and the limit."""
    with pytest.raises(InputRowsError, match=re.escape(message)):
        check_measure(surveyed(content), limits, "in.jsonl")


def test_limits_may_be_reached():
    """They are the most, not the first that is too much."""
    check_measure(surveyed(b"{}\n{}\n"), Limits(max_bytes=6, max_rows=2), "in.jsonl")


@pytest.mark.parametrize("claim", [CLAIM, attrs.evolve(CLAIM, takes_ready=True, rows=None)])
def test_a_dataset_with_a_key_of_the_customer_takes_no_upload(claim):
    """As soon as it is seen; what is there already may be used."""
    with pytest.raises(ConfigurationError, match="'reviews' is encrypted with a key of the cus"):
        is_done(claim, found("UPLOADING", encryption_state=EncryptionState.CMEK))
    assert not is_done(claim, found("UPLOADING", encryption_state=EncryptionState("OTHER")))
    ready = found("READY", encryption_state=EncryptionState.CMEK)
    assert is_done(attrs.evolve(claim, takes_ready=True), ready)
