"""What a wait makes of its polls, without a loop."""

from datetime import UTC, datetime

import pytest

from fireworks_batch import BatchInferenceJob, JobStalledError, JobState, PollPolicy, TransportError
from fireworks_batch.connection.api import Api
from fireworks_batch.connection.credentials import Account
from fireworks_batch.jobs.tracker import Tracker, WaitTerms
from fireworks_batch.polling.machine import Failure, FailureKind
from fireworks_batch.polling.observation import Moment, Observation

NAME = "accounts/acme/batchInferenceJobs/nightly"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
JOB = BatchInferenceJob(name=NAME, state=JobState.PENDING)
NO_ANSWER = Failure(FailureKind.NO_ANSWER, TransportError("no answer"))


class Clock:
    """A clock that is set by hand."""

    moment = 0.0

    def now(self) -> float:
        return self.moment


def tracker_at(clock, **policy) -> Tracker:
    """Follow a job for a hundred seconds, without a poller."""
    policy = PollPolicy(jitter=0, **policy)
    terms = WaitTerms(
        api=Api(
            base_url="https://api.fireworks.ai",
            session=None,
            transport=None,
            account=Account("acme"),
            codec=None,
            poll=policy,
            request_timeout=60.0,
            time_scale=1.0,
            clock=clock.now,
            wall=lambda: NOON,
            draw=lambda: 0.5,
        ),
        poll=policy,
        timeout=100.0,
    )
    tracker = terms.tracker("nightly")
    tracker.start()
    return tracker


def poll(tracker, clock, failure=None) -> bool:
    """Tell the tracker of a poll."""
    if failure is not None:
        return tracker.failed(failure)
    moment = Moment(now=clock.moment, observed_at=NOON, server_seconds=NOON.timestamp())
    return tracker.seen(Observation(JOB, (), moment))


@pytest.mark.parametrize("failure", [None, NO_ANSWER], ids=["seen", "failed"])
def test_a_timer_that_fires_early_does_not_repeat_the_last_poll(failure):
    """It would be due again at the same moment, and again, for as long as the clock stands."""
    clock = Clock()
    tracker = tracker_at(clock, initial_interval=60)
    poll(tracker, clock)
    clock.moment = 60.0
    poll(tracker, clock, failure)
    assert tracker.machine.due == 95.0
    clock.moment = 95.0 - 1e-9
    assert poll(tracker, clock, failure)
    assert tracker.machine.due > 100.0


def test_a_timer_that_fires_early_does_not_repeat_the_poll_at_a_limit():
    """A stall guard is judged by the moment at which the poll was due, and ends the wait."""
    clock = Clock()
    tracker = tracker_at(clock, initial_interval=60, min_interval=0, stall_after=20)
    poll(tracker, clock)
    assert tracker.machine.due == 20.0
    clock.moment = 20.0 - 1e-9
    assert not poll(tracker, clock)
    assert isinstance(tracker.error, JobStalledError)
    assert tracker.last_snapshot.number == 2
