"""Spans and metrics of what takes long, by OpenTelemetry (extra ``otel``).

::

    async with otel.trace(BatchClient()) as client:
        await client.run("requests.jsonl", model="accounts/fireworks/models/demo-8b")

The span of a call is made when the call ends, with the moment at which the call began. A wait lasts
for hours, and an open span is not exported.
"""

import asyncio
import inspect
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from functools import wraps
from time import time_ns
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from fireworks_batch import (
    APIStatusError,
    BatchClient,
    BatchInferenceJob,
    ClientStateError,
    ConfigurationError,
    JobGoneError,
    JobOutcome,
    JobSnapshot,
    RunProgress,
    RunReport,
    Submission,
    __version__,
)
from fireworks_batch.integrations import needs
from fireworks_batch.typing import Datasets, Jobs

with needs("otel"):
    from opentelemetry.context import Context, get_current
    from opentelemetry.metrics import MeterProvider, get_meter
    from opentelemetry.trace import (
        SpanKind,
        Status,
        StatusCode,
        TracerProvider,
        get_tracer,
        set_span_in_context,
    )

__all__ = ["trace"]

_F = TypeVar("_F", bound=Callable[..., Any])

_SCOPE: Final = "fireworks_batch"

# https://github.com/open-telemetry/semantic-conventions-genai has these names. The conventions know
# no batches. Where no operation of theirs fits, they allow other names of operations.
_PROVIDER: Final = "gen_ai.provider.name"
_OPERATION: Final = "gen_ai.operation.name"
_MODEL: Final = "gen_ai.request.model"
_INPUT: Final = "gen_ai.usage.input_tokens"
_OUTPUT: Final = "gen_ai.usage.output_tokens"
_CACHED: Final = "gen_ai.usage.cache_read.input_tokens"

_JOB: Final = "fireworks.job.id"
_JOBS: Final = "fireworks.job.ids"
_STATE: Final = "fireworks.job.state"
_DATASET: Final = "fireworks.dataset.id"

# The most jobs that the span of a run names, and that have a span inside it. Some back ends refuse
# large attributes.
_MOST_IDS: Final = 100


