"""The waits of ``client.jobs``: for one job, or for many."""

from collections.abc import Callable, Iterable
from functools import partial

import attrs

from fireworks_batch.arguments import check_several
from fireworks_batch.effects import WaitEffects, WaitTerms
from fireworks_batch.fleet import JobEndings, JobFleet
from fireworks_batch.job_names import JobLike, JobNames
from fireworks_batch.looking import Looks
from fireworks_batch.members import FleetTerms
from fireworks_batch.names import JobName
from fireworks_batch.policies import JOB_WINDOW, JobWindow, PollPolicy
from fireworks_batch.transport import Transport
from fireworks_batch.wait_defaults import WaitDefaults, check_policy, check_timeout
from fireworks_batch.waiting import JobWait

__all__ = ["WaitMethods"]


class WaitMethods:
    """What a client's jobs are waited for with: a part of `Jobs`."""

    def __init__(
        self, transport: Transport, names: JobNames, looks: Looks, waits: WaitDefaults
    ) -> None:
        """Take what a client shares between its waits."""
        self._transport = transport
        self._names = names
        self._looks = looks
        self._waits = waits

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
        return self._wait(job, timeout, poll, changes_only=changes_only)

    def _wait(
        self,
        job: JobLike,
        timeout: float | JobWindow | None,
        poll: PollPolicy | None,
        *,
        changes_only: bool = False,
        on_loss: Callable[[int], object] | None = None,
    ) -> JobWait:
        """Return a wait; a run is told of lost looks, too."""
        name = self._names.read(job)
        terms = self._wait_terms(timeout, poll, changes_only=changes_only)(name)
        return JobWait(
            attrs.evolve(terms, on_loss=on_loss),
            self._wait_effects(name),
            ref=self._names.ref(name),
        )

    def watch(
        self,
        jobs: Iterable[JobLike],
        *,
        timeout: float | JobWindow | None = JOB_WINDOW,
        poll: PollPolicy | None = None,
        changes_only: bool = False,
    ) -> JobFleet:
        """Follow many jobs until they can change no more, for the price of a few.

        Iterate over the fleet for snapshots of all jobs as they come, or await it for the endings
        by job id. Where many jobs are to be looked at, pages of the account's listing are read in
        place of a GET for each.

        Args:
            jobs: Each an id, a resource name, a reference, or a job fetched before. A job that is
                named twice counts once.

            timeout: Seconds for the wait for each job, above 0. By default as long as its own
                window, and an hour. None: no limit.

            poll: When to look, and when to give up; the client's policy if None.

            changes_only: Leave out snapshots in which nothing visible has changed.

        Returns:
            A fleet, to which jobs can be added. Nothing is sent before it is used.

        Raises:
            ConfigurationError: At the call: an argument is malformed, or a job is of another
                account or host. Later: the key sees no account, or several.
            AuthenticationError: Later, as all that follow, for all jobs: the key is refused.
            AccountSuspendedError: The account is suspended or has to pay first.
            ClientStateError: The client was closed.
        """
        first = check_several("jobs", jobs)
        wanted = self._wait_terms(timeout, poll, changes_only=changes_only)
        name = self._names.read(first[0]) if first else JobName(None, "none")
        terms = FleetTerms(
            name=self._names.read,
            ref=self._names.ref,
            wait=wanted,
            effects=self._wait_effects(name),
            looks=self._looks,
            linger=wanted(name).policy.max_interval,
            changes_only=changes_only,
        )
        return JobFleet(first, terms)

    def as_completed(
        self,
        jobs: Iterable[JobLike],
        *,
        timeout: float | JobWindow | None = JOB_WINDOW,
        poll: PollPolicy | None = None,
    ) -> JobEndings:
        """Follow many jobs, and iterate over their endings in the order in which they end.

        Args:
            jobs: As in `watch`.

            timeout: As in `watch`.

            poll: As in `watch`.

        Returns:
            An async iterator of `JobEnding`; nothing is sent before it is used. What became of a
            job, and what the wait for it failed with, is in its ending and never raised.

        Raises:
            ConfigurationError: As in `watch`; so are the others, later and for all jobs.
            AuthenticationError: The key is refused.
            AccountSuspendedError: The account is suspended or has to pay first.
            ClientStateError: The client was closed.
        """
        return JobEndings(self.watch(jobs, timeout=timeout, poll=poll))

    def _wait_terms(
        self, timeout: float | JobWindow | None, poll: PollPolicy | None, *, changes_only: bool
    ) -> Callable[[JobName], WaitTerms]:
        terms = WaitTerms(
            job="",
            policy=check_policy(poll) or self._waits.poll,
            timeout=self._waits.longest_window
            if isinstance(timeout, JobWindow)
            else check_timeout(timeout),
            follows_window=isinstance(timeout, JobWindow),
            time_scale=self._waits.time_scale,
            changes_only=changes_only,
        )
        return lambda name: attrs.evolve(terms, job=name.job_id)

    def _wait_effects(self, name: JobName) -> WaitEffects:
        return WaitEffects(
            follow=self._looks.follow,
            locate=partial(self._looks.locate, name.job_id),
            clock=self._transport.now,
            wall=self._waits.wall,
            draw=self._waits.draw,
        )
