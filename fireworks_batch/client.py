"""The session manager: configuration, one HTTP session, and the account's resources."""

import asyncio
import logging
import os
import platform
import random
import ssl as ssl_module
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar, overload

import aiohttp

from fireworks_batch.connection.api import Api
from fireworks_batch.connection.configuration import (
    ClientOptions,
    Environment,
    read_base_url,
    read_identity,
    read_time_scale,
)
from fireworks_batch.connection.credentials import Account, ApiKey, KeySource, hidden
from fireworks_batch.connection.session import Session
from fireworks_batch.connection.transport import Transport
from fireworks_batch.datasets.endpoints import Datasets
from fireworks_batch.jobs.endpoints import Jobs
from fireworks_batch.models.dataset import Limits
from fireworks_batch.models.job import InferenceParameters, JobLike, Placement
from fireworks_batch.models.policies import (
    JOB_TIME_LIMIT,
    JobTimeLimit,
    PollPolicy,
    RetryPolicy,
    scaled,
)
from fireworks_batch.models.states import OpenEnum, Precision
from fireworks_batch.polling.access import Pollers
from fireworks_batch.results.job_results import (
    Expected,
    JobResults,
    check_expected,
    read_decode,
)
from fireworks_batch.runs.progress import CheckReport, RunProgress
from fireworks_batch.runs.request_rows import RowRules
from fireworks_batch.runs.requests import Requests, check_requests
from fireworks_batch.runs.result import BatchResult
from fireworks_batch.runs.run import Run
from fireworks_batch.runs.spec import JobTemplate, RunOptions, job_template
from fireworks_batch.runs.submission import Submission
from fireworks_batch.version import __version__
from fireworks_batch.wire.codec import Codec

__all__ = ["BatchClient"]


_T = TypeVar("_T")


_log = logging.getLogger("fireworks_batch")


_log.addHandler(logging.NullHandler())


_MIB: Final = 1024 * 1024


_USER_AGENT: Final = (
    f"fireworks-batch/{__version__} "
    f"Python/{'.'.join(platform.python_version_tuple()[:2])} aiohttp/{aiohttp.__version__}"
)


