"""How a job is read of an answer to a look: what cannot be read of it does not lose the look."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from fireworks_batch import http
from fireworks_batch.effects import Moment
from fireworks_batch.errors import ResponseDecodeError
from fireworks_batch.http import Answer
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.protojson import shown
from fireworks_batch.wire import Codec

__all__ = ["JobReader", "refuse_another"]

_log = logging.getLogger("fireworks_batch.wait")


class JobReader:
    """Reads jobs, and remembers which kinds of unreadable members it has told of."""

    def __init__(self, codec: Codec, wall: Callable[[], datetime]) -> None:
        """Take what reads.

        Args:
            codec: Makes jobs of JSON values.
            wall: Returns the time of day, aware, in UTC.
        """
        self._codec = codec
        self._wall = wall
        self._told: set[tuple[str, ...]] = set()

    def moment(self, answer: Answer, now: float) -> Moment:
        """Return when an answer was read, by all clocks.

        Args:
            answer: The answer, just read.
            now: The moment of the loop's clock.
        """
        observed_at = self._wall()
        server_now = http.server_time(answer.headers) or observed_at
        return Moment(
            now=now,
            observed_at=observed_at,
            server_now=server_now,
            server_seconds=server_now.timestamp(),
            request_id=answer.headers.get("x-request-id"),
        )

    def read(self, value: Any) -> tuple[BatchInferenceJob, tuple[str, ...]]:
        """Read a job; one of which name and state are readable is a good look all the same.

        Args:
            value: Its JSON value.

        Returns:
            The job, and what could not be read of it, each with its path.

        Raises:
            ResponseDecodeError: Not even name and state are readable.
        """
        try:
            job = self._codec.structure(value, BatchInferenceJob, required=("name", "state"))
        except ResponseDecodeError as error:
            if error.partial is None:
                raise
            self._tell(error)
            partial: BatchInferenceJob = error.partial
            return partial, error.problems
        return job, ()

    def _tell(self, error: ResponseDecodeError) -> None:
        """Log what cannot be read, each kind of it once."""
        paths = tuple(problem.partition(":")[0] for problem in error.problems)
        if paths not in self._told and len(self._told) < 100:
            self._told.add(paths)
            _log.warning("%s; the rest was read, these are at defaults", error)


def refuse_another(job: BatchInferenceJob, job_id: str) -> None:
    """Refuse an answer that shows another job than the one asked for.

    Only the ids are compared: the account may have two names.

    Args:
        job: The job that the answer shows.
        job_id: The id that was asked for.

    Raises:
        ResponseDecodeError: The ids differ.
    """
    if job.id != job_id:
        problem = f"name: expected that of job {job_id!r}, not {shown(job.name)}"
        raise ResponseDecodeError(f"the answer shows another job: {problem}", problems=[problem])
