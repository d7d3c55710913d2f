"""One whole life of a job by plain HTTP, and once more for each other position of each switch.

What a switch changes is asserted here for its positions; everything else is as always.
"""

import json
import typing
import zlib

import aiohttp
import attrs
import pytest

from fireworks_batch.emulator import Assumptions, RowFailureError

ACCOUNT = "/v1/accounts/acme"
JOBS = f"{ACCOUNT}/batchInferenceJobs"
DATASETS = f"{ACCOUNT}/datasets"
MODEL = "accounts/fireworks/models/demo-8b"
DAY = "86400s"
HELLO = [{"role": "user", "content": "hello"}]

_APART = {"requested_job_id", "zero_data_retention"}


def other_positions():
    """Give every switch in every position that is not the default.

    Lives in which jobs have other ids than asked for, and in which there can be none, have tests of
    their own, with the jobs and below.
    """
    hints = typing.get_type_hints(Assumptions)
    for field in attrs.fields(Assumptions):
        for position in typing.get_args(hints[field.name]):
            if position != field.default and field.name not in _APART:
                yield pytest.param({field.name: position}, id=f"{field.name}={position}")


def row(custom_id, *, top=(), **body):
    """Write a row."""
    members = {"custom_id": custom_id, "body": {"messages": HELLO} | body} | dict(top)
    return json.dumps(members).encode() + b"\n"


def respond(custom_id, body):
    """Answer a row with its temperature; some rows fail."""
    if custom_id.startswith("bad"):
        return RowFailureError("no")
    return str(body.get("temperature"))


class Life:
    """A client of an emulator with some assumptions."""

    def __init__(self, bench, rules):
        self.bench = bench
        self.rules = rules
        self.api = bench.api

    async def ready_dataset(self, dataset_id, content):
        """Create a dataset and upload its rows in a form."""
        body = {"datasetId": dataset_id, "dataset": {"exampleCount": "4"}}
        await self.expect(self.api.post(DATASETS, json=body), 200)
        await self.expect(self.upload(dataset_id, content), 200)
        self.bench.clock.advance(1)

    async def upload(self, dataset_id, content):
        form = aiohttp.FormData()
        form.add_field("file", content, filename="input.jsonl")
        return await self.api.post(f"{DATASETS}/{dataset_id}:upload", data=form)

    async def expect(self, call, status):
        """Give the JSON of an answer of this status."""
        reply = await call
        assert reply.status == int(status), reply.body
        return reply.json

    async def create(self, job_id, **members):
        self.bench.clock.advance(1)
        query = {"batchInferenceJobId": job_id}
        body = {"model": MODEL, "inputDatasetId": f"{DATASETS[4:]}/reviews"} | members
        return await self.api.post(JOBS, params=query, json=body)

    async def over(self, job_id):
        """Wait until a job is over."""
        self.bench.clock.advance(1000)
        return await self.expect(self.api.get(f"{JOBS}/{job_id}"), 200)

    async def run(self, job_id, content):
        """Run a job on these rows."""
        await self.ready_dataset(job_id, content)
        name = f"{DATASETS[4:]}/{job_id}"
        await self.expect(self.create(job_id, inputDatasetId=name), 200)
        return await self.over(job_id)

    def progress(self, job):
        """Give the counters of a job that has ended; zeros if it shows none."""
        progress = job["jobProgress"]
        assert (progress is None) == (self.rules.ended_counters == "null")
        return progress or {"totalInputRequests": 4, "outputRows": 0, "failedRequests": 0}

    def counted(self, *numbers):
        """Give what counters of these numbers show."""
        factors = {"right": 1, "null": 0, "zero": 0, "stale": 0.5, "cumulative": 2}
        return [int(number * factors[self.rules.ended_counters]) for number in numbers]

    async def files(self, name, **query):
        """Give the contents of a dataset's files, by the name that the answer has."""
        path = f"/v1/{name}:getDownloadEndpoint"
        answer = await self.expect(self.api.get(path, params=query), 200)
        async with aiohttp.ClientSession() as session:
            found = {}
            for key, url in answer["filenameToSignedUrls"].items():
                async with session.get(url) as response:
                    found[key] = await response.read()
        return found

    async def output(self, job):
        """Give the results and the errors of a job, by id."""
        found = {}
        for key, content in (await self.files(job["outputDatasetId"])).items():
            rows = [json.loads(line) for line in content.splitlines()]
            name = "error" if "error" in key else "response"
            found[name] = {row["custom_id"]: row[name] for row in rows}
        return found["response"], found.get("error", {})


