"""No answer is paid for twice, and none is lost: each course by which rows were once bought again.

Each test was a failure of the runs before attempts were one chain.
"""

import asyncio
import logging
from collections import Counter
from contextlib import asynccontextmanager
from itertools import pairwise

import attrs
import orjson
import pytest

from fireworks_batch import (
    BadRequestError,
    BatchClient,
    PermissionDeniedError,
    PollPolicy,
    RetryPolicy,
)
from fireworks_batch.datasets.claim import Claim, stored_name
from fireworks_batch.emulator import Emulator, RowFailureError
from fireworks_batch.models.dataset import Limits

pytestmark = pytest.mark.once  # seconds, and no Python changes what is sent

MODEL = "accounts/fireworks/models/demo-8b"
IDS = [f"r{number}" for number in range(12)]
FAST = PollPolicy(
    initial_interval=0.004,
    min_interval=0.0,
    max_interval=0.01,
    failure_budget=2.0,
    not_found_grace=0.04,
)
# Emulated seconds: at this speed, a minute is 10 ms.
SPEED = 6000
WITHIN, BEYOND = 90, 10**6


class Rows:
    """Answers rows, fails some of them, and counts what is paid for."""

    def __init__(self, **fails) -> None:
        """Take how often each row fails with 503; None for each time with 400."""
        self.fails = fails
        self.answered: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()

    def __call__(self, custom_id, _body):
        """Answer a row."""
        self.runs[custom_id] += 1
        left = self.fails.get(custom_id, 0)
        if left is None:
            raise RowFailureError("no", 400)
        if self.runs[custom_id] <= left:
            raise RowFailureError("busy", 503)
        self.answered[custom_id] += 1
        return {"id": custom_id, "choices": [{"index": 0, "message": {"content": "x"}}]}


@asynccontextmanager
async def served(rows, **assume):
    """An emulator and a client of it."""
    async with (
        Emulator(speed=SPEED, responder=rows, assume=assume) as emulator,
        connect(emulator) as client,
    ):
        yield emulator, client


def connect(emulator) -> BatchClient:
    """A client that waits milliseconds."""
    return BatchClient(
        api_key=emulator.api_key,
        account_id="acme",
        base_url=emulator.base_url,
        poll=FAST,
        retry=RetryPolicy(max_attempts=10, initial_delay=0.001, max_delay=0.01),
    )


def requests(ids=IDS) -> list:
    """Requests of some ids."""
    return [
        {"custom_id": each, "body": {"messages": [{"role": "user", "content": "x"}]}}
        for each in ids
    ]


async def run(client, **terms):
    """Run the requests, and return the report."""
    async with await client.run(requests(), model=MODEL, **terms) as result:
        return result.report


async def jobs_of(client) -> list[str]:
    """The ends of the ids of all jobs, sorted."""
    return sorted(
        job.display_name.rpartition("-")[2] for job in [j async for j in client.jobs.list()]
    )


def creations(emulator) -> int:
    """How many jobs were created."""
    return sum(
        each.method == "POST" and each.path.endswith("/batchInferenceJobs") and each.status == 200
        for each in emulator.requests()
    )


async def test_1_the_identical_call_buys_nothing(tmp_path):
    """retry_rows=1 and "new": an answered row is never run again, nor taken out of the output."""
    rows, output = Rows(r1=1, r2=2, r3=None), tmp_path / "out.jsonl"
    terms = {"retry_rows": 1, "on_previous": "new", "output": output}
    async with served(rows) as (emulator, client):
        first = await run(client, **terms)
        before, bytes_before = creations(emulator), output.read_bytes()
        for _ in range(2):
            assert first.succeeded == (await run(client, **terms)).succeeded
            assert bytes_before == output.read_bytes()
        assert before == 2 == creations(emulator)
    assert 1 == max(rows.answered.values())


async def test_1_the_identical_call_after_a_bad_end_loses_no_answer(tmp_path):
    """The same where the job FAILED, so that each call with "new" runs the failed rows again."""
    rows, output = Rows(r1=1, r2=2, r3=None), tmp_path / "out.jsonl"
    terms = {"retry_rows": 1, "on_previous": "new", "output": output}
    async with served(rows, some_rows_failed="FAILED") as (_, client):
        written: set[str] = set()
        for _ in range(3):
            await run(client, **terms)
            lines = output.read_bytes().splitlines()
            assert written <= (written := {orjson.loads(line)["custom_id"] for line in lines})
    assert written == rows.answered.keys() == {*IDS} - {"r3"}
    assert 1 == max(rows.answered.values())


