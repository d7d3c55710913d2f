"""Spans and metrics, by a real OpenTelemetry SDK, of what a real client does."""

import asyncio
import contextlib
import gc
import inspect
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Coroutine
from time import time_ns

import attrs
import pytest
from clients import FAST, client_of
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from fireworks_batch import (
    BatchClient,
    ClientStateError,
    ConfigurationError,
    Limits,
    NotFoundError,
    PollFailureError,
    WaitTimeoutError,
)
from fireworks_batch.emulator import Emulator
from fireworks_batch.integrations import otel
from fireworks_batch.typing import Datasets, JobFleet, Jobs, JobWait

MODEL = "accounts/fireworks/models/demo-8b"
HELD = [{"state": "RUNNING", "seconds": 10**7}]


class Telemetry:
    """A real SDK that keeps what it gets."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer = self.tracers.get_tracer("test")

    def traced(self, client: BatchClient) -> BatchClient:
        return otel.trace(client, tracer_provider=self.tracers, meter_provider=self.meters)

    @property
    def spans(self):
        """The spans that have ended, in this order."""
        return self._exporter.get_finished_spans()

    @property
    def span(self):
        """The only span."""
        (span,) = self.spans
        return span

    def metric(self, name: str, key: str = "gen_ai.operation.name") -> Counter[str]:
        """The sums of a counter, by one of its dimensions."""
        found: Counter[str] = Counter()
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        for point in metric.data.data_points:
                            found[point.attributes[key]] += point.value
        return +found


@pytest.fixture
def telemetry():
    """A real SDK that keeps what it gets."""
    return Telemetry()


@pytest.fixture
def traced(client, telemetry):
    """The usual client, traced."""
    return telemetry.traced(client)


def polls_of(emulator, job_id: str, since: int = 0) -> list:
    """The requests for one job in the log."""
    path = f"/batchInferenceJobs/{job_id}"
    asked = emulator.requests(since)
    return [one for one in asked if one.method == "GET" and one.path.endswith(path)]


def requests(*ids: str) -> list[dict]:
    """Requests with these ids."""
    return [
        {"custom_id": each, "body": {"messages": [{"role": "user", "content": f"Say {each}."}]}}
        for each in ids
    ]


# --- One wait -----------------------------------------------------------------------------------


async def test_a_wait_is_one_span_named_by_the_conventions(emulator, traced, telemetry):
    """With the model, the job, its outcome, its rows and its tokens."""
    emulator.script_job("eval", rows=10, failed_rows=2)
    job = await traced.jobs.wait_until_terminal("eval")
    progress = job.job_progress
    span = telemetry.span
    assert span.name == f"wait_for_job {job.model}"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "gen_ai.provider.name": "fireworks",
        "gen_ai.operation.name": "wait_for_job",
        "gen_ai.request.model": job.model,
        "gen_ai.usage.input_tokens": progress.input_tokens,
        "gen_ai.usage.output_tokens": progress.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": progress.cached_input_token_count,
        "fireworks.job.id": "eval",
        "fireworks.job.state": "COMPLETED",
        "fireworks.rows.succeeded": 8,
        "fireworks.rows.failed": 2,
        "fireworks.polls": len(polls_of(emulator, "eval")),
        "fireworks.failed_polls": 0,
    }
    assert progress.input_tokens
    assert progress.output_tokens


async def test_a_span_is_made_at_the_end_with_its_true_start(emulator, traced, telemetry):
    """It began before the first snapshot, and nothing was exported before the last one."""
    emulator.script_job("eval", phases=HELD)
    wait = traced.jobs.wait_until_terminal("eval")
    called = time_ns()
    await anext(wait)
    first = time_ns()
    assert not telemetry.spans
    emulator.script_job("eval", phases=["COMPLETED"])
    while not (await anext(wait)).job.is_terminal:
        assert not telemetry.spans
    assert called <= telemetry.span.start_time <= first < telemetry.span.end_time <= time_ns()


async def test_the_parent_is_the_span_of_the_call(emulator, traced, telemetry):
    """Also if the wait is awaited later, inside another span."""
    emulator.script_job("eval")
    with telemetry.tracer.start_as_current_span("caller"):
        wait = traced.jobs.wait_until_terminal("eval")
    with telemetry.tracer.start_as_current_span("other"):
        await wait
    caller, span, _ = telemetry.spans
    assert span.parent.span_id == caller.context.span_id
    assert span.context.trace_id == caller.context.trace_id


async def test_without_a_current_span_a_wait_is_a_trace_of_its_own(emulator, traced, telemetry):
    """Its span has no parent."""
    emulator.script_job("eval")
    await traced.jobs.wait_until_terminal("eval")
    assert telemetry.span.parent is None


async def test_a_failed_job_is_no_failed_wait(emulator, traced, telemetry):
    """The state is in the span; the status of the span is that of the call."""
    emulator.script_job("eval", phases=["VALIDATING", "FAILED"])
    await traced.jobs.wait_until_terminal("eval")
    assert telemetry.span.attributes["fireworks.job.state"] == "FAILED"
    assert telemetry.span.status.status_code is StatusCode.UNSET


async def test_an_error_is_in_the_span(emulator, traced, telemetry):
    """With its class and its text; the user gets the error as without a span."""
    emulator.script_job("eval", phases=HELD)
    with pytest.raises(WaitTimeoutError) as raised:
        await traced.jobs.wait_until_terminal("eval", timeout=0.02)
    span = telemetry.span
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == str(raised.value)
    assert span.attributes["error.type"] == "WaitTimeoutError"
    assert span.attributes["fireworks.job.state"] == "RUNNING"
    assert "fireworks.given_up" not in span.attributes


@pytest.mark.parametrize("form", ["absent", "accounts/acme/batchInferenceJobs/absent", "ref"])
async def test_a_job_that_was_never_seen_is_named(emulator, traced, telemetry, form):
    """By its id, in whatever form it was given."""
    job = traced.jobs.ref("absent") if form == "ref" else form
    with pytest.raises(NotFoundError):
        await traced.jobs.wait_until_terminal(job)
    assert telemetry.span.attributes["fireworks.job.id"] == "absent"
    assert telemetry.span.attributes["error.type"] == "NotFoundError"
    polls = len(polls_of(emulator, "absent"))
    assert telemetry.span.attributes["fireworks.polls"] == polls
    assert telemetry.span.attributes["fireworks.failed_polls"] == polls


async def test_a_wait_that_is_cancelled_was_given_up(emulator, traced, telemetry):
    """The span ends with the cancellation; it is no error."""
    emulator.script_job("eval", phases=HELD)
    task = asyncio.create_task(traced.jobs.wait_until_terminal("eval"))
    while not polls_of(emulator, "eval"):
        await asyncio.sleep(0.001)
    before = time_ns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    span = telemetry.span
    assert span.attributes["fireworks.given_up"] is True
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in span.attributes
    assert span.start_time < before <= span.end_time


async def test_a_loop_that_is_left_ends_at_its_newest_snapshot(emulator, traced, telemetry):
    """The span is made as soon as the event loop runs again."""
    emulator.script_job("eval", phases=HELD)
    async for _ in traced.jobs.wait_until_terminal("eval"):
        seen = time_ns()
        break
    assert not telemetry.spans
    left = time_ns()
    await asyncio.sleep(0)
    span = telemetry.span
    assert span.attributes["fireworks.given_up"] is True
    assert span.end_time <= seen < left


async def test_a_loop_that_is_left_after_the_last_snapshot_is_whole(emulator, traced, telemetry):
    """Nothing was given up."""
    emulator.script_job("eval")
    async for snapshot in traced.jobs.wait_until_terminal("eval"):
        if snapshot.job.is_terminal:
            break
    await asyncio.sleep(0)
    assert "fireworks.given_up" not in telemetry.span.attributes


async def test_a_loop_that_is_cancelled_was_given_up(emulator, traced, telemetry):
    """At once: no garbage collector is waited for."""
    emulator.script_job("eval", phases=HELD)

    async def follow():
        async for _ in traced.jobs.wait_until_terminal("eval"):
            pass

    task = asyncio.create_task(follow())
    while len(polls_of(emulator, "eval")) < 3:
        await asyncio.sleep(0.001)
    before = time_ns()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert telemetry.span.attributes["fireworks.given_up"] is True
    assert before <= telemetry.span.end_time <= time_ns()


async def test_a_loop_that_goes_on_after_a_cancelled_step_has_one_more_span(
    emulator, traced, telemetry
):
    """Each poll is counted once."""
    emulator.script_job("eval", phases=HELD)
    emulator.add_fault("status", status=503, path="*/eval", after=1, times=2)
    emulator.add_fault("hang", path="*/eval", after=1)
    wait = traced.jobs.wait_until_terminal("eval")
    await anext(wait)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(wait), 0.1)
    assert wait.failures == 2
    assert (await anext(wait)).failures == 2
    emulator.script_job("eval", phases=["COMPLETED"])
    while not (await anext(wait)).job.is_terminal:
        pass
    asked = [one for one in polls_of(emulator, "eval") if one.fault != "hang"]
    assert telemetry.metric("fireworks.polls") == {"wait_for_job": len(asked)}
    first, second = telemetry.spans
    assert first.attributes["fireworks.given_up"] is True
    assert first.attributes["fireworks.failed_polls"] == 2
    assert second.attributes["fireworks.job.state"] == "COMPLETED"
    assert second.attributes["fireworks.failed_polls"] == 0
    assert telemetry.metric("fireworks.failed_polls") == {"wait_for_job": 2}


def test_a_wait_that_outlives_its_loop_has_a_span(telemetry):
    """It is made at once when the wait is dropped."""

    async def left():
        async with Emulator(speed=60_000, account_id="acme") as emulator:
            emulator.script_job("eval", phases=HELD)
            async with client_of(emulator) as client:
                wait = telemetry.traced(client).jobs.wait_until_terminal("eval")
                await anext(wait)
                return wait

    wait = asyncio.run(left())
    assert not telemetry.spans
    del wait
    assert telemetry.span.attributes["fireworks.given_up"] is True


async def test_a_wait_that_is_closed_was_given_up(emulator, traced, telemetry):
    """By ``aclose``, and only once."""
    emulator.script_job("eval", phases=HELD)
    wait = traced.jobs.wait_until_terminal("eval")
    await anext(wait)
    await wait.aclose()
    assert telemetry.span.attributes["fireworks.given_up"] is True
    with pytest.raises(ClientStateError):
        await wait
    del wait
    await asyncio.sleep(0)
    assert len(telemetry.spans) == 1


async def test_a_wait_that_is_never_used_has_no_span(traced, telemetry):
    """Nothing was sent; the warning is that of the wait itself."""
    with pytest.warns(RuntimeWarning, match=r"'eval'.* was never awaited"):
        traced.jobs.wait_until_terminal("eval")
    await asyncio.sleep(0)
    assert not telemetry.spans


async def test_a_task_that_is_cancelled_before_it_runs_has_no_span(traced, telemetry):
    """Nothing was sent, and there is no warning."""
    task = asyncio.create_task(traced.jobs.wait_until_terminal("eval"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    await asyncio.sleep(0)
    assert not telemetry.spans


async def test_a_traced_wait_goes_wherever_a_wait_goes(emulator, traced, telemetry):
    """To tasks, groups, timeouts; it is both a coroutine and an iterator."""
    names = ["a", "b", "c", "d"]
    for name in names:
        emulator.script_job(name)
    wait = traced.jobs.wait_until_terminal("a")
    assert isinstance(wait, JobWait)
    assert isinstance(wait, Coroutine)
    assert asyncio.iscoroutine(wait)
    assert (wait.ref, wait.failures, wait.last_snapshot) == (traced.jobs.ref("a"), 0, None)
    task = asyncio.create_task(wait)
    async with asyncio.TaskGroup() as group:
        group.create_task(traced.jobs.wait_until_terminal("b"))
        group.create_task(asyncio.wait_for(traced.jobs.wait_until_terminal("c"), 30))
    assert (await task).is_success
    assert [one.number async for one in traced.jobs.wait_until_terminal("d")]
    assert {span.attributes["fireworks.job.id"] for span in telemetry.spans} == {*names}


async def test_a_second_use_is_refused(emulator, traced, telemetry):
    """As by an untraced wait: by a second task at once, and after the end."""
    emulator.script_job("eval", phases=HELD)
    wait = traced.jobs.wait_until_terminal("eval")
    first, second = asyncio.create_task(wait), asyncio.create_task(wait)
    with pytest.raises(ClientStateError):
        await second
    assert not first.done()
    emulator.script_job("eval", phases=["COMPLETED"])
    assert (await first).is_success
    with pytest.raises(ClientStateError):
        await wait
    with pytest.raises(ClientStateError):
        async for _ in wait:
            pass
    assert len(telemetry.spans) == 1


async def test_snapshots_without_a_change_are_left_out_if_asked(emulator, traced, telemetry):
    """They are counted as polls."""
    emulator.script_job("eval", phases=HELD)

    async def follow():
        wait = traced.jobs.wait_until_terminal("eval", changes_only=True)
        return [snapshot async for snapshot in wait]

    task = asyncio.create_task(follow())
    while len(polls_of(emulator, "eval")) < 9:
        await asyncio.sleep(0.001)
    emulator.script_job("eval", phases=["COMPLETED"])
    snapshots = await task
    polls = len(polls_of(emulator, "eval"))
    assert len(snapshots) < polls == telemetry.metric("fireworks.polls")["wait_for_job"]
    assert all(snapshot.changed for snapshot in snapshots)
    assert snapshots[-1].job.is_success


async def test_a_wait_is_freed_with_its_last_reference(emulator, traced):
    """It is in no cycle that only the garbage collector finds."""
    emulator.script_job("eval")
    wait = traced.jobs.wait_until_terminal("eval")
    freed = weakref.ref(wait)
    task = asyncio.create_task(wait)
    await task
    gc.disable()
    try:
        del wait, task
        await asyncio.sleep(0)
        assert freed() is None
    finally:
        gc.enable()


async def test_a_wait_can_be_closed_before_its_use(traced, telemetry):
    """As an untraced wait: then it is used up, without a warning."""
    wait = traced.jobs.wait_until_terminal("eval")
    wait.close()
    with pytest.raises(ClientStateError):
        await wait
    assert not telemetry.spans


# --- Metrics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["await", "async for", "changes_only"])
async def test_the_counters_of_polls_have_each_request(emulator, traced, telemetry, way):
    """Those of the emulator's log: the failed ones are counted twice, once as such."""
    emulator.script_job("eval", phases=HELD)
    emulator.add_fault("status", status=503, path="*/eval", after=1, times=3)
    emulator.add_fault("html", path="*/eval", after=3)

    async def follow():
        wait = traced.jobs.wait_until_terminal("eval", changes_only=way == "changes_only")
        if way == "await":
            return await wait
        return [snapshot async for snapshot in wait]

    task = asyncio.create_task(follow())
    while sum(one.fault is not None for one in polls_of(emulator, "eval")) < 4:
        await asyncio.sleep(0.001)
    emulator.script_job("eval", phases=["COMPLETED"])
    await task
    asked = polls_of(emulator, "eval")
    assert telemetry.metric("fireworks.polls") == {"wait_for_job": len(asked)}
    assert telemetry.metric("fireworks.failed_polls") == {"wait_for_job": 4}
    assert telemetry.span.attributes["fireworks.polls"] == len(asked)
    assert telemetry.span.attributes["fireworks.failed_polls"] == 4


