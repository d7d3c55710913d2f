"""What a series of observations says of a job's progress."""

import pickle
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.models.job import BatchInferenceJob, JobProgress, Lifecycle, Status
from fireworks_batch.models.snapshot import (
    RATE_MOVES,
    History,
    JobSnapshot,
    expiry,
    percent_done,
    schedule_fingerprint,
    seconds_left,
    visible_fingerprint,
)
from fireworks_batch.models.states import JobState, StatusCode

NOW = datetime(2026, 9, 14, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def job(
    processed: int | None = None, total: int = 0, state: str = "RUNNING", **members
) -> BatchInferenceJob:
    """A job in a state, with counters unless `processed` is None."""
    if processed is not None:
        members["job_progress"] = JobProgress(
            total_input_requests=total, total_processed_requests=processed
        )
    return BatchInferenceJob(
        name="accounts/a/batchInferenceJobs/j", state=JobState(state), **members
    )


def observed(*polls: tuple[float, int | None], state: str = "RUNNING") -> History:
    """The history of polls, each a moment and its counter of rows."""
    history = History()
    for now, processed in polls:
        history = history.add(job(processed, 1000, state), now=now)
    return history


# --- Percent --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "percent"),
    [
        (job(), None),
        (job(0, 200), 0.0),
        (job(1, 200), 0.5),
        (job(100, 200), 50.0),
        (job(199, 200), 99.5),
        (job(200, 200), 99.9),
        (job(9999, 10_000), 99.9),
        (job(3, 1), 99.9),
        (job(0, 0), 0.0),
        (job(5, 0), 99.9),
        (job(200, 200, "WRITING_RESULTS"), 99.9),
        (job(200, 200, "FAILED"), 99.9),
        (job(100, 200, "EXPIRED"), 50.0),
        (job(200, 200, "COMPLETED"), 100.0),
        (job(0, 200, "COMPLETED"), 100.0),
        (job(state="COMPLETED"), 100.0),
        (job(0, 0, "COMPLETED"), 100.0),
        (job(state="FAILED"), None),
        (job(-5, 200), 0.0),
        (job(200, 200, "NEW"), 99.9),
    ],
)
def test_percent_is_of_rows(found, percent):
    """Percent is rows done of all rows, at most 99.9 until COMPLETED, None without counters."""
    assert percent == percent_done(found)


@pytest.mark.parametrize(
    ("said", "percent"), [(0, 0.0), (66, 66.0), (100, 99.9), (1000, 99.9), (-1, 0.0)]
)
def test_percent_is_the_server_s_where_rows_are_not_counted(said, percent):
    """Before the server has counted rows its own percentage stands in, within the same bounds."""
    assert percent == percent_done(job(job_progress=JobProgress(percent=said)))


COUNTS = st.integers(-(2**63), 2**64 - 1)


@given(
    state=st.sampled_from([*JobState]),
    progress=st.builds(
        JobProgress, percent=COUNTS, total_input_requests=COUNTS, total_processed_requests=COUNTS
    ),
)
def test_percent_is_bounded(state, progress):
    """Whatever the counters say, percent is 0 to 99.9, and 100 only when COMPLETED."""
    percent = percent_done(job(state=state, job_progress=progress))

    assert 0.0 <= percent <= 100.0
    assert (percent == 100.0) == (state == "COMPLETED")
    assert percent <= 99.9 or percent == 100.0


# --- Rate -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("polls", "now", "rate"),
    [
        ([], 0, None),
        ([(0, 5)], 10, None),
        ([(0, 5), (10, 5)], 20, None),
        ([(0, None), (10, None)], 20, None),
        ([(0, 0), (10, 20)], 10, 2.0),
        ([(0, 0), (10, 20)], 20, 1.0),
        ([(0, 0), (5, 0), (10, 20)], 10, 2.0),
        ([(0, 0), (10, 20), (15, 20)], 20, 1.0),
        ([(0, 0), (10, 20), (15, None)], 20, 1.0),
        ([(0, 7), (60, 67), (120, 127)], 120, 1.0),
        ([(5, 0), (5, 10)], 5, None),
    ],
)
def test_rate_is_rows_over_time_between_moves(polls, now, rate):
    """The rate runs from the first move seen to now; it needs two, and sinks while none comes."""
    assert rate == observed(*polls).rate(now=now)


