"""The results of a job: rows from disk, the report, the temporary directory, misuse."""

import asyncio
import json
import shutil
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from busy_threads import no_thread_free
from html_tables import shown

from fireworks_batch import (
    BatchInferenceJob,
    ClientStateError,
    ConfigurationError,
    JobNotFinishedError,
    JobProgress,
    JobState,
    Lifecycle,
    NotFoundError,
    ResultRowsError,
    ResultsReport,
    RowError,
)
from fireworks_batch.files.workspace import sweep
from fireworks_batch.results.decoding import read_decode
from fireworks_batch.results.id_sets import IdSet
from fireworks_batch.results.job_results import (
    JobResults,
    check_expected,
)
from fireworks_batch.results.reading import Reading

MOMENT = datetime(2026, 9, 14, tzinfo=UTC)
OUTPUT = "accounts/acme/datasets/bij-1"
GOOD = {"choices": [{"message": {"content": "positive"}}]}


def job(state: str = "COMPLETED", **members) -> BatchInferenceJob:
    """A job as it ended."""
    return BatchInferenceJob(
        name="accounts/acme/batchInferenceJobs/nightly",
        state=JobState(state),
        **{"output_dataset_id": OUTPUT, **members},
    )


def good(*ids: str, **response) -> bytes:
    """Lines of rows that succeeded."""
    return lines(*({"custom_id": x, "response": {**GOOD, **response}} for x in ids))


def bad(*ids: str, code: Any = 400) -> bytes:
    """Lines of rows that failed."""
    return lines(*({"custom_id": x, "error": {"code": code, "message": "no"}} for x in ids))


def lines(*values) -> bytes:
    """Lines of JSON."""
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


class Server:
    """Jobs and datasets that give a job and files, and remember where these were put."""

    def __init__(self, files: dict[str, bytes] | Exception, answer: BatchInferenceJob):
        self.files = files
        self.answer = answer
        self.asked = []
        self.directory: Path | None = None

    async def get(self, asked) -> BatchInferenceJob:
        self.asked.append(asked)
        return self.answer

    async def download(self, dataset: str, directory: Path, *, lineage):
        self.directory = directory
        self.asked.append((dataset, lineage))
        if isinstance(self.files, Exception):
            raise self.files
        for name, content in self.files.items():
            directory.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
            directory.joinpath(name).write_bytes(content)
        return tuple(directory / name for name in self.files)


def results(
    files: dict[str, bytes] | Exception,
    asked: Any = None,
    *,
    answer: BatchInferenceJob | None = None,
    expected: Any = None,
    decode: Any = None,
    lineage: bool = False,
) -> tuple[JobResults[Any], Server]:
    """Results of files, and who gives them."""
    server = Server(files, answer or job())
    made = JobResults._made(
        asked or job(),
        server,
        server,
        expected=check_expected(expected),
        decode=read_decode(decode),
        lineage=lineage,
    )
    return made, server


async def read(files, *args, **kwargs) -> tuple[list[Any], ResultsReport]:
    """All rows and the report."""
    made, _ = results(files, *args, **kwargs)
    async with made as rows:
        found = [row async for row in rows]
        return found, rows.report


@pytest.fixture(autouse=True)
def _directories_are_removed(tmp_path, monkeypatch):
    """Nothing is left in the directory for temporary files."""
    where = tmp_path / "temporary"
    where.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(where))
    yield
    assert list(where.iterdir()) == []


async def test_files_of_results_left_by_a_killed_process_are_swept(tmp_path):
    """Their directory is locked while it is in use: whatever is not locked is removed."""
    made, _ = results({"r.jsonl": good("a")})
    async with made as rows:
        sweep(tmp_path / "temporary")
        assert ["a"] == [row.custom_id async for row in rows]
        (directory,) = (tmp_path / "temporary").iterdir()
        killed = shutil.copytree(directory, directory.with_name(f"{directory.name}-killed"))
        sweep(tmp_path / "temporary")
        assert not killed.exists()
        assert directory.exists()


