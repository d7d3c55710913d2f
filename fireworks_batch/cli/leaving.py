"""What becomes of jobs under way when somebody interrupts: left and named, or deleted."""

from collections.abc import Iterator, Sequence
from typing import Final

from fireworks_batch.cli.advice import come_back
from fireworks_batch.cli.figures import visible
from fireworks_batch.cli.interrupts import InterruptedByUserError
from fireworks_batch.cli.running import Session
from fireworks_batch.runs.abort import delete_jobs

__all__ = ["delete_and_tell", "leave_jobs"]

# More jobs than these fill the screen.
_FEW: Final = 20


def leave_jobs(
    session: Session, job_ids: Sequence[str], *, state: str = "", again: str | None = None
) -> None:
    """Say that jobs run on, and the two commands to come back and to delete.

    Args:
        session: What the command works with.
        job_ids: The jobs; there may be none.
        state: What is known of the only one.
        again: The command to come back with; None for one that waits.
    """
    wait, stop = come_back(job_ids, session.output.connection)
    lines = [] if job_ids or not again else ["interrupted: there is no job yet"]
    if job_ids:
        runs = "run on" if len(job_ids) > 1 else "runs on"
        lines.append(f"detached: {_named(job_ids)} {runs}{state}")
    if job_ids or again:
        lines.append(f"  to come back: {again or wait}")
    if job_ids:
        lines.append(f"  to delete:    {stop}")
    # Commands that fill the screen come first, and what matters most is seen last.
    for line in lines if len(job_ids) <= _FEW else reversed(lines):
        session.output.talk(line)


async def delete_and_tell(session: Session, job_ids: Sequence[str]) -> None:
    """Delete jobs, and say which of them may run on; another interrupt ends it at once.

    Args:
        session: What the command works with.
        job_ids: The jobs.
    """
    if not job_ids:
        return
    output = session.output
    left = dict.fromkeys(job_ids, "")
    # A job may be named before the server has it.
    deleting = delete_jobs(session.client.jobs.delete, dict.fromkeys(job_ids, False), left)
    output.talk(f"deleting {_named(job_ids)}; Ctrl-C again leaves what is left of it")
    try:
        await session.interrupts.guard(deleting)
    except InterruptedByUserError:
        left = dict.fromkeys(left, "interrupted before there was an answer")
    for line in _what_became(job_ids, left):
        output.talk(line)
    if left:
        output.talk(f"  to delete: {come_back([*left], session.output.connection)[1]}")


def _what_became(job_ids: Sequence[str], left: dict[str, str]) -> Iterator[str]:
    deleted = [job_id for job_id in job_ids if job_id not in left]
    if deleted:
        yield f"{_named(deleted)} {'is' if len(deleted) == 1 else 'are'} deleted"
    for job_id, reason in left.items():
        yield f"{visible(job_id)} may run on: {visible(reason)}"


def _named(job_ids: Sequence[str]) -> str:
    return visible(job_ids[0]) if len(job_ids) == 1 else f"{len(job_ids)} jobs"
