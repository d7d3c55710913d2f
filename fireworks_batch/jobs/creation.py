"""How one call creates one billed job, also when answers are lost."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from fireworks_batch.connection.api import if_there
from fireworks_batch.jobs.draft import differences
from fireworks_batch.models.errors import (
    APIStatusError,
    ClientStateError,
    ConfigurationError,
    ConflictError,
    FireworksBatchError,
    JobConflictError,
    ResponseDecodeError,
    TransportError,
)
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.states import TOMBSTONES, JobPhase
from fireworks_batch.wire.answers import Answer
from fireworks_batch.wire.codec import Codec
from fireworks_batch.wire.requests import Request, create_job, get_job

__all__ = ["JobCreation", "body_of"]


_log = logging.getLogger("fireworks_batch.run")


# Refusals that can mean that the id is taken. 409 is inferred from the gRPC code (not seen live).
_MAYBE_TAKEN = frozenset({400, 409})


def body_of(draft: BatchInferenceJob, codec: Codec) -> dict[str, Any]:
    """Return the body of the request that creates a job, with only the members that were set.

    Raises:
        ConfigurationError: A member has a wrong type; the text has its path.
    """
    try:
        body = codec.unstructure(draft)
        codec.structure(body, BatchInferenceJob)
    except ResponseDecodeError as error:
        raise ConfigurationError(
            f"a job cannot be created with these values: {'; '.join(error.problems)}"
        ) from None
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"a job cannot be created with these values: {error}") from None
    return {name: member for name, member in body.items() if name != "name"}


@attrs.define(kw_only=True)
class JobCreation:
    """Creates a job under a given id, and finds the job again if the answer is lost."""

    send: Callable[[Request], Awaitable[Answer]]
    """Sends a request, with repeats."""

    codec: Codec
    """Reads and writes jobs as JSON."""

    draft: BatchInferenceJob
    """The job to create."""

    ref: JobRef
    """The reference of the job; every error gets it."""

    is_made: bool = False
    """Whether the server has answered that it created the job; False if the job was only found."""

    async def run(self) -> BatchInferenceJob:
        """Create the job, or return the existing job of this id if it is the same.

        Raises:
            JobConflictError: The id is taken by another job, and the text names the difference. Or
                the id is taken by the same job, which is being deleted, DELETED or ARCHIVED.
            FireworksBatchError: The call failed for another reason.
        """
        try:
            return await self._create()
        except FireworksBatchError as error:
            error.ref = error.ref or self.ref
            raise

    async def _create(self) -> BatchInferenceJob:
        body = body_of(self.draft, self.codec)
        request = create_job(self.ref.account_id, self.ref.job_id, body)
        _log.info("creating job %s", self.ref, extra={"fireworks_job": str(self.ref)})
        try:
            job = self._read(await self.send(request))
            self.is_made = True
            if self._is_meant(job):
                return job
            failure: FireworksBatchError = self._another(job)
        except (ClientStateError, ConfigurationError):
            raise
        except FireworksBatchError as error:
            if not _may_be_there(error):
                raise
            failure = error
        found = await self._find()
        if found is None:
            raise failure
        return self._adopted(found, failure)

    async def _find(self) -> BatchInferenceJob | None:
        """Fetch the job; None if the job does not exist, or if this cannot be learned."""
        request = get_job(self.ref.account_id, self.ref.job_id)
        try:
            answer = await if_there(self.send(request))
            if answer is None:
                return None
            job = self._read(answer)
        except (APIStatusError, TransportError, ResponseDecodeError) as error:
            why: object = error
        else:
            if self._is_meant(job):
                return job
            why = f"the answer is about {job.name}"
        _log.warning("whether job %s was created is not known: %s", self.ref, why)
        return None

    def _is_meant(self, job: BatchInferenceJob) -> bool:
        """Whether an answer shows this job; an account may have two names, so ids are compared."""
        return job.id == self.ref.job_id

    def _another(self, job: BatchInferenceJob) -> JobConflictError:
        """Return the error that ends the call: a repeat might create and bill one more job."""
        return JobConflictError(
            f"the server was asked to create job {self.ref.job_id!r} and answered with "
            f"{job.name!r}: it may have created the latter instead; check it before you try again",
            job=job,
        )

    def _adopted(self, found: BatchInferenceJob, failure: FireworksBatchError) -> BatchInferenceJob:
        if differing := differences(self.draft, found):
            raise JobConflictError(
                f"job id {self.ref.job_id!r} is taken by another job: {'; '.join(differing)}; "
                f"choose another job_id (the server said: {failure})",
                job=found,
            )
        if found.state.phase is JobPhase.LEAVING or found.state in TOMBSTONES:
            raise JobConflictError(
                f"job id {self.ref.job_id!r} is taken by the same job, which is {found.state}: "
                f"choose another job_id (the server said: {failure})",
                job=found,
            )
        _log.info("job %s exists and is the same (%s): adopted", self.ref, found.state)
        return found

    def _read(self, answer: Answer) -> BatchInferenceJob:
        return self.codec.decode(answer.body, BatchInferenceJob, required=("name", "state"))


def _may_be_there(error: FireworksBatchError) -> bool:
    """Say whether the job may exist in spite of the error: an answer may have been lost."""
    if isinstance(error, ConflictError) or not isinstance(error, APIStatusError):
        return True
    return error.lost_before > 0 or error.status in _MAYBE_TAKEN or error.status >= 500
