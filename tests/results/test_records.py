"""Rows as flat records, which are the lines of tables."""

import json

import pytest

from fireworks_batch.results.rows import read_row

MEMBERS = [
    *("custom_id", "text", "finish_reason", "error_code", "error_message"),
    *("prompt_tokens", "completion_tokens", "cached_tokens"),
]


def record_of(**members):
    """The record of a line of results."""
    return read_row(json.dumps(members).encode()).record()


def test_a_response_is_a_record():
    """Its first choice, and the tokens that the server counted."""
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    choices = [
        {"index": number, "message": {"content": text}, "finish_reason": "stop"}
        for number, text in enumerate(["one", "two"])
    ]
    record = record_of(custom_id="a", response={"choices": choices, "usage": usage})
    assert [*record] == MEMBERS
    assert [*record.values()] == ["a", "one", "stop", None, None, 7, 3, 2]


def test_an_error_is_a_record():
    """Its code is never None."""
    assert record_of(custom_id="a", error={"code": 400, "message": "no"}) == dict.fromkeys(
        MEMBERS
    ) | {"custom_id": "a", "error_code": "400", "error_message": "no"}
    assert record_of(custom_id="a", error="no")["error_code"] == ""


def test_a_line_without_an_id_is_a_record():
    """With what is wrong."""
    record = record_of(response={})
    assert (record["custom_id"], record["error_code"]) == (None, "unreadable")


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"choices": None, "usage": None},
        {"choices": {}, "usage": []},
        {"choices": [], "usage": {"prompt_tokens_details": 1}},
        {"choices": ["text"], "usage": {"prompt_tokens": "7", "completion_tokens": True}},
        {"choices": [{"message": "text", "finish_reason": 1}]},
        {"choices": [{"message": {"content": [{"type": "text"}]}}]},
        {"usage": {"prompt_tokens": 2.0, "completion_tokens": 1.5}},
        {"usage": {"prompt_tokens": 2**63}},
    ],
)
def test_a_value_of_another_kind_is_none_in_a_record(response):
    """A record never raises, and a column of 64-bit numbers or strings can hold it."""
    assert record_of(custom_id="a", response=response) == dict.fromkeys(MEMBERS) | {
        "custom_id": "a"
    }
