"""The sensor: it waits for a job that was created elsewhere."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

import attrs
from airflow.sdk import BaseOperatorLink, BaseSensorOperator, Context
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException

from fireworks_batch import BatchClient, BatchInferenceJob, FireworksBatchError, JobRef, PollPolicy
from fireworks_batch.airflow.hooks.batch import FireworksBatchHook
from fireworks_batch.airflow.operators.link import FireworksBatchJobLink
from fireworks_batch.airflow.triggers.job import FireworksBatchJobTrigger

__all__ = ["FireworksBatchJobSensor"]


class FireworksBatchJobSensor(BaseSensorOperator):
    """Waits for a job that was created elsewhere, and succeeds if the job is COMPLETED.

    After any other outcome the task fails, with the server's reason.

    Args:
        job: The id of the job, its resource name, or the text that `JobRef.to_json` returns.
            Templated.
        poll: When the trigger polls the job; None means the default policy. A sensor that is not
            deferrable polls every ``poke_interval`` seconds instead.
        deferrable: Whether the task is deferred while it waits, so that it takes no worker. The
            default is Airflow's setting ``[operators] default_deferrable``.
        fireworks_conn_id: The id of the connection. Templated.
        kwargs: The arguments that every sensor of Airflow takes, such as ``task_id``, ``timeout``
            and ``poke_interval`` (both in seconds).
    """

    template_fields: Sequence[str] = ("job", "fireworks_conn_id")
    operator_extra_links: Collection[BaseOperatorLink] = (FireworksBatchJobLink(),)
    ui_color = "#efe3ff"

    def __init__(
        self,
        *,
        job: str,
        poll: PollPolicy | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        fireworks_conn_id: str = FireworksBatchHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.poll = poll
        self.deferrable = deferrable
        self.fireworks_conn_id = fireworks_conn_id

    def poke(self, context: Context) -> bool:
        """Poll the job once, and return whether it is COMPLETED.

        Args:
            context: The context of the task, given by Airflow.

        Raises:
            AirflowException: The job has another outcome, or the poll failed.
        """
        return self._poll(context) is None

    def execute(self, context: Context) -> None:
        """Poll the job once. If it runs, defer the task, or poll on in the worker.

        Args:
            context: The context of the task, given by Airflow.

        Raises:
            AirflowException: The job has another outcome than COMPLETED, or the poll failed.
        """
        if self.deferrable:
            self._poll_or_defer(context)
        else:
            super().execute(context)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> None:
        """Read the outcome of the job, after the trigger has fired.

        Args:
            context: The context of the task, given by Airflow.
            event: The event of the trigger.

        Raises:
            AirflowException: The job has another outcome than COMPLETED, or the outcome cannot be
                known.
        """
        if event["status"] == "error":
            raise AirflowException(event["message"])
        self._poll_or_defer(context)

    def _poll_or_defer(self, context: Context) -> None:
        ref = self._poll(context)
        if ref is not None:
            self.defer(
                trigger=FireworksBatchJobTrigger(
                    [ref.to_json()],
                    self.fireworks_conn_id,
                    poll=None if self.poll is None else attrs.asdict(self.poll),
                ),
                method_name="execute_complete",
                timeout=timedelta(seconds=self.timeout),
            )

    def _poll(self, context: Context) -> JobRef | None:
        """Poll the job once. Return its reference if it runs, None if it is COMPLETED."""
        client = FireworksBatchHook(self.fireworks_conn_id).get_conn()
        try:
            ref, job = asyncio.run(self._get(client))
            FireworksBatchJobLink().push(context, ref)
            if job.is_terminal:
                job.raise_for_outcome()
                return None
        except FireworksBatchError as error:  # which Airflow's soft_fail does not know
            raise AirflowException(str(error)) from None
        return ref

    async def _get(self, client: BatchClient) -> tuple[JobRef, BatchInferenceJob]:
        named = JobRef.from_json(self.job) if self.job.startswith("{") else self.job
        async with client:
            job = await client.jobs.get(named)
            return client.jobs.ref(job), job
