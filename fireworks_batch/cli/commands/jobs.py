"""``fireworks-batch get``, ``list`` and ``delete``."""

import asyncio
from collections.abc import Sequence
from typing import Final

from fireworks_batch import NotFoundError
from fireworks_batch.cli.display.lines import job_cells, job_fields, record
from fireworks_batch.cli.display.listing import Columns, print_all
from fireworks_batch.cli.exit_codes import ExitCode, code_of_error, worst
from fireworks_batch.cli.options import CommonOptions
from fireworks_batch.cli.session import Session, in_session
from fireworks_batch.models.job import job_details
from fireworks_batch.models.texts import visible

__all__ = ["delete", "get", "list_all"]

# Small accounts have ten requests a minute, and a request waits for its turn a limited time.
_AT_A_TIME: Final = 20

_COLUMNS = Columns(
    headings=("job", "state", "ok", "failed", "rows", "created (UTC)", "model"),
    cells=job_cells,
    fields=job_fields,
    record=record,
)


def get(options: CommonOptions, job: str) -> ExitCode:
    """Show one job. The exit code is not about the job's state."""

    async def work(session: Session) -> ExitCode:
        found = await session.client.jobs.get(job)
        if session.output.as_json:
            session.output.record(record(found))
            return ExitCode.SUCCEEDED
        for heading, text in job_details(found):
            session.output.line(f"{heading:16}{visible(text)}")
        return ExitCode.SUCCEEDED

    return in_session(options, work)


def list_all(
    options: CommonOptions, *, filter_: str | None, order_by: str | None, limit: int | None
) -> ExitCode:
    """List jobs."""

    async def work(session: Session) -> ExitCode:
        jobs = session.client.jobs.list(
            filter=filter_, order_by=order_by, page_size=min(limit or 200, 200)
        )
        await print_all(session.output, jobs, _COLUMNS, limit=limit)
        return ExitCode.SUCCEEDED

    return in_session(options, work)


def delete(options: CommonOptions, jobs: Sequence[str], *, wait: bool) -> ExitCode:
    """Delete jobs. A job that does not exist is an error; the other jobs are still deleted."""

    async def work(session: Session) -> ExitCode:
        turns = asyncio.Semaphore(_AT_A_TIME)
        async with asyncio.TaskGroup() as group:
            deleting = [
                group.create_task(_delete_one(session, job, turns, wait=wait))
                for job in dict.fromkeys(jobs)
            ]
        return worst(each.result() for each in deleting)

    return in_session(options, work)


async def _delete_one(
    session: Session, job: str, turns: asyncio.Semaphore, *, wait: bool
) -> ExitCode:
    output = session.output
    async with turns:
        try:
            await session.client.jobs.delete(job, wait=wait)
        except NotFoundError as error:
            output.explain(error)
            return code_of_error(error)
        output.talk(f"{visible(job)} is {'gone' if wait else 'being deleted'}")
        return ExitCode.SUCCEEDED