def test_rate_forgets_old_moves():
    """A rate is over the newest moves only, so that it follows a change of pace."""
    slow = [(60 * n, n) for n in range(100)]
    fast = [(6000 + 60 * n, 100 + 60 * n) for n in range(RATE_MOVES)]

    assert observed(*slow, *fast).rate(now=fast[-1][0]) == 1.0


def test_history_is_bounded():
    """However long a wait lasts, its history stays as small as after a few moves."""
    early, late = (observed(*((n, n) for n in range(count))) for count in (RATE_MOVES, 5000))

    assert len(early.moves) == len(late.moves) == RATE_MOVES
    assert len(pickle.dumps(late)) <= len(pickle.dumps(early)) + 50


def test_counter_that_falls_starts_the_rate_anew():
    """A job that was put back into the queue counts from below: old moves say nothing of it."""
    history = observed((0, 0), (10, 100), (20, 200), (30, 5))

    assert history.moves == ((30, 5),)
    assert history.rate(now=40) is None
    assert history.add(job(15, 1000), now=40).rate(now=40) == 1.0


@pytest.mark.parametrize("state", [state for state in JobState if state != "RUNNING"])
def test_only_a_running_job_moves(state):
    """Counters in any state but RUNNING are no moves, and do not erase those before."""
    assert observed((0, 0), (10, 50), state=state).moves == ()

    history = observed((0, 0), (10, 50)).add(job(9, 1000, state), now=20)
    assert history.moves == ((0, 0), (10, 50))
    assert history.state == state


def test_history_remembers_the_state():
    """A history knows the newest state."""
    history = History().add(job(state="PENDING"), now=0).add(job(), now=1)

    assert history.state == JobState.RUNNING
    assert History().state is None


@given(polls=st.lists(st.tuples(st.floats(0, 100), st.none() | st.integers(0, 10**9))))
def test_rate_is_never_negative(polls):
    """Any course of counters gives no rate or one of 0 and above."""
    now, history = 0.0, History()
    for after, processed in polls:
        now += after
        history = history.add(job(processed, 10**9), now=now)
        rate = history.rate(now=now)

        assert rate is None or rate >= 0
        assert len(history.moves) <= RATE_MOVES


# --- Time left ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "rate", "left"),
    [
        (job(20, 100), 2.0, 40.0),
        (job(20, 100), 0.5, 160.0),
        (job(100, 100), 2.0, 0.0),
        (job(150, 100), 2.0, 0.0),
        (job(20, 100), None, None),
        (job(20, 100), 0.0, None),
        (job(20, 0), 2.0, None),
        (job(), 2.0, None),
        (job(20, 100, "COMPLETED"), None, 0.0),
        (job(20, 100, "FAILED"), 2.0, 0.0),
        (job(state="EXPIRED"), None, 0.0),
        (job(20, 100, "RE_QUEUEING"), 2.0, 40.0),
    ],
)
def test_time_left_is_rows_left_at_the_rate(found, rate, left):
    """The estimate is rows left by rows a second; 0 at the end, None without a total or a rate."""
    assert left == seconds_left(found, rate)


