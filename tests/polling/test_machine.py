"""The poll machine: when to look again, and when to stop. No event loop, no clock, no chance."""

import copy
import itertools
import math
import operator
import random
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.models.errors import ClientStateError
from fireworks_batch.models.policies import PollPolicy, scaled
from fireworks_batch.polling.machine import (
    Decision,
    Failure,
    FailureKind,
    Finished,
    GaveUp,
    Gone,
    PollAt,
    PollMachine,
    Refused,
    Seen,
    Stalled,
    Tick,
    TimedOut,
    Unrecognised,
)

pytestmark = pytest.mark.once  # pure arithmetic, and seconds of it

NO_ANSWER, LIMITED, UNAUTHORIZED, NOT_FOUND, REFUSED, CUT = FailureKind
# Intervals of 15, 22.5, 33.75, 50.625, 60 s, and no jitter unless a test wants it.
PLAIN = PollPolicy(jitter=0)
# The interval stays at 15 s, so that what else decides can be seen.
STEADY = PollPolicy(jitter=0, growth=1)
JUST_UNDER_1 = math.nextafter(1, 0)


@attrs.define
class Wait:
    """A wait under test: it is told what happened when, and answers with its decision."""

    policy: PollPolicy = PLAIN
    timeout: float | None = None
    follows_expiry: bool = False
    draw: float = 0.5
    state: PollMachine = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.state = PollMachine(
            policy=self.policy, timeout=self.timeout, follows_expiry=self.follows_expiry
        )
        self.state.start(0.0)

    def seen(
        self,
        now: float,
        schedule: Any = "RUNNING",
        visible: Any = 0,
        time_left: float | None = None,
        expected_end: float | None = None,
        tick: Tick | None = None,
        **more: Any,
    ) -> Decision:
        """Tell of a successful poll."""
        event = Seen(schedule=schedule, visible=visible, **more)
        return self.state.on_observation(
            event,
            now=now,
            draw=self.draw,
            time_left=time_left,
            expected_end=expected_end,
            tick=tick,
        )

    def failed(
        self, now: float, kind: FailureKind = NO_ANSWER, retry_after: float | None = None
    ) -> Decision:
        """Tell of a failed poll."""
        failure = Failure(kind, retry_after=retry_after)
        return self.state.on_failure(failure, now=now, draw=self.draw)


def gaps(tell: Callable[[float], Decision], count: int) -> list[float]:
    """What is decided again and again, each poll at the moment it is due and taking no time."""
    now, found = 0.0, []
    for _ in range(count):
        decision = tell(now)
        assert isinstance(decision, PollAt)
        found.append(decision.due - now)
        now = decision.due
    return found


# --- The interval ---------------------------------------------------------------------------------


def test_start_remembers_the_moment_and_nothing_else():
    """A wait begins open, unseen and without failures."""
    state = PollMachine(policy=PLAIN)
    assert state.start(7.0) == PollAt(7.0)

    assert (state.started, state.changed_at) == (7.0, 7.0)
    assert (state.deadline, state.last_poll) == (math.inf, math.inf)
    assert (state.has_seen, state.is_over, state.failures) == (False, False, 0)
    assert state.pause == 15.0


def test_terminal_first_poll_ends_the_wait():
    """A terminal first answer is the end."""
    assert Wait().seen(0, is_terminal=True) == Finished()


def test_interval_grows_while_nothing_changes():
    """The interval starts at its initial value, is multiplied, then clamped to the largest."""
    assert gaps(Wait().seen, 7) == [15, 22.5, 33.75, 50.625, 60, 60, 60]


def test_interval_grows_by_its_own_factor():
    """The factor is the policy's, and a factor of 1 keeps the interval."""
    assert gaps(Wait(attrs.evolve(PLAIN, growth=3)).seen, 4) == [15, 45, 60, 60]
    assert gaps(Wait(STEADY).seen, 3) == [15, 15, 15]


def test_change_of_schedule_starts_the_interval_anew():
    """When the schedule fingerprint differs, the interval is the initial one, never lower."""
    wait = Wait()
    gaps(wait.seen, 5)

    assert wait.seen(1000, schedule="WRITING_RESULTS") == PollAt(1015)
    assert wait.seen(1015, schedule="WRITING_RESULTS") == PollAt(1037.5)
    assert wait.seen(1037.5, schedule="RUNNING") == PollAt(1052.5)


def test_visible_change_leaves_the_interval():
    """Counters that move do not make the wait poll more often."""
    wait = Wait()

    assert gaps(lambda now: wait.seen(now, visible=now), 5) == [15, 22.5, 33.75, 50.625, 60]


def test_failed_poll_counts_as_no_change():
    """A failed poll multiplies the interval like a successful one that shows nothing new."""
    wait = Wait()

    assert wait.seen(0) == PollAt(15)
    assert wait.failed(15) == PollAt(15 + 22.5)
    assert wait.seen(100) == PollAt(100 + 33.75)
    assert wait.failed(200) == PollAt(200 + 50.625)
    assert wait.seen(300, schedule="WRITING_RESULTS") == PollAt(315)


def test_interval_grows_from_the_start_of_failing():
    """Polls that fail from the first on keep the intervals; the first successful one resets."""
    wait = Wait()

    assert gaps(wait.failed, 5) == [15, 22.5, 33.75, 50.625, 60]
    assert wait.seen(1000) == PollAt(1015)


def test_time_of_the_poll_is_not_part_of_the_interval():
    """The next poll is planned from the moment at which the last one was read."""
    assert Wait().seen(42.5) == PollAt(57.5)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (PollPolicy(jitter=0, initial_interval=100), [60, 60]),
        (PollPolicy(jitter=0, initial_interval=100, max_interval=0.5), [0.5, 0.5]),
        (PollPolicy(jitter=0, min_interval=40), [15, 22.5]),
        (PollPolicy(jitter=0, min_interval=500, max_interval=10), [10, 10]),
        (PollPolicy(jitter=0, initial_interval=0.001, min_interval=0), [0.001, 0.0015]),
        (PollPolicy(jitter=0, initial_interval=0.001), [0.001, 0.0015]),
    ],
)
def test_values_are_clamped_to_each_other(policy, expected):
    """No order of the policy's values is a mistake, and there is no hidden lower bound."""
    assert gaps(Wait(policy).seen, 2) == pytest.approx(expected)
    assert gaps(Wait(policy).failed, 2) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("draw", "expected"), [(0.0, 13.5), (0.25, 14.25), (0.5, 15.0), (0.75, 15.75)]
)
def test_jitter_is_symmetric(draw, expected):
    """Jitter takes as much at a draw of 0 as it adds at one just under 1, and nothing at 0.5."""
    assert Wait(PollPolicy(jitter=0.1), draw=draw).seen(0) == PollAt(expected)


def test_jitter_at_most_reaches_its_share():
    """A draw just under 1 adds just under the policy's share."""
    due = Wait(PollPolicy(jitter=0.1), draw=JUST_UNDER_1).seen(0).due

    assert due == pytest.approx(16.5)
    assert due <= 16.5


def test_jitter_comes_after_the_clamp():
    """Jitter moves the largest interval too, up and down."""
    policy = PollPolicy(jitter=0.1, initial_interval=60)

    assert Wait(policy, draw=JUST_UNDER_1).seen(0).due == pytest.approx(66)
    assert Wait(policy, draw=0.0).seen(0) == PollAt(54)