async def test_polls_are_counted_during_a_wait(emulator, traced, telemetry):
    """An outage shows while it lasts, and not at the end of a wait of days."""
    emulator.script_job("eval", phases=HELD)
    wait = traced.jobs.wait_until_terminal("eval")
    await anext(wait)
    await anext(wait)
    assert telemetry.metric("fireworks.polls") == {"wait_for_job": 2}
    await wait.aclose()


async def test_polls_of_an_outage_that_ends_the_wait_are_counted(emulator, traced, telemetry):
    """The last of them, too."""
    emulator.script_job("eval", phases=HELD)
    emulator.add_fault("status", status=503, path="*/eval", after=1, times=None)
    with pytest.raises(PollFailureError):
        await traced.jobs.wait_until_terminal("eval", poll=attrs.evolve(FAST, failure_budget=0.02))
    asked = polls_of(emulator, "eval")
    assert telemetry.metric("fireworks.polls") == {"wait_for_job": len(asked)}
    assert telemetry.metric("fireworks.failed_polls") == {"wait_for_job": len(asked) - 1}


async def test_rows_and_tokens_are_those_of_the_server(emulator, traced, telemetry):
    """By outcome and by type, with the model."""
    emulator.script_job("eval", rows=10, failed_rows=3)
    job = await traced.jobs.wait_until_terminal("eval")
    progress = job.job_progress
    rows = telemetry.metric("fireworks.rows", "fireworks.row.outcome")
    tokens = telemetry.metric("fireworks.tokens", "gen_ai.token.type")
    assert rows == {"succeeded": 7, "failed": 3}
    assert tokens == {"input": progress.input_tokens, "output": progress.output_tokens}
    assert telemetry.metric("fireworks.rows", "gen_ai.request.model") == {job.model: 10}


