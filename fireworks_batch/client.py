"""The client: its configuration, its HTTP session, and the resources of its account."""

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
from fireworks_batch.models.names import model_name
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
from fireworks_batch.results.decoding import Decode, read_decode, read_response_format
from fireworks_batch.results.job_results import Expected, JobResults, check_expected
from fireworks_batch.runs.progress import CheckReport, RunProgress
from fireworks_batch.runs.request_rows import RowRules
from fireworks_batch.runs.requests import Requests, check_requests
from fireworks_batch.runs.result import BatchResult
from fireworks_batch.runs.run import Run
from fireworks_batch.runs.spec import JobTemplate, RunOptions, job_defaults, job_template
from fireworks_batch.runs.submission import Submission
from fireworks_batch.version import __version__
from fireworks_batch.wire.codec import Codec

__all__ = ["BatchClient"]


_T = TypeVar("_T")


_log = logging.getLogger("fireworks_batch")


_log.addHandler(logging.NullHandler())


# A logger's filter does not see records of child loggers, so each logger gets the filter.
for _part in ("", ".http", ".run", ".wait"):
    logging.getLogger(f"fireworks_batch{_part}").addFilter(fit_record)


_MIB: Final = 1024 * 1024


_USER_AGENT: Final = (
    f"fireworks-batch/{__version__} "
    f"Python/{'.'.join(platform.python_version_tuple()[:2])} aiohttp/{aiohttp.__version__}"
)


