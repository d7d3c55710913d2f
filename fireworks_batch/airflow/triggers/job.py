"""The trigger: waits for jobs in the triggerer, while the task takes no worker."""

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


# Seconds. Where a trigger fires before the scheduler has taken note that its task is deferred, the
# scheduler fails the task: 5 s were too few on a busy machine.
_FIRST_POLL: Final = 15.0


# States of a task that goes on no more.
_ENDED: Final = frozenset({"failed", "success", "removed"})


class FireworksBatchJobTrigger(BaseTrigger):
    """Waits until jobs can change no more, and fires one event.

    The event is ``{"status": "ended"}``, or ``{"status": "error", "message": ...}`` if the end of a
    job cannot be known. A job that is gone counts as ended. All triggers of a connection share one
    client, and so one poller. The metadata database has the arguments: none of them is a secret.

    Args:
        refs: References to the jobs: `JobRef.to_json`.
        fireworks_conn_id: The id of the connection.
        poll: The members of a `PollPolicy`, as ``attrs.asdict`` gives them; None for the default.
        end_time: When the wait ends at the latest, in POSIX seconds; None: an hour after each job's
            own expiry.
        cancel_on_kill: Whether jobs that still run are deleted when a user marks the deferred task
            as failed or as success.
        first_poll: Seconds until the first poll, at most, and two thirds of it at least: the task
            has just polled, and after a restart of the triggerer not all triggers begin at once.
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
        """Return the path of the class, and the arguments to make the trigger anew."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "refs": self.refs,
            "fireworks_conn_id": self.fireworks_conn_id,
            "poll": None if self.poll is None else dict(self.poll),
            "end_time": self.end_time,
            "cancel_on_kill": self.cancel_on_kill,
            "first_poll": self.first_poll,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the event."""
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
        """Delete the jobs that still run, if that was asked for and a user has ended the task.

        Airflow calls this whenever the trigger is not wanted here any more. A task that was cleared
        finds its job again; a trigger that was given to another triggerer is waited for there.
        """
        if self.cancel_on_kill and await self.task_state() in _ENDED:
            async with shared_client(self.fireworks_conn_id) as client:
                await delete_running(client, self._jobs())
            self.log.info("deleted the jobs that were still running, of %s", self.refs)

    async def task_state(self) -> str | None:
        """Return the state that the deferred task has now; None if it has none."""
        ti = self.task_instance
        if ti is None:
            return None
        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
        )
        return next(iter(states.get(ti.run_id, {}).values()), None)
