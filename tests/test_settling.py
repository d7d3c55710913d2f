"""Waiting for what is not a job: on virtual time, with looks from a list."""

import math

import pytest

from fireworks_batch import (
    NotFoundError,
    PollFailureError,
    PollPolicy,
    TransportError,
    WaitTimeoutError,
)
from fireworks_batch.effects import Failure
from fireworks_batch.events import FailureKind
from fireworks_batch.settling import Settling, Sighting

POLICY = PollPolicy(initial_interval=10, max_interval=40, growth=2, jitter=0)
LOST = Failure(FailureKind.LOST, TransportError("reset"))


class World:
    """A clock that looks move, and what they see."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.now = 100.0
        self.looked = []

    async def look(self, *, due, deadline, pause):  # noqa: ARG002 - the effect's signature
        if due >= deadline:
            self.now = deadline
            return Failure(FailureKind.CUT, None)
        self.now = max(self.now, due)
        self.looked.append(self.now - 100)
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]

    def wait(self, *, timeout=1000.0, policy=POLICY):
        return Settling(
            subject="dataset 'x' to become READY",
            look=self.look,
            policy=policy,
            timeout=timeout,
            clock=lambda: self.now,
            draw=lambda: 0.5,
        )


def sighting(label: str, *, settled: bool = False) -> Sighting[str]:
    """Something in a state."""
    return Sighting(f"seen {label}", label, is_settled=settled)


async def test_what_has_settled_already_takes_one_look():
    """Its value is returned at once."""
    world = World(sighting("READY", settled=True))

    assert await world.wait().run() == "seen READY"
    assert world.looked == [0]


async def test_looks_follow_the_policy():
    """The interval grows while nothing changes, and starts anew when the label does."""
    same, new = sighting("UPLOADING"), sighting("CHECKING")
    world = World(same, same, same, new, new, sighting("READY", settled=True))
    await world.wait().run()

    assert world.looked == [0, 10, 30, 70, 80, 100]


async def test_lost_looks_are_survived():
    """A failure costs one look."""
    world = World(LOST, LOST, sighting("READY", settled=True))

    assert await world.wait().run() == "seen READY"


async def test_the_time_is_hard():
    """The error says for what was waited, how long, and what was seen last."""
    world = World(sighting("UPLOADING"))
    with pytest.raises(WaitTimeoutError) as caught:
        await world.wait(timeout=120).run()

    assert str(caught.value) == (
        "gave up waiting for dataset 'x' to become READY after 2 min, it was last seen UPLOADING"
    )
    assert world.now == 220


async def test_failing_for_too_long_ends_it():
    """The newest failure is told, and carried."""
    world = World(LOST)
    policy = PollPolicy(initial_interval=1, max_interval=1, jitter=0, failure_budget=2)
    with pytest.raises(PollFailureError) as caught:
        await world.wait(timeout=math.inf, policy=policy).run()

    assert str(caught.value) == (
        "5 looks in a row failed while waiting for dataset 'x' to become READY, it was never "
        "seen; the last look failed: reset"
    )
    assert isinstance(caught.value.last_error, TransportError)


async def test_a_refusal_is_raised_as_it_is():
    """The server's own error comes out, after the grace that new things have."""
    missing = Failure(FailureKind.NOT_FOUND, NotFoundError("no such dataset", status=404))
    world = World(missing)
    with pytest.raises(NotFoundError, match="no such dataset"):
        await world.wait().run()

    assert world.looked[-1] == POLICY.not_found_grace