class BatchClient:
    """A client of one account: ``async with BatchClient() as client: ...``.

    Owns its HTTP session, unless one is lent to it, and ends with the ``async with`` block or
    `aclose`. Making and entering it sends nothing and needs no running loop; it belongs to the
    loop that it is first used on, and to its process: after a fork, make a new one.
    """

    def __init__(
        self,
        *,
        api_key: ApiKey | None = None,
        account_id: str | None = None,
        base_url: str | None = None,
        session: aiohttp.ClientSession | None = None,
        poll: PollPolicy | None = None,
        retry: RetryPolicy | None = None,
        request_timeout: float = 60.0,
        connect_timeout: float = 10.0,
        transfer_timeout: float = 60.0,
        max_connections: int = 20,
        max_requests_per_minute: float | None = None,
        max_body_bytes: int = 64 * _MIB,
        headers: Mapping[str, str] | None = None,
        proxy: str | bool | None = None,
        ssl: ssl_module.SSLContext | aiohttp.Fingerprint | bool | None = None,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
        allow_insecure_http: bool = False,
    ) -> None:
        """Configure a client.

        Args:
            api_key: The key, or a function, sync or async, that is asked for it before each
                request: keys may rotate during a wait of days. By default FIREWORKS_API_KEY,
                then ``~/.fireworks/auth.ini``.

            account_id: The account. By default FIREWORKS_ACCOUNT_ID, then the file that the key
                came from; if nobody names it, the only one that the key sees, looked up once.

            base_url: The API, ``https://api.fireworks.ai`` by default, or FIREWORKS_BASE_URL. A
                path prefix is kept, a trailing ``/v1`` is dropped.

            session: A session to borrow; it is never closed. It must not carry credentials.

            poll: The default policy of waits.

            retry: The policy of plain calls.

            request_timeout: Seconds for one request, headers and body; above 0.

            connect_timeout: Seconds for a connection, look-up and TLS included; above 0.

            transfer_timeout: Seconds for which an up- or download may stand still; above 0.

            max_connections: Connections, and requests, at a time; 1 or more.

            max_requests_per_minute: Requests a minute, evenly spaced; above 0. None: no limit.

            max_body_bytes: Largest answer to a call, after decompression; 1 or more.

            headers: Sent along with each call of the API.

            proxy: The URL of an HTTP proxy. None: HTTP(S)_PROXY and NO_PROXY of the environment.
                False: no proxy.

            ssl: A context, a fingerprint to pin, or False to trust any server.

            trace_configs: aiohttp's hooks for tracing, for a session of our own.

            allow_insecure_http: Accept an ``http`` URL to another machine, which shows the key
                to everybody on the way.

        Raises:
            ConfigurationError: There is no key, or an argument or a variable of the environment
                is malformed. The text names the value, unless it is the key, and what is right.
        """
        api_key = hidden(api_key)  # before anything can raise
        environ = Environment(os.environ)
        scale = read_time_scale(environ)
        if scale != 1:
            _log.info("FIREWORKS_BATCH_TIME_SCALE: default durations are multiplied by %g", scale)
        identity = read_identity(api_key, account_id, environ=environ, home=_home())
        draw = random.Random().random
        options = ClientOptions(
            base_url=read_base_url(
                base_url, environ=environ, allow_insecure_http=allow_insecure_http
            ),
            headers=headers,
            session=session,
            poll=scaled(PollPolicy(), scale) if poll is None else poll,
            retry=scaled(RetryPolicy(), scale) if retry is None else retry,
            request_timeout=request_timeout,
            connect_timeout=connect_timeout,
            transfer_timeout=transfer_timeout,
            max_connections=max_connections,
            max_requests_per_minute=max_requests_per_minute,
            max_body_bytes=max_body_bytes,
            proxy=proxy,
            ssl=True if ssl is None else ssl,
            trace_configs=trace_configs,
        )
        keys = KeySource(identity.api_key)
        http = Session(options, keys)
        self._api = Api(
            base_url=options.base_url,
            session=http,
            transport=Transport(
                http, options, keys=keys, user_agent=_USER_AGENT, draw=draw, wall=_wall
            ),
            account=Account(identity.account_id),
            codec=Codec(_tell_unknown),
            poll=options.poll,
            time_scale=scale,
            clock=_clock,
            wall=_wall,
            draw=draw,
        )
        self._pollers = Pollers(self._api)
        self._datasets = Datasets._made(self._api)
        self._jobs = Jobs._made(self._api, self._pollers)

    @property
    def account_id(self) -> str | None:
        """The account; None until given or looked up."""
        return self._api.account.id

    @property
    def jobs(self) -> Jobs:
        """The account's batch inference jobs."""
        return self._jobs

    @property
    def datasets(self) -> Datasets:
        """The account's datasets."""
        return self._datasets

    @overload
    def results(
        self,
        job: JobLike,
        *,
        expected: Expected | None = None,
        decode: None = None,
        lineage: bool = False,
    ) -> JobResults[dict[str, Any]]: ...

    @overload
    def results(
        self,
        job: JobLike,
        *,
        expected: Expected | None = None,
        decode: type[_T] | Callable[[dict[str, Any]], _T],
        lineage: bool = False,
    ) -> JobResults[_T]: ...

    def results(
        self,
        job: JobLike,
        *,
        expected: Expected | None = None,
        decode: Any = None,
        lineage: bool = False,
    ) -> JobResults[Any]:
        """Read the rows of a job that has ended: those that succeeded, and those that failed.

        ::

            async with client.results("nightly-eval") as rows:
                async for row in rows:
                    print(row.custom_id, row.text if row.ok else row.error)
            print(rows.report)

        A job in any terminal state may have rows: the rows of an EXPIRED, CANCELLED or
        EARLY_STOPPED job were paid for; a job that FAILED early has none (``report.no_output``).
        Entering downloads the output dataset into a temporary directory (TMPDIR, or the system's),
        which is removed at the exit. Rows are not in the input's order; see ``rows.ordered()``.

        Args:
            job: Id, resource name, reference, or a job fetched before. The job is fetched, unless
                it is given in a terminal state, with its output dataset.

            expected: The ids of the input, of any number, consumed once; or the path of the input
                file. With them, the report names ids without a row, and rows with other ids.

            decode: An attrs class or another type that cattrs makes, or a function of the mapping:
                makes the ``response`` of a row. A response that does not fit is an error of its
                row, with the code ``"undecodable"``; ``row.raw`` is the line all the same.

            lineage: Read the rows of the whole continuation chain. The files of results come
                first, the job's own before older ones, then the files of errors in the same
                order. An error is left out if an earlier file has a row of its id: a later job
                ran the row again.

        Returns:
            A context manager and async iterator, good for one use; memory stays bounded.

        Raises:
            ConfigurationError: An argument is malformed; ``job`` and ``expected`` are checked on
                entering.
            JobNotFinishedError: On entering, like the following errors: the job has not ended.
            NotFoundError: There is no such job.
            LocalFileError: A file cannot be stored, or the input file cannot be read.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: An answer of the API cannot be read.
            ClientStateError: The client is closed; or, later, the rows are used twice.
        """
        return JobResults._made(
            job,
            self._jobs,
            self._datasets,
            expected=check_expected(expected),
            decode=read_decode(decode),
            lineage=lineage,
        )

    async def check(
        self,
        requests: Requests,
        *,
        model: str | None = None,
        system_prompt: str | None = None,
        limits: Limits | None = None,
        max_problems: int = 100,
    ) -> CheckReport:
        """Look at requests as `run` would, and send nothing.

        Every line must be a JSON object with a ``custom_id`` that is there once, and a ``body``
        with ``messages`` or ``prompt_token_ids``. Lines of the OpenAI batch format are good. All
        work is done off the event loop but the parsing of a single line, of 16 MiB at most: that
        of 16 MB of text holds it for some 25 ms, of as much in small objects for six times as long.

        Args:
            requests: The path of a file (``.jsonl``, ``.jsonl.gz``), or an iterable of mappings,
                sync or async; those are written to a temporary file.

            model: The job's model, which rows must not contradict; any will do if None.

            system_prompt: The job's system prompt, which rows of token ids cannot take.

            limits: What one job takes.

            max_problems: Bad rows to name, 1 or more; all are counted.

        Returns:
            Rows, bytes, the jobs that they would make, and bad rows by line, id and reason.

        Raises:
            ConfigurationError: An argument is malformed.
            LocalFileError: The file cannot be read.
            InputRowsError: The file is damaged. Bad rows are in the report.
        """
        rules = RowRules(model=model, has_system_prompt=bool(system_prompt))
        options = RunOptions(on_bad_row="skip", limits=_given(limits), max_problems=max_problems)
        return await check_requests(requests, rules, options)

    async def submit(
        self,
        requests: Requests,
        *,
        model: str,
        name: str | None = None,
        inference_parameters: InferenceParameters | Mapping[str, Any] | None = None,
        precision: Precision | str | None = None,
        max_job_duration: float | None = None,
        system_prompt: str | None = None,
        placement: Placement | Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        on_bad_row: Literal["raise", "skip"] = "raise",
        on_previous: Literal["adopt", "new"] = "adopt",
    ) -> Submission:
        """Make sure that the server has the jobs for requests, and return without waiting.

        May be repeated after a crash at any moment, and by two processes at once: ids derive from
        account, model, parameters, ``name`` and content, so that the same call finds the same
        datasets and jobs.

        Args:
            requests: The path of a file (``.jsonl``, ``.jsonl.gz``), or an iterable of mappings,
                sync or async; those are written to a temporary file.

            model: The model's resource name, as in ``"accounts/fireworks/models/demo-8b"``.

            name: The run's key, as in ``f"nightly-{date}"``: the same requests under another name
                are other jobs. The ids begin with it.

            inference_parameters: Sampling defaults of all rows.

            precision: The precision to serve with; chosen by the server if None.

            max_job_duration: The window in seconds; the server bounds it to 12 to 72 hours.

            system_prompt: Given to rows that have no leading system message.

            placement: Where the jobs may run.

            limits: What one job takes; more rows make more jobs.

            on_bad_row: ``"raise"``, or ``"skip"`` to leave bad rows out, with a warning.

            on_previous: What becomes of jobs of the same rows that ended badly before:
                ``"adopt"`` takes them as they are, ``"new"`` runs the rest again: EXPIRED and
                EARLY_STOPPED ones are continued; of others the results are fetched, and rows
                without a response are sent.

        Returns:
            What the server was given; `collect` takes it, in another process too.

        Raises:
            ConfigurationError: An argument is malformed; nothing was sent.
            LocalFileError: The file cannot be read, or was changed while it was sent.
            InputRowsError: There are bad rows, or none at all; nothing was sent.
            JobConflictError: An id is taken by another job.
            APIStatusError: The server refuses.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        template = self._template(
            name,
            model=model,
            inference_parameters=inference_parameters,
            precision=precision,
            max_job_duration=max_job_duration,
            system_prompt=system_prompt,
            placement=placement,
        )
        options = RunOptions(limits=_given(limits), on_bad_row=on_bad_row, on_previous=on_previous)
        return await Run(self._api, self._jobs, self._datasets, options).submit(requests, template)

    async def collect(
        self,
        submission: Submission,
        *,
        requests: Requests | None = None,
        output: str | os.PathLike[str] | None = None,
        errors: str | os.PathLike[str] | None = None,
        on_progress: Callable[[RunProgress], object] | None = None,
        cleanup: Literal["keep", "datasets"] = "keep",
        timeout: float | JobTimeLimit | None = JOB_TIME_LIMIT,  # noqa: ASYNC109 - of each wait
        poll: PollPolicy | None = None,
    ) -> BatchResult:
        """Wait for the jobs of a submission, and put their results together.

        Args:
            submission: What `submit` returned.

            requests: The requests that were submitted, if they are at hand. With them the report
                names what is missing, and rows keep their order; without them missing rows are
                only counted, and rows come in the order of their ids.

            output: A file for the rows with a response; it appears when it is whole, in place of
                one that is there, or of the one that a symbolic link names.

            errors: The same for the rows with an error.

            on_progress: Called in the event loop with a `RunProgress` after each look.

            cleanup: ``"datasets"`` deletes the input datasets when all results are here, but for
                rows that no job has completed; outputs stay: a repeated call finds them.

            timeout: Seconds for each job, above 0. By default as long as the job's own window,
                and an hour. None: no limit.

            poll: When to look at jobs, and for how long to put up with an outage; the client's
                policy if None.

        Returns:
            The rows, on disk, and the report. What became of jobs and rows is not raised:
            `BatchResult.raise_for_failures` is yours to call. A job that somebody has deleted
            stands in the report; only if all are gone, that is an error.

        Raises:
            ConfigurationError: An argument is malformed, or the requests are others.
            LocalFileError: A file cannot be read or written.
            WaitError: A job's end cannot be known: see `Jobs.wait_until_terminal`.
            NotFoundError: None of the jobs is there.
            APIStatusError: The server or the storage refuses.
            TransportError: There was no usable answer for the policy's ``failure_budget``.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        options = RunOptions(
            output=output,
            errors=errors,
            on_progress=on_progress,
            cleanup=cleanup,
            timeout=timeout,
            poll=poll,
        )
        return await Run(self._api, self._jobs, self._datasets, options).collect(
            submission, requests
        )

    async def run(  # noqa: PLR0913 - what a job is like, and what a run is like
        self,
        requests: Requests,
        *,
        model: str,
        name: str | None = None,
        inference_parameters: InferenceParameters | Mapping[str, Any] | None = None,
        precision: Precision | str | None = None,
        max_job_duration: float | None = None,
        system_prompt: str | None = None,
        placement: Placement | Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        on_bad_row: Literal["raise", "skip"] = "raise",
        on_previous: Literal["adopt", "new"] = "adopt",
        output: str | os.PathLike[str] | None = None,
        errors: str | os.PathLike[str] | None = None,
        max_in_flight: int | None = None,
        on_progress: Callable[[RunProgress], object] | None = None,
        retry_rows: int = 0,
        on_abort: Literal["leave", "delete"] = "leave",
        cleanup: Literal["keep", "datasets"] = "keep",
        timeout: float | JobTimeLimit | None = JOB_TIME_LIMIT,  # noqa: ASYNC109 - of each wait
        poll: PollPolicy | None = None,
    ) -> BatchResult:
        """Bring requests to results: check, submit, wait, collect.

        After a crash at any moment, the same call goes on with the same jobs: nothing is billed
        twice, and no row that was paid for is thrown away. Two processes may make it at once.
        An outage of the API does not end it: steps without a usable answer are done again for
        ``PollPolicy.failure_budget`` seconds. Giving up leaves the jobs running, unless
        ``on_abort`` says otherwise.

        Args:
            requests: As with `submit`.

            model: As with `submit`, as all up to ``on_previous``.

            name: The run's key.

            inference_parameters: Sampling defaults of all rows.

            precision: The precision to serve with.

            max_job_duration: The window of each job in seconds.

            system_prompt: Given to rows that have no leading system message.

            placement: Where the jobs may run.

            limits: What one job takes.

            on_bad_row: ``"raise"`` or ``"skip"``.

            on_previous: ``"adopt"`` or ``"new"``.

            output: As with `collect`.

            errors: As with `collect`.

            max_in_flight: Jobs under way at a time, 1 or more; None: all of them.

            on_progress: Called in the event loop with a `RunProgress`, one snapshot of the whole;
                what it raises ends the run.

            retry_rows: How often to send rows again that failed retryably or are missing, as small
                jobs. Of jobs that are EXPIRED or EARLY_STOPPED the rest is continued first, as
                often at most, counted over all calls. Rows of FAILED jobs are not sent again. Where
                the server refuses to take rows again, the report says why.

            on_abort: What becomes of jobs under way when this call ends with an error or is
                cancelled: ``"leave"``, or ``"delete"``, which takes 20 seconds at most. The
                exception has a note about it.

            cleanup: As with `collect`.

            timeout: As with `collect`.

            poll: As with `collect`.

        Returns:
            As with `collect`; rows are in the order of the requests.

        Raises:
            ConfigurationError: An argument is malformed; nothing was sent.
            LocalFileError: A file cannot be read or written, or was changed while it was sent;
                found out before anything is sent, where it can be.
            InputRowsError: There are bad rows, or none at all; nothing was sent.
            WaitError: A job's end cannot be known: see `Jobs.wait_until_terminal`.
            JobConflictError: An id is taken by another job.
            APIStatusError: The server or the storage refuses.
            TransportError: There was no usable answer for the budget's time.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        template = self._template(
            name,
            model=model,
            inference_parameters=inference_parameters,
            precision=precision,
            max_job_duration=max_job_duration,
            system_prompt=system_prompt,
            placement=placement,
        )
        options = RunOptions(
            limits=_given(limits),
            on_bad_row=on_bad_row,
            on_previous=on_previous,
            output=output,
            errors=errors,
            max_in_flight=max_in_flight,
            on_progress=on_progress,
            retry_rows=retry_rows,
            on_abort=on_abort,
            cleanup=cleanup,
            timeout=timeout,
            poll=poll,
        )
        return await Run(self._api, self._jobs, self._datasets, options).run(requests, template)

    def _template(self, name: str | None, **arguments: Any) -> JobTemplate:
        return job_template(self._api.codec, name=name, arguments=arguments)

    async def aclose(self) -> None:
        """Close the client: waits and calls under way end with `ClientStateError`.

        Remote jobs are not touched. Closing twice does nothing.

        Raises:
            ClientStateError: The client was used on another event loop.
        """
        await self._api.session.aclose(self._pollers.close)
        await self._pollers.settled()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        api = self._made()
        if api is None:
            return "<BatchClient, not configured>"
        state = ", closed" if api.session.is_closed else ""
        return f"<BatchClient of account {api.account.id!r} on {api.base_url}{state}>"

    def _made(self) -> Api | None:
        """Return what `__init__` makes; None where it has failed."""
        return vars(self).get("_api")

    def __del__(self) -> None:
        api = self._made()
        if api is not None and api.session.is_open:
            api.session.abandon()
            warnings.warn(
                f"{self!r} was never closed: use it with 'async with', or await aclose()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


def _wall() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - here the clock is what is passed in


def _clock() -> float:
    return asyncio.get_running_loop().time()


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _tell_unknown(member: OpenEnum) -> None:
    _log.warning(
        "%s %r is none that this release knows; it is passed on as it is",
        type(member).__name__,
        member.wire,
    )


def _given(limits: Limits | None) -> Limits:
    return Limits() if limits is None else limits
