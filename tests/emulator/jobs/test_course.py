"""Phases, ticks and counters, without a server."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.emulator.jobs.course import Course, Ticks, lay_out, leave
from fireworks_batch.emulator.jobs.job import count_progress
from fireworks_batch.emulator.jobs.scripts import DEFAULT_PHASES, Phase, bare_state, read_phases
from fireworks_batch.emulator.members import ControlError

SECOND = 1_000_000
DAY = 86_400 * SECOND
MINUTELY = Ticks(0, 60 * SECOND)
ALWAYS = Ticks(0, 0)


def course(*phases, ticks=MINUTELY, begin=0, expire=DAY, **options):
    """Lay out phases, by default in ticks of a minute and within a day."""
    return lay_out(phases, ticks=ticks, begin=begin, expire=expire, **options)


def state(laid: Course, seconds: float) -> str:
    """Name the state at a moment."""
    return laid.legs[laid.leg(round(seconds * SECOND))].state


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "VALIDATING"),
        (59.999, "VALIDATING"),
        (60, "PENDING"),
        (119.999, "PENDING"),
        (120, "CREATING"),
        (180, "RUNNING"),
        (479.999, "RUNNING"),
        (480, "COMPLETED"),
        (100_000, "COMPLETED"),
    ],
)
def test_the_default_phases_turn_exactly_at_their_ticks(seconds, expected):
    """A new job goes through five states, each from a whole minute on."""
    assert state(course(*DEFAULT_PHASES), seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "VALIDATING"), (59, "VALIDATING"), (60, "RUNNING")]
)
def test_phases_shorter_than_a_tick_are_never_seen(seconds, expected):
    """States that pass between two ticks are skipped."""
    laid = course(Phase("VALIDATING", 10), Phase("PENDING", 10), Phase("RUNNING"))
    assert state(laid, seconds) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(9, "VALIDATING"), (10, "PENDING")])
def test_without_ticks_a_phase_shows_when_it_begins(seconds, expected):
    """A tick of 0 is all the time."""
    laid = course(Phase("VALIDATING", 10), Phase("PENDING"), ticks=ALWAYS)
    assert state(laid, seconds) == expected


def test_a_phase_of_no_seconds_is_skipped():
    """Zero seconds leave no trace, neither in the state nor in the lifecycle."""
    laid = course(Phase("VALIDATING", 0), Phase("RUNNING", 0), Phase("FAILED"))
    assert [leg.state for leg in laid.legs] == ["FAILED"]


def test_the_last_phase_stays_whatever_its_seconds_say():
    """The last phase is not left, even if it is of no seconds."""
    laid = course(Phase("VALIDATING", 60), Phase("PAUSED", 0))
    assert state(laid, 3600) == "PAUSED"


def test_ticks_are_counted_from_the_origin_not_from_the_epoch():
    """A job made 7 s after the epoch turns at 67 s."""
    laid = course(*DEFAULT_PHASES, ticks=Ticks(7 * SECOND, 60 * SECOND), begin=7 * SECOND)
    assert (state(laid, 66.999), state(laid, 67)) == ("VALIDATING", "PENDING")


@pytest.mark.parametrize(
    ("instant", "following", "last", "after"),
    [(0, 0, 0, 60), (1, 60, 0, 60), (60, 60, 60, 120), (61, 120, 60, 120)],
)
def test_ticks_round_to_both_sides(instant, following, last, after):
    """The tick at an instant is both the next and the last one."""
    ticks = Ticks(0, 60)
    assert (ticks.next(instant), ticks.last(instant), ticks.after(instant)) == (
        following,
        last,
        after,
    )


@given(
    origin=st.integers(0, DAY), instant=st.integers(0, DAY), period=st.integers(0, 3600 * SECOND)
)
def test_a_tick_is_never_more_than_a_period_away(origin, instant, period):
    """Ticks enclose every instant and lie a whole number of periods from the origin."""
    ticks = Ticks(origin, period)
    assert ticks.last(instant) <= instant <= ticks.next(instant)
    assert ticks.next(instant) - ticks.last(instant) in {0, period}
    assert not period or (ticks.next(instant) - origin) % period == 0


def test_a_time_limit_that_ends_before_the_phases_do_expires_the_job():
    """Without a terminal phase before it ends, the job is EXPIRED from then on."""
    laid = course(Phase("VALIDATING", 60), Phase("RUNNING", 1000), expire=130 * SECOND)
    assert [state(laid, at) for at in (129, 131, 180, 10_000)] == [
        "RUNNING",
        "RUNNING",
        "EXPIRED",
        "EXPIRED",
    ]


def test_a_terminal_phase_at_the_very_end_of_the_time_limit_wins():
    """A job that completes just when its time limit ends has completed."""
    laid = course(Phase("RUNNING", 120), Phase("COMPLETED"), expire=120 * SECOND)
    assert state(laid, 10_000) == "COMPLETED"


@pytest.mark.parametrize(("does_expire", "expected"), [(True, "EXPIRED"), (False, "PENDING")])
def test_whether_a_pending_job_expires_is_a_choice(does_expire, expected):
    """A job pending at the end of the time limit expires or stays."""
    laid = course(Phase("PENDING"), expire=60 * SECOND, does_pending_expire=does_expire)
    assert state(laid, 3600) == expected


def test_a_pending_job_that_stays_does_not_keep_a_running_one_from_expiring():
    """Only PENDING is spared by the choice."""
    laid = course(Phase("RUNNING"), expire=60 * SECOND, does_pending_expire=False)
    assert state(laid, 3600) == "EXPIRED"


def test_an_expiry_before_a_new_course_is_history():
    """A job that is scripted after its time limit does what its script says."""
    laid = course(Phase("COMPLETED"), begin=200 * SECOND, expire=100 * SECOND)
    assert state(laid, 200) == "COMPLETED"


def test_a_new_course_shows_at_once_and_then_waits_for_ticks():
    """The first phase of a new script shows when it was given, the next one at a tick."""
    laid = course(Phase("RUNNING", 10), Phase("COMPLETED"), begin=70 * SECOND)
    assert [state(laid, at) for at in (70, 81, 119, 120)] == ["RUNNING"] * 3 + ["COMPLETED"]


def test_lifecycle_times_are_the_ticks_at_which_phases_were_reached():
    """Skipped phases count: validated and started are told at the tick that skipped them."""
    laid = course(Phase("VALIDATING", 30), Phase("PENDING", 10), Phase("RUNNING", 70), Phase("X"))
    at = 200 * SECOND
    assert (laid.validated(at), laid.run_started(at), laid.ended(at)) == (
        60 * SECOND,
        60 * SECOND,
        None,
    )


def test_lifecycle_times_are_not_told_before_they_are_reached():
    """Nothing of a later phase is known in VALIDATING."""
    laid = course(*DEFAULT_PHASES)
    at = 59 * SECOND
    assert (laid.validated(at), laid.run_started(at), laid.ended(at)) == (None, None, None)


@pytest.mark.parametrize("end", ["COMPLETED", "FAILED", "EXPIRED", "CANCELLED"])
def test_an_end_has_its_time(end):
    """The four ends of the schema's text set an end time."""
    assert course(Phase("VALIDATING", 60), Phase(end)).ended(61 * SECOND) == 60 * SECOND