async def test_2_retries_and_new_attempts_see_each_other():
    """A job FAILED with rows that failed: two callers at once, and a later one, pay once."""
    rows = Rows(r1=1, r2=1)
    async with served(rows, some_rows_failed="FAILED") as (emulator, client):
        terms = {"retry_rows": 2, "on_previous": "new"}
        await run(client, retry_rows=2)
        async with connect(emulator) as other:
            reports = await asyncio.gather(run(client, **terms), run(other, **terms))
        assert all(each.is_complete for each in (*reports, await run(client, **terms)))
        assert 2 == creations(emulator)
    assert 1 == max(rows.answered.values())


@pytest.mark.parametrize("retry_rows", [1, 3])
async def test_3_output_of_a_retry_that_is_late_is_not_bought_again(retry_rows):
    """Beyond the grace it is reported, and the shard buys nothing; later it counts."""
    rows = Rows(r1=1)
    async with served(rows) as (emulator, client):
        emulator.script_jobs("*-1", output={"not_found_seconds": BEYOND})
        report = await run(client, retry_rows=retry_rows)
        assert (11, 1) == (report.succeeded, report.failed)
        assert not report.adds_up
        report = await run(client, retry_rows=retry_rows, on_previous="adopt")
        assert 2 == creations(emulator)
    assert 1 == max(rows.answered.values())


@pytest.mark.parametrize("name", ["BIJOutputSet.jsonl", "error-data"])
@pytest.mark.parametrize("on_previous", ["adopt", "new"])
@pytest.mark.parametrize("seconds", [WITHIN, BEYOND])
async def test_4_half_an_output_is_no_output(name, on_previous, seconds):
    """One of two files is to be seen: the other is waited for, and nothing is bought meanwhile."""
    rows = Rows(r1=1)
    async with served(rows) as (emulator, client):
        emulator.script_jobs("*-0", output={"late_files": {name: seconds}})
        report = await run(client, retry_rows=1, on_previous=on_previous)
        assert (seconds == WITHIN) == report.is_complete
        assert (2 if seconds == WITHIN else 1) == creations(emulator)
    assert 1 == max(rows.answered.values())


async def test_5_a_later_call_collects_the_retries_of_others(tmp_path):
    """Without retry_rows, and by submit and collect: all attempts count, whoever made them."""
    rows, output = Rows(r1=1), tmp_path / "out.jsonl"
    async with served(rows) as (emulator, client):
        await run(client, retry_rows=1, output=output)
        whole = output.read_bytes()
        assert (await run(client, output=output)).is_complete
        assert whole == output.read_bytes()
        submission = await client.submit(requests(), model=MODEL)
        async with await client.collect(submission, requests=requests(), output=output) as result:
            assert result.report.is_complete
        assert whole == output.read_bytes()
        assert 2 == creations(emulator)


async def test_6_deleted_jobs_before_a_good_one_hide_nothing():
    """Two jobs of three were deleted: the third is found, and nothing is bought again."""
    rows = Rows()
    async with served(rows) as (emulator, client):
        for _ in range(2):
            emulator.script_jobs(phases=["FAILED"])
        for _ in range(3):
            report = await run(client, on_previous="new")
        assert report.is_complete
        for job in [each async for each in client.jobs.list()]:
            if not job.is_success:
                await client.jobs.delete(job, wait=True)
        assert (await run(client)).is_complete
        assert 3 == creations(emulator)
        emulator.add_fault(
            "status", status=501, path="*/batchInferenceJobs", method="GET", times=None
        )
        assert (await run(client)).is_complete
        assert 3 == creations(emulator)


async def test_7_an_older_failure_does_not_count_while_the_newer_answer_is_late():
    """The row was answered by a retry whose output is not to be seen: it is not bought again."""
    rows = Rows(r1=1)
    async with served(rows) as (emulator, client):
        await run(client, retry_rows=1)
        for path in ("*-1-out", "*-1-out:getDownloadEndpoint"):
            emulator.add_fault("status", status=404, path=path, times=None)
        report = await run(client, retry_rows=3)
        assert (11, 1) == (report.succeeded, report.failed)
        emulator.clear_faults()
        assert (await run(client, retry_rows=3)).is_complete
        assert 2 == creations(emulator)


