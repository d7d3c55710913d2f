"""Jobs that the server does not know so far: told at once, with the ids that are near."""

import asyncio
import difflib
from collections.abc import Mapping
from typing import Final

from fireworks_batch import BatchClient, FireworksBatchError, NotFoundError
from fireworks_batch.cli.session import Session
from fireworks_batch.models.texts import visible
from fireworks_batch.typing import JobWait

__all__ = ["tell_missing"]

# Maximum seconds, and share of the patience, between two passes over the waits; a pass sends
# nothing.
_PAUSE: Final = 0.1
_SHARE: Final = 0.05
_MOST_IDS: Final = 1000
_MOST_NEAR: Final = 3


async def tell_missing(session: Session, waits: Mapping[str, JobWait], *, patience: float) -> None:
    """Say which jobs the server does not know so far, until cancelled.

    Sends at most one listing. If the listing fails, no ids are named.

    Args:
        session: What the command works with.
        waits: The waits, by the ids of the jobs.
        patience: Seconds for which a wait accepts that the server does not know its job.
    """
    output = session.output
    output.tells_missing_jobs = True
    told: set[str] = set()
    known: list[str] | None = None
    while True:
        missing = [job_id for job_id, wait in waits.items() if _is_missing(wait)]
        news = [job_id for job_id in missing if job_id not in told]
        told.update(news)
        for job_id in news:
            output.talk(
                f"there is no job {job_id!r} so far; waiting up to {patience:.3g} s for it",
                "yellow",
            )
        if news and known is None:
            known = await _ids(session.client)
        for job_id in news:
            near = difflib.get_close_matches(job_id, known or (), n=_MOST_NEAR)
            if near:
                output.talk(f"  ids like {job_id!r}: {', '.join(map(visible, near))}")
        await asyncio.sleep(min(_PAUSE, _SHARE * patience))


def _is_missing(wait: JobWait) -> bool:
    error = wait.last_error
    # A 404 of a proxy says nothing about the job, nor does a 404 of the request for the account.
    is_said = isinstance(error, NotFoundError) and error.from_api and wait.ref is not None
    return is_said and wait.last_snapshot is None


async def _ids(client: BatchClient) -> list[str]:
    """Return ids of the account's jobs; none if they cannot be listed."""
    ids: list[str] = []
    try:
        async for job in client.jobs.list(read_mask=["name"]):
            ids.append(job.id)
            if len(ids) >= _MOST_IDS:
                break
    except FireworksBatchError:
        return []
    return ids