@pytest.fixture(params=[pytest.param({}, id="defaults"), *other_positions()])
async def life(request, make_bench):
    """A life under the defaults, or with one switch in another position."""
    assume = {"input_dataset": "must_be_ready"} | request.param
    async with make_bench(assume=assume, responder=respond) as bench:
        yield Life(bench, Assumptions(**assume))


@pytest.mark.once
async def test_a_whole_life(life):
    """From the key to the end of everything, in this order."""
    await check_the_account(life)
    await check_datasets(life)
    await check_creation(life)
    await check_listing(life)
    await check_results(life)
    await check_storage(life)
    await check_rows(life)
    await check_ends(life)
    await check_continuation(life)
    await check_deletion(life)


async def check_the_account(life):
    """Keys, accounts, methods and ids that are refused."""
    api, rules = life.api, life.rules
    wrong = {"Authorization": "Bearer x"}
    await life.expect(api.get("/v1/accounts", headers=wrong), rules.bad_key_status)
    await life.expect(api.get("/v1/accounts/globex/datasets"), rules.foreign_account)
    await life.expect(api.send("PUT", JOBS), rules.wrong_method_status)
    await life.expect(api.get(f"{JOBS}/Not%20an%20id"), rules.malformed_id_on_read)
    assert (await life.expect(api.get("/v1/accounts"), 200))["totalSize"] == 1


async def check_datasets(life):
    """Datasets that wait, are taken, are full, are too early for a job."""
    api, rules = life.api, life.rules
    body = {"datasetId": "reviews", "dataset": {"exampleCount": "4"}}
    await life.expect(api.post(DATASETS, json=body), 200)
    await life.expect(api.post(DATASETS, json=body), rules.duplicate_dataset_status)
    named = {"datasetId": "named", "dataset": {"exampleCount": "1", "displayName": "x"}}
    is_named = rules.dataset_display_name == "accept"
    await life.expect(api.post(DATASETS, json=named), 200 if is_named else 400)
    path = f"{DATASETS}/reviews:getDownloadEndpoint"
    await life.expect(api.get(path), rules.unready_download_status)
    is_checked = rules.input_dataset == "must_be_ready"
    await life.expect(life.create("too-early"), 400 if is_checked else 200)
    missing = {"inputDatasetId": "accounts/acme/datasets/missing"}
    status = rules.missing_input_status if is_checked else 200
    await life.expect(life.create("missing", **missing), status)
    content = row("a") + row("b", temperature=0.5) + row("bad") + row("c")
    await life.expect(life.upload("reviews", content), 200)
    await life.expect(life.upload("reviews", content), rules.reupload_status)
    life.bench.clock.advance(1)
    await life.expect(life.api.delete(f"{DATASETS}/named"), 200 if is_named else 404)


async def check_creation(life):
    """What a create may say, and what comes of it."""
    rules = life.rules
    members = {"inferenceParameters": {"temperature": 1}}
    await life.expect(life.create("nightly", **members), 200)
    await life.expect(life.create("nightly", **members), rules.duplicate_job_status)
    status = 200 if rules.bare_ids == "accept" else 400
    await life.expect(life.create("bare", inputDatasetId="reviews"), status)
    status = 200 if rules.invalid_extra_body == "accept" else 400
    odd = {"inferenceParameters": {"extraBody": "odd"}}
    await life.expect(life.create("odd", **odd), status)
    router = {"model": "accounts/fireworks/routers/fast"}
    status = 404 if rules.router_model == "refuse" else 200
    await life.expect(life.create("router", **router), status)
    output = {"outputDatasetId": f"{DATASETS[4:]}/reviews"}
    await life.expect(life.create("output", **output), rules.existing_output_status)
    if rules.max_duration_out_of_range == "clamp":
        long = await life.expect(life.create("long", maxJobDuration="999999s"), 200)
        assert long["maxJobDuration"] == "259200s"
    else:
        await life.expect(life.create("long", maxJobDuration="999999s"), 400)
    status = 200 if rules.duration_spelling == "units" else 400
    await life.expect(life.create("hours", maxJobDuration="24h"), status)
    status = 404 if rules.foreign_model == "refuse" else 200
    await life.expect(life.create("foreign", model="accounts/other/models/x"), status)
    job = await life.expect(life.api.get(f"{JOBS}/nightly"), 200)
    assert job["maxJobDuration"] == (DAY if rules.unset_max_duration == "filled" else None)
    await life.expect(life.api.post(f"{JOBS}/nightly:cancel"), rules.cancel_status)


