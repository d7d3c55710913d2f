"""The calls about jobs, over HTTP."""

import re

import pytest

JOBS = "/v1/accounts/acme/batchInferenceJobs"
NAME = "accounts/acme/batchInferenceJobs/nightly"
ZEROS = {
    "percent": 0,
    "epoch": 0,
    "totalInputRequests": 0,
    "totalProcessedRequests": 0,
    "successfullyProcessedRequests": 0,
    "failedRequests": 0,
    "outputRows": 0,
    "inputTokens": 0,
    "outputTokens": 0,
    "cachedInputTokenCount": 0,
}


def refused(code: int, message: str) -> dict:
    """Give the gateway's error object."""
    return {"code": code, "message": message, "details": []}


async def names(bench, **query) -> list[str]:
    """List the ids on one page."""
    reply = await bench.api.get(JOBS, params=query)
    assert reply.status == 200, reply.body
    return [job["name"].rpartition("/")[2] for job in reply.json["batchInferenceJobs"]]


# Create


async def test_a_create_answer_is_whole(bench):
    """Every member is there: nine digits, null sub-messages, and what the server fills in."""
    bench.clock.advance(60.000111)
    reply = await bench.create(
        displayName="Nightly",
        outputDatasetId="accounts/acme/datasets/out",
        inferenceParameters={"maxTokens": 256, "temperature": 0.2},
        systemPrompt="Be brief.",
    )
    created = reply.json.pop("createTime")
    assert re.fullmatch(r"2026-09-14T09:01:00\.000111\d{3}Z", created)
    assert reply.json.pop("updateTime") == created
    assert reply.json.pop("expireTime") == created.replace("-14T", "-15T")
    assert (reply.status, reply.json) == (
        200,
        {
            "name": NAME,
            "displayName": "Nightly",
            "createdBy": "dev@acme.example",
            "state": "JOB_STATE_VALIDATING",
            "status": {"code": "OK", "message": ""},
            "model": "accounts/fireworks/models/demo-8b",
            "inputDatasetId": "accounts/acme/datasets/reviews",
            "outputDatasetId": "accounts/acme/datasets/out",
            "inferenceParameters": {"maxTokens": 256, "temperature": 0.2, "extraBody": "{}"},
            "precision": "BF16",
            "jobProgress": None,
            "lifecycle": None,
            "placement": None,
            "maxJobDuration": "86400s",
            "continuedFromJobName": "",
            "systemPrompt": "Be brief.",
            "waitingOnCapacity": False,
        },
    )


async def test_the_server_chooses_the_ids_that_are_not_given(bench):
    """A job id and an output dataset id are made up, by the rules for ids."""
    body = {"model": "accounts/a/models/m", "inputDatasetId": "accounts/acme/datasets/d"}
    job = (await bench.api.post(JOBS, json=body)).json
    assert re.fullmatch(r"accounts/acme/batchInferenceJobs/bij-[a-z0-9]{8}", job["name"])
    assert re.fullmatch(r"accounts/acme/datasets/bij-[a-z0-9]{8}", job["outputDatasetId"])
    assert (job["inferenceParameters"], job["displayName"]) == (None, "")


async def test_two_emulators_of_one_seed_make_up_the_same(make_bench):
    """The seed determines everything that is random; another one gives something else."""
    made = []
    for seed in (3, 3, 4):
        async with make_bench(seed=seed) as bench:
            made.append((await bench.create()).json["outputDatasetId"])
    assert made[0] == made[1] != made[2]


async def test_snake_case_is_accepted_too(bench):
    """Query and body may use proto names."""
    body = {"model": "accounts/a/models/m", "input_dataset_id": "accounts/acme/datasets/d"}
    reply = await bench.api.post(f"{JOBS}?batch_inference_job_id=nightly", json=body)
    assert (reply.json["name"], reply.json["inputDatasetId"]) == (NAME, body["input_dataset_id"])


@pytest.mark.parametrize(
    ("given", "shown", "expires"),
    [
        ("43200s", "43200s", "2026-09-14T21:00:00.000000Z"),
        ("1s", "43200s", "2026-09-14T21:00:00.000000Z"),
        ("999999s", "259200s", "2026-09-17T09:00:00.000000Z"),
        ("50000.5s", "50000.500s", "2026-09-14T22:53:20.500000Z"),
    ],
)
async def test_the_time_limit_is_bounded_and_shown(bench, given, shown, expires):
    """The duration comes back bounded, and the job expires then."""
    await bench.create(maxJobDuration=given)
    job = await bench.job()
    assert (job["maxJobDuration"], job["expireTime"]) == (shown, expires)