# --- Rows and report ----------------------------------------------------------------------------


async def test_rows_of_both_files_come_results_first():
    """In the order of the files, whatever order these are in."""
    rows, report = await read({"error-data": bad("c"), "BIJOutputSet.jsonl": good("b", "a")})

    assert ["b", "a", "c"] == [row.custom_id for row in rows]
    assert [True, True, False] == [row.ok for row in rows]
    assert rows[2].error == RowError("400", "no")
    assert report == ResultsReport(succeeded=2, failed=1)
    assert repr(report) == "<ResultsReport: 2 succeeded, 1 failed>"


@pytest.mark.parametrize(
    "files", [{"BIJOutputSet.jsonl": good("a")}, {"x.jsonl": good("a"), "error-data": b""}]
)
async def test_the_file_of_errors_may_be_absent_or_empty(files):
    """Nothing has failed then."""
    rows, report = await read(files)

    assert ["a"] == [row.custom_id for row in rows]
    assert report == ResultsReport(succeeded=1)


async def test_what_cannot_be_read_is_counted():
    """Lines, rows without an id; they are handed out."""
    rows, report = await read({"r.jsonl": b"no row\n" + good("a") + lines({"response": GOOD})})

    assert [None, "a", None] == [row.custom_id for row in rows]
    assert report == ResultsReport(succeeded=1, unreadable=2)
    assert repr(report) == "<ResultsReport: 1 succeeded, 0 failed, 2 unreadable>"


async def test_rows_of_one_id_are_duplicates_in_whatever_file():
    """All are handed out; the id is named once."""
    rows, report = await read({"r.jsonl": good("a", "b", "a", "a"), "error-data": bad("c", "b")})

    assert len(rows) == 6
    assert (report.duplicate_ids, report.duplicate_count) == (("a", "b"), 2)
    assert (report.succeeded, report.failed) == (4, 2)


@pytest.mark.parametrize("kind", [list, set, iter, dict.fromkeys])
async def test_expected_ids_say_what_is_missing_and_what_is_foreign(kind):
    """From any iterable, consumed once. A row that failed is not missing."""
    expected = kind(["a", "b", "c", "d"])

    _, report = await read({"r.jsonl": good("a", "x"), "error-data": bad("b")}, expected=expected)

    assert set(report.missing_ids) == {"c", "d"}
    assert report.missing_count == 2
    assert (report.foreign_ids, report.foreign_count) == (("x",), 1)
    assert repr(report) == "<ResultsReport: 2 succeeded, 1 failed, 2 missing, 1 foreign>"


async def test_expected_ids_of_the_input_file(tmp_path):
    """By its path, as a string too."""
    path = tmp_path / "input.jsonl"
    path.write_bytes(lines({"custom_id": "a", "body": {}}, {"custom_id": "b", "body": {}}))

    for given in (path, str(path)):
        _, report = await read({"r.jsonl": good("a")}, expected=given)
        assert (report.missing_ids, report.foreign_ids) == (("b",), ())


async def test_nothing_expected_is_not_nothing_missing():
    """None is not 0."""
    _, report = await read({"r.jsonl": good("a")})
    assert (report.missing_count, report.foreign_count) == (None, None)
    _, report = await read({"r.jsonl": good("a")}, expected=[])
    assert (report.missing_count, report.foreign_count) == (0, 1)


async def test_names_end_at_a_thousand_and_counts_do_not():
    """Of each kind."""
    ids = [f"r-{number}" for number in range(12_000)]

    _, report = await read({"r.jsonl": good(*ids[:1500], *ids[:1500])}, expected=ids)

    assert report.duplicate_ids == tuple(ids[:1000])
    assert report.duplicate_count == 1500
    assert report.missing_ids == tuple(ids[1500:2500])
    assert report.missing_count == 10_500


