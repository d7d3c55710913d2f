"""Results in blocks of lines, which a parser of many lines at a time converts."""

import json
import threading

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


def as_they_are(lines):
    """Convert nothing."""
    return lines, None


def with_ids(lines):
    """Convert nothing, and tell the ids of lines that are all rows with a response."""
    if lines != GOOD:
        return lines, None
    return lines, ["a"]


async def test_blocks_of_a_job_have_the_lines_of_its_files(client, job):
    """Byte for byte, file by file."""
    async with client.results(job) as rows:
        blocks = [lines async for lines in rows.blocks(as_they_are)]
    assert blocks == [GOOD + b"\n{\n", BAD.rstrip()]


@pytest.mark.parametrize("convert", [as_they_are, with_ids])
async def test_blocks_of_a_job_are_counted_as_rows_are(client, emulator, convert):
    """The report is the same, whether or not the function tells the ids."""
    files = {"BIJOutputSet.jsonl": GOOD, "BIJOutputSet2.jsonl": GOOD + b"{\n", "error-data": BAD}
    name = emulator.add_dataset("out", files=files)
    emulator.script_job("nightly", phases=["COMPLETED"], fields={"outputDatasetId": name})
    async with client.results("nightly", expected=["a", "b", "c"]) as rows:
        assert len([row async for row in rows]) == 4
        expected = rows.report
    async with client.results("nightly", expected=["a", "b", "c"]) as rows:
        assert len([lines async for lines in rows.blocks(convert)]) == 3
        assert rows.report == expected
    assert (expected.succeeded, expected.failed, expected.unreadable) == (2, 1, 1)
    assert (expected.missing_ids, expected.duplicate_ids) == (("c",), ("a",))


async def test_rows_and_blocks_of_a_job_are_not_mixed(client, job):
    """Each row would come twice, or be counted twice."""
    async with client.results(job) as rows:
        rows.blocks(as_they_are)
        with pytest.raises(ClientStateError, match="being read in blocks"):
            await anext(rows)
        with pytest.raises(ClientStateError, match="being read in blocks"):
            rows.blocks(as_they_are)
    async with client.results(job) as rows:
        await anext(rows)
        with pytest.raises(ClientStateError, match="read from it already"):
            rows.blocks(as_they_are)


async def test_results_that_are_not_entered_have_no_blocks(client, job):
    """Nothing has been downloaded."""
    with pytest.raises(ClientStateError, match="enter it first"):
        client.results(job).blocks(as_they_are)


async def test_blocks_that_are_broken_off_give_no_report(client, job):
    """It would lack rows."""
    async with client.results(job) as rows:
        async for _ in rows.blocks(as_they_are):
            break
        with pytest.raises(ClientStateError, match="the report is there when"):
            _ = rows.report


async def test_an_error_of_the_function_is_raised(client, job):
    """And ends the reading."""

    def fail(lines):
        raise ValueError("no")

    async with client.results(job) as rows:
        with pytest.raises(ValueError, match="no"):
            await anext(rows.blocks(fail))
        with pytest.raises(ClientStateError, match="ended in an error"):
            await anext(rows)


@pytest.mark.parametrize("options", [{"decode": dict}, {"lineage": True}])
async def test_where_rows_are_not_just_their_lines_blocks_are_refused(client, job, options):
    """The rows can still be read."""
    async with client.results(job, **options) as rows:
        with pytest.raises(ClientStateError, match="read the rows"):
            rows.blocks(as_they_are)
        assert [row async for row in rows]


async def test_blocks_of_a_run_are_in_the_order_of_the_requests(client):
    """Each line with its line end, as often as they are read."""
    requests = [a_request(f"r-{number}") for number in (3, 1, 2)]
    async with await client.run(requests, model=MODEL) as result:
        for _ in range(2):
            (lines,) = [lines async for lines in result.blocks(as_they_are)]
            found = [json.loads(line)["custom_id"] for line in lines.splitlines()]
            assert found == ["r-3", "r-1", "r-2"]
            assert lines.endswith(b"}\n")
        rows = [row.raw async for row in result]
    assert rows == lines.splitlines()


async def test_blocks_of_a_run_are_bounded(client, monkeypatch):
    """No more than two blocks are read before the first value is there."""
    monkeypatch.setattr("fireworks_batch.runs.result._LINES", 2)
    converted = []

    def convert(lines):
        converted.append(threading.current_thread())
        return lines.count(b"\n"), None

    requests = [a_request(f"r-{number}") for number in range(9)]
    async with await client.run(requests, model=MODEL) as result:
        sizes = []
        async for size in result.blocks(convert):
            sizes.append(size)
            assert len(converted) <= len(sizes) + 1
    assert sizes == [2, 2, 2, 2, 1]
    assert threading.main_thread() not in converted


async def test_a_run_with_outputs_has_no_blocks(client):
    """Its rows may have errors that no line has."""
    running = client.run([a_request("r")], model=MODEL, decode=dict)
    async with await running as result:
        with pytest.raises(ClientStateError, match="read the rows"):
            result.blocks(as_they_are)


async def test_blocks_of_a_result_that_is_closed_are_refused(client):
    """As its rows are."""
    async with await client.run([a_request("r")], model=MODEL) as result:
        blocks = result.blocks(as_they_are)
    with pytest.raises(ClientStateError, match="is closed"):
        await anext(blocks)


def test_a_line_is_read_as_a_row():
    """With or without its line end; and one that is none says so."""
    assert ResultRow.from_line(GOOD) == ResultRow.from_line(GOOD.rstrip())
    assert ResultRow.from_line(GOOD).custom_id == "a"
    assert ResultRow.from_line(b"{").error.code == "unreadable"