async def test_a_placement_that_was_asked_for_is_shown_later(bench):
    """Null in the create answer; then what was sent, filled up."""
    created = (await bench.create(placement={"multiRegion": "EUROPE"})).json
    bench.clock.advance(60)
    assert (created["placement"], (await bench.job())["placement"]) == (
        None,
        {"multiRegion": "EUROPE", "region": "REGION_UNSPECIFIED", "regions": []},
    )


@pytest.mark.parametrize("job_id", ["Nightly", "1st", "a" * 64, "end-", "a_b"])
async def test_a_bad_job_id_is_refused(bench, job_id):
    """Ids follow the documented rule."""
    reply = await bench.create(job_id)
    assert (reply.status, reply.json["code"]) == (400, 3)
    assert reply.json["message"].startswith(f"invalid batch_inference_job_id {job_id!r}: ")


@pytest.mark.parametrize(("position", "status"), [("409", 409), (400, 400)])
async def test_a_taken_job_id_is_refused(make_bench, position, status):
    """The second create of an id changes nothing."""
    async with make_bench(assume={"duplicate_job_status": position}) as bench:
        await bench.create(displayName="first")
        reply = await bench.create(displayName="second")
        assert (reply.status, reply.json) == (
            status,
            refused(6, "batch inference job 'nightly' already exists"),
        )
        assert (await bench.job())["displayName"] == "first"


async def test_an_unknown_member_is_refused(bench):
    """A misplaced member is named, and no job is made."""
    reply = await bench.create(maxTokens=3)
    assert (reply.status, reply.json["code"]) == (400, 3)
    assert reply.json["message"].endswith('unknown field "maxTokens"')
    assert await names(bench) == []


async def test_a_continuation_takes_model_and_input_from_its_source(bench):
    """Neither is needed when a job is continued."""
    await bench.create()
    body = {"continuedFromJobName": NAME}
    job = (await bench.api.post(f"{JOBS}?batchInferenceJobId=rest", json=body)).json
    assert (job["model"], job["inputDatasetId"], job["continuedFromJobName"]) == (
        "accounts/fireworks/models/demo-8b",
        "accounts/acme/datasets/reviews",
        NAME,
    )


@pytest.mark.parametrize(("position", "status"), [("must_exist", 404), ("unchecked", 200)])
async def test_a_continuation_of_nothing_is_a_choice(make_bench, position, status):
    """Whether the source must be there is not known."""
    async with make_bench(assume={"continuation_source": position}) as bench:
        reply = await bench.api.post(JOBS, json={"continuedFromJobName": NAME})
        assert reply.status == status


async def test_an_unset_duration_may_be_shown_as_null(make_bench):
    """With the assumption, only a duration that was sent is shown."""
    async with make_bench(assume={"unset_max_duration": "null"}) as bench:
        assert (await bench.create()).json["maxJobDuration"] is None
        other = await bench.create("other", maxJobDuration="50000s")
        assert other.json["maxJobDuration"] == "50000s"


# Get


async def test_a_job_goes_through_its_phases_in_emulated_time(bench):
    """The default flow, minute by minute."""
    await bench.create()
    seen = []
    for _ in range(10):
        seen.append((await bench.job())["state"].removeprefix("JOB_STATE_"))
        bench.clock.advance(60)
    assert seen == ["VALIDATING", "PENDING", "CREATING", *["RUNNING"] * 5, *["COMPLETED"] * 2]


async def test_sub_messages_are_null_until_the_first_tick(bench):
    """Then they are objects, with zeros and nulls in them."""
    await bench.create()
    bench.clock.advance(59.9)
    early = await bench.job()
    bench.clock.advance(0.1)
    job = await bench.job()
    assert (early["jobProgress"], early["lifecycle"], early["placement"]) == (None, None, None)
    assert (job["jobProgress"], job["lifecycle"], job["placement"]) == (
        ZEROS,
        {
            "validatedTime": "2026-09-14T09:01:00.000000Z",
            "runStartTime": None,
            "endTime": None,
        },
        {"multiRegion": "MULTI_REGION_UNSPECIFIED", "region": "REGION_UNSPECIFIED", "regions": []},
    )


