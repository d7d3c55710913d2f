"""From requests to results over real HTTP: what is sent, adopted, continued, fetched and said."""

import asyncio
import json
import logging
import os
from collections import Counter
from itertools import groupby, pairwise

import attrs
import orjson
import pytest

from fireworks_batch import (
    AccountSuspendedError,
    BadRequestError,
    BatchClient,
    ClientStateError,
    ConfigurationError,
    InferenceParameters,
    InputRowsError,
    JobConflictError,
    JobRef,
    LocalFileError,
    NotFoundError,
    PollPolicy,
    ResultRowsError,
    RetryPolicy,
    ServerError,
)
from fireworks_batch.emulator import Emulator, RowFailureError
from fireworks_batch.models.dataset import Limits
from fireworks_batch.runs.progress import RunStage
from fireworks_batch.runs.submission import Submission

FAST = PollPolicy(
    initial_interval=0.002,
    min_interval=0.0,
    max_interval=0.01,
    failure_budget=2.0,
    not_found_grace=0.02,
)
MODEL = "accounts/fireworks/models/demo-8b"
IDS = [f"r{number}" for number in range(30)]
THREE = Limits(max_rows=10)


def mapping(custom_id, text=None) -> dict:
    """A request."""
    content = custom_id if text is None else text
    return {"custom_id": custom_id, "body": {"messages": [{"role": "user", "content": content}]}}


def answer(custom_id, body):
    """A response that is the same whenever it is made; the text says what is to happen."""
    text = body["messages"][-1]["content"]
    if text.startswith("fail"):
        raise RowFailureError("no", int(text.removeprefix("fail ")))
    return {"id": custom_id, "choices": [{"index": 0, "message": {"content": text.upper()}}]}


@pytest.fixture
async def emulator():
    """An emulator whose minute is ten milliseconds."""
    async with Emulator(speed=6000, responder=answer) as running:
        yield running


@pytest.fixture
async def client(emulator):
    """A client that waits milliseconds, and repeats calls often."""
    async with connect(emulator) as made:
        yield made


def connect(emulator, account_id: str | None = "acme") -> BatchClient:
    """A client of the emulator."""
    return BatchClient(
        api_key=emulator.api_key,
        account_id=account_id,
        base_url=emulator.base_url,
        poll=FAST,
        retry=RetryPolicy(max_attempts=10, initial_delay=0.001, max_delay=0.01),
    )


@pytest.fixture
def requests(tmp_path):
    """A file of thirty requests."""
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"".join(orjson.dumps(mapping(each)) + b"\n" for each in IDS))
    return path


def sent(emulator, method, part="") -> list:
    """Requests of a method whose path has a part."""
    return [each for each in emulator.requests() if each.method == method and part in each.path]


def creations(emulator) -> list:
    """The ids of jobs that the server was asked to create, and did, in order."""
    return [
        each.query["batchInferenceJobId"]
        for each in sent(emulator, "POST", "batchInferenceJobs")
        if each.status == 200 or each.fault == "drop_answer"
    ]


def ids_in(path) -> list[str]:
    """The ids in a file of rows."""
    return [orjson.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


def newest(submission) -> list[str]:
    """The ids of the newest jobs of a submission."""
    return [ref.job_id for ref in submission.refs]


def input_of(shard) -> str:
    """The id of the dataset with all rows of a shard."""
    return f"{shard.base_id}-0"


async def ids_of(rows) -> list[str]:
    """The ids of rows."""
    return [row.custom_id async for row in rows]


# --- All is well --------------------------------------------------------------------------------


async def test_rows_come_back_in_the_order_they_went(client, requests, tmp_path):
    """Three jobs, each row once, streamed, by id and in the file, whatever the server shuffles."""
    output, errors = tmp_path / "out.jsonl", tmp_path / "errors.jsonl"
    async with await client.run(
        requests, model=MODEL, name="nightly", limits=THREE, output=output, errors=errors
    ) as result:
        assert IDS == await ids_of(result)
        assert "R17" == (await result.get("r17")).text
        assert await result.get("nobody") is None
        assert [] == [each async for each in result.missing_ids()]
        assert [] == await ids_of(result.failures())
        assert result is result.raise_for_failures()
        report = result.report
    assert IDS == ids_in(output)
    assert b"" == errors.read_bytes()
    assert (30, 30, 0, 0) == (report.rows, report.succeeded, report.failed, report.missing)
    assert report.adds_up
    assert 3 == len(report.jobs)
    assert () == report.adopted


async def test_one_job_is_uploaded_from_where_it_is(client, emulator, requests):
    """A file that needs no split is sent as it is, under its own name."""
    result = await client.run(requests, model=MODEL)
    (dataset,) = map(input_of, result.submission.shards)
    stored = await client.datasets.get(dataset)
    await result.aclose()

    assert 30 == stored.example_count
    assert 1 == len(creations(emulator))


@pytest.mark.parametrize("kind", ["list", "async"])
async def test_mappings_do_as_well_as_a_file(client, emulator, requests, kind):
    """The same requests are the same jobs, in whatever form they come."""
    emulator.script_jobs(phases=["RUNNING"])

    async def stream():
        for each in IDS:
            yield mapping(each)

    first = await client.submit(requests, model=MODEL)
    second = await client.submit(stream() if kind == "async" else map(mapping, IDS), model=MODEL)

    assert first == second


async def test_parameters_reach_the_job(client):
    """What the job is to be like is sent with it."""
    submission = await client.submit(
        [mapping("a")],
        model=MODEL,
        name="nightly run",
        inference_parameters={"max_tokens": 5, "extra_body": {"stop": ["x"]}},
        max_job_duration=50_000,
        system_prompt="Be brief.",
    )
    job = await client.jobs.get(submission.refs[0])

    assert MODEL == job.model
    assert 5 == job.inference_parameters.max_tokens
    assert {"stop": ["x"]} == json.loads(job.inference_parameters.extra_body)
    assert (50_000, "Be brief.", job.id) == (
        job.max_job_duration,
        job.system_prompt,
        job.display_name,
    )
    assert job.id.startswith("nightly-run-")
    assert job.id.endswith("-0")


@pytest.mark.parametrize(
    "spellings",
    [
        [{}, {"inference_parameters": {}}, {"inference_parameters": InferenceParameters()}],
        [{}, {"placement": {}}, {"system_prompt": ""}],
        [
            {"inference_parameters": {"temperature": 1, "extra_body": {"a": 1.0, "b": []}}},
            {
                "inference_parameters": InferenceParameters(
                    temperature=1.0, extra_body='{"b":[], "a":1}'
                )
            },
        ],
    ],
)
async def test_one_meaning_is_one_job_however_it_is_spelled(client, emulator, spellings):
    """Mapping or object, order of keys, whole floats, empty or not said: the same id."""
    for spelling in spellings:
        await client.submit([mapping("a")], model=MODEL, **spelling)

    assert 1 == len(creations(emulator))


async def test_anything_that_differs_is_another_job(client, emulator):
    """Another name, model, parameter or row makes another job; the same makes none."""
    calls = [
        {},
        {},
        {"name": "a"},
        {"model": "accounts/fireworks/models/other"},
        {"inference_parameters": {"max_tokens": 5}},
        {"system_prompt": "Be brief."},
        {"requests": [mapping("b")]},
        {"inference_parameters": {"max_tokens": 5}},
    ]
    for call in calls:
        given = {"requests": [mapping("a")], "model": MODEL, **call}
        await client.submit(given.pop("requests"), **given)

    assert 6 == len(creations(emulator))


async def test_submission_is_collected_by_another_process(emulator, client, requests, tmp_path):
    """What submit returned goes through JSON to a client that has never seen the requests."""
    stored = (await client.submit(requests, model=MODEL, limits=THREE)).to_json()
    output = tmp_path / "out.jsonl"
    async with connect(emulator) as other:
        submission = Submission.from_json(stored)
        assert all(isinstance(ref, JobRef) for ref in submission.refs)
        async with await other.collect(submission, output=output) as result:
            assert sorted(IDS) == await ids_of(result)
            assert result.report.adds_up
        async with await other.collect(submission, requests=requests, output=output) as result:
            assert IDS == await ids_of(result)
    assert IDS == ids_in(output)


async def test_foreign_rows_are_said_to_be_so_as_far_as_can_be_told(client, emulator, requests):
    """With the requests they are left out; without, more rows came than were sent."""
    submission = await client.submit(requests, model=MODEL)
    job = await client.jobs.wait_until_terminal(submission.refs[0])
    output = job.output_dataset_id.rpartition("/")[2]
    rows = [{"custom_id": each, "response": {"choices": [{}]}} for each in [*IDS, "x", "y"]]
    emulator.replace_file(
        output, "BIJOutputSet.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows)
    )
    async with await client.collect(submission, requests=requests) as known:
        assert (30, 2) == (known.report.succeeded, known.report.foreign)
        assert "2 were not asked for" == known.report.remarks[0]
    async with await client.collect(submission) as unknown:
        assert (32, 2) == (unknown.report.succeeded, unknown.report.foreign)
        assert not unknown.report.adds_up
        assert unknown.report.remarks[0].startswith("2 more came than were sent (with the requests")


async def test_collecting_with_other_requests_is_refused(client, requests):
    """Requests that are not those that were submitted are found out by their number first."""
    submission = await client.submit(requests, model=MODEL)

    with pytest.raises(ConfigurationError, match="good rows in the requests: 1, rows"):
        await client.collect(submission, requests=[mapping("a")])


async def test_collecting_with_as_many_other_requests_is_refused(client, requests):
    """As many rows of the same ids, one of them with another text: found out by the digest."""
    submission = await client.submit(requests, model=MODEL, limits=THREE)
    others = [mapping(each, "other" if each == "r15" else None) for each in IDS]

    with pytest.raises(ConfigurationError) as caught:
        await client.collect(submission, requests=others)
    shard = submission.shards[1]
    assert (
        f"lines 11 to 20 of the requests differ from those of shard {shard.base_id!r}: "
        "pass the requests that were submitted, unchanged"
    ) == str(caught.value)


async def test_rows_are_checked_as_they_were_when_they_are_collected(client):
    """Rows left out for the job's model, its system prompt or its limits are left out again."""
    good, model, tokens, large = mapping("good"), mapping("m"), mapping("t"), mapping("x" * 500)
    model["body"]["model"] = "accounts/fireworks/models/other"
    tokens["body"] = {"prompt_token_ids": [1, 2]}
    rows = [model, tokens, large, good]
    submission = await client.submit(
        rows,
        model=MODEL,
        system_prompt="Be brief.",
        limits=Limits(max_bytes=400),
        on_bad_row="skip",
    )
    submission = Submission.from_json(submission.to_json())

    async with await client.collect(submission, requests=rows) as result:
        assert ["good"] == await ids_of(result)
        assert 3 == result.report.skipped


async def test_few_jobs_at_a_time(client, emulator, requests):
    """With max_in_flight=1, the next job is created when the one before has ended."""
    seen = []
    result = await client.run(
        requests, model=MODEL, limits=THREE, max_in_flight=1, on_progress=seen.append
    )
    await result.aclose()

    assert all(each.jobs_submitted - each.jobs_ended <= 1 for each in seen)
    assert 3 == len(creations(emulator))


async def test_progress_is_of_the_whole(client, requests):
    """One snapshot after each change: stages in their order, numbers that only grow."""
    seen = []
    result = await client.run(requests, model=MODEL, limits=THREE, on_progress=seen.append)
    await result.aclose()

    stages = list(dict.fromkeys(each.stage for each in seen))
    assert [RunStage.CHECKING, RunStage.QUEUED, RunStage.RUNNING, RunStage.COLLECTING] == stages
    assert [each.rows_done for each in seen] == sorted(each.rows_done for each in seen)
    last = seen[-1]
    assert (30, 30, 3, 3, 3) == (
        last.rows,
        last.rows_done,
        last.jobs,
        last.jobs_submitted,
        last.jobs_ended,
    )


def test_progress_names_the_jobs_under_way(in_virtual_time, requests):
    """From before it is created until it has ended, also of a submission of before; who made it."""

    async def scenario(emulator, client):
        seen, made = [], []

        def look(progress):
            seen.append((progress.under_way, len(creations(emulator))))
            made.append(progress.created)
            assert {*progress.created} <= {*progress.under_way}

        terms = {"model": MODEL, "limits": THREE}
        async with await client.run(requests, **terms, on_progress=look) as result:
            submission = result.submission
        named = list(dict.fromkeys(job_id for job_ids, _ in seen for job_id in job_ids))
        assert {*named} == {*newest(submission)}
        for job_id in named:
            at_first = next(created for job_ids, created in seen if job_id in job_ids)
            assert at_first < len(named)
        assert ((), ()) == (seen[0][0], seen[-1][0])
        assert {*named} == {job_id for job_ids in made for job_id in job_ids}
        made.clear()

        emulator.script_job(named[0], phases=["RUNNING", "COMPLETED"])
        seen.clear()
        async with await client.collect(submission, on_progress=look):
            assert named[0] in {job_id for job_ids, _ in seen for job_id in job_ids}
        assert () == seen[-1][0]
        assert {()} == {*made}

    in_virtual_time(scenario)


async def test_progress_has_the_newest_look_at_each_job(client, requests):
    """Those that have ended too, in the order of the first look at each."""
    seen = []
    async with await client.run(
        requests, model=MODEL, limits=THREE, on_progress=seen.append
    ) as result:
        submitted = newest(result.submission)
    ids = [[snapshot.job.id for snapshot in progress.snapshots] for progress in seen]
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(ids))
    assert sorted(ids[-1]) == sorted(submitted)
    assert all(snapshot.job.is_success for snapshot in seen[-1].snapshots)


