"""Waiting for what is not a job: on virtual time, with polls from a list."""

import asyncio
import functools
import re

import attrs
import pytest
from virtual_loop import VirtualLoop

from fireworks_batch import (
    NotFoundError,
    PollFailureError,
    PollPolicy,
    RateLimitError,
    TransportError,
    WaitTimeoutError,
)
from fireworks_batch.polling.settle import Settling, Sighting

POLICY = PollPolicy(initial_interval=10, max_interval=40, growth=2, jitter=0)
RESET = TransportError("reset")
OTHER = TransportError("refused")
MISSING = NotFoundError("no such dataset", status=404, from_api=True)


def virtual(test):
    """Run a test on a virtual clock."""

    @functools.wraps(test)
    def run(**arguments):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(**arguments))

    return run


class World:
    """The part of an API that a poll needs, and what the polls bring."""

    def __init__(self, *outcomes, draw=0.5, opens_at=0.0):
        self.outcomes = list(outcomes)
        self.draw = lambda: draw
        self.session = self.gate = self
        self.request_timeout = 5.0
        self.began = self.clock()
        self.opens_at = self.began + opens_at
        self.polled = []
        self.pauses = []

    def clock(self):
        return asyncio.get_running_loop().time()

    async def sleep_until(self, moment):
        await asyncio.sleep(moment - self.clock())

    async def ask(self, pause):
        self.polled.append(round(self.clock() - self.began, 3))
        self.pauses.append(pause)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if outcome is None:
            await asyncio.Event().wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def wait(self, *, timeout=1000.0, policy=POLICY):
        return Settling(
            subject="dataset 'x' to become READY",
            ask=self.ask,
            api=self,
            policy=policy,
            timeout=timeout,
        )


def sighting(label: str, *, settled: bool = False) -> Sighting[str]:
    """Something in a state."""
    return Sighting(f"seen {label}", label, is_settled=settled)


@virtual
async def test_what_has_settled_already_takes_one_poll():
    """Its value is returned at once."""
    world = World(sighting("READY", settled=True))

    assert await world.wait().run() == "seen READY"
    assert world.polled == [0]


@virtual
async def test_polls_follow_the_policy():
    """The interval grows while nothing changes, and starts anew when the label does."""
    same, new = sighting("UPLOADING"), sighting("CHECKING")
    world = World(same, same, same, new, new, sighting("READY", settled=True))
    await world.wait().run()

    assert world.polled == [0, 10, 30, 70, 80, 100]


@pytest.mark.parametrize(("draw", "polled"), [(0.0, [0, 5, 15]), (0.5, [0, 10, 30])])
@pytest.mark.parametrize("first", [sighting("UPLOADING"), RESET])
@virtual
async def test_polls_are_spread(first, draw, polled):
    """After a successful poll and after a failed one, by the share of the policy."""
    world = World(first, first, sighting("READY", settled=True), draw=draw)
    policy = attrs.evolve(POLICY, jitter=0.5)
    await world.wait(policy=policy).run()

    assert polled == world.polled


@virtual
async def test_a_poll_knows_the_interval():
    """A 429 that does not say for how long closes the gate for as long as that."""
    same = sighting("UPLOADING")
    world = World(same, same, same, sighting("READY", settled=True))
    await world.wait().run()

    assert [10, 10, 20, 40] == world.pauses


@virtual
async def test_a_server_that_asks_to_wait_is_waited_for():
    """Its word is a floor for the next poll."""
    limited = RateLimitError("too many", status=429, retry_after=33.0)
    world = World(limited, sighting("READY", settled=True))
    await world.wait().run()

    assert [0, 33] == world.polled


@virtual
async def test_failed_polls_are_survived():
    """A failure costs one poll."""
    world = World(RESET, RESET, sighting("READY", settled=True))

    assert await world.wait().run() == "seen READY"


