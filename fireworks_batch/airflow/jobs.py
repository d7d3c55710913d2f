"""What tasks and triggers do with jobs: find running jobs, wait for jobs, and delete jobs."""

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
    """Poll jobs once, and return the jobs that have not ended. A job that is gone has ended.

    Args:
        client: The client.
        refs: The jobs.

    Returns:
        The references of running jobs, in the order given.

    Raises:
        FireworksBatchError: The state of a job cannot be known.
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
    """Wait until all jobs have ended. A job that is gone has ended.

    Args:
        client: The client.
        refs: The jobs.
        timeout: Most seconds to wait, above 0. If None, the wait for a job ends an hour after the
            job's own expiry.
        poll: When to poll; None means the client's policy.

    Raises:
        FireworksBatchError: The outcome of a job cannot be known.
    """
    limit = JOB_TIME_LIMIT if timeout is None else timeout
    outcomes = client.jobs.as_completed(refs, timeout=limit, poll=poll)
    async with aclosing(outcomes):
        async for outcome in outcomes:
            _raise_unless_gone(outcome.error)


async def delete_running(client: BatchClient, refs: Sequence[JobRef]) -> None:
    """Delete the jobs that have not ended. A job that is gone is left out.

    Args:
        client: The client.
        refs: The jobs.

    Raises:
        FireworksBatchError: A job cannot be deleted. The other jobs are deleted first.
    """
    failures: list[FireworksBatchError] = []

    async def delete(ref: JobRef) -> None:
        try:
            await client.jobs.delete(ref)
        except FireworksBatchError as error:
            # A proxy's 404 does not say that the job is gone.
            if not (isinstance(error, NotFoundError) and error.from_api):
                failures.append(error)

    async with asyncio.TaskGroup() as group:
        for ref in await still_running(client, refs):
            group.create_task(delete(ref))
    if failures:
        raise failures[0]


def _raise_unless_gone(error: FireworksBatchError | None) -> None:
    if error is not None and not isinstance(error, JobGoneError | NotFoundError):
        raise error