async def test_progress_has_the_lost_looks_until_a_good_one(client, emulator, requests):
    """How many in a row, of each job that lost some."""
    seen = []
    looks = "*/batchInferenceJobs/*-0"
    emulator.add_fault("status", status=503, method="GET", path=looks, after=1, times=2)
    async with await client.run(requests, model=MODEL, on_progress=seen.append) as result:
        (ref,) = result.submission.refs
    lost = [progress.failed_polls for progress in seen]
    assert [((ref.job_id, 1),), ((ref.job_id, 2),)] == [each for each, _ in groupby(lost) if each]
    assert () == lost[-1]


@pytest.mark.parametrize(("fault", "runs_on"), [("status", False), ("drop_answer", True)])
async def test_a_refused_job_is_not_said_to_run_on(client, emulator, requests, fault, runs_on):
    """It is not there; of one whose creation nobody answered, that is not known."""
    path = "*/batchInferenceJobs"
    if runs_on:
        emulator.add_fault("drop_answer", method="POST", path=path)
    emulator.add_fault("status", status=422, method="POST", path=path, times=None)
    emulator.add_fault("status", status=422, path=f"{path}/*", times=None)
    seen = []
    with pytest.raises(BadRequestError) as caught:
        await client.run(requests, model=MODEL, on_progress=seen.append)
    assert runs_on == bool(seen[-1].under_way)
    assert runs_on == any("may be there" in note for note in getattr(caught.value, "__notes__", []))


async def test_what_the_progress_function_raises_ends_the_run(client, requests):
    """It is the caller's own way to stop, and comes through as it is."""

    def stop(progress):
        if progress.jobs_submitted:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.run(requests, model=MODEL, on_progress=stop)


async def test_check_remarks_upon_rows_without_a_cache_key(client):
    """Good rows of token ids are counted; a pass that tells twins apart counts none twice."""
    tokens = [{"custom_id": each, "body": {"prompt_token_ids": [1]}} for each in "abc"]
    keyed = {"custom_id": "d", "body": {"prompt_token_ids": [1], "user": "ann"}}
    for rows, is_good in (([*tokens, keyed], True), ([*tokens, tokens[0], keyed], False)):
        report = await client.check(rows)
        assert is_good is report.is_good
        assert ["3 rows have prompt_token_ids and neither user nor prompt_cache_key"] == [
            text.partition(":")[0] for text in report.remarks
        ]
    assert () == (await client.check([keyed])).remarks


async def test_check_says_what_would_be_sent_and_sends_nothing(client, emulator, requests):
    """Rows, bytes and jobs; bad rows with their lines."""
    with requests.open("ab") as file:
        file.write(b"{\n" + orjson.dumps(mapping("r3")) + b"\n\n")
    report = await client.check(requests, limits=THREE, model=MODEL)

    assert (30, 3, 2, 1) == (
        report.rows,
        len(report.jobs),
        report.problem_count,
        report.blank_lines,
    )
    assert [31, 32] == [problem.line for problem in report.problems]
    assert not report.is_good
    assert [(10, 1, 10), (10, 11, 20), (10, 21, 30)] == [
        (job.rows, job.first_line, job.last_line) for job in report.jobs
    ]
    assert [] == emulator.requests()


# --- Found again --------------------------------------------------------------------------------


async def test_second_call_adopts_what_the_first_one_made(client, emulator, requests, caplog):
    """Nothing is uploaded or created again; what had ended is a warning, and in the report."""
    first = await client.run(requests, model=MODEL, limits=THREE)
    before = len(emulator.requests())
    with caplog.at_level(logging.WARNING):
        second = await client.run(requests, model=MODEL, limits=THREE)
    methods = Counter(each.method for each in emulator.requests()[before:])

    assert {"GET"} == {*methods}
    assert newest(first.submission) == newest(second.submission)
    assert newest(first.submission) == [each.job_id for each in second.report.adopted]
    assert all(each.age is not None and each.age >= 0 for each in second.report.adopted)
    assert 3 == sum("had ended before this call (COMPLETED" in text for text in caplog.messages)
    assert IDS == await ids_of(second)
    await first.aclose()
    await second.aclose()


async def test_running_job_is_adopted_quietly(client, emulator, requests):
    """A job that has not ended is followed, and is nothing to be warned of."""
    await client.submit(requests, model=MODEL, limits=THREE)
    result = await client.run(requests, model=MODEL, limits=THREE)
    await result.aclose()

    assert 3 == len(creations(emulator))


async def test_two_calls_at_once_make_the_jobs_once(emulator, requests):
    """Two processes that do the same find each other's datasets and jobs."""
    async with connect(emulator) as one, connect(emulator) as other:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(each.run(requests, model=MODEL, limits=THREE))
                for each in (one, other)
            ]
        results = [task.result() for task in tasks]
        rows = [await ids_of(result) for result in results]
        for result in results:
            await result.aclose()

    assert 3 == len(set(creations(emulator)))
    assert 3 == len(creations(emulator))
    assert [IDS, IDS] == rows


