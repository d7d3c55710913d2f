"""Uses of the public API, checked by mypy and pyright and never run."""

import asyncio
import csv
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, assert_type

import aiohttp
import attrs

from fireworks_batch import (
    JOB_TIME_LIMIT,
    BatchClient,
    BatchInferenceJob,
    CheckReport,
    Dataset,
    FireworksBatchError,
    FleetProgress,
    InputRowsError,
    JobFailedError,
    JobOutcome,
    JobPhase,
    JobProgress,
    JobRef,
    JobSnapshot,
    JobState,
    Lifecycle,
    Limits,
    LocalFileError,
    PollPolicy,
    RateLimitError,
    ResponseDecodeError,
    ResultRow,
    ResultRowsError,
    ResultsReport,
    RetryPolicy,
    RowError,
    RowProblem,
    RunReport,
    StatusCode,
    Submission,
    WaitError,
    WaitTimeoutError,
    chat,
    chats,
    to_dict,
)
from fireworks_batch.typing import (
    ApiKey,
    BatchResult,
    ContentPart,
    DatasetLike,
    Datasets,
    JobFleet,
    JobLike,
    JobOutcomes,
    JobResults,
    Jobs,
    JobWait,
    Listing,
    Message,
    Requests,
)


async def key_from_a_vault() -> str:
    """Keys rotate."""
    return "fw_key"


def clients(session: aiohttp.ClientSession, context: ssl.SSLContext) -> list[BatchClient]:
    """Everything that a client can be made of."""
    return [
        BatchClient(),
        BatchClient(api_key="fw_key", account_id="acme", base_url="https://api.example"),
        BatchClient(api_key=lambda: "fw_key", session=session),
        BatchClient(api_key=key_from_a_vault, proxy=False, ssl=context),
        BatchClient(proxy="http://proxy.example:8080", ssl=False, headers={"X-Team": "eval"}),
        BatchClient(poll=PollPolicy(initial_interval=5), retry=RetryPolicy(max_attempts=2)),
        BatchClient(request_timeout=10, connect_timeout=2.5, transfer_timeout=60),
        BatchClient(max_connections=5, max_requests_per_minute=10, max_body_bytes=1 << 20),
        BatchClient(trace_configs=[aiohttp.TraceConfig()]),
    ]


async def read(client: BatchClient) -> None:
    """One job, in all the ways to name it."""
    job = await client.jobs.get("nightly-eval", read_mask=["state", "job_progress.percent"])
    assert_type(job, BatchInferenceJob)
    await client.jobs.get(job)
    ref = client.jobs.ref("accounts/acme/batchInferenceJobs/nightly-eval")
    assert_type(ref, JobRef)
    await client.jobs.get(JobRef.from_json(ref.to_json()))
    assert_type(client.account_id, str | None)


async def annotated(
    client: BatchClient, job: JobLike, dataset: DatasetLike, requests: Requests, key: ApiKey
) -> None:
    """What a user's own function may be given, and what the client gives."""
    assert_type(client.jobs, Jobs)
    assert_type(client.datasets, Datasets)
    assert_type(client.jobs.list(), Listing[BatchInferenceJob])
    assert_type(client.datasets.list(), Listing[Dataset])
    assert_type(client.jobs.as_completed([job]), JobOutcomes)
    BatchClient(api_key=key)
    await client.datasets.get(dataset)
    await client.run(requests, model="m")


async def pieces() -> AsyncIterator[bytes]:
    """What somebody makes while it is uploaded."""
    yield b"{}\n"


async def transfer(client: BatchClient, path: Path) -> None:
    """Datasets, up and down."""
    assert_type(await client.datasets.upload(path), Dataset)
    await client.datasets.upload("rows.jsonl", dataset_id="reviews", reuse=True)
    await client.datasets.upload(b"{}", limits=Limits(max_upload_bytes=10), on_progress=print)
    dataset = await client.datasets.upload(pieces())
    assert_type(await client.datasets.download(dataset, path), tuple[Path, ...])
    await client.datasets.download("out", "results", lineage=True, on_progress=print)