def test_jitter_is_not_remembered():
    """What was drawn once has no effect on the intervals that follow."""
    wait = Wait(PollPolicy(jitter=0.9), draw=0.0)
    gaps(wait.seen, 3)
    wait.draw = 0.5

    assert wait.seen(1000) == PollAt(1000 + 50.625)


def test_least_interval_holds_against_jitter():
    """No draw brings a poll sooner than the least interval."""
    assert Wait(PollPolicy(jitter=0.9, min_interval=10), draw=0.0).seen(0) == PollAt(10)
    assert Wait(PollPolicy(jitter=0.9, min_interval=10), draw=0.0).failed(0) == PollAt(10)


def test_least_interval_above_the_initial_one_means_that_one():
    """A least interval larger than the first holds polls at the first one, not beyond it."""
    assert Wait(PollPolicy(jitter=0.9, min_interval=40), draw=0.0).seen(0) == PollAt(15)


def test_ten_thousand_idle_polls_do_not_overflow():
    """Growth is multiplied and clamped each time, so that no count of polls is too many."""
    wait = Wait(PollPolicy(jitter=0, growth=100, failure_budget=1e9))
    found = [gaps(wait.seen, 10_000)[-1], gaps(wait.failed, 10_000)[-1]]

    assert found == pytest.approx([60, 60])


# --- What the server asks for ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", [NO_ANSWER, LIMITED, UNAUTHORIZED, NOT_FOUND])
@pytest.mark.parametrize(("draw", "expected"), [(0.0, 100.0), (0.5, 105.0), (JUST_UNDER_1, 110.0)])
def test_retry_after_is_a_floor(kind, draw, expected):
    """Jitter lengthens a Retry-After and never shortens it."""
    wait = Wait(PollPolicy(jitter=0.1, not_found_grace=500), draw=draw)
    wait.seen(0)

    assert wait.failed(10, kind, retry_after=100).due == pytest.approx(10 + expected)


def test_short_retry_after_does_not_hurry():
    """A Retry-After below the interval leaves the interval."""
    assert Wait().failed(0, NO_ANSWER, retry_after=2) == PollAt(15)
    assert Wait().failed(0, LIMITED, retry_after=0) == PollAt(15)


def test_retry_after_is_read_afresh():
    """What the server asked for once holds once."""
    wait = Wait(STEADY)

    assert wait.failed(0, NO_ANSWER, retry_after=100) == PollAt(100)
    assert wait.failed(100) == PollAt(115)


def test_rate_limit_without_a_wait_pauses_for_the_interval():
    """A 429 without a Retry-After pauses for the interval, twice as long for each that follows."""
    wait = Wait(STEADY)

    assert gaps(lambda now: wait.failed(now, LIMITED), 5) == [15, 30, 60, 60, 60]


def test_rate_limit_pause_is_of_the_current_interval():
    """The pause begins at the interval that the wait has reached, and is floored like any other."""
    wait = Wait()
    gaps(wait.seen, 3)
    assert wait.state.pause == 33.75

    assert wait.failed(1000, LIMITED) == PollAt(1000 + 50.625)
    assert wait.state.pause == 60


def test_rate_limit_pause_is_lengthened_by_jitter_only():
    """Jitter makes a pause longer, never shorter."""
    policy = PollPolicy(jitter=0.1, growth=1)
    for draw, expected in ((0.0, 30), (JUST_UNDER_1, 33)):
        wait = Wait(policy, draw=draw)
        wait.failed(0, LIMITED)

        assert wait.failed(100, LIMITED).due == pytest.approx(100 + expected)


def test_successful_poll_resets_the_pause():
    """After a successful poll the next 429 pauses for one interval again."""
    wait = Wait(STEADY)
    for now in (0, 15, 45):
        wait.failed(now, LIMITED)
    wait.seen(105)

    assert wait.failed(120, LIMITED) == PollAt(135)


def test_other_failure_resets_the_pause():
    """Only 429s that follow each other double the pause."""
    wait = Wait(STEADY)
    for now in (0, 15, 45):
        wait.failed(now, LIMITED)
    wait.failed(105, NO_ANSWER)

    assert wait.failed(120, LIMITED) == PollAt(135)


def test_rate_limit_with_a_wait_doubles_the_next_pause_too():
    """A 429 is a 429, whether it says how long or not."""
    wait = Wait(STEADY)

    assert wait.failed(0, LIMITED, retry_after=1) == PollAt(15)
    assert wait.failed(15, LIMITED) == PollAt(45)


def test_rate_limit_that_asks_for_nothing_does_not_pause():
    """A Retry-After of 0 is the server's word, and stands in for our pause."""
    wait = Wait(STEADY)
    wait.failed(0, LIMITED)

    assert wait.failed(15, LIMITED, retry_after=0) == PollAt(30)


def test_other_failures_do_not_pause():
    """A failed poll holds nothing back."""
    wait = Wait(STEADY)

    assert gaps(wait.failed, 4) == [15, 15, 15, 15]


# --- Failed polls ---------------------------------------------------------------------------------


def test_failures_are_counted_and_forgotten():
    """A wait knows how many polls have failed since the last successful one."""
    wait = Wait()
    for now in (0, 20, 40):
        wait.failed(now)
    assert wait.state.failures == 3

    wait.failed(60, LIMITED)
    assert wait.state.failures == 4
    wait.seen(80)
    assert wait.state.failures == 0


BUDGET = PollPolicy(jitter=0, failure_budget=100)


def test_failure_budget_is_exact():
    """The wait gives up when the time from the first failure to the last is the budget."""
    for last, expected in ((124.999, PollAt), (125, GaveUp)):
        wait = Wait(BUDGET)
        for now in (25, 50, 75, 100):
            assert isinstance(wait.failed(now), PollAt)

        assert isinstance(wait.failed(last), expected)

    assert wait.state.is_over
    assert wait.state.spent == 100


def test_giving_up_says_how_many_and_for_how_long():
    """The outcome counts the polls that failed and the seconds they took."""
    wait = Wait(BUDGET)
    decisions = [wait.failed(now) for now in range(0, 101, 20)]

    assert decisions[-1] == GaveUp(6, 100.0)
    assert str(decisions[-1]) == "GaveUp(failures=6, spent=100.0)"


@pytest.mark.parametrize("budget", [0, 1, 100])
def test_five_polls_must_have_failed(budget):
    """No budget ends a wait before five polls in a row have failed."""
    wait = Wait(attrs.evolve(BUDGET, failure_budget=budget))
    for now in (0, 1000, 2000, 3000):
        assert isinstance(wait.failed(now), PollAt)

    assert wait.failed(4000) == GaveUp(5, 4000.0)


def test_successful_poll_restores_the_budget():
    """Only the present streak of failures is counted, both in polls and in seconds."""
    wait = Wait(BUDGET)
    for now in (0, 30, 60, 90):
        wait.failed(now)
    wait.seen(95)
    for now in (100, 130, 160, 199):
        assert isinstance(wait.failed(now), PollAt)

    assert wait.failed(200) == GaveUp(5, 100.0)