async def test_two_calls_at_once_in_one_client_make_the_jobs_once(client, emulator, requests):
    """They share waits and connections, and neither takes anything from the other."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(client.run(requests, model=MODEL, limits=THREE, cleanup="datasets"))
            for _ in range(2)
        ]
    for result in [task.result() for task in tasks]:
        assert IDS == await ids_of(result)
        assert () == result.report.not_cleaned
        await result.aclose()

    assert 3 == len({*creations(emulator)})
    assert 3 == len([job.id async for job in client.jobs.list()])


@pytest.mark.parametrize("held", ["*Endpoint", "*.jsonl", "*:validateUpload"])
@pytest.mark.parametrize("cleanup", ["keep", "datasets"])
async def test_slow_call_finds_what_a_fast_one_has_done(
    client, emulator, requests, tmp_path, held, cleanup
):
    """Another file of the same rows was uploaded, run, collected, and perhaps deleted meanwhile."""
    limits, copy = Limits(max_upload_bytes=100), tmp_path / "copy.jsonl"
    copy.write_bytes(requests.read_bytes())
    emulator.add_fault("delay", path=held, seconds=0.3, times=1)
    slow = asyncio.create_task(client.run(requests, model=MODEL, limits=limits))
    while not any(each.fault for each in emulator.requests()):
        await asyncio.sleep(0.001)
    async with connect(emulator) as other:
        fast = await other.run(copy, model=MODEL, limits=limits, cleanup=cleanup)
    for result in (fast, await slow):
        assert IDS == await ids_of(result)
        await result.aclose()

    assert 1 == len(creations(emulator))


@pytest.mark.parametrize("path", ["*/datasets", "*:upload", "*/batchInferenceJobs"])
async def test_lost_answer_to_a_write_makes_nothing_twice(client, emulator, requests, path):
    """The server does the work and the answer is lost: what it made is found, and used."""
    emulator.add_fault("drop_answer", method="POST", path=path, times=3)
    async with await client.run(requests, model=MODEL, limits=THREE) as result:
        assert IDS == await ids_of(result)
        assert result.report.adds_up

    assert 3 == len(set(creations(emulator)))
    listed = [job.id async for job in client.jobs.list()]
    assert 3 == len(listed)


async def test_signed_uploads_lose_no_answer_either(client, emulator, requests):
    """The same for files that go to storage."""
    limits = Limits(max_rows=10, max_upload_bytes=100)
    for method, path in [("POST", "*:getUploadEndpoint"), ("PUT", "*"), ("POST", "*:validate*")]:
        emulator.add_fault("drop_answer", method=method, path=path, times=3)
    async with await client.run(requests, model=MODEL, limits=limits) as result:
        assert IDS == await ids_of(result)

    assert 3 <= len(sent(emulator, "PUT"))
    assert 3 == len([job.id async for job in client.jobs.list()])


async def test_upload_that_was_cut_off_is_gone_on_with(client, emulator, requests):
    """A dataset that an earlier call left UPLOADING gets its rows."""
    emulator.add_fault("status", status=400, path="*:upload", times=1)
    with pytest.raises(BadRequestError):
        await client.submit(requests, model=MODEL)
    async with await client.run(requests, model=MODEL) as result:
        assert IDS == await ids_of(result)

    assert 1 == len(
        [each for each in sent(emulator, "POST", "/datasets") if each.path.endswith("datasets")]
    )


async def test_failed_job_is_not_repeated_in_silence(client, emulator, requests, caplog):
    """Its end is taken for the end, until the caller asks for another try."""
    emulator.script_jobs(phases=["FAILED"], status={"code": "INTERNAL", "message": "boo"})
    first = await client.run(requests, model=MODEL)
    with caplog.at_level(logging.WARNING):
        second = await client.run(requests, model=MODEL)

    assert 30 == first.report.missing == second.report.missing
    assert 1 == len(creations(emulator))
    assert "or on_previous='new'" in caplog.text
    assert "INTERNAL: boo (lines 1 to 30 of the requests)" == second.report.jobs[0].reason
    with pytest.raises(ResultRowsError, match="0 of 30 rows succeeded, 0 failed, 30 are missing"):
        second.raise_for_failures()
    for result in (first, second):
        await result.aclose()


async def test_new_try_is_made_once_and_found_again(client, emulator, requests):
    """With on_previous='new' the next id is used; a call after a crash finds that one."""
    emulator.script_jobs(phases=["FAILED"])
    first = await client.submit(requests, model=MODEL)
    await client.jobs.wait_until_terminal(first.refs[0])
    second = await client.submit(requests, model=MODEL, on_previous="new")
    third = await client.submit(requests, model=MODEL, on_previous="new")
    fourth = await client.submit(requests, model=MODEL)

    assert [f"{first.shards[0].base_id}-1"] == newest(second)
    assert newest(second) == newest(third) == newest(fourth)
    assert 2 == len(creations(emulator))


@pytest.mark.parametrize("on_previous", ["adopt", "new"])
async def test_completed_job_whose_output_is_gone_runs_again_on_request(
    client, emulator, requests, caplog, on_previous
):
    """Results that were deleted cannot be collected: only with "new" are the rows given up."""
    async with await client.run(requests, model=MODEL) as first:
        (job_id,) = newest(first.submission)
    output = (await client.jobs.get(job_id)).output_dataset_id
    await client.datasets.delete(output)
    async with await client.run(requests, model=MODEL, on_previous=on_previous) as second:
        assert (on_previous == "new") == second.report.is_complete
        assert (on_previous == "new") == second.report.adds_up

    again = [job_id.removesuffix("0") + "1"] if on_previous == "new" else []
    assert [job_id, *again] == creations(emulator)
    assert ("30 rows that succeeded by its counters are lost" in caplog.text) == bool(again)


@pytest.mark.parametrize("state", ["COMPLETED", "EXPIRED"])
async def test_output_that_is_not_seen_at_first_is_not_paid_for_again(
    client, emulator, requests, state
):
    """Before rows run again because their output is gone, it is looked for a second time."""
    emulator.script_jobs(phases=["RUNNING", state])
    async with await client.run(requests, model=MODEL) as first:
        done = first.report.succeeded
    name = (await client.jobs.get(first.submission.refs[0])).output_dataset_id
    emulator.add_fault("status", status=404, method="GET", path=f"*/{name}", times=1)
    async with await client.run(requests, model=MODEL) as second:
        assert 0 < done == second.report.succeeded

    assert 1 == len(creations(emulator))


@pytest.mark.parametrize("path", ["*/batchInferenceJobs/*", "*/datasets/bij-*", "*Endpoint"])
async def test_what_a_proxy_does_not_find_is_not_gone(client, emulator, requests, path):
    """A page that says 404 is no word of the API: nothing is made anew, and no row is missing."""
    async with await client.run(requests, model=MODEL) as first:
        assert first.report.is_complete
    emulator.add_fault("html", status=404, path=path, times=35)
    async with await client.run(requests, model=MODEL, retry_rows=1) as second:
        assert second.report.is_complete

    assert 1 == len(sent(emulator, "POST", "batchInferenceJobs"))


async def test_job_that_cannot_be_read_as_a_whole_is_followed(client, emulator, requests, caplog):
    """A member that is not as it was is no reason to be stuck: state and output will do."""
    emulator.script_jobs(phases=["RUNNING", "COMPLETED"], fields={"expireTime": "tomorrow"})
    for _ in range(2):
        async with await client.run(requests, model=MODEL) as result:
            assert result.report.is_complete
    assert "these members have their defaults" in caplog.text
    assert 1 == len({*creations(emulator)})


async def test_job_whose_output_cannot_be_read_is_not_made_anew(client, emulator, requests):
    """The name of an output is known without the job."""
    async with await client.run(requests, model=MODEL) as first:
        (ref,) = first.submission.refs
    emulator.script_job(ref.job_id, phases=["COMPLETED"], fields={"outputDatasetId": 7})
    async with await client.run(requests, model=MODEL) as second:
        assert second.report.is_complete
    assert 1 == len(creations(emulator))


@pytest.mark.parametrize("state", ["DELETED", "ARCHIVED"])
async def test_tombstone_that_is_met_on_creating_is_a_bad_end(client, emulator, requests, state):
    """As one that the search shows: its rows run again only with `on_previous="new"`."""
    terms = {"model": MODEL, "limits": Limits(max_rows=15)}
    async with Emulator() as other, connect(other) as twin:
        submission = await twin.submit(requests, **terms)
    ids = {f"{shard.base_id}-0" for shard in submission.shards}
    buried = []

    def bury(_):
        if not buried and creations(emulator):
            buried.extend(ids - {*creations(emulator)})
            emulator.script_job(buried[0], phases=[state])

    terms["max_in_flight"] = 1
    async with await client.run(requests, on_progress=bury, **terms) as result:
        assert 15 == result.report.missing
        assert {buried[0]: state} == {
            job.job_id: job.state for job in result.report.jobs if job.state != "COMPLETED"
        }
    assert 1 == len(creations(emulator))
    async with await client.run(requests, on_previous="new", **terms) as result:
        assert result.report.is_complete
    assert 2 == len(creations(emulator))


async def test_deleted_job_hides_no_output_that_is_not_seen_at_first(client, emulator, requests):
    """The job behind it is looked at as well as any."""
    emulator.script_jobs(phases=["FAILED"])
    first = await client.submit(requests, model=MODEL)
    await client.jobs.wait_until_terminal(first.refs[0])
    async with await client.run(requests, model=MODEL, on_previous="new") as second:
        (ref,) = second.submission.refs
    await client.jobs.delete(first.refs[0], wait=True)
    output = (await client.jobs.get(ref)).output_dataset_id
    emulator.add_fault("status", status=404, path=f"*/{output}", times=1)
    async with await client.run(requests, model=MODEL) as again:
        assert again.report.is_complete

    assert 2 == len(creations(emulator))


async def test_deleted_job_does_not_hide_the_one_that_came_after(client, emulator, requests):
    """Somebody tidies away the first try, which failed: the second one is found all the same."""
    emulator.script_jobs(phases=["FAILED"])
    first = await client.submit(requests, model=MODEL)
    await client.jobs.wait_until_terminal(first.refs[0])
    async with await client.run(requests, model=MODEL, on_previous="new") as second:
        assert second.report.is_complete
    await client.jobs.delete(first.refs[0], wait=True)
    for on_previous in ("adopt", "new"):
        async with await client.run(requests, model=MODEL, on_previous=on_previous) as again:
            assert newest(second.submission) == newest(again.submission)

    assert 2 == len(creations(emulator))


async def test_archived_job_whose_output_is_there_is_not_billed_again(client, emulator, requests):
    """Its rows were paid for and can be had: they are collected."""
    async with await client.run(requests, model=MODEL) as first:
        (ref,) = first.submission.refs
    emulator.script_job(ref.job_id, phases=["ARCHIVED"])
    async with await client.run(requests, model=MODEL) as second:
        assert IDS == await ids_of(second)
        assert ["ARCHIVED"] == [str(job.state) for job in second.report.adopted]

    assert 1 == len(creations(emulator))


async def test_next_number_is_used_while_a_job_is_being_deleted(client, emulator, requests):
    """A person has withdrawn it: it counts as never made, and nothing is waited for."""
    emulator.script_jobs(phases=["RUNNING"], time_limit_seconds=10**7)
    (ref,) = (await client.submit(requests, model=MODEL)).refs
    emulator.script_job(ref.job_id, phases=["DELETING"])
    async with await client.run(requests, model=MODEL) as result:
        assert IDS == await ids_of(result)

    assert [ref.job_id, ref.job_id.removesuffix("0") + "1"] == creations(emulator)


# --- Jobs and rows that end badly ---------------------------------------------------------------


async def test_failed_job_costs_only_its_own_rows(client, emulator, requests):
    """The others are collected; the report names lines and the server's reason."""
    message = "chat dataset validation failed on shard-1.jsonl:3: invalid role pirate in message 0"
    emulator.script_jobs(
        times=1, phases=["FAILED"], status={"code": "INVALID_ARGUMENT", "message": message}
    )
    async with await client.run(requests, model=MODEL, limits=THREE, max_in_flight=1) as result:
        assert IDS[10:] == await ids_of(result)
        assert IDS[:10] == [each async for each in result.missing_ids()]
        assert (20, 0, 10) == (
            result.report.succeeded,
            result.report.failed,
            result.report.missing,
        )
        assert result.report.adds_up
        with pytest.raises(ResultRowsError) as caught:
            result.raise_for_failures()
    assert caught.value.report is result.report
    assert f"INVALID_ARGUMENT: {message} (lines 1 to 10 of the requests; it names line 3" in str(
        caught.value
    )


@pytest.mark.parametrize("when", ["before", "while"])
async def test_deleted_job_costs_only_its_own_rows(client, emulator, requests, when):
    """Somebody deletes one of three jobs: the others are collected, and the report says so."""
    emulator.script_jobs(phases=["RUNNING"], times=3, time_limit_seconds=10**7)
    submission = await client.submit(requests, model=MODEL, limits=THREE)
    ref = submission.refs[1]

    async def delete():
        await client.jobs.delete(ref, wait=True)
        for other in (submission.refs[0], submission.refs[2]):
            emulator.script_job(other.job_id, phases=["RUNNING", "COMPLETED"])

    if when == "before":
        await delete()
    deletion = asyncio.Event()

    def tell(progress):
        if progress.jobs_submitted == 3:
            deletion.set()

    task = asyncio.create_task(client.collect(submission, requests=requests, on_progress=tell))
    if when == "while":
        await deletion.wait()
        await delete()
    async with await task as result:
        assert IDS[:10] + IDS[20:] == await ids_of(result)
        assert IDS[10:20] == [each async for each in result.missing_ids()]
        assert result.report.adds_up
        gone = result.report.jobs[1]
        assert (ref.job_id, "DELETED") == (gone.job_id, str(gone.state))
        assert "(lines 11 to 20 of the requests)" in gone.reason


async def test_jobs_that_are_all_gone_are_an_error(client, emulator, requests):
    """Nothing can be collected of them, or they were looked for in the wrong place."""
    submission = await client.submit(requests, model=MODEL, limits=THREE)
    for ref in submission.refs:
        await client.jobs.delete(ref, wait=True)

    with pytest.raises(NotFoundError):
        await client.collect(submission)


async def test_rows_of_a_deleted_job_can_still_be_read(client, emulator, requests):
    """The output of a number without a job is asked for: its name is known."""
    emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
    async with await client.run(requests, model=MODEL) as first:
        (ref,) = first.submission.refs
    async with await client.run(requests, model=MODEL, retry_rows=1) as second:
        submission = second.submission
    await client.jobs.delete(ref, wait=True)
    async with await client.collect(submission, requests=requests) as result:
        assert result.report.is_complete
        assert [job.job_id for job in result.report.jobs] == newest(submission)
    assert 2 == len(creations(emulator))