async def iterate(client: BatchClient) -> None:
    """Progress along the way."""
    wait = client.jobs.wait_until_terminal("nightly-eval", timeout=3600, changes_only=True)
    async for snapshot in wait:
        assert_type(snapshot, JobSnapshot)
        assert_type(snapshot.percent, float | None)
        assert_type(snapshot.eta, float | None)
        assert_type(snapshot.previous_state, JobState | None)
        assert_type(snapshot.observed_at, datetime)
        assert_type(snapshot.problems, tuple[str, ...])
    assert_type(wait.last_snapshot, JobSnapshot | None)
    assert_type(wait.last_error, FireworksBatchError | None)
    assert_type(wait.next_poll, datetime | None)
    assert_type(wait.failures, int)
    assert_type(wait.ref, JobRef | None)
    await wait.aclose()


async def many(client: BatchClient, job: BatchInferenceJob, ref: JobRef) -> None:
    """Many jobs, named in any way."""
    fleet = client.jobs.watch(["nightly-eval", job, ref], timeout=60, changes_only=True)
    assert_type(fleet, JobFleet)
    async for snapshot in fleet:
        assert_type(snapshot, JobSnapshot)
        assert_type(snapshot.error, FireworksBatchError | None)
    fleet.add("another")
    assert_type(fleet.refs, tuple[JobRef, ...])
    assert_type(fleet.outcomes, dict[str, JobOutcome])
    assert_type(fleet.progress, FleetProgress)
    assert_type(fleet.progress.eta, float | None)
    assert_type(await fleet, dict[str, JobOutcome])
    assert_type(await asyncio.wait_for(client.jobs.watch(iter([ref])), 9), dict[str, JobOutcome])
    assert_type(await asyncio.create_task(client.jobs.watch([])), dict[str, JobOutcome])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.jobs.watch([ref]), name="fleet")
    assert_type(task.result(), dict[str, JobOutcome])
    first, second = await asyncio.gather(fleet, client.jobs.wait_until_terminal(ref))
    assert_type(first, dict[str, JobOutcome])
    assert_type(second, BatchInferenceJob)
    async for outcome in client.jobs.as_completed({ref}, poll=PollPolicy()):
        assert_type(outcome, JobOutcome)
        assert_type(outcome.unwrap(), BatchInferenceJob)
        assert_type(outcome.error, FireworksBatchError | None)
    await fleet.aclose()


async def await_in_every_way(client: BatchClient) -> None:
    """A wait is a coroutine and an async iterator."""

    def wait() -> JobWait:
        return client.jobs.wait_until_terminal("nightly-eval", timeout=None, poll=PollPolicy())

    assert_type(await wait(), BatchInferenceJob)
    assert_type((await wait()).raise_for_outcome(), BatchInferenceJob)
    assert_type(await asyncio.wait_for(wait(), 60), BatchInferenceJob)
    assert_type(await asyncio.create_task(wait()), BatchInferenceJob)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(wait(), name="nightly-eval")
    assert_type(task.result(), BatchInferenceJob)
    first, second = await asyncio.gather(wait(), wait())
    assert_type(first, BatchInferenceJob)
    assert_type(second, BatchInferenceJob)
    _coroutine: Coroutine[Any, Any, BatchInferenceJob] = wait()
    _iterator: AsyncIterator[JobSnapshot] = wait()


def run(client: BatchClient) -> BatchInferenceJob:
    """Without a loop of one's own."""
    return asyncio.run(client.jobs.wait_until_terminal("nightly-eval", timeout=JOB_TIME_LIMIT))


def words(job: BatchInferenceJob) -> None:
    """Models and enumerations."""
    assert_type(job.state, JobState)
    assert_type(job.state.phase, JobPhase)
    assert_type(job.state.wire, str)
    assert_type(job.is_terminal, bool)
    assert_type(job.duration, float | None)
    assert_type(job.max_job_duration, float | None)
    assert_type(job.job_progress, JobProgress | None)
    assert_type(job.lifecycle, Lifecycle | None)
    assert_type(to_dict(job), dict[str, Any])
    if job.status is not None:
        assert_type(job.status.code, StatusCode)
    assert_type(attrs.evolve(PollPolicy(), max_interval=30), PollPolicy)


def errors(error: FireworksBatchError) -> None:
    """What errors carry."""
    assert_type(error.ref, JobRef | None)
    if isinstance(error, WaitError):
        assert_type(error.last_snapshot, JobSnapshot | None)
    if isinstance(error, JobFailedError):
        assert_type(error.job, BatchInferenceJob)
    if isinstance(error, RateLimitError):
        assert_type(error.retry_after, float | None)
    if isinstance(error, ResponseDecodeError):
        assert_type(error.problems, tuple[str, ...])
    if isinstance(error, WaitTimeoutError):
        _timeout: TimeoutError = error
    if isinstance(error, LocalFileError):
        assert_type(error.errno, int | None)