@virtual
async def test_the_time_is_hard():
    """The error says for what was waited, how long, and what was seen last."""
    world = World(sighting("UPLOADING"))
    with pytest.raises(WaitTimeoutError) as caught:
        await world.wait(timeout=120).run()

    assert str(caught.value) == (
        "gave up waiting for dataset 'x' to become READY after 2 min, it was last seen UPLOADING"
    )
    assert world.clock() - world.began == pytest.approx(120, abs=0.001)


@pytest.mark.parametrize(
    ("outcomes", "lost"),
    [
        ([sighting("UPLOADING"), RESET], "; the last poll failed: reset"),
        ([OTHER, RESET], "; the last poll failed: reset"),
        ([RESET, OTHER], "; the last poll failed: refused"),
        ([RESET, sighting("UPLOADING")], ""),
    ],
)
@virtual
async def test_the_newest_failure_is_told_when_the_time_is_over(outcomes, lost):
    """Also if the end cut the poll after it; one that a successful poll came after is past."""
    world = World(*outcomes)
    with pytest.raises(WaitTimeoutError) as caught:
        await world.wait(timeout=120).run()

    assert re.split("no poll succeeded|last seen UPLOADING", str(caught.value))[1] == lost
    assert caught.value.last_error is (outcomes[-1] if lost else None)


@virtual
async def test_failing_for_too_long_ends_it():
    """The newest failure is told, and carried."""
    world = World(RESET)
    policy = PollPolicy(initial_interval=1, max_interval=1, jitter=0, failure_budget=2)
    with pytest.raises(PollFailureError) as caught:
        await world.wait(timeout=1e6, policy=policy).run()

    assert str(caught.value) == (
        "5 polls in a row failed while waiting for dataset 'x' to become READY, no poll "
        "succeeded; the last poll failed: reset"
    )
    assert isinstance(caught.value.last_error, TransportError)


@virtual
async def test_a_process_that_was_stopped_has_seen_no_outage():
    """Each gap spends 6 s at most here, though the clock says an hour."""
    world = World(*[RESET] * 7, sighting("READY", settled=True))
    asking = world.ask

    async def stopped(pause):
        asyncio.get_running_loop()._jumping.seconds += 3600
        return await asking(pause)

    world.ask = stopped
    policy = PollPolicy(initial_interval=1, max_interval=1, jitter=0, failure_budget=40)

    assert await world.wait(timeout=1e6, policy=policy).run() == "seen READY"


@virtual
async def test_a_refusal_is_raised_as_it_is():
    """The server's own error comes out, after the grace that new things have."""
    world = World(MISSING)
    with pytest.raises(NotFoundError, match="no such dataset"):
        await world.wait().run()

    assert world.polled[-1] == POLICY.not_found_grace


@virtual
async def test_what_is_there_no_more_is_said_by_the_server():
    """It was seen, and somebody has deleted it: twice in a row, as with a job."""
    world = World(sighting("UPLOADING"), MISSING)
    with pytest.raises(NotFoundError, match="no such dataset"):
        await world.wait().run()

    assert 3 == len(world.polled)


@virtual
async def test_nothing_but_the_time_ends_what_does_not_change():
    """`stall_after` is about jobs: a large dataset may take its time."""
    policy = attrs.evolve(POLICY, stall_after=5.0)
    world = World(*[sighting("UPLOADING")] * 5, sighting("READY", settled=True))

    assert await world.wait(policy=policy).run() == "seen READY"


@pytest.mark.parametrize(("opens_at", "polled"), [(0.0, 0), (17.0, 17)])
@virtual
async def test_polls_wait_for_the_gate(opens_at, polled):
    """A poll is made when it is due, and not before the gate is open."""
    world = World(sighting("UPLOADING"), sighting("READY", settled=True), opens_at=opens_at)
    await world.wait().run()

    assert world.polled[0] == polled


@virtual
async def test_a_poll_ends_at_the_deadline():
    """An answer that does not come is waited for no longer."""
    world = World(None)
    with pytest.raises(WaitTimeoutError):
        await world.wait(timeout=30).run()

    assert world.clock() - world.began == pytest.approx(30, abs=0.001)
