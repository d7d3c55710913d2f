"""The gate: closed by a 429, spaced by a rate that is given or learned. No loop, no clock."""

import random
from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fireworks_batch.connection.pace import Gate, Pace
from fireworks_batch.polling.schedule import lanes, turn


def place(gate: Gate, now: float) -> float:
    """The moment at which a request passes that comes now."""
    moment = max(now, gate.passes_at)
    assert gate.let_pass(moment)
    return moment


def places(gate: Gate, count: int, *, now: float = 0.0) -> list[float]:
    """The moments at which several requests pass that come at one moment."""
    return [place(gate, now) for _ in range(count)]


def after_429(*, requests: int, hold: float, seconds: float = 1.0) -> Gate:
    """A gate that was closed after so many requests within a second."""
    gate = Gate()
    for number in range(requests):
        place(gate, seconds * number / requests)
    gate.close(seconds + hold, now=seconds)
    return gate


def test_without_a_limit_nobody_waits():
    """All go at once."""
    assert places(Gate(), 3, now=7.0) == [7.0, 7.0, 7.0]


def test_a_given_rate_spaces_requests_evenly():
    """Ten a minute: one each six seconds, and no credit for idle time."""
    gate = Gate(6.0)
    assert places(gate, 3) == [0.0, 6.0, 12.0]
    assert places(gate, 2, now=100.0) == [100.0, 106.0]


def test_a_closed_gate_holds_everybody():
    """Nobody gets a place before it opens; hold says how long that is."""
    gate = Gate()
    gate.close(50.0, now=20.0)
    assert gate.hold(30.0) == 20.0
    assert place(gate, 30.0) == 50.0
    assert gate.hold(51.0) == 0.0


def test_closing_never_opens_earlier():
    """The longest Retry-After counts."""
    gate = Gate()
    gate.close(50.0, now=0.0)
    gate.close(40.0, now=1.0)
    assert gate.opens_at == 50.0


def test_an_open_gate_lets_all_pass_at_once():
    """Without a rate any number of requests passes in one moment."""
    gate = Gate()
    assert [True, True, True] == [gate.let_pass(5.0) for _ in range(3)]
    assert gate.hold(5.0) == 0


def test_a_closed_gate_lets_none_pass_before_its_time():
    """At the very moment it opens, one passes."""
    gate = Gate()
    gate.close(10.0, now=0.0)
    assert not gate.let_pass(9.9)
    assert gate.hold(7.5) == 2.5
    assert gate.let_pass(10.0)


def test_who_wakes_a_little_early_passes():
    """A clock's resolution is no reason to sleep again, which on a virtual clock never ends."""
    gate = Gate()
    gate.close(297.45970900000003, now=0.0)
    assert gate.let_pass(297.459709)


def test_what_the_server_asked_for_is_never_shortened():
    """A shorter wish that comes later changes nothing."""
    gate = Gate()
    gate.close(10.0, now=0.0)
    gate.close(3.0, now=1.0)
    assert gate.opens_at == 10.0
    gate.close(11.0, now=2.0)
    assert gate.passes_at == 11.0


def test_a_rate_spaces_those_who_pass():
    """Who does not pass takes no place; the next place counts from who passed last."""
    gate = Gate(6.0)
    assert gate.let_pass(0.0)
    assert not gate.let_pass(5.9)
    assert not gate.let_pass(5.9)
    assert gate.passes_at == 6.0
    assert gate.let_pass(7.0)
    assert gate.passes_at == 13.0


def test_a_gate_that_opens_is_spaced_too():
    """After a 429 the rate holds as before it."""
    gate = Gate(6.0)
    gate.close(100.0, now=0.0)
    assert gate.let_pass(100.0)
    assert not gate.let_pass(100.0)


def test_after_a_429_requests_are_spaced():
    """Those who waited for the gate do not all go when it opens."""
    gate = after_429(requests=11, hold=15.0)
    first, *rest = places(gate, 3, now=2.0)
    assert first == 16.0
    assert [16.0 + 60 / 9, 16.0 + 120 / 9] == pytest.approx(rest)


@pytest.mark.parametrize(
    ("requests", "hold", "spacing"),
    [
        (10, 60.0, 60 / 9),  # 0.9 of what the last minute had
        (10, 5.0, 5.0),  # bounded by the closure
        (300, 60.0, 60 / 270),
        (6, 60.0, 60 / 5.4),
        (5, 60.0, 0.0),  # a few requests are no rate
        (1, 3600.0, 0.0),
        (10, 0.004, 0.004),  # a policy of milliseconds learns milliseconds
        (10, 0.0, 0.0),  # a server that asks for nothing teaches nothing
    ],
)
def test_what_a_429_teaches(requests, hold, spacing):
    """The spacing follows the requests of the last minute, and the time the gate is closed."""
    assert after_429(requests=requests + 1, hold=hold).spacing == pytest.approx(spacing)