def test_a_failed_validation_was_never_valid():
    """FAILED right after VALIDATING leaves no time of validation."""
    assert course(Phase("VALIDATING", 60), Phase("FAILED")).validated(DAY) is None


def test_a_new_course_remembers_what_was_done_before():
    """Rows and lifecycle times of the old course stay."""
    old = course(Phase("RUNNING", 100), Phase("COMPLETED"), ticks=ALWAYS)
    new = course(Phase("PENDING"), ticks=ALWAYS, begin=40 * SECOND, before=old)
    at = 50 * SECOND
    assert (new.processed_share(at), new.run_started(at), new.validated(at)) == (0.4, 0, 0)


def test_a_new_course_does_only_the_rest_of_the_work():
    """Half of the rest is done after half of the new script's running time."""
    old = course(Phase("RUNNING", 100), Phase("COMPLETED"), ticks=ALWAYS)
    new = course(
        Phase("RUNNING", 10), Phase("COMPLETED"), ticks=ALWAYS, begin=40 * SECOND, before=old
    )
    assert new.processed_share(45 * SECOND) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, 0), (100, 0), (150, 0.25), (200, 0.5), (350, 0.5), (450, 1.0)]
)
def test_no_rows_are_processed_while_waiting_for_capacity(seconds, expected):
    """Only RUNNING phases with capacity do work."""
    laid = course(
        Phase("PENDING", 100),
        Phase("RUNNING", 100),
        Phase("RUNNING", 150, waiting_on_capacity=True),
        Phase("RUNNING", 100),
        Phase("COMPLETED"),
        ticks=ALWAYS,
    )
    assert laid.processed_share(seconds * SECOND) == expected


def test_an_expired_job_has_done_a_part():
    """What the expiry cuts off is not done."""
    laid = course(Phase("RUNNING", 400), Phase("COMPLETED"), expire=100 * SECOND)
    assert laid.processed_share(DAY) == 0.25


def test_a_run_without_end_does_half_of_its_rows_until_it_expires():
    """A last RUNNING phase without seconds is paced over twice the time limit."""
    assert course(Phase("RUNNING")).processed_share(2 * DAY) == 0.5


@pytest.mark.parametrize("end", ["FAILED", "CANCELLED", "EXPIRED", "EARLY_STOPPED"])
def test_a_job_that_ends_badly_stops_half_way(end):
    """Running and then failing leaves half of the rows processed."""
    assert course(Phase("RUNNING", 60), Phase(end)).processed_share(DAY) == 0.5


def test_a_job_that_fails_before_it_runs_has_done_nothing():
    """No RUNNING phase, no rows."""
    assert course(Phase("VALIDATING", 60), Phase("FAILED")).processed_share(DAY) == 0


def test_a_completed_job_has_done_all():
    """COMPLETED without RUNNING has processed every row."""
    assert course(Phase("VALIDATING", 60), Phase("COMPLETED")).processed_share(DAY) == 1.0