def test_time_that_the_server_asked_for_is_excused():
    """Seconds spent on obeying a Retry-After are not taken from the budget."""
    wait = Wait(BUDGET)
    wait.failed(0, NO_ANSWER, retry_after=1000)
    wait.failed(1010, NO_ANSWER, retry_after=1000)
    wait.failed(2020)
    wait.failed(2090)
    assert wait.state.spent == 90

    assert isinstance(wait.failed(2099.999), PollAt)
    assert wait.failed(2100) == GaveUp(6, 100.0)


def test_a_process_that_was_stopped_spends_one_gap():
    """An hour between two polls costs ``max_interval`` and one request, not an hour."""
    wait = Wait(attrs.evolve(BUDGET, failure_budget=300))
    wait.state.request_timeout = 30.0
    for now in (0, 20, 40, 60, 3660):
        assert isinstance(wait.failed(now), PollAt)

    assert wait.state.spent == 60 + (60 + 30)
    assert isinstance(wait.failed(3809.9), PollAt)
    assert isinstance(wait.failed(3869.9), GaveUp)


def test_poll_before_its_time_gives_nothing_back():
    """A poll that was made before the Retry-After had passed spends nothing, nor less."""
    wait = Wait(BUDGET)
    wait.failed(0)
    wait.failed(50, NO_ANSWER, retry_after=1000)
    wait.failed(60)

    assert wait.state.spent == 50


def test_rate_limits_never_spend_the_budget():
    """No number of 429s ends a wait."""
    wait = Wait(attrs.evolve(BUDGET, failure_budget=0))

    assert len(gaps(lambda now: wait.failed(now, LIMITED), 1000)) == 1000
    assert (wait.state.counted, wait.state.spent) == (0, 0)


def test_rate_limit_between_failures_is_excused():
    """A 429 is neither one of the five polls, nor is the time on either side of it spent."""
    wait = Wait(BUDGET)
    for now in (0, 10, 20, 30):
        wait.failed(now)
    wait.failed(1000, LIMITED)
    assert isinstance(wait.failed(2000), PollAt)
    assert wait.state.spent == 30

    assert wait.failed(2070) == GaveUp(6, 100.0)


def test_default_budget_outlasts_an_hour():
    """By default an outage of an hour is survived, with about a poll a minute."""
    wait = Wait(PollPolicy(jitter=0))
    now, polls = 0.0, 0
    while isinstance(decision := wait.failed(now), PollAt):
        now, polls = decision.due, polls + 1

    assert isinstance(decision, GaveUp)
    assert 3600 <= decision.spent <= 3660
    assert 58 <= polls <= 65


# --- Refusals -------------------------------------------------------------------------------------


def test_final_refusal_ends_the_wait_at_once():
    """The API's own final word is believed the first time, before and after a successful poll."""
    wait = Wait()
    assert wait.failed(0, REFUSED) == Refused()

    wait = Wait()
    wait.seen(0)
    assert wait.failed(15, REFUSED) == Refused()


def test_bad_key_is_believed_at_once_before_a_successful_poll():
    """A key that never worked in this wait is refused the first time."""
    assert Wait().failed(0, UNAUTHORIZED) == Refused()


def test_bad_key_is_believed_after_other_failures():
    """A failed poll before it changes nothing for a key that never worked."""
    wait = Wait()
    wait.failed(0)

    assert wait.failed(15, UNAUTHORIZED) == Refused()


@pytest.mark.parametrize(("kind", "outcome"), [(UNAUTHORIZED, Refused()), (NOT_FOUND, Gone())])
def test_refusal_after_a_successful_poll_must_come_twice_in_a_row(kind, outcome):
    """After a good answer a 401, 403 or 404 ends the wait only when it is repeated."""
    wait = Wait()
    wait.seen(0)

    assert wait.failed(15, kind) == PollAt(37.5)
    assert outcome == wait.failed(37.5, kind)


@pytest.mark.parametrize("kind", [UNAUTHORIZED, NOT_FOUND])
@pytest.mark.parametrize("between", [None, NO_ANSWER, LIMITED, UNAUTHORIZED, NOT_FOUND])
def test_refusals_with_something_between_are_not_in_a_row(kind, between):
    """A poll of another kind between two refusals makes the second a first."""
    if between is kind:
        between = None
    wait = Wait()
    wait.seen(0)
    wait.failed(15, kind)
    if between is None:
        wait.seen(30)
    else:
        wait.failed(30, between)

    assert isinstance(wait.failed(45, kind), PollAt)
    assert wait.failed(60, kind) in {Refused(), Gone()}


def test_single_refusals_are_charged_like_failed_polls():
    """Refusals that alternate for longer than the budget end the wait after all."""
    wait = Wait(BUDGET)
    wait.seen(0)
    decisions = [wait.failed(25 * n, (NOT_FOUND, UNAUTHORIZED)[n % 2]) for n in range(1, 6)]

    assert decisions[-1] == GaveUp(5, 100.0)


def test_missing_thing_is_given_time_to_appear():
    """Before it was seen, a 404 ends the wait only when the grace has passed."""
    wait = Wait(STEADY)

    assert wait.failed(0, NOT_FOUND) == PollAt(15)
    assert wait.failed(15, NOT_FOUND) == PollAt(30)
    assert wait.failed(30, NOT_FOUND) == Refused()


def test_last_poll_of_the_grace_is_at_its_end():
    """An interval that reaches beyond the grace is clipped to its end."""
    wait = Wait(PLAIN)

    assert wait.failed(0, NOT_FOUND) == PollAt(15)
    assert wait.failed(15, NOT_FOUND) == PollAt(30)
    assert isinstance(wait.failed(29.999, NOT_FOUND), PollAt)
    assert wait.failed(30, NOT_FOUND) == Refused()


def test_grace_runs_from_the_first_not_found():
    """Time before the first 404 is no part of the grace, and other failures do not restart it."""
    wait = Wait()
    wait.failed(0)
    wait.failed(100, NOT_FOUND)
    wait.failed(110, NO_ANSWER)

    assert isinstance(wait.failed(129, NOT_FOUND), PollAt)
    assert wait.failed(130, NOT_FOUND) == Refused()


def test_without_grace_not_found_is_believed_at_once():
    """A grace of 0 is none."""
    assert Wait(attrs.evolve(PLAIN, not_found_grace=0)).failed(0, NOT_FOUND) == Refused()


def test_failed_poll_after_the_grace_is_no_refusal():
    """The end of the grace is judged only by a poll that finds nothing."""
    wait = Wait(STEADY)
    wait.failed(0, NOT_FOUND)

    assert wait.failed(100) == PollAt(115)
    assert wait.failed(115, NOT_FOUND) == Refused()


def test_seen_thing_has_no_grace():
    """What was seen and is not found twice is gone, whatever the grace."""
    wait = Wait(attrs.evolve(PLAIN, not_found_grace=10_000))
    wait.failed(0, NOT_FOUND)
    wait.seen(15)
    wait.failed(30, NOT_FOUND)

    assert wait.failed(45, NOT_FOUND) == Gone()


def test_grace_is_over_once_the_thing_was_seen():
    """The end of a grace that is not needed any more brings no poll of its own."""
    wait = Wait(attrs.evolve(PLAIN, not_found_grace=40))
    wait.failed(0, NOT_FOUND)
    wait.seen(15)

    assert wait.seen(30) == PollAt(52.5)


