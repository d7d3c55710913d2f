"""The operator: from requests to results, in one task that takes no worker while it waits."""

import asyncio
import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import attrs
from airflow.sdk import BaseOperator, BaseOperatorLink, Context, literal
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException

from fireworks_batch import (
    BatchClient,
    ConfigurationError,
    FireworksBatchError,
    InferenceParameters,
    JobRef,
    Limits,
    Placement,
    PollPolicy,
    Precision,
    RunReport,
    Submission,
)
from fireworks_batch.airflow.hooks.batch import FireworksBatchHook
from fireworks_batch.airflow.jobs import delete_running, still_running, until_ended
from fireworks_batch.airflow.operators.files import PathLike, TaskFiles, TaskRequests, task_files
from fireworks_batch.airflow.operators.link import FireworksBatchJobLink
from fireworks_batch.airflow.operators.work import Work
from fireworks_batch.airflow.triggers.job import FireworksBatchJobTrigger

__all__ = ["FireworksBatchOperator", "run_name"]


# Most characters of a run's name.
_LONGEST_NAME: Final = 500


def run_name(context: Context) -> str:
    """Return the name of the run of a task instance. It is the same for each try of the task."""
    ti = context["ti"]
    parts = [ti.dag_id, ti.run_id, ti.task_id]
    if ti.map_index is not None and ti.map_index >= 0:
        parts.append(str(ti.map_index))
    name = "/".join(parts)
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: _LONGEST_NAME - len(digest) - 1]}-{digest}"


