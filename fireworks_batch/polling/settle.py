"""Waits for other things than the end of a job: a READY dataset, or the deletion of a job.

These waits use the same machine as the wait for a job.
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
    """What a successful poll showed of the thing that is waited for."""

    value: _T
    """The thing, as the poll showed it."""

    label: str
    """The state in one word. A change of the state is progress."""

    is_settled: bool
    """Whether the wait is over."""


def _without_stalls(policy: PollPolicy) -> PollPolicy:
    return attrs.evolve(policy, stall_after=None)


@attrs.frozen(kw_only=True)
class Settling(Generic[_T]):
    """One such wait. `run` is called once, and can be cancelled at any time."""

    subject: str
    """What is waited for (``"dataset 'reviews' to become READY"``), for the text of an error."""

    ask: Callable[[float], Awaitable[Sighting[_T]]]
    """Sends one request. The argument is the seconds for which a 429 without a Retry-After closes
    the gate."""

    api: Api
    """Has the clock, the gate, the sleep, and the draw for jitter."""

    policy: PollPolicy = attrs.field(converter=_without_stalls)
    """When to poll, and when to give up. ``stall_after`` concerns jobs, and is not used."""

    timeout: float
    """Seconds for the whole wait."""

    async def run(self) -> _T:
        """Poll until the wait is over, and return the thing as the last poll showed it.

        Raises:
            WaitTimeoutError: The timeout passed.
            PollFailureError: Polls failed for longer than the policy's ``failure_budget``.
            FireworksBatchError: The server refuses for good, or the thing does not exist any more.
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
        seen = f"it was last seen {label}" if label else "no poll succeeded"
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
