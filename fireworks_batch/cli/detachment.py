"""After an interrupt: name the jobs that run on, or delete the jobs."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Final

from fireworks_batch import BatchClient, FireworksBatchError, NotFoundError
from fireworks_batch.cli.display.advice import come_back
from fireworks_batch.cli.interrupts import InterruptedByUserError
from fireworks_batch.cli.session import Session
from fireworks_batch.models.texts import visible

__all__ = ["delete_jobs", "leave_jobs"]

# The commands for more jobs than these fill a screen.
_FEW: Final = 20
# Maximum seconds for the deletion.
_LONGEST: Final = 20.0


def leave_jobs(
    session: Session,
    job_ids: Sequence[str],
    *,
    state: str = "",
    unseen: int = 0,
    again: str | None = None,
    needs: str = "",
) -> None:
    """Say that jobs run on, with the two commands to come back to them and to delete them.

    Args:
        session: What the command works with.
        job_ids: The jobs; there may be none.
        state: The state of the job, in words, if there is only one job.
        unseen: How many of the jobs no poll has shown: whether these run is not known.
        again: The command to come back with; None for a command that waits.
        needs: What that command needs, in words.
    """
    wait, stop = come_back(job_ids, session.output.connection)
    lines = [] if job_ids or not again else ["interrupted: no job is known to run"]
    if job_ids:
        lines.append(_what_runs(job_ids, state, unseen))
    if job_ids or again:
        lines.append(f"  to come back{needs}: {again or wait}")
    if job_ids:
        lines.append(f"  to delete:    {stop}")
    # Commands that fill the screen come first: the line that is seen last matters most.
    for line in lines if len(job_ids) <= _FEW else reversed(lines):
        session.output.talk(line)


def _what_runs(job_ids: Sequence[str], state: str, unseen: int) -> str:
    is_one = len(job_ids) == 1
    if unseen == len(job_ids):
        return f"interrupted: {_named(job_ids)} {'was' if is_one else 'were'} not seen so far"
    if unseen:
        seen = len(job_ids) - unseen
        return f"detached: {seen} of {len(job_ids)} jobs run on; the others were not seen so far"
    return f"detached: {_named(job_ids)} {'runs on' if is_one else 'run on'}{state}"


async def delete_jobs(session: Session, job_ids: Sequence[str]) -> None:
    """Delete jobs, and name the jobs that may run on. Another interrupt ends the deletion at once.

    Args:
        session: What the command works with.
        job_ids: The jobs.
    """
    if not job_ids:
        return
    output = session.output
    remaining = dict.fromkeys(job_ids, f"no answer within {_LONGEST:g} s")
    output.talk(f"deleting {_named(job_ids)}; a second Ctrl-C leaves the jobs that remain")
    try:
        await session.interrupts.guard(_delete_all(session.client, remaining))
    except InterruptedByUserError:
        remaining = dict.fromkeys(remaining, "interrupted before there was an answer")
    for line in _what_became(job_ids, remaining):
        output.talk(line)
    if remaining:
        output.talk(f"  to delete: {come_back([*remaining], output.connection)[1]}")


async def _delete_all(client: BatchClient, remaining: dict[str, str]) -> None:
    """Delete jobs until the time is up. Jobs that may run on remain, each with the reason."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LONGEST), asyncio.TaskGroup() as group:
            for job_id in [*remaining]:
                group.create_task(_delete_one(client, job_id, remaining))


async def _delete_one(client: BatchClient, job_id: str, remaining: dict[str, str]) -> None:
    try:
        await client.jobs.delete(job_id)
    except FireworksBatchError as error:
        if not (isinstance(error, NotFoundError) and error.from_api):
            remaining[job_id] = str(error)
            return
    del remaining[job_id]


def _what_became(job_ids: Sequence[str], remaining: dict[str, str]) -> Iterator[str]:
    deleted = [job_id for job_id in job_ids if job_id not in remaining]
    if deleted:
        yield f"{_named(deleted)} {'is' if len(deleted) == 1 else 'are'} deleted"
    for job_id, reason in remaining.items():
        yield f"{visible(job_id)} may run on: {visible(reason)}"


def _named(job_ids: Sequence[str]) -> str:
    return visible(job_ids[0]) if len(job_ids) == 1 else f"{len(job_ids)} jobs"
