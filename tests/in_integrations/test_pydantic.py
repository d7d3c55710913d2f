"""Typed outputs by pydantic, against the emulator."""

import contextlib
import dataclasses

import pytest
from clients import client_of
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from fireworks_batch import ConfigurationError
from fireworks_batch.emulator import Emulator
from fireworks_batch.integrations.pydantic import output

MODEL = "accounts/fireworks/models/demo-8b"


class Verdict(BaseModel):
    label: str
    score: float = Field(ge=0, le=1)


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Plain:
    pass


class Place(TypedDict):
    city: str


REQUESTS = [
    {"custom_id": each, "body": {"messages": [{"role": "user", "content": "hi"}]}}
    for each in ("a", "b")
]


@pytest.mark.parametrize(
    ("wanted", "text", "value"),
    [
        (Verdict, '{"label": "good", "score": 0.5}', Verdict(label="good", score=0.5)),
        (Point, '{"x": 1, "y": 2}', Point(1, 2)),
        (Place, '{"city": "Rome"}', {"city": "Rome"}),
        (list[int], "[1, 2]", [1, 2]),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_a_text_becomes_a_value_of_the_type(wanted, text, value):
    """Models, dataclasses, TypedDicts and lists."""
    assert output(wanted).read(text) == value


def test_the_schema_of_the_type_is_the_response_format():
    """Under the name of the type, or the name that is given."""
    format_ = output(Verdict).response_format
    assert format_["type"] == "json_schema"
    assert format_["json_schema"]["name"] == "Verdict"
    assert format_["json_schema"]["schema"] == Verdict.model_json_schema()
    assert output(list[int]).response_format["json_schema"]["name"] == "list"
    assert output(Verdict, name="v-1").response_format["json_schema"]["name"] == "v-1"


@pytest.mark.parametrize("name", ["", "with space", "x" * 65])
def test_a_malformed_name_is_refused(name):
    """The error shows the name."""
    with pytest.raises(ConfigurationError, match="1 to 64 letters"):
        output(Verdict, name=name)


def test_a_type_without_a_schema_is_refused():
    """The error names the type."""
    with pytest.raises(ConfigurationError, match=r"no JSON schema of .*Plain"):
        output(Plain)


@pytest.fixture
async def answering():
    """Give a function that makes a client whose model says a text."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(text):
            emulator = Emulator(speed=60_000, account_id="acme", responder=lambda *_: text)
            return await stack.enter_async_context(
                client_of(await stack.enter_async_context(emulator))
            )

        yield make


async def test_a_run_has_typed_outputs(answering):
    """Whether they are read one after the other, or by id."""
    client = await answering('{"label": "good", "score": 1}')
    async with await client.run(REQUESTS, model=MODEL, decode=output(Verdict)) as result:
        assert [row.output async for row in result] == [Verdict(label="good", score=1)] * 2
        assert (await result.get("a")).output == Verdict(label="good", score=1)


async def test_a_text_that_does_not_fit_is_an_error_of_its_row(answering):
    """With what pydantic says, and the text; it is retryable."""
    client = await answering('{"label": "good", "score": 7}')
    async with await client.run(REQUESTS, model=MODEL, decode=output(Verdict)) as result:
        rows = [row async for row in result.failures()]
    assert [row.error.code for row in rows] == ["invalid_output"] * 2
    assert "less than or equal to 1" in rows[0].error.message
    assert rows[0].error.raw == '{"label": "good", "score": 7}'
    assert rows[0].is_retryable


async def test_the_results_of_a_job_are_typed(answering):
    """By `client.results`, too."""
    client = await answering('{"x": 1, "y": 2}')
    submission = await client.submit(REQUESTS, model=MODEL, decode=output(Point))
    job = await client.jobs.wait_until_terminal(submission.refs[0])
    async with client.results(job, decode=output(Point)) as rows:
        assert [row.output async for row in rows] == [Point(1, 2)] * 2
