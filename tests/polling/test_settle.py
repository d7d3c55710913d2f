"""Waiting for what is not a job: on virtual time, with looks from a list."""

import asyncio
import math

import attrs
import pytest

from fireworks_batch import (
    NotFoundError,
    PollFailureError,
    PollPolicy,
    RateLimitError,
    TransportError,
    WaitTimeoutError,
)
from fireworks_batch.polling.machine import FailureKind
from fireworks_batch.polling.observation import Failure
from fireworks_batch.polling.settle import Settling, Sighting, looks

POLICY = PollPolicy(initial_interval=10, max_interval=40, growth=2, jitter=0)
LOST = Failure(FailureKind.LOST, TransportError("reset"))


OTHER = Failure(FailureKind.LOST, TransportError("refused"))


class World:
    """A clock that looks move, and what they see."""

    def __init__(self, *outcomes, draw=0.5):
        self.outcomes = list(outcomes)
        self.draw = draw
        self.now = 100.0
        self.looked = []
        self.pauses = []

    async def look(self, *, due, deadline, pause):
        if due >= deadline:
            self.now = deadline
            return Failure(FailureKind.CUT, None)
        self.now = max(self.now, due)
        self.looked.append(self.now - 100)
        self.pauses.append(pause)
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]

    def wait(self, *, timeout=1000.0, policy=POLICY):
        return Settling(
            subject="dataset 'x' to become READY",
            look=self.look,
            policy=policy,
            timeout=timeout,
            clock=lambda: self.now,
            draw=lambda: self.draw,
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


@pytest.mark.parametrize(("draw", "looked"), [(0.0, [0, 5, 15]), (0.5, [0, 10, 30])])
@pytest.mark.parametrize("first", [sighting("UPLOADING"), LOST])
async def test_looks_are_spread(first, draw, looked):
    """After a good look and after a lost one, by the share of the policy."""
    world = World(first, first, sighting("READY", settled=True), draw=draw)
    policy = attrs.evolve(POLICY, jitter=0.5)
    await world.wait(policy=policy).run()

    assert looked == world.looked


async def test_a_look_knows_the_interval():
    """A 429 that does not say for how long closes the gate for as long as that."""
    same = sighting("UPLOADING")
    world = World(same, same, same, sighting("READY", settled=True))
    await world.wait().run()

    assert [10, 10, 20, 40] == world.pauses


async def test_a_server_that_asks_to_wait_is_waited_for():
    """Its word is a floor for the next look."""
    error = RateLimitError("too many", status=429)
    limited = Failure(FailureKind.RATE_LIMITED, error, retry_after=33.0)
    world = World(limited, sighting("READY", settled=True))
    await world.wait().run()

    assert [0, 33] == world.looked


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


@pytest.mark.parametrize(
    ("outcomes", "lost"),
    [
        ([sighting("UPLOADING"), LOST], "; the last look failed: reset"),
        ([OTHER, LOST], "; the last look failed: reset"),
        ([LOST, OTHER], "; the last look failed: refused"),
        ([LOST, sighting("UPLOADING")], ""),
    ],
)
async def test_the_newest_failure_is_told_when_the_time_is_over(outcomes, lost):
    """Also if the end cut the look after it; one that a good look came after is past."""
    world = World(*outcomes)
    with pytest.raises(WaitTimeoutError) as caught:
        await world.wait(timeout=120).run()

    assert str(caught.value).partition(" seen")[2].removeprefix(" UPLOADING") == lost
    assert caught.value.last_error is (outcomes[-1].error if lost else None)


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


async def test_what_is_there_no_more_is_said_by_the_server():
    """It was seen, and somebody has deleted it: twice in a row, as with a job."""
    missing = Failure(FailureKind.NOT_FOUND, NotFoundError("no such dataset", status=404))
    world = World(sighting("UPLOADING"), missing)
    with pytest.raises(NotFoundError, match="no such dataset"):
        await world.wait().run()

    assert 3 == len(world.looked)


async def test_nothing_but_the_time_ends_what_does_not_change():
    """`stall_after` is about jobs: a large dataset may take its time."""
    policy = attrs.evolve(POLICY, stall_after=5.0)
    world = World(*[sighting("UPLOADING")] * 5, sighting("READY", settled=True))

    assert await world.wait(policy=policy).run() == "seen READY"


class Gate:
    """The part of an API that a look needs: a gate that opens, and a session that sleeps."""

    def __init__(self, opens_at: float):
        self.session = self.gate = self
        self.opens_at = opens_at
        self.slept_until = []

    async def sleep_until(self, moment):
        self.slept_until.append(moment)


@pytest.mark.parametrize(("due", "opens_at", "asked_at"), [(7.0, 5.0, 7.0), (5.0, 7.0, 7.0)])
async def test_one_look_asks_once_when_it_is_due(due, opens_at, asked_at):
    """And not before the gate is open; what is asked knows the interval."""
    gate, asked = Gate(opens_at), []

    async def ask(pause):
        asked.append(pause)
        return sighting("READY")

    seen = await looks(gate, ask)(due=due, deadline=math.inf, pause=3.0)

    assert (sighting("READY"), [3.0], [asked_at]) == (seen, asked, gate.slept_until)


async def test_one_look_ends_at_the_deadline():
    """An answer that does not come is waited for no longer."""

    async def ask(_pause):
        await asyncio.Event().wait()

    now = asyncio.get_running_loop().time()
    seen = await looks(Gate(0.0), ask)(due=now, deadline=now, pause=3.0)

    assert Failure(FailureKind.CUT, None) == seen