# --- Runs ---------------------------------------------------------------------------------------


async def test_a_run_is_a_span_with_its_waits_inside(emulator, traced, telemetry):
    """Each has its true times: they lie within those of the run."""
    emulator.fail_rows("r3", times=1, code=503)
    with telemetry.tracer.start_as_current_span("caller"):
        result = await traced.run(
            requests("r1", "r2", "r3"),
            model=MODEL,
            name="nightly",
            limits=Limits(max_rows=2),
            retry_rows=1,
        )
    run, *waits, caller = telemetry.spans
    assert run.parent.span_id == caller.context.span_id
    assert run.name == f"run_batch {MODEL}"
    jobs = [job.job_id for job in result.report.jobs]
    assert len(jobs) == 3
    assert [*run.attributes["fireworks.job.ids"]] == jobs
    assert run.attributes["fireworks.run.name"] == "nightly"
    assert run.attributes["fireworks.rows.succeeded"] == 3
    assert run.attributes["gen_ai.usage.output_tokens"] == result.report.output_tokens > 0
    assert {wait.attributes["fireworks.job.id"] for wait in waits} == {*jobs}
    for wait in waits:
        assert wait.name == f"wait_for_job {MODEL}"
        assert wait.parent.span_id == run.context.span_id
        assert wait.attributes["fireworks.job.state"] == "COMPLETED"
        # Tokens are in one span of a trace, so that a sum over the spans is right.
        assert "gen_ai.usage.output_tokens" not in wait.attributes
        assert run.start_time <= wait.start_time <= wait.end_time <= run.end_time
    await result.aclose()


