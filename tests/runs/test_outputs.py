"""`decode=` and `before_submit=` of a run, with an object that needs no other library."""

import json

import pytest
from clients import client_of

from fireworks_batch import CheckReport, ConfigurationError, RowContents, Submission
from fireworks_batch.emulator import Emulator, RowFailureError
from fireworks_batch.runs.request_rows import RowRules, check_row

MODEL = "accounts/fireworks/models/demo-8b"
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}}


class Number:
    """An output: a whole number."""

    response_format = FORMAT

    def read(self, text):
        return int(text)


class Server:
    """An emulator whose model says one text after the other, for each row by its id."""

    def __init__(self):
        self.says = {}
        self.bodies = []

    def respond(self, custom_id, body):
        self.bodies.append(body)
        texts = self.says.get(custom_id, ["1"])
        text = texts.pop(0) if len(texts) > 1 else texts[0]
        if isinstance(text, int):
            raise RowFailureError("no", text)
        return text


@pytest.fixture
async def server():
    """Give such a server, with a client."""
    made = Server()
    async with Emulator(speed=60_000, account_id="acme", responder=made.respond) as emulator:
        made.emulator = emulator
        async with client_of(emulator) as client:
            made.client = client
            yield made


def requests(*ids, **body):
    """Return a request for each id."""
    messages = [{"role": "user", "content": "hi"}]
    return [{"custom_id": each, "body": {"messages": messages, **body}} for each in ids]


async def test_the_response_format_goes_into_rows_that_bring_none(server):
    """A row that brings one keeps it."""
    rows = [*requests("a"), *requests("b", response_format={"type": "json_object"})]
    async with await server.client.run(rows, model=MODEL, decode=Number()) as result:
        assert [row.output async for row in result] == [1, 1]
    formats = sorted((body["response_format"] for body in server.bodies), key=str)
    assert formats == sorted([FORMAT, {"type": "json_object"}], key=str)


def test_a_large_number_beside_the_response_format_stays_exact():
    """As the caller wrote it: orjson would round it."""
    body = {"messages": [{"role": "user", "content": "hi"}], "seed": 2**70 + 1}
    line = json.dumps({"custom_id": "a", "body": body}).encode()
    row = check_row(line, 1, RowRules(response_format=json.dumps(FORMAT)))
    assert json.loads(row.line)["body"] == {**body, "response_format": FORMAT}


async def test_a_text_that_does_not_fit_is_an_error_of_its_row(server, tmp_path):
    """It was paid for: its response is there, and in the file of errors."""
    server.says = {"a": ["one"]}
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    async with await server.client.run(
        requests("a", "b"), model=MODEL, decode=Number(), output=good, errors=bad
    ) as result:
        (row,) = [row async for row in result.failures()]
        report = result.report
        assert (await result.get("b")).output == 1
    assert (report.succeeded, report.failed, report.missing, report.remarks) == (1, 1, 0, ())
    assert (row.error.code, row.error.raw, row.output) == ("invalid_output", "one", None)
    assert "invalid literal" in row.error.message
    assert row.response["choices"]
    assert ["b", "a"] == [json.loads(path.read_text())["custom_id"] for path in (good, bad)]


async def test_an_invalid_output_runs_again_if_asked(server):
    """With `retry_rows`, in a second job of that row alone, which adds up."""
    server.says = {"a": ["one", "2"]}
    async with await server.client.run(
        requests("a", "b"), model=MODEL, decode=Number(), retry_rows=1
    ) as result:
        assert [row.output async for row in result] == [2, 1]
        assert [job.rows for job in result.report.jobs] == [2, 1]
        assert result.report.adds_up


async def test_what_a_function_refuses_does_not_run_again(server):
    """A mistake in a function would cost as much again for each attempt."""
    async with await server.client.run(
        requests("a"), model=MODEL, decode=lambda response: response["misspelt"], retry_rows=3
    ) as result:
        (row,) = [row async for row in result.failures()]
    assert (row.error.code, len(server.bodies)) == ("undecodable", 1)


@pytest.mark.parametrize(("second", "raw"), [(429, "one"), ("two", "two")])
async def test_the_newest_text_counts_and_no_error_replaces_it(server, second, raw):
    """If no attempt has an output."""
    server.says = {"a": ["one", second]}
    async with await server.client.run(
        requests("a"), model=MODEL, decode=Number(), retry_rows=1
    ) as result:
        (row,) = [row async for row in result]
    assert (row.error.code, row.error.raw) == ("invalid_output", raw)
    assert len(server.bodies) == 2


async def test_the_response_format_belongs_to_the_identity(server):
    """The same one finds the same job, and another process collects it."""
    first = await server.client.submit(requests("a"), model=MODEL, decode=Number())
    again = await server.client.submit(requests("a"), model=MODEL, decode=Number())
    plain = await server.client.submit(requests("a"), model=MODEL)
    assert first.refs == again.refs
    assert first.refs != plain.refs
    stored = Submission.from_json(first.to_json())
    assert json.loads(stored.response_format) == FORMAT
    for decode, outputs in ((Number(), [1]), (None, [None])):
        async with await server.client.collect(
            stored, requests=requests("a"), decode=decode
        ) as result:
            assert [row.output async for row in result] == outputs