class BatchClient:
    """A client of one account: ``async with BatchClient() as client: ...``.

    The client makes its own HTTP session, or borrows one (``session=``). It is closed at the end of
    the ``async with`` block, or by `aclose`. Making and entering a client sends nothing, and needs
    no running event loop. A client belongs to the event loop on which it is first used, and to its
    process. After a fork, make a new client.
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
        """Configure the client. Each argument has a default.

        Args:
            api_key: The API key, or a function, sync or async, that returns the key. The function
                is called before each request, so that keys may rotate during a wait of days. None
                means FIREWORKS_API_KEY, then the file ``~/.fireworks/auth.ini``.

            account_id: The account's id. None means FIREWORKS_ACCOUNT_ID, then the file that the
                key came from. If neither names an account, the server is asked once, at the first
                request, for the accounts that the key sees. There must be exactly one.

            base_url: The URL of the API. None means FIREWORKS_BASE_URL, then
                ``https://api.fireworks.ai``. A path prefix is kept; ``/v1`` at the end is dropped.

            session: An aiohttp session to borrow. The client never closes it. The session must not
                have credentials of its own. None means that the client makes a session.

            poll: When waits poll, and when they give up. None means ``PollPolicy()``, with all
                durations multiplied by FIREWORKS_BATCH_TIME_SCALE.

            retry: How often calls repeat a request. None means ``RetryPolicy()``, with all
                durations multiplied by FIREWORKS_BATCH_TIME_SCALE.

            request_timeout: Seconds for one request, from its start to the end of the answer; above
                0.

            connect_timeout: Seconds for making a connection, with name resolution and TLS; above 0.

            transfer_timeout: Seconds for which an upload or download may send or receive nothing;
                above 0.

            max_connections: Most connections at a time, and most requests at a time; 1 or more.

            max_requests_per_minute: Most requests in a minute, evenly spaced; above 0. None means
                no limit.

            max_body_bytes: Most bytes of an answer, after decompression; 1 or more. Uploads and
                downloads have no such limit.

            headers: Headers to send with each request to the API; None for no further headers.

            proxy: The URL of an HTTP proxy. None means HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the
                environment, and no proxy for this machine. False means no proxy.

            ssl: An ``ssl.SSLContext``, an ``aiohttp.Fingerprint`` of the server's certificate, or
                False to accept any certificate. None and True mean aiohttp's default checks.

            trace_configs: Tracing hooks of aiohttp, for a session that the client makes.

            allow_insecure_http: Whether to accept an ``http`` base URL on another machine, which
                sends the key unencrypted, and signed ``http`` URLs, which send the rows
                unencrypted.

        Raises:
            ConfigurationError: There is no key, or an argument or an environment variable is
                malformed. The text says what is accepted, and shows the value unless it is secret.
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
        """The account's id; None until it is given, or learned from the server."""
        return self._api.account.id

    @property
    def jobs(self) -> Jobs:
        """The batch inference jobs of the account."""
        return self._jobs

    @property
    def datasets(self) -> Datasets:
        """The datasets of the account."""
        return self._datasets

    @overload
    def results(
        self,
        job: JobLike,
        *,
        expected: Expected | None = None,
        decode: None = None,
        lineage: bool = False,
    ) -> JobResults[None]: ...

    @overload
    def results(
        self,
        job: JobLike,
        *,
        expected: Expected | None = None,
        decode: Decode[_T],
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
        """Read the result rows of a job that has ended, succeeded rows and failed rows.

        ::

            async with client.results("nightly-eval") as rows:
                async for row in rows:
                    print(row.custom_id, row.text if row.ok else row.error)
            print(rows.report)

        A job in any terminal state can have rows. An EXPIRED, CANCELLED or EARLY_STOPPED job has
        the rows that it finished, which were paid for. A job that FAILED early has no rows
        (``report.no_output``).

        Entering the block downloads the output dataset to a temporary directory, in TMPDIR or the
        system's place for temporary files. Leaving the block removes the directory. The rows do not
        come in the order of the input; ``rows.ordered()`` yields them in that order.

        Args:
            job: The job's id or resource name, a `JobRef`, or a job fetched before. The job is
                fetched, unless it is given in a terminal state with an output dataset.

            expected: The ids of the input, as an iterable that is read once, or the path of the
                input file. The report then names the ids without a row, and the rows with an id
                that is not in the input. None if the input is not at hand.

            decode: How to make the ``output`` of a row: an object with ``response_format`` and
                ``read(text)``, as ``integrations.pydantic.output`` makes; or an attrs class or
                another type that cattrs can make of the response; or a function that takes the
                response's mapping. If a response does not fit, the row has an error, and
                ``row.response`` is still there: ``"invalid_output"`` from an object,
                ``"undecodable"`` from a type or a function. None makes no outputs.

            lineage: Whether to read the rows of the whole continuation chain. The files of results
                come first, the given job's before those of older jobs. The files of errors follow,
                in the same order. An error is left out if an earlier file has a row of the same id,
                because a later job ran this row again.

        Returns:
            A context manager and async iterator over `ResultRow` values, for one use. Nothing is
            sent before the block is entered. Memory stays bounded with any number of rows.

        Raises:
            ConfigurationError: An argument is malformed. ``job`` and ``expected`` are checked when
                the block is entered.
            JobNotFinishedError: On entering, like the following errors: the job has not ended.
            NotFoundError: There is no such job.
            LocalFileError: A file cannot be written, or the input file cannot be read.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: An answer of the API cannot be read.
            ClientStateError: The client is closed, or belongs to another loop. While iterating: the
                rows are used twice.
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
        inference_parameters: InferenceParameters | Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        max_problems: int = 100,
        decode: Decode[Any] | None = None,
    ) -> CheckReport:
        """Check requests as `run` does, without sending anything.

        Every row must be a JSON object with a ``custom_id`` that no other row has, and a ``body``
        with ``messages`` or ``prompt_token_ids``. Lines of the OpenAI batch format are accepted.

        The file is read in a thread. But while a row is parsed, the event loop has to wait. A row
        has at most 16 MiB. A row of 16 MB of text is parsed in about 25 ms (measured); a row of the
        same size with many small objects takes six times as long.

        Args:
            requests: The rows: the path of a file of JSON lines (``.jsonl`` or ``.jsonl.gz``), or
                an iterable of mappings, sync or async. An iterable is written to a temporary file.
                Each row has a ``custom_id`` that no other row has, and a ``body`` with ``messages``
                or ``prompt_token_ids``.

            model: The resource name of the jobs' model. A row that names another model is bad. None
                accepts any model.

            system_prompt: The system message of the jobs. With a system message, rows of
                ``prompt_token_ids`` are bad. None if the jobs have no system message.

            inference_parameters: Sampling defaults of all rows: `InferenceParameters`, or a
                mapping of its members. Here ``max_tokens`` and ``n`` count, for ``content`` of the
                report. None means the server's defaults.

            limits: The most rows and bytes of one job. None means the vendor's limits.

            max_problems: Most bad rows to describe in the report, 1 or more. All bad rows are
                counted.

            decode: What `run` will be given. If it has a ``response_format``, rows that have none
                are checked and counted with it. None leaves the rows as they are.

        Returns:
            A report with the number of rows and bytes, the jobs that `run` would create, and the
            bad rows, each with line, id and reason. A remark gives the number of rows of
            ``prompt_token_ids`` that have neither ``user`` nor ``prompt_cache_key``. Such rows have
            no cache affinity (documented). ``content`` has the numbers for an estimate of the
            price.

        Raises:
            ConfigurationError: An argument is malformed.
            LocalFileError: The file cannot be read.
            InputRowsError: The compressed file is damaged. Bad rows raise nothing: they are in the
                report.
        """
        rules = RowRules(
            model=None if model is None else model_name(model),
            has_system_prompt=bool(system_prompt),
            response_format=read_response_format(decode),
        )
        options = RunOptions(on_bad_row="skip", limits=_given(limits), max_problems=max_problems)
        defaults = job_defaults(system_prompt, inference_parameters)
        return await check_requests(requests, rules, options, defaults)

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
        decode: Decode[Any] | None = None,
        before_submit: Callable[[CheckReport], object] | None = None,
    ) -> Submission:
        """Create the jobs of requests, or adopt existing jobs, and return without waiting for them.

        The rows of one job are a shard. The jobs that run the rows of a shard are its attempts. The
        call returns when the newest attempt of each shard exists.

        The ids of jobs and datasets derive from the account, the model, the parameters, ``name``
        and the rows. So the same call finds the same jobs, and adopts them instead of creating
        others. The call may be repeated after a crash at any moment, and several processes may make
        the same call at once.

        With ``on_previous="new"`` or ``retry_rows``, a next attempt is created for remaining rows,
        as soon as the results of the earlier attempts are known. So a pipeline can do the work of
        `run` in short calls: submit, wait for the jobs of `Submission.refs`, and submit again,
        until no job is running.

        Args:
            requests: The rows: the path of a file of JSON lines (``.jsonl`` or ``.jsonl.gz``), or
                an iterable of mappings, sync or async. An iterable is written to a temporary file.
                Each row has a ``custom_id`` that no other row has, and a ``body`` with ``messages``
                or ``prompt_token_ids``.

            model: The resource name of the model, as in
                ``"accounts/fireworks/models/demo-8b"``. A model that cannot serve batch jobs is not
                refused: its jobs stay PENDING (documented, seen live).

            name: The key of the run, 1 to 500 characters, as in ``f"nightly-{date}"``. The same
                requests under another name make other jobs. The ids of the jobs begin with the
                letters and digits of the name. None for no key.

            inference_parameters: Sampling defaults of all rows: `InferenceParameters`, or a
                mapping of its members. None means the server's defaults.

            precision: The precision to serve the model with; None lets the server choose.

            max_job_duration: The job time limit in seconds, 43,200 to 259,200 (12 to 72 hours);
                None means 24 hours.

            system_prompt: A system message for rows that do not begin with one; None for no
                message.

            placement: Where the jobs may run: `Placement`, or a mapping of its members. None lets
                the server choose.

            limits: The most rows and bytes of one job. More rows are divided among several jobs.
                The rows of one job are a shard. None means the vendor's limits.

            on_bad_row: What to do if the server would refuse a row. ``"raise"`` raises
                `InputRowsError`, and sends nothing. ``"skip"`` leaves bad rows out, with
                a warning for each of the first 100.

            on_previous: What to do if earlier jobs of the same rows ended in another state than
                COMPLETED. ``"adopt"`` adopts such a job, and its outcome. ``"new"`` creates one
                more job for each such shard, which runs all rows without a response. With
                ``"new"``, results whose output dataset was deleted (404) are given up: a warning
                gives the number of these rows, and the rows run again.

            retry_rows: How often rows are sent again if they are missing or failed with an error
                that may be temporary (``ResultRow.is_retryable``); 0 or more. Such rows run in the
                next attempt of their shard, as long as its number is at most ``retry_rows``.
                Attempts are numbered from 0, and attempts of other callers count too. Rows are sent
                again after COMPLETED, EXPIRED and EARLY_STOPPED, not after FAILED or CANCELLED.

            decode: How to make the ``output`` of a row: an object with ``response_format`` and
                ``read(text)``, as ``integrations.pydantic.output`` makes; or an attrs class or
                another type that cattrs can make of the response; or a function that takes the
                response's mapping. It is called in a thread, several times for a row. A
                ``response_format`` is given to each row that has none, and is part of the run's
                identity. A row whose response does not fit is a row that failed. Its code is
                ``"invalid_output"`` if an object refused the text: such a row runs again if
                ``retry_rows`` allows it. Its code is ``"undecodable"`` if a type or a function
                refused the response. None makes no outputs.

            before_submit: A plain function that is called in the event loop with the `CheckReport`
                of the requests, before anything is sent. An exception that the function raises ends
                the call, as ``integrations.cost.cap`` does. The function is also called if all jobs
                exist already: to go on with jobs whatever they cost, leave it out. None calls
                nothing.

        Returns:
            The submission, with the ids of each shard. `collect` takes it, also in another process,
            and finds all attempts, including attempts of other callers.

        Raises:
            ConfigurationError: An argument is malformed; nothing was sent. Or a shard has 20
                attempts already: give another ``name``.
            LocalFileError: The file cannot be read, or was changed while it was sent.
            InputRowsError: There are bad rows, or no rows; nothing was sent.
            JobConflictError: An id is taken by a different job.
            WaitError: With ``on_previous="new"`` or ``retry_rows``: the outcome of an attempt
                cannot be learned.
            APIStatusError: The server refuses.
            TransportError: There was no usable answer for ``PollPolicy.failure_budget`` seconds.
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
            decode=decode,
        )
        options = RunOptions(
            limits=_given(limits),
            on_bad_row=on_bad_row,
            on_previous=on_previous,
            retry_rows=retry_rows,
            decode=decode,
            before_submit=before_submit,
        )
        return await Run(self._api, self._jobs, self._datasets, options).submit(requests, template)

    @overload
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
        decode: None = None,
    ) -> BatchResult[None]: ...

    @overload
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
        decode: Decode[_T],
    ) -> BatchResult[_T]: ...

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
        decode: Any = None,
    ) -> BatchResult[Any]:
        """Wait for the jobs of a submission, and collect their results.

        All attempts of each shard are found, waited for and read, including attempts of other
        callers. No job is created. The result of a row is its first response in the order of the
        attempts. If no attempt has a response, the result is the newest error. Of responses that
        ``decode=`` refuses, the newest one counts. If the rows were submitted with a response
        format, and are collected without ``decode=``, the newest response counts.

        Args:
            submission: The result of `submit`, also from another process
                (`Submission.from_json`).

            requests: The requests that were submitted, as a path or as mappings. With the requests
                the report names missing rows, and rows come in the order of the requests. None if
                the requests are not at hand: missing rows are then only counted, and rows come in
                the order of their ids.

            output: The path of a file for the rows that succeeded; None for no file. The file gets
                its name when it is complete, and replaces an existing file. If the name is a
                symbolic link, the link stays, and the file that it names is replaced. If the
                existing file has responses that the new result lacks, it is first renamed to
                ``<output>.previous``, with a warning.

            errors: The path of a file for the rows that failed, also those with a response that
                ``decode=`` refused; None for no file. The file gets its name when it is complete,
                and replaces an existing file.

            on_progress: A plain function that is called in the event loop with a `RunProgress`
                after each change. An exception that the function raises ends the call. A coroutine
                function is refused: hand the values to a queue with ``queue.put_nowait`` instead.

            cleanup: Which datasets to delete when all results are on this machine. ``"keep"``
                deletes none. ``"datasets"`` deletes the input datasets of each shard whose newest
                job is COMPLETED. Output datasets are never deleted: a repeated call reads them
                instead of running rows again.

            timeout: Seconds for the wait for each job, above 0. By default the wait for a job ends
                an hour after the job expires (``expire_time``). None means no limit.

            poll: When to poll jobs, and when to give up. ``PollPolicy.failure_budget`` limits the
                time of an outage, and ``PollPolicy.not_found_grace`` limits the time for which an
                output may be late. None means the client's policy.

            decode: How to make the ``output`` of a row: an object with ``response_format`` and
                ``read(text)``, as ``integrations.pydantic.output`` makes; or an attrs class or
                another type that cattrs can make of the response; or a function that takes the
                response's mapping. It is called in a thread, several times for a row. A row whose
                response does not fit is a row that failed. Its code is ``"invalid_output"`` if an
                object refused the text, and ``"undecodable"`` if a type or a function refused the
                response. None makes no outputs.

        Returns:
            The rows, which are stored on disk, and the report. Failed jobs and rows raise nothing.
            To raise an error for them, call `BatchResult.raise_for_failures`. A job that was
            deleted is named in the report; it is an error only if all jobs were deleted.

        Raises:
            ConfigurationError: An argument is malformed, or the requests are not the submitted
                requests.
            LocalFileError: A file cannot be read or written.
            WaitError: The outcome of a job cannot be learned, for a reason that
                `Jobs.wait_until_terminal` documents.
            NotFoundError: None of the jobs exists any more.
            APIStatusError: The server or the storage refuses.
            TransportError: There was no usable answer for ``PollPolicy.failure_budget`` seconds.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        options = RunOptions(
            output=output,
            errors=errors,
            on_progress=on_progress,
            cleanup=cleanup,
            timeout=timeout,
            poll=poll,
            decode=decode,
        )
        return await Run(self._api, self._jobs, self._datasets, options).collect(
            submission, requests
        )

    @overload
    async def run(
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
        decode: None = None,
        before_submit: Callable[[CheckReport], object] | None = None,
    ) -> BatchResult[None]: ...

    @overload
    async def run(
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
        decode: Decode[_T],
        before_submit: Callable[[CheckReport], object] | None = None,
    ) -> BatchResult[_T]: ...

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
        decode: Any = None,
        before_submit: Callable[[CheckReport], object] | None = None,
    ) -> BatchResult[Any]:
        """Run requests: check them, submit them, wait for the jobs, and collect the results.

        After a crash at any moment, make the same call again. It continues with the same jobs:
        nothing is billed twice, and no paid result is lost. Several processes may make the same
        call at once.

        The rows of one job are a shard. The jobs that run the rows of a shard are its attempts. The
        call finds all existing attempts, and adopts them. It creates a further attempt only when
        the result of each row in the earlier attempts is known.

        An outage of the API does not end the call. A step without a usable answer is repeated for
        up to ``PollPolicy.failure_budget`` seconds.

        Args:
            requests: The rows: the path of a file of JSON lines (``.jsonl`` or ``.jsonl.gz``), or
                an iterable of mappings, sync or async. An iterable is written to a temporary file.
                Each row has a ``custom_id`` that no other row has, and a ``body`` with ``messages``
                or ``prompt_token_ids``.

            model: The resource name of the model, as in
                ``"accounts/fireworks/models/demo-8b"``. A model that cannot serve batch jobs is not
                refused: its jobs stay PENDING (documented, seen live).

            name: The key of the run, 1 to 500 characters, as in ``f"nightly-{date}"``. The same
                requests under another name make other jobs. The ids of the jobs begin with the
                letters and digits of the name. None for no key.

            inference_parameters: Sampling defaults of all rows: `InferenceParameters`, or a
                mapping of its members. None means the server's defaults.

            precision: The precision to serve the model with; None lets the server choose.

            max_job_duration: The job time limit in seconds, 43,200 to 259,200 (12 to 72 hours);
                None means 24 hours.

            system_prompt: A system message for rows that do not begin with one; None for no
                message.

            placement: Where the jobs may run: `Placement`, or a mapping of its members. None lets
                the server choose.

            limits: The most rows and bytes of one job. More rows are divided among several jobs.
                The rows of one job are a shard. None means the vendor's limits.

            on_bad_row: What to do if the server would refuse a row. ``"raise"`` raises
                `InputRowsError`, and sends nothing. ``"skip"`` leaves bad rows out, with
                a warning for each of the first 100.

            on_previous: What to do if earlier jobs of the same rows ended in another state than
                COMPLETED. ``"adopt"`` adopts such a job, and its outcome. ``"new"`` creates one
                more job for each such shard, which runs all rows without a response. With
                ``"new"``, results whose output dataset was deleted (404) are given up: a warning
                gives the number of these rows, and the rows run again.

            output: The path of a file for the rows that succeeded; None for no file. The file gets
                its name when it is complete, and replaces an existing file. If the name is a
                symbolic link, the link stays, and the file that it names is replaced. If the
                existing file has responses that the new result lacks, it is first renamed to
                ``<output>.previous``, with a warning.

            errors: The path of a file for the rows that failed, also those with a response that
                ``decode=`` refused; None for no file. The file gets its name when it is complete,
                and replaces an existing file.

            max_in_flight: Most shards that are worked on at a time, 1 or more. None means all
                shards.

            on_progress: A plain function that is called in the event loop with a `RunProgress`
                after each change. An exception that the function raises ends the call. A coroutine
                function is refused: hand the values to a queue with ``queue.put_nowait`` instead.

            retry_rows: How often rows are sent again if they are missing or failed with an error
                that may be temporary (``ResultRow.is_retryable``); 0 or more. Such rows run in the
                next attempt of their shard, as long as its number is at most ``retry_rows``.
                Attempts are numbered from 0, and attempts of other callers count too. Rows are sent
                again after COMPLETED, EXPIRED and EARLY_STOPPED, not after FAILED or CANCELLED.
                If the server accepts no further rows, the report says why.

            on_abort: What to do with running jobs that this call has created, if the call ends with
                an error or is cancelled. ``"leave"`` lets these jobs run. ``"delete"`` deletes
                them, which takes at most 20 seconds. Adopted jobs are never deleted. A note on the
                exception says what was done.

            cleanup: Which datasets to delete when all results are on this machine. ``"keep"``
                deletes none. ``"datasets"`` deletes the input datasets of each shard whose newest
                job is COMPLETED. Output datasets are never deleted: a repeated call reads them
                instead of running rows again.

            timeout: Seconds for the wait for each job, above 0. By default the wait for a job ends
                an hour after the job expires (``expire_time``). None means no limit.

            poll: When to poll jobs, and when to give up. ``PollPolicy.failure_budget`` limits the
                time of an outage, and ``PollPolicy.not_found_grace`` limits the time for which an
                output may be late. None means the client's policy.

            decode: How to make the ``output`` of a row: an object with ``response_format`` and
                ``read(text)``, as ``integrations.pydantic.output`` makes; or an attrs class or
                another type that cattrs can make of the response; or a function that takes the
                response's mapping. It is called in a thread, several times for a row. A
                ``response_format`` is given to each row that has none, and is part of the run's
                identity. A row whose response does not fit is a row that failed. Its code is
                ``"invalid_output"`` if an object refused the text: such a row runs again if
                ``retry_rows`` allows it. Its code is ``"undecodable"`` if a type or a function
                refused the response. None makes no outputs.

            before_submit: A plain function that is called in the event loop with the `CheckReport`
                of the requests, before anything is sent. An exception that the function raises ends
                the call, as ``integrations.cost.cap`` does. The function is also called if all jobs
                exist already: to go on with jobs whatever they cost, leave it out. None calls
                nothing.

        Returns:
            The rows in the order of the requests, which are stored on disk, and the report. Failed
            jobs and rows raise nothing. To raise an error for them, call
            `BatchResult.raise_for_failures`.

        Raises:
            ConfigurationError: An argument is malformed; nothing was sent. Or a shard has 20
                attempts already: give another ``name``.
            LocalFileError: A file cannot be read or written, or was changed while it was sent. As
                far as possible, files are checked before anything is sent.
            InputRowsError: There are bad rows, or no rows; nothing was sent.
            WaitError: The outcome of a job cannot be learned, for a reason that
                `Jobs.wait_until_terminal` documents.
            JobConflictError: An id is taken by a different job.
            APIStatusError: The server or the storage refuses.
            TransportError: There was no usable answer for ``PollPolicy.failure_budget`` seconds.
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
            decode=decode,
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
            decode=decode,
            before_submit=before_submit,
        )
        return await Run(self._api, self._jobs, self._datasets, options).run(requests, template)

    def _template(self, name: str | None, *, decode: Any, **arguments: Any) -> JobTemplate:
        response_format = read_response_format(decode)
        return job_template(
            self._api.codec, name=name, arguments=arguments, response_format=response_format
        )

    async def aclose(self) -> None:
        """Close the client; waits and calls under way end with `ClientStateError`.

        Remote jobs are not changed. A second call does nothing.

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
        """Return the API that `__init__` makes; None if `__init__` has failed."""
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
    return datetime.now(UTC)  # noqa: TID251 - this is the clock that is passed in


def _clock() -> float:
    return asyncio.get_running_loop().time()


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _tell_unknown(member: OpenEnum) -> None:
    _log.warning(
        "this release does not know the %s %r, and keeps the value as it is",
        type(member).__name__,
        member.wire,
    )


def _given(limits: Limits | None) -> Limits:
    return Limits() if limits is None else limits