async def test_a_run_of_many_jobs_names_some(traced, telemetry, monkeypatch):
    """The first ones; its numbers are those of all."""
    monkeypatch.setattr(otel, "_MOST_IDS", 2)
    result = await traced.run(requests("r1", "r2", "r3"), model=MODEL, limits=Limits(max_rows=1))
    run, *waits = telemetry.spans
    assert len(run.attributes["fireworks.job.ids"]) == len(waits) == 2
    assert run.attributes["fireworks.rows.succeeded"] == 3
    await result.aclose()


async def test_tokens_that_are_not_known_are_left_out(emulator, traced, telemetry):
    """Late counters are 0, which would look like a free job."""
    counters = {"totalProcessedRequests": 3, "successfullyProcessedRequests": 3}
    emulator.script_job("eval", phases=["COMPLETED"], rows=3, fields={"jobProgress": counters})
    await traced.jobs.wait_until_terminal("eval")
    assert telemetry.span.attributes["fireworks.rows.succeeded"] == 3
    assert not [key for key in telemetry.span.attributes if "usage" in key]
    assert telemetry.metric("fireworks.tokens") == {}


async def test_the_counters_of_a_run_are_those_of_the_server(emulator, client, telemetry):
    """Polls by the log, from the job's creation on; rows and tokens by the job."""
    emulator.script_jobs(phases=HELD)
    emulator.add_fault("status", status=503, method="GET", path="*Jobs/x-*", after=2, times=3)

    def tell(progress):
        # After the failed polls, which are 1, 2 and 3 in a row.
        for job_id, failed in progress.failed_polls:
            if failed == 3:
                emulator.script_job(job_id, phases=["COMPLETED"])

    result = await telemetry.traced(client).run(
        requests("r1", "r2", "r3"), model=MODEL, name="x", on_progress=tell
    )
    (job,) = [await client.jobs.get(job.job_id) for job in result.report.jobs]
    (created,) = [
        one.n
        for one in emulator.requests()
        if one.method == "POST" and one.path.endswith("/batchInferenceJobs")
    ]
    asked = polls_of(emulator, job.id, since=created)[:-1]  # the last one is that of this test
    assert telemetry.metric("fireworks.polls") == {"run_batch": len(asked)}
    assert telemetry.metric("fireworks.failed_polls") == {"run_batch": 3}
    assert telemetry.metric("fireworks.rows", "fireworks.row.outcome") == {"succeeded": 3}
    assert telemetry.metric("fireworks.tokens", "gen_ai.token.type") == {
        "input": job.job_progress.input_tokens,
        "output": job.job_progress.output_tokens,
    }
    await result.aclose()