async def check_listing(life):
    """Order, pages, filters, masks."""
    api, rules = life.api, life.rules
    if rules.list_support == "refuse":
        await life.expect(api.get(JOBS), 501)
        return
    jobs = (await life.expect(api.get(JOBS), 200))["batchInferenceJobs"]
    times = [job["createTime"] for job in jobs]
    assert times == sorted(times, reverse=rules.default_order == "newest_first")
    page = await life.expect(api.get(JOBS, params={"pageSize": "1"}), 200)
    query = {"pageSize": "1", "pageToken": page["nextPageToken"]}
    assert len((await life.expect(api.get(JOBS, params=query), 200))["batchInferenceJobs"]) == 1
    end = await life.expect(api.get(JOBS, params={"pageSize": "200"}), 200)
    assert end.get("nextPageToken", "none") == {"no_token": "none"}.get(rules.end_of_pages, "")
    for field in ("created_time", "create_time"):
        known = rules.order_field_names in {"both", field}
        await life.expect(api.get(JOBS, params={"orderBy": field}), 200 if known else 400)
    for state in ("JOB_STATE_VALIDATING", "VALIDATING"):
        known = state[:3] == "JOB" or rules.filter_state_names == "both"
        known &= rules.filter_support == "yes"
        await life.expect(api.get(JOBS, params={"filter": f"state={state}"}), 200 if known else 400)
    await check_masks(life)
    life.bench.clock.advance(3601)
    expired = rules.page_tokens == "expiring"
    await life.expect(api.get(JOBS, params=query), 400 if expired else 200)


async def check_masks(life):
    """What a read mask hides."""
    masked = life.api.get(f"{JOBS}/nightly", params={"readMask": "name"})
    if life.rules.mask_support == "refuse":
        await life.expect(masked, 400)
        return
    job = await life.expect(masked, 200)
    if life.rules.mask_support == "ignore":
        assert job["state"] == "JOB_STATE_VALIDATING"
    elif life.rules.masked_answer == "populated_only":
        assert job.keys() == {"name"}
    else:
        assert job["state"] == "JOB_STATE_UNSPECIFIED"


async def check_results(life):
    """The end of the job, its rows and errors, its output dataset."""
    rules = life.rules
    job = await life.over("nightly")
    assert job["state"] == f"JOB_STATE_{rules.some_rows_failed}"
    if rules.some_rows_failed == "FAILED" and rules.failed_job_output == "none":
        await life.expect(life.api.get(f"/v1/{job['outputDatasetId']}"), 404)
        return
    progress = life.progress(job)
    names = ("totalInputRequests", "outputRows", "failedRequests")
    assert [progress[name] for name in names] == [4, *life.counted(3, 1)]
    responses, errors = await life.output(job)
    if rules.response_shape == "wrapped":
        responses = {name: response["body"] for name, response in responses.items()}
    said = {name: r["choices"][0]["message"]["content"] for name, r in responses.items()}
    of_row = "0.5" if rules.parameter_precedence == "row" else "1"
    assert said == {"a": "1", "b": of_row, "c": "1"}
    is_kept = list(responses) == ["a", "b", "c"]
    assert is_kept == (rules.row_order == "kept")
    error = {
        "int_code": {"code": 400, "message": "no"},
        "string_code": {"code": "INVALID_ARGUMENT", "message": "no"},
        "no_code": {"message": "no"},
        "text": "no",
    }
    assert errors == {"bad": error[rules.error_shape]}
    output = await life.expect(life.api.get(f"/v1/{job['outputDatasetId']}"), 200)
    is_filled = rules.output_source_job == "filled"
    assert output["sourceJobName"] == (job["name"] if is_filled else "")
    count = {"succeeded": "3", "processed": "4", "zero": "0"}[rules.output_example_count]
    assert output["exampleCount"] == count