@attrs.frozen
class Verdict:
    """What somebody makes of a response."""

    score: float


async def results(client: BatchClient, job: BatchInferenceJob) -> None:
    """Rows, decoded or not."""
    async with client.results(job, expected=["a"], lineage=True) as rows:
        async for row in rows:
            assert_type(row, ResultRow[None])
            assert_type(row.custom_id, str | None)
            assert_type(row.response, dict[str, Any] | None)
            assert_type(row.error, RowError | None)
            assert_type(row.text, str | None)
            assert_type(row.raw, bytes)
        assert_type(rows.report, ResultsReport)
        assert_type(rows.job, BatchInferenceJob)
    async with client.results("nightly", decode=Verdict, expected=Path("input.jsonl")) as typed:
        assert_type(typed, JobResults[Verdict])
        assert_type(await typed.ordered({"a": 1}), list[ResultRow[Verdict]])
    async with client.results("nightly", decode=lambda body: len(body["choices"])) as sizes:
        assert_type(await anext(sizes), ResultRow[int])
        assert_type((await anext(sizes)).output, int | None)


def gaps(error: ResultRowsError) -> None:
    """What is missing."""
    assert_type(error.missing_ids, tuple[str, ...])


async def from_requests_to_results(client: BatchClient) -> None:
    """Check, submit, collect, run; results by iteration and by id."""
    rows = [{"custom_id": "a", "body": {"messages": []}}]
    report = await client.check("requests.jsonl", limits=Limits(max_rows=5))
    assert_type(report, CheckReport)
    assert_type(report.problems, tuple[RowProblem, ...])
    await client.submit(rows, model="m", on_bad_row="ignore")  # type: ignore[arg-type] # is refused
    submission = await client.submit(rows, model="accounts/fireworks/models/demo-8b")
    assert_type(submission, Submission)
    assert_type(submission.refs, tuple[JobRef, ...])
    assert_type(Submission.from_json(submission.to_json()), Submission)
    async with await client.collect(submission, requests=iter(rows)) as result:
        assert_type(result, BatchResult[None])
        assert_type(result.report, RunReport)
        assert_type(result.raise_for_failures(), BatchResult[None])
    result = await client.run(
        (row for row in rows),
        model="accounts/fireworks/models/demo-8b",
        inference_parameters={"max_tokens": 5},
        output="results.jsonl",
        on_progress=lambda progress: print(progress.percent),  # noqa: T201
    )
    async for row in result:
        assert_type(row.custom_id, str | None)
        assert_type(row.text, str | None)
    async for custom_id in result.missing_ids():
        assert_type(custom_id, str)
    typed = await client.run(rows, model="m", decode=Verdict, before_submit=print)
    assert_type(typed, BatchResult[Verdict])
    assert_type([row.output async for row in typed], list[Verdict | None])
    assert_type(await client.collect(submission, decode=Verdict), BatchResult[Verdict])
    found = await result.get("a")
    if found is not None:
        assert_type(found.is_retryable, bool)


def errors_of_rows(error: InputRowsError | ResultRowsError) -> None:
    """What they carry."""
    if isinstance(error, InputRowsError):
        assert_type(error.problems, tuple[RowProblem, ...])
        assert_type(error.count, int)
    else:
        assert_type(error.report, RunReport | None)


async def requests(client: BatchClient, path: Path) -> None:
    """Requests of prompts, messages, images and records."""
    assert_type(chat("a", "Hello.", images=[path, "https://x.example/1.png"]), dict[str, Any])
    messages: list[Message] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello."}]},
    ]
    part: ContentPart = {"type": "image_url", "image_url": {"url": "data:,"}}
    rows = [
        chat("a", messages, tools=[{"type": "function"}], response_format={"type": "json_object"}),
        chat("b", [{"role": "user", "content": [part]}], temperature=0, seed=7, stop=["END"]),
        chat("c", [{"role": "pirate", "content": "x"}]),  # type: ignore[typeddict-item] # refused
        chat("d", "x", max_tokens="5"),  # type: ignore[arg-type] # is refused
    ]
    await client.check(rows)
    records = [{"text": "one", "stars": 5}]
    made = chats(records, "{text}", id_column="id", max_tokens=5)
    assert_type(made, Iterator[dict[str, Any]])
    await client.check(made)
    with path.open(newline="") as file:
        await client.check(chats(csv.DictReader(file), "{text}"))