@pytest.mark.parametrize(
    ("progress", "agree"),
    [
        (JobProgress(successfully_processed_requests=2, failed_requests=1), True),
        (JobProgress(successfully_processed_requests=3, failed_requests=1), False),
        (JobProgress(successfully_processed_requests=2, failed_requests=0), False),
        (None, None),
    ],
)
async def test_counts_are_compared_with_the_jobs(progress, agree):
    """Rows that succeeded, and those that failed; a response that is not decoded has succeeded."""
    ended = job(job_progress=progress)

    _, report = await read({"r": good("a", "b"), "error-data": bad("c")}, ended, decode=fails)

    assert report.counts_agree is agree
    assert ("counts disagree" in repr(report)) is (agree is False)


def fails(response: object) -> None:
    """A decoder that refuses everything."""
    raise ValueError("no")


# --- Which jobs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", ["COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "EARLY_STOPPED", "ARCHIVED", "DELETED"]
)
async def test_every_job_that_has_ended_is_read(state):
    """Its rows were paid for."""
    rows, _ = await read({"r.jsonl": good("a")}, job(state))

    assert len(rows) == 1


async def test_a_job_given_as_it_ended_is_not_fetched():
    """It can change no more; any other form is."""
    made, server = results({})
    async with made as rows:
        assert rows.job == job()
    assert server.asked == [(OUTPUT, False)]

    for asked in ["nightly", job("RUNNING")]:
        made, server = results({}, asked)
        async with made as rows:
            assert rows.job == job()
        assert server.asked == [asked, (OUTPUT, False)]


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "PAUSED", "UNSPECIFIED", "FROBNICATING"])
async def test_a_job_that_has_not_ended_is_refused(state):
    """The error says how to wait for it; nothing was downloaded."""
    made, server = results({}, "nightly", answer=job(state))

    with pytest.raises(
        JobNotFinishedError, match=f"it is {state}; wait for it with client"
    ) as info:
        await made.__aenter__()
    assert info.value.job.state == state
    assert server.directory is None


async def test_a_job_that_ended_in_an_unknown_state_is_read():
    """`lifecycle.end_time` says that it has ended."""
    ended = job("FROBNICATED", lifecycle=Lifecycle(end_time=MOMENT))

    rows, _ = await read({"r.jsonl": good("a")}, "nightly", answer=ended)

    assert len(rows) == 1


@pytest.mark.parametrize(
    ("files", "ended"),
    [
        (NotFoundError("resource not found", status=404), job("FAILED")),
        ({}, job("EXPIRED")),
        ({"r.jsonl": good("a")}, job("FAILED", output_dataset_id="")),
    ],
)
async def test_no_output_is_no_error(files, ended):
    """The dataset was never made, is empty, or is not even named."""
    rows, report = await read(files, ended, answer=ended, expected=["a"])

    assert rows == []
    assert report.no_output
    assert report.missing_ids == ("a",)
    assert repr(report) == "<ResultsReport: 0 succeeded, 0 failed, 1 missing, no output>"


async def test_a_job_that_a_mask_left_without_its_output_is_fetched_whole():
    """Its rows are not lost because ``read_mask=["state"]`` said nothing of them."""
    masked = job(output_dataset_id="")

    rows, report = await read({"r.jsonl": good("a")}, masked, answer=job())

    assert (len(rows), report.no_output) == (1, False)


async def test_any_other_refusal_is_raised():
    """It does not mean that there is nothing."""
    made, _ = results(OSError("disk full"))

    with pytest.raises(OSError, match="disk full"):
        await made.__aenter__()
    made, _ = results(NotFoundError("a proxy's page", status=404, from_api=False))

    with pytest.raises(NotFoundError, match="a proxy's page"):
        await made.__aenter__()


# --- The continuation chain ---------------------------------------------------------------------