async def test_without_ticks_the_same_happens_all_the_time(make_bench):
    """A tick of 0 shows phases and counters as they are."""
    async with make_bench(tick=0) as bench:
        bench.emulator.script_job(
            "nightly",
            phases=[
                {"state": "VALIDATING", "seconds": 5},
                {"state": "RUNNING", "seconds": 10},
                {"state": "COMPLETED"},
            ],
            rows=10,
        )
        seen = []
        for _ in range(5):
            job = await bench.job()
            rows = (job["jobProgress"] or {}).get("totalProcessedRequests")
            seen.append((job["state"].removeprefix("JOB_STATE_"), rows))
            bench.clock.advance(4)
        assert seen == [
            ("VALIDATING", None),
            ("VALIDATING", None),
            ("RUNNING", 3),
            ("RUNNING", 7),
            ("COMPLETED", 10),
        ]


async def test_reads_have_six_digits(bench):
    """Fractions are shorter in reads than in the create answer, and agree with it."""
    bench.clock.advance(0.25)
    created = (await bench.create()).json
    job = await bench.job()
    assert (len(created["createTime"]), job["createTime"]) == (30, created["createTime"][:26] + "Z")
    assert job["expireTime"] == "2026-09-15T09:00:00.250000Z"


async def test_counters_grow_through_running(bench):
    """They move at ticks only, the total is 0 at first, and they end at the script's rows."""
    bench.emulator.script_job(
        "nightly",
        phases=[{"state": "RUNNING", "seconds": 180}, {"state": "COMPLETED"}],
        rows=9,
        failed_rows=3,
    )
    seen = []
    for _ in range(8):
        progress = (await bench.job())["jobProgress"]
        seen.append(
            tuple(
                progress[name]
                for name in (
                    "totalInputRequests",
                    "successfullyProcessedRequests",
                    "failedRequests",
                    "percent",
                )
            )
        )
        bench.clock.advance(30)
    assert seen == [
        *[(0, 0, 0, 0)] * 2,
        *[(9, 2, 1, 33)] * 2,
        *[(9, 4, 2, 66)] * 2,
        *[(9, 6, 3, 100)] * 2,
    ]


async def test_the_update_time_moves_with_what_is_shown(bench):
    """At every tick while rows are processed, and not after the end."""
    await bench.create()
    seen = set()
    for _ in range(20):
        seen.add((await bench.job())["updateTime"][14:19])
        bench.clock.advance(60)
    assert sorted(seen) == [f"{minute:02d}:00" for minute in range(9)]


async def test_a_failed_job_tells_why(bench):
    """The status given is shown from the failure on, with zero progress if it never ran."""
    bench.emulator.script_job(
        "nightly",
        phases=["VALIDATING", "FAILED"],
        status={"code": "INVALID_ARGUMENT", "message": "no such role"},
    )
    before = await bench.job()
    bench.clock.advance(60)
    job = await bench.job()
    assert before["status"] == {"code": "OK", "message": ""}
    assert (job["state"], job["status"], job["jobProgress"]) == (
        "JOB_STATE_FAILED",
        {"code": "INVALID_ARGUMENT", "message": "no such role"},
        ZEROS,
    )
    assert job["lifecycle"] == {
        "validatedTime": None,
        "runStartTime": None,
        "endTime": "2026-09-14T09:01:00.000000Z",
    }


@pytest.mark.parametrize(
    ("first", "code"), [("VALIDATING", "INVALID_ARGUMENT"), ("RUNNING", "INTERNAL")]
)
async def test_a_failure_has_a_status_of_its_own(bench, first, code):
    """Without one given, a failed validation blames the input, a failed run itself."""
    bench.emulator.script_job("nightly", phases=[first, "FAILED"])
    bench.clock.advance(60)
    assert (await bench.job())["status"]["code"] == code


