"""What tasks and triggers do with jobs: see which of them run, wait for their end, delete them."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from fireworks_batch import (
    JOB_TIME_LIMIT,
    BatchClient,
    FireworksBatchError,
    JobGoneError,
    JobRef,
    NotFoundError,
    PollPolicy,
)

__all__ = ["delete_running", "still_running", "until_ended"]


async def still_running(client: BatchClient, refs: Sequence[JobRef]) -> list[JobRef]:
    """Poll jobs once, and return those that have not ended; a job that is gone has ended.

    Raises:
        FireworksBatchError: Whether a job has ended cannot be known.
    """
    running: dict[str, bool] = {}
    fleet = client.jobs.watch(refs)
    async with aclosing(fleet):
        async for snapshot in fleet:
            running[snapshot.job.id] = not snapshot.job.is_terminal and snapshot.error is None
            if len(running) == len(refs):
                break
    for outcome in fleet.outcomes.values():
        _raise_unless_gone(outcome.error)
    return [ref for ref in refs if running.get(ref.job_id)]


async def until_ended(
    client: BatchClient,
    refs: Sequence[JobRef],
    *,
    timeout: float | None,  # noqa: ASYNC109 - of the wait for each job
    poll: PollPolicy | None,
) -> None:
    """Wait until jobs can change no more; a job that is gone has ended.

    Args:
        client: The client.
        refs: The jobs.
        timeout: Seconds, above 0; None: until an hour after each job's own expiry.
        poll: When to poll; the client's policy if None.

    Raises:
        FireworksBatchError: The end of a job cannot be known.
    """
    limit = JOB_TIME_LIMIT if timeout is None else timeout
    outcomes = client.jobs.as_completed(refs, timeout=limit, poll=poll)
    async with aclosing(outcomes):
        async for outcome in outcomes:
            _raise_unless_gone(outcome.error)


async def delete_running(client: BatchClient, refs: Sequence[JobRef]) -> None:
    """Delete those of some jobs that have not ended; a job that is gone is passed over.

    Raises:
        FireworksBatchError: A job cannot be deleted; the others are.
    """
    failures: list[FireworksBatchError] = []

    async def delete(ref: JobRef) -> None:
        try:
            await client.jobs.delete(ref)
        except NotFoundError:
            pass
        except FireworksBatchError as error:
            failures.append(error)

    async with asyncio.TaskGroup() as group:
        for ref in await still_running(client, refs):
            group.create_task(delete(ref))
    if failures:
        raise failures[0]


def _raise_unless_gone(error: FireworksBatchError | None) -> None:
    if error is not None and not isinstance(error, JobGoneError | NotFoundError):
        raise error
