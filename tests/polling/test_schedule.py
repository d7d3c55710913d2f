"""Which polls go together, and when one is cut: tables and properties, without a loop."""

import math
from types import SimpleNamespace

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.polling.schedule import (
    FEW,
    PAGE_WORTH,
    UNLISTED,
    gap,
    gap_ends,
    group,
    is_for_gets,
    is_sought_again,
    latest,
    pages_to_read,
    reads_on,
)


@attrs.frozen
class Poll:
    due: float
    latest: float
    deadline: float = math.inf


def polls(*moments: tuple[float, float]) -> list[Poll]:
    """Polls in the order in which they are due."""
    return [Poll(*moment) for moment in sorted(moments)]


@pytest.mark.parametrize(
    ("moments", "together"),
    [
        ([(1.0, 1.0)], 1),
        ([(1.0, 13.0), (5.0, 17.0), (12.0, 24.0)], 3),
        ([(1.0, 13.0), (14.0, 26.0)], 1),
        ([(1.0, 13.0), (5.0, 6.0), (7.0, 19.0)], 2),  # the hastiest one decides
        ([(1.0, 13.0), (2.0, 2.0), (3.0, 15.0), (13.0, 25.0)], 2),
    ],
)
def test_polls_are_grouped_until_one_can_wait_no_more(moments, together):
    """All those that are due by then go together."""
    assert len(group(polls(*moments), 0.0)) == together


def test_whatever_is_due_goes_together():
    """A thousand waits that begin within a millisecond are one group, though none can wait."""
    assert len(group(polls((1.0, 1.0), (1.001, 1.001), (1.002, 1.002), (2.0, 9.0)), 1.5)) == 3


@given(
    st.lists(
        st.tuples(st.floats(0.1, 100), st.floats(0, 30)).map(lambda p: (p[0], p[0] + p[1])),
        min_size=1,
    )
)
def test_no_poll_of_a_group_waits_longer_than_it_may(moments):
    """The last of a group is due before any of them has to be made."""
    ordered = polls(*moments)
    together = group(ordered, 0.0)
    assert together
    assert together == ordered[: len(together)]
    assert together[-1].due <= min(poll.latest for poll in together)


@pytest.mark.parametrize(
    ("moments", "end"),
    [
        ([], 8.0),
        ([(1.0, 16.0), (2.0, 17.0)], 8.0),  # all of them wait for longer anyway
        ([(9.0, 9.0)], 8.0),
        ([(1.0, 16.0), (2.0, 4.0), (3.0, 5.5)], 6.0),  # the hastiest one ends it
        ([(1.0, 16.0), (2.0, 2.0)], 2.0),
    ],
)
def test_a_gap_ends_when_a_poll_cannot_wait_any_more(moments, end):
    """It would have ended at 8."""
    assert gap_ends(polls(*moments), 8.0) == end


def test_a_poll_beyond_its_deadline_ends_no_gap():
    """It is cut before it is due."""
    assert gap_ends([Poll(due=5.0, latest=3.0, deadline=1.0)], 8.0) == 8.0


def test_no_polls_are_no_group():
    """Whenever it is."""
    assert group([], 0.0) == []


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 30)).map(lambda p: (p[0], p[0] + p[1])),
        min_size=1,
    ),
    st.floats(0, 100),
)
def test_a_group_leaves_out_nothing_that_fits(moments, now):
    """Taking polls one by one, as long as none has to wait too long, comes to the same."""
    until, expected = math.inf, []
    for poll in polls(*moments):
        if poll.due > until and poll.due > now:
            break
        until = min(until, poll.latest)
        expected.append(poll)
    assert [poll.due for poll in group(polls(*moments), now)] == [poll.due for poll in expected]


# --- Patience, gaps, GETs or pages -------------------------------------------------------------


# --- Patience --------------------------------------------------------------------------------


def test_a_poll_that_is_due_waits_for_nobody():
    """The first poll of a wait is made at once."""
    assert latest(10.0, now=10.0, interval=60.0, deadline=math.inf) == 10.0
    assert latest(9.0, now=10.0, interval=60.0, deadline=math.inf) == 9.0


def test_a_poll_waits_for_a_quarter_of_its_interval():
    """Which is a little more than jitter spreads polls by default."""
    assert latest(70.0, now=10.0, interval=60.0, deadline=math.inf) == 85.0


