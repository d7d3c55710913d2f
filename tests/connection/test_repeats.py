"""A step of a run that has no usable answer is done again, for so long and no longer."""

import pytest

from fireworks_batch import BadRequestError, PollPolicy, ServerError, TransportError
from fireworks_batch.connection.repeats import StepRepeats

POLICY = PollPolicy(initial_interval=10, growth=2, max_interval=30, failure_budget=100)


@pytest.fixture
def clock():
    """A clock that only sleeping moves."""

    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

        async def sleep_until(self, moment):
            self.now = moment

    return Clock()


@pytest.fixture
def persist(clock):
    """Does a step by that clock, as a run does."""

    async def persisted(what, step):
        repeats = StepRepeats(
            what, POLICY, request_timeout=20, clock=clock, sleep_until=clock.sleep_until
        )
        return await repeats.run(step)

    return persisted


def failing(clock, times, error):
    """A step that fails so often, and the moments at which it was done."""
    moments = []

    async def step():
        moments.append(clock.now - 1000)
        if len(moments) <= times:
            raise error
        return "done"

    return step, moments


async def test_outage_is_outlasted(persist, clock, caplog):
    """The interval grows as that of looks does, each failure is logged, and the result returned."""
    step, moments = failing(clock, 4, TransportError("reset"))

    assert "done" == await persist("uploading", step)
    assert [0, 10, 30, 60, 90] == moments
    assert "uploading failed, and is tried again in 10.0 s: reset" in caplog.messages


async def test_outage_beyond_the_budget_is_raised(persist, clock):
    """The last error comes through as it is, when the budget is spent."""
    step, moments = failing(clock, 100, ServerError("down", status=503))

    with pytest.raises(ServerError):
        await persist("uploading", step)
    assert [0, 10, 30, 60, 90, 120] == moments


async def test_a_process_that_was_stopped_has_seen_no_outage(persist, clock):
    """An hour between two failures costs the largest interval and one request: 50 s here."""
    step, moments = failing(clock, 100, TransportError("reset"))

    async def stopped():
        clock.now += 3600 * (len(moments) == 2)
        return await step()

    with pytest.raises(TransportError):
        await persist("uploading", stopped)
    assert [0, 10, 3630, 3660, 3690] == moments


@pytest.mark.parametrize("error", [BadRequestError("no", status=400), ZeroDivisionError()])
async def test_refusal_is_final(persist, clock, error):
    """What the API itself refuses, and what is no error of ours, is not tried again."""
    step, moments = failing(clock, 100, error)

    with pytest.raises(type(error)):
        await persist("uploading", step)
    assert [0] == moments