def test_requests_older_than_a_minute_teach_nothing():
    """Only those of the last minute count."""
    gate = Gate()
    places(gate, 100)
    places(gate, 9, now=70.0)
    gate.close(130.0, now=70.0)
    assert gate.spacing == pytest.approx(60 / 7.2)


def test_several_429s_of_one_closure_teach_once():
    """Requests that were under way together are refused together: that is one event."""
    gate = after_429(requests=10, hold=60.0)
    before = gate.spacing
    gate.close(70.0, now=1.5)
    assert gate.spacing == before


def test_a_429_in_spite_of_the_spacing_widens_it():
    """A minute in which fewer requests passed teaches a lower rate."""
    gate = after_429(requests=11, hold=60.0)
    before = gate.spacing
    places(gate, 8, now=75.0)
    gate.close(200.0, now=130.0)
    assert gate.spacing == pytest.approx(60 / 6.3)
    assert gate.spacing > before


def test_a_spacing_is_widened_to_twice_itself_at_most():
    """However few requests pass between further 429s."""
    pace = Pace()
    for now, requests in ((0.0, 50), (100.0, 6), (200.0, 6)):
        for _ in range(requests + 1):
            pace.on_sent(now)
        pace.on_429(now, 60.0)
    assert pace.spacing == pytest.approx(2 * 60 / 45)


def test_a_429_never_narrows_the_spacing():
    """More requests in the last minute than before the first 429 prove no higher rate."""
    pace = Pace()
    for now, requests in ((0.0, 6), (100.0, 50)):
        for _ in range(requests + 1):
            pace.on_sent(now)
        pace.on_429(now, 60.0)
    assert pace.spacing == pytest.approx(60 / 5.4)


def test_a_spacing_is_forgotten_after_an_hour():
    """Counted from the 429 that began it: then the rate is tried anew."""
    gate = after_429(requests=11, hold=15.0)
    place(gate, 3600.9)
    assert gate.spacing > 0.0
    place(gate, 3620.0)
    assert gate.spacing == 0.0


def test_a_long_closure_does_not_slow_down_for_hours_afterwards():
    """A server that refused everything for an hour has said nothing of a rate."""
    gate = after_429(requests=1, hold=3600.0)
    now = 3601.0
    for _ in range(5):
        now = place(gate, now)
        gate.close(now + 60.0, now=now)
    assert places(gate, 2, now=now) == [now + 60.0, now + 60.0]


def test_a_server_that_refuses_at_random_is_asked_on():
    """One request in twelve meets a 429: most of an hour is not spent on waiting for a rate."""
    rng, gate, now, passed = random.Random(1), Gate(), 0.0, 0
    hold = 15.0
    while now < 3 * 3600:
        now = place(gate, now) + 0.05
        if rng.random() < 1 / 12:
            gate.close(now + hold, now=now)
            hold = min(2 * hold, 60.0)
        else:
            passed, hold = passed + 1, 15.0
    assert passed / 180 > 4.5  # of 20 that the closures alone would leave


@settings(max_examples=15)
@given(
    limit=st.integers(min_value=8, max_value=120),
    hold=st.sampled_from([15.0, 30.0, 60.0]),
)
def test_a_client_that_asks_all_the_time_is_refused_seldom(limit, hold):
    """After the first hour at most one request in forty meets a limit that it was never told."""
    gate, now, taken, refused = Gate(), 0.0, deque(), []
    sent = 0
    while now < 2 * 3600:
        now = place(gate, now)
        while taken and taken[0] <= now - 60:
            taken.popleft()
        sent += now > 3600
        if len(taken) < limit:
            taken.append(now)
            now += 0.05
        else:
            refused.append(now)
            gate.close(now + hold, now=now)
    late = [moment for moment in refused if moment > 3600]
    assert len(late) <= max(3, sent / 40)


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=60))
def test_places_never_go_back_and_never_fall_into_a_closure(steps):
    """Whatever happens: each place is at or after now, the last place and the gate."""
    gate, now, given_out = Gate(), 0.0, []
    for seconds, is_429 in steps:
        now += seconds
        if is_429:
            gate.close(now + seconds, now=now)
        moment = place(gate, now)
        assert moment >= max(now, gate.opens_at)
        given_out.append(moment)
    assert all(later >= earlier for earlier, later in pairwise(given_out))


@pytest.mark.parametrize(
    ("spacing", "seconds", "looks"),
    [
        (0.0, 60.0, 100),  # without a rate nobody waits for long
        (0.1, 60.0, 100),
        (6.0, 60.0, 5),
        (60.0, 60.0, 2),  # as many as are under way at once, always
        (0.001, 0.002, 10),
    ],
)
def test_single_looks_take_a_turn_of_half_an_interval(spacing, seconds, looks):
    """So that no page waits for long."""
    assert turn(spacing, seconds) == looks
    assert looks >= lanes(spacing)