async def test_a_job_whose_time_limit_passes_expires_with_what_it_has(bench):
    """EXPIRED with partial counters, an end time, and a status that says so."""
    bench.emulator.script_job(
        "nightly", phases=[{"state": "RUNNING", "seconds": 1200}], rows=10, time_limit_seconds=290
    )
    bench.clock.advance(299)
    assert (await bench.job())["state"] == "JOB_STATE_RUNNING"
    bench.clock.advance(1)
    job = await bench.job()
    assert (job["state"], job["status"]["code"]) == ("JOB_STATE_EXPIRED", "DEADLINE_EXCEEDED")
    assert job["jobProgress"]["totalProcessedRequests"] == 2
    assert job["jobProgress"]["totalInputRequests"] == 10
    assert job["lifecycle"]["endTime"] == "2026-09-14T09:05:00.000000Z"
    assert job["expireTime"] == "2026-09-14T09:04:50.000000Z"


async def test_any_state_may_be_scripted(bench):
    """An invented state travels with the wire's prefix, waiting or not."""
    bench.emulator.script_job(
        "nightly", phases=[{"state": "FROBNICATING", "waiting_on_capacity": True}]
    )
    job = await bench.job()
    assert (job["state"], job["waitingOnCapacity"]) == ("JOB_STATE_FROBNICATING", True)


async def test_the_wire_may_be_overridden(bench):
    """Members laid over a job are shown, whether or not anybody knows them."""
    bench.emulator.script_job("nightly", fields={"displayName": "x", "brandNew": {"a": 1}})
    job = await bench.job()
    assert (job["displayName"], job["brandNew"]) == ("x", {"a": 1})


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("populated_only", {"state": "JOB_STATE_VALIDATING", "jobProgress": None}),
        ("emit_unpopulated", None),
    ],
)
async def test_a_masked_answer(make_bench, position, expected):
    """The mask's members are true, the others are empty or missing."""
    async with make_bench(assume={"masked_answer": position}) as bench:
        await bench.create()
        job = await bench.job(readMask="state,jobProgress.percent")
        assert expected is None or job == expected
        assert job["state"] == "JOB_STATE_VALIDATING"
        assert not job.get("name")
        assert len(job) in {2, 20}


@pytest.mark.parametrize("query", [{"readMask": "nope"}, {"read_mask": "state,nope"}])
async def test_an_unknown_mask_field_is_refused(bench, query):
    """Whichever way the mask is spelled, for one job and for a list."""
    await bench.create()
    for path in (f"{JOBS}/nightly", JOBS):
        reply = await bench.api.get(path, params=query)
        assert (reply.status, reply.json) == (400, refused(3, "invalid read mask path: 'nope'"))


@pytest.mark.parametrize(("position", "status"), [("refuse", 400), ("ignore", 200)])
async def test_masks_may_be_refused_or_ignored(make_bench, position, status):
    """A mask that is not supported is an error, or has no effect."""
    async with make_bench(assume={"mask_support": position}) as bench:
        await bench.create()
        reply = await bench.api.get(f"{JOBS}/nightly?readMask=state")
        assert reply.status == status
        assert status == 400 or reply.json["name"] == NAME
        assert (await bench.job(readMask="*"))["name"] == NAME


@pytest.mark.parametrize(
    ("position", "message"),
    [("400", "invalid batch inference job id 'A'"), ("404", "resource not found")],
)
async def test_reading_an_id_that_no_job_can_have(make_bench, position, message):
    """An impossible id is a bad argument, or just not there."""
    async with make_bench(assume={"malformed_id_on_read": position}) as bench:
        reply = await bench.api.get(f"{JOBS}/A")
        assert (str(reply.status), reply.json["message"]) == (position, message)


async def test_a_job_that_is_not_there(bench):
    """Neither GET nor DELETE finds it."""
    for method in ("GET", "DELETE"):
        reply = await bench.api.send(method, f"{JOBS}/nightly")
        assert (reply.status, reply.json) == (404, refused(5, "resource not found"))


# Delete


async def test_a_deleted_job_cleans_up_and_is_gone(bench):
    """DELETE answers {}, GET shows the cleaning for a while, then 404; the id is free again."""
    await bench.create()
    bench.clock.advance(70)
    reply = await bench.api.delete(f"{JOBS}/nightly")
    assert (reply.status, reply.json) == (200, {})
    assert (await bench.job())["state"] == "JOB_STATE_DELETING_CLEANING_UP"
    assert (await bench.create()).status == 409
    bench.clock.advance(109)
    assert (await bench.job())["state"] == "JOB_STATE_DELETING_CLEANING_UP"
    assert await names(bench) == ["nightly"]
    bench.clock.advance(1)
    assert (await bench.api.get(f"{JOBS}/nightly")).status == 404
    assert (await bench.api.delete(f"{JOBS}/nightly")).status == 404
    assert await names(bench) == []
    assert (await bench.create()).status == 200
    assert await names(bench) == ["nightly"]


