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
from fireworks_batch.connection.credentials import Account, ApiKey, KeySource
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
from fireworks_batch.models.texts import fit_record, hidden
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


# A logger's filter sees no records of the loggers below it: each of ours has it.
for _part in ("", ".http", ".run", ".wait"):
    logging.getLogger(f"fireworks_batch{_part}").addFilter(fit_record)


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

            proxy: The URL of an HTTP proxy. None: HTTP(S)_PROXY and NO_PROXY of the environment,
                and no proxy to this machine. False: no proxy.

            ssl: A context, a fingerprint to pin, or False to trust any server.

            trace_configs: aiohttp's hooks for tracing, for a session of our own.

            allow_insecure_http: Accept an ``http`` URL to another machine, which shows the key
                to everybody on the way; and a signed ``http`` URL, which shows the rows.

        Raises:
            ConfigurationError: There is no key, or an argument or a variable of the environment
                is malformed. The text names the value, unless it is the key, and what is right.
        """
        api_key, proxy = hidden(api_key), hidden(proxy)  # before anything can raise
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
            allow_insecure_http=allow_insecure_http,
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
            request_timeout=options.request_timeout,
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
        """Read the rows of a job that has ended: rows that succeeded, and rows that failed.

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
            requests: The path of a file of JSON lines (``.jsonl``, ``.jsonl.gz``), or an iterable
                of mappings, sync or async, which is written to a temporary file. Each row has a
                ``custom_id`` that no other row has, and a ``body`` with ``messages`` or
                ``prompt_token_ids``.

            model: The resource name of the jobs' model, which rows must not contradict; None if
                any model will do.

            system_prompt: The system message of the jobs, which rows of ``prompt_token_ids``
                cannot take; None if the jobs have none.

            limits: Most rows and bytes of one job; the limits of the vendor if None.

            max_problems: Most bad rows to name in the report, 1 or more; all are counted.

        Returns:
            Rows, bytes, the jobs that they would make, and bad rows by line, id and reason. A
            remark says how many rows of ``prompt_token_ids`` have neither ``user`` nor
            ``prompt_cache_key``, and so no cache affinity (documented).

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
        retry_rows: int = 0,
    ) -> Submission:
        """Make sure that the server has the jobs of requests, and return without waiting for them.

        A call may be repeated after a crash at any moment, and two processes may make it at once:
        the ids of jobs and datasets derive from the account, the model, the parameters, ``name``
        and the rows, so that the same call finds the same jobs, and adopts them. The call returns
        when the newest attempt of each shard exists. With ``on_previous="new"`` or ``retry_rows``,
        rows that ended jobs have left unanswered are submitted too, as soon as it is known which
        rows the attempts before have answered. So a pipeline can do what `run` does without one
        long call: it submits, waits for the jobs of `Submission.refs`, and submits again, until
        none of them runs.

        Args:
            requests: The path of a file of JSON lines (``.jsonl``, ``.jsonl.gz``), or an iterable
                of mappings, sync or async, which is written to a temporary file. Each row has a
                ``custom_id`` that no other row has, and a ``body`` with ``messages`` or
                ``prompt_token_ids``.

            model: The resource name of the model, as in
                ``"accounts/fireworks/models/demo-8b"``.

            name: The key of the run, 1 to 500 characters, as in ``f"nightly-{date}"``; None for
                no key. The same requests under another name are other jobs. The ids of the jobs
                begin with what can be read of the name.

            inference_parameters: Sampling defaults of all rows: `InferenceParameters`, or a
                mapping of its members.

            precision: The precision to serve the model with; None lets the server choose.

            max_job_duration: The job time limit in seconds. The server bounds it to 12 to 72
                hours; None means 24 hours.

            system_prompt: A system message for rows that do not begin with one.

            placement: Where the jobs may run: `Placement`, or a mapping of its members; None lets
                the server choose.

            limits: Most rows and bytes of one job. Rows beyond them go to further jobs: the rows
                of one job are a shard. The limits of the vendor if None.

            on_bad_row: ``"raise"`` refuses the requests if a row is bad. ``"skip"`` leaves bad
                rows out, with a warning for each.

            on_previous: What to do about jobs of the same rows that ended badly before this call.
                ``"adopt"`` takes their outcome for the outcome, and reports it. ``"new"`` runs all
                rows without a response again, once for each shard, after any end but COMPLETED.
                Rows whose output is gone (404) are given up then, with a warning that names their
                number, and run again too.

            retry_rows: How often rows that failed retryably, or are missing, are sent again: 0 or
                more. They run in the next attempt of their shard while its number is at most
                ``retry_rows``; attempts of other callers count too. Rows are sent again after
                COMPLETED, EXPIRED and EARLY_STOPPED, not after FAILED or CANCELLED.

        Returns:
            What was submitted: the shards, with their ids. `collect` takes it, in another process
            too, and finds all attempts, also the attempts of other callers.

        Raises:
            ConfigurationError: An argument is malformed, and nothing was sent; or the rows have 20
                attempts already, and another name is needed.
            LocalFileError: The file cannot be read, or was changed while it was sent.
            InputRowsError: There are bad rows, or none at all; nothing was sent.
            JobConflictError: An id is taken by a job of another kind.
            WaitError: With ``on_previous="new"`` or ``retry_rows``: the end of an attempt cannot be
                known.
            APIStatusError: The server refuses.
            TransportError: There was no usable answer for the policy's ``failure_budget``.
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
            retry_rows=retry_rows,
        )
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

        All attempts of each shard are found, waited for and read, also the attempts of other
        callers; none is created. The answer of a row is the first response of its attempts, else
        the newest error.

        Args:
            submission: What `submit` returned.

            requests: The requests that were submitted, as a path or mappings, if they are at
                hand. With them the report names missing rows, and rows keep their order; without
                them missing rows are only counted, and rows come in the order of their ids.

            output: A file for the rows with a response. It appears when it is whole, in place of
                a file of that name; a symbolic link stays, and the file that it names is written.
                A file in place that has responses which the new result lacks is first renamed to
                ``<output>.previous``, with a warning.

            errors: A file for the rows with an error instead, written in the same way.

            on_progress: A plain function that is called in the event loop with a `RunProgress`,
                a snapshot of the whole, after each change. An exception that the function raises
                ends the call. A coroutine function is refused: hand snapshots to a queue with
                ``queue.put_nowait``.

            cleanup: ``"datasets"`` deletes the input datasets of each shard whose newest job is
                COMPLETED, when all results are on this machine. ``"keep"`` deletes nothing. Output
                datasets always stay: a repeated call finds them instead of running rows again.

            timeout: Seconds for which each job is waited for, above 0. By default a wait ends an
                hour after the job's own expiry. None: no limit.

            poll: When to poll jobs, and how long to put up with an outage
                (``PollPolicy.failure_budget``) and with an output that is late
                (``PollPolicy.not_found_grace``); the client's policy if None.

        Returns:
            The rows, on disk, and the report. What became of jobs and rows is not raised:
            `BatchResult.raise_for_failures` is yours to call. A job that was deleted stands in the
            report; it is an error only if all jobs are gone.

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
        twice, and no answer that was paid for is thrown away. Two processes may make the call at
        once. The rows of one job are a shard; the jobs that ever run them are its attempts. The
        call finds all attempts, adopts them, and creates another one only when it is known what
        became of each row of those before. An outage of the API does not end the call: steps
        without a usable answer are done again for ``PollPolicy.failure_budget`` seconds.

        Args:
            requests: The path of a file of JSON lines (``.jsonl``, ``.jsonl.gz``), or an iterable
                of mappings, sync or async, which is written to a temporary file. Each row has a
                ``custom_id`` that no other row has, and a ``body`` with ``messages`` or
                ``prompt_token_ids``.

            model: The resource name of the model, as in
                ``"accounts/fireworks/models/demo-8b"``.

            name: The key of the run, 1 to 500 characters, as in ``f"nightly-{date}"``; None for
                no key. The same requests under another name are other jobs. The ids of the jobs
                begin with what can be read of the name.

            inference_parameters: Sampling defaults of all rows: `InferenceParameters`, or a
                mapping of its members.

            precision: The precision to serve the model with; None lets the server choose.

            max_job_duration: The job time limit in seconds. The server bounds it to 12 to 72
                hours; None means 24 hours.

            system_prompt: A system message for rows that do not begin with one.

            placement: Where the jobs may run: `Placement`, or a mapping of its members; None lets
                the server choose.

            limits: Most rows and bytes of one job. Rows beyond them go to further jobs: the rows
                of one job are a shard. The limits of the vendor if None.

            on_bad_row: ``"raise"`` refuses the requests if a row is bad. ``"skip"`` leaves bad
                rows out, with a warning for each.

            on_previous: What to do about jobs of the same rows that ended badly before this call.
                ``"adopt"`` takes their outcome for the outcome, and reports it. ``"new"`` runs all
                rows without a response again, once for each shard, after any end but COMPLETED.
                Rows whose output is gone (404) are given up then, with a warning that names their
                number, and run again too.

            output: A file for the rows with a response. It appears when it is whole, in place of
                a file of that name; a symbolic link stays, and the file that it names is written.
                A file in place that has responses which the new result lacks is first renamed to
                ``<output>.previous``, with a warning.

            errors: A file for the rows with an error instead, written in the same way.

            max_in_flight: Most shards that are worked on at a time, 1 or more; None: all of them.

            on_progress: A plain function that is called in the event loop with a `RunProgress`,
                a snapshot of the whole, after each change. An exception that the function raises
                ends the call. A coroutine function is refused: hand snapshots to a queue with
                ``queue.put_nowait``.

            retry_rows: How often rows that failed retryably, or are missing, are sent again: 0 or
                more. They run in the next attempt of their shard while its number is at most
                ``retry_rows``; attempts of other callers count too. Rows are sent again after
                COMPLETED, EXPIRED and EARLY_STOPPED, not after FAILED or CANCELLED. Where the
                server takes no more rows, the report says why.

            on_abort: What to do about running jobs that this call has created, when it ends with
                an error or is cancelled: ``"leave"``, or ``"delete"``, which takes at most 20
                seconds. Jobs that were adopted are never deleted. The exception has a note about
                it.

            cleanup: ``"datasets"`` deletes the input datasets of each shard whose newest job is
                COMPLETED, when all results are on this machine. ``"keep"`` deletes nothing. Output
                datasets always stay: a repeated call finds them instead of running rows again.

            timeout: Seconds for which each job is waited for, above 0. By default a wait ends an
                hour after the job's own expiry. None: no limit.

            poll: When to poll jobs, and how long to put up with an outage
                (``PollPolicy.failure_budget``) and with an output that is late
                (``PollPolicy.not_found_grace``); the client's policy if None.

        Returns:
            The rows, on disk, in the order of the requests, and the report. What became of jobs
            and rows is not raised: `BatchResult.raise_for_failures` is yours to call.

        Raises:
            ConfigurationError: An argument is malformed, and nothing was sent; or the rows have 20
                attempts already, and another name is needed.
            LocalFileError: A file cannot be read or written, or was changed while it was sent;
                found out before anything is sent, where it can be.
            InputRowsError: There are bad rows, or none at all; nothing was sent.
            WaitError: The end of a job cannot be known: see `Jobs.wait_until_terminal`.
            JobConflictError: An id is taken by a job of another kind.
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
