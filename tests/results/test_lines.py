"""Results as lines, which parsers read many at a time."""

import json

import pytest

from fireworks_batch import ClientStateError, ResultRow

MODEL = "accounts/fireworks/models/demo-8b"
GOOD = b'{"custom_id": "a", "response": {"choices": []}}\n'
BAD = b'{"custom_id": "b", "error": "no"}\n'


@pytest.fixture
def job(emulator):
    """A job with a good row, a line that cannot be read, and a bad row."""
    files = {"BIJOutputSet.jsonl": GOOD + b"\n{\n", "error-data": BAD.rstrip()}
    name = emulator.add_dataset("out", files=files)
    emulator.script_job("nightly", phases=["COMPLETED"], fields={"outputDatasetId": name})
    return "nightly"


def a_request(custom_id):
    """One request."""
    message = {"role": "user", "content": f"hello {custom_id}"}
    return {"custom_id": custom_id, "body": {"messages": [message]}}


async def test_lines_of_a_job_are_those_of_its_files(client, job):
    """Byte for byte, file by file."""
    async with client.results(job) as rows:
        blocks = [block async for block in rows.lines()]
    assert blocks == [GOOD + b"\n{\n", BAD.rstrip()]


async def test_lines_of_a_job_are_counted_as_rows_are(client, job):
    """The report is the same."""
    async with client.results(job, expected=["a", "b", "c"]) as rows:
        assert len([row async for row in rows]) == 3
        expected = rows.report
    async with client.results(job, expected=["a", "b", "c"]) as rows:
        assert [block async for block in rows.lines()]
        assert rows.report == expected
    assert (expected.succeeded, expected.failed, expected.unreadable) == (1, 1, 1)
    assert expected.missing_ids == ("c",)


async def test_rows_and_lines_of_a_job_are_not_mixed(client, job):
    """Each row would come twice, or be counted twice."""
    async with client.results(job) as rows:
        rows.lines()
        with pytest.raises(ClientStateError, match="lines are being read"):
            await anext(rows)
        with pytest.raises(ClientStateError, match="lines are being read"):
            rows.lines()
    async with client.results(job) as rows:
        await anext(rows)
        with pytest.raises(ClientStateError, match="read from it already"):
            rows.lines()


async def test_there_are_no_lines_of_results_that_are_not_entered(client, job):
    """Nothing has been downloaded."""
    with pytest.raises(ClientStateError, match="enter it first"):
        client.results(job).lines()


async def test_lines_that_are_broken_off_give_no_report(client, job):
    """It would lack rows."""
    async with client.results(job) as rows:
        async for _ in rows.lines():
            break
        with pytest.raises(ClientStateError, match="the report is there when"):
            _ = rows.report


@pytest.mark.parametrize("options", [{"decode": dict}, {"lineage": True}])
async def test_where_rows_are_not_just_their_lines_lines_are_refused(client, job, options):
    """The rows can still be read."""
    async with client.results(job, **options) as rows:
        with pytest.raises(ClientStateError, match="read the rows"):
            rows.lines()
        assert [row async for row in rows]


async def test_lines_of_a_run_are_in_the_order_of_the_requests(client):
    """Each with its line end, as often as they are read."""
    requests = [a_request(f"r-{number}") for number in (3, 1, 2)]
    async with await client.run(requests, model=MODEL) as result:
        for _ in range(2):
            (block,) = [block async for block in result.lines()]
            found = [json.loads(line)["custom_id"] for line in block.splitlines()]
            assert found == ["r-3", "r-1", "r-2"]
            assert block.endswith(b"}\n")
        rows = [row.raw async for row in result]
    assert rows == block.splitlines()


async def test_lines_of_a_run_come_in_blocks(client, monkeypatch):
    """Of a bounded number of lines."""
    monkeypatch.setattr("fireworks_batch.runs.result._LINES", 2)
    requests = [a_request(f"r-{number}") for number in range(5)]
    async with await client.run(requests, model=MODEL) as result:
        sizes = [block.count(b"\n") async for block in result.lines()]
    assert sizes == [2, 2, 1]


async def test_a_run_with_outputs_has_no_lines(client):
    """Its rows may have errors that no line has."""
    running = client.run([a_request("r")], model=MODEL, decode=dict)
    async with await running as result:
        with pytest.raises(ClientStateError, match="read the rows"):
            result.lines()


async def test_lines_of_a_result_that_is_closed_are_refused(client):
    """As its rows are."""
    async with await client.run([a_request("r")], model=MODEL) as result:
        lines = result.lines()
    with pytest.raises(ClientStateError, match="is closed"):
        await anext(lines)


def test_a_line_is_read_as_a_row():
    """With or without its line end; and one that is none says so."""
    assert ResultRow.from_line(GOOD) == ResultRow.from_line(GOOD.rstrip())
    assert ResultRow.from_line(GOOD).custom_id == "a"
    assert ResultRow.from_line(b"{").error.code == "unreadable"