async def test_a_deletion_shows_at_once(bench):
    """No tick is waited for, and what was shown a moment ago does not stick."""
    await bench.create()
    assert (await bench.job())["state"] == "JOB_STATE_VALIDATING"
    await bench.api.delete(f"{JOBS}/nightly")
    assert (await bench.job())["state"] == "JOB_STATE_DELETING_CLEANING_UP"


async def test_an_id_that_is_taken_again_at_once_stays(bench):
    """A new job under the id of a deleted one is not swept away with it."""
    await bench.create()
    await bench.api.delete(f"{JOBS}/nightly")
    bench.clock.advance(60)
    await bench.create(displayName="second")
    assert await names(bench) == ["nightly"]
    assert (await bench.job())["displayName"] == "second"


async def test_the_id_of_a_deleted_job_may_stay_reserved(make_bench):
    """Then GET answers 404, lists do not show the job, and the id stays taken until a reset."""
    async with make_bench(assume={"deleted_job": "reserved"}) as bench:
        await bench.create()
        await bench.api.delete(f"{JOBS}/nightly")
        bench.clock.advance(60)
        assert (await bench.api.get(f"{JOBS}/nightly")).status == 404
        assert await names(bench) == []
        assert (await bench.create()).status == 409
        assert (await bench.create("other")).status == 200
        bench.emulator.reset()
        assert (await bench.create()).status == 200


async def test_the_id_that_a_client_asks_for_may_be_ignored(make_bench):
    """Each creation makes a job under another id; a malformed id is refused all the same."""
    async with make_bench(assume={"requested_job_id": "ignored"}) as bench:
        first, second = (await bench.create()).json["name"], (await bench.create()).json["name"]
        assert len({first, second, f"{JOBS[4:]}/nightly"}) == 3
        assert (await bench.api.get(f"/v1/{first}")).status == 200
        assert (await bench.api.get(f"{JOBS}/nightly")).status == 404
        assert (await bench.create("Not-an-id")).status == 400


@pytest.mark.parametrize(
    ("position", "state"), [("tombstone", "JOB_STATE_DELETED"), ("archived", "JOB_STATE_ARCHIVED")]
)
async def test_a_deleted_job_may_leave_a_tombstone(make_bench, position, state):
    """Then GET shows DELETED or ARCHIVED, lists do not, and the id stays taken."""
    async with make_bench(assume={"deleted_job": position}) as bench:
        await bench.create()
        await bench.api.delete(f"{JOBS}/nightly")
        bench.clock.advance(60)
        assert (await bench.job())["state"] == state
        assert await names(bench) == []
        assert (await bench.create()).status == 409
        assert (await bench.api.delete(f"{JOBS}/nightly")).status == 404


@pytest.mark.parametrize(("position", "status"), [("accept", 200), ("not_found", 404)])
async def test_deleting_twice_is_a_choice(make_bench, position, status):
    """A second DELETE during the clean-up is accepted or finds nothing; nothing changes."""
    async with make_bench(assume={"repeated_delete": position}) as bench:
        await bench.create()
        await bench.api.delete(f"{JOBS}/nightly")
        bench.clock.advance(59)
        assert (await bench.api.delete(f"{JOBS}/nightly")).status == status
        bench.clock.advance(1)
        assert (await bench.api.get(f"{JOBS}/nightly")).status == 404


# List


async def fill(bench, count: int) -> None:
    """Make jobs j00, j01 and so on, a second apart."""
    for number in range(count):
        bench.emulator.script_job(f"j{number:02d}", phases=["RUNNING", "COMPLETED"])
        bench.clock.advance(1)


async def test_a_list_is_an_array_with_a_total(bench):
    """Whole jobs, an empty token at the end, and how many there are."""
    await fill(bench, 2)
    reply = await bench.api.get(JOBS)
    assert (reply.json["nextPageToken"], reply.json["totalSize"]) == ("", 2)
    assert reply.json["batchInferenceJobs"] == [await bench.job("j00"), await bench.job("j01")]