async def test_the_progress_of_a_run_goes_to_the_user_too(emulator, traced, telemetry):
    """Each snapshot of the run, and an error of the user's function ends the run."""
    told = []
    result = await traced.run(requests("r1"), model=MODEL, on_progress=told.append)
    assert [str(one.stage) for one in (told[0], told[-1])] == ["checking", "collecting"]
    await result.aclose()

    def refuse(_):
        raise LookupError("no more")

    with pytest.raises(LookupError):
        await traced.run(requests("r1"), model=MODEL, on_progress=refuse)
    assert telemetry.spans[-1].attributes["error.type"] == "LookupError"


@pytest.mark.parametrize("what", ["function", "object", 5])
async def test_a_function_that_the_client_refuses_is_refused(traced, telemetry, what):
    """A coroutine function, say: it would never be awaited."""

    async def function(_):
        pass

    class Told:
        __call__ = staticmethod(function)

    tell = {"function": function, "object": Told()}.get(what, what)
    with pytest.raises(ConfigurationError, match="on_progress"):
        await traced.run(requests("r1"), model=MODEL, on_progress=tell)
    assert telemetry.span.attributes["error.type"] == "ConfigurationError"


async def test_a_run_that_is_cancelled_shows_its_jobs(emulator, traced, telemetry):
    """In the states in which they were last seen."""
    emulator.script_jobs(phases=HELD)
    seen = asyncio.Event()

    def tell(progress):
        if progress.snapshots:
            seen.set()

    task = asyncio.create_task(traced.run(requests("r1"), model=MODEL, on_progress=tell))
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    run, wait = telemetry.spans
    assert run.attributes["fireworks.given_up"] is True
    assert wait.attributes["fireworks.job.state"] == "RUNNING"


