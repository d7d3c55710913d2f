"""Waiting for what is not the end of a job: a dataset that becomes READY, a job that is deleted.

Driven by the same machine as the wait for a job; what differs is what counts as the end.
"""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs

from fireworks_batch.connection.api import Api
from fireworks_batch.models.errors import (
    FireworksBatchError,
    PollFailureError,
    WaitError,
    WaitTimeoutError,
)
from fireworks_batch.models.policies import PollPolicy
from fireworks_batch.polling.machine import (
    Decision,
    Failure,
    Finished,
    GaveUp,
    Gone,
    PollAt,
    PollMachine,
    Refused,
    Seen,
    TimedOut,
)
from fireworks_batch.polling.observation import attempt

__all__ = ["Settling", "Sighting", "duration_text"]


_T = TypeVar("_T")


def duration_text(seconds: float) -> str:
    """Return a duration for people: ``"2 h 5 min"``, ``"42 s"``, ``"0.25 s"``."""
    if seconds < 60:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    minutes, hours = divmod(round(seconds / 60), 60)[::-1]
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@attrs.frozen
class Sighting(Generic[_T]):
    """What a successful poll showed of something that is to settle."""

    value: _T
    """What was seen."""

    label: str
    """The state in a word: a change of it is progress."""

    is_settled: bool
    """Whether the wait is over."""


def _without_stalls(policy: PollPolicy) -> PollPolicy:
    return attrs.evolve(policy, stall_after=None)


@attrs.frozen(kw_only=True)
class Settling(Generic[_T]):
    """One such wait: awaited once, by `run`. Cancelling the wait leaves nothing behind."""

    subject: str
    """What is waited for, for an error's text: ``"dataset 'reviews' to become READY"``."""

    ask: Callable[[float], Awaitable[Sighting[_T]]]
    """Sends one request. The argument is the seconds for which a 429 without a Retry-After closes
    the gate."""

    api: Api
    """Tells the time and the state of the gate, sleeps, and draws for jitter."""

    policy: PollPolicy = attrs.field(converter=_without_stalls)
    """When to poll, and when to give up; its ``stall_after`` is about jobs."""

    timeout: float
    """Seconds for the whole wait."""

    async def run(self) -> _T:
        """Poll until the thing has settled, and return what was seen then.

        Raises:
            WaitTimeoutError: The time ran out.
            PollFailureError: Polls failed for longer than the policy's ``failure_budget``.
            FireworksBatchError: The server refuses for good, or the thing is not there any more.
        """
        machine = PollMachine(
            policy=self.policy, timeout=self.timeout, request_timeout=self.api.request_timeout
        )
        machine.start(self.api.clock())
        label, error = "", None
        while True:
            outcome = await attempt(self._ask_when_due(machine), deadline=machine.deadline)
            now, draw = self.api.clock(), self.api.draw()
            if isinstance(outcome, Failure):
                error = outcome.error or error
                decision = machine.on_failure(outcome, now=now, draw=draw)
            else:
                label, error = outcome.label, None
                seen = Seen(schedule=label, visible=label, is_terminal=outcome.is_settled)
                decision = machine.on_observation(seen, now=now, draw=draw)
                if isinstance(decision, Finished):
                    return outcome.value
            if not isinstance(decision, PollAt):
                raise self._error(decision, label, error)

    async def _ask_when_due(self, machine: PollMachine) -> Sighting[_T]:
        await self.api.session.sleep_until(max(machine.due, self.api.session.gate.opens_at))
        return await self.ask(machine.pause)

    def _error(
        self, decision: Decision, label: str, error: FireworksBatchError | None
    ) -> FireworksBatchError:
        seen = f"it was last seen {label}" if label else "it was never seen"
        lost = f"; the last poll failed: {error}" if error is not None else ""
        match decision:
            case TimedOut(waited):
                text = f"gave up waiting for {self.subject} after {duration_text(waited)}, {seen}"
                return WaitTimeoutError(text + lost, last_error=error)
            case GaveUp(failures, _):
                text = f"{failures} polls in a row failed while waiting for {self.subject}, {seen}"
                return PollFailureError(text + lost, last_error=error)
            case Refused() | Gone() if error is not None:
                return error
            case _:
                return WaitError(f"waiting for {self.subject} ended, {seen}{lost}")