def trace(
    client: BatchClient,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> BatchClient:
    """Return a client that does the same, and makes spans and metrics of what takes long.

    These calls make a span: ``run``, ``submit``, ``collect``, entering ``results``,
    ``jobs.wait_until_terminal``, ``jobs.watch``, ``jobs.as_completed``, ``datasets.upload`` and
    ``datasets.download``. All other calls go to the given client as they are.

    A span is made when its call ends, with the true time of its start. Its parent is the span that
    was current at the call. No span adds a request. The given client is not changed: its own calls
    make no spans.

    Args:
        client: The client. It may be in use already.

        tracer_provider: The provider of the tracer. None means OpenTelemetry's global provider.

        meter_provider: The provider of the meter. None means OpenTelemetry's global provider.

    Returns:
        A client with the same methods, arguments, results and errors. It shares the session of the
        given client: closing one of them closes both.

    Raises:
        ConfigurationError: ``client`` is not a client.
    """
    if not isinstance(client, BatchClient):
        raise ConfigurationError(f"client must be a BatchClient, not {client!r}")
    telemetry = _Telemetry(tracer_provider, meter_provider)
    return cast("BatchClient", _TracedClient(client, telemetry))


# --- Spans and counters -------------------------------------------------------------------------


class _Telemetry:
    """The tracer and the counters of one traced client."""

    def __init__(self, tracers: TracerProvider | None, meters: MeterProvider | None) -> None:
        self.tracer = get_tracer(_SCOPE, __version__, tracers)
        meter = get_meter(_SCOPE, __version__, meters)
        self.polls = meter.create_counter(
            "fireworks.polls", "{poll}", "Polls of jobs, failed polls included"
        )
        self.failed_polls = meter.create_counter(
            "fireworks.failed_polls", "{poll}", "Polls of jobs without a usable answer"
        )
        self.rows = meter.create_counter("fireworks.rows", "{row}", "Rows of jobs that have ended")
        self.tokens = meter.create_counter(
            "fireworks.tokens", "{token}", "Tokens of jobs that have ended, as the server counts"
        )

    def begin(self, operation: str, **attributes: Any) -> "_Call":
        """Return a call that begins now, in the current context."""
        return _Call(self, operation, get_current(), attributes)


class _Call:
    """A call that is under way. Its span is made at its end."""

    def __init__(
        self,
        telemetry: _Telemetry,
        operation: str,
        context: Context,
        attributes: dict[str, Any],
        *,
        started: int | None = None,
    ) -> None:
        """Begin.

        Args:
            telemetry: The tracer and the counters.
            operation: What is done.
            context: The context with the parent of the span.
            attributes: What is known so far. Values of None are left out of the span.
            started: When the call began, in nanoseconds of POSIX time; None for now.
        """
        self._telemetry = telemetry
        self._operation = operation
        self._context = context
        self._started = time_ns() if started is None else started
        self.attributes: dict[str, Any] = attributes
        """The attributes of the span. They may be added until the end."""
        self.snapshots: tuple[JobSnapshot, ...] = ()
        """The newest snapshot of each job that is waited for inside this call."""
        self.newest: int | None = None
        """When a wait gave its newest snapshot or outcome, in nanoseconds; None before that."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(exc)

    def end(self, error: BaseException | None = None, *, ended: int | None = None) -> None:
        """Make the span, with a child for each of the first jobs that this call has waited for.

        Args:
            error: What ended the call. An error that is no `Exception`, such as CancelledError,
                means that the caller gave up.
            ended: When the call ended, in nanoseconds of POSIX time; None for now.
        """
        known: dict[str, Any] = self._dimensions()
        known |= {key: value for key, value in self.attributes.items() if value is not None}
        if isinstance(error, Exception):
            known["error.type"] = type(error).__name__
        elif error is not None:
            known["fireworks.given_up"] = True
        model = known.get(_MODEL)
        span = self._telemetry.tracer.start_span(
            f"{self._operation} {model}" if model else self._operation,
            self._context,
            SpanKind.CLIENT,
            known,
            start_time=self._started,
        )
        if isinstance(error, Exception):
            span.set_status(Status(StatusCode.ERROR, str(error)))
        span.end(ended)
        inside = set_span_in_context(span, self._context)
        for snapshot in self.snapshots[:_MOST_IDS]:
            seen = int(snapshot.observed_at.timestamp() * 1e9)
            started = seen - int(snapshot.elapsed * 1e9)
            about = _about(snapshot.job)
            about |= {f"fireworks.rows.{key}": rows for key, rows in _rows_of(snapshot.job).items()}
            wait = _Call(self._telemetry, "wait_for_job", inside, about, started=started)
            wait.end(ended=seen)

    def add(self, key: str, number: int) -> None:
        """Add to an attribute that is a number."""
        self.attributes[key] = self.attributes.get(key, 0) + number

    # --- Counters -------------------------------------------------------------------------------

    def count_polls(self, polls: int, failed: int) -> None:
        """Count polls; the failed polls are among them."""
        if polls:
            self.add("fireworks.polls", polls)
            self.add("fireworks.failed_polls", failed)
            self._telemetry.polls.add(polls, self._dimensions())
            self._telemetry.failed_polls.add(failed, self._dimensions())

    def count_job(self, job: BatchInferenceJob) -> None:
        """Count the rows and tokens of a job that has ended."""
        progress = job.job_progress
        if progress is not None:
            tokens = progress.input_tokens, progress.output_tokens
            self._count(job.model, _rows_of(job), *tokens, progress.cached_input_token_count)

    def count_report(self, report: RunReport) -> None:
        """Count the rows and tokens of a run, and name its jobs."""
        self.attributes[_JOBS] = [job.job_id for job in report.jobs[:_MOST_IDS]]
        rows = {"succeeded": report.succeeded, "failed": report.failed, "missing": report.missing}
        tokens = report.input_tokens, report.output_tokens, report.cached_tokens
        self._count(self.attributes[_MODEL], rows, *tokens)

    def _count(
        self,
        model: str,
        rows: Mapping[str, int],
        read: int | None,
        generated: int | None,
        cached: int | None,
    ) -> None:
        dimensions = {**self._dimensions(), _MODEL: model}
        for outcome, number in rows.items():
            self.add(f"fireworks.rows.{outcome}", number)
            self._telemetry.rows.add(number, {**dimensions, "fireworks.row.outcome": outcome})
        if not (read or generated):  # late counters are 0, and unknown ones None
            return
        for key, count in ((_INPUT, read), (_OUTPUT, generated), (_CACHED, cached)):
            if count is not None:
                self.add(key, count)
        for kind, count in (("input", read), ("output", generated)):
            if count is not None:
                self._telemetry.tokens.add(count, {**dimensions, "gen_ai.token.type": kind})

    def _dimensions(self) -> dict[str, str]:
        return {_PROVIDER: "fireworks", _OPERATION: self._operation}


def _about(job: BatchInferenceJob) -> dict[str, Any]:
    return {_JOB: job.id, _STATE: str(job.state), _MODEL: job.model or None}


def _rows_of(job: BatchInferenceJob) -> dict[str, int]:
    progress = job.job_progress
    if progress is None:
        return {}
    done, failed = progress.successfully_processed_requests, progress.failed_requests
    return {"succeeded": done, "failed": failed}


def _id_of(resource: Any) -> str:
    """Return the id of a job or a dataset, in any form of reference."""
    return str(getattr(resource, "name", resource)).rpartition("/")[2]


# --- The client ---------------------------------------------------------------------------------


def _like(method: object) -> Callable[[_F], _F]:
    """Give a method the signature and the docstring of the client's own method."""
    return cast("Callable[[_F], _F]", wraps(cast("Any", method)))


class _Proxy:
    """Stands for an object. What a proxy does not have itself, the object does."""

    def __init__(self, inner: Any, telemetry: _Telemetry) -> None:
        self._inner = inner
        self._telemetry = telemetry

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # a failed copy has no object
            raise AttributeError(name)
        return getattr(self._inner, name)

    @property  # type: ignore[misc]  # isinstance() says what annotations say
    def __class__(self) -> Any:
        return type(self._inner)

    def __repr__(self) -> str:
        return repr(self._inner)


class _TracedClient(_Proxy):
    def __init__(self, client: BatchClient, telemetry: _Telemetry) -> None:
        super().__init__(client, telemetry)
        self.jobs = _TracedJobs(client.jobs, telemetry)
        self.datasets = _TracedDatasets(client.datasets, telemetry)

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._inner.__aexit__(*error)

    @_like(BatchClient.run)
    async def run(self, *args: Any, **options: Any) -> Any:
        call = self._telemetry.begin("run_batch", **_named(options))
        return await _followed(call, self._inner.run, *args, **options)

    @_like(BatchClient.collect)
    async def collect(self, submission: Any, **options: Any) -> Any:
        known = {key: getattr(submission, key, None) for key in ("model", "name")}
        call = self._telemetry.begin("collect_batch", **_named(known))
        return await _followed(call, self._inner.collect, submission, **options)

    @_like(BatchClient.submit)
    async def submit(self, *args: Any, **options: Any) -> Any:
        with self._telemetry.begin("submit_batch", **_named(options)) as call:
            submission: Submission = await self._inner.submit(*args, **options)
            call.attributes[_JOBS] = [ref.job_id for ref in submission.refs[:_MOST_IDS]]
            call.attributes["fireworks.rows.submitted"] = submission.rows
        return submission

    @_like(BatchClient.results)
    def results(self, job: Any, **options: Any) -> Any:
        return _TracedResults(self._inner.results(job, **options), self._telemetry, _id_of(job))


class _TracedJobs(_Proxy):
    @_like(Jobs.wait_until_terminal)
    def wait_until_terminal(self, job: Any, *, changes_only: bool = False, **options: Any) -> Any:
        wait = self._inner.wait_until_terminal(job, **options)
        return _TracedWait(wait, self._telemetry, _id_of(job), changes_only=changes_only)

    @_like(Jobs.watch)
    def watch(self, *args: Any, **options: Any) -> Any:
        return _TracedFleet(self._inner.watch(*args, **options), self._telemetry)

    @_like(Jobs.as_completed)
    def as_completed(self, *args: Any, **options: Any) -> Any:
        return _TracedOutcomes(self._inner.as_completed(*args, **options), self._telemetry)


class _TracedDatasets(_Proxy):
    @_like(Datasets.upload)
    async def upload(self, *args: Any, **options: Any) -> Any:
        known = {_DATASET: options.get("dataset_id")}
        with self._telemetry.begin("upload_dataset", **known) as call:
            dataset = await self._inner.upload(*args, **options)
            call.attributes[_DATASET] = dataset.id
            call.attributes["fireworks.rows.uploaded"] = dataset.example_count
        return dataset

    @_like(Datasets.download)
    async def download(self, dataset: Any, *args: Any, **options: Any) -> Any:
        known = {_DATASET: _id_of(dataset)}
        with self._telemetry.begin("download_dataset", **known) as call:
            paths = await self._inner.download(dataset, *args, **options)
            call.attributes["fireworks.files"] = len(paths)
        return paths


class _TracedResults(_Proxy):
    """The rows of a job. Entering them makes a span, since it downloads the files."""

    def __init__(self, results: Any, telemetry: _Telemetry, job_id: str) -> None:
        super().__init__(results, telemetry)
        self._job_id = job_id

    async def __aenter__(self) -> Any:
        with self._telemetry.begin("download_results", **{_JOB: self._job_id}) as call:
            rows = await self._inner.__aenter__()
            call.attributes |= _about(rows.job)
        return rows

    async def __aexit__(self, *error: object) -> None:
        await self._inner.__aexit__(*error)

    def __aiter__(self) -> Any:
        return aiter(self._inner)

    async def __anext__(self) -> Any:
        return await anext(self._inner)


# --- Runs ---------------------------------------------------------------------------------------


def _named(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes for the model and the name of a run. Both may be malformed."""
    keys = {_MODEL: "model", "fireworks.run.name": "name"}
    return {key: str(value) for key, option in keys.items() if (value := options.get(option))}


async def _followed(call: _Call, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call ``run`` or ``collect``, and record its progress and its report."""
    tell = options.get("on_progress")
    polls: dict[str, int] = {}
    failed: dict[str, int] = {}

    def record(progress: RunProgress) -> None:
        lost = _grown(failed, dict(progress.failed_polls))
        seen = _grown(polls, {each.job.id: each.number for each in progress.snapshots})
        call.count_polls(seen + lost, lost)
        call.snapshots = progress.snapshots
        if tell is not None:
            tell(progress)

    if tell is None or _is_plain(tell):  # the client itself refuses any other value
        options["on_progress"] = record
    with call:
        result = await method(*args, **options)
        call.count_report(result.report)
    return result


def _is_plain(function: Any) -> bool:
    calls = (function, type(function).__call__) if callable(function) else ()
    return bool(calls) and not any(map(inspect.iscoroutinefunction, calls))


def _grown(before: dict[str, int], now: dict[str, int]) -> int:
    """Return by how much counters have grown, and keep their values. A counter may begin anew."""
    known = ((number, before.get(key, 0)) for key, number in now.items())
    grown = sum(number - old if number >= old else number for number, old in known)
    before.clear()
    before.update(now)
    return grown


# --- Waits --------------------------------------------------------------------------------------


class _Steps(_Proxy, AsyncIterator[Any]):
    """A wait that is iterated over. Its span begins with the first step, which sends a request."""

    def __init__(self, inner: Any, telemetry: _Telemetry, operation: str) -> None:
        super().__init__(inner, telemetry)
        self._operation = operation
        self._context = get_current()
        self._call: _Call | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @abstractmethod
    def _see(self, call: _Call, item: Any) -> bool:
        """Record a snapshot or an outcome, and return whether the user gets it."""

    def _describe(self, call: _Call, error: BaseException | None) -> None:
        """Add attributes to a call that is about to end."""

    def _begun(self) -> _Call:
        if self._call is None:
            self._loop = asyncio.get_running_loop()
            self._call = _Call(self._telemetry, self._operation, self._context, {})
        return self._call

    def _end(self, error: BaseException | None = None, *, ended: int | None = None) -> None:
        call, self._call = self._call, None
        # The step after the last one waits for nothing.
        if call is not None and (call.newest is not None or error is not None):
            self._describe(call, error)
            call.end(error, ended=ended)

    def _give_up(self) -> None:
        """End the span at the newest snapshot or outcome, since nothing was waited for later."""
        if self._call is not None:
            self._end(GeneratorExit(), ended=self._call.newest)

    def __aiter__(self) -> Self:
        aiter(self._inner)  # refuses a second use
        return self

    async def __anext__(self) -> Any:
        while True:
            call = self._begun()
            try:
                item = await anext(self._inner)
            except StopAsyncIteration:
                self._end()
                raise
            except BaseException as error:
                # A cancelled step, too: whether the loop goes on is not known, and the frames of
                # the error may keep the wait alive until the garbage collector runs.
                self._end(error)
                raise
            call.newest = time_ns()
            if self._see(call, item):
                return item

    async def aclose(self) -> None:
        await self._inner.aclose()
        self._give_up()

    def __del__(self) -> None:
        # A loop that is left by `break` calls nothing. The garbage collector may call this method
        # inside an exporter that holds a lock. So the span is made later, by the event loop.
        if vars(self).get("_call") is None or self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._give_up)
        except RuntimeError:  # the event loop is closed
            self._give_up()


class _Driven(_Steps, Coroutine[Any, Any, Any]):
    """A wait that is also a coroutine, as `create_task` and others ask for."""

    _coroutine: Coroutine[Any, Any, Any] | None = None
    _driver = 0  # an id, since a reference to the task would be a cycle

    @abstractmethod
    async def _to_the_end(self) -> Any:
        """Wait until there is nothing left to wait for."""

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._to_the_end().__await__()

    def send(self, value: Any, /) -> Any:
        return self._running().send(value)

    def throw(self, *error: Any) -> Any:
        if self._coroutine is None:  # a task that is cancelled before its first step
            self._inner.close()
        return self._running().throw(*error)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()
        self._inner.close()

    def _running(self) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that waits; refuse all tasks but the first."""
        coroutine, task = self._coroutine, id(asyncio.current_task())
        if coroutine is None or inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED:
            coroutine = self._coroutine = self._to_the_end()
            self._driver = task
        elif self._driver != task:
            raise ClientStateError(f"{self!r} is being awaited by another task")
        return coroutine


class _TracedWait(_Driven):
    """The wait for one job. It is iterated over when it is awaited, so as to count each poll."""

    _is_closed = False
    _told = 0  # failed polls since the newest snapshot that were counted when a step was cancelled

    def __init__(
        self, wait: Any, telemetry: _Telemetry, job_id: str, *, changes_only: bool
    ) -> None:
        super().__init__(wait, telemetry, "wait_for_job")
        self._job_id = job_id
        self._changes_only = changes_only

    def close(self) -> None:
        self._is_closed = True
        super().close()

    async def _to_the_end(self) -> Any:
        if not self._is_closed:
            async for snapshot in self:
                if snapshot.job.is_terminal:
                    return snapshot.job
        raise ClientStateError(f"{self!r} was closed before it was awaited")

    def _see(self, call: _Call, item: JobSnapshot) -> bool:
        failed = item.failures - self._told
        call.count_polls(1 + failed, failed)
        self._told = 0
        if item.job.is_terminal:
            call.count_job(item.job)
            self._end()
        return item.changed or item.job.is_terminal or not self._changes_only

    def _describe(self, call: _Call, error: BaseException | None) -> None:
        # A refusal that ends the wait is a failed poll that the wait itself does not count.
        failed = self._inner.failures - self._told
        failed += isinstance(error, APIStatusError | JobGoneError)
        call.count_polls(failed, failed)
        self._told = self._inner.failures
        call.attributes[_JOB] = self._job_id
        if self._inner.last_snapshot is not None:
            call.attributes |= _about(self._inner.last_snapshot.job)


class _TracedOutcomes(_Steps):
    """The wait for many jobs, by outcomes."""

    def __init__(self, inner: Any, telemetry: _Telemetry) -> None:
        super().__init__(inner, telemetry, "watch_jobs")
        self._counted: set[str] = set()

    def _see(self, call: _Call, item: Any) -> bool:
        self._count(call, item.job)
        return True

    def _count(self, call: _Call, job: BatchInferenceJob | None) -> None:
        """Count a job that has ended, or whose wait has failed (None)."""
        kind = "unknown" if job is None else "completed" if job.is_success else "not_completed"
        call.add(f"fireworks.jobs.{kind}", 1)
        # A fleet can be used several times, and tells of the job each time.
        if job is not None and job.name not in self._counted:
            self._counted.add(job.name)
            call.count_job(job)


class _TracedFleet(_TracedOutcomes, _Driven):
    """The wait for many jobs, by snapshots or by all outcomes at once."""

    async def _to_the_end(self) -> Any:
        call = self._begun()
        try:
            outcomes: dict[str, JobOutcome] = await self._inner
        except BaseException as error:
            self._end(error)
            raise
        call.newest = time_ns() if outcomes else None
        for outcome in outcomes.values():
            self._count(call, outcome.job)
        self._end()
        return outcomes

    def _see(self, call: _Call, item: Any) -> bool:
        if item.error is not None or item.job.is_terminal:
            self._count(call, item.job if item.error is None else None)
        return True