async def test_submitting_and_collecting_are_spans_with_the_same_jobs(traced, telemetry):
    """And with the model and the name of the run."""
    submission = await traced.submit(requests("r1", "r2"), model=MODEL, name="nightly")
    result = await traced.collect(submission)
    submit, collect, *_ = telemetry.spans
    assert submit.name == f"submit_batch {MODEL}"
    assert submit.attributes["fireworks.rows.submitted"] == 2
    assert collect.name == f"collect_batch {MODEL}"
    for span in (submit, collect):
        ids = [ref.job_id for ref in submission.refs]
        assert [*span.attributes["fireworks.job.ids"]] == ids
        assert span.attributes["fireworks.run.name"] == "nightly"
    assert collect.attributes["fireworks.rows.succeeded"] == 2
    await result.aclose()


async def test_requests_that_are_refused_are_an_error_of_the_span(traced, telemetry):
    """Nothing was sent; the names of the run are there."""
    for call in (traced.run, traced.submit):
        with pytest.raises(ValueError, match="name"):
            await call(requests("r1"), model=MODEL, name=5)
    assert [span.attributes["fireworks.run.name"] for span in telemetry.spans] == ["5", "5"]
    with pytest.raises(Exception, match=r"submission|attribute"):
        await traced.collect("no submission")
    assert telemetry.spans[-1].name == "collect_batch"
    assert telemetry.spans[-1].status.status_code is StatusCode.ERROR


# --- Transfers ----------------------------------------------------------------------------------