async def test_failed_rows_go_to_the_errors_file(client, tmp_path):
    """Rows that failed are rows too: in their order, in a file of their own."""
    rows = [mapping("a"), mapping("b", "fail 400"), mapping("c"), mapping("d", "fail 503")]
    output, errors = tmp_path / "out.jsonl", tmp_path / "errors.jsonl"
    async with await client.run(rows, model=MODEL, output=output, errors=errors) as result:
        assert ["a", "b", "c", "d"] == await ids_of(result)
        assert ["b", "d"] == await ids_of(result.failures())
        assert not (await result.get("b")).ok
        assert (2, 2, 0) == (
            result.report.succeeded,
            result.report.failed,
            result.report.missing,
        )
    assert (["a", "c"], ["b", "d"]) == (ids_in(output), ids_in(errors))


async def test_only_rows_worth_it_are_sent_again(emulator, client):
    """A row that failed retryably gets another try in a small job, one that did not gets none."""
    tries = Counter()

    def flaky(custom_id, body):
        tries[custom_id] += 1
        if custom_id == "b" and tries[custom_id] == 1:
            raise RowFailureError("busy", 503)
        return answer(custom_id, body)

    async with Emulator(speed=6000, responder=flaky) as flaky_emulator:
        async with connect(flaky_emulator) as other:
            rows = [mapping("a"), mapping("b"), mapping("c", "fail 400"), mapping("d")]
            async with await other.run(rows, model=MODEL, retry_rows=2) as result:
                assert ["a", "b", "c", "d"] == await ids_of(result)
                assert "B" == (await result.get("b")).text
                assert (3, 1, 0, 1) == (
                    result.report.succeeded,
                    result.report.failed,
                    result.report.missing,
                    result.report.retried,
                )
                assert result.report.adds_up
                assert 2 == len(result.report.jobs)
            again = await other.run(rows, model=MODEL, retry_rows=2)
            await again.aclose()
        assert Counter(a=1, b=2, c=1, d=1) == tries
        assert 2 == len(creations(flaky_emulator))


async def test_submit_sends_again_what_ended_jobs_have_left(client, emulator):
    """Submit, wait, submit again, until no job runs: what one long call of run would do."""
    rows = [mapping("a", "fail 503"), mapping("b"), mapping("c", "fail 400")]
    seen = []
    while True:
        submission = await client.submit(rows, model=MODEL, retry_rows=2)
        if newest(submission) in seen:
            break
        seen.append(newest(submission))
        await client.jobs.wait_until_terminal(submission.refs[0])
    async with await client.collect(submission, requests=rows) as result:
        assert ["a", "b", "c"] == await ids_of(result)

    assert ["0", "1", "2"] == [job_id[-1] for (job_id,) in seen]
    assert 3 == len(creations(emulator))
    assert 1 == (await client.jobs.get(seen[1][0])).job_progress.total_input_requests


async def test_rows_that_keep_failing_are_sent_so_often_and_no_more(client, emulator):
    """Each further try is a job of its own, up to the number that was asked for."""
    rows = [mapping("a", "fail 503"), mapping("b")]
    async with await client.run(rows, model=MODEL, retry_rows=2) as result:
        assert (1, 1, 2) == (
            result.report.succeeded,
            result.report.failed,
            result.report.retried,
        )

    assert 3 == len(set(creations(emulator)))


async def test_expired_job_keeps_its_rows_and_the_others_run_again(client, emulator, requests):
    """Rows that were done are kept; only the others run, in the next attempt."""
    emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
    async with await client.run(requests, model=MODEL) as first:
        done = first.report.succeeded
        assert 0 < done < 30
        assert 30 - done == first.report.missing
    async with await client.run(requests, model=MODEL, retry_rows=1) as second:
        assert IDS == await ids_of(second)
        assert second.report.is_complete
        assert second.report.adds_up
        assert 30 - done == second.report.retried
        assert ["EXPIRED", "COMPLETED"] == [str(job.state) for job in second.report.jobs]
        (job_id,) = newest(second.submission)
    assert job_id.endswith("-1")
    job = await client.jobs.get(job_id)
    assert 30 - done == job.job_progress.total
    assert job.input_dataset_id.rpartition("/")[2].startswith(f"{job_id}-")
    assert 2 == len(sent(emulator, "POST", ":upload"))


async def test_rows_sent_again_after_a_continued_job_are_found_again(requests):
    """A repeated call sends the same rows again, in the same jobs: nothing is billed twice."""
    tries = Counter()

    def flaky(custom_id, body):
        tries[custom_id] += 1
        if custom_id in {"r0", "r29"}:
            raise RowFailureError("busy", 503)
        return answer(custom_id, body)

    async with Emulator(speed=6000, responder=flaky) as emulator, connect(emulator) as client:
        emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
        terms = {"model": MODEL, "limits": Limits(max_rows=15), "max_in_flight": 1, "retry_rows": 2}
        async with await client.run(requests, **terms) as first:
            said = first.report
        made, billed = creations(emulator), dict(tries)
        async with await client.run(requests, **terms) as second:
            assert said.succeeded == second.report.succeeded

        assert 6 == len(made)  # each shard has a row that keeps failing
        assert made == creations(emulator)
        assert billed == tries


@pytest.mark.parametrize("end", ["FAILED", "EXPIRED"])
async def test_attempt_that_ended_badly_costs_no_answer(requests, end):
    """Rows that it has answered do not run again; those of a FAILED one need on_previous="new"."""
    tries = Counter()

    def flaky(custom_id, body):
        tries[custom_id] += 1
        if tries[custom_id] == 1:
            raise RowFailureError("busy", 503)
        return answer(custom_id, body)

    def spoil(progress, spoilt=[]):  # noqa: B006 - once
        if progress.stage is RunStage.RETRYING and not spoilt:
            other.script_jobs(phases=["RUNNING", end])
            spoilt.append(True)

    async with Emulator(speed=6000, responder=flaky) as other, connect(other) as client:
        terms = {"model": MODEL, "on_previous": "new", "retry_rows": 3}
        async with await client.run(requests, on_progress=spoil, **terms) as first:
            assert (end == "EXPIRED") == first.report.is_complete
        for _ in range(2):
            async with await client.run(requests, **terms) as second:
                assert second.report.is_complete
                states = [str(job.state) for job in second.report.jobs]
                assert ["COMPLETED", end, "COMPLETED"] == states

        assert 3 == len(creations(other))
        assert dict.fromkeys(IDS, 2) == tries


@pytest.mark.parametrize("end", ["EXPIRED", "COMPLETED"])
@pytest.mark.parametrize("status", [400, 412])
async def test_server_that_takes_no_more_rows_costs_none_that_came(
    client, emulator, tmp_path, end, status
):
    """The rest cannot be continued, or rows not be sent again: the others are there."""
    rows = [mapping("a", "fail 503"), *map(mapping, IDS)]
    output = tmp_path / "out.jsonl"
    emulator.script_jobs(phases=["RUNNING", end])
    emulator.add_fault(
        "status", status=status, method="POST", path="*/batchInferenceJobs", after=1, times=None
    )
    async with await client.run(rows, model=MODEL, retry_rows=3, output=output) as result:
        report = result.report
        assert 0 < report.succeeded == len(ids_in(output))
        assert 0 == report.retried
        assert 1 == len(report.not_retried)
        assert report.not_retried[0] in str(report)
    assert 2 == len(sent(emulator, "POST", "/batchInferenceJobs"))
    emulator.clear_faults()
    async with await client.run(rows, model=MODEL, retry_rows=3) as result:
        assert (30, 1) == (result.report.succeeded, result.report.failed)
        assert () == result.report.not_retried
        assert 0 < result.report.retried


async def test_rows_of_an_expired_job_that_failed_are_sent_again(client, emulator, requests):
    """There is no rest that could be continued, and with it run again: they are a small job."""
    emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
    async with await client.run(requests, model=MODEL) as first:
        (ref,) = first.submission.refs
    output = (await client.jobs.get(ref)).output_dataset_id.rpartition("/")[2]
    rows = [{"custom_id": each, "response": {"choices": [{}]}} for each in IDS[1:]]
    error = {"custom_id": IDS[0], "error": {"code": 503, "message": "busy"}}
    for name, lines in (("BIJOutputSet.jsonl", rows), ("error-data", [error])):
        content = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        emulator.replace_file(output, name, content)
    async with await client.run(requests, model=MODEL, retry_rows=2) as second:
        assert second.report.is_complete
        assert 1 == second.report.retried

    assert 2 == len(creations(emulator))


@pytest.mark.parametrize("times", [1, None])
async def test_rows_whose_output_is_not_there_are_not_sent_again(client, emulator, requests, times):
    """The job has done them: fetched a little later, or reported, they are not paid for twice."""
    emulator.add_fault("status", status=404, path="*:getDownloadEndpoint", times=times)
    async with await client.run(requests, model=MODEL, retry_rows=2) as result:
        if times:
            assert result.report.is_complete
        else:
            assert 30 == result.report.missing
            assert not result.report.adds_up
            assert "no row of its shard was sent again" in str(result.report)
    emulator.clear_faults()
    async with await client.run(requests, model=MODEL, retry_rows=2) as result:
        assert result.report.is_complete

    assert 1 == len(creations(emulator))


async def test_rows_of_an_older_job_whose_output_is_not_there_are_not_sent_again(
    client, emulator, requests
):
    """The first job has done them, although the one after it is COMPLETED."""
    emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
    async with await client.run(requests, model=MODEL) as first:
        done = first.report.succeeded
        (ref,) = first.submission.refs
    async with await client.run(requests, model=MODEL, retry_rows=2):
        made = creations(emulator)
    output = (await client.jobs.get(ref)).output_dataset_id
    emulator.add_fault("status", status=404, path=f"*/{output}:getDownloadEndpoint", times=None)
    async with await client.run(requests, model=MODEL, retry_rows=2) as result:
        assert 0 < done == result.report.missing

        assert f"job {ref.job_id!r} counts {done} rows done well, its output" in str(result.report)
    assert made == creations(emulator)


async def test_jobs_that_expire_again_and_again_are_continued_so_often(client, emulator, requests):
    """The number counts over all calls: a repeated one makes no further job."""
    emulator.script_jobs(phases=["RUNNING", "EXPIRED"], times=None)
    for _ in range(2):
        result = await client.run(requests, model=MODEL, retry_rows=1)
        await result.aclose()

    assert 2 == len(creations(emulator))


async def test_job_that_expired_before_its_first_row_is_not_run_again_in_silence(
    client, emulator, requests
):
    """There was never an output to be gone, although it has a name: its end is the end."""
    emulator.script_jobs(phases=["PENDING", "EXPIRED"])
    for _ in range(2):
        async with await client.run(requests, model=MODEL) as result:
            assert 30 == result.report.missing
    assert (await client.jobs.get(result.submission.refs[0])).output_dataset_id
    assert 1 == len(creations(emulator))