@pytest.mark.parametrize(
    ("members", "left"),
    [
        ({"expire_time": NOW + 24 * HOUR}, 25 * 3600),
        ({"expire_time": NOW + 24 * HOUR, "create_time": NOW}, 25 * 3600),
        ({"expire_time": NOW}, 3600),
        ({"expire_time": NOW - HOUR}, 0),
        ({"expire_time": NOW - 24 * HOUR}, -23 * 3600),
        ({"create_time": NOW}, 73 * 3600),
        ({"create_time": NOW - 24 * HOUR}, 49 * 3600),
        ({"create_time": NOW - 100 * HOUR}, -27 * 3600),
        ({}, None),
        ({"create_time": datetime.max.replace(tzinfo=UTC)}, ...),
        ({"create_time": datetime.min.replace(tzinfo=UTC)}, ...),
        ({"expire_time": datetime.max.replace(tzinfo=UTC)}, ...),
    ],
)
def test_expiry_is_by_the_server_s_clock_and_an_hour(members, left):
    """A job expires an hour after expire_time, else 73 h after creation; below 0 when past."""
    found = expiry(job(**members))

    assert left in {None if found is None else found - NOW.timestamp(), ...}


# --- Fingerprints ---------------------------------------------------------------------------------

WHOLE = job(1, 2, status=Status(), update_time=NOW)
COUNTERS = [field.name for field in attrs.fields(JobProgress)]


@pytest.mark.parametrize(
    "changes",
    [
        {"update_time": NOW + HOUR},
        {"expire_time": NOW},
        {"lifecycle": Lifecycle(end_time=NOW)},
        {"display_name": "x"},
        {"extra": {"x": 1}},
    ],
)
def test_what_is_not_watched_is_no_change(changes):
    """Neither fingerprint has update_time, nor anything but the state, the status and counters."""
    other = attrs.evolve(WHOLE, **changes)

    assert schedule_fingerprint(WHOLE) == schedule_fingerprint(other)
    assert visible_fingerprint(WHOLE) == visible_fingerprint(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": Status(message="x")},
        {"status": Status(code=StatusCode.INTERNAL)},
        {"status": None},
        {"job_progress": None},
        *[{"job_progress": attrs.evolve(WHOLE.job_progress, **{c: 99})} for c in COUNTERS],
    ],
)
def test_counters_and_status_are_visible_only(changes):
    """Each counter and the status is a visible change, and none resets the poll interval."""
    other = attrs.evolve(WHOLE, **changes)

    assert schedule_fingerprint(WHOLE) == schedule_fingerprint(other)
    assert visible_fingerprint(WHOLE) != visible_fingerprint(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"state": JobState.WRITING_RESULTS},
        {"state": JobState("NEW")},
        {"waiting_on_capacity": True},
    ],
)
def test_state_and_capacity_are_in_both(changes):
    """The state and waiting for capacity reset the poll interval, and are visible."""
    other = attrs.evolve(WHOLE, **changes)

    assert schedule_fingerprint(WHOLE) != schedule_fingerprint(other)
    assert visible_fingerprint(WHOLE) != visible_fingerprint(other)


def test_fingerprints_can_be_hashed_and_read_again():
    """Fingerprints of two readings of one answer are equal, and have one hash."""
    again = pickle.loads(pickle.dumps(WHOLE))  # noqa: S301

    for fingerprint in (schedule_fingerprint, visible_fingerprint):
        assert fingerprint(WHOLE) == fingerprint(again)
        assert hash(fingerprint(WHOLE)) == hash(fingerprint(again))


# --- Snapshots ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("percent", "shown"),
    [(None, "<JobSnapshot 3 of 'j' RUNNING>"), (99.9, "<JobSnapshot 3 of 'j' RUNNING 99.9%>")],
)
def test_snapshot_reads_as_one_line(percent, shown):
    """`repr()` of a snapshot has its number, the job's id and state, and the percentage."""
    snapshot = JobSnapshot(
        job=WHOLE,
        previous_state=None,
        changed=True,
        number=3,
        observed_at=NOW,
        elapsed=1.0,
        unchanged_for=0.0,
        percent=percent,
        rate=None,
        eta=None,
    )

    assert shown == repr(snapshot)
    assert (snapshot.failures, snapshot.last_error, snapshot.problems) == (0, None, ())
