"""How listings are asked for: orders proven by answers, refusals, masks. No loop."""

import attrs
import pytest

from fireworks_batch import BatchInferenceJob, JobProgress, JobState, Lifecycle, Status
from fireworks_batch.models.errors import AuthenticationError, BadRequestError
from fireworks_batch.polling.approach import (
    MASK,
    ORDER,
    Approach,
    Verdict,
    is_another,
    is_newest_first,
    lay_over,
    print_of,
)
from fireworks_batch.wire.codec import Codec

NEWEST = ["2026-09-14T09:00:02Z", "2026-09-14T09:00:01.000001Z", "2026-09-14T09:00:01Z"]
OLDEST = NEWEST[::-1]


def refusal(status: int, *, from_api: bool = True) -> BadRequestError:
    """A page that was refused."""
    return BadRequestError("no", status=status, from_api=from_api)


def refuse(approach: Approach, status: int, *, is_whole: bool = True, **options) -> Verdict:
    """Refuse a first page."""
    from_api = options.pop("from_api", True)
    query = approach.query(is_whole=is_whole)
    return approach.on_refusal(
        refusal(status, from_api=from_api), query, **{"is_first": True, **options}
    )


def settled() -> Approach:
    """An approach that works."""
    approach = Approach()
    approach.on_page(NEWEST)
    return approach


# --- The order ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        (NEWEST, True),
        (OLDEST, False),
        ([NEWEST[0], NEWEST[2], NEWEST[1]], False),
        ([NEWEST[0], NEWEST[0], NEWEST[1]], True),
        ([NEWEST[0], NEWEST[0]], None),
        ([NEWEST[0]], None),
        ([], None),
        ([None, 7, "today", "2026-09-14T09:00:02", NEWEST[0]], None),
        (["2026-09-14T11:00:00+02:00", "2026-09-14T08:59:59Z"], True),
        (["2026-09-14T09:00:00.123456789Z", "2026-09-14T09:00:00.1Z"], True),
    ],
)
def test_answers_prove_their_order(times, verdict):
    """Times that go down, ever so slowly, and never up."""
    assert is_newest_first(times) is verdict


def test_a_proven_order_is_kept():
    """Nothing that a later page shows brings another."""
    approach = settled()
    assert approach.is_settled
    assert not approach.on_page(OLDEST)
    assert approach.query(is_whole=True).order_by == "create_time desc"


def test_a_disproved_order_gives_way_to_the_servers_own():
    """Which is kept whatever it is."""
    approach = Approach()
    tried = []
    for _ in range(3):
        tried.append(approach.query(is_whole=True).order_by)
        approach.on_page(OLDEST)
    assert tried == [ORDER, "", ""]
    assert approach.is_settled


def test_a_page_that_tells_nothing_settles_nothing():
    """One job has no order; the next page may."""
    approach = Approach()
    assert not approach.on_page(NEWEST[:1])
    assert not approach.is_settled
    assert approach.query(is_whole=False).read_mask == ""


def test_a_refused_order_gives_way_to_the_servers_own():
    """400 to the first page means that the server does not know the field."""
    approach = Approach()
    assert refuse(approach, 400) is Verdict.AGAIN
    assert approach.query(is_whole=True).order_by == ""
    assert refuse(approach, 400) is Verdict.OFF
    assert approach.is_off


def test_a_refusal_after_a_disproved_order_must_come_twice():
    """A page was good before."""
    approach = Approach()
    assert approach.on_page(OLDEST)
    assert refuse(approach, 400) is Verdict.FAILED
    assert refuse(approach, 400) is Verdict.OFF


# --- Refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_a_refused_listing_is_off_for_good(status):
    """At once, if none has ever worked."""
    approach = Approach()
    assert refuse(approach, status) is Verdict.OFF
    assert approach.is_off


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_after_a_good_page_a_refusal_must_come_twice(status):
    """Once is a hiccup, as for a job; a good page between two of them forgives."""
    approach = settled()
    assert refuse(approach, status) is Verdict.FAILED
    approach.on_page(NEWEST)
    assert refuse(approach, status) is Verdict.FAILED
    assert not approach.is_off
    assert refuse(approach, status) is Verdict.OFF


@pytest.mark.parametrize("status", [401, 402, 408, 409, 412, 429, 500, 503])
def test_what_is_no_refusal_of_listings_turns_nothing_off(status):
    """It says something of the key, the account, or the moment."""
    approach = Approach()
    for _ in range(3):
        assert refuse(approach, status) is Verdict.FAILED
    assert not approach.is_off


@pytest.mark.parametrize("approach", [Approach(), settled()])
def test_a_refused_key_turns_nothing_off(approach):
    """Keys rotate: the next one may list."""
    error = AuthenticationError("bad key", status=403, code="UNAUTHORIZED", from_api=True)
    for _ in range(3):
        query = approach.query(is_whole=False)
        assert approach.on_refusal(error, query, is_first=True) is Verdict.FAILED
    assert not approach.is_off


def test_a_proxy_cannot_turn_listings_off():
    """Its 403 is not the API's; 405 and 501 are refusals in any words."""
    approach = Approach()
    assert refuse(approach, 403, from_api=False) is Verdict.FAILED
    assert refuse(approach, 405, from_api=False) is Verdict.OFF


def test_a_refused_later_page_turns_nothing_off():
    """Its token may have expired."""
    approach = settled()
    for _ in range(3):
        assert refuse(approach, 400, is_first=False) is Verdict.FAILED
    assert not approach.is_off
    assert approach.has_masks


# --- Masks ----------------------------------------------------------------------------------


def test_a_mask_is_asked_for_when_the_order_is_settled():
    """And whole jobs are not needed."""
    assert Approach().query(is_whole=False).read_mask == ""
    assert settled().query(is_whole=False).read_mask == MASK
    assert settled().query(is_whole=True).read_mask == ""


def test_a_refused_mask_is_never_asked_for_again():
    """400 to a masked page is about the mask, and begins the listing anew without one."""
    approach = settled()
    assert refuse(approach, 400, is_whole=False) is Verdict.AGAIN
    assert not approach.has_masks
    assert approach.query(is_whole=False).read_mask == ""
    assert not approach.is_off


# --- Masked answers ----------------------------------------------------------------------------


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


def test_the_print_does_not_see_other_members():
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
