"""One poll of a job: how the job is asked for, and what came of that."""

import asyncio
import logging
import math
from collections.abc import Awaitable
from datetime import datetime
from typing import Any, Final, TypeVar

import attrs

from fireworks_batch.connection.api import Api
from fireworks_batch.models.errors import (
    APIStatusError,
    ClientStateError,
    ConfigurationError,
    FireworksBatchError,
    ResponseDecodeError,
)
from fireworks_batch.models.job import BatchInferenceJob, refuse_another
from fireworks_batch.polling.machine import Failure, FailureKind
from fireworks_batch.wire.answers import Answer, Page, is_refusal, read_page, server_time
from fireworks_batch.wire.codec import parse_json
from fireworks_batch.wire.requests import ListQuery, get_job, list_jobs

__all__ = ["JobSource", "Moment", "Observation", "attempt", "failure_of"]


_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class Moment:
    """When an answer was read, by each clock. One answer may show many jobs."""

    now: float
    """By the loop's clock."""

    observed_at: datetime
    """By this machine's clock, aware, in UTC."""

    server_seconds: float
    """By the server's clock, as far as that is known, in POSIX seconds."""

    request_id: str | None = None
    """The server's id of the request."""


@attrs.frozen
class Observation:
    """What a successful poll showed of a job."""

    job: BatchInferenceJob
    """The whole job."""

    problems: tuple[str, ...]
    """Members that could not be read, each with its path."""

    moment: Moment
    """When the answer was read."""


def failure_of(error: FireworksBatchError) -> Failure:
    """Return the failed poll that an error means."""
    retry_after = error.retry_after if isinstance(error, APIStatusError) else None
    return Failure(_kind(error), error, retry_after)


def _kind(error: FireworksBatchError) -> FailureKind:
    if not isinstance(error, APIStatusError):
        return FailureKind.NO_ANSWER
    if error.status == 429:
        return FailureKind.RATE_LIMITED
    if not is_refusal(error):
        return FailureKind.NO_ANSWER
    return _REFUSALS.get(error.status, FailureKind.REFUSED)


_REFUSALS: Final = {
    401: FailureKind.UNAUTHORIZED,
    403: FailureKind.UNAUTHORIZED,
    404: FailureKind.NOT_FOUND,
}


async def attempt(asking: Awaitable[_T], *, deadline: float) -> _T | Failure:
    """Return what asking gives, or how it failed.

    Args:
        asking: Asks the server once.
        deadline: The moment of the loop's clock at which asking is cancelled; the failure is of
            kind CUT then.

    Raises:
        ClientStateError: The client was closed.
        ConfigurationError: The call cannot be made at all.
    """
    try:
        async with asyncio.timeout_at(None if deadline == math.inf else deadline):
            return await asking
    except (ClientStateError, ConfigurationError):
        raise
    except FireworksBatchError as error:
        return failure_of(error)
    except TimeoutError:
        return Failure(FailureKind.CUT)


_log = logging.getLogger("fireworks_batch.wait")


class JobSource:
    """Asks for jobs, one by one and by pages, and reads the answers. There is one for a client."""

    def __init__(self, api: Api) -> None:
        """Take the API that is asked."""
        self.api = api
        self._logged: set[tuple[str, ...]] = set()

    async def get(self, account_id: str, job_id: str, *, pause: float) -> tuple[Any, Observation]:
        """Ask for one whole job.

        Args:
            account_id: The job's account.
            job_id: The job's id.
            pause: Seconds for which a 429 without a Retry-After closes the gate.

        Returns:
            The job's JSON value, and the observation.

        Raises:
            FireworksBatchError: There was no usable answer, or the answer shows another job.
        """
        answer = await self.api.transport.send_once(get_job(account_id, job_id), pause=pause)
        value = parse_json(answer.body)
        job, problems = self.read(value)
        refuse_another(job, job_id)
        return value, Observation(job, problems, self._moment(answer))

    async def page(
        self, account_id: str, query: ListQuery, token: str, *, pause: float
    ) -> tuple[Page, Moment]:
        """Ask for one page of the listing, whose items are not read yet.

        Args:
            account_id: The account.
            query: How the listing is asked for.
            token: The page's token; empty for the first page.
            pause: Seconds for which a 429 without a Retry-After closes the gate.

        Raises:
            FireworksBatchError: There was no usable answer.
        """
        request = list_jobs(account_id, query, token)
        answer = await self.api.transport.send_once(request, pause=pause)
        page = read_page(parse_json(answer.body), "batchInferenceJobs")
        return page, self._moment(answer)

    def read(self, value: Any) -> tuple[BatchInferenceJob, tuple[str, ...]]:
        """Read a job of which at least name and state are readable.

        Args:
            value: The job's JSON value.

        Returns:
            The job, and what could not be read of it, each with its path.

        Raises:
            ResponseDecodeError: Name or state is not readable.
        """
        try:
            job = self.api.codec.structure(value, BatchInferenceJob, required=("name", "state"))
        except ResponseDecodeError as error:
            if error.partial is None:
                raise
            self._log_problems(error)
            partial: BatchInferenceJob = error.partial
            return partial, error.problems
        return job, ()

    def _moment(self, answer: Answer) -> Moment:
        observed_at = self.api.wall()
        server_now = server_time(answer.headers) or observed_at
        return Moment(
            now=self.api.clock(),
            observed_at=observed_at,
            server_seconds=server_now.timestamp(),
            request_id=answer.request_id,
        )

    def _log_problems(self, error: ResponseDecodeError) -> None:
        """Log what cannot be read, once for each set of paths."""
        paths = tuple(problem.partition(":")[0] for problem in error.problems)
        if paths not in self._logged and len(self._logged) < 100:
            self._logged.add(paths)
            _log.warning("%s; the rest was read, these are at defaults", error)