async def test_job_that_expired_before_its_first_row_is_run_again(client, emulator, requests):
    """Its results are none; those of the job that runs its rows again are fetched."""
    emulator.script_jobs(phases=["PENDING", "EXPIRED"])
    async with await client.run(requests, model=MODEL, retry_rows=1) as result:
        assert IDS == await ids_of(result)
        assert result.report.adds_up

    assert 2 == len(creations(emulator))


async def test_expired_job_is_continued_on_request(client, emulator, requests):
    """on_previous='new' continues too, and a later call collects both jobs."""
    emulator.script_jobs(phases=["RUNNING", "EARLY_STOPPED"])
    submission = await client.submit(requests, model=MODEL)
    await client.jobs.wait_until_terminal(submission.refs[0])
    new = await client.submit(requests, model=MODEL, on_previous="new")
    async with await client.collect(new, requests=requests) as result:
        assert IDS == await ids_of(result)
    async with await client.run(requests, model=MODEL) as result:
        assert IDS == await ids_of(result)
        assert result.report.is_complete

    assert 2 == len(creations(emulator))


@pytest.mark.parametrize(
    "ends",
    [["FAILED"], ["CANCELLED"], ["EXPIRED", "FAILED"], ["FAILED", "EXPIRED"], ["FAILED", "FAILED"]],
)
async def test_rows_that_a_failed_job_has_done_are_not_paid_for_twice(ends):
    """With on_previous="new" only those run that no job before has answered, however it ended."""
    tries = Counter()

    def counted(custom_id, body):
        tries[custom_id] += 1
        return answer(custom_id, body)

    rows = [mapping(each) for each in IDS]
    async with Emulator(speed=6000, responder=counted) as emulator, connect(emulator) as client:
        for end in ends:
            emulator.script_jobs(phases=["RUNNING", end])
        for number, _ in enumerate(ends, 1):
            async with await client.run(rows, model=MODEL, on_previous="new") as result:
                assert 0 < result.report.succeeded == len(tries) < 30
            assert number == len(creations(emulator))
        for _ in range(2):  # a repeated call finds all of it
            async with await client.run(rows, model=MODEL, on_previous="new") as result:
                assert IDS == await ids_of(result)
                assert result.report.adds_up
        submission = await client.submit(rows, model=MODEL)
        async with await client.collect(submission) as result:
            assert result.report.is_complete

        assert len(ends) + 1 == len(creations(emulator))
        assert [*ends, "COMPLETED"] == [str(job.state) for job in result.report.jobs]
    assert dict.fromkeys(IDS, 1) == tries


@pytest.mark.parametrize("terms", [{"on_previous": "new"}, {"retry_rows": 1}])
async def test_deleted_input_is_no_dead_end(requests, terms):
    """The rows are at hand, or on the server: the other copy is not needed."""
    tries = Counter()

    def counted(custom_id, body):
        tries[custom_id] += 1
        return answer(custom_id, body)

    async with Emulator(speed=6000, responder=counted) as emulator, connect(emulator) as client:
        emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
        async with await client.run(requests, model=MODEL) as first:
            (shard,) = first.submission.shards
        await client.datasets.delete(input_of(shard))
        for _ in range(2):
            async with await client.run(requests, model=MODEL, **terms) as second:
                assert IDS == await ids_of(second)
                assert second.report.adds_up

        assert 2 == len(creations(emulator))
    assert dict.fromkeys(IDS, 1) == tries


async def test_remaining_rows_of_a_failed_job_are_submitted_alone(client, emulator, requests):
    """Also by submit, which fetches what came; two calls at once make one job of the same rest."""
    emulator.script_jobs(phases=["RUNNING", "FAILED"])
    async with await client.run(requests, model=MODEL) as first:
        left = [each async for each in first.missing_ids()]
    one, other = await asyncio.gather(
        *(client.submit(requests, model=MODEL, on_previous="new") for _ in range(2))
    )
    job = await client.jobs.get(one.refs[0])
    await client.jobs.wait_until_terminal(job)
    async with client.results(job) as rows:
        ran = {row.custom_id async for row in rows}

    assert one == other
    assert 30 == one.rows
    assert job.id.endswith("-1")
    assert set(left) == ran
    assert 2 == len(set(creations(emulator)))


async def test_two_calls_that_see_other_results_take_one_job(client, emulator, requests):
    """One does not see what a job has done, and would run all rows: it takes the other's rest."""
    emulator.script_jobs(phases=["RUNNING", "FAILED"])
    async with await client.run(requests, model=MODEL) as first:
        (ref,) = first.submission.refs
    output = (await client.jobs.get(ref)).output_dataset_id
    emulator.add_fault("status", status=404, method="GET", path=f"*/{output}", times=2)
    emulator.add_fault("delay", method="POST", path="*/batchInferenceJobs", seconds=0.3, times=1)
    terms = {"model": MODEL, "on_previous": "new"}
    slow = asyncio.create_task(client.submit(requests, **terms))
    while not any(each.fault == "delay" for each in emulator.requests()):
        await asyncio.sleep(0.001)
    async with await client.run(requests, **terms) as result:
        assert result.report.is_complete
    assert newest(result.submission) == newest(await slow)
    async with await client.collect(await slow, requests=requests) as result:
        assert IDS == await ids_of(result)

    assert 2 == len(creations(emulator))


async def test_job_that_is_another_is_no_rest(client, emulator, requests):
    """An id that is taken, by what no look finds, is an error, and no endless loop."""
    emulator.script_jobs(phases=["RUNNING", "FAILED"])
    first = await client.submit(requests, model=MODEL)
    await client.jobs.wait_until_terminal(first.refs[0])
    second = await client.submit(requests, model=MODEL, on_previous="new")
    job_id = second.refs[0].job_id
    emulator.script_job(job_id, phases=["RUNNING"], fields={"model": f"{MODEL}-2"})
    # Not seen by the first look, seen by the creation, and by no look after that.
    emulator.add_fault("status", status=501, method="GET", path="*/batchInferenceJobs", times=None)
    emulator.add_fault("status", status=404, method="GET", path=f"*/{job_id}", times=1)
    with pytest.raises(JobConflictError, match="is taken by another job"):
        await client.submit(requests, model=MODEL, on_previous="new")


@pytest.mark.parametrize("end", ["EXPIRED", "FAILED"])
async def test_rows_before_the_rest_that_are_not_seen_are_not_paid_for_again(
    client, emulator, requests, end
):
    """A job that ran a rest says that there were rows before, whether or not they are seen now."""
    emulator.script_jobs(phases=["RUNNING", end])
    async with await client.run(requests, model=MODEL) as first:
        done, (ref,) = first.report.succeeded, first.submission.refs
    async with await client.run(requests, model=MODEL, on_previous="new") as second:
        assert second.report.is_complete
    output = (await client.jobs.get(ref)).output_dataset_id
    for times, grace in ((2, 0.5), (None, 0.02)):
        emulator.add_fault("status", status=404, path=f"*/{output}*", times=times)
        poll = attrs.evolve(FAST, not_found_grace=grace)
        async with await client.run(requests, model=MODEL, retry_rows=2, poll=poll) as result:
            assert (0 if times else done) == result.report.missing

    assert 2 == len(creations(emulator))


@pytest.mark.parametrize("files", [{}, {"BIJOutputSet.jsonl": b"", "error-data": b""}])
async def test_output_that_is_empty_at_first_is_not_paid_for_again(
    client, emulator, requests, files
):
    """A job that counts rows has some: its output is fetched a second time before rows run."""
    emulator.script_jobs(phases=["RUNNING", "FAILED"])
    async with await client.run(requests, model=MODEL) as first:
        done, (ref,) = first.report.succeeded, first.submission.refs
    output = (await client.jobs.get(ref)).output_dataset_id
    if files:
        emulator.add_fault("status", status=200, path="*/BIJOutputSet.jsonl", body="", times=1)
    else:
        emulator.add_fault(
            "status",
            status=200,
            path=f"*/{output}:getDownloadEndpoint",
            body={"filenameToSignedUrls": {}},
            times=1,
        )
    async with await client.run(requests, model=MODEL, on_previous="new") as second:
        assert second.report.is_complete
        job = await client.jobs.get(second.submission.refs[0])

    assert 0 < done == 30 - job.job_progress.total


async def test_rows_that_failed_for_good_are_not_sent_again(client, emulator):
    """After EXPIRED, too: only missing rows and those that failed retryably are."""
    rows = [mapping("a", "fail 400"), mapping("b", "fail 400"), *map(mapping, IDS)]
    emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
    async with await client.run(rows, model=MODEL, retry_rows=1) as result:
        job = await client.jobs.get(result.submission.refs[0])
        assert (30, 2) == (result.report.succeeded, result.report.failed)

    assert job.id.endswith("-1")
    assert job.job_progress.total == result.report.retried


@pytest.mark.parametrize("content", [None, b"{}\n"])
@pytest.mark.parametrize("is_there", [True, False])
async def test_rows_of_a_changed_file_come_from_the_server(
    client, emulator, requests, content, is_there
):
    """What was uploaded is what failed; where that is gone, too, what came is collected."""

    def overwrite(progress):
        if progress.jobs_submitted and content is None:
            requests.unlink(missing_ok=True)
        elif progress.jobs_submitted:
            requests.write_bytes(content)

    emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
    if not is_there:
        emulator.add_fault("status", status=404, path="*-0:getDownloadEndpoint", times=None)
    async with await client.run(
        requests, model=MODEL, retry_rows=1, on_progress=overwrite
    ) as result:
        report = result.report
        assert is_there == report.is_complete
        assert 0 < report.succeeded == 30 - report.missing
        assert is_there == bool(report.retried)
        assert is_there or str(requests) in report.not_retried[0]


async def test_the_last_row_of_a_file_without_a_last_line_end_is_sent_again_with_one(
    client, tmp_path
):
    """The new dataset has the same bytes, and the same id, whatever the local file ends with."""
    path = tmp_path / "requests.jsonl"
    lines = [orjson.dumps(mapping(*each)) for each in (("a",), ("b", "fail 503"))]
    path.write_bytes(b"\n".join(lines))
    async with await client.run(path, model=MODEL, retry_rows=1) as result:
        (ref,) = result.submission.refs
        job = await client.jobs.get(ref)
    (stored,) = await client.datasets.download(job.input_dataset_id, tmp_path / "stored")
    assert stored.read_bytes() == lines[1] + b"\n"


async def test_rest_that_was_uploaded_is_found_after_a_crash(client, emulator, requests):
    """Its dataset's id is made of the rows that are in it: it is not sent again."""
    emulator.script_jobs(phases=["RUNNING", "FAILED"])
    result = await client.run(requests, model=MODEL)
    await result.aclose()
    emulator.add_fault("status", status=400, method="POST", path="*/batchInferenceJobs", times=1)
    with pytest.raises(BadRequestError):
        await client.submit(requests, model=MODEL, on_previous="new")
    async with await client.run(requests, model=MODEL, on_previous="new") as result:
        assert IDS == await ids_of(result)

    assert 2 == len(sent(emulator, "POST", ":upload"))
    assert 2 == len(creations(emulator))