async def test_transfers_are_spans_with_the_dataset(emulator, traced, telemetry, tmp_path):
    """An upload with its rows, a download with its files."""
    dataset = await traced.datasets.upload(b'{"custom_id": "a"}\n{"custom_id": "b"}\n')
    paths = await traced.datasets.download(dataset, tmp_path)
    upload, download = telemetry.spans
    assert (upload.name, download.name) == ("upload_dataset", "download_dataset")
    assert upload.attributes["fireworks.rows.uploaded"] == 2
    assert download.attributes["fireworks.files"] == len(paths) == 1
    for span in (upload, download):
        assert span.attributes["fireworks.dataset.id"] == dataset.id
        assert span.attributes["gen_ai.provider.name"] == "fireworks"


async def test_entering_results_is_a_span(emulator, traced, telemetry):
    """The rows are read as without a span, inside and outside of the block's own name."""
    emulator.script_job("eval", phases=["COMPLETED"], rows=3)
    results = traced.results("eval")
    async with results as rows:
        assert [row.ok async for row in rows] == [True] * 3
    assert results.report.succeeded == 3
    async with (again := traced.results("eval")):
        assert (await anext(again)).ok
        assert len([row async for row in again]) == 2
    assert [span.name.split()[0] for span in telemetry.spans] == ["download_results"] * 2
    assert telemetry.spans[0].attributes["fireworks.job.id"] == "eval"
    assert telemetry.spans[0].attributes["fireworks.job.state"] == "COMPLETED"


async def test_a_download_that_fails_is_an_error(traced, telemetry, tmp_path):
    """With the dataset that was asked for."""
    with pytest.raises(NotFoundError):
        await traced.datasets.download("absent", tmp_path)
    assert telemetry.span.attributes["fireworks.dataset.id"] == "absent"
    assert telemetry.span.attributes["error.type"] == "NotFoundError"


# --- Many jobs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["await", "task", "async for", "as_completed"])
async def test_a_wait_for_many_jobs_is_one_span(emulator, traced, telemetry, way):
    """With the numbers of outcomes, the rows and the tokens of all jobs."""
    emulator.script_job("a", rows=5)
    emulator.script_job("b", rows=7, failed_rows=1)
    emulator.script_job("c", rows=4, phases=["VALIDATING", "FAILED"])
    jobs = ["a", "b", "c", "absent"]
    called = time_ns()
    match way:
        case "await":
            assert list(await traced.jobs.watch(jobs)) == jobs
        case "task":
            assert list(await asyncio.create_task(traced.jobs.watch(jobs))) == jobs
        case "async for":
            async for _ in traced.jobs.watch(jobs):
                assert not telemetry.spans
        case "as_completed":
            assert len([one async for one in traced.jobs.as_completed(jobs)]) == 4
    span = telemetry.span
    assert span.name == "watch_jobs"
    assert called <= span.start_time < span.end_time
    assert span.attributes["fireworks.jobs.completed"] == 2
    assert span.attributes["fireworks.jobs.not_completed"] == 1
    assert span.attributes["fireworks.jobs.unknown"] == 1
    rows = telemetry.metric("fireworks.rows", "fireworks.row.outcome")
    assert rows["succeeded"] == span.attributes["fireworks.rows.succeeded"] >= 11
    assert rows["failed"] == span.attributes["fireworks.rows.failed"] >= 1
    tokens = telemetry.metric("fireworks.tokens", "gen_ai.token.type")
    assert tokens["output"] == span.attributes["gen_ai.usage.output_tokens"] > 0


async def test_a_fleet_that_is_used_twice_counts_its_rows_once(emulator, traced, telemetry):
    """Each use has its span."""
    emulator.script_job("a", rows=5)
    fleet = traced.jobs.watch(["a"])
    assert isinstance(fleet, JobFleet)
    async for _ in fleet:
        pass
    await fleet
    assert len(telemetry.spans) == 2
    assert telemetry.metric("fireworks.rows") == {"watch_jobs": 5}


async def test_a_fleet_is_used_as_an_untraced_one(emulator, traced, telemetry):
    """Its members are there, and a wait that is given up can be taken up again."""
    emulator.script_job("a", phases=HELD)
    fleet = traced.jobs.watch(["a"])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(fleet, 0.02)
    emulator.script_job("a", phases=["COMPLETED"])
    emulator.script_job("b")
    fleet.add("b")
    assert list(await fleet) == ["a", "b"]
    assert fleet.progress.terminal == 2
    first, second = telemetry.spans
    assert first.attributes["fireworks.given_up"] is True
    assert second.attributes["fireworks.jobs.completed"] == 2
    assert first.end_time <= second.start_time