# --- Unknown states -------------------------------------------------------------------------------


def test_unknown_state_is_waited_out():
    """By default no time in unknown states ends a wait."""
    wait = Wait()
    found = gaps(lambda now: wait.seen(now, is_unknown=True), 10_000)

    assert len(found) == 10_000


def test_unknown_state_that_has_ended_is_seen_twice():
    """An unknown state with a time of its end ends the wait at the largest interval's distance."""
    wait = Wait()

    assert wait.seen(0, is_unknown=True, has_ended=True) == PollAt(15)
    assert wait.seen(15, is_unknown=True, has_ended=True) == PollAt(37.5)
    assert wait.seen(37.5, is_unknown=True, has_ended=True) == PollAt(60)
    assert wait.seen(60, is_unknown=True, has_ended=True) == Unrecognised(60)


def test_end_that_is_taken_back_is_no_end():
    """The two polls that show an end must have none between them that does not."""
    for between in ({"is_unknown": True}, {"has_ended": True}, {}):
        wait = Wait()
        wait.seen(0, is_unknown=True, has_ended=True)
        wait.seen(30, **between)

        assert isinstance(wait.seen(60, is_unknown=True, has_ended=True), PollAt)
        assert isinstance(wait.seen(119.9, is_unknown=True, has_ended=True), PollAt)
        assert isinstance(wait.seen(120, is_unknown=True, has_ended=True), Unrecognised)


def test_known_state_with_an_end_is_no_outcome():
    """A time of the end means nothing while the state is one that is known."""
    wait = Wait()

    assert len(gaps(lambda now: wait.seen(now, has_ended=True), 100)) == 100


def test_budget_for_unknown_states_is_exact():
    """A budget for unknown states is spent from the first poll that shows one."""
    wait = Wait(PollPolicy(jitter=0, growth=1, unknown_state_budget=20))
    wait.seen(0)

    assert wait.seen(10, is_unknown=True) == PollAt(25)
    assert wait.seen(25, is_unknown=True) == PollAt(30)
    assert isinstance(wait.seen(29.999, is_unknown=True), PollAt)
    assert wait.seen(30, is_unknown=True) == Unrecognised(20)


def test_known_state_restores_the_budget_for_unknown_ones():
    """A successful poll that shows a known state starts the count anew; a failed poll does not."""
    wait = Wait(PollPolicy(jitter=0, unknown_state_budget=100))
    wait.seen(0, is_unknown=True)
    wait.seen(50)
    wait.seen(90, is_unknown=True)
    wait.failed(150)

    assert isinstance(wait.seen(189, is_unknown=True), PollAt)
    assert wait.seen(190, is_unknown=True) == Unrecognised(100)


def test_failed_polls_do_not_judge_unknown_states():
    """The budget for unknown states ends the wait at successful polls only."""
    wait = Wait(PollPolicy(jitter=0, growth=1, unknown_state_budget=20))
    wait.seen(0, is_unknown=True)

    assert wait.failed(500) == PollAt(515)
    assert wait.seen(515, is_unknown=True) == Unrecognised(515)


# --- Standing still -------------------------------------------------------------------------------

STALL = PollPolicy(jitter=0, growth=1, stall_after=40)


def test_stall_is_exact_and_looked_for_in_time():
    """A wait ends when nothing visible has changed for so long, at a poll made just then."""
    wait = Wait(STALL)

    assert wait.seen(0) == PollAt(15)
    assert wait.seen(15) == PollAt(30)
    assert wait.seen(30) == PollAt(40)
    assert isinstance(wait.seen(39.999), PollAt)
    assert wait.seen(40) == Stalled(40)


def test_visible_change_is_no_stall():
    """Any visible change starts the stall clock anew, though the schedule stays."""
    wait = Wait(STALL)
    wait.seen(0)

    assert wait.seen(41, visible=1) == PollAt(56)
    assert wait.state.changed
    assert wait.state.changed_at == 41
    assert wait.seen(81, visible=1) == Stalled(40)


def test_change_is_told():
    """The first successful poll is a change; one with the same visible fingerprint is none."""
    wait = Wait()
    found = []
    for now, visible in enumerate([0, 0, 1, 1, 0]):
        wait.seen(now, visible=visible)
        found.append((wait.state.changed, wait.state.changed_at))

    assert found == [(True, 0), (False, 0), (True, 2), (False, 2), (True, 4)]


def test_fingerprint_of_none_is_one():
    """A first poll is a change even if its fingerprint is what an empty memory holds."""
    wait = Wait()

    assert wait.seen(5, schedule=None, visible=None) == PollAt(20)
    assert wait.state.changed
    assert wait.seen(20, schedule=None, visible=None) == PollAt(42.5)


def test_first_successful_poll_is_a_change_of_schedule():
    """After polls that failed from the start the first successful one resets, whatever it shows."""
    wait = Wait()
    gaps(wait.failed, 5)

    assert wait.seen(1000, schedule=None) == PollAt(1015)


def test_failed_polls_do_not_judge_a_stall():
    """Failures neither end a stalled wait nor are hot while the limit has passed."""
    wait = Wait(STALL)
    wait.seen(0)

    assert [wait.failed(now) for now in (100, 115)] == [PollAt(115), PollAt(130)]
    assert wait.seen(130) == Stalled(130)


def test_stall_is_judged_from_the_first_successful_poll():
    """A wait that saw nothing for long has not stalled; its clock starts at the first poll."""
    wait = Wait(STALL)
    wait.failed(0)
    wait.failed(100)

    assert isinstance(wait.seen(200), PollAt)
    assert wait.seen(240) == Stalled(40)


def test_without_a_limit_nothing_stalls():
    """By default a job may stand still for ever."""
    assert len(gaps(Wait().seen, 10_000)) == 10_000


def test_poll_for_a_stall_keeps_the_least_interval():
    """A limit that is almost reached does not make the next poll sooner than the least interval."""
    wait = Wait(STALL)
    wait.seen(0)

    assert wait.seen(39.9) == PollAt(40.9)


# --- The deadline ---------------------------------------------------------------------------------

SLOW = PollPolicy(jitter=0, initial_interval=60)


@pytest.mark.parametrize(
    ("timeout", "last"), [(1000, 995), (100, 95), (50, 45), (20, 18), (10, 9), (0.1, 0.09)]
)
def test_last_poll_is_planned_before_the_deadline(timeout, last):
    """A last poll is due 5 s before the deadline, or a tenth of a short timeout."""
    wait = Wait(PollPolicy(jitter=0, initial_interval=1000, max_interval=1000), timeout=timeout)

    assert wait.seen(0).due == pytest.approx(last)
    assert wait.state.deadline == timeout


def test_last_poll_is_the_last():
    """After the last poll the wait is for the deadline, not for another poll before it."""
    wait = Wait(SLOW, timeout=100)

    assert wait.seen(50) == PollAt(95)
    assert wait.seen(95.2) == PollAt(155.2)
    assert wait.failed(100, CUT) == TimedOut(100)


def test_last_poll_after_a_failure():
    """A failed poll is followed by the last poll too."""
    wait = Wait(SLOW, timeout=100)

    assert wait.failed(90) == PollAt(95)
    assert wait.failed(95) == PollAt(155)


