"""The trigger: it waits for jobs in the triggerer, while the task takes no worker."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from airflow.sdk.exceptions import AirflowException
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from fireworks_batch import FireworksBatchError, JobRef, PollPolicy
from fireworks_batch.airflow.hooks.batch import FireworksBatchHook
from fireworks_batch.airflow.jobs import delete_running, until_ended
from fireworks_batch.airflow.triggers.clients import shared_client

__all__ = ["FireworksBatchJobTrigger"]


# Seconds before the first poll. The scheduler fails a task if its trigger fires before the
# scheduler knows that the task is deferred. 5 s were too few on a busy machine.
_FIRST_POLL: Final = 15.0


# States of a task that has ended.
_ENDED: Final = frozenset({"failed", "success", "removed"})


class FireworksBatchJobTrigger(BaseTrigger):
    """Waits until all jobs have ended, and fires one event.

    The event is ``{"status": "ended"}``. It is ``{"status": "error", "message": ...}`` if the
    outcome of a job cannot be known. A job that is gone counts as ended. All triggers of a
    connection share one client, and so one poller. Airflow stores the arguments in its metadata
    database. None of them is a secret.

    Args:
        refs: References to the jobs, as texts that `JobRef.to_json` returns.
        fireworks_conn_id: The id of the connection.
        poll: The members of a `PollPolicy`, as ``attrs.asdict`` returns them; None means the
            default policy.
        end_time: The latest end of the wait, in POSIX seconds. If None, the wait for a job ends an
            hour after the job's own expiry.
        cancel_on_kill: Whether running jobs are deleted when a user marks the deferred task as
            failed or as success.
        first_poll: Most seconds before the first poll, 0 or more. The wait before it is random,
            from two thirds of this time on: the task has just polled, and after a restart of the
            triggerer not all triggers poll at once.
    """

    def __init__(
        self,
        refs: Sequence[str],
        fireworks_conn_id: str = FireworksBatchHook.default_conn_name,
        *,
        poll: Mapping[str, Any] | None = None,
        end_time: float | None = None,
        cancel_on_kill: bool = False,
        first_poll: float = _FIRST_POLL,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no types
        self.refs: list[str] = [*refs]
        self.fireworks_conn_id = fireworks_conn_id
        self.poll = poll
        self.end_time = end_time
        self.cancel_on_kill = cancel_on_kill
        self.first_poll = first_poll

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the class, and the arguments that create the trigger again."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "refs": self.refs,
            "fireworks_conn_id": self.fireworks_conn_id,
            "poll": None if self.poll is None else dict(self.poll),
            "end_time": self.end_time,
            "cancel_on_kill": self.cancel_on_kill,
            "first_poll": self.first_poll,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the jobs, and yield one event."""
        try:
            event = await self._wait()
        except (FireworksBatchError, AirflowException) as error:
            event = {"status": "error", "message": str(error)}
        yield TriggerEvent(event)

    async def _wait(self) -> dict[str, Any]:
        policy = None if self.poll is None else PollPolicy(**self.poll)
        await asyncio.sleep(self.first_poll * random.uniform(2 / 3, 1))
        timeout = None if self.end_time is None else max(1.0, self.end_time - time.time())
        async with shared_client(self.fireworks_conn_id) as client:
            await until_ended(client, self._jobs(), timeout=timeout, poll=policy)
        return {"status": "ended"}

    def _jobs(self) -> list[JobRef]:
        return [JobRef.from_json(ref) for ref in self.refs]

    async def on_kill(self) -> None:
        """Delete running jobs, if ``cancel_on_kill`` is set and a user has ended the task.

        Airflow calls this for other reasons too. Then no job is deleted: a task that was cleared
        finds its jobs again, and another triggerer may continue this wait.
        """
        if self.cancel_on_kill and await self.task_state() in _ENDED:
            async with shared_client(self.fireworks_conn_id) as client:
                await delete_running(client, self._jobs())
            self.log.info("deleted the jobs that were still running, of %s", self.refs)

    async def task_state(self) -> str | None:
        """Return the present state of the deferred task; None if it has no state."""
        ti = self.task_instance
        if ti is None:
            return None
        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
        )
        return next(iter(states.get(ti.run_id, {}).values()), None)