def test_a_poll_that_is_brought_forward_waits_longer():
    """It comes sooner than its interval says anyway, and others may save it a request."""
    end = latest(30.0, now=10.0, interval=60.0, deadline=math.inf, is_brought_forward=True)
    assert end == 54.0


def test_a_poll_before_a_deadline_does_not_wait_for_it():
    """Half of the time until then is left for the answer."""
    assert latest(95.0, now=10.0, interval=60.0, deadline=100.0) == 97.5


# --- Rest -----------------------------------------------------------------------------------


def test_rounds_at_the_default_interval_are_eight_a_minute():
    """Two of the ten requests that the poorest accounts are allowed are left for other calls."""
    assert gap(60.0) == 7.5


def test_no_rest_is_longer_than_that():
    """A policy that polls once an hour in the end may begin with polls that are much closer."""
    assert gap(3600.0) == 7.5


def test_short_intervals_have_short_gaps():
    """Gaps are in proportion, so that policies of milliseconds act as policies of seconds do."""
    assert gap(0.8) == 0.1


@pytest.mark.parametrize(
    ("due", "patience", "deadline", "end"),
    [
        (101.0, 15.0, math.inf, 116.0),  # it waits for others for longer than the gap lasts
        (101.0, 4.0, math.inf, 107.5),  # until the gap ends
        (101.0, 3.0, math.inf, 107.0),  # twice as long as otherwise, and no longer
        (101.0, 3.0, 109.0, 105.0),  # half of the time to its deadline is left for the answer
        (101.0, 0.0, math.inf, 101.0),  # a poll that waits for no other has no gap
    ],
)
def test_a_poll_rests_for_no_longer_than_twice_its_patience(due, patience, deadline, end):
    """A round was made 1 s before the first poll is due, and the gap ends at 107.5."""
    poll = SimpleNamespace(due=due, latest=due + patience, deadline=deadline)
    assert gap_ends([poll], 107.5) == min(end, 107.5)


# --- GETs or pages --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pages", "read"),
    [
        ([], 0),
        ([0.0], 0),
        ([0.0] * 2, 1),  # the first page is one request, as a GET is
        ([None] * 1000, 5),
        ([None], 0),
        ([None] * 2, 1),
        ([UNLISTED] * 1000, 0),
        ([0.0] * 200 + [99.0], 1),  # the old one is asked for by itself
        ([0.0] * 4 + [99.0] * 100, 1),
        ([99.0] * 10, 0),
        ([99.0] * 1000, 100),
        ([0.0] + [1.0] * 3, 0),
        ([0.0] * 2 + [1.0] * 3, 1),
        ([0.0] * 4 + [1.0] * 4, 2),
        ([0.0] * 100 + [None] * 250, 2),
        ([0.0] * 4 + [UNLISTED] * 50, 1),
    ],
)
def test_how_many_pages_are_read(pages, read):
    """As many as cost less than the GETs that they replace."""
    assert pages_to_read(pages) == read


@given(st.lists(st.sampled_from([None, UNLISTED, *map(float, range(12))]), max_size=300))
def test_a_round_never_costs_more_than_gets_alone(pages):
    """Whatever is known of the pages, and no cheaper number of pages is overlooked."""
    read = pages_to_read(pages)

    def cost(count: int) -> float:
        new = math.ceil(sum(page is None for page in pages) / 200) - 1
        known = [max(0, new) if page is None else page for page in pages]
        left = sum(page >= count for page in known)
        return left + (1 + PAGE_WORTH * (count - 1) if count else 0)

    assert cost(read) == min(cost(count) for count in range(14))
    assert cost(read) <= len(pages)


def test_few_jobs_are_never_listed():
    """Whoever waits for one or two polls in the server's log for GETs of them."""
    assert [is_for_gets(jobs) for jobs in (1, FEW, FEW + 1)] == [True, True, False]


def test_a_search_costs_no_more_than_the_gets():
    """Ten jobs that are not on the first pages are not polled for on a hundred."""
    read = 1
    while reads_on(read, missing=10):
        read += 1
    assert read == 4
    assert reads_on(2, missing=7)
    assert not reads_on(2, missing=6)
    assert not reads_on(1, missing=0)
    assert reads_on(99, missing=1000)


def test_a_job_that_was_missed_is_looked_for_ever_more_seldom():
    """After 16 GETs, 32, 64 and so on."""
    assert [gets for gets in range(300) if is_sought_again(gets)] == [16, 32, 64, 128, 256]