async def test_failed_rows_are_in_the_rest():
    """As with a job that is continued: what has no response runs again, and nothing else."""
    rows = [mapping("a", "fail 400"), mapping("b", "fail 503"), mapping("c")]
    async with (
        Emulator(speed=6000, responder=answer, assume={"some_rows_failed": "FAILED"}) as emulator,
        connect(emulator) as client,
    ):
        async with await client.run(rows, model=MODEL, on_previous="new") as first:
            assert (1, 2) == (first.report.succeeded, first.report.failed)
        async with await client.run(rows, model=MODEL, on_previous="new") as second:
            job = await client.jobs.get(second.submission.refs[0])

        assert 2 == job.job_progress.total
        assert 2 == len(creations(emulator))


async def test_failed_rows_of_a_job_with_a_rest_are_left_to_the_rest():
    """Sent as a small job first, they would be paid for once more when the rest runs."""
    tries = Counter()

    def flaky(custom_id, body):
        tries[custom_id] += 1
        if tries["r0"] == 1 and custom_id == "r0":
            raise RowFailureError("busy", 503)
        return answer(custom_id, body)

    rows = [mapping(each) for each in IDS]
    async with Emulator(speed=6000, responder=flaky) as emulator, connect(emulator) as client:
        emulator.script_jobs(phases=["RUNNING", "FAILED"])
        for on_previous in ("adopt", "new"):
            terms = {"on_previous": on_previous, "retry_rows": 2}
            async with await client.run(rows, model=MODEL, **terms) as result:
                assert (on_previous == "new") == bool(result.report.retried)
        assert result.report.is_complete

    assert {**dict.fromkeys(IDS, 1), "r0": 2} == tries


async def test_failed_job_with_all_rows_is_not_run_again(client, emulator, requests, caplog):
    """It failed when all was done: there is no rest, and nothing to be had by another try."""
    emulator.script_jobs(phases=["RUNNING", "FAILED"])
    async with await client.run(requests, model=MODEL) as first:
        (ref,) = first.submission.refs
    output = (await client.jobs.get(ref)).output_dataset_id.rpartition("/")[2]
    rows = [{"custom_id": each, "response": {"choices": [{}]}} for each in IDS]
    content = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    emulator.replace_file(output, "BIJOutputSet.jsonl", content)
    caplog.clear()
    async with await client.run(requests, model=MODEL, on_previous="new") as result:
        assert IDS == await ids_of(result)
        assert ["FAILED"] == [str(job.state) for job in result.report.jobs]

    assert 1 == len(creations(emulator))
    assert "adopted, not run again" in caplog.text
    assert "on_previous" not in caplog.text


async def test_output_of_a_failed_job_that_is_not_seen_at_first_is_not_lost(
    client, emulator, requests
):
    """It may be there a moment later, when the job has ended and when the next call looks."""
    emulator.script_jobs(phases=["RUNNING", "FAILED"])
    emulator.add_fault("status", status=404, path="*:getDownloadEndpoint", times=1)
    async with await client.run(requests, model=MODEL) as first:
        done = first.report.succeeded
        (ref,) = first.submission.refs
    output = (await client.jobs.get(ref)).output_dataset_id
    emulator.add_fault("status", status=404, method="GET", path=f"*/{output}", times=1)
    async with await client.run(requests, model=MODEL, on_previous="new") as second:
        assert second.report.is_complete
        job = await client.jobs.get(second.submission.refs[0])

    assert 0 < done < 30
    assert 30 - done == job.job_progress.total


async def test_failed_job_that_left_nothing_runs_again_as_a_whole(requests):
    """Whether a job that FAILED while it ran leaves rows is not known: without, all run."""
    async with (
        Emulator(speed=6000, responder=answer, assume={"failed_job_output": "none"}) as emulator,
        connect(emulator) as client,
    ):
        emulator.script_jobs(phases=["RUNNING", "FAILED"])
        for _ in range(2):
            result = await client.run(requests, model=MODEL, on_previous="new")
            await result.aclose()
        job = await client.jobs.get(result.submission.refs[0])

        assert result.report.is_complete
        assert 30 == job.job_progress.total


async def test_line_of_the_rest_is_not_taken_for_one_of_the_requests(client, emulator, requests):
    """The server counts in what it was given, which is not what the caller has."""
    said = {"code": "INVALID_ARGUMENT", "message": "validation failed on x.jsonl:2: no"}
    emulator.script_jobs(phases=["RUNNING", "FAILED"], status=said)
    emulator.script_jobs(phases=["RUNNING", "FAILED"], status=said)
    for _ in range(2):
        async with await client.run(requests, model=MODEL, on_previous="new") as result:
            reasons = [job.reason.rpartition(" (")[2] for job in result.report.jobs]

    assert "lines 1 to 30 of the requests; it names line 2, or one near it)" == reasons[0]
    assert "lines 1 to 30 of the requests)" == reasons[1]


async def test_input_of_the_rest_is_deleted_too(client, emulator, requests):
    """cleanup="datasets" is about all that was uploaded; what can be continued keeps its input."""
    emulator.script_jobs(phases=["RUNNING", "FAILED"])
    emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
    left = []
    terms = {"model": MODEL, "on_previous": "new"}
    for cleanup in ("keep", "datasets", "datasets"):
        async with await client.run(requests, cleanup=cleanup, **terms) as result:
            assert () == result.report.not_cleaned
        datasets = [each.id async for each in client.datasets.list()]
        left.append(sum(each.startswith("batch-") and "-out" not in each for each in datasets))

    assert result.report.is_complete
    assert [1, 2, 0] == left


async def test_rows_of_a_failed_job_are_not_sent_again(client, emulator, requests):
    """A job that failed would fail again: its rows stay missing."""
    emulator.script_jobs(phases=["FAILED"])
    async with await client.run(requests, model=MODEL, retry_rows=3) as result:
        assert 30 == result.report.missing

    assert 1 == len(creations(emulator))


async def test_everything_goes_wrong_a_little(client, emulator, requests):
    """A fifth of all requests fails, a job fails, another expires: the rest comes out right."""
    for action, share in [("status", 0.08), ("reset", 0.06), ("html", 0.03), ("drop_answer", 0.03)]:
        emulator.add_fault(action, times=None, probability=share)
    emulator.script_jobs(phases=["FAILED"])
    emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
    async with await client.run(
        requests, model=MODEL, limits=THREE, max_in_flight=1, retry_rows=1
    ) as result:
        assert IDS[10:] == await ids_of(result)
        assert IDS[:10] == [each async for each in result.missing_ids()]
    emulator.clear_faults()
    listed = [job.id async for job in client.jobs.list()]

    assert 4 == len(listed)


async def test_requests_may_change_once_the_jobs_run(client, emulator, requests):
    """A file that is written anew in the hours of a run harms neither results nor report."""

    def overwrite(progress):
        if progress.jobs_submitted:
            requests.write_bytes(orjson.dumps(mapping("other")) + b"\n")

    emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
    async with await client.run(
        requests, model=MODEL, retry_rows=2, on_progress=overwrite
    ) as result:
        assert IDS == await ids_of(result)
        assert result.report.adds_up


async def test_file_that_changes_before_it_is_sent_is_refused(client, emulator, requests):
    """The id says what the content is: other content is not uploaded under it."""

    def overwrite(progress):
        if progress.stage is RunStage.QUEUED:
            requests.write_bytes(orjson.dumps(mapping("other")) + b"\n")

    with pytest.raises(ConfigurationError, match="was changed after it was checked"):
        await client.run(requests, model=MODEL, on_progress=overwrite)
    assert [] == sent(emulator, "POST")


async def test_change_that_size_and_time_do_not_show_is_refused(client, emulator, requests):
    """What is uploaded is compared with the digest that the id was made of, while it is sent."""

    def overwrite(progress):
        if progress.stage is RunStage.QUEUED and not progress.under_way:
            before = requests.stat()
            requests.write_bytes(requests.read_bytes().replace(b"r7", b"x7"))
            os.utime(requests, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(LocalFileError, match=r"requests.jsonl' was changed while it was uploaded"):
        await client.run(requests, model=MODEL, on_progress=overwrite)
    assert ["UPLOADING"] == [str(each.state) async for each in client.datasets.list()]
    assert [] == creations(emulator)


async def test_last_line_may_lack_its_end(client, emulator, requests):
    """Such a file is sent with one, under the same id: nobody says whether the server needs it."""
    emulator.script_jobs(phases=["RUNNING"])
    whole = requests.read_bytes()
    requests.write_bytes(whole.removesuffix(b"\n"))
    first = await client.submit(requests, model=MODEL)
    requests.write_bytes(whole)

    assert first == await client.submit(requests, model=MODEL)
    assert 1 == len(sent(emulator, "POST", ":upload"))


SWITCHES = [
    {"duplicate_job_status": "400", "duplicate_dataset_status": "400"},
    {"reupload_status": "409", "upload_limit": "none"},
    {"error_shape": "string_code", "response_shape": "wrapped"},
    {"error_shape": "text", "error_file": "when_needed"},
    {"row_order": "kept", "signed_url_range": "ignore", "signed_url_hash": "none"},
    {"duplicate_ids": "accept", "row_extras": "fail_job", "row_model": "fail_row"},
    {"blank_lines": "fail_job", "byte_order_mark": "fail_job"},
    {"unset_max_duration": "null", "output_source_job": "empty"},
    {"deleted_job": "tombstone", "repeated_delete": "not_found"},
    {"deleted_job": "archived", "deletion_time": "at_once"},
]


@pytest.mark.once
@pytest.mark.parametrize("assume", SWITCHES, ids=" ".join)
async def test_nothing_depends_on_what_nobody_has_seen(requests, tmp_path, assume):
    """Whatever the real server does where nobody has looked: three jobs, each row once.

    Two runs at once, one after a deletion and one that only collects, over input that needs every
    change there is. With "new", since the deleted job may stay as a tombstone, which is a bad end.
    """
    path = tmp_path / "odd.jsonl"
    extras = {"method": "POST", "url": "/v1/chat/completions"}
    odd = [orjson.dumps({**mapping(each), **extras}) for each in IDS]
    path.write_bytes(b"\xef\xbb\xbf\n" + b"\n\n".join(odd))
    async with Emulator(speed=6000, responder=answer, assume=assume) as emulator:
        async with connect(emulator) as one, connect(emulator) as other:
            first = await one.submit(path, model=MODEL, limits=THREE)
            await one.jobs.delete(first.refs[0])
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(each.run(path, model=MODEL, limits=THREE, on_previous="new"))
                    for each in (one, other)
                ]
            for task in tasks:
                async with task.result() as result:
                    assert IDS == await ids_of(result)
                    assert result.report.adds_up
        # A job that ended before it was deleted has left its rows.
        assert len(creations(emulator)) in {3, 4}


async def test_failed_rows_of_a_failed_job_run_again_only_on_request(client):
    """Where a job with failed rows is FAILED, retry_rows sends nothing; on_previous="new" does."""
    tries = Counter()

    def flaky(custom_id, body):
        tries[custom_id] += 1
        if custom_id == "b" and tries[custom_id] == 1:
            raise RowFailureError("busy", 503)
        return answer(custom_id, body)

    assume = {"some_rows_failed": "FAILED"}
    async with (
        Emulator(speed=6000, responder=flaky, assume=assume) as emulator,
        connect(emulator) as other,
    ):
        rows = [mapping("a"), mapping("b")]
        async with await other.run(rows, model=MODEL, retry_rows=1) as result:
            assert (1, 1) == (result.report.succeeded, result.report.failed)
        async with await other.run(rows, model=MODEL, on_previous="new") as result:
            assert ["a", "b"] == await ids_of(result)
            assert result.report.is_complete
    assert Counter(a=1, b=2) == tries