def test_last_poll_may_come_within_the_least_interval():
    """Nothing of ours delays the last poll before a given deadline."""
    wait = Wait(attrs.evolve(SLOW, min_interval=50), timeout=100)

    assert wait.seen(94.9) == PollAt(95)
    assert wait.seen(95) == PollAt(155)


@pytest.mark.parametrize(
    ("kind", "retry_after", "due"),
    [
        (NO_ANSWER, 10, 95),
        (NO_ANSWER, 16, 96),
        (NO_ANSWER, 50, 130),
        (LIMITED, 16, 96),
        (LIMITED, None, 140),
    ],
)
def test_server_may_delay_the_last_poll(kind, retry_after, due):
    """A Retry-After or a pause that reaches past the last poll delays it, past the deadline too."""
    assert Wait(SLOW, timeout=100).failed(80, kind, retry_after) == PollAt(due)


@pytest.mark.parametrize("now", [100, 100.5, 5000])
def test_deadline_ends_the_wait_at_any_poll(now):
    """A poll that is read at the deadline or later ends the wait, successful or failed."""
    assert Wait(timeout=100).seen(now) == TimedOut(now)
    assert Wait(timeout=100).failed(now) == TimedOut(now)
    assert Wait(timeout=100).failed(now, LIMITED, 5) == TimedOut(now)


def test_deadline_is_not_early():
    """A poll just before the deadline does not end the wait."""
    assert isinstance(Wait(timeout=100).seen(99.999), PollAt)
    assert isinstance(Wait(timeout=100).failed(99.999), PollAt)


def test_cut_poll_is_the_deadline():
    """A poll that the deadline cut ends the wait, whatever was seen before."""
    assert Wait(timeout=100).failed(100, CUT) == TimedOut(100)


def test_refusal_at_the_deadline_is_a_refusal():
    """What the server said for good is told rather than the time."""
    assert Wait(timeout=100).failed(100, REFUSED) == Refused()


@pytest.mark.parametrize("kind", [CUT, NO_ANSWER])
def test_waited_time_is_from_the_start(kind):
    """The outcome says how long the whole wait was, and the wait is over."""
    state = PollMachine(policy=PLAIN, timeout=50)
    state.start(1000.0)

    assert state.deadline == 1050
    assert state.on_failure(Failure(kind), now=1050.0, draw=0.5) == TimedOut(50)
    assert state.is_over


def test_given_timeout_is_hard():
    """An expiry that is seen does not move a deadline that was given."""
    wait = Wait(timeout=100)
    wait.seen(0, time_left=5000)

    assert wait.state.deadline == 100


def test_no_timeout_is_none():
    """Without a timeout no poll is the last."""
    wait = Wait()
    wait.seen(0, time_left=10)

    assert wait.state.deadline == math.inf
    assert isinstance(wait.seen(1e9), PollAt)


def test_expiry_is_the_deadline_from_each_successful_poll():
    """A wait that follows the expiry takes its deadline anew from every successful poll."""
    wait = Wait(follows_expiry=True)
    assert wait.state.deadline == math.inf

    wait.seen(10, time_left=5000)
    assert (wait.state.deadline, wait.state.last_poll) == (5010, 5005)
    wait.seen(100, time_left=9000)
    assert (wait.state.deadline, wait.state.last_poll) == (9100, 9095)
    wait.seen(200, time_left=4000)
    assert wait.state.deadline == 4200
    wait.seen(300, time_left=None)
    assert wait.state.deadline == 4200
    wait.failed(400)
    assert wait.state.deadline == 4200
    assert wait.seen(4200, time_left=0) == TimedOut(4200)


def test_given_time_holds_until_the_expiry_is_known():
    """A timeout beside the expiry is the deadline until a successful poll says better."""
    wait = Wait(follows_expiry=True, timeout=8000)
    assert wait.state.deadline == 8000

    wait.seen(0, time_left=9000)

    assert wait.state.deadline == 9000


def test_expiry_that_has_passed_leaves_an_hour():
    """A wait for something whose expiry has passed is given an hour from its start, once."""
    wait = Wait(follows_expiry=True)

    assert wait.seen(0, time_left=-50_000) == PollAt(15)
    assert wait.state.deadline == 3600
    assert isinstance(wait.seen(3599, time_left=-53_599), PollAt)
    assert wait.state.deadline == 3600
    assert wait.seen(3600, time_left=-53_600) == TimedOut(3600)


def test_hour_of_a_passed_expiry_can_be_scaled():
    """The least time is an argument, for tests that speed time up."""
    state = PollMachine(policy=PLAIN, follows_expiry=True, least_time=3.6)
    state.start(0.0)
    state.on_observation(Seen(schedule=0, visible=0), now=0.0, draw=0.5, time_left=-5.0)

    assert state.deadline == 3.6


def test_expiry_that_stands_still_ends():
    """A wait for a job that its server forgot to end does not hang."""
    wait = Wait(follows_expiry=True)
    now = 0.0
    while isinstance(decision := wait.seen(now, time_left=10_000 - now), PollAt):
        now = decision.due

    assert isinstance(decision, TimedOut)
    assert 10_000 <= now <= 10_060


def test_last_poll_before_an_expiry_is_not_hot():
    """An expiry that moves a little at each poll, as server clocks do, makes no burst of polls."""
    wait = Wait(follows_expiry=True)
    now, polls = 9000.0, 0
    while now < 10_000 - 1:
        polls += 1
        # The server tells whole seconds only.
        decision = wait.seen(now + 0.01, time_left=10_000 - math.floor(now + 0.02))
        now = decision.due

    assert polls <= 1000 / 60 + 10


# --- Outcomes ------------------------------------------------------------------------------------


def test_terminal_wins_over_everything():
    """A terminal state is the end, though deadline, stall and unknown states would be another."""
    policy = PollPolicy(jitter=0, stall_after=1, unknown_state_budget=1)
    wait = Wait(policy, timeout=100)
    wait.seen(0, is_unknown=True, has_ended=True)
    wait.failed(50, NOT_FOUND)

    found = wait.seen(200, is_unknown=True, has_ended=True, is_terminal=True)

    assert found == Finished()


def test_deadline_wins_over_stall_and_unknown():
    """Where several limits have passed, the wait's own time is what is told."""
    policy = PollPolicy(jitter=0, stall_after=1, unknown_state_budget=1)
    for more, expected in (({}, Stalled), ({"is_unknown": True}, Unrecognised)):
        wait = Wait(policy, timeout=100)
        wait.seen(0, **more)
        assert isinstance(wait.seen(99, **more), expected)

        wait = Wait(policy, timeout=100)
        wait.seen(0, **more)
        assert wait.seen(100, **more) == TimedOut(100)


def outcomes() -> list[Wait]:
    """A wait for each way to end, at its end."""
    stalled = Wait(STALL)
    unknown = Wait(PollPolicy(unknown_state_budget=1))
    for now in (0, 50):
        stalled.seen(now)
        unknown.seen(now, is_unknown=True)
    done, late, cut, refused, gone = (Wait(timeout=1000) for _ in range(5))
    done.seen(0, is_terminal=True)
    late.seen(1000)
    cut.failed(1000, CUT)
    refused.failed(0, REFUSED)
    gone.seen(0)
    gone.failed(1, NOT_FOUND)
    gone.failed(2, NOT_FOUND)
    tired = Wait(attrs.evolve(PLAIN, failure_budget=0))
    for now in range(5):
        tired.failed(now)
    return [stalled, unknown, done, late, cut, refused, gone, tired]


