"""Waiting for what is not a job's end: a dataset that becomes READY, a job that is deleted.

Driven by the same machine as the wait for a job; what differs is what counts as the end.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

import attrs

from fireworks_batch import polling
from fireworks_batch.attempts import attempt
from fireworks_batch.effects import Failure
from fireworks_batch.endings import duration_text
from fireworks_batch.errors import (
    FireworksBatchError,
    PollFailureError,
    WaitError,
    WaitTimeoutError,
)
from fireworks_batch.events import (
    Decision,
    Failed,
    Finished,
    GaveUp,
    Gone,
    PollAt,
    Refused,
    Seen,
    TimedOut,
)
from fireworks_batch.policies import PollPolicy
from fireworks_batch.polling import PollState
from fireworks_batch.transport import Transport

__all__ = ["Settling", "Sighting", "looks"]

_T = TypeVar("_T")


@attrs.frozen
class Sighting(Generic[_T]):
    """A good look at something that is to settle."""

    value: _T
    """What was seen."""

    label: str
    """Its state in a word: a change of it is progress."""

    is_settled: bool
    """Whether that is the end."""


class SettlingLook(Protocol[_T]):
    """Observes the thing; the arguments are those of `effects.Look`."""

    def __call__(
        self, *, due: float, deadline: float, pause: float
    ) -> Awaitable[Sighting[_T] | Failure]:
        """Return what was seen no earlier than ``due``, or how that failed."""
        ...


def looks(
    transport: Transport, ask: Callable[[float], Awaitable[Sighting[_T]]]
) -> SettlingLook[_T]:
    """Return the look that asks once, when it is due.

    Args:
        transport: Sleeps, and knows when the gate opens.
        ask: Sends one request; its argument is the pause of `effects.Look`.
    """

    async def look(*, due: float, deadline: float, pause: float) -> Sighting[_T] | Failure:
        return await attempt(transport, partial(ask, pause), due=due, deadline=deadline)

    return look


def _without_stalls(policy: PollPolicy) -> PollPolicy:
    return attrs.evolve(policy, stall_after=None)


@attrs.frozen(kw_only=True)
class Settling(Generic[_T]):
    """One such wait: awaited once, by `run`. Cancelling it leaves nothing behind."""

    subject: str
    """What is waited for, for an error's text: ``"dataset 'reviews' to become READY"``."""

    look: SettlingLook[_T]
    """Observes it."""

    policy: PollPolicy = attrs.field(converter=_without_stalls)
    """When to look, and when to give up; its ``stall_after`` is about jobs."""

    timeout: float
    """Seconds for the whole wait."""

    clock: Callable[[], float]
    """The loop's clock."""

    draw: Callable[[], float]
    """A random number from 0 up to 1, for jitter."""

    async def run(self) -> _T:
        """Look until it has settled, and return what was seen then.

        Raises:
            WaitTimeoutError: The time ran out.
            PollFailureError: Looks failed for longer than the policy's ``failure_budget``.
            FireworksBatchError: The server refuses for good, or it is there no more.
        """
        due = self.clock()
        state = polling.start(self.policy, now=due, timeout=self.timeout)
        label, error = "", None
        while True:
            outcome = await self.look(due=due, deadline=state.deadline, pause=state.pause)
            if isinstance(outcome, Sighting):
                label, error = outcome.label, None
                state, decision = self._after_sighting(state, outcome)
                if isinstance(decision, Finished):
                    return outcome.value
            else:
                error = outcome.error or error
                state, decision = self._after_failure(state, outcome)
            if not isinstance(decision, PollAt):
                raise self._ending(decision, label, error)
            due = decision.due

    def _after_sighting(
        self, state: PollState, sighting: Sighting[_T]
    ) -> tuple[PollState, Decision]:
        seen = Seen(
            schedule=sighting.label, visible=sighting.label, is_terminal=sighting.is_settled
        )
        return polling.on_observation(self.policy, state, seen, now=self.clock(), draw=self.draw())

    def _after_failure(self, state: PollState, failure: Failure) -> tuple[PollState, Decision]:
        failed = Failed(failure.kind, failure.retry_after)
        return polling.on_failure(self.policy, state, failed, now=self.clock(), draw=self.draw())

    def _ending(
        self, decision: Decision, label: str, error: FireworksBatchError | None
    ) -> FireworksBatchError:
        seen = f"it was last seen {label}" if label else "it was never seen"
        lost = f"; the last look failed: {error}" if error is not None else ""
        match decision:
            case TimedOut(waited):
                text = f"gave up waiting for {self.subject} after {duration_text(waited)}, {seen}"
                return WaitTimeoutError(text + lost, last_error=error)
            case GaveUp(failures, _):
                text = f"{failures} looks in a row failed while waiting for {self.subject}, {seen}"
                return PollFailureError(text + lost, last_error=error)
            case Refused() | Gone() if error is not None:
                return error
            case _:
                return WaitError(f"waiting for {self.subject} ended, {seen}{lost}")