class FireworksBatchOperator(BaseOperator):
    """Runs requests: submits them once, waits without a worker, and writes the results.

    The name of the run derives from DAG, run, task and map index. So another try of the task finds
    the jobs of the try before, and waits for them: nothing is submitted or billed twice. The task
    fails if more rows than ``max_failed_rows`` have no response. Even then, its files have the rows
    that came.

    The task reads the requests again after the wait: do not change their file during the wait.

    Returns:
        A manifest, as XCom: ``account_id``, ``jobs`` (ids), ``rows``, ``succeeded``, ``failed``,
        ``missing`` and the other numbers of `RunReport`, ``output`` and ``errors`` (paths).

    Args:
        requests: The path of a file of JSON lines (``.jsonl``, ``.jsonl.gz``), local or in an
            object storage (``s3://…``, `ObjectStoragePath`), or a list of mappings. Each request
            has a ``custom_id`` that no other request has, and a ``body``. A path is templated. A
            list is not templated, so that prompts may have braces.
        model: The resource name of the model. Templated.
        output_path: The file for the rows with a response, local or in an object storage.
            Templated.
        errors_path: The file for the rows with an error instead of a response. If None, these rows
            are only counted. Templated.
        name: The name of the run, 1 to 500 characters. If None, it derives from the task. Tasks
            with the same name and the same requests share jobs. Templated.
        inference_parameters: Sampling defaults of all rows: `InferenceParameters`, or a mapping of
            its members. Templated.
        precision: The precision to serve the model with; None lets the server choose.
        max_job_duration: The job time limit in seconds, 43,200 to 259,200 (12 to 72 hours); None
            means 24 hours.
        system_prompt: A system message for rows that do not begin with one. Templated.
        placement: Where the jobs may run: `Placement`, or a mapping of its members; None lets the
            server choose.
        limits: Most rows and bytes of one job. Further rows go to further jobs. None is the limits
            of the vendor.
        on_bad_row: ``"raise"`` fails the task if a row is bad, before anything is sent. ``"skip"``
            leaves bad rows out, with a warning for each.
        on_previous: What the task does about jobs of the same rows that had ended badly before this
            try. ``"adopt"`` takes their outcome. ``"new"`` runs rows without a response again.
        retry_rows: How often rows that failed retryably, or are missing, are sent again: 0 or more.
        max_failed_rows: The most rows without a response with which the task still succeeds: 0 or
            more.
        cleanup: ``"datasets"`` deletes the input datasets of jobs that are COMPLETED. ``"keep"``
            deletes nothing.
        cancel_on_kill: Whether running jobs are deleted when a user marks the deferred task as
            failed or as success. A task that waits in its worker cannot tell a user from a
            shutdown: its jobs are deleted at each SIGTERM.
        timeout: Most seconds of each wait, above 0. If None, the wait for a job ends an hour after
            the job's own expiry.
        poll: When to poll jobs; None means the default policy.
        deferrable: Whether the task is deferred while it waits, so that it takes no worker. The
            default is Airflow's setting ``[operators] default_deferrable``.
        fireworks_conn_id: The id of the connection. Templated.
        kwargs: The arguments that every operator of Airflow takes, such as ``task_id``.

    Raises:
        ConfigurationError: ``timeout`` is not above 0. Other arguments are checked when the task
            runs.
    """

    template_fields: Sequence[str] = (
        "requests",
        "model",
        "output_path",
        "errors_path",
        "name",
        "inference_parameters",
        "system_prompt",
        "fireworks_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "requests": "json",
        "inference_parameters": "json",
    }
    operator_extra_links: Collection[BaseOperatorLink] = (FireworksBatchJobLink(),)
    ui_color = "#efe3ff"

    def __init__(  # noqa: PLR0913 - what a run is like, and what a task is like
        self,
        *,
        requests: TaskRequests,
        model: str,
        output_path: PathLike,
        errors_path: PathLike | None = None,
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
        max_failed_rows: int = 0,
        cleanup: Literal["keep", "datasets"] = "keep",
        cancel_on_kill: bool = False,
        timeout: float | None = None,
        poll: PollPolicy | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        fireworks_conn_id: str = FireworksBatchHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        is_list = isinstance(requests, Sequence) and not isinstance(requests, str)
        self.requests: Any = literal(requests) if is_list else requests
        self.model = model
        self.output_path = output_path
        self.errors_path = errors_path
        self.name = name
        self.inference_parameters = inference_parameters
        self.precision = precision
        self.max_job_duration = max_job_duration
        self.system_prompt = system_prompt
        self.placement = placement
        self.limits = limits
        self.on_bad_row = on_bad_row
        self.on_previous = on_previous
        self.retry_rows = retry_rows
        self.max_failed_rows = max_failed_rows
        self.cleanup = cleanup
        self.cancel_on_kill = cancel_on_kill
        seconds: object = 1 if timeout is None else timeout
        if not isinstance(seconds, int | float) or not seconds > 0:
            raise ConfigurationError(
                f"timeout must be a number of seconds above 0, not {timeout!r}"
            )
        self.timeout = timeout
        self.poll = poll
        self.deferrable = deferrable
        self.fireworks_conn_id = fireworks_conn_id
        self._work = Work()

    # --- What Airflow calls -----------------------------------------------------------------------

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit the requests, defer the task while their jobs run, and collect the results.

        Args:
            context: The context of the task, given by Airflow.

        Returns:
            The manifest.

        Raises:
            AirflowException: More rows than ``max_failed_rows`` have no response.
            FireworksBatchError: The requests are bad, or a call fails.
        """
        return self._go_on(context, None, self.on_previous)

    def execute_complete(
        self, context: Context, event: Mapping[str, Any], submission: str | None = None
    ) -> dict[str, Any]:
        """Collect the results, after the trigger has fired.

        Args:
            context: The context of the task, given by Airflow.
            event: The event of the trigger.
            submission: The submission, as the text that `Submission.to_json` returns. ``DAG.test``
                loses this argument. Then the requests are submitted again, which finds their jobs.

        Returns:
            The manifest.

        Raises:
            AirflowException: The outcome of a job cannot be known, or more rows than
                ``max_failed_rows`` have no response.
            FireworksBatchError: A call fails.
        """
        if event["status"] == "error":
            raise AirflowException(event["message"])
        stored = None if submission is None else Submission.from_json(submission)
        return self._go_on(context, stored, "adopt")

    def on_kill(self) -> None:
        """End the work in this process. With ``cancel_on_kill`` the jobs are deleted, too."""
        self._work.cancel()

    # --- The task ---------------------------------------------------------------------------------

    def _go_on(
        self, context: Context, submission: Submission | None, on_previous: str
    ) -> dict[str, Any]:
        name = self.name or run_name(context)
        client = FireworksBatchHook(self.fireworks_conn_id).get_conn()
        with (
            task_files(self.requests, self.output_path, self.errors_path) as files,
            self._work.begun(client),
        ):
            if submission is None:
                submission = self._submit(client, files, name, on_previous=on_previous)
            while True:
                FireworksBatchJobLink().push(context, submission.refs[0])
                self._wait(client, submission)
                report = self._collect(client, files, submission)
                again = self._send_again(client, files, name, submission, report)
                if again is None:
                    break
                submission = again
            files.put()
        self._check(report)
        return self._manifest(submission, report)

    def _submit(
        self, client: BatchClient, files: TaskFiles, name: str, **options: Any
    ) -> Submission:
        submission = self._work.run(
            client.submit(
                files.requests,
                model=self.model,
                name=name,
                inference_parameters=self.inference_parameters,
                precision=self.precision,
                max_job_duration=self.max_job_duration,
                system_prompt=self.system_prompt,
                placement=self.placement,
                limits=self.limits,
                on_bad_row=self.on_bad_row,
                **options,
            )
        )
        self.log.info("submitted as %r: %r", name, submission)
        return submission

    def _wait(self, client: BatchClient, submission: Submission) -> None:
        """Wait until no job runs: defer the task, or wait in this process.

        If all jobs have ended, the task must not be deferred: the trigger would fire before the
        scheduler knows that the task is deferred.
        """
        running = self._work.run(self._running(client, submission))
        if running:
            self.defer(
                trigger=FireworksBatchJobTrigger(
                    [ref.to_json() for ref in running],
                    self.fireworks_conn_id,
                    poll=None if self.poll is None else attrs.asdict(self.poll),
                    end_time=None if self.timeout is None else time.time() + self.timeout,
                    cancel_on_kill=self.cancel_on_kill,
                ),
                method_name="execute_complete",
                kwargs={"submission": submission.to_json()},
                timeout=self.execution_timeout,
            )

    async def _running(self, client: BatchClient, submission: Submission) -> list[JobRef]:
        """Return the running jobs. A task that cannot be deferred waits here, and returns none."""
        try:
            running = await still_running(client, submission.refs)
            if self.deferrable:
                return running
            await until_ended(client, running, timeout=self.timeout, poll=self.poll)
        except asyncio.CancelledError:
            if self.cancel_on_kill:
                await delete_running(client, submission.refs)
            raise
        return []

    def _collect(self, client: BatchClient, files: TaskFiles, submission: Submission) -> RunReport:
        async def collect() -> RunReport:
            async with await client.collect(
                submission,
                requests=files.requests,
                output=files.output,
                errors=files.errors,
                cleanup=self.cleanup,
                poll=self.poll,
            ) as result:
                return result.report

        return self._work.run(collect())

    def _send_again(
        self,
        client: BatchClient,
        files: TaskFiles,
        name: str,
        submission: Submission,
        report: RunReport,
    ) -> Submission | None:
        """Submit failed and missing rows again; return None if no new job was created."""
        if not self.retry_rows or report.is_complete:
            return None
        try:
            again = self._submit(client, files, name, retry_rows=self.retry_rows)
        except FireworksBatchError as error:
            # The results so far are not lost. A job of another shard may have been created before.
            self.log.warning("rows are not sent again: %s", error)
            again = self._submit(client, files, name)
        return None if again.refs == submission.refs else again

    def _check(self, report: RunReport) -> None:
        for remark in report.remarks:
            self.log.warning("%s", remark)
        if report.rows - report.succeeded <= self.max_failed_rows:
            return
        text = (
            f"{report}; the task accepts {self.max_failed_rows} rows without a response "
            "(max_failed_rows); rows that may do better are sent again with retry_rows"
        )
        reasons = (f"job {job.job_id!r}: {job.reason}" for job in report.jobs if job.reason)
        raise AirflowException("\n".join([text, *reasons]))

    def _manifest(self, submission: Submission, report: RunReport) -> dict[str, Any]:
        numbers = attrs.asdict(report, filter=lambda _, value: isinstance(value, int))
        del numbers["retried"]  # of one call, and the task made several
        return {
            "account_id": submission.account_id,
            "jobs": [job.job_id for job in report.jobs],
            **numbers,
            "output": str(self.output_path),
            "errors": None if self.errors_path is None else str(self.errors_path),
        }