@pytest.mark.parametrize("wait", outcomes())
def test_over_means_over(wait):
    """After its end a wait takes no more polls, and stays as it is."""
    before = copy.copy(wait.state)
    assert before.is_over

    for tell in (wait.seen, wait.failed):
        with pytest.raises(ClientStateError, match=r"^this wait is over: it takes no more polls$"):
            tell(2000)
    assert before == wait.state


# --- Any course of events -------------------------------------------------------------------------

SECONDS = st.floats(0.001, 1000)
LIMITS = st.floats(1, 100_000)
POLICIES = st.builds(
    PollPolicy,
    initial_interval=SECONDS,
    min_interval=st.just(0) | SECONDS,
    max_interval=SECONDS,
    growth=st.floats(1, 100),
    jitter=st.floats(0, 0.9),
    adaptive=st.sampled_from([True, True, True, False]),
    failure_budget=st.just(0) | LIMITS,
    not_found_grace=st.just(0) | LIMITS,
    unknown_state_budget=st.none() | LIMITS,
    stall_after=st.none() | LIMITS,
)
RARELY = st.sampled_from([False] * 19 + [True])
SELDOM = st.sampled_from([False] * 4 + [True])
OFTEN = st.sampled_from([False, True, True, True])
GOOD = st.builds(
    Seen,
    schedule=st.integers(0, 1),
    visible=st.integers(0, 1),
    is_terminal=RARELY,
    is_unknown=SELDOM,
    has_ended=OFTEN,
)
BAD = st.builds(
    Failure,
    st.sampled_from([NO_ANSWER] * 16 + [LIMITED] * 8 + [NOT_FOUND] * 4 + [UNAUTHORIZED, REFUSED]),
    retry_after=st.none() | st.floats(0, 3600),
)
# How long a poll takes, the draw, and what the poll brings: calm and stormy courses.
DRAWS = st.floats(0, 1, exclude_max=True)
LEFT = st.none() | st.floats(-10_000, 1e6)
# What is known in advance: seconds from the poll to the expected end, and the tick.
AHEAD = st.none() | st.floats(-1000, 1000) | st.floats(-1e12, 1e12)
TICKS = st.none() | st.builds(Tick, st.floats(-1e11, 1e11), st.floats(0.001, 1000))
FACTS = st.just((None, None)) | st.tuples(AHEAD, TICKS)
CALM, STORMY, MIXED = (
    st.lists(st.tuples(st.floats(0, 60), DRAWS, event, LEFT, FACTS), min_size=1, max_size=40)
    for event in (GOOD, BAD, GOOD | BAD)
)
COURSES = {
    "policy": POLICIES,
    "timeout": st.none() | LIMITS,
    "follows_expiry": st.booleans(),
    "steps": st.builds(operator.add, CALM | STORMY | MIXED, CALM | STORMY | MIXED),
}


@attrs.frozen
class Step:
    """One poll: the state before it, what it brought when, and what was decided."""

    before: PollMachine
    event: Seen | Failure
    time_left: float | None
    expected_end: float | None
    tick: Tick | None
    now: float
    draw: float
    after: PollMachine
    decision: Decision

    def without_facts(self) -> Decision:
        """What is decided in the same place, if nothing is known in advance."""
        state = copy.copy(self.before)
        told = {"now": self.now, "draw": self.draw}
        if isinstance(self.event, Seen):
            return state.on_observation(self.event, **told, time_left=self.time_left)
        return state.on_failure(self.event, **told)


def run(policy, timeout, follows_expiry, steps) -> list[Step]:
    """Drive the machine as the driver does: poll when it is due, let the deadline cut a poll."""
    state = PollMachine(policy=policy, timeout=timeout, follows_expiry=follows_expiry)
    state.start(0.0)
    due, course = 0.0, []
    for takes, draw, planned, left, (ahead, tick) in steps:
        event, now = planned, due + takes
        if now > state.deadline:
            event, now = Failure(CUT), state.deadline
        before = copy.copy(state)
        end = None if ahead is None else now + ahead
        if isinstance(event, Seen):
            decision = state.on_observation(
                event, now=now, draw=draw, time_left=left, expected_end=end, tick=tick
            )
        else:
            decision = state.on_failure(event, now=now, draw=draw)
        after = copy.copy(state)
        course.append(Step(before, event, left, end, tick, now, draw, after, decision))
        if not isinstance(decision, PollAt):
            break
        due = decision.due
    return course


def first(policy: PollPolicy) -> float:
    """The first interval after clamping."""
    return min(policy.initial_interval, policy.max_interval)


def hold(step: Step) -> float:
    """How long the server does not want to be asked after a step."""
    if isinstance(step.event, Seen):
        return 0.0
    if step.event.retry_after is not None:
        return step.event.retry_after
    return step.before.pause if step.event.kind is LIMITED else 0.0


@given(**COURSES)
def test_never_early(policy, timeout, follows_expiry, steps):
    """A poll is due no sooner than the least interval, but for the last, and after any hold."""
    for step in run(policy, timeout, follows_expiry, steps):
        if isinstance(step.decision, PollAt):
            least = min(policy.min_interval, first(policy))
            is_last = step.decision.due == step.after.last_poll and not follows_expiry
            assert step.decision.due >= step.now + least or is_last
            assert step.decision.due >= step.now + hold(step)
            assert step.decision.due >= step.now


@given(**COURSES)
def test_never_late(policy, timeout, follows_expiry, steps):
    """A poll is due after the interval with its jitter at the latest, or the server's floor.

    A tick may move it to half of the largest interval after the interval.
    """
    for step in run(policy, timeout, follows_expiry, steps):
        if isinstance(step.decision, PollAt):
            interval = step.after.interval
            longest = max(interval, hold(step)) * (1 + policy.jitter)
            if step.tick is not None and isinstance(step.event, Seen):
                longest = max(longest, interval + policy.max_interval / 2)
            assert math.isfinite(step.decision.due)
            assert step.decision.due <= (step.now + longest) * (1 + 1e-12)


@given(**COURSES)
def test_never_hot(policy, timeout, follows_expiry, steps):
    """At most one poll of a wait comes sooner than the least interval and the jitter allow."""
    course = run(policy, timeout, follows_expiry, steps)
    least = min(policy.min_interval, first(policy))
    hot = [
        step
        for step in course
        if isinstance(step.decision, PollAt) and step.decision.due < step.now + least
    ]

    assert len(hot) <= (timeout is not None and not follows_expiry)


@given(**COURSES)
def test_never_past_the_last_poll(policy, timeout, follows_expiry, steps):
    """Before the moment of the last poll none is due later, unless the server says so."""
    for step in run(policy, timeout, follows_expiry, steps):
        if isinstance(step.decision, PollAt) and step.now < step.after.last_poll:
            floor = step.now + hold(step) * (1 + policy.jitter)
            least = step.now + min(policy.min_interval, first(policy)) if follows_expiry else 0.0
            assert step.decision.due <= max(step.after.last_poll, floor, least)