@pytest.mark.parametrize("times", [2, None])
async def test_8_an_output_that_is_gone_is_not_bought_again_by_default(times):
    """404 twice in the grace, or for good: "adopt" reports, and buys nothing."""
    async with served(Rows()) as (emulator, client):
        await run(client)
        emulator.add_fault("status", status=404, path="*-out", times=times)
        report = await run(client, retry_rows=2)
        assert (times == 2) == report.is_complete
        assert 1 == creations(emulator)


@pytest.mark.parametrize("seconds", [WITHIN, BEYOND])
async def test_9_an_output_that_is_not_ready_does_not_end_the_run(seconds):
    """UPLOADING for a while after the job's end: waited for, then reported."""
    async with served(Rows()) as (emulator, client):
        emulator.script_jobs(output={"uploading_seconds": seconds})
        report = await run(client, retry_rows=2)
        assert (seconds == WITHIN) == report.is_complete == report.adds_up
        assert 1 == creations(emulator)


async def test_10_an_output_that_comes_back_hides_no_answer():
    """Its rows were given up and bought again: both outputs count, an answer before a failure."""
    rows = Rows(r1=1)
    async with served(rows) as (emulator, client):
        await run(client)
        (output,) = [job.output_dataset_id async for job in client.jobs.list()]
        emulator.add_fault("status", status=404, path=f"*{output}*", times=None)
        assert (await run(client, on_previous="new")).is_complete
        emulator.clear_faults()
        report = await run(client, on_previous="new")
        assert report.is_complete
        assert 0 == report.duplicate
        assert 2 == creations(emulator)


async def test_11_a_job_that_is_being_deleted_is_no_dead_end():
    """The next number is used, whether the listing or the creation finds it out."""
    async with served(Rows()) as (emulator, client):
        emulator.script_jobs(phases=["RUNNING"], time_limit_seconds=10**7)
        submission = await client.submit(requests(), model=MODEL)
        emulator.script_job(submission.refs[0].job_id, phases=["DELETING"])
        emulator.add_fault(
            "status", status=501, path="*/batchInferenceJobs", method="GET", times=None
        )
        emulator.add_fault("status", status=404, path="*/batchInferenceJobs/*-0", times=1)
        assert (await run(client)).is_complete
        assert ["0", "1"] == sorted(each.rpartition("-")[2] for each in created(emulator))


@pytest.mark.parametrize("counters", ["null", "zero"])
async def test_12_a_failed_job_without_counters_may_have_answers(counters):
    """Its output is asked for, and only rows without an answer run again."""
    rows = Rows()
    async with served(rows, ended_counters=counters) as (emulator, client):
        emulator.script_jobs(phases=["RUNNING", "FAILED"])
        first = await run(client)
        assert 0 < first.succeeded < 12
        assert (await run(client, on_previous="new")).is_complete
    assert dict.fromkeys(IDS, 1) == rows.answered


async def test_13_a_job_of_another_id_is_the_attempt():
    """The server chooses the id itself: the job is adopted, and found by its display name."""
    rows = Rows(r1=1)
    async with served(rows, requested_job_id="ignored") as (emulator, client):
        for _ in range(3):
            assert (await run(client, retry_rows=1)).is_complete
        assert ["0", "1"] == await jobs_of(client)
        assert 2 == creations(emulator)


async def test_14_giving_up_deletes_no_job_of_another_caller():
    """on_abort="delete" is about what the call itself has created."""
    async with served(Rows()) as (emulator, client), connect(emulator) as other:
        emulator.script_jobs(phases=["RUNNING"], times=None, time_limit_seconds=10**7)
        await other.submit(requests(), model=MODEL)
        under_way = asyncio.Event()

        def tell(progress):
            if progress.jobs_submitted:
                under_way.set()

        task = asyncio.create_task(
            client.run(requests(), model=MODEL, on_abort="delete", on_progress=tell)
        )
        await under_way.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert not [each for each in emulator.requests() if each.method == "DELETE"]
        assert "run on" in caught.value.__notes__[0]


