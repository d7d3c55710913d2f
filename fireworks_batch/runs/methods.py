"""From requests to results, as methods of the client: check, submit, collect, run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from fireworks_batch.connection.configuration import check_whole
from fireworks_batch.models.dataset import Limits
from fireworks_batch.models.job import InferenceParameters, Placement
from fireworks_batch.models.policies import JOB_TIME_LIMIT, JobTimeLimit, PollPolicy
from fireworks_batch.models.states import Precision
from fireworks_batch.runs.progress import CheckReport, RunProgress
from fireworks_batch.runs.services import Services
from fireworks_batch.runs.submission import Submission
from fireworks_batch.wire.codec import Codec

if TYPE_CHECKING:
    from fireworks_batch.runs.requests import Requests
    from fireworks_batch.runs.result import BatchResult
    from fireworks_batch.runs.spec import JobTemplate

__all__ = ["RunMethods"]


# What a run is made of is imported by the methods: importing the package must not cost it.


class RunMethods:
    """The part of `BatchClient` that goes from requests to results."""

    def __init__(self, services: Services, codec: Codec) -> None:
        """Take what a client shares between its parts."""
        self._services = services
        self._codec = codec

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
        from fireworks_batch.runs.request_rows import RowRules
        from fireworks_batch.runs.requests import check_requests
        from fireworks_batch.runs.spec import RunOptions

        rules = RowRules(model=model, has_system_prompt=bool(system_prompt))
        options = RunOptions(on_bad_row="skip", limits=_given(limits))
        check_whole("max_problems", max_problems)
        return await check_requests(requests, rules, options, most_problems=max_problems)

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
        from fireworks_batch.runs.run import Run
        from fireworks_batch.runs.spec import RunOptions

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
        return await Run(self._services, options).submit(requests, template)

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
        from fireworks_batch.runs.run import Run
        from fireworks_batch.runs.spec import RunOptions

        options = RunOptions(
            output=output,
            errors=errors,
            on_progress=on_progress,
            cleanup=cleanup,
            timeout=timeout,
            poll=poll,
        )
        return await Run(self._services, options).collect(submission, requests)

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
        from fireworks_batch.runs.run import Run
        from fireworks_batch.runs.spec import RunOptions

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
        return await Run(self._services, options).run(requests, template)

    def _template(self, name: str | None, **arguments: Any) -> JobTemplate:
        from fireworks_batch.runs.spec import job_template

        return job_template(self._codec, name=name, arguments=arguments)


def _given(limits: Limits | None) -> Limits:
    return Limits() if limits is None else limits
