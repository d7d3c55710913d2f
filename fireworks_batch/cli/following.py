"""Follow several jobs at once, and tell a display."""

import asyncio
import time
from collections.abc import Mapping

from fireworks_batch import BatchClient
from fireworks_batch.cli.board import Board, Ending
from fireworks_batch.cli.displays import Display
from fireworks_batch.jobs.wait import JobWait
from fireworks_batch.models.errors import (
    AccountSuspendedError,
    AuthenticationError,
    ClientStateError,
    FireworksBatchError,
)
from fireworks_batch.models.policies import JobTimeLimit

__all__ = ["follow"]

# What concerns all jobs alike ends the following of all.
_FOR_ALL = (AuthenticationError, AccountSuspendedError, ClientStateError)


async def follow(
    client: BatchClient,
    jobs: Mapping[str, str],
    board: Board,
    display: Display,
    *,
    timeout: float | JobTimeLimit | None,  # noqa: ASYNC109 - the API's name
) -> None:
    """Follow jobs until each has ended, or nothing more can be known of it.

    Args:
        client: The client.
        jobs: What each job was called, by its id.
        board: Takes what is seen.
        display: Is told of it.
        timeout: As of ``wait_until_terminal``.

    Raises:
        ExceptionGroup: What ended the following of all jobs, such as a bad key.
    """
    waits = {
        job_id: client.jobs.wait_until_terminal(job, timeout=timeout)
        for job_id, job in jobs.items()
    }

    def look() -> None:
        for job_id, wait in waits.items():
            board.lose(job_id, wait.failures)

    async with asyncio.TaskGroup() as group:
        fresh = group.create_task(display.keep_fresh(look))
        async with asyncio.TaskGroup() as followers:
            for job_id, wait in waits.items():
                followers.create_task(_follow_one(job_id, wait, board, display))
        fresh.cancel()


async def _follow_one(job_id: str, wait: JobWait, board: Board, display: Display) -> None:
    error = None
    try:
        async for snapshot in wait:
            board.see(snapshot, now=time.monotonic())
            display.see(snapshot)
    except _FOR_ALL:
        raise
    except FireworksBatchError as exc:
        error = exc
    last = wait.last_snapshot
    ending = Ending(job_id, last.job if last else None, error)
    board.end(ending)
    display.end(ending)