@given(**COURSES)
def test_exactly_one_outcome_and_it_is_last(policy, timeout, follows_expiry, steps):
    """A course ends once, at its last step, and a state that is over says so."""
    course = run(policy, timeout, follows_expiry, steps)

    ends = [not isinstance(step.decision, PollAt) for step in course]
    assert not any(ends[:-1])
    assert [step.after.is_over for step in course] == ends


@given(**COURSES)
def test_same_input_same_output(policy, timeout, follows_expiry, steps):
    """The machine remembers nothing outside its state and draws nothing itself."""
    one, other = (run(policy, timeout, follows_expiry, steps) for _ in range(2))

    assert one == other


@given(**COURSES)
def test_interval_follows_the_schedule(policy, timeout, follows_expiry, steps):
    """The interval stays between the first and the largest, grows, and resets on a change only."""
    known = None
    for step in run(policy, timeout, follows_expiry, steps):
        if step.after.is_over and not isinstance(step.event, Seen):
            continue
        grown = step.before.interval * policy.growth or first(policy)
        expected = min(grown, policy.max_interval)
        if isinstance(step.event, Seen):
            if known != (step.event.schedule,):
                expected = first(policy)
            known = (step.event.schedule,)
        assert expected == step.after.interval
        assert first(policy) <= expected <= policy.max_interval


def expected_outcome(  # noqa: C901, PLR0911, PLR0912
    policy: PollPolicy, timeout: float | None, course: list[Step], *, follows_expiry: bool
) -> type:
    """What the last step of a course must decide, by the rules as they are written down."""
    *earlier, last = course
    good = [step for step in course if isinstance(step.event, Seen)]
    deadline = math.inf if timeout is None else timeout
    for step in good:
        if follows_expiry and step.time_left is not None:
            deadline = step.now + max(step.time_left, 3600 - step.now)
    if isinstance(last.event, Seen):
        if last.event.is_terminal:
            return Finished
        if last.now >= deadline:
            return TimedOut
        unknown = ended = changed = None
        for step in good:
            is_ended = step.event.is_unknown and step.event.has_ended
            unknown = None if not step.event.is_unknown else unknown or step
            ended = None if not is_ended else ended or step
            changed = changed if changed and changed.event.visible == step.event.visible else step
        budget = policy.unknown_state_budget
        if unknown and budget is not None and last.now >= unknown.now + budget:
            return Unrecognised
        if ended and last.now >= ended.now + policy.max_interval:
            return Unrecognised
        if policy.stall_after is not None and last.now >= changed.now + policy.stall_after:
            return Stalled
        return PollAt
    kind = last.event.kind
    if kind is CUT:
        return TimedOut
    if kind is REFUSED or (kind is UNAUTHORIZED and not good):
        return Refused
    is_repeated = bool(earlier) and earlier[-1].event == attrs.evolve(
        last.event, retry_after=getattr(earlier[-1].event, "retry_after", None)
    )
    if good and kind in {UNAUTHORIZED, NOT_FOUND} and is_repeated:
        return Gone if kind is NOT_FOUND else Refused
    missing = [
        step for step in course if step.event == Failure(NOT_FOUND, retry_after=hold_of(step))
    ]
    if kind is NOT_FOUND and not good and last.now >= missing[0].now + policy.not_found_grace:
        return Refused
    streak = course[course.index(good[-1]) + 1 :] if good else course
    charged = [step for step in streak if step.event.kind is not LIMITED]
    spent = 0.0
    for before, step in itertools.pairwise(streak):
        if LIMITED not in {before.event.kind, step.event.kind}:
            spent += max(0.0, step.now - (before.now + (before.event.retry_after or 0.0)))
    if len(charged) >= 5 and spent >= policy.failure_budget:
        return GaveUp
    return TimedOut if last.now >= deadline else PollAt


def hold_of(step: Step) -> float | None:
    """The Retry-After of a step, if it failed."""
    return getattr(step.event, "retry_after", None)


@given(**COURSES)
def test_every_decision_is_the_rules(policy, timeout, follows_expiry, steps):
    """Each step of any course ends the wait just when, and just as, the written rules say."""
    course = run(policy, timeout, follows_expiry, steps)

    for length in range(1, len(course) + 1):
        expected = expected_outcome(policy, timeout, course[:length], follows_expiry=follows_expiry)
        assert expected is type(course[length - 1].decision)


# --- Any course, with facts -----------------------------------------------------------------------


@given(**COURSES)
def test_without_facts_the_schedule_is_the_base(policy, timeout, follows_expiry, steps):
    """With nothing known, and where the policy is not adaptive, polls come as they always did."""
    bare = [(takes, draw, event, left, (None, None)) for takes, draw, event, left, _ in steps]
    fixed = attrs.evolve(policy, adaptive=False)
    one = run(policy, timeout, follows_expiry, bare)
    other = run(fixed, timeout, follows_expiry, steps)

    assert [step.decision for step in one] == [step.decision for step in other]
    for step in one:
        assert step.decision == step.without_facts()


@given(**COURSES)
def test_facts_move_no_limit_and_no_failed_poll(policy, timeout, follows_expiry, steps):
    """A poll at a limit comes no later for what is known, and after a failure nothing moves."""
    for step in run(policy, timeout, follows_expiry, steps):
        if not isinstance(step.decision, PollAt):
            continue
        if isinstance(step.event, Failure):
            assert step.decision == step.without_facts()
        state = step.after
        limits = [state.stalls_at, state.unknown_ends, state.last_poll]
        for limit in limits if isinstance(step.event, Seen) else []:
            least = step.now + state.least_interval
            assert step.now >= limit or step.decision.due <= max(limit, least)


@given(**COURSES)
def test_at_most_twelve_polls_are_brought_forward(policy, timeout, follows_expiry, steps):
    """Each poll that an expected end makes sooner is counted, and no other one."""
    forward = 0
    for step in run(policy, timeout, follows_expiry, steps):
        if isinstance(step.decision, PollAt) and isinstance(step.event, Seen):
            state = copy.copy(step.before)
            told = {"now": step.now, "draw": step.draw, "time_left": step.time_left}
            calm = state.on_observation(step.event, **told, tick=step.tick)
            assert step.decision.due <= calm.due
            forward += step.decision.due < calm.due
        assert step.after.brought_forward == forward

    assert forward <= 12


@given(**COURSES)
def test_pause_stays_the_base_interval(policy, timeout, follows_expiry, steps):
    """No fact changes for how long a 429 closes the gate, and a poll waits for others."""
    for step in run(policy, timeout, follows_expiry, steps):
        if isinstance(step.event, Seen):
            assert step.after.pause == step.after.interval


def at_scale(step: tuple[Any, ...], scale: float) -> tuple[Any, ...]:
    """The same step with each of its durations multiplied."""
    takes, draw, event, _, (ahead, tick) = step
    if isinstance(event, Failure) and event.retry_after is not None:
        event = attrs.evolve(event, retry_after=event.retry_after * scale)
    if tick is not None:
        tick = Tick(tick.moment * scale, tick.period * scale)
    return takes * scale, draw, event, None, (None if ahead is None else ahead * scale, tick)


