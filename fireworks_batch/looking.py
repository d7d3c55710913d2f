"""How one look at a job is made: sleep until it is due, ask once, and say what came of it."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

from fireworks_batch import calls, http
from fireworks_batch.account import Account
from fireworks_batch.effects import Failure, Observation
from fireworks_batch.errors import (
    APIStatusError,
    ClientStateError,
    ConfigurationError,
    FireworksBatchError,
    ResponseDecodeError,
)
from fireworks_batch.http import Answer
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.names import JobRef
from fireworks_batch.polling import FailureKind
from fireworks_batch.transport import Transport
from fireworks_batch.wire import Codec

__all__ = ["SingleLooks"]

_T = TypeVar("_T")
_log = logging.getLogger("fireworks_batch.wait")


class SingleLooks:
    """Answers each look with a GET of its own."""

    def __init__(
        self, transport: Transport, codec: Codec, account: Account, wall: Callable[[], datetime]
    ) -> None:
        """Take what looks are made with.

        Args:
            transport: Sends.
            codec: Reads.
            account: Knows whose jobs they are.
            wall: Returns the time of day, aware, in UTC.
        """
        self._transport = transport
        self._codec = codec
        self._account = account
        self._wall = wall
        self._told: set[tuple[str, ...]] = set()

    async def look(
        self, ref: JobRef, *, due: float, deadline: float, pause: float
    ) -> Observation | Failure:
        """Observe a job: see `Look`."""
        return await self._attempt(partial(self._get, ref, pause), due=due, deadline=deadline)

    async def locate(
        self, job_id: str, *, due: float, deadline: float, pause: float
    ) -> JobRef | Failure:
        """Find out the account of a job: see `Locate`."""
        return await self._attempt(partial(self._find, job_id, pause), due=due, deadline=deadline)

    async def _attempt(
        self, ask: Callable[[], Awaitable[_T]], *, due: float, deadline: float
    ) -> _T | Failure:
        """Ask once, when it is due and the gate is open; the deadline cuts whatever goes on."""
        try:
            async with asyncio.timeout_at(None if deadline == math.inf else deadline):
                await self._transport.sleep_until(max(due, self._transport.gate_opens_at()))
                return await ask()
        except (ClientStateError, ConfigurationError):
            raise
        except FireworksBatchError as error:
            return _failure(error)
        except TimeoutError:
            return Failure(FailureKind.CUT, None)

    async def _get(self, ref: JobRef, pause: float) -> Observation:
        request = calls.get_job(ref.account_id, ref.job_id)
        answer = await self._transport.send_once(request, pause=pause)
        job, problems = self._read(answer)
        now = self._wall()
        return Observation(
            job=job,
            observed_at=now,
            server_now=http.server_time(answer.headers) or now,
            problems=problems,
            request_id=answer.headers.get("x-request-id"),
        )

    async def _find(self, job_id: str, pause: float) -> JobRef:
        send = partial(self._transport.send_once, pause=pause)
        return JobRef(await self._account.resolve(send), job_id, self._transport.base_url)

    def _read(self, answer: Answer) -> tuple[BatchInferenceJob, tuple[str, ...]]:
        """Read a job; one of which name and state are readable is a good look all the same."""
        try:
            job = self._codec.decode(answer.body, BatchInferenceJob, required=("name", "state"))
        except ResponseDecodeError as error:
            if error.partial is None:
                raise
            self._tell(error)
            return error.partial, error.problems
        return job, ()

    def _tell(self, error: ResponseDecodeError) -> None:
        """Log what cannot be read, each kind of it once."""
        paths = tuple(problem.partition(":")[0] for problem in error.problems)
        if paths not in self._told and len(self._told) < 100:
            self._told.add(paths)
            _log.warning("%s; the rest was read, these are at defaults", error)


def _failure(error: FireworksBatchError) -> Failure:
    retry_after = error.retry_after if isinstance(error, APIStatusError) else None
    return Failure(_kind(error), error, retry_after)


def _kind(error: FireworksBatchError) -> FailureKind:
    if not isinstance(error, APIStatusError):
        return FailureKind.LOST
    if error.status == 429:
        return FailureKind.RATE_LIMITED
    if not http.is_refusal(error):
        return FailureKind.LOST
    return _REFUSALS.get(error.status, FailureKind.REFUSED)


_REFUSALS = {
    401: FailureKind.UNAUTHORIZED,
    403: FailureKind.UNAUTHORIZED,
    404: FailureKind.NOT_FOUND,
}
