"""What is known in advance: the expected end, and the server's tick. No event loop, no clock."""

import math
import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch import BatchInferenceJob, JobState, PollPolicy
from fireworks_batch.models.job import JobProgress
from fireworks_batch.models.snapshot import History
from fireworks_batch.polling.machine import PollMachine, Seen, Tick
from fireworks_batch.polling.outlook import TickProof, expected_end

YEAR_1, YEAR_9999 = -62_135_596_800.0, 253_402_300_799.0


def job(done: int, total: int = 100, state: JobState = JobState.RUNNING) -> BatchInferenceJob:
    """A job that has processed so many rows."""
    rows = JobProgress(total_input_requests=total, total_processed_requests=done)
    return BatchInferenceJob(name="j", state=state, job_progress=rows)


def ends(polls: list[tuple[float, BatchInferenceJob]]) -> list[float | None]:
    """What each poll of a wait makes of the end."""
    history, found = History(), []
    for now, seen in polls:
        history = history.add(seen, now=now)
        found.append(expected_end(seen, history.moves))
    return found


# --- The expected end -----------------------------------------------------------------------------


def test_end_follows_from_the_rate_and_the_rows_left():
    """Two values of the counter give a rate, and the rate gives the moment of the last row."""
    assert ends([(0, job(10)), (60, job(40)), (120, job(70))]) == [None, 180, 180]


def test_end_stays_put_until_the_counter_moves():
    """A counter that stands still does not put the end off."""
    assert ends([(0, job(10)), (60, job(40)), (90, job(40)), (500, job(40))])[1:] == [180] * 3


def test_rate_is_that_of_the_newest_moves():
    """The newest six values count: what was slow long ago is forgotten."""
    slow = [(1000 * n, job(n, 1000)) for n in range(5)]
    fast = [(4000 + 10 * n, job(4 + 10 * n, 1000)) for n in range(1, 8)]

    assert ends(slow + fast)[-1] == 4000 + 996


@pytest.mark.parametrize(
    "unknown",
    [
        job(50, total=0),
        job(50, total=-3),
        job(50, state=JobState.WRITING_RESULTS),
        job(50, state=JobState.RE_QUEUEING),
        BatchInferenceJob(name="j", state=JobState.RUNNING),
    ],
)
def test_end_is_unknown_where_no_counter_tells(unknown):
    """Without a total, in another state than RUNNING, or without counters no end is expected."""
    assert ends([(0, job(10)), (60, job(40)), (120, unknown)])[-1] is None


def test_end_has_passed_once_all_rows_are_done():
    """A counter at its total, or above it, ends when it was first seen there."""
    assert ends([(0, job(10)), (60, job(100)), (90, job(100))])[1:] == [60, 60]
    assert ends([(0, job(1, 1)), (60, job(3, 1))])[-1] == 60


def test_counter_that_goes_back_starts_anew():
    """A job that was put back in the queue may begin again."""
    assert ends([(0, job(10)), (60, job(40)), (120, job(5)), (180, job(24))]) == [
        None,
        180,
        None,
        420,
    ]


COUNTS = st.integers(-(2**63), 2**64 - 1)


@given(st.lists(st.tuples(st.floats(0.001, 1e5), COUNTS, COUNTS), max_size=30))
def test_hostile_counters_raise_nothing(polls):
    """Whatever the counters do, the end is a finite moment or unknown, and a poll is planned."""
    machine = PollMachine(policy=PollPolicy())
    machine.start(0.0)
    history, now = History(), 0.0
    for gap, done, total in polls:
        now += gap
        seen = job(done, total)
        history = history.add(seen, now=now)
        end = expected_end(seen, history.moves)
        assert end is None or math.isfinite(end)
        decision = machine.on_observation(
            Seen(schedule=0, visible=0), now=now, draw=0.5, expected_end=end
        )
        assert now + 1 <= decision.due <= now + 66


# --- The tick -------------------------------------------------------------------------------------


@attrs.define
class Wait:
    """A wait for a job that does not change: what its polls show of the server's clock."""

    policy: PollPolicy = attrs.field(factory=PollPolicy)
    seed: int = 0
    scale: float = 1.0
    machine: PollMachine = attrs.field(init=False)
    proof: TickProof = attrs.field(init=False)
    polls: list[tuple[float, Tick | None]] = attrs.field(factory=list)

    def run(self, update_time, count: int) -> list[tuple[float, Tick | None]]:
        """Poll so many times; *update_time* says what the server shows at a moment."""
        draws = random.Random(self.seed)
        self.machine = PollMachine(policy=self.policy)
        self.proof = TickProof(self.scale)
        self.machine.start(0.0)
        for _ in range(count):
            now = self.machine.due
            tick = self.proof.see(update_time(now), due=now, now=now)
            self.polls.append((now, tick))
            seen = Seen(schedule=0, visible=0)
            self.machine.on_observation(seen, now=now, draw=draws.random(), tick=tick)
        return self.polls