async def test_a_loop_over_many_jobs_that_is_left_was_given_up(emulator, traced, telemetry):
    """As one over the snapshots of one job."""
    emulator.script_job("a")
    emulator.script_job("b", phases=HELD)
    async for _ in traced.jobs.as_completed(["a", "b"]):
        break
    await asyncio.sleep(0)
    assert telemetry.span.attributes["fireworks.given_up"] is True
    assert telemetry.span.attributes["fireworks.jobs.completed"] == 1


# --- The client ---------------------------------------------------------------------------------

# What makes a span, and what goes to the client as it is. A new name belongs into one of them.
TRACED = {
    BatchClient: {"collect", "datasets", "jobs", "results", "run", "submit"},
    Jobs: {"as_completed", "wait_until_terminal", "watch"},
    Datasets: {"download", "upload"},
}
PLAIN = {
    BatchClient: {"account_id", "aclose", "check"},
    Jobs: {"create", "delete", "get", "list", "ref"},
    Datasets: {"create", "delete", "get", "list"},
}


@pytest.mark.parametrize("kind", TRACED)
async def test_no_name_of_the_client_is_missing(traced, kind):
    """A name is traced or plain, and is there in both cases."""
    stands = {BatchClient: traced, Jobs: traced.jobs, Datasets: traced.datasets}[kind]
    names = {name for name in dir(kind) if not name.startswith("_")}
    assert names == TRACED[kind] | PLAIN[kind]
    assert names <= {*dir(stands)}
    assert isinstance(stands, kind)
    for name in TRACED[kind] - {"jobs", "datasets"}:
        own, like = getattr(stands, name), getattr(kind, name)
        assert name in vars(type(stands))
        assert own.__doc__ == like.__doc__
        assert [*inspect.signature(own).parameters] == [*inspect.signature(like).parameters][1:]
        assert inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(like)


async def test_what_is_not_traced_is_as_before(emulator, client, traced, telemetry):
    """The same session, the same account, and no span."""
    emulator.script_job("eval")
    assert repr(traced) == repr(client)
    assert traced.account_id == "acme"
    assert (await traced.jobs.get("eval")).id == "eval"
    assert [job.id async for job in traced.jobs.list()] == ["eval"]
    assert (await traced.check(requests("r1"))).is_good
    assert not telemetry.spans


async def test_the_given_client_makes_no_spans(emulator, client, traced, telemetry):
    """Nothing was changed in it."""
    emulator.script_job("eval")
    await client.jobs.wait_until_terminal("eval")
    assert not telemetry.spans


async def test_a_traced_client_is_entered_and_closed(emulator, telemetry):
    """And with it the given one."""
    given = client_of(emulator)
    async with telemetry.traced(given) as client:
        assert client.jobs is not given.jobs
        assert [job async for job in client.jobs.list()] == []
    assert "closed" in repr(given)


async def test_only_a_client_can_be_traced():
    """The error names the value."""
    with pytest.raises(ConfigurationError, match="not 'client'"):
        otel.trace("client")


async def test_without_an_sdk_nothing_is_recorded(emulator, client):
    """The providers of the API alone do nothing, and the client works."""
    emulator.script_job("eval")
    traced = otel.trace(client)
    assert (await traced.jobs.wait_until_terminal("eval")).is_success
    result = await traced.run(requests("r1"), model=MODEL)
    assert result.report.is_complete
    await result.aclose()


def test_the_package_itself_imports_no_opentelemetry():
    """A program that does not trace does not load OpenTelemetry."""
    program = (
        "import sys, fireworks_batch; fireworks_batch.BatchClient; fireworks_batch.integrations\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"[]\n", b"")


async def test_a_copy_that_failed_says_so():
    """An object without a client inside raises AttributeError, and no endless recursion."""
    blank = object.__new__(otel._TracedClient)
    with pytest.raises(AttributeError, match="_inner"):
        _ = blank.jobs