async def test_an_empty_list(bench):
    """No jobs is an empty array."""
    reply = await bench.api.get(JOBS)
    assert reply.json == {"batchInferenceJobs": [], "nextPageToken": "", "totalSize": 0}


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"orderBy": "create_time desc"},
        {"orderBy": "name"},
        {"orderBy": "state, name desc"},
        {"filter": 'state="JOB_STATE_RUNNING"'},
        {"readMask": "name"},
    ],
)
async def test_pages_add_up_to_the_list(bench, query):
    """All pages together are the list, in its order, each job once."""
    await fill(bench, 7)
    whole = await names(bench, **query)
    paged, token = [], ""
    for page in range(4):
        reply = await bench.api.get(JOBS, params=query | {"pageSize": "2", "pageToken": token})
        assert reply.json["totalSize"] == 7
        assert len(reply.json["batchInferenceJobs"]) == (2 if page < 3 else 1)
        paged += [job["name"].rpartition("/")[2] for job in reply.json["batchInferenceJobs"]]
        token = reply.json["nextPageToken"]
    assert (paged, token) == (whole, "")
    assert sorted(paged) == [f"j{number:02d}" for number in range(7)]


async def test_a_full_last_page_is_the_last(bench):
    """A page that takes the last job has no token, even if it is full."""
    await fill(bench, 4)
    for order in ("", "create_time desc", "name"):
        reply = await bench.api.get(JOBS, params={"pageSize": "4", "orderBy": order})
        assert reply.json["nextPageToken"] == ""


async def test_a_page_is_50_jobs_by_default_and_200_at_most(bench):
    """Documented: the default, and that larger sizes are coerced."""
    for number in range(210):
        bench.emulator.script_job(f"j{number}")
    assert len(await names(bench)) == 50
    assert len(await names(bench, pageSize="1000")) == 200


async def test_jobs_made_or_deleted_meanwhile_do_not_disturb_the_pages(bench):
    """In order of creation, no job comes twice or is left out."""
    await fill(bench, 4)
    first = await bench.api.get(JOBS, params={"pageSize": "2"})
    await bench.api.delete(f"{JOBS}/j00")
    bench.clock.advance(200)
    bench.emulator.script_job("new")
    token = first.json["nextPageToken"]
    second = await bench.api.get(JOBS, params={"pageSize": "2", "pageToken": token})
    assert [job["name"][-3:] for job in second.json["batchInferenceJobs"]] == ["j02", "j03"]
    token = second.json["nextPageToken"]
    assert await names(bench, pageSize="2", pageToken=token) == ["new"]


async def test_a_token_of_another_account_is_refused(make_bench):
    """A token holds for the account whose jobs were listed."""
    async with make_bench(accounts=["acme", "globex"]) as bench:
        await fill(bench, 4)
        query = {"pageSize": "2"}
        token = (await bench.api.get(JOBS, params=query)).json["nextPageToken"]
        other = JOBS.replace("acme", "globex")
        reply = await bench.api.get(other, params=query | {"pageToken": token})
        message = "invalid page token: it belongs to other list parameters"
        assert (reply.status, reply.json) == (400, refused(3, message))


@pytest.mark.parametrize(
    "change",
    [{"pageSize": "3"}, {"filter": "model=m"}, {"orderBy": "name"}, {"readMask": "name"}],
)
async def test_a_token_with_changed_parameters_is_refused(bench, change):
    """All other parameters must be those of the call that gave the token."""
    await fill(bench, 4)
    query = {"pageSize": "2"}
    token = (await bench.api.get(JOBS, params=query)).json["nextPageToken"]
    reply = await bench.api.get(JOBS, params=query | {"pageToken": token} | change)
    message = "invalid page token: it belongs to other list parameters"
    assert (reply.status, reply.json) == (400, refused(3, message))


async def test_a_token_from_before_a_reset_is_stale(bench):
    """A reset forgets the tokens that were given."""
    await fill(bench, 4)
    token = (await bench.api.get(f"{JOBS}?pageSize=2")).json["nextPageToken"]
    bench.emulator.reset()
    await fill(bench, 4)
    reply = await bench.api.get(JOBS, params={"pageSize": "2", "pageToken": token})
    assert reply.status == 400