def ticking(phase: float, offset: float, scale: float = 1.0):
    """A server that writes once a minute, by a clock that is apart from ours."""
    period = 60 * scale

    def update_time(now: float) -> float:
        tick = phase * scale + period * math.floor((now - phase * scale) / period)
        return tick / scale + offset

    return update_time


# Whole numbers, so that the server's times are exact.
PHASES = st.integers(0, 59)
OFFSETS = st.integers(-(10**8), 10**8)


@given(PHASES, OFFSETS, st.integers(0, 1000))
def test_true_tick_is_proven_within_six_polls(phase, offset, seed):
    """Whenever the server writes, and however its clock is wrong, with the default policy."""
    polls = Wait(seed=seed).run(ticking(phase, offset), 7)

    assert [tick for _, tick in polls].count(None) <= 6


@given(PHASES, OFFSETS, st.integers(0, 1000))
def test_polls_fall_behind_a_proven_tick(phase, offset, seed):
    """Once the clocks are compared, by 17 polls at most, each comes 0 to 3 seconds behind it."""
    polls = Wait(seed=seed).run(ticking(phase, offset), 60)
    behind = [(now - phase) % 60 for now, _ in polls[17:]]

    assert max(behind) <= 3.0


@given(PHASES, OFFSETS, st.integers(0, 1000))
def test_tick_is_missed_once_while_it_is_found(phase, offset, seed):
    """On the way to the tick each poll sees its write, but the one that came too early."""
    wait = Wait(seed=seed)
    polls = wait.run(ticking(phase, offset), 60)
    behind = [(now - phase) % 60 for now, tick in polls[7:]]

    assert sum(seconds > 25 for seconds in behind) <= 1


@given(PHASES, OFFSETS, st.integers(-1000, 1000), st.integers(0, 1000))
def test_servers_clock_does_not_count(phase, offset, shift, seed):
    """To shift all update times changes nothing: no clock is compared with the time of day."""
    one = Wait(seed=seed).run(ticking(phase, offset), 30)
    other = Wait(seed=seed).run(ticking(phase, offset + shift), 30)

    assert [now for now, _ in one] == pytest.approx([now for now, _ in other], abs=1e-3)


@given(PHASES, st.integers(-1000, 1000), st.integers(0, 1000))
def test_tick_scales(phase, offset, seed):
    """A server that is 512 times as fast ticks as much faster."""
    scale = 2.0**-9
    policy = PollPolicy(initial_interval=15 * scale, min_interval=scale, max_interval=60 * scale)
    one = Wait(seed=seed).run(ticking(phase, offset), 30)
    other = Wait(policy, seed, scale).run(ticking(phase, offset, scale), 30)

    assert [now * scale for now, _ in one] == pytest.approx([now for now, _ in other], rel=1e-9)


def test_server_that_stamps_the_request_proves_nothing():
    """Its update times are as far apart as our polls: they would seem to tick in our rhythm."""
    polls = Wait(PollPolicy(jitter=0, initial_interval=60)).run(lambda now: now + 7.0, 200)

    assert {tick for _, tick in polls} == {None}


@given(st.integers(0, 10_000))
def test_jitter_is_not_taken_for_a_tick(seed):
    """Nor does the default policy see a tick where the server stamps the request."""
    polls = Wait(seed=seed).run(lambda now: now - 5000.0, 100)

    assert {tick for _, tick in polls} == {None}


def test_three_writes_prove_a_tick_and_one_off_the_grid_takes_it_back():
    """The proof starts anew at an update time that is no whole minutes after the one before."""
    proof = TickProof()
    times = [(0, 100), (20, 100), (70, 160), (130, 220), (190, 251), (250, 311), (310, 371)]
    times += [(340, 371)]
    found = [proof.see(float(time), due=now, now=now) is not None for now, time in times]
    assert found == [False, False, False, True, False, False, False, True]


def test_tick_may_be_two_seconds_off():
    """A write two seconds beside its minute is on the grid, and one three seconds beside is not."""
    for beside, proven in ((2, True), (-2, True), (3, False), (-3, False)):
        proof = TickProof()
        proof.see(100.0, due=0, now=0)
        proof.see(100.0, due=20, now=20)
        proof.see(160.0, due=70, now=70)
        tick = proof.see(220.0 + beside, due=130, now=130)
        assert (tick is not None) is proven


def test_minutes_may_be_left_out():
    """A server that writes only if there is something to write is still on the grid."""
    proof = TickProof()
    for now, time in ((0, 100), (20, 100), (200, 280), (510, 580)):
        tick = proof.see(float(time), due=now, now=now)
    assert tick is not None
    assert tick.period == 60


