"""``fireworks-batch wait``: follow jobs until they have ended, and print their outcomes."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence

import attrs

from fireworks_batch import (
    AccountSuspendedError,
    AuthenticationError,
    BatchClient,
    ClientStateError,
    FireworksBatchError,
    PollPolicy,
)
from fireworks_batch.cli.detachment import delete_jobs, leave_jobs
from fireworks_batch.cli.display.board import Board, Outcome, Row
from fireworks_batch.cli.display.figures import percent
from fireworks_batch.cli.display.lines import outcome_fields, outcome_line
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.display.progress import Display, display_for
from fireworks_batch.cli.durations import parse_duration, parse_timeout
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.cli.interrupts import InterruptedByUserError
from fireworks_batch.cli.options import CommonOptions, WaitOptions
from fireworks_batch.cli.session import Session, in_session
from fireworks_batch.connection.configuration import Environment, read_time_scale
from fireworks_batch.models.names import parse_job_name
from fireworks_batch.models.policies import scaled
from fireworks_batch.models.texts import visible

__all__ = ["wait"]

# Errors that concern all jobs alike.
_FOR_ALL = (AuthenticationError, AccountSuspendedError, ClientStateError)


def wait(options: CommonOptions, terms: WaitOptions, jobs: Sequence[str]) -> ExitCode:
    """Follow jobs until they have ended, print their outcomes, and return the worst of them."""

    async def work(session: Session) -> ExitCode:
        named = {parse_job_name(job).job_id: job for job in jobs}
        board = Board(named)
        following = _follow(session.client, named, terms, board, display_for(session.output, board))
        try:
            await session.interrupts.guard(following)
        except InterruptedByUserError:
            await _detach(session, board.open_rows, deletes=terms.delete_on_interrupt)
            raise
        for outcome in board.outcomes:
            _print(session.output, outcome)
        return board.code

    return in_session(options, work)


def _print(output: Output, outcome: Outcome) -> None:
    if output.is_for_people:
        output.line(outcome_line(outcome))
    elif not output.as_json:  # the display has written the JSON
        output.fields(*outcome_fields(outcome))


# --- Following ----------------------------------------------------------------------------------


async def _follow(
    client: BatchClient, jobs: Mapping[str, str], terms: WaitOptions, board: Board, display: Display
) -> None:
    """Follow jobs, named by their ids, until each has ended or its wait has failed.

    Raises:
        ExceptionGroup: An error that concerns all jobs, such as a refused key.
    """
    timeout, poll = parse_timeout(terms.timeout), _poll_policy(terms)
    waits = {
        job_id: client.jobs.wait_until_terminal(job, timeout=timeout, poll=poll)
        for job_id, job in jobs.items()
    }

    def count_failed_polls() -> None:
        for job_id, wait in waits.items():
            board.count_failed_polls(job_id, wait.failures)

    async def follow_one(job_id: str) -> None:
        wait, error = waits[job_id], None
        try:
            async for snapshot in wait:
                board.see(snapshot, now=time.monotonic())
                display.see(snapshot)
        except _FOR_ALL:
            raise
        except FireworksBatchError as exc:
            error = exc
        last = wait.last_snapshot
        outcome = Outcome(job_id, last.job if last else None, error)
        board.end(outcome)
        display.end(outcome)

    async with asyncio.TaskGroup() as group:
        drawing = group.create_task(display.keep_fresh(count_failed_polls))
        async with asyncio.TaskGroup() as followers:
            for job_id in waits:
                followers.create_task(follow_one(job_id))
        drawing.cancel()


def _poll_policy(terms: WaitOptions) -> PollPolicy | None:
    """Return the default policy with the limit of a stall; None if there is no limit."""
    if terms.stall_after is None:
        return None
    default = scaled(PollPolicy(), read_time_scale(Environment(os.environ)))
    return attrs.evolve(default, stall_after=parse_duration("--stall-after", terms.stall_after))


# --- Interrupted --------------------------------------------------------------------------------


async def _detach(session: Session, rows: Sequence[Row], *, deletes: bool) -> None:
    job_ids = [row.job_id for row in rows]
    if deletes:
        await delete_jobs(session, job_ids)
    elif rows:
        leave_jobs(session, job_ids, state=_state(rows[0]) if len(rows) == 1 else "")


def _state(row: Row) -> str:
    share = f", {percent(row.percent)}" if row.percent is not None else ""
    return f" ({visible(row.state)}{share})"