async def test_a_later_job_settles_the_errors_of_an_earlier_one():
    """Its success and its error both; the job's own files come before older ones."""
    files = {
        "bij-0/BIJOutputSet.jsonl": good("old"),
        "bij-0/error-data": bad("again", "worse", code=500) + bad("only", code=429),
        "bij-1/BIJOutputSet.jsonl": good("again"),
        "bij-1/error-data": bad("worse", code=400),
    }

    rows, report = await read(files, lineage=True)

    assert ["again", "old", "worse", "only"] == [row.custom_id for row in rows]
    assert ["400", "429"] == [row.error.code for row in rows[2:]]
    assert report == ResultsReport(succeeded=2, failed=2, superseded=2)


async def test_two_successes_in_a_chain_are_duplicates():
    """No response is left out."""
    files = {"bij-0/r.jsonl": good("a"), "bij-1/r.jsonl": good("a")}

    rows, report = await read(files, job(job_progress=JobProgress()), lineage=True)

    assert len(rows) == 2
    assert report.duplicate_ids == ("a",)
    assert report.counts_agree is None


async def test_lineage_is_asked_for():
    """And the output dataset by its name."""
    made, server = results({}, lineage=True)
    async with made:
        assert server.asked == [(OUTPUT, True)]


# --- Decoding -----------------------------------------------------------------------------------


@attrs.frozen
class Message:
    content: str | None


@attrs.frozen
class Choice:
    message: Message


@attrs.frozen
class Completion:
    choices: list[Choice]


async def test_a_type_gives_typed_responses():
    """What does not fit is an error of its row, with the path; its line is kept."""
    content = good("a") + good("b", choices=[{"message": {"content": 5}}]) + good("c", choices=None)

    (fits, wrong, none), report = await read({"r": content, "error-data": b""}, decode=Completion)

    assert fits.output == Completion([Choice(Message("positive"))])
    assert fits.text == "positive"
    assert wrong.error.code == "undecodable"
    assert "expected a string, not 5 @ response.choices[0].message.content" in wrong.error.message
    assert wrong.output is None
    assert wrong.error.raw is None
    assert b'"content": 5' in wrong.raw
    assert none.error.message.startswith("cannot read a Completion: ")
    assert report == ResultsReport(succeeded=1, undecodable=2)


async def test_a_function_decodes():
    """Of the mapping; a generic alias is a type."""
    rows, _ = await read({"r": good("a")}, decode=lambda response: len(response["choices"]))
    assert rows[0].output == 1
    rows, _ = await read({"r": good("a")}, decode=dict[str, Any])
    assert rows[0].output == rows[0].response == GOOD


def test_decode_must_be_a_type_or_a_function():
    """A type that cattrs can make, that is."""
    with pytest.raises(ConfigurationError, match=r"decode must be a type, .* not 'x'"):
        read_decode("x")

    class Strange:
        def __init__(self, thing):
            pass

    with pytest.raises(ConfigurationError, match=r"cattrs cannot make a Strange; give a function"):
        read_decode(Strange)


# --- Ordered ------------------------------------------------------------------------------------


async def test_ordered_restores_the_order_of_the_input():
    """Rows that failed in their places, rows of other ids left out, a success before an error."""
    made, _ = results({"r": good("c", "a", "x"), "error-data": bad("b", "a")})
    async with made as rows:
        found = await rows.ordered(iter(["a", "b", "c"]))

        assert [("a", True), ("b", False), ("c", True)] == [(r.custom_id, r.ok) for r in found]
        assert rows.report.duplicate_ids == ("a",)


async def test_ordered_fails_on_gaps():
    """The error names them, and what else may be the matter."""
    ids = [f"r-{number}" for number in range(10)]
    made, _ = results({"r": good("r-0") + b"no row\n"}, job("EXPIRED"))
    async with made as rows:
        with pytest.raises(ResultRowsError) as info:
            await rows.ordered(ids)

    assert info.value.missing_ids == tuple(ids[1:])
    assert info.value.duplicate_ids == ()
    assert str(info.value) == (
        "the results of job 'nightly', which is EXPIRED, do not have one row for each id: 9 ids "
        "have no row ('r-1', 'r-2', 'r-3', 'r-4', 'r-5', ...), 1 lines cannot be read; iterate "
        "over the rows to read those that exist"
    )