async def check_storage(life):
    """What a signed URL knows of ranges, compression and hashes."""
    rules = life.rules
    path = f"{DATASETS}/reviews:getDownloadEndpoint"
    answer = await life.expect(life.api.get(path), 200)
    (url,) = answer["filenameToSignedUrls"].values()
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        headers = {"Range": "bytes=5-", "Accept-Encoding": "identity"}
        async with session.get(url, headers=headers) as response:
            assert response.status == (206 if rules.signed_url_range == "yes" else 200)
            assert ("x-goog-hash" in response.headers) == (rules.signed_url_hash == "md5")
        async with session.get(url, headers={"Accept-Encoding": "gzip"}) as response:
            content = await response.read()
            if rules.signed_url_gzip == "accepted":
                content = zlib.decompress(content, wbits=31)
            assert content.startswith(b'{"custom_id": "a"')


async def check_rows(life):
    """Rows of all kinds, each in a job of its own."""
    rules = life.rules
    kinds = {
        "blank": (row("a") + b"\n" + row("b"), rules.blank_lines == "skip"),
        "twice": (row("a") + row("a"), rules.duplicate_ids == "accept"),
        "mark": (b"\xef\xbb\xbf" + row("a"), rules.byte_order_mark == "skip"),
        "open": (row("a").rstrip(), rules.last_newline == "optional"),
        "extras": (row("a", top={"url": "/x"}), rules.row_extras == "ignore"),
    }
    for name, (content, is_taken) in kinds.items():
        job = await life.run(f"kind-{name}", content)
        assert job["state"] == f"JOB_STATE_{'COMPLETED' if is_taken else 'FAILED'}", name
    job = await life.run("pirate", row("a") + row("b", messages=[{"role": "pirate"}]))
    line = 2 if rules.line_numbers == "right" else 1
    assert f" on input.jsonl:{line}: invalid role pirate " in job["status"]["message"]
    job = await life.run("model", row("a", model="other") + row("b"))
    assert [life.progress(job)["failedRequests"]] == life.counted(rules.row_model == "fail_row")
    job = await life.run("stream", row("a", stream=True) + row("b"))
    assert [life.progress(job)["failedRequests"]] == life.counted(rules.row_stream == "fail_row")
    job = await life.run("none", row("bad"))
    assert job["state"] == f"JOB_STATE_{rules.all_rows_failed}"
    job = await life.run("all", row("a"))
    names = {key.rpartition("/")[2] for key in await life.files(job["outputDatasetId"])}
    has_errors = rules.error_file == "always"
    assert names == {"BIJOutputSet.jsonl"} | ({"error-data"} if has_errors else set())


async def check_ends(life):
    """Jobs that end early, and one that never begins."""
    rules = life.rules
    await life.ready_dataset("four", b"".join(row(f"r{n}") for n in range(4)))
    running = ["VALIDATING", {"state": "RUNNING", "seconds": 240}]
    name = {"inputDatasetId": f"{DATASETS[4:]}/four"}
    for state in ("EXPIRED", "FAILED"):
        life.bench.emulator.script_jobs(f"end-{state.lower()}", phases=[*running, state])
        await life.expect(life.create(f"end-{state.lower()}", **name), 200)
        job = await life.over(f"end-{state.lower()}")
        assert job["state"] == f"JOB_STATE_{state}"
        assert [life.progress(job)["outputRows"]] == life.counted(2)
        is_kept = state == "EXPIRED" or rules.failed_job_output == "partial"
        await life.expect(life.api.get(f"/v1/{job['outputDatasetId']}"), 200 if is_kept else 404)
    life.bench.emulator.script_jobs("stuck", phases=["VALIDATING", "PENDING"])
    await life.expect(life.create("stuck", **name), 200)
    life.bench.clock.advance(90_000)
    state = {"expire": "EXPIRED", "stay": "PENDING"}[rules.pending_at_expiry]
    assert (await life.over("stuck"))["state"] == f"JOB_STATE_{state}"


async def check_continuation(life):
    """The rest of an expired job, and the whole chain."""
    rules = life.rules
    nowhere = {"continuedFromJobName": f"{JOBS[4:]}/nowhere"}
    is_checked = rules.continuation_source == "must_exist"
    await life.expect(life.create("lost", **nowhere), 404 if is_checked else 200)
    query = {"batchInferenceJobId": "rest"}
    body = {"continuedFromJobName": f"{JOBS[4:]}/end-expired"}
    await life.expect(life.api.post(JOBS, params=query, json=body), 200)
    job = await life.over("rest")
    assert job["state"] == "JOB_STATE_COMPLETED"
    assert [life.progress(job)["outputRows"]] == life.counted(2)
    first = (await life.over("end-expired"))["outputDatasetId"].rpartition("/")[2]
    second = job["outputDatasetId"].rpartition("/")[2]
    form = {"path": "dataset/{}/{}", "slash": "{}/{}", "underscore": "{}_{}"}[rules.lineage_keys]
    found = await life.files(job["outputDatasetId"], downloadLineage="true")
    results = {form.format(dataset, "BIJOutputSet.jsonl") for dataset in (first, second)}
    assert results == {key for key in found if "error" not in key}
    assert sum(len(content.splitlines()) for content in found.values()) == 4