async def test_tokens_may_expire(make_bench):
    """With the assumption, a token of more than an hour is refused."""
    async with make_bench(assume={"page_tokens": "expiring"}) as bench:
        await fill(bench, 4)
        token = (await bench.api.get(f"{JOBS}?pageSize=2")).json["nextPageToken"]
        query = {"pageSize": "2", "pageToken": token}
        assert (await bench.api.get(JOBS, params=query)).status == 200
        bench.clock.advance(3601)
        reply = await bench.api.get(JOBS, params=query)
        assert reply.json == refused(3, "invalid page token: it has expired")


async def test_the_last_token_may_be_omitted(make_bench):
    """Both ways to end a list are documented."""
    async with make_bench(assume={"end_of_pages": "no_token"}) as bench:
        assert "nextPageToken" not in (await bench.api.get(JOBS)).json


@pytest.mark.parametrize(
    ("position", "expected"),
    [("oldest_first", ["j00", "j01", "j02"]), ("newest_first", ["j02", "j01", "j00"])],
)
async def test_the_order_without_order_by_is_a_choice(make_bench, position, expected):
    """Also for pages; an explicit order is the same in both."""
    async with make_bench(assume={"default_order": position}) as bench:
        await fill(bench, 3)
        token = (await bench.api.get(f"{JOBS}?pageSize=2")).json["nextPageToken"]
        rest = await names(bench, pageSize="2", pageToken=token)
        assert (await names(bench), rest) == (expected, expected[2:])
        assert await names(bench, orderBy="created_time") == ["j00", "j01", "j02"]


async def test_jobs_of_one_instant_are_ordered_by_the_next_field(bench):
    """Equal creation times leave the decision to the second term."""
    for job_id in ("b", "c", "a"):
        bench.emulator.script_job(job_id)
    assert await names(bench, orderBy="created_time, name desc") == ["c", "b", "a"]


async def test_a_filter_selects_by_what_a_job_shows_now(bench):
    """States are compared as they are at the time of the call."""
    bench.emulator.script_job("a", phases=["RUNNING", "COMPLETED"], fields={"displayName": "x"})
    bench.emulator.script_job("b", phases=["RUNNING"])
    running = 'state="JOB_STATE_RUNNING"'
    assert await names(bench, filter=running) == ["a", "b"]
    bench.clock.advance(60)
    assert await names(bench, filter=running) == ["b"]
    assert await names(bench, filter="state=JOB_STATE_COMPLETED AND display_name=x") == ["a"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"filter": "state!=x"}, "invalid filter: 'state!=x'"),
        ({"filter": "state=RUNNING"}, "invalid filter: 'RUNNING' is no value of state"),
        ({"filter": "stat=x"}, "invalid field: 'stat'"),
        ({"orderBy": "nope"}, "invalid field: 'nope'"),
        ({"order_by": "name up"}, "invalid order_by: 'name up'"),
        ({"pageSize": "x"}, "parsing field page_size: invalid int32 'x'"),
        ({"pageSize": "-1"}, "page_size must not be negative: -1"),
        ({"pageToken": "CAEQAhoE"}, "invalid page token: it belongs to other list parameters"),
    ],
)
async def test_a_list_call_that_makes_no_sense_is_refused(bench, query, message):
    """Each parameter is checked, in either spelling."""
    reply = await bench.api.get(JOBS, params=query)
    assert (reply.status, reply.json) == (400, refused(3, message))


async def test_a_filter_may_name_bare_states(make_bench):
    """With the assumption, the prefix may be left out."""
    async with make_bench(assume={"filter_state_names": "both"}) as bench:
        await fill(bench, 1)
        assert await names(bench, filter="state=RUNNING") == ["j00"]


async def test_filters_may_be_refused(make_bench):
    """With the assumption, every filter is; an empty one is none."""
    async with make_bench(assume={"filter_support": "refuse"}) as bench:
        reply = await bench.api.get(f"{JOBS}?filter=model=m")
        assert reply.json == refused(3, "filtering is not supported")
        assert await names(bench, filter="") == []


async def test_lists_may_be_refused(make_bench):
    """With the assumption, jobs cannot be listed, only read."""
    async with make_bench(assume={"list_support": "refuse"}) as bench:
        await bench.create()
        reply = await bench.api.get(JOBS)
        assert (reply.status, reply.json) == (501, refused(12, "listing is not supported"))
        assert (await bench.job())["name"] == NAME