def moments(proof: TickProof, polls: list[tuple[float, float]]) -> list[float | None]:
    """Tell of polls, each with its moment and the update time; return where they see the tick."""
    ticks = [proof.see(time, due=now, now=now) for now, time in polls]
    return [None if tick is None else tick.moment for tick in ticks]


def test_poll_that_is_too_early_ends_the_approach():
    """Polls come two seconds sooner than the least age, here -100 s, until one sees no write."""
    regular = [(0.0, 100.0), (20.0, 100.0), (60.5, 160.0), (121.0, 220.0)]
    proof = TickProof()

    assert moments(proof, regular) == [None, None, None, 220 - 100 - 2]
    assert moments(proof, [(178.0, 220.0), (240.5, 280.0)]) == [220 - 100 + 0.5, 280 - 100 + 0.5]


def test_write_that_was_left_out_is_not_taken_for_a_poll_that_is_too_early():
    """Where writes are not a minute apart, a poll that sees none tells nothing of the tick."""
    seldom = [(0.0, 100.0), (40.0, 100.0), (610.0, 700.0), (1215.0, 1300.0)]
    proof = TickProof()

    assert moments(proof, seldom)[-1] == 1300 - 100 - 2
    assert moments(proof, [(1258.0, 1300.0)]) == [1300 - 100 - 2]


def test_clock_that_is_seen_to_be_set_forward_begins_the_approach_anew():
    """A write at a lesser age than was too early proves that the clock was set since."""
    proof = TickProof()
    moments(proof, [(0.0, 100.0), (20.0, 100.0), (60.5, 160.0), (121.0, 220.0), (178.0, 220.0)])
    ahead = [(240.0, 347.0), (260.0, 347.0), (300.5, 407.0), (361.0, 467.0)]

    assert moments(proof, ahead) == [None, None, None, 467 - 107 - 2]


@pytest.mark.parametrize(
    "times",
    [
        [100.0, 40.0, -20.0, -80.0],
        [YEAR_1, YEAR_9999, YEAR_1, YEAR_9999],
        [None, None, None, None],
        [100.0, None, 160.0, None, 220.0],
        [100.0, 100.0, 100.0, 100.0],
        [280.0, 220.0, 280.0, 220.0, 280.0],
    ],
)
def test_odd_times_prove_nothing(times):
    """Times that go back, are absent, or stand still are no tick."""
    proof, now = TickProof(), 0.0
    for number, time in enumerate(times * 3):
        now += 60.0 + 10 * (number % 3)
        assert proof.see(time, due=now, now=now) is None


@given(
    st.lists(
        st.tuples(
            st.floats(0.001, 3600),
            st.none() | st.floats(YEAR_1, YEAR_9999) | st.integers(-3, 3).map(lambda n: n * 60.0),
        ),
        max_size=60,
    )
)
def test_hostile_times_raise_nothing(polls):
    """Whatever update times come, a poll is due within the interval and half of the largest."""
    machine, proof = PollMachine(policy=PollPolicy()), TickProof()
    machine.start(0.0)
    now = 0.0
    for gap, time in polls:
        now = max(machine.due, now + gap)
        tick = proof.see(time, due=machine.due, now=now)
        seen = Seen(schedule=0, visible=0)
        decision = machine.on_observation(seen, now=now, draw=0.5, tick=tick)
        assert now + 1 <= decision.due <= now + machine.interval + 30


def clock_of(drift: float, jumps: float = 0.0):
    """A ticking server whose clock drifts from ours, and is set once."""

    def update_time(now: float) -> float:
        theirs = now * (1 + drift) + (jumps if now > 20_000 else 0.0)
        return 60 * math.floor(theirs / 60)

    return update_time


@pytest.mark.parametrize("drift", [-5e-5, 5e-5, 2e-4, -2e-4])
def test_drift_is_followed(drift):
    """A clock that drifts by seconds a day does not put polls before the tick for long."""
    polls = Wait().run(clock_of(drift), 1440)
    behind = [now * (1 + drift) % 60 for now, _ in polls[25:]]

    assert sum(seconds > 30 for seconds in behind) <= 40
    assert sorted(behind)[len(behind) // 2] <= 10


@pytest.mark.parametrize("jump", [-59, -30, -7, -1])
def test_clock_that_is_set_back_is_found_again(jump):
    """Polls that are too early since the server's clock was set are behind its tick again."""
    polls = Wait().run(clock_of(0.0, jump), 700)
    behind = [(now + jump) % 60 for now, _ in polls[-100:]]

    assert max(behind) <= 3.0


@pytest.mark.parametrize("jump", [1, 7, 30, 56])
def test_clock_that_is_set_forward_costs_that_much(jump):
    """Nothing shows that a poll could come sooner: it is late by what the clock was set."""
    polls = Wait().run(clock_of(0.0, jump), 700)
    behind = [(now + jump) % 60 for now, _ in polls[-100:]]

    assert max(behind) <= jump + 3.0
