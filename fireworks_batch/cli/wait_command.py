"""``fireworks-batch wait``: follow jobs to their ends, and say how they ended."""

from collections.abc import Sequence

import attrs

from fireworks_batch import PollPolicy
from fireworks_batch.cli.board import Board, Ending, Row
from fireworks_batch.cli.displays import display_for
from fireworks_batch.cli.durations import parse_duration
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.cli.figures import percent, visible
from fireworks_batch.cli.following import follow
from fireworks_batch.cli.interrupts import InterruptedByUserError
from fireworks_batch.cli.leaving import delete_and_tell, leave_jobs
from fireworks_batch.cli.lines import ending_fields, ending_line
from fireworks_batch.cli.output import Output
from fireworks_batch.cli.running import Options, Session, run
from fireworks_batch.models.names import parse_job_name
from fireworks_batch.models.policies import JOB_TIME_LIMIT, JobTimeLimit

__all__ = ["WaitTerms", "follow_to_the_end", "wait"]


@attrs.frozen(kw_only=True)
class WaitTerms:
    """What was said about the wait."""

    timeout: str | None = None
    """How long, as typed; None for the job's own window."""

    stall_after: str | None = None
    """How long without a change, as typed; None for no limit."""

    deletes: bool = False
    """Whether an interrupt deletes the jobs."""

    def seconds(self) -> float | JobTimeLimit | None:
        """Return the timeout as the library takes it."""
        return JOB_TIME_LIMIT if self.timeout is None else parse_duration("--timeout", self.timeout)

    def policy(self, default: PollPolicy) -> PollPolicy:
        """Return a poll policy with these terms."""
        if self.stall_after is None:
            return default
        return attrs.evolve(default, stall_after=parse_duration("--stall-after", self.stall_after))


def wait(options: Options, jobs: Sequence[str], terms: WaitTerms) -> ExitCode:
    """Follow jobs to their ends.

    Args:
        options: What all commands may be told.
        jobs: Ids or resource names.
        terms: How long, and what an interrupt does.
    """

    async def work(session: Session) -> ExitCode:
        return await follow_to_the_end(session, jobs, terms)

    return run(options, work, poll=terms.policy)


async def follow_to_the_end(session: Session, jobs: Sequence[str], terms: WaitTerms) -> ExitCode:
    """Follow jobs, tell how they get on, write how they ended, and return the worst of it."""
    named = {parse_job_name(job).job_id: job for job in jobs}
    board = Board(named)
    display = display_for(session.output, board)
    following = follow(session.client, named, board, display, timeout=terms.seconds())
    try:
        await session.interrupts.guard(following)
    except InterruptedByUserError:
        await _leave(session, board.open_rows, deletes=terms.deletes)
        raise
    for ending in board.endings:
        _tell(session.output, ending)
    return board.code


def _tell(output: Output, ending: Ending) -> None:
    if output.is_for_people:
        output.line(ending_line(ending))
    elif not output.as_json:  # there the display has written it
        output.fields(*ending_fields(ending))


# --- Interrupted --------------------------------------------------------------------------------


async def _leave(session: Session, rows: Sequence[Row], *, deletes: bool) -> None:
    job_ids = [row.job_id for row in rows]
    if deletes:
        await delete_and_tell(session, job_ids)
    elif rows:
        leave_jobs(session, job_ids, state=_state(rows[0]) if len(rows) == 1 else "")


def _state(row: Row) -> str:
    share = f", {percent(row.percent)}" if row.percent is not None else ""
    return f" ({visible(row.state)}{share})"