@given(COURSES["policy"], COURSES["steps"], st.sampled_from([2.0**-9, 0.5, 8.0]))
def test_everything_scales(policy, steps, scale):
    """With each duration multiplied each moment is, too: no second is written into the rules."""
    one = run(policy, None, False, [at_scale(step, 1.0) for step in steps])
    other = run(scaled(policy, scale), None, False, [at_scale(step, scale) for step in steps])

    assert [type(step.decision) for step in one] == [type(step.decision) for step in other]
    due = [step.after.due * scale for step in one]
    assert due == pytest.approx([step.after.due for step in other], rel=1e-9)


# --- The end in sight, and the tick ---------------------------------------------------------------


def grown() -> Wait:
    """A wait whose interval has grown to the largest."""
    wait = Wait()
    gaps(wait.seen, 5)
    return wait


@pytest.mark.parametrize(
    ("expected_end", "due"),
    [(1100, 1040), (1025, 1010), (1010, 1005), (1000, 1005), (900, 1040), (990, 1005)],
)
def test_end_in_sight_brings_the_poll_forward(expected_end, due):
    """After two fifths of the time to the expected end, or since it; no sooner than 5 seconds."""
    wait = grown()

    assert wait.seen(1000, expected_end=expected_end) == PollAt(due)
    assert wait.state.brought_forward == 1
    assert (wait.state.interval, wait.state.pause) == (60, 60)


@pytest.mark.parametrize("expected_end", [None, 1150, 1e9, 850, -1e9])
def test_end_that_is_far_costs_nothing(expected_end):
    """An end that would not make the poll sooner leaves it, and is not counted."""
    wait = grown()

    assert wait.seen(1000, expected_end=expected_end) == PollAt(1060)
    assert wait.state.brought_forward == 0


def test_thirteenth_poll_is_not_brought_forward():
    """Whatever the counters do, an end is believed to be in sight twelve times."""
    wait = grown()
    found = [wait.seen(now, expected_end=now).due - now for now in range(1000, 2400, 100)]

    assert found == [5.0] * 12 + [60.0] * 2


def test_least_interval_holds_for_an_end_in_sight():
    """A policy that wants ten seconds between two polls has them."""
    wait = Wait(attrs.evolve(PLAIN, min_interval=10))
    gaps(wait.seen, 5)

    assert wait.seen(1000, expected_end=1000) == PollAt(1010)


@pytest.mark.parametrize(
    ("tick", "due"),
    [(40, 1060), (29.9, 1049.9), (30.1, 1050.1), (55, 1075), (0, 1020), (20, 1040), (56, 1064.8)],
)
def test_poll_goes_to_the_nearest_tick(tick, due):
    """Without jitter, and up to 75 seconds later; 20 seconds after a poll is not too soon here."""
    wait = Wait(PollPolicy(initial_interval=60), draw=0.9)

    assert wait.seen(1000, tick=Tick(tick, 60)).due == pytest.approx(due)
    assert wait.state.pause == 60


@pytest.mark.parametrize(("tick", "due"), [(14, 14), (45, 45), (46, 15), (4, 15), (5, 5)])
def test_tick_that_is_too_late_or_too_soon_moves_nothing(tick, due):
    """Half of the largest interval after the base one is too late, and 4 seconds are too soon."""
    assert Wait().seen(0, tick=Tick(tick, 1000)) == PollAt(due)


def test_long_interval_goes_to_the_nearest_tick():
    """With polls every ten minutes the tick is the one that is nearest to ten minutes."""
    wait = Wait(PollPolicy(initial_interval=600, max_interval=600))

    assert [wait.seen(0, tick=Tick(at, 60)).due for at in (29, 31)] == [629, 571]


def test_end_in_sight_goes_to_the_tick_too():
    """A poll that is brought forward goes to the tick nearest to it, if that is not too soon."""
    wait = grown()

    assert wait.seen(1000, tick=Tick(1055, 60), expected_end=1080) == PollAt(1055)
    assert wait.state.brought_forward == 0  # the tick alone would have moved it there
    assert wait.seen(2000, tick=Tick(2000, 60), expected_end=2060) == PollAt(2024)
    assert wait.seen(3000, tick=Tick(3000, 20), expected_end=3100) == PollAt(3040)
    assert wait.state.brought_forward == 2


def test_failed_poll_forgets_what_is_known():
    """After a failed poll comes the base interval, and after the next successful one the facts."""
    wait = grown()
    wait.seen(1000, expected_end=1050)

    assert wait.failed(1020) == PollAt(1080)
    assert wait.seen(1080, expected_end=1105) == PollAt(1090)


# --- A day ----------------------------------------------------------------------------------------

DAY = 86_400.0
STATES = [(0, "VALIDATING"), (60, "PENDING"), (7200, "CREATING"), (7800, "RUNNING")]


def state_at(now: float) -> str:
    """The state of a job of one day."""
    return [state for since, state in STATES if since <= now][-1]


def polls_of_a_day(poll: Callable[[float], Seen | Failure], policy: PollPolicy) -> int:
    """How many polls a job of a day costs, each of which takes a fifth of a second."""
    draws = random.Random(7)
    state = PollMachine(policy=policy)
    state.start(0.0)
    now, polls = 0.2, 1
    while now < DAY:
        event = poll(now)
        tell = state.on_observation if isinstance(event, Seen) else state.on_failure
        decision = tell(event, now=now, draw=draws.random())
        assert isinstance(decision, PollAt)
        now, polls = decision.due + 0.2, polls + 1
    return polls


def steady(now: float) -> Seen:
    """A job whose counters do not move."""
    return Seen(schedule=state_at(now), visible=state_at(now))


def moving(now: float) -> Seen:
    """A job whose counters move every minute, and which is preempted now and then."""
    is_waiting = int(now / 3600) in {5, 9} and now % 3600 < 600
    return Seen(schedule=(state_at(now), is_waiting), visible=now // 60)


def failing(now: float) -> Seen | Failure:
    """A job of whose polls every fifth is lost, with outages of 50 minutes and rate limits."""
    if now % 20_000 < 3000:
        return Failure(NO_ANSWER)
    if int(now) % 5 == 0:
        return Failure(LIMITED, retry_after=2.0 if int(now) % 2 else None)
    return Failure(NO_ANSWER, retry_after=1.0) if int(now) % 7 == 0 else moving(now)


@pytest.mark.parametrize(
    ("poll", "polls"), [(steady, 1448), (moving, 1456), (failing, 1450)], ids=lambda v: str(v)[:20]
)
def test_day_costs_at_most_1500_polls(poll, polls):
    """A job of 24 hours costs about a poll a minute, however its counters move or polls fail."""
    found = polls_of_a_day(poll, PollPolicy())

    assert found <= 1500
    assert polls == found


@pytest.mark.parametrize("tick", [None, *(Tick(phase, 60) for phase in range(0, 60, 7))])
def test_day_costs_at_most_1500_polls_whatever_is_known(tick):
    """Ten changes of state, an end that is always in sight, and a tick of any phase."""
    draws = random.Random(7)
    state = PollMachine(policy=PollPolicy())
    state.start(0.0)
    now, polls = 0.2, 1
    while now < DAY:
        seen = Seen(schedule=int(now / (DAY / 11)), visible=now)
        draw = draws.random()
        decision = state.on_observation(seen, now=now, draw=draw, expected_end=now, tick=tick)
        assert isinstance(decision, PollAt)
        now, polls = decision.due + 0.2, polls + 1

    assert polls <= 1500
