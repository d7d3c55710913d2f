"""Where jobs begin: in order, within the limits, and as few as can be."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.models.dataset import Limits
from fireworks_batch.runs.scan import Room, cuts

sizes = st.lists(st.integers(1, 10), max_size=40)


def split(limits, lengths):
    """The lengths of rows, job by job."""
    starts = list(cuts(Room(limits), lengths))
    edges = [0, *starts, len(lengths)]
    return [lengths[start:end] for start, end in pairwise(edges)]


@given(sizes, st.integers(1, 5) | st.none(), st.integers(10, 30))
def test_jobs_keep_order_and_limits_and_are_as_few_as_can_be(lengths, most_rows, most_bytes):
    """All rows in their order; no job beyond a limit; no two jobs that would fit into one."""
    jobs = split(Limits(max_rows=most_rows, max_bytes=most_bytes), lengths)

    assert lengths == [length for job in jobs for length in job]
    for job in jobs:
        assert sum(job) <= most_bytes
        assert most_rows is None or len(job) <= most_rows
    for job, following in pairwise(jobs):
        is_full = sum(job) + following[0] > most_bytes or len(job) == most_rows
        assert is_full


@given(sizes, st.integers(0, 40))
def test_splitting_goes_on_where_it_stopped(lengths, middle):
    """Rows that come in two parts are split as if they came in one."""
    limits = Limits(max_rows=3, max_bytes=12)
    room = Room(limits)
    first = list(cuts(room, lengths[:middle]))
    second = [len(lengths[:middle]) + cut for cut in cuts(room, lengths[middle:])]

    assert list(cuts(Room(limits), lengths)) == first + second
