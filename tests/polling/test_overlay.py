"""A masked answer laid over the last whole one: by the mask's paths, never by presence."""

import attrs
import pytest

from fireworks_batch import BatchInferenceJob, JobProgress, JobState, Lifecycle, Status
from fireworks_batch.polling.approach import MASK, is_another, lay_over, print_of
from fireworks_batch.wire.codec import Codec

NAME = "accounts/acme/batchInferenceJobs/nightly"
WHOLE = {
    "name": NAME,
    "state": "JOB_STATE_RUNNING",
    "displayName": "Nightly",
    "createTime": "2026-09-14T09:00:00Z",
    "status": {"code": "OK", "message": ""},
    "model": "accounts/fireworks/models/demo-8b",
    "inferenceParameters": {"maxTokens": 7},
    "jobProgress": {"percent": 50, "totalInputRequests": 10},
    "lifecycle": {"validatedTime": "2026-09-14T09:01:00Z"},
    "waitingOnCapacity": True,
    "newMember": 1,
}
CODEC = Codec()


def read(item: dict) -> BatchInferenceJob:
    """Structure an item."""
    return CODEC.structure(item, BatchInferenceJob, required=("name", "state"))


def test_the_mask_has_the_name_and_what_the_server_changes():
    """In the wire's names."""
    assert MASK == (
        "name,state,status,jobProgress,lifecycle,waitingOnCapacity,updateTime,expireTime,"
        "outputDatasetId,placement"
    )


def test_members_outside_the_mask_are_kept_though_the_answer_shows_them_empty():
    """The gateway emits unpopulated fields."""
    masked = {
        "name": NAME,
        "state": "JOB_STATE_COMPLETED",
        "displayName": "",
        "createTime": None,
        "model": "",
        "inferenceParameters": None,
        "jobProgress": {"percent": 100},
    }
    job = lay_over(read(WHOLE), read(masked))
    assert job == attrs.evolve(
        read(WHOLE),
        state=JobState.COMPLETED,
        status=None,
        job_progress=JobProgress(percent=100),
        lifecycle=None,
        waiting_on_capacity=False,
    )
    assert job.extra == {"newMember": 1}


def test_members_of_the_mask_are_taken_though_the_answer_leaves_them_out():
    """What is not there is empty: waitingOnCapacity false, no status."""
    job = lay_over(read(WHOLE), read({"name": NAME, "state": "JOB_STATE_RUNNING"}))
    assert not job.waiting_on_capacity
    assert job.status is None
    assert job.job_progress is None
    assert job.lifecycle is None
    assert job.model == "accounts/fireworks/models/demo-8b"


def test_the_whole_answer_laid_over_is_itself():
    """A server that ignores masks does no harm."""
    assert lay_over(read(WHOLE), read(WHOLE)) == read(WHOLE)
    assert read(WHOLE).lifecycle != Lifecycle()
    assert read(WHOLE).status == Status()


@pytest.mark.parametrize("key", MASK.split(",")[1:])
def test_the_print_differs_with_each_member_of_the_mask(key):
    """And an absent one is like a null one."""
    assert print_of(WHOLE) == print_of(dict(WHOLE))
    assert print_of({**WHOLE, key: "other"}) != print_of(WHOLE)
    without = {name: value for name, value in WHOLE.items() if name != key}
    assert print_of(without) == print_of({**without, key: None})


def test_the_print_does_not_see_the_rest():
    """A masked answer and a whole one have the same."""
    masked = {name: WHOLE[name] for name in MASK.split(",") if name in WHOLE}
    assert print_of(masked) == print_of(WHOLE)


def test_the_print_begins_with_name_and_state():
    """Which every job has; masks are given up where one is missing or empty."""
    assert print_of(WHOLE)[:2] == (NAME, "JOB_STATE_RUNNING")
    assert print_of({"name": NAME})[:2] == (NAME, None)


@pytest.mark.parametrize("item", [None, [], "name", 7])
def test_what_is_no_job_has_an_empty_print(item):
    """All of it is null."""
    assert set(print_of(item)) == {None}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("2026-09-15T09:00:00Z", "2026-09-15T09:00:00Z", False),
        ("2026-09-15T09:00:00Z", "2026-09-15T09:00:01.9Z", False),
        ("2026-09-15T09:00:00Z", "2026-09-15T09:02:00Z", True),
        ("2026-09-15T09:00:00Z", "2026-09-14T22:00:00Z", True),
        ("2026-09-15T09:00:00Z", None, False),
        (None, "2026-09-15T09:00:00Z", False),
    ],
)
def test_a_job_with_another_expiry_is_another_job(before, after, expected):
    """It was made anew under the same id; a server that does not tell the expiry proves nothing."""
    whole = read(WHOLE | {"expireTime": before})
    part = read({"name": NAME, "state": "JOB_STATE_RUNNING", "expireTime": after})
    assert is_another(whole, part) is expected