async def test_ordered_fails_on_two_different_responses():
    """Two that are the same are one; two errors are one error."""
    content = good("a", "b", "b", "c") + good("a", n=2)
    made, _ = results({"r": content, "error-data": bad("d", "d")})
    async with made as rows:
        with pytest.raises(ResultRowsError, match=r"1 have several \('a'\)") as info:
            await rows.ordered(["a", "b", "c", "d"])
    assert info.value.duplicate_ids == ("a",)


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        ("abc", r"ids must be a list of ids, as in \['abc'\], not 'abc'"),
        (["a", 5], "ids must hold strings, not 5"),
        (["a", "b", "a"], "ids has these ids twice: 'a'"),
    ],
)
async def test_ordered_refuses_bad_ids(ids, problem):
    """Before a row is read."""
    made, _ = results({"r": good("a")})
    async with made as rows:
        with pytest.raises(ConfigurationError, match=problem):
            await rows.ordered(ids)
        assert len([row async for row in rows]) == 1


# --- Use and misuse -----------------------------------------------------------------------------


async def test_a_loop_may_be_left_and_another_goes_on():
    """Nothing is lost between them, and nothing held."""
    made, _ = results({"r": good(*"abcd")})
    async with made as rows:
        async for first in rows:
            assert first.custom_id == "a"
            break
        assert (await anext(rows)).custom_id == "b"
        assert ["c", "d"] == [row.custom_id async for row in rows]
        with pytest.raises(StopAsyncIteration):
            await anext(rows)
        assert rows.report.succeeded == 4


async def test_the_report_waits_for_the_last_row():
    """It would be a lie before."""
    made, _ = results({"r": good("a")})
    async with made as rows:
        await anext(rows)
        with pytest.raises(ClientStateError, match="the report is there when all rows have been"):
            _ = rows.report


async def test_the_report_outlives_the_files():
    """And so does the job."""
    made, _ = results({"r": good("a")})
    async with made as rows:
        async for _ in rows:
            pass

    assert rows.report.succeeded == 1
    assert rows.job == job()


async def test_rows_are_read_once():
    """Each misuse is an error that says what to do."""
    made, _ = results({"r": good("a")})
    advice = r"<JobResults of 'nightly', not entered yet>: enter it first: 'async with client"
    for misuse in (anext(made), made.ordered(["a"])):
        with pytest.raises(ClientStateError, match=advice):
            await misuse
    with pytest.raises(ClientStateError, match=advice):
        aiter(made)
    with pytest.raises(ClientStateError, match=advice):
        _ = made.job
    async with made as rows:
        with pytest.raises(ClientStateError, match=r"call client.results\(\) once more to read"):
            await made.__aenter__()
        assert len([row async for row in rows]) == 1
        with pytest.raises(ClientStateError, match="read to the end>: its rows have been read"):
            aiter(rows)
    with pytest.raises(ClientStateError, match="left>: its files are gone: read inside 'async"):
        await anext(made)
    with pytest.raises(ClientStateError, match="once more to read the rows again"):
        await made.__aenter__()


async def test_ordered_needs_all_rows():
    """Those read before would be missing."""
    made, _ = results({"r": good("a", "b")})
    async with made as rows:
        await anext(rows)
        with pytest.raises(ClientStateError, match="rows have been read from it already"):
            await rows.ordered(["a", "b"])


async def test_rows_are_for_one_task_at_a_time():
    """Two that read at once would each have half of them."""
    made, _ = results({"r": good("a")})
    async with made as rows:
        with no_thread_free():
            first = asyncio.ensure_future(anext(rows))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="already running"):
                await anext(rows)
        assert (await first).custom_id == "a"


