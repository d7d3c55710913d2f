"""Waiting for what is not a job's end: a dataset that becomes READY, a job that is deleted.

Driven by the same machine as the wait for a job; what differs is what counts as the end.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

import attrs

from fireworks_batch.connection.api import Api
from fireworks_batch.models.errors import (
    ClientStateError,
    ConfigurationError,
    FireworksBatchError,
    PollFailureError,
    WaitError,
    WaitTimeoutError,
)
from fireworks_batch.models.policies import PollPolicy
from fireworks_batch.polling.machine import (
    Decision,
    Failed,
    FailureKind,
    Finished,
    GaveUp,
    Gone,
    PollAt,
    PollState,
    Refused,
    Seen,
    TimedOut,
    on_failure,
    on_observation,
    start,
)
from fireworks_batch.polling.observation import Failure, failure_of

__all__ = ["Settling", "Sighting", "attempt", "duration_text", "looks"]


_T = TypeVar("_T")


async def attempt(
    api: Api, ask: Callable[[], Awaitable[_T]], *, due: float, deadline: float
) -> _T | Failure:
    """Ask once, when it is due and the gate is open; the deadline cuts whatever goes on.

    Args:
        api: Knows the gate, and sleeps.
        ask: Sends one request.
        due: It is asked no earlier than at this moment of the loop's clock.
        deadline: At this moment the attempt ends, with a `Failure` of kind CUT.

    Raises:
        ClientStateError: The client was closed.
        ConfigurationError: The call cannot be made at all.
    """
    try:
        async with asyncio.timeout_at(None if deadline == math.inf else deadline):
            await api.session.sleep_until(max(due, api.session.gate.opens_at))
            return await ask()
    except (ClientStateError, ConfigurationError):
        raise
    except FireworksBatchError as error:
        return failure_of(error)
    except TimeoutError:
        return Failure(FailureKind.CUT, None)


def duration_text(seconds: float) -> str:
    """Return a duration for people: ``"2 h 5 min"``, ``"42 s"``, ``"0.25 s"``."""
    if seconds < 60:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    minutes, hours = divmod(round(seconds / 60), 60)[::-1]
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


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


def looks(api: Api, ask: Callable[[float], Awaitable[Sighting[_T]]]) -> SettlingLook[_T]:
    """Return the look that asks once, when it is due.

    Args:
        api: Sleeps, and knows when the gate opens.
        ask: Sends one request; its argument is the pause of `effects.Look`.
    """

    async def look(*, due: float, deadline: float, pause: float) -> Sighting[_T] | Failure:
        return await attempt(api, partial(ask, pause), due=due, deadline=deadline)

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
        state = start(self.policy, now=due, timeout=self.timeout)
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
        return on_observation(self.policy, state, seen, now=self.clock(), draw=self.draw())

    def _after_failure(self, state: PollState, failure: Failure) -> tuple[PollState, Decision]:
        failed = Failed(failure.kind, failure.retry_after)
        return on_failure(self.policy, state, failed, now=self.clock(), draw=self.draw())

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
