"""Batch inference jobs: the endpoints, and the wait."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

import attrs

from fireworks_batch import calls
from fireworks_batch.account import Account
from fireworks_batch.effects import WaitEffects, WaitTerms
from fireworks_batch.errors import ConfigurationError
from fireworks_batch.looking import SingleLooks
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.names import JobName, JobRef, parse_job_name
from fireworks_batch.policies import JOB_WINDOW, JobWindow, PollPolicy
from fireworks_batch.progress import LONGEST_WINDOW, WINDOW_SLACK
from fireworks_batch.transport import Transport
from fireworks_batch.waiting import JobWait
from fireworks_batch.wire import Codec, mask_paths

__all__ = ["JobLike", "Jobs", "WaitDefaults"]

JobLike: TypeAlias = str | JobRef | BatchInferenceJob
"""A job's id, its resource name, a reference to it, or the job as fetched before."""


@attrs.frozen(kw_only=True)
class WaitDefaults:
    """What all waits of a client have in common."""

    poll: PollPolicy
    """The policy of those that bring none."""

    time_scale: float
    """This clock's seconds for one of the server's."""

    wall: Callable[[], datetime]
    """Returns the time of day, aware, in UTC."""

    draw: Callable[[], float]
    """Returns a random number from 0 up to 1."""

    @property
    def longest_window(self) -> float:
        """Seconds that a wait may last before a job has said what its window is."""
        return (LONGEST_WINDOW + WINDOW_SLACK).total_seconds() * self.time_scale


class Jobs:
    """The account's batch inference jobs: ``client.jobs``."""

    def __init__(
        self,
        transport: Transport,
        codec: Codec,
        account: Account,
        looks: SingleLooks,
        *,
        waits: WaitDefaults,
    ) -> None:
        """Take what a client shares between its resources; made by `BatchClient`."""
        self._transport = transport
        self._codec = codec
        self._account = account
        self._looks = looks
        self._waits = waits

    def ref(self, job: JobLike) -> JobRef:
        """Return a reference to a job, without asking the server.

        Args:
            job: Id, resource name, reference, or a job fetched before.

        Raises:
            ConfigurationError: It is none of these, belongs to another account or host, or the
                account is not known yet.
        """
        name = self._name(job)
        ref = self._ref(name)
        if ref is None:
            raise ConfigurationError(
                f"the account of job {name.job_id!r} is not known yet: pass account_id= to the "
                "client, or the job's whole resource name here"
            )
        return ref

    async def get(self, job: JobLike, *, read_mask: Sequence[str] = ()) -> BatchInferenceJob:
        """Fetch one job.

        Args:
            job: Id, resource name, reference, or a job fetched before.

            read_mask: Members to return, in snake_case, as in ``["job_progress.percent"]``;
                all of them if empty. ``name`` always comes, the rest is at defaults.

        Raises:
            ConfigurationError: The job or the mask is malformed, or the job is not of this
                account and host.
            NotFoundError: There is no such job.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: The answer cannot be read; ``partial`` has what could be.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        # https://docs.fireworks.ai/api-reference/get-batch-inference-job
        name, mask = self._name(job), mask_paths(read_mask)
        account_id = name.account_id or await self._account.resolve(self._transport.send)
        answer = await self._transport.send(calls.get_job(account_id, name.job_id, mask))
        required = ("name",) if mask else ("name", "state")
        return self._codec.decode(answer.body, BatchInferenceJob, required=required)

    def wait_until_terminal(
        self,
        job: JobLike,
        *,
        timeout: float | JobWindow | None = JOB_WINDOW,
        poll: PollPolicy | None = None,
        changes_only: bool = False,
    ) -> JobWait:
        """Follow a job until it can change no more.

        Await the result for the final job, or iterate over it with ``async for`` for a snapshot
        of each good look, the terminal one last. What became of the job is never raised: a FAILED
        job is a final snapshot, and ``raise_for_outcome()`` is yours to call. What is raised says
        that nothing more can be known, carries ``.ref``, and leaves the job untouched.

        Args:
            job: Id, resource name, reference, or a job fetched before.

            timeout: Seconds for the whole wait, above 0. By default as long as the job's own
                window, and an hour. None: no limit.

            poll: When to look, and when to give up; the client's policy if None.

            changes_only: Leave out snapshots in which nothing visible has changed.

        Returns:
            A coroutine and async iterator, good for one use. Nothing is sent before that.

        Raises:
            ConfigurationError: At the call: an argument is malformed. Later: the key sees no
                account, or several.
            WaitTimeoutError: Later, as all that follow: the time ran out.
            JobStalledError: Nothing visible changed for ``stall_after`` seconds.
            PollFailureError: Looks failed for longer than ``failure_budget``.
            JobGoneError: The job was there, and is not found any more.
            NotFoundError: The job was not found for ``not_found_grace`` seconds.
            UnknownStateError: The job seems to have ended in a state nobody has heard of.
            AuthenticationError: The key is refused; after a good look, twice in a row.
            APIStatusError: The API refuses for good: 400, 402, 403, 412.
            ClientStateError: The client was closed, or the wait is used twice.
        """
        name = self._name(job)
        terms = WaitTerms(
            job=name.job_id,
            policy=_check_policy(poll) or self._waits.poll,
            timeout=self._waits.longest_window
            if isinstance(timeout, JobWindow)
            else _check_timeout(timeout),
            follows_window=isinstance(timeout, JobWindow),
            time_scale=self._waits.time_scale,
            changes_only=changes_only,
        )
        effects = WaitEffects(
            look=self._looks.look,
            locate=partial(self._looks.locate, name.job_id),
            clock=self._transport.now,
            wall=self._waits.wall,
            draw=self._waits.draw,
        )
        return JobWait(terms, effects, ref=self._ref(name))

    def _name(self, job: JobLike) -> JobName:
        match job:
            case JobRef():
                if job.base_url != self._transport.base_url:
                    raise ConfigurationError(
                        f"{job!r} belongs to another host; this client's is "
                        f"{self._transport.base_url}"
                    )
                name = JobName(job.account_id, job.job_id)
            case BatchInferenceJob():
                name = parse_job_name(job.name)
            case _:
                name = parse_job_name(job)
        if name.account_id and self._account.id and name.account_id != self._account.id:
            raise ConfigurationError(
                f"job {name.job_id!r} belongs to account {name.account_id!r}; this client's is "
                f"{self._account.id!r}"
            )
        return name

    def _ref(self, name: JobName) -> JobRef | None:
        account_id = name.account_id or self._account.id
        return JobRef(account_id, name.job_id, self._transport.base_url) if account_id else None


def _check_timeout(timeout: Any) -> float | None:
    if timeout is None:
        return None
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if is_number and 0 < timeout < math.inf:
        return float(timeout)
    raise ConfigurationError(
        f"timeout must be a number of seconds above 0, JOB_WINDOW or None, not {timeout!r}"
    )


def _check_policy(poll: object) -> PollPolicy | None:
    if poll is None or isinstance(poll, PollPolicy):
        return poll
    raise ConfigurationError(f"poll must be a PollPolicy, not {poll!r}")
