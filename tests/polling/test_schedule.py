"""Which polls go together, and when one is cut: tables and properties, without a loop."""

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.polling.schedule import group, rest_ends


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
def test_a_rest_ends_when_a_poll_cannot_wait_any_more(moments, end):
    """It would have ended at 8."""
    assert rest_ends(polls(*moments), 8.0) == end


def test_a_poll_beyond_its_deadline_ends_no_rest():
    """It is cut before it is due."""
    assert rest_ends([Poll(due=5.0, latest=3.0, deadline=1.0)], 8.0) == 8.0


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