async def test_15_two_files_of_one_content_have_one_name(tmp_path):
    """Two uploads at once leave each row once in the dataset."""
    rows = Rows()
    line = b"".join(orjson.dumps(each) + b"\n" for each in requests())
    paths = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for path in paths:
        path.write_bytes(line)
    async with (
        served(rows, concurrent_uploads="all") as (emulator, client),
        connect(emulator) as other,
    ):
        emulator.add_fault("delay", path="*:upload", seconds=0.05, times=2)
        works = [
            each.run(path, model=MODEL) for each, path in zip((client, other), paths, strict=True)
        ]
        for result in await asyncio.gather(*works):
            assert result.report.is_complete
            await result.aclose()
    assert dict.fromkeys(IDS, 1) == rows.answered
    claim = Claim(dataset_id="b-0", takes_ready=True, source="x")
    assert {"b-0.jsonl"} == {stored_name(path.name, claim) for path in paths}


def created(emulator) -> list[str]:
    """The ids of the jobs that were created."""
    return [
        each.query["batchInferenceJobId"]
        for each in emulator.requests()
        if each.method == "POST" and each.path.endswith("Jobs") and each.status == 200
    ]


# --- What else the rules say ----------------------------------------------------------------------


async def test_reserved_id_leads_to_the_next_number():
    """The id of a deleted job stays taken, and nothing is shown under it."""
    async with served(Rows(), deleted_job="reserved") as (emulator, client):
        emulator.script_jobs(phases=["RUNNING"], time_limit_seconds=10**7)
        (ref,) = (await client.submit(requests(), model=MODEL)).refs
        await client.jobs.delete(ref, wait=True)
        assert (await run(client)).is_complete
        assert 2 == creations(emulator)


@pytest.mark.parametrize(
    ("position", "state"), [("tombstone", "DELETED"), ("archived", "ARCHIVED")]
)
def test_a_job_on_its_way_out_counts_as_never_made(in_virtual_time, position, state):
    """Also where it has become a tombstone by the time that the next one is made."""

    async def scenario(emulator, client):
        emulator.script_jobs(phases=["RUNNING"], time_limit_seconds=10**7)
        (ref,) = (await client.submit(requests(), model=MODEL)).refs
        await client.jobs.delete(ref)
        emulator.add_fault("delay", path="*/datasets/*", seconds=50, times=4)
        submitted = await client.submit(requests(), model=MODEL)
        assert state == (await client.jobs.get(ref)).state
        assert ["0", "1"] == [each.rpartition("-")[2] for each in created(emulator)]
        assert 1 == submitted.shards[0].newest

    in_virtual_time(scenario, emulator={"assume": {"deleted_job": position}})


@pytest.mark.parametrize(
    ("position", "kind"), [("403", PermissionDeniedError), ("400", BadRequestError)]
)
def test_an_account_that_may_not_run_jobs_ends_a_run_at_once(in_virtual_time, position, kind):
    """A refusal by a zero-data-retention policy is no outage: it is not repeated for an hour."""

    async def scenario(emulator, client):
        began = asyncio.get_running_loop().time()
        with pytest.raises(kind, match="zero data retention policy"):
            await client.run(requests(), model=MODEL)
        assert asyncio.get_running_loop().time() - began < 60
        posted = [r.status for r in emulator.requests() if r.path.endswith("/batchInferenceJobs")]
        assert 1 == posted.count(int(position))

    in_virtual_time(scenario, emulator={"assume": {"zero_data_retention": position}})


async def test_output_of_a_deleted_job_is_read_before_rows_run_again():
    """The output has the name that the next job would have: its answers are kept."""
    rows = Rows()
    async with served(rows) as (emulator, client):
        emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
        await run(client)
        (job,) = [each async for each in client.jobs.list()]
        await client.jobs.delete(job, wait=True)
        assert (await run(client)).is_complete
        assert ["0", "1"] == [each.rpartition("-")[2] for each in created(emulator)]
    assert dict.fromkeys(IDS, 1) == rows.answered


