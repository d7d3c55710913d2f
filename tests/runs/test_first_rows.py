"""What a notebook shows of a result: the report, and the first rows."""

import pytest
from clients import client_of
from html_tables import shown

from fireworks_batch.emulator import Emulator, RowFailureError

MODEL = "accounts/fireworks/models/demo-8b"


def respond(custom_id, body):
    """Say what the last message says; a row that says "fail" fails, one that says "call" calls."""
    content = body["messages"][-1]["content"]
    if content == "fail":
        raise RowFailureError("no <b>luck</b>", 400)
    if content == "call":
        message = {"role": "assistant", "content": None, "tool_calls": [{"id": "of a tool"}]}
        return {"choices": [{"index": 0, "message": message}]}
    return content


def requests(**contents):
    """Rows with these contents."""
    return [
        {"custom_id": each, "body": {"messages": [{"role": "user", "content": content}]}}
        for each, content in contents.items()
    ]


@pytest.fixture
async def client():
    """A client of an emulator that answers as above."""
    async with (
        Emulator(speed=60_000, account_id="acme", responder=respond) as emulator,
        client_of(emulator) as made,
    ):
        yield made


async def test_the_first_rows_are_shown(client):
    """Five of them, in the order of the requests, below the report; texts are no HTML."""
    rows = requests(b="<script>x</script>", a="fail", **dict.fromkeys("cdefg", "good"))
    async with await client.run(rows, model=MODEL) as result:
        reader = shown(result)
    assert reader.captions == ["RunReport", "1 of 1 jobs", "first 5 of 7 rows"]
    assert reader.facts["failed"] == "1"
    assert reader.rows[-6:] == [
        ["custom_id", "output", "error"],
        ["b", "<script>x</script>", ""],
        ["a", "", "400: no <b>luck</b>"],
        ["c", "good", ""],
        ["d", "good", ""],
        ["e", "good", ""],
    ]


async def test_outputs_are_shown_as_decode_makes_them(client):
    """As text; what a function refuses is an error."""
    rows = requests(a="one", b="fail")
    async with await client.run(rows, model=MODEL, decode=lambda _: ["made"]) as result:
        assert shown(result).rows[-2][:2] == ["a", "['made']"]


async def test_a_response_without_text_is_shown_whole(client):
    """The model called a tool, for example."""
    async with await client.run(requests(a="call"), model=MODEL) as result:
        assert "of a tool" in shown(result).rows[-1][1]


async def test_long_rows_are_not_kept_in_memory(client):
    """No more rows than have 64 KiB together."""
    rows = requests(a="short", b="x" * 70_000, c="short")
    async with await client.run(rows, model=MODEL) as result:
        reader = shown(result)
    assert reader.captions[-1] == "first 1 of 3 rows"


async def test_a_closed_result_is_still_shown(client):
    """Nothing is read for it: also while a thread reads rows, and when they are gone."""
    result = await client.run(requests(a="good"), model=MODEL)
    before = result._repr_html_()
    await result.aclose()
    assert result._repr_html_() == before