async def test_a_reading_that_was_cancelled_does_not_end_as_if_nothing_were_left():
    """Rows are missing: it must not be taken for the end."""
    made, _ = results({"r": good("a")})
    async with made as rows:
        with no_thread_free():
            first = asyncio.ensure_future(anext(rows))
            await asyncio.sleep(0)
            first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        for misuse in (lambda: anext(rows), lambda: rows.ordered(["a"])):
            with pytest.raises(ClientStateError, match="broken off>: reading ended in an error"):
                await misuse()
        with pytest.raises(ClientStateError, match="broken off>: reading ended in an error"):
            aiter(rows)


async def test_an_expected_id_must_be_a_string():
    """The directory is removed all the same."""
    made, server = results({"r": good("a")}, expected=["a", 5])

    with pytest.raises(ConfigurationError, match="expected must hold strings, not 5"):
        await made.__aenter__()
    assert not server.directory.exists()


def test_expected_must_be_ids_or_a_path():
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match=r"expected must be an iterable of ids, or .* 5"):
        check_expected(5)


async def test_leaving_removes_the_files():
    """Also when the rows were not read, and when an error ends it."""
    made, server = results({"r": good("a")})
    with pytest.raises(ZeroDivisionError):
        async with made as rows:
            assert server.directory.exists()
            await anext(rows)
            _ = 1 / 0
    assert not server.directory.parent.exists()


async def test_cancelling_the_download_removes_the_files():
    """And what was downloaded until then."""
    made, server = results({"r": good("a")})
    reached = asyncio.Event()

    class Hanging:
        async def download(self, dataset, directory, *, lineage):
            await server.download(dataset, directory, lineage=lineage)
            reached.set()
            await asyncio.Event().wait()

    made._datasets = Hanging()
    task = asyncio.ensure_future(made.__aenter__())
    await reached.wait()
    assert server.directory.exists()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not server.directory.parent.exists()


class Endless:
    """Expected ids that go on until nobody waits for them."""

    def __init__(self):
        self.hashes = IdSet()
        self.hashes.update(["a"])
        self.began, self.ended = threading.Event(), threading.Event()

    def again(self, is_over):
        self.began.set()
        while not is_over():
            yield "b"
        self.ended.set()


async def test_cancelling_the_report_ends_its_thread():
    """It has ended when the cancellation arrives, and does not go on to read for nobody."""
    expected = Endless()
    task = asyncio.ensure_future(Reading((), None, lineage=False).find(expected))
    while not expected.began.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert expected.ended.is_set()


# --- Over HTTP ----------------------------------------------------------------------------------


def script(emulator, state: str = "COMPLETED", job_id: str = "nightly", **files: bytes) -> None:
    """A job that has ended, and its output dataset."""
    emulator.script_job(job_id, phases=[state], fields={"outputDatasetId": OUTPUT})
    if files:
        names = {"results": "BIJOutputSet.jsonl", "errors": "error-data"}
        emulator.add_dataset("bij-1", files={names[key]: value for key, value in files.items()})


async def test_results_of_a_whole_life(emulator, client):
    """Upload, create, wait, read: the rows that the server processed, in its own order."""
    inputs = lines(
        *(
            {"custom_id": f"r-{n}", "body": {"messages": [{"role": "user", "content": f"hi {n}"}]}}
            for n in range(50)
        )
    )
    dataset = await client.datasets.upload(inputs)
    made = await client.jobs.create(
        model="accounts/fireworks/models/demo-8b", input_dataset=dataset
    )
    ended = await client.jobs.wait_until_terminal(made)
    ids = [f"r-{number}" for number in range(50)]

    async with client.results(ended, expected=ids) as rows:
        found = await rows.ordered(ids)

    assert [f"hi {number}" for number in range(50)] == [row.text for row in found]
    assert rows.report == ResultsReport(
        succeeded=50, missing_count=0, foreign_count=0, counts_agree=True
    )