async def test_submission_of_another_account_is_refused(emulator, client):
    """Jobs of another account, or on another host, are not looked for here."""
    submission = await client.submit([mapping("a")], model=MODEL)

    with pytest.raises(ConfigurationError, match="belongs to account 'other'"):
        await client.collect(attrs.evolve(submission, account_id="other"))
    async with connect(emulator, account_id=None) as unknowing:
        with pytest.raises(ConfigurationError, match="belongs to account 'other'"):
            await unknowing.collect(attrs.evolve(submission, account_id="other"))
        async with await unknowing.collect(submission) as result:
            assert result.report.is_complete
    with pytest.raises(ConfigurationError, match="belongs to another host"):
        await client.collect(attrs.evolve(submission, base_url="https://api.fireworks.ai"))


# --- Bad input, and what cannot be written ------------------------------------------------------


async def test_bad_rows_are_one_error_and_nothing_is_sent(client, emulator, requests):
    """All bad rows at once, by line, id and reason."""
    with requests.open("ab") as file:
        file.write(b'{"custom_id":"x","body":{}}\n{\n' + orjson.dumps(mapping("r0")) + b"\n")
    with pytest.raises(InputRowsError) as caught:
        await client.run(requests, model=MODEL, limits=THREE)

    assert [31, 32, 33] == [problem.line for problem in caught.value.problems]
    assert 3 == caught.value.count
    assert "line 33 (custom_id 'r0'): custom_id is that of line 1 too" in str(caught.value)
    assert [] == emulator.requests()


async def test_mappings_are_written_a_few_at_a_time(client, tmp_path, monkeypatch):
    """Rows with a megabyte each fit into memory: those before have left it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    written = []

    def rows():
        for number in range(1000):
            (path,) = (tmp_path / "tmp").glob("*/requests.jsonl")
            written.append(number - path.read_bytes().count(b"\n"))
            yield mapping(f"r{number}")

    await client.check(rows())

    assert max(written) <= 100


async def test_bad_rows_can_be_skipped(client, requests, caplog):
    """They are left out with a warning, and counted in the report."""
    with requests.open("ab") as file:
        file.write(b"{\n")
    with caplog.at_level(logging.WARNING):
        result = await client.run(requests, model=MODEL, on_bad_row="skip")

    assert (30, 1) == (result.report.succeeded, result.report.skipped)
    assert "left out: line 31: not JSON" in caplog.text
    await result.aclose()


async def test_bad_mapping_is_a_bad_row(client, emulator):
    """A mapping that cannot be written is named with the others, in their order."""
    rows = [mapping("a"), {"custom_id": "b", "body": {1}}, {"custom_id": "c"}]
    with pytest.raises(InputRowsError) as caught:
        await client.run(rows, model=MODEL)

    assert [(2, "b"), (3, "c")] == [(each.line, each.custom_id) for each in caught.value.problems]
    assert [] == emulator.requests()


async def test_only_so_many_bad_rows_are_named(client):
    """The limit is one for both kinds: mappings that cannot be written, and bad rows."""
    rows = [{"custom_id": "b", "body": {1}}, {"custom_id": "c"}, mapping("d")] * 5
    report = await client.check(rows, max_problems=3)

    assert ([1, 2, 4], 14) == ([each.line for each in report.problems], report.problem_count)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("on_bad_row", ["raise", "skip"])
async def test_no_rows_are_an_error(client, emulator, tmp_path, content, on_bad_row):
    """An empty file is a mistake, and no job is made of it."""
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)

    with pytest.raises(InputRowsError, match="there are no rows in the requests"):
        await client.run(path, model=MODEL, on_bad_row=on_bad_row)
    assert [] == emulator.requests()


async def test_requests_that_fail_send_nothing_and_leave_nothing(
    client, emulator, tmp_path, monkeypatch
):
    """What the caller's generator raises comes through as it is."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def rows():
        for each in IDS:
            yield mapping(each)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.run(rows(), model=MODEL, output=tmp_path / "out")
    assert [] == emulator.requests()
    assert [] == list(tmp_path.iterdir())


async def test_odd_rows_come_back_as_they_went(client, tmp_path):
    """A byte order mark, CRLF, a line separator, no end to the last line, odd and long ids."""
    ids = ["a", "b\u2028", "\u00e9", "\0x", "i" * 10_000, "'; DROP TABLE found; --"]
    path = tmp_path / "odd.jsonl"
    lines = [orjson.dumps(mapping(each, "x\u2028y")) for each in ids]
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    output = tmp_path / "out.jsonl"
    async with await client.run(path, model=MODEL, output=output, limits=Limits(max_rows=2)) as got:
        assert ids == await ids_of(got)
        assert "X\u2028Y" == (await got.get("i" * 10_000)).text
        assert await got.get("\ud800") is None
        assert got.report.adds_up
    assert ids == [
        orjson.loads(each)["custom_id"] for each in output.read_bytes().split(b"\n")[:-1]
    ]


async def test_missing_file_is_an_error(client, emulator, tmp_path):
    """The file is named, and the reason."""
    with pytest.raises(LocalFileError, match=r"cannot read '.*none\.jsonl': No such file"):
        await client.run(tmp_path / "none.jsonl", model=MODEL)
    assert [] == emulator.requests()


async def test_name_that_no_requests_can_have_is_an_error(client, emulator, tmp_path):
    """Also when there is an output to compare it with."""
    with pytest.raises(ConfigurationError, match="requests must be a file"):
        await client.run("a\0b.jsonl", model=MODEL, output=tmp_path / "out")
    assert [] == emulator.requests()


async def test_output_that_cannot_be_written_is_found_out_first(
    client, emulator, requests, tmp_path
):
    """Before anything is sent: a directory that is not there, a directory in its place."""
    with pytest.raises(LocalFileError, match=r"cannot write '.*out\.jsonl': No such file"):
        await client.run(requests, model=MODEL, output=tmp_path / "no" / "out.jsonl")
    with pytest.raises(LocalFileError, match="it is a directory"):
        await client.run(requests, model=MODEL, errors=tmp_path)
    with pytest.raises(ConfigurationError, match="is named twice"):
        await client.run(requests, model=MODEL, output=requests)
    with pytest.raises(ConfigurationError, match="is named twice"):
        await client.run(requests, model=MODEL, output=tmp_path / "x", errors=tmp_path / "x")
    assert [] == emulator.requests()
    assert [requests] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("size", "is_file", "limits", "named"),
    [
        (20_000, False, Limits(), "requests.jsonl"),
        (60_000, True, Limits(max_rows=900), "fireworks-batch-"),
        (10_000, True, Limits(), "index.sqlite"),
    ],
)
async def test_full_disk_is_named(
    client, tmp_path, monkeypatch, full_disk, size, is_file, limits, named
):
    """Whatever is written when it shows, the error says where, and nothing is left behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    rows = [mapping(f"r{number}") for number in range(1000)]
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    with full_disk(size), pytest.raises(LocalFileError, match="cannot write .*" + named):
        await client.run(path if is_file else rows, model=MODEL, limits=limits)

    assert [] == list((tmp_path / "tmp").iterdir())


async def test_device_is_no_output(client, emulator, requests, tmp_path):
    """It would be replaced by a file, as /dev/null for a user who may: a pipe stands for it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(LocalFileError, match="pipe': it is a pipe or a device"):
        await client.run(requests, model=MODEL, output=pipe)

    assert pipe.is_fifo()
    assert [] == emulator.requests()


async def test_output_that_is_a_link_is_written_through(client, requests, tmp_path):
    """The link stays, and the file that it names is replaced, or made; in any of two ways to it."""
    (tmp_path / "there").mkdir()
    output, errors = tmp_path / "there" / "out", tmp_path / "there" / "errors"
    output.write_text("before")
    output.chmod(0o600)
    (tmp_path / "o").symlink_to(output)
    (tmp_path / "e").symlink_to("there/errors")
    async with await client.run(
        requests, model=MODEL, output=tmp_path / "o", errors=str(tmp_path / "e")
    ):
        assert IDS == ids_in(output)
    assert b"" == errors.read_bytes()
    assert (tmp_path / "o").is_symlink()
    assert (tmp_path / "e").is_symlink()
    assert 0o600 == output.stat().st_mode & 0o777
    assert {output, errors} == {*(tmp_path / "there").iterdir()}