@pytest.mark.parametrize(
    ("tombstone", "expected"), [("DELETED", "DELETED"), (None, "DELETING_CLEANING_UP")]
)
def test_a_deleted_job_leaves_its_course(tombstone, expected):
    """From the deletion on it cleans up; what would have come does not come."""
    laid = leave(course(*DEFAULT_PHASES), now=70 * SECOND, gone=180 * SECOND, tombstone=tombstone)
    assert [state(laid, at) for at in (69, 70, 179)] == [
        "PENDING",
        "DELETING_CLEANING_UP",
        "DELETING_CLEANING_UP",
    ]
    assert state(laid, 500) == expected


phase_lists = st.lists(
    st.builds(
        Phase,
        st.sampled_from(["VALIDATING", "PENDING", "RUNNING", "WRITING_RESULTS", "COMPLETED"]),
        st.none() | st.integers(0, 400),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@given(
    phases=phase_lists,
    tick=st.sampled_from([0, 7, 60]),
    rows=st.integers(0, 1000),
    bad=st.integers(0, 1000),
)
def test_no_counter_ever_falls(phases, tick, rows, bad):
    """Whatever the phases, every counter grows or stands still, and they agree."""
    laid = course(*phases, ticks=Ticks(0, tick * SECOND), expire=900 * SECOND)
    before = dict.fromkeys(count(laid, 0, rows, 0), 0)
    for seconds in range(0, 1000, 13):
        at = laid.ticks.last(seconds * SECOND)
        counts = count(laid, at, rows, min(rows, bad))
        assert all(counts[name] >= before[name] for name in counts)
        assert (
            counts["successfullyProcessedRequests"] + counts["failedRequests"]
            == (counts["totalProcessedRequests"])
        )
        assert 0 <= counts["totalProcessedRequests"] <= rows
        before = counts


def count(laid: Course, at: int, rows: int, failed_rows: int) -> dict[str, int]:
    """Count the progress at a moment."""
    return count_progress(
        rows=rows, failed_rows=failed_rows, share=laid.processed_share(at), is_total_known=True
    )


def test_all_rows_are_counted_at_the_end():
    """The counters end at the rows and failed rows of the script."""
    assert count_progress(rows=3, failed_rows=1, share=1.0, is_total_known=True) == {
        "percent": 100,
        "epoch": 0,
        "totalInputRequests": 3,
        "totalProcessedRequests": 3,
        "successfullyProcessedRequests": 2,
        "failedRequests": 1,
        "outputRows": 2,
        "inputTokens": 84,
        "outputTokens": 34,
        "cachedInputTokenCount": 40,
    }


def test_a_total_that_is_not_known_is_zero_while_rows_are_counted():
    """Early in RUNNING the total and the percentage are 0, the processed rows are not."""
    counts = count_progress(rows=100, failed_rows=0, share=0.5, is_total_known=False)
    assert (counts["totalInputRequests"], counts["percent"]) == (0, 0)
    assert counts["totalProcessedRequests"] == 50


def test_tokens_stay_within_an_int32():
    """A huge job's token counters stop at the largest int32."""
    counts = count_progress(rows=2**31 - 1, failed_rows=0, share=1.0, is_total_known=True)
    assert counts["inputTokens"] == 2**31 - 1


@pytest.mark.parametrize("name", ["RUNNING", "JOB_STATE_RUNNING"])
def test_a_state_may_be_given_with_or_without_its_prefix(name):
    """Both spellings are one state."""
    assert Phase(name).state == bare_state(name) == "RUNNING"


def test_phases_may_be_names_mappings_or_objects():
    """Three spellings give the same phase."""
    phase = Phase("FROBNICATING")
    assert read_phases(["FROBNICATING", {"state": "JOB_STATE_FROBNICATING"}, phase]) == (phase,) * 3


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([], "phases: [] is not a list of at least one phase"),
        ("RUNNING", "phases: 'RUNNING' is not a list of at least one phase"),
        ([3], "phases[0]: 3 is not an object"),
        (["RUNNING", ""], "phases[1].state: '' is not a state's name"),
        ([{"seconds": 3}], "phases[0].state: None is not a state's name"),
        (
            [{"state": "RUNNING", "seconds": -1}],
            "phases[0].seconds: -1 is not a number of 0 or more",
        ),
        (
            [{"state": "RUNNING", "seconds": True}],
            "phases[0].seconds: True is not a number of 0 or more",
        ),
        (
            [{"state": "RUNNING", "waiting_on_capacity": 1}],
            "phases[0].waiting_on_capacity: 1 is not true or false",
        ),
        (
            [{"state": "RUNNING", "second": 1}],
            (
                "phases[0].second: 1 is not known here; known: state, seconds, "
                "waiting_on_capacity; did you mean 'seconds'?"
            ),
        ),
    ],
)
def test_a_phase_that_cannot_be_used_is_named(phases, message):
    """The error says which phase, which member, and what was wanted."""
    with pytest.raises(ControlError) as caught:
        read_phases(phases)
    assert str(caught.value) == message


def test_a_course_cannot_be_changed():
    """Courses are values."""
    laid = course(Phase("RUNNING"))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        laid.share = 3
