"""``fireworks-batch wait``: follow jobs until they have ended, and print their outcomes."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from fireworks_batch import (
    AccountSuspendedError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    FireworksBatchError,
    PollPolicy,
)
from fireworks_batch.cli.commands.missing import tell_missing
from fireworks_batch.cli.detachment import delete_jobs, leave_jobs
from fireworks_batch.cli.display.board import Board, Outcome, Row
from fireworks_batch.cli.display.figures import percent
from fireworks_batch.cli.display.lines import outcome_fields, outcome_line
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.display.progress import Display, Words, display_for, shown
from fireworks_batch.cli.durations import parse_timeout
from fireworks_batch.cli.exit_codes import ExitCode, worst
from fireworks_batch.cli.interrupts import InterruptedByUserError
from fireworks_batch.cli.options import CommonOptions, WaitOptions
from fireworks_batch.cli.outcome_command import OutcomeCommand
from fireworks_batch.cli.session import Session, in_session, poll_policy
from fireworks_batch.models.names import parse_job_name
from fireworks_batch.models.policies import JobTimeLimit
from fireworks_batch.models.texts import visible
from fireworks_batch.typing import JobWait

__all__ = ["wait"]

# Errors that concern all jobs alike.
_FOR_ALL = (AuthenticationError, AccountSuspendedError, ClientStateError)


def wait(options: CommonOptions, terms: WaitOptions, jobs: Sequence[str]) -> ExitCode:
    """Follow jobs until they have ended, print their outcomes, and return the worst of them."""

    async def work(session: Session) -> ExitCode:
        _check_choice(jobs, terms)
        policy = poll_policy(terms.stall_after)
        timeout = parse_timeout(terms.timeout)
        named = {parse_job_name(job).job_id: job for job in jobs or await _listed(session, terms)}
        waits = {
            job_id: session.client.jobs.wait_until_terminal(job, timeout=timeout, poll=policy)
            for job_id, job in named.items()
        }
        if not waits:
            session.output.talk("no jobs to wait for")
        board = Board(waits)
        command = _command(session.output, options, terms)
        try:
            await session.interrupts.guard(
                _follow(session, waits, board, command, patience=_patience(policy, timeout))
            )
        except InterruptedByUserError:
            await _detach(session, board.open_rows, deletes=terms.delete_on_interrupt)
            raise
        for outcome in board.outcomes:
            _print(session.output, outcome)
        return worst([board.code, ExitCode.TROUBLE]) if command.has_failed else board.code

    return in_session(options, work)


def _print(output: Output, outcome: Outcome) -> None:
    if output.is_for_people:
        output.line(outcome_line(outcome))
    elif not output.as_json:  # the display has written the JSON
        output.fields(*outcome_fields(outcome))


def _command(output: Output, options: CommonOptions, terms: WaitOptions) -> OutcomeCommand:
    """Return the command of --exec, in whose environment the library finds the same account."""
    connection = {
        "FIREWORKS_API_KEY_FILE": options.api_key_file,
        "FIREWORKS_ACCOUNT_ID": options.account_id,
        "FIREWORKS_BASE_URL": options.base_url,
    }
    given = {name: str(value) for name, value in connection.items() if value}
    return OutcomeCommand(terms.exec, output, given)


# --- Which jobs ---------------------------------------------------------------------------------


def _check_choice(jobs: Sequence[str], terms: WaitOptions) -> None:
    given = [bool(jobs), terms.all, terms.filter is not None]
    if not any(given):
        raise ConfigurationError("give the ids of jobs, --all or --filter")
    if sum(given) > 1:
        raise ConfigurationError("give only one of these: the ids of jobs, --all, --filter")


async def _listed(session: Session, terms: WaitOptions) -> list[str]:
    """Return the names of the jobs that --all or --filter stands for."""

    async def listing() -> list[str]:
        jobs = session.client.jobs.list(filter=terms.filter)
        return [job.name async for job in jobs if not (terms.all and job.is_terminal)]

    return await shown(session.output, Words("listing the jobs"), listing())


# --- Following ----------------------------------------------------------------------------------


def _patience(policy: PollPolicy, timeout: float | JobTimeLimit | None) -> float:
    """Return the seconds for which the server may not know a job."""
    grace = policy.not_found_grace
    return min(grace, timeout) if isinstance(timeout, float) else grace


async def _follow(
    session: Session,
    waits: Mapping[str, JobWait],
    board: Board,
    command: OutcomeCommand,
    *,
    patience: float,
) -> None:
    """Follow jobs, named by their ids, until each has ended or its wait has failed.

    Args:
        session: What the command works with.
        waits: The waits, by the ids of the jobs.
        board: Takes the snapshots and the outcomes.
        command: Run for each outcome.
        patience: Seconds for which the server may not know a job.

    Raises:
        ExceptionGroup: An error that concerns all jobs, such as a refused key.
    """
    display = display_for(session.output, board)

    def count_failed_polls() -> None:
        for job_id, wait in waits.items():
            board.count_failed_polls(job_id, wait.failures)

    async with asyncio.TaskGroup() as group:
        helpers = (
            group.create_task(display.keep_fresh(count_failed_polls)),
            group.create_task(tell_missing(session, waits, patience=patience)),
        )
        commands = group.create_task(command.run())
        failure: ExceptionGroup[Exception] | None = None
        try:
            async with asyncio.TaskGroup() as followers:
                for job_id, wait in waits.items():
                    followers.create_task(_follow_one(job_id, wait, board, display, command))
        except ExceptionGroup as exc:
            failure = exc
        command.close()
        await commands  # also after a failure: the command is owed to the jobs that have ended
        for helper in helpers:
            helper.cancel()
        if failure is not None:
            raise failure


async def _follow_one(
    job_id: str, wait: JobWait, board: Board, display: Display, command: OutcomeCommand
) -> None:
    error: FireworksBatchError | None = None
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
    command.add(outcome)


# --- Interrupted --------------------------------------------------------------------------------


async def _detach(session: Session, rows: Sequence[Row], *, deletes: bool) -> None:
    job_ids = [row.job_id for row in rows]
    if deletes:
        await delete_jobs(session, job_ids)
    elif rows:
        leave_jobs(
            session,
            job_ids,
            state=_state(rows[0]) if len(rows) == 1 else "",
            unseen=sum(not row.is_seen for row in rows),
        )


def _state(row: Row) -> str:
    share = f", {percent(row.percent)}" if row.percent is not None else ""
    return f" ({visible(row.state)}{share})"