@pytest.mark.parametrize("kind", ["link", "hard link", "link to the directory"])
async def test_requests_are_not_overwritten_by_another_name(
    client, emulator, requests, tmp_path, kind
):
    """However the requests are called, they are no output."""
    other = tmp_path / "other.jsonl"
    match kind:
        case "link":
            other.symlink_to(requests)
        case "hard link":
            os.link(requests, other)
        case _:
            (tmp_path / "d").symlink_to(tmp_path, target_is_directory=True)
            other = tmp_path / "d" / requests.name
    before = requests.read_bytes()
    with pytest.raises(ConfigurationError, match="is named twice"):
        await client.run(requests, model=MODEL, output=other)
    with pytest.raises(ConfigurationError, match="is named twice"):
        await client.run(other, model=MODEL, errors=requests)

    assert before == requests.read_bytes()
    assert [] == emulator.requests()


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("a\0b", ConfigurationError, "must be a path"),
        ("", ConfigurationError, "must be a path"),
        (b"bytes", ConfigurationError, "must be a path"),
        ("x" * 300, LocalFileError, "File name too long"),
        ("requests.jsonl/out", LocalFileError, "Not a directory"),
        ("loop", LocalFileError, "symbolic links"),
        ("nowhere", LocalFileError, "No such file"),
    ],
)
async def test_name_that_no_file_can_have_is_found_out_first(
    client, emulator, requests, tmp_path, monkeypatch, name, error, text
):
    """Before anything is sent, and not after the rows were paid for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("not/there")
    with pytest.raises(error, match=text):
        await client.run(requests, model=MODEL, output=name)
    assert [] == emulator.requests()


async def test_output_is_replaced_only_by_whole_results(client, emulator, requests, tmp_path):
    """A run that ends with an error leaves the file of the run before as it was."""
    output = tmp_path / "out.jsonl"
    output.write_text("before")
    emulator.add_fault("status", status=412, path="*:getDownloadEndpoint", times=1)
    with pytest.raises(AccountSuspendedError):
        await client.run(requests, model=MODEL, output=output)

    assert "before" == output.read_text()
    assert {requests, output} == {*tmp_path.iterdir()}
    async with await client.run(requests, model=MODEL, output=output):
        assert IDS == ids_in(output)


@pytest.mark.parametrize("model", [None, ""])
async def test_run_without_a_model_is_told_what_it_needs(client, model):
    """A run has no continued_from=, which would do for a job."""
    with pytest.raises(ConfigurationError) as no:
        await client.run([mapping("a")], model=model)

    wanted = f"a run needs model=, as in '{MODEL}', not {model!r}"
    assert wanted == str(no.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"model": ""},
        {"inference_parameters": {"max_tokens": "many"}},
        {"inference_parameters": {"maxTokens": 5}},
        {"max_job_duration": -1},
        {"on_previous": "retry"},
        {"limits": 5},
        {"retry_rows": -1},
        {"on_progress": asyncio.sleep},
    ],
)
async def test_bad_argument_is_refused_before_anything_is_read(client, emulator, tmp_path, wrong):
    """The requests are not even looked for."""
    with pytest.raises(ConfigurationError):
        await client.run(tmp_path / "none.jsonl", **{"model": MODEL, **wrong})
    assert [] == emulator.requests()


# --- Giving up, and cleaning up -----------------------------------------------------------------


async def given_up(client, requests, emulator, **options):
    """A run of three jobs that is cancelled when all of them are under way."""
    emulator.script_jobs(times=None, phases=["RUNNING"], time_limit_seconds=10**7)
    under_way = asyncio.Event()

    def tell(progress):
        if progress.jobs_submitted == 3:
            under_way.set()

    options["on_progress"] = tell
    task = asyncio.create_task(client.run(requests, model=MODEL, limits=THREE, **options))
    await under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


async def test_cancelled_run_leaves_its_jobs(client, emulator, requests):
    """They run on; the cancellation has a note that says so."""
    error = await given_up(client, requests, emulator)

    assert [] == sent(emulator, "DELETE")
    assert error.__notes__[0].startswith("jobs run on, and the same call finds them again: ")


async def test_cancelled_run_deletes_its_jobs_when_asked_to(client, emulator, requests):
    """All three, although the task is cancelled; the note names them."""
    error = await given_up(client, requests, emulator, on_abort="delete")
    deleted = {each.path.rpartition("/")[2] for each in sent(emulator, "DELETE")}

    assert {*creations(emulator)} == deleted
    assert error.__notes__[0].startswith("jobs were deleted (on_abort='delete'): ")


async def test_run_can_be_cancelled_at_any_moment(client, requests, tmp_path, monkeypatch):
    """In each of its steps: it ends at once, and leaves no file behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    for turns in range(0, 150, 3):
        task = asyncio.create_task(
            client.run(
                map(mapping, IDS), model=MODEL, limits=THREE, output=tmp_path / "out", name="x"
            )
        )
        for _ in range(turns):
            await asyncio.sleep(0 if turns % 2 else 0.001)
        task.cancel()
        result = await asyncio.wait_for(asyncio.shield(task), 10) if task.done() else None
        if result is None:
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await result.aclose()
        assert [] == list((tmp_path / "tmp").glob("fireworks-batch-*"))

    assert {"requests.jsonl", "tmp"} <= {each.name for each in tmp_path.iterdir()}
    assert {"requests.jsonl", "tmp", "out"} >= {each.name for each in tmp_path.iterdir()}


async def test_job_that_cannot_be_deleted_is_named(client, emulator, requests):
    """What runs on is said, and why."""
    emulator.add_fault("status", status=400, method="DELETE", times=1)
    error = await given_up(client, requests, emulator, on_abort="delete")

    assert "jobs could not be deleted and may run on: " in error.__notes__[0]
    assert 3 == len(sent(emulator, "DELETE"))


async def test_job_of_somebody_else_is_not_deleted(client, emulator, requests):
    """An id that is taken by another job is an error, and no reason to stop that one."""
    (ref,) = (await client.submit(requests, model=MODEL)).refs
    emulator.script_job(ref.job_id, phases=["RUNNING"], fields={"model": f"{MODEL}-2"})
    emulator.add_fault("status", status=501, method="GET", path="*/batchInferenceJobs", times=None)
    emulator.add_fault("status", status=404, method="GET", path=f"*/{ref.job_id}", times=1)
    with pytest.raises(JobConflictError):
        await client.run(requests, model=MODEL, on_abort="delete")

    assert [] == sent(emulator, "DELETE")


async def test_first_failure_ends_the_run_and_is_raised_itself(client, emulator, requests):
    """No group of exceptions: the error of the one request that failed for good."""
    emulator.add_fault("status", status=400, method="POST", path="*/batchInferenceJobs", times=1)
    with pytest.raises(BadRequestError):
        await client.run(requests, model=MODEL, limits=THREE)


async def test_inputs_are_deleted_when_all_results_are_here(client, emulator, requests, tmp_path):
    """Input datasets only: outputs are what a repeated call finds."""
    output = tmp_path / "out.jsonl"
    async with await client.run(
        requests, model=MODEL, limits=THREE, output=output, cleanup="datasets"
    ) as result:
        deleted = {each.path.rpartition("/")[2] for each in sent(emulator, "DELETE")}
        assert {*map(input_of, result.submission.shards)} == deleted
        assert () == result.report.not_cleaned
    async with await client.run(requests, model=MODEL, limits=THREE, cleanup="datasets") as again:
        assert IDS == await ids_of(again)

    assert 3 == len(creations(emulator))


@pytest.mark.parametrize("end", ["FAILED", "CANCELLED"])
async def test_input_of_a_job_that_failed_is_kept(client, emulator, requests, end):
    """Another process may run its rows again meanwhile: they would lose their input."""
    emulator.script_jobs(phases=[end])
    async with await client.run(requests, model=MODEL, cleanup="datasets"):
        assert [] == sent(emulator, "DELETE")
    async with await client.run(
        requests, model=MODEL, cleanup="datasets", on_previous="new"
    ) as second:
        assert second.report.is_complete

    # The first input, and that of the attempt after it.
    assert 2 == len(sent(emulator, "POST", ":upload"))
    assert 2 == len(sent(emulator, "DELETE"))


async def test_input_of_a_job_whose_output_is_gone_is_kept(client, emulator, requests):
    """Its results are not here, whatever it says of itself."""
    emulator.add_fault("status", status=404, path="*:getDownloadEndpoint", times=None)
    async with await client.run(requests, model=MODEL, cleanup="datasets") as result:
        assert 30 == result.report.missing

    assert [] == sent(emulator, "DELETE")


async def test_input_of_an_unfinished_job_is_kept(client, emulator, requests):
    """Its rest can still be continued, and runs on that input."""
    emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
    async with await client.run(requests, model=MODEL, cleanup="datasets") as first:
        assert first.report.missing
    assert [] == sent(emulator, "DELETE")
    async with await client.run(requests, model=MODEL, cleanup="datasets", retry_rows=1) as second:
        assert second.report.is_complete

    # The first input, and that of the attempt after it.
    assert 2 == len(sent(emulator, "POST", ":upload"))
    assert 2 == len(sent(emulator, "DELETE"))


async def test_dataset_that_cannot_be_deleted_is_reported(client, emulator, requests):
    """Results are here, so it is no error; the report names it."""
    emulator.add_fault("status", status=400, method="DELETE", times=1)
    async with await client.run(requests, model=MODEL, cleanup="datasets") as result:
        assert (input_of(result.submission.shards[0]),) == result.report.not_cleaned


async def test_results_go_with_their_result(client, requests):
    """Closed, a result has no rows any more, and says so; closing twice does nothing."""
    result = await client.run(requests, model=MODEL)
    directory = result._finalizer.peek()[2][1].path
    assert directory.is_dir()
    await result.aclose()
    await result.aclose()

    assert not directory.exists()
    with pytest.raises(ClientStateError, match="is closed"):
        await result.get("r1")


async def test_result_that_nobody_holds_leaves_nothing(client, requests):
    """Its rows are removed without a word when it is forgotten."""
    result = await client.run(requests, model=MODEL)
    directory = result._finalizer.peek()[2][1].path
    del result

    assert not directory.exists()


async def test_temporary_files_go_with_a_failed_run(
    client, emulator, requests, tmp_path, monkeypatch
):
    """An error or a cancellation leaves no file behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    emulator.add_fault("status", status=400, path="*:upload", times=1)
    with pytest.raises(BadRequestError):
        await client.run(requests, model=MODEL, limits=THREE)

    assert [] == list((tmp_path / "tmp").glob("fireworks-batch-*"))


async def test_outage_does_not_end_a_run(client, emulator, requests):
    """A server that is down for longer than a call is repeated costs time and nothing else."""
    for path in ("*/batchInferenceJobs", "*:upload", "*:getDownloadEndpoint"):
        emulator.add_fault("status", status=500, path=path, times=25)
    async with await client.run(requests, model=MODEL) as result:
        assert IDS == await ids_of(result)

    assert 1 == len(creations(emulator))


async def test_outage_while_the_account_is_looked_up_does_not_end_a_run(emulator, requests):
    """Nor does it end a collection in another process."""
    async with connect(emulator, account_id=None) as client:
        emulator.add_fault("status", status=500, path="*/accounts", times=25)
        async with await client.run(requests, model=MODEL) as result:
            submission = result.submission
    async with connect(emulator, account_id=None) as client:
        emulator.add_fault("status", status=500, path="*/accounts", times=25)
        async with await client.collect(submission) as result:
            assert result.report.is_complete


async def test_outage_beyond_the_budget_is_raised(client, emulator, requests):
    """The last error is raised when failure_budget is spent, and the same call can be made."""
    emulator.add_fault("status", status=500, path="*/batchInferenceJobs*", times=None)
    with pytest.raises(ServerError):
        await client.run(requests, model=MODEL, poll=attrs.evolve(FAST, failure_budget=0.05))
    emulator.clear_faults()
    async with await client.run(requests, model=MODEL) as result:
        assert result.report.is_complete


async def test_report_has_the_tokens_of_each_job_and_of_all(requests):
    """As each job's own counters say."""
    async with Emulator(speed=6000) as emulator, connect(emulator) as client:
        async with await client.run(requests, model=MODEL, limits=THREE) as result:
            report = result.report
        jobs = [(await client.jobs.get(each.job_id)).job_progress for each in report.jobs]
    assert MODEL == report.model
    assert 3 == len(jobs)
    assert [each.input_tokens for each in jobs] == [each.input_tokens for each in report.jobs]
    assert sum(each.input_tokens for each in jobs) == report.input_tokens > 0
    assert sum(each.output_tokens for each in jobs) == report.output_tokens > 0
    assert 0 == report.cached_tokens


async def test_tokens_of_rows_that_count_none_are_not_known(client, requests):
    """The responses here have no usage: that is no reason to report zero tokens."""
    async with await client.run(requests, model=MODEL) as result:
        report = result.report
    assert report.is_complete
    assert (None, None, None) == (report.input_tokens, report.output_tokens, report.cached_tokens)
    assert [None] == [job.input_tokens for job in report.jobs]


async def test_tokens_of_rows_that_were_read_are_not_zero(requests):
    """An EXPIRED job with rows in its output whose counters say nothing: they are late."""
    assume = {"ended_counters": "zero"}
    async with Emulator(speed=6000, assume=assume) as emulator, connect(emulator) as client:
        emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
        async with await client.run(requests, model=MODEL) as result:
            report = result.report
    assert report.succeeded > 0
    assert [("EXPIRED", None)] == [(str(job.state), job.input_tokens) for job in report.jobs]
