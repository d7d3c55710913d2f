"""How one look at a job is made, and what is made of its answer."""

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial

from fireworks_batch import calls, http
from fireworks_batch.account import Account
from fireworks_batch.attempts import attempt
from fireworks_batch.effects import Failure, Observation
from fireworks_batch.errors import ResponseDecodeError
from fireworks_batch.http import Answer
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.names import JobRef
from fireworks_batch.transport import Transport
from fireworks_batch.wire import Codec

__all__ = ["SingleLooks"]

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
        ask = partial(self._get, ref, pause)
        return await attempt(self._transport, ask, due=due, deadline=deadline)

    async def locate(
        self, job_id: str, *, due: float, deadline: float, pause: float
    ) -> JobRef | Failure:
        """Find out the account of a job: see `Locate`."""
        ask = partial(self._find, job_id, pause)
        return await attempt(self._transport, ask, due=due, deadline=deadline)

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