@pytest.mark.parametrize(
    "bad", [["list"], {"a": object()}, {"a": float("nan")}, {"a": 2**70}, {"a": "\ud800"}, "text"]
)
async def test_a_response_format_that_is_no_json_object_is_refused(server, bad):
    """At once, before anything is sent."""
    decode = Number()
    decode.response_format = bad
    with pytest.raises(ConfigurationError, match="response_format"):
        await server.client.run(requests("a"), model=MODEL, decode=decode)
    assert not server.emulator.requests()


@pytest.mark.parametrize("stored", ["[]", "{", 5])
def test_a_submission_with_a_damaged_response_format_is_refused(stored):
    """The error shows the value."""
    members = {
        "version": 3,
        "account_id": "acme",
        "base_url": "https://localhost",
        "name": "",
        "model": MODEL,
        "has_system_prompt": False,
        "response_format": stored,
        "limits": {},
        "shards": [],
        "adopted": [],
        "skipped": 0,
    }
    with pytest.raises(ConfigurationError, match=r"expected (the JSON of an object|a str)"):
        Submission.from_json(json.dumps(members))


async def test_before_submit_is_given_the_report(server):
    """With what the rows hold; the job's own settings count."""
    reports = []
    await server.client.submit(
        requests("a", "b"),
        model=MODEL,
        system_prompt="1234",
        inference_parameters={"max_tokens": 10, "n": 2},
        before_submit=reports.append,
    )
    (report,) = reports
    assert isinstance(report, CheckReport)
    assert (report.model, report.rows) == (MODEL, 2)
    assert report.content == RowContents(
        characters=2 * (2 + 4), bytes=2 * (2 + 4), messages=2 * 2, max_tokens=40
    )


async def test_what_before_submit_raises_ends_the_call(server):
    """Nothing was sent."""

    def refuse(report):
        raise ValueError(f"{report.rows} rows are too many")

    with pytest.raises(ValueError, match="1 rows are too many"):
        await server.client.run(requests("a"), model=MODEL, before_submit=refuse)
    assert not server.emulator.requests()


async def test_a_check_counts_what_rows_hold(server):
    """Without sending anything."""
    report = await server.client.check(requests("a", max_tokens=3), system_prompt="1234")
    assert report.content == RowContents(characters=6, bytes=6, messages=2, max_tokens=3)
    assert report.model is None


async def test_who_collects_without_decode_gets_the_newest_text(server):
    """The first one did not fit, which is why the row ran again."""
    server.says = {"a": ["one", "2"]}
    submission = await server.client.submit(requests("a"), model=MODEL, decode=Number())
    async with await server.client.run(
        requests("a"), model=MODEL, decode=Number(), retry_rows=1
    ) as result:
        assert result.report.is_complete
    async with await server.client.collect(submission) as result:
        assert [row.text async for row in result] == ["2"]


async def test_on_previous_new_sends_invalid_outputs_again(server):
    """Together with the rows without a response, if `retry_rows` allows it."""
    server.says = {"a": ["one", "2"], "b": ["one", "3"]}
    server.emulator.script_jobs(phases=["RUNNING", "EXPIRED"])  # half of the rows
    options = {"model": MODEL, "decode": Number()}
    async with await server.client.run(requests("a", "b"), **options) as result:
        assert (result.report.undecodable, result.report.missing) == (1, 1)
    async with await server.client.run(
        requests("a", "b"), **options, retry_rows=2, on_previous="new"
    ) as result:
        assert [row.output async for row in result] == [2, 3]
        assert [job.rows for job in result.report.jobs] == [2, 2, 1]


async def test_the_report_counts_responses_that_do_not_fit(server):
    """They are failed rows, and are counted apart, too."""
    server.says = {"a": ["one"], "b": [400]}
    async with await server.client.run(
        requests("a", "b", "c"), model=MODEL, decode=Number()
    ) as result:
        report = result.report
    assert (report.succeeded, report.failed, report.undecodable) == (1, 2, 1)
    assert str(report) == (
        "1 of 3 rows succeeded, 2 failed, 1 of them with a response, 0 are missing"
    )


async def test_a_check_knows_what_a_run_would_send(server):
    """With the response format, and with the limits of the job."""
    plain = await server.client.check(requests("a"))
    report = await server.client.check(
        requests("a"), decode=Number(), inference_parameters={"max_tokens": 7, "n": 2}
    )
    assert report.content.max_tokens == 14
    assert report.content.unlimited_rows == 0
    assert report.content.characters > plain.content.characters
    async with await server.client.run(requests("a"), model=MODEL, decode=Number()) as result:
        (shard,) = result.submission.shards
    assert report.jobs[0].bytes > plain.jobs[0].bytes
    assert shard.rows == report.rows


async def test_a_check_refuses_limits_that_are_no_numbers(server):
    """As a run does; the value is shown."""
    with pytest.raises(ConfigurationError, match="max_tokens must be a whole number, not '7'"):
        await server.client.check(requests("a"), inference_parameters={"max_tokens": "7"})