async def test_a_job_is_named_in_any_form(emulator, client):
    """Id, resource name, reference, job; an expired one has rows."""
    script(emulator, "EXPIRED", results=good("a"), errors=bad("b"))
    fetched = await client.jobs.get("nightly")

    for form in ["nightly", fetched.name, client.jobs.ref("nightly"), fetched]:
        async with client.results(form) as rows:
            assert ["a", "b"] == [row.custom_id async for row in rows]


async def test_a_job_that_failed_validation_has_no_output(emulator, client):
    """Its dataset is named and does not exist."""
    script(emulator, "FAILED")

    async with client.results("nightly") as rows:
        assert [row async for row in rows] == []
    assert rows.report.no_output


async def test_a_running_job_is_refused(emulator, client):
    """It is asked for, whatever the object given says."""
    emulator.script_job("nightly", phases=["RUNNING"], time_limit_seconds=10**7)

    with pytest.raises(JobNotFinishedError, match="it is RUNNING"):
        await client.results("nightly").__aenter__()


async def test_a_broken_download_is_resumed(emulator, client):
    """The rows are whole."""
    ids = [f"r-{number}" for number in range(2000)]
    script(emulator, results=good(*ids))
    emulator.add_fault("truncate", path="*BIJOutputSet.jsonl*", bytes=20_000, times=2)

    async with client.results("nightly", expected=ids) as rows:
        assert ids == [row.custom_id async for row in rows]
    assert rows.report.missing_count == 0


async def test_a_download_that_fails_leaves_nothing(emulator, client):
    """The storage's refusal is raised, and the directory is gone."""
    script(emulator, results=good("a"))
    emulator.add_fault("status", path="*BIJOutputSet.jsonl*", status=500, times=None)

    with pytest.raises(Exception, match="500"):
        await client.results("nightly").__aenter__()


async def test_a_notebook_shows_the_job_and_the_report_when_there_is_one():
    """No row is read for it."""
    made, _ = results({"r.jsonl": good("a")})
    assert shown(made).facts == {"job": job().id, "rows": "not entered yet"}
    async with made as rows:
        assert shown(made).facts["rows"] == "entered"
        assert ["a"] == [row.custom_id async for row in rows]
    assert shown(made).captions == ["JobResults", "ResultsReport", "first 1 rows"]
    assert shown(made).facts["succeeded"] == "1"


async def test_a_notebook_shows_the_first_rows_when_reading_has_begun():
    """Five of them, each decoded once, and no row is lost or read twice for it."""
    decoded = []
    ids = [f"r{number}" for number in range(9)]
    made, _ = results(
        {"r.jsonl": good(*ids)}, decode=lambda answer: decoded.append(answer) or "made"
    )
    async with made as rows:
        assert ids == [row.custom_id async for row in rows]
    reader = shown(made)
    assert reader.captions[-1] == "first 5 rows"
    assert reader.rows[-6:] == [
        ["custom_id", "output", "error"],
        *([each, "made", ""] for each in ids[:5]),
    ]
    assert len(decoded) == 9


async def test_long_rows_are_not_kept_for_a_notebook():
    """No more than have 64 KiB together."""
    made, _ = results({"r.jsonl": good("a") + good("b", pad="x" * 70_000) + good("c")})
    async with made as rows:
        assert ["a", "b", "c"] == [row.custom_id async for row in rows]
    assert shown(made).captions[-1] == "first 1 rows"


async def test_rows_after_long_ones_are_not_called_the_first():
    """Where the first row is too long to be kept, none is shown, also of the next block."""
    long = good("a", pad="x" * 300_000)  # longer than a block of rows to decode
    made, _ = results({"r.jsonl": long + good("b")}, decode=lambda _: "made")
    async with made as rows:
        assert ["a", "b"] == [row.custom_id async for row in rows]
    assert shown(made).captions == ["JobResults", "ResultsReport"]