async def check_deletion(life):
    """Datasets in use, and a job on its way out."""
    api, rules = life.api, life.rules
    await life.expect(life.create("last"), 200)
    is_free = rules.dataset_in_use == "delete"
    await life.expect(api.delete(f"{DATASETS}/reviews"), 200 if is_free else 400)
    job = await life.over("rest")
    await life.expect(api.delete(f"{JOBS}/rest"), 200)
    status = 200 if rules.repeated_delete == "accept" else 404
    await life.expect(api.delete(f"{JOBS}/rest"), status)
    leaving = await life.expect(api.get(f"{JOBS}/rest"), 200)
    assert leaving["state"] == "JOB_STATE_DELETING_CLEANING_UP"
    if rules.deletion_time == "at_once" and rules.deleted_job == "not_found":
        life.bench.clock.advance(60)
        await life.expect(api.get(f"{JOBS}/rest"), 404)
    life.bench.clock.advance(120)
    states = {"tombstone": "JOB_STATE_DELETED", "archived": "JOB_STATE_ARCHIVED"}
    if rules.deleted_job in states:
        tombstone = await life.expect(api.get(f"{JOBS}/rest"), 200)
        assert tombstone["state"] == states[rules.deleted_job]
    else:
        await life.expect(api.get(f"{JOBS}/rest"), 404)
    is_kept = rules.output_of_deleted_job == "kept"
    await life.expect(api.get(f"/v1/{job['outputDatasetId']}"), 200 if is_kept else 404)


# `retry_after` shows only to who asks too often, `upload_limit` only with a file of that size:
# that one is tested with the datasets.


@pytest.mark.parametrize("position", ["none", "seconds", "date"])
async def test_a_request_too_many_under_each_position(make_bench, position):
    """Whether it says when to come back."""
    async with make_bench(requests_per_minute=1, assume={"retry_after": position}) as bench:
        await bench.api.get(JOBS)
        reply = await bench.api.get(JOBS)
        assert (reply.status, "Retry-After" in reply.headers) == (429, position != "none")


@pytest.mark.parametrize(("position", "status"), [("all", 429), ("inference", 200)])
async def test_which_calls_are_limited_under_each_position(make_bench, position, status):
    """Nobody knows whether these are counted."""
    async with make_bench(requests_per_minute=1, assume={"limited_calls": position}) as bench:
        await bench.api.get(JOBS)
        assert (await bench.api.get(JOBS)).status == status


@pytest.mark.parametrize("position", ["DEADLINE_EXCEEDED", "OK"])
async def test_an_expired_job_under_each_position(make_bench, position):
    """What its status says."""
    async with make_bench(assume={"expired_status": position}) as bench:
        bench.emulator.script_job("late", phases=["EXPIRED"])
        assert (await bench.job("late"))["status"]["code"] == position


@pytest.mark.parametrize(("position", "code"), [("403", 7), ("400", 9)])
async def test_an_account_without_batch_jobs_under_each_position(make_bench, position, code):
    """With a zero-data-retention policy no job is made, and what is there can be read."""
    async with make_bench(assume={"zero_data_retention": position}) as bench:
        reply = await bench.create()
        assert (reply.status, reply.json["code"]) == (int(position), code)
        assert (await bench.api.get(JOBS)).json["totalSize"] == 0


@pytest.mark.parametrize(
    ("position", "state"), [("accept", "COMPLETED"), ("stay_pending", "PENDING")]
)
async def test_a_job_of_a_router_under_each_position(make_bench, position, state):
    """It runs, or waits for a model that can; another model is not concerned."""
    async with make_bench(assume={"router_model": position}) as bench:
        await bench.create("routed", model="accounts/fireworks/routers/fast")
        await bench.create("direct")
        bench.clock.advance(3600)
        assert (await bench.job("routed"))["state"] == f"JOB_STATE_{state}"
        assert (await bench.job("direct"))["state"] == "JOB_STATE_COMPLETED"