@pytest.mark.once
@pytest.mark.timeout(240)
async def test_listing_alone_finds_all_shards():
    """500 finished shards are walked with at most ten requests, besides those for outputs."""
    many = [f"q{number}" for number in range(500)]
    async with served(Rows()) as (emulator, client):
        terms = {"model": MODEL, "limits": Limits(max_rows=1)}
        async with await client.run(requests(many), **terms) as first:
            assert first.report.is_complete
        fresh = [each for each in emulator.requests() if each.method == "GET"]
        shown = {each.path.rpartition("/")[2] for each in fresh}
        assert not any(name.endswith("-1") for name in shown)
        before = len(emulator.requests())
        async with await client.run(requests(many), **terms) as second:
            assert second.report.is_complete
        walked = emulator.requests()[before:]
        rest = [each for each in walked if "-out" not in each.path]
        assert 500 == len({each.path for each in walked if each.path.endswith("-out")})
        assert {"GET"} == {each.method for each in walked}
        assert 3 == sum("batchInferenceJobs" in each.path for each in rest)  # pages of the listing
        assert 10 >= len(rest)


async def test_name_that_runs_something_else_is_a_warning(caplog):
    """The same name with other rows: a warning names the jobs, before more are created."""
    async with served(Rows()) as (emulator, client):
        await run(client, name="nightly")
        (job_id,) = created(emulator)
        for _ in range(2):
            async with await client.run(requests(["x"]), model=MODEL, name="nightly"):
                pass
    texts = [text for text in caplog.messages if "name='nightly'" in text and job_id in text]
    assert 1 == len(texts)


def test_twenty_attempts_are_the_most(in_virtual_time):
    """Then another name is asked for."""

    async def scenario(emulator, client):
        emulator.script_jobs(phases=["FAILED"], times=None)
        for _ in range(20):
            await client.submit(requests(), model=MODEL, on_previous="new")
        with pytest.raises(ValueError, match="have 20 jobs already: use another name="):
            await client.submit(requests(), model=MODEL, on_previous="new")

    in_virtual_time(scenario)


@pytest.mark.parametrize("is_complete", [True, False])
async def test_answers_in_the_output_file_are_not_destroyed(tmp_path, caplog, is_complete):
    """A file with answers that the new result lacks is kept under another name."""
    output = tmp_path / "out.jsonl"
    async with served(Rows()) as (emulator, client):
        await run(client, output=output)
        whole = output.read_bytes()
        if not is_complete:
            emulator.add_fault("status", status=404, path="*-out", times=None)
        for _ in range(2):
            output.write_bytes(whole)
            await run(client, output=output)
    kept = sorted(each.name for each in tmp_path.iterdir())
    if is_complete:
        assert ["out.jsonl"] == kept
    else:
        assert ["out.jsonl", "out.jsonl.previous", "out.jsonl.previous.2"] == kept
        assert whole == (tmp_path / "out.jsonl.previous").read_bytes()
        assert "is kept as" in caplog.text


async def test_submit_waits_for_the_evidence_with_new(caplog):
    """An attempt that may have answered all is read before another one is created."""
    async with served(Rows()) as (emulator, client):
        emulator.script_jobs(phases=["RUNNING", "FAILED"], output={"not_found_seconds": WITHIN})
        submission = await client.submit(requests(), model=MODEL)
        await client.jobs.wait_until_terminal(submission.refs[0])
        with caplog.at_level(logging.INFO):
            again = await client.submit(requests(), model=MODEL, on_previous="new")
        job = await client.jobs.get(again.refs[0])
        assert 1 == again.shards[0].newest
        assert 0 < (await client.datasets.get(job.input_dataset_id)).example_count < 12


async def test_refused_output_is_reported():
    """The key may see the job, and not its output: nothing is bought, and the report says why."""
    async with served(Rows()) as (emulator, client):
        emulator.add_fault("status", status=403, path="*-out", times=None)
        report = await run(client, retry_rows=3, on_previous="new")
        assert 12 == report.missing
        assert "its output is refused" in report.remarks[0]
        assert 1 == creations(emulator)


async def test_progress_says_queued_and_how_fast():
    """While jobs wait in the queue nothing runs; equal progress is not told twice."""
    seen = []
    async with served(Rows()) as (emulator, client):
        emulator.script_jobs(phases=["PENDING", "RUNNING", "COMPLETED"])
        await run(client, on_progress=seen.append)
    assert ["checking", "queued", "running", "collecting"] == [
        str(stage) for stage in dict.fromkeys(each.stage for each in seen)
    ]
    assert all(one != other for one, other in pairwise(seen))
    with_rate = [each for each in seen if each.rate]
    assert all(each.eta is not None and each.eta >= 0 for each in with_rate)
    assert attrs.evolve(seen[-1], rate=1.0) == seen[-1]
