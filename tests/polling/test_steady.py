"""Between two changes the machine is arithmetic: exactly the machine's, and much cheaper."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fireworks_batch import PollPolicy
from fireworks_batch.polling import machine as polling
from fireworks_batch.polling.machine import Failed, FailureKind, PollAt, Seen, Steady

SAME = Seen(schedule="RUNNING", visible=("RUNNING", 7))

seconds = st.floats(0.001, 5000)
policies = st.builds(
    PollPolicy,
    initial_interval=seconds,
    min_interval=st.floats(0, 100),
    max_interval=seconds,
    growth=st.floats(1, 3),
    jitter=st.floats(0, 0.9),
    unknown_state_budget=st.none() | seconds,
    stall_after=st.none() | seconds,
)
draws = st.floats(0, 1, exclude_max=True)


@given(
    policy=policies,
    timeout=st.none() | st.floats(1, 100_000),
    follows_window=st.booleans(),
    least_window=st.floats(0, 5000),
    lost=st.sampled_from([None, FailureKind.LOST, FailureKind.RATE_LIMITED]),
    is_unknown=st.booleans(),
    looks=st.lists(
        st.tuples(
            st.floats(0, 3000), draws, st.none() | st.floats(-100, 300) | st.floats(300, 300_000)
        ),
        max_size=12,
    ),
)
def test_a_step_is_what_the_machine_decides(
    policy, timeout, follows_window, least_window, lost, is_unknown, looks
):
    """Whenever it decides at all: the same due time, and the same state for whatever follows."""
    seen = Seen(schedule=SAME.schedule, visible=SAME.visible, is_unknown=is_unknown)
    state = polling.start(
        policy,
        now=0.0,
        timeout=timeout,
        follows_window=follows_window,
        least_window=least_window,
    )
    state, decision = polling.on_observation(policy, state, seen, now=0.0, draw=0.5)
    now = 0.0
    if lost and isinstance(decision, PollAt):
        state, decision = polling.on_failure(policy, state, Failed(lost), now=now, draw=0.5)
    assume(isinstance(decision, PollAt))
    steady = Steady(policy, state)
    for wait, draw, window in looks:
        now += wait
        due = steady.step(now, draw, window)
        if due is None:
            break
        event = Seen(
            schedule=seen.schedule, visible=seen.visible, is_unknown=is_unknown, window=window
        )
        state, decision = polling.on_observation(policy, state, event, now=now, draw=draw)
        assert decision == PollAt(due)
        assert steady.deadline == state.deadline
        assert steady.interval == state.interval
        assert steady.state() == state
    assert steady.state() == state


def steady(policy: PollPolicy | None = None, *, timeout: float | None = None) -> Steady:
    """The machine after one good look at moment 0."""
    policy = policy or PollPolicy(jitter=0)
    state = polling.start(policy, now=0.0, timeout=timeout)
    state, _ = polling.on_observation(policy, state, SAME, now=0.0, draw=0.5)
    return Steady(policy, state)


def test_it_decides_in_the_usual_case():
    """The interval grows to the largest, as ever."""
    running, now, dues = steady(), 0.0, []
    for _ in range(5):
        due = running.step(now, 0.5, None)
        dues.append(round(due - now, 2))
        now = due
    assert dues == [22.5, 33.75, 50.62, 60.0, 60.0]
    assert running.steps == 5


def test_it_leaves_the_last_look_to_the_machine():
    """A look that would be due after the last one before the deadline is not its to plan."""
    running = steady(timeout=100)
    assert running.step(15.0, 0.5, None) is not None
    assert running.step(80.0, 0.5, None) is None
    assert running.steps == 1


def test_it_leaves_a_stall_to_the_machine():
    """A look at which the wait could stall is not its to plan."""
    running = steady(PollPolicy(jitter=0, stall_after=60))
    assert running.step(15.0, 0.5, None) is not None
    assert running.step(37.5, 0.5, None) is None


def test_it_takes_nothing_after_a_failure_or_in_an_unknown_state():
    """What the machine counts then is more than arithmetic."""
    policy = PollPolicy(jitter=0)
    state = polling.start(policy, now=0.0, timeout=None)
    unknown = Seen(schedule="X", visible="X", is_unknown=True)
    for event in (SAME, unknown):
        seen, _ = polling.on_observation(policy, state, event, now=0.0, draw=0.5)
        if event is SAME:
            seen, _ = polling.on_failure(policy, seen, Failed(FailureKind.LOST), now=9.0, draw=0.5)
        assert Steady(policy, seen).step(10.0, 0.5, None) is None


def test_the_deadline_follows_the_window():
    """Each look says anew when it is no use to wait any more."""
    policy = PollPolicy(jitter=0)
    state = polling.start(policy, now=0.0, timeout=math.inf, follows_window=True)
    state, _ = polling.on_observation(policy, state, SAME, now=0.0, draw=0.5)
    running = Steady(policy, state)
    running.step(15.0, 0.5, 9000.0)
    assert running.deadline == 9015.0
    running.step(30.0, 0.5, None)
    assert running.deadline == 9015.0


@pytest.mark.parametrize(
    ("now", "window", "due"),
    [(100.0, 25.1, 122.5), (100.0, 25.0, None), (100.0, 60.0, 122.5), (100.0, 0.0, None)],
)
def test_the_last_look_before_the_end_of_the_window_is_left_to_the_machine(now, window, due):
    """It is a tenth of what is left before the end, and 5 s at most."""
    policy = PollPolicy(jitter=0)
    state = polling.start(policy, now=0.0, timeout=math.inf, follows_window=True, least_window=0)
    state, _ = polling.on_observation(policy, state, SAME, now=0.0, draw=0.5)
    assert Steady(policy, state).step(now, 0.5, window) == due


def test_a_look_is_due_no_sooner_than_the_least_interval():
    """Also where jitter would have it sooner."""
    policy = PollPolicy(initial_interval=10, max_interval=10, min_interval=8, jitter=0.5)
    state = polling.start(policy, now=100.0, timeout=None)
    state, _ = polling.on_observation(policy, state, SAME, now=100.0, draw=0.5)
    assert Steady(policy, state).step(110.0, 0.0, None) == 118.0
