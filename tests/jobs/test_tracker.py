"""What a wait makes of its looks, without a loop."""

from datetime import UTC, datetime

import pytest

from fireworks_batch import BatchInferenceJob, JobRef, JobState, PollPolicy, TransportError
from fireworks_batch.jobs.tracker import Tracker, WaitEffects, WaitTerms
from fireworks_batch.polling.machine import FailureKind
from fireworks_batch.polling.observation import Failure, Observation

NAME = "accounts/acme/batchInferenceJobs/nightly"
REF = JobRef("acme", "nightly", "https://api.fireworks.ai")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SEEN = Observation(
    job=BatchInferenceJob(name=NAME, state=JobState.PENDING), observed_at=NOON, server_now=NOON
)
LOST = Failure(FailureKind.LOST, TransportError("no answer"))


class Clock:
    """A clock that is set by hand."""

    now = 0.0


def tracker_at(clock, **policy) -> Tracker:
    """Follow a job for a hundred seconds, with nobody who looks at it."""
    terms = WaitTerms(
        job="nightly",
        policy=PollPolicy(jitter=0, **policy),
        timeout=100.0,
        follows_window=False,
        time_scale=1.0,
        changes_only=False,
    )
    effects = WaitEffects(
        follow=None, locate=None, clock=lambda: clock.now, wall=lambda: NOON, draw=lambda: 0.5
    )
    tracker = Tracker(terms, effects, ref=REF)
    tracker.begin()
    return tracker


def look(tracker, news) -> bool:
    """Tell it of a look."""
    return tracker.lost(news) if isinstance(news, Failure) else tracker.seen(news)


@pytest.mark.parametrize("news", [SEEN, LOST], ids=["seen", "lost"])
def test_a_timer_that_fires_early_does_not_repeat_the_last_look(news):
    """It would be due again at the same moment, and again, for as long as the clock stands."""
    clock = Clock()
    tracker = tracker_at(clock, initial_interval=60)
    look(tracker, SEEN)
    clock.now = 60.0
    look(tracker, news)
    assert tracker.due == 95.0
    clock.now = 95.0 - 1e-9
    assert look(tracker, news)
    assert tracker.due > 100.0


def test_a_timer_that_fires_early_does_not_repeat_the_look_at_a_limit():
    """A stall guard is judged by the moment at which the look was due, and ends the wait."""
    clock = Clock()
    tracker = tracker_at(clock, initial_interval=60, min_interval=0, stall_after=20)
    look(tracker, SEEN)
    assert tracker.due == 20.0
    clock.now = 20.0 - 1e-9
    assert not look(tracker, SEEN)
    assert tracker.ending is not None
