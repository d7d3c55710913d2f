"""One poll of a job: the request, and the observation or the failure."""

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
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.names import refuse_another
from fireworks_batch.polling.machine import Failure, FailureKind
from fireworks_batch.wire.answers import Answer, Page, is_refusal, read_page, server_time
from fireworks_batch.wire.codec import parse_json
from fireworks_batch.wire.requests import ListQuery, get_job, list_jobs

__all__ = ["JobSource", "Moment", "Observation", "attempt", "failure_of"]


_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class Moment:
    """When an answer was read, on each of three clocks. One answer may show many jobs."""

    now: float
    """The moment on the loop's clock."""

    observed_at: datetime
    """The time of this machine, aware, in UTC."""

    server_seconds: float
    """The server's time in POSIX seconds; this machine's time if the answer has no Date."""

    request_id: str | None = None
    """The server's id of the request."""


@attrs.frozen
class Observation:
    """What a successful poll showed of a job."""

    job: BatchInferenceJob
    """The whole job."""

    problems: tuple[str, ...]
    """One text, with the path, for each member that could not be read."""

    moment: Moment
    """When the answer was read."""


def failure_of(error: FireworksBatchError) -> Failure:
    """Return the failed poll for an error."""
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
    """Return the result of one request, or the failed poll that its error means.

    Args:
        asking: Sends one request.
        deadline: The moment on the loop's clock at which the request is cancelled. The kind of the
            failed poll is CUT then.

    Raises:
        ClientStateError: The client was closed.
        ConfigurationError: The request cannot be made.
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
    """Requests jobs, one by one or in pages, and reads the answers. A client has one source."""

    def __init__(self, api: Api) -> None:
        """Keep the API that is asked."""
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
        refuse_another("job", job.name, job_id)
        return value, Observation(job, problems, self._moment(answer))

    async def page(
        self, account_id: str, query: ListQuery, token: str, *, pause: float
    ) -> tuple[Page, Moment]:
        """Ask for one page of the listing; the items are not read yet.

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
        """Read a job whose name and state are readable; other members may be unreadable.

        Args:
            value: The job's JSON value.

        Returns:
            The job, and one text, with the path, for each member that could not be read.

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
        """Log the members that cannot be read, once for each set of paths."""
        paths = tuple(problem.partition(":")[0] for problem in error.problems)
        if paths not in self._logged and len(self._logged) < 100:
            self._logged.add(paths)
            _log.warning("%s; these members have their defaults, and the rest was read", error)
