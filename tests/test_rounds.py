"""How long looks wait, and how they are made: tables and properties, without a loop."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.rounds import (
    PAGE_WORTH,
    UNLISTED,
    latest,
    looks_again,
    pages_to_read,
    reads_on,
)

# --- Patience ------------------------------------------------------------------------------------


def test_a_look_that_is_due_waits_for_nobody():
    """The first look of a wait is made at once."""
    assert latest(10.0, now=10.0, interval=60.0, deadline=math.inf) == 10.0
    assert latest(9.0, now=10.0, interval=60.0, deadline=math.inf) == 9.0


def test_a_look_waits_for_a_quarter_of_its_interval():
    """Which is a little more than jitter spreads looks by default."""
    assert latest(70.0, now=10.0, interval=60.0, deadline=math.inf) == 85.0


def test_a_look_before_a_deadline_does_not_wait_for_it():
    """Half of the time until then is left for the answer."""
    assert latest(95.0, now=10.0, interval=60.0, deadline=100.0) == 97.5


# --- GETs or pages ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pages", "read"),
    [
        ([], 0),
        ([0.0] * PAGE_WORTH, 0),  # a few are asked for one by one
        ([0.0] * (PAGE_WORTH + 1), 1),
        ([None] * 1000, 5),
        ([None] * 3, 0),
        ([UNLISTED] * 1000, 0),
        ([0.0] * 200 + [99.0], 1),  # the old one is asked for by itself
        ([0.0] * 4 + [99.0] * 100, 1),
        ([99.0] * 10, 0),
        ([99.0] * 1000, 100),
        ([0.0, 0.0, 1.0, 1.0], 0),
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
        return PAGE_WORTH * count + sum(page >= count for page in known)

    assert cost(read) == min(cost(count) for count in range(14)) or len(pages) <= PAGE_WORTH
    assert cost(read) <= len(pages)


def test_a_search_costs_no_more_than_the_gets():
    """Ten jobs that are not on the first pages are not looked for on a hundred."""
    read = 1
    while reads_on(read, missing=10):
        read += 1
    assert read == 3
    assert reads_on(2, missing=9)
    assert not reads_on(2, missing=8)
    assert not reads_on(1, missing=0)
    assert reads_on(99, missing=1000)


def test_a_job_that_was_missed_is_looked_for_ever_more_seldom():
    """After 16 GETs, 32, 64 and so on."""
    assert [gets for gets in range(300) if looks_again(gets)] == [16, 32, 64, 128, 256]
