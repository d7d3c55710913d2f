"""Jobs on real rows, over HTTP: validation, results, failures, ends, continuations."""

import asyncio
import json

import aiohttp
import pytest

from fireworks_batch.emulator import RowFailureError

JOBS = "/v1/accounts/acme/batchInferenceJobs"
DATASETS = "/v1/accounts/acme/datasets"
OUTPUT = "accounts/acme/datasets/out"
RUNNING = ["VALIDATING", {"state": "RUNNING", "seconds": 600}]


@pytest.fixture
def make_bench(make_bench):
    """Benches on which a job's input must be there."""

    def make(assume=(), **settings):
        return make_bench(assume={"input_dataset": "must_be_ready"} | dict(assume), **settings)

    return make


@pytest.fixture
async def bench(make_bench):
    """One of them, with default settings."""
    async with make_bench() as opened:
        yield opened


def rows(count, **body):
    """Write rows with ids r0, r1, ... whose text is their id."""
    return b"".join(
        json.dumps(
            {
                "custom_id": f"r{number}",
                "body": {"messages": [{"role": "user", "content": f"r{number}"}]} | body,
            }
        ).encode()
        + b"\n"
        for number in range(count)
    )


async def begin(bench, content=None, count=10, job_id="nightly", **members):
    """Create a job on a dataset with these rows."""
    content = rows(count) if content is None else content
    bench.emulator.add_dataset("reviews", files={"input.jsonl": content})
    reply = await bench.create(job_id, **{"outputDatasetId": OUTPUT} | members)
    assert reply.status == 200, reply.body
    return reply.json


async def files(bench, dataset="out", **query):
    """Give the rows of all files of a dataset, by key."""
    path = f"{DATASETS}/{dataset}:getDownloadEndpoint"
    reply = await bench.api.get(path, params=query)
    assert reply.status == 200, reply.body
    found = {}
    async with aiohttp.ClientSession() as session:
        for key, url in reply.json["filenameToSignedUrls"].items():
            async with session.get(url) as response:
                text = (await response.read()).decode()
                found[key] = [json.loads(line) for line in text.splitlines()]
    return found


async def output(bench, dataset="out"):
    """Give the ids in the results, and the errors by id."""
    found = await files(bench, dataset)
    results = [row["custom_id"] for row in found[f"dataset/{dataset}/BIJOutputSet.jsonl"]]
    errors = found.get(f"dataset/{dataset}/error-data", [])
    return results, {row["custom_id"]: row["error"] for row in errors}


def counts(job):
    """Give total, succeeded, failed, output rows and percent."""
    progress = job["jobProgress"]
    names = (
        "totalInputRequests",
        "successfullyProcessedRequests",
        "failedRequests",
        "outputRows",
        "percent",
    )
    return [progress[name] for name in names]


def failing(*ids, error=None):
    """Make a responder by which these rows fail."""

    def respond(custom_id, body):
        if custom_id in ids:
            raise error or RowFailureError("no")
        return custom_id.upper()

    return respond


# From rows to results


async def test_rows_are_answered_in_another_order(bench):
    """All of them, flat, by the echo; and an error file without bytes."""
    await begin(bench)
    bench.clock.advance(600)
    job = await bench.job()
    assert (job["state"], counts(job)) == ("JOB_STATE_COMPLETED", [10, 10, 0, 10, 100])
    found = await files(bench)
    assert found.keys() == {"dataset/out/BIJOutputSet.jsonl", "dataset/out/error-data"}
    assert found["dataset/out/error-data"] == []
    results = found["dataset/out/BIJOutputSet.jsonl"]
    ids = [row["custom_id"] for row in results]
    assert sorted(ids) == [f"r{number}" for number in range(10)] != ids
    for row in results:
        response = row.pop("response")
        assert row.keys() == {"custom_id"}
        assert response["choices"] == [
            {
                "index": 0,
                "message": {"role": "assistant", "content": row["custom_id"]},
                "finish_reason": "stop",
            }
        ]
        assert response["object"] == "chat.completion"
        assert response["created"] == 1789376400
        assert response["usage"]["total_tokens"] == 2


async def test_the_output_dataset_says_where_it_is_from(bench):
    """Its job, its rows, ready since the job's end; its name is the server's unless given."""
    created = await begin(bench, outputDatasetId="")
    bench.clock.advance(10_000)
    dataset = (await bench.api.get(f"/v1/{created['outputDatasetId']}")).json
    assert (dataset["state"], dataset["exampleCount"]) == ("READY", "10")
    assert dataset["sourceJobName"] == created["name"]
    assert dataset["createTime"] == (await bench.job())["lifecycle"]["endTime"]


async def test_the_output_is_there_when_the_job_is_over(bench):
    """Before, there is no such dataset; who never looks at the job finds it as well."""
    await begin(bench)
    for seconds, status in ((0, 404), (400, 404), (200, 200)):
        bench.clock.advance(seconds)
        assert (await bench.api.get(f"/v1/{OUTPUT}")).status == status
    names = [d["name"] for d in (await bench.api.get(DATASETS)).json["datasets"]]
    assert OUTPUT in names


async def test_progress_counts_the_rows_that_are_done(bench):
    """Tick by tick, and the total is what the dataset was said to have."""
    bench.emulator.add_dataset(
        "reviews", files={"a.jsonl": rows(10)}, fields={"exampleCount": "20"}
    )
    bench.emulator.script_jobs(phases=[*RUNNING, "COMPLETED"])
    await bench.create()
    seen = []
    for _ in range(12):
        bench.clock.advance(60)
        seen.append(counts(await bench.job()))
    assert seen[:3] == [[0, 0, 0, 0, 0], [20, 1, 0, 1, 5], [20, 2, 0, 2, 10]]
    assert seen[-1] == [20, 10, 0, 10, 50]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_responder_answers(make_bench, kind):
    """A function of the id and the whole request, sync or async; text or a whole response."""
    seen = []

    def respond(custom_id, body):
        seen.append(body)
        return "text" if custom_id == "r0" else {"mine": custom_id}

    async def respond_later(custom_id, body):
        await asyncio.sleep(0)
        return respond(custom_id, body)

    async with make_bench(responder=respond if kind == "sync" else respond_later) as bench:
        await begin(bench, count=2, inferenceParameters={"n": 2}, systemPrompt="be brief")
        bench.clock.advance(600)
        found = (await files(bench))["dataset/out/BIJOutputSet.jsonl"]
        by_id = {row["custom_id"]: row["response"] for row in found}
        assert [choice["message"]["content"] for choice in by_id["r0"]["choices"]] == ["text"] * 2
        assert by_id["r1"] == {"mine": "r1"}
        model = "accounts/fireworks/models/demo-8b"
        assert [(b["n"], b["model"], len(b["messages"])) for b in seen] == [(2, model, 2)] * 2


@pytest.mark.parametrize(
    ("respond", "error"),
    [
        (failing("r1"), {"code": 400, "message": "no"}),
        (failing("r1", error=RowFailureError("busy", 429)), {"code": 429, "message": "busy"}),
        (failing("r1", error=KeyError("x")), {"code": 500, "message": "KeyError: 'x'"}),
        (
            lambda i, _: RowFailureError("given") if i == "r1" else i,
            {"code": 400, "message": "given"},
        ),
        (
            lambda i, _: 3 if i == "r1" else i,
            {"code": 500, "message": "TypeError: a responder cannot give int"},
        ),
        (
            lambda i, _: {"x": {1}} if i == "r1" else i,
            {"code": 500, "message": "TypeError: Type is not JSON serializable: set"},
        ),
    ],
)
async def test_a_row_fails_alone(make_bench, respond, error):
    """It is in the error file and in no other; the job completes."""
    async with make_bench(responder=respond) as bench:
        await begin(bench, count=3)
        bench.clock.advance(600)
        job = await bench.job()
        assert (job["state"], counts(job)) == ("JOB_STATE_COMPLETED", [3, 2, 1, 2, 100])
        results, errors = await output(bench)
        assert (sorted(results), errors) == (["r0", "r2"], {"r1": error})


async def test_a_row_with_extra_body_fails_alone(bench):
    """As one source saw it on every row."""
    await begin(bench, rows(1) + rows(2, extra_body={}).splitlines(keepends=True)[1])
    bench.clock.advance(600)
    message = "Extra inputs are not permitted, field: 'extra_body'"
    assert await output(bench) == (["r0"], {"r1": {"code": 400, "message": message}})


# Validation


async def test_a_bad_row_fails_the_job(bench):
    """At the end of VALIDATING, naming file and line; there is no output dataset."""
    await begin(bench, rows(2) + b'{"custom_id": "x", "body": {"messages": [{"role": "pirate"}]}}')
    assert (await bench.job())["state"] == "JOB_STATE_VALIDATING"
    bench.clock.advance(3600)
    job = await bench.job()
    assert (job["state"], job["status"]) == (
        "JOB_STATE_FAILED",
        {
            "code": "INVALID_ARGUMENT",
            "message": "Dataset has a syntax error: chat dataset validation failed on"
            " input.jsonl:3: invalid role pirate in message 0",
        },
    )
    assert (counts(job), job["lifecycle"]) == (
        [0, 0, 0, 0, 0],
        {"validatedTime": None, "runStartTime": None, "endTime": "2026-09-14T09:01:00.000000Z"},
    )
    for path in ("", ":getDownloadEndpoint"):
        reply = await bench.api.get(f"/v1/{OUTPUT}{path}")
        assert (reply.status, reply.json["message"]) == (404, "resource not found")


async def test_a_line_number_may_be_off(make_bench):
    """As it was in the one message seen."""
    async with make_bench(assume={"line_numbers": "one_less"}) as bench:
        await begin(bench, rows(2) + b"{}")
        bench.clock.advance(60)
        assert "on input.jsonl:2: " in (await bench.job())["status"]["message"]


async def test_the_rows_of_all_files_belong_together(bench):
    """Ids are unique in the dataset, and lines are counted by file."""
    bench.emulator.add_dataset("reviews", files={"a": rows(2), "b": b"\n" + rows(1)})
    await bench.create()
    bench.clock.advance(60)
    assert (await bench.job())["status"]["message"].endswith("on b:2: duplicate custom_id 'r0'")


@pytest.mark.parametrize(("seconds", "state"), [(60, "PENDING"), (540, "COMPLETED")])
async def test_many_rows_do_not_stop_the_server(bench, seconds, state):
    """Others are answered while rows are checked, and while they are processed."""
    await begin(bench, count=5000)
    bench.clock.advance(60)
    if state == "COMPLETED":
        await bench.job()
        bench.clock.advance(seconds)
    look = asyncio.create_task(bench.job())
    answered = 0
    while not look.done():
        await bench.api.get("/v1/accounts")
        answered += 1
    assert (await look)["state"] == f"JOB_STATE_{state}"
    assert answered > 3


async def test_who_leaves_does_not_stop_the_work(make_bench):
    """A row is answered once, whoever looks and leaves meanwhile."""
    seen, may_go = [], asyncio.Event()

    async def respond(custom_id, body):
        seen.append(custom_id)
        await may_go.wait()
        return ""

    async with make_bench(responder=respond) as bench:
        await begin(bench, count=3)
        bench.clock.advance(600)
        look = asyncio.create_task(bench.job())
        while not seen:
            await asyncio.sleep(0)
        look.cancel()
        for _ in range(100):  # until the server has noticed
            await asyncio.sleep(0)
        may_go.set()
        assert counts(await bench.job()) == [3, 3, 0, 3, 100]
        assert sorted(seen) == ["r0", "r1", "r2"]


async def test_a_stop_interrupts_the_work(make_bench):
    """It goes on after the next start, where it was."""
    seen, may_go = [], asyncio.Event()

    async def respond(custom_id, body):
        seen.append(custom_id)
        if len(seen) > 1:
            await may_go.wait()
        return ""

    async with make_bench(responder=respond) as bench:
        await begin(bench, count=3)
        bench.clock.advance(600)
        look = asyncio.create_task(bench.job())
        while len(seen) < 2:
            await asyncio.sleep(0)
        await bench.emulator.stop()
        with pytest.raises(aiohttp.ClientError):
            await look
        may_go.set()
        await bench.emulator.start()
        assert counts(await bench.job()) == [3, 3, 0, 3, 100]
        assert seen[1] == seen[2]


# What a job may read and write


@pytest.mark.parametrize(("position", "status"), [("404", 404), ("400", 400)])
async def test_an_input_that_is_not_there(make_bench, position, status):
    """By the code NOT_FOUND; the status is a switch."""
    async with make_bench(assume={"missing_input_status": position}) as bench:
        reply = await bench.create()
        assert (reply.status, reply.json["message"]) == (status, "resource not found")


@pytest.mark.parametrize("position", ["must_be_ready", "unchecked"])
async def test_the_input_must_be_there_and_ready(make_bench, position):
    """By default; otherwise such a job only says that it works."""
    async with make_bench(assume={"input_dataset": position}) as bench:
        is_checked = position == "must_be_ready"
        assert (await bench.create("a")).status == (404 if is_checked else 200)
        body = {"datasetId": "reviews", "dataset": {"exampleCount": 1}}
        await bench.api.post(DATASETS, json=body)
        reply = await bench.create("b")
        assert reply.status == (400 if is_checked else 200)
        if is_checked:
            message = "input dataset 'accounts/acme/datasets/reviews' is not ready"
            assert reply.json["message"] == message
            return
        bench.clock.advance(600)
        assert counts(await bench.job("b")) == [100, 100, 0, 100, 100]


@pytest.mark.parametrize(("position", "status"), [("409", 409), ("400", 400)])
async def test_the_output_must_not_be_there(make_bench, position, status):
    """The job makes it."""
    async with make_bench(assume={"existing_output_status": position}) as bench:
        bench.emulator.add_dataset("reviews", files={})
        bench.emulator.add_dataset("out", files={})
        reply = await bench.create(outputDatasetId=OUTPUT)
        message = f"output dataset '{OUTPUT}' already exists"
        assert (reply.status, reply.json["message"]) == (status, message)


@pytest.mark.parametrize("position", ["delete", "refuse"])
async def test_an_input_in_use_is_deleted_or_not(make_bench, position):
    """A job whose rows are gone fails."""
    async with make_bench(assume={"dataset_in_use": position}) as bench:
        await begin(bench)
        reply = await bench.api.delete(f"{DATASETS}/reviews")
        bench.clock.advance(600)
        job = await bench.job()
        if position == "refuse":
            message = "dataset is in use by a batch inference job"
            assert (reply.status, reply.json["message"]) == (400, message)
            assert job["state"] == "JOB_STATE_COMPLETED"
            assert (await bench.api.delete(f"{DATASETS}/reviews")).status == 200
        else:
            assert (reply.status, job["state"]) == (200, "JOB_STATE_FAILED")
            assert job["status"]["message"] == "the input dataset was deleted"


# Ends


@pytest.mark.parametrize("state", ["CANCELLED", "EARLY_STOPPED", "EXPIRED", "FAILED"])
async def test_a_job_that_ends_early_leaves_what_it_has(bench, state):
    """The rest is in neither file."""
    bench.emulator.script_jobs("night*", phases=[*RUNNING, state])
    await begin(bench)
    bench.clock.advance(1000)
    job = await bench.job()
    assert (job["state"], counts(job)) == (f"JOB_STATE_{state}", [10, 5, 0, 5, 50])
    results, errors = await output(bench)
    assert (len(set(results)), errors) == (5, {})


async def test_a_time_limit_cuts_the_rows_off(bench):
    """What was done by then is there."""
    bench.emulator.script_jobs(phases=[*RUNNING, "COMPLETED"], time_limit_seconds=240)
    await begin(bench)
    bench.clock.advance(1000)
    job = await bench.job()
    assert (job["state"], counts(job)) == ("JOB_STATE_EXPIRED", [10, 3, 0, 3, 30])
    assert len((await output(bench))[0]) == 3


async def test_a_job_that_never_ran_has_no_output(bench):
    """Nothing was done."""
    bench.emulator.script_jobs(phases=["VALIDATING", "PENDING"], time_limit_seconds=240)
    await begin(bench)
    bench.clock.advance(1000)
    assert (await bench.job())["state"] == "JOB_STATE_EXPIRED"
    assert (await bench.api.get(f"/v1/{OUTPUT}")).status == 404


@pytest.mark.parametrize(
    ("name", "failing_ids"), [("some_rows_failed", ["r1"]), ("all_rows_failed", ["r0", "r1"])]
)
@pytest.mark.parametrize("state", ["COMPLETED", "FAILED"])
async def test_failed_rows_may_fail_the_job(make_bench, name, failing_ids, state):
    """By assumption, for some or for all of them; the output is there all the same."""
    async with make_bench(assume={name: state}, responder=failing(*failing_ids)) as bench:
        await begin(bench, count=2)
        bench.clock.advance(600)
        job = await bench.job()
        failed = len(failing_ids)
        assert (job["state"], counts(job)[1:3]) == (f"JOB_STATE_{state}", [2 - failed, failed])
        message = f"{failed} of 2 requests failed" if state == "FAILED" else ""
        assert job["status"]["message"] == message
        assert (await output(bench))[1].keys() == set(failing_ids)


@pytest.mark.parametrize(
    ("assume", "expected"),
    [
        ({"failed_job_output": "none"}, None),
        ({"error_file": "when_needed"}, ["dataset/out/BIJOutputSet.jsonl"]),
        ({"row_order": "kept"}, ["dataset/out/BIJOutputSet.jsonl", "dataset/out/error-data"]),
    ],
)
async def test_what_is_not_known_of_outputs_is_a_switch(make_bench, assume, expected):
    """Which files there are, and in which order the rows."""
    async with make_bench(assume=assume) as bench:
        bench.emulator.script_jobs(phases=[*RUNNING, "FAILED"])
        await begin(bench)
        bench.clock.advance(1000)
        if expected is None:
            assert (await bench.api.get(f"/v1/{OUTPUT}")).status == 404
            return
        assert [*await files(bench)] == expected
        results, _ = await output(bench)
        is_kept = results == ["r0", "r1", "r2", "r3", "r4"]
        assert is_kept == (assume.get("row_order") == "kept")


@pytest.mark.parametrize(
    ("position", "count"), [("succeeded", "2"), ("processed", "3"), ("zero", "0")]
)
async def test_the_count_of_an_output_dataset(make_bench, position, count):
    """Which rows it counts is not known."""
    assume = {"output_example_count": position}
    async with make_bench(assume=assume, responder=failing("r1")) as bench:
        await begin(bench, count=3)
        bench.clock.advance(600)
        assert (await bench.api.get(f"/v1/{OUTPUT}")).json["exampleCount"] == count


async def test_an_output_dataset_may_not_name_its_job(make_bench):
    """By assumption `sourceJobName` is empty."""
    async with make_bench(assume={"output_source_job": "empty"}) as bench:
        await begin(bench)
        bench.clock.advance(600)
        assert (await bench.api.get(f"/v1/{OUTPUT}")).json["sourceJobName"] == ""


async def test_a_response_may_be_wrapped(make_bench):
    """With a status, by assumption."""
    async with make_bench(assume={"response_shape": "wrapped"}) as bench:
        await begin(bench, count=1)
        bench.clock.advance(600)
        (row,) = (await files(bench))["dataset/out/BIJOutputSet.jsonl"]
        assert (row["response"]["status_code"], row["response"]["body"]["object"]) == (
            200,
            "chat.completion",
        )


@pytest.mark.parametrize("position", ["kept", "deleted"])
@pytest.mark.parametrize(("seconds", "count"), [(600, 10), (360, 6), (60, None)])
async def test_the_output_of_a_deleted_job(make_bench, position, seconds, count):
    """It stays or goes; of a job that runs it is what was done."""
    async with make_bench(assume={"output_of_deleted_job": position}) as bench:
        await begin(bench)
        bench.clock.advance(seconds)
        await bench.api.delete(f"{JOBS}/nightly")
        bench.clock.advance(600)
        reply = await bench.api.get(f"/v1/{OUTPUT}")
        if position == "deleted" or count is None:
            assert reply.status == 404
        else:
            assert len((await output(bench))[0]) == count


# Continuations


async def test_a_continuation_does_what_is_left(make_bench):
    """Unfinished and failed rows only, into a dataset of its own."""
    refused = {f"r{number}" for number in range(0, 10, 2)}

    def respond(custom_id, body):
        return RowFailureError("no") if custom_id in refused else ""

    async with make_bench(responder=respond) as bench:
        bench.emulator.script_jobs(phases=[*RUNNING, "CANCELLED"])
        await begin(bench)
        bench.clock.advance(1000)
        first, errors = await output(bench)
        assert (len(first) + len(errors), len(errors) > 0) == (5, True)
        refused.clear()
        reply = await bench.api.post(
            JOBS,
            params={"batchInferenceJobId": "rest"},
            json={"continuedFromJobName": f"{JOBS[4:]}/nightly", "outputDatasetId": f"{OUTPUT}-2"},
        )
        assert reply.status == 200
        bench.clock.advance(1000)
        job = await bench.job("rest")
        left = 10 - len(first)
        assert (job["state"], counts(job)) == ("JOB_STATE_COMPLETED", [left, left, 0, left, 100])
        second, errors = await output(bench, "out-2")
        assert sorted(first + second) == [f"r{number}" for number in range(10)]
        assert errors == {}


@pytest.mark.parametrize(
    ("position", "keys"),
    [
        ("path", ["dataset/out-2/x", "dataset/out/x"]),
        ("slash", ["out-2/x", "out/x"]),
        ("underscore", ["out-2_x", "out_x"]),
    ],
)
async def test_a_lineage_is_all_datasets_of_the_chain(make_bench, position, keys):
    """The newest first; without the parameter, one dataset."""
    async with make_bench(assume={"lineage_keys": position}) as bench:
        bench.emulator.script_jobs(phases=[*RUNNING, "EXPIRED"])
        await begin(bench)
        bench.clock.advance(1000)
        await bench.api.post(
            JOBS,
            json={"continuedFromJobName": f"{JOBS[4:]}/nightly", "outputDatasetId": f"{OUTPUT}-2"},
        )
        bench.clock.advance(1000)
        found = await files(bench, "out-2", downloadLineage="true")
        wanted = [
            key.replace("x", name) for key in keys for name in ("BIJOutputSet.jsonl", "error-data")
        ]
        assert [*found] == wanted
        assert sum(len(rows) for rows in found.values()) == 10
        assert len(await files(bench, "out-2", downloadLineage="false")) == 2


async def test_a_continuation_of_a_job_whose_rows_were_bad_fails_as_well(bench):
    """It checks the same rows."""
    await begin(bench, b"{}")
    bench.clock.advance(60)
    body = {"continuedFromJobName": f"{JOBS[4:]}/nightly"}
    await bench.api.post(JOBS, params={"batchInferenceJobId": "rest"}, json=body)
    bench.clock.advance(60)
    assert (await bench.job("rest"))["status"]["message"].endswith(":1: custom_id is required")


# Scripts for jobs to come


async def test_a_script_waits_for_its_job(bench):
    """For so many jobs of a matching id; others go as always."""
    bench.emulator.add_dataset("reviews", files={})
    no_key = {"Authorization": ""}
    body = {"job": "a-*", "phases": ["PAUSED"], "times": 2, "failed_rows": 20}
    reply = await bench.api.post("/_emulator/scripts", json=body, headers=no_key)
    assert (reply.status, reply.json) == (200, {})
    states = [(await bench.create(name)).json["state"][10:] for name in ("b", "a-1", "a-2", "a-3")]
    assert states == ["VALIDATING", "PAUSED", "PAUSED", "VALIDATING"]


async def test_a_script_may_be_for_all_jobs(bench):
    """The first that matches counts."""
    bench.emulator.add_dataset("reviews", files={})
    bench.emulator.script_jobs("b", phases=["RUNNING"])
    bench.emulator.script_jobs(phases=["PAUSED"], times=None)
    states = [(await bench.create(name)).json["state"][10:] for name in ("b", "c", "d", "e")]
    assert states == ["RUNNING", "PAUSED", "PAUSED", "PAUSED"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ({"times": 0}, "times: 0 is not a whole number of 1 or more"),
        ({"job": 3}, "job: 3 is not a text"),
        ({"phases": []}, "phases: [] is not a list of at least one phase"),
        ({"output": 3}, "output: 3 is not an object"),
        (
            {"output": {"late": 3}},
            (
                "output.late: 3 is not known here; known: not_found_seconds, uploading_seconds,"
                " late_files"
            ),
        ),
        (
            {"output": {"uploading_seconds": -1}},
            "output.uploading_seconds: -1 is not a number from 0 to 3.16224e+07",
        ),
        (
            {"output": {"late_files": {"error-data": "x"}}},
            "output.late_files.error-data: 'x' is not a number from 0 to 3.16224e+07",
        ),
        ({"output": {"late_files": 3}}, "output.late_files: 3 is not an object"),
        (
            {"account_id": "acme"},
            (
                "account_id: 'acme' is not known here; known: job, times, phases, rows,"
                " failed_rows, output, status, time_limit_seconds, fields"
            ),
        ),
    ],
)
async def test_a_script_for_no_job_is_refused(bench, script, message):
    """When it is given, not when the job comes."""
    no_key = {"Authorization": ""}
    reply = await bench.api.post("/_emulator/scripts", json=script, headers=no_key)
    assert (reply.status, reply.json["error"]["message"]) == (400, message)


async def test_the_emulator_leaves_its_jobs_without_rows(make_bench):
    """Contents end with the `async with`; what a job says of itself stays."""
    async with make_bench() as bench:
        await begin(bench)
    async with bench.emulator, aiohttp.ClientSession(bench.emulator.base_url) as session:
        bench.clock.advance(600)
        headers = {"Authorization": f"Bearer {bench.emulator.api_key}"}
        async with session.get(f"{JOBS}/nightly", headers=headers) as response:
            assert counts(await response.json()) == [10, 10, 0, 10, 100]


async def test_what_is_shown_was_done(make_bench):
    """Time goes on while rows are processed: the answer is of the moment of the question."""

    def respond(custom_id, _):
        bench.clock.advance(30)
        return custom_id

    async with make_bench(responder=respond) as bench:
        await begin(bench, count=5)
        bench.clock.advance(240)
        job = await bench.job()
        assert (job["state"], counts(job)) == ("JOB_STATE_RUNNING", [5, 1, 0, 1, 20])
        bench.clock.advance(400)
        assert counts(await bench.job()) == [5, 5, 0, 5, 100]


async def test_a_script_moves_a_job_on_real_rows(bench):
    """It goes on by other phases, with the rows that it has, and checks them first."""
    await begin(bench, count=4)
    bench.emulator.script_job("nightly", phases=["COMPLETED"])
    job = await bench.job()
    assert (job["state"], counts(job)) == ("JOB_STATE_COMPLETED", [4, 4, 0, 4, 100])
    await begin(bench, b"{}", job_id="bad", outputDatasetId="")
    bench.emulator.script_job("bad", phases=["COMPLETED"])
    assert (await bench.job("bad"))["state"] == "JOB_STATE_FAILED"


# Outputs that are late


async def test_an_output_is_late_by_its_job_s_script(bench):
    """404, then UPLOADING, then without one of its files, from the job's end on."""
    late = {"not_found_seconds": 100, "uploading_seconds": 50, "late_files": {"error-data": 30}}
    bench.emulator.script_jobs(phases=[*RUNNING, "COMPLETED"], output=late)
    await begin(bench)
    bench.clock.advance(660)
    assert (await bench.job())["state"] == "JOB_STATE_COMPLETED"
    bench.clock.advance(99)
    assert (await bench.api.get(f"/v1/{OUTPUT}")).status == 404
    assert (await bench.api.get(f"/v1/{OUTPUT}:getDownloadEndpoint")).status == 404
    listed = (await bench.api.get(DATASETS)).json["datasets"]
    assert [each["name"].rpartition("/")[2] for each in listed] == ["reviews"]
    reply = await bench.create("other", outputDatasetId=OUTPUT)
    assert (reply.status, reply.json["code"]) == (409, 6)  # its id is taken all the same
    bench.clock.advance(1)
    assert (await bench.api.get(f"/v1/{OUTPUT}")).json["state"] == "UPLOADING"
    assert (await bench.api.get(f"/v1/{OUTPUT}:getDownloadEndpoint")).status == 400
    bench.clock.advance(50)
    assert (await bench.api.get(f"/v1/{OUTPUT}")).json["state"] == "READY"
    assert (await files(bench)).keys() == {"dataset/out/BIJOutputSet.jsonl"}
    bench.clock.advance(30)
    results, errors = await output(bench)
    assert (len(results), errors) == (10, {})


async def test_the_control_protocol_makes_an_output_late(bench):
    """Also that of a job that is there, until the job ends."""
    await begin(bench)
    body = {"output": {"not_found_seconds": 60}}
    headers = {"Authorization": ""}
    await bench.api.post("/_emulator/jobs/nightly", json=body, headers=headers)
    bench.clock.advance(480)
    assert (await bench.job())["state"] == "JOB_STATE_COMPLETED"
    assert (await bench.api.get(f"/v1/{OUTPUT}")).status == 404
    bench.emulator.script_job("nightly", output={"not_found_seconds": 600})
    bench.clock.advance(60)
    assert len((await output(bench))[0]) == 10


async def test_an_output_may_be_refused_to_a_key(bench):
    """By a fault of its path, until the faults are removed."""
    await begin(bench)
    bench.clock.advance(600)
    bench.emulator.add_fault("status", status=403, path="*/datasets/out*", times=None)
    assert (await bench.api.get(f"/v1/{OUTPUT}")).status == 403
    assert (await bench.api.get(f"/v1/{OUTPUT}:getDownloadEndpoint")).status == 403
    bench.emulator.clear_faults()
    assert len((await output(bench))[0]) == 10


# Counters of a job that has ended


@pytest.mark.parametrize(
    ("position", "numbers"),
    [
        ("zero", [10, 0, 0, 0, 0]),
        ("stale", [10, 4, 1, 4, 50]),
        ("cumulative", [10, 16, 4, 16, 100]),
    ],
)
async def test_the_counters_of_a_job_that_has_ended(make_bench, position, numbers):
    """They are wrong by assumption, and right as long as the job runs."""
    assume = {"ended_counters": position, "row_order": "kept"}
    async with make_bench(assume=assume, responder=failing("r0", "r5")) as bench:
        await begin(bench)
        bench.clock.advance(420)
        assert counts(await bench.job()) == [10, 6, 2, 6, 80]
        bench.clock.advance(180)
        assert counts(await bench.job()) == numbers
        results, errors = await output(bench)
        assert (len(results), len(errors)) == (8, 2)


async def test_a_job_that_has_ended_may_have_no_counters(make_bench):
    """Its progress is null by assumption, and was not before."""
    async with make_bench(assume={"ended_counters": "null"}) as bench:
        await begin(bench)
        bench.clock.advance(420)
        assert (await bench.job())["jobProgress"] is not None
        bench.clock.advance(180)
        job = await bench.job()
        assert (job["state"], job["jobProgress"]) == ("JOB_STATE_COMPLETED", None)


# Rows that fail by a script


async def test_a_job_s_script_lets_real_rows_fail(bench):
    """So many, spread over the rows, with code 500, as the counters of made-up rows do."""
    bench.emulator.script_jobs(failed_rows=4)
    await begin(bench)
    bench.clock.advance(330)
    shown = counts(await bench.job())
    bench.emulator.script_job("made-up", rows=10, failed_rows=4)
    bench.clock.advance(330)
    assert shown == counts(await bench.job("made-up")) == [10, 3, 1, 3, 40]
    bench.clock.advance(300)
    results, errors = await output(bench)
    assert len(results) == 6
    error = {"code": 500, "message": "the row fails by the job's script"}
    assert list(errors.values()) == [error] * 4


async def test_more_rows_than_there_are_cannot_fail(bench):
    """All fail then."""
    bench.emulator.script_jobs(failed_rows=20)
    await begin(bench)
    bench.clock.advance(600)
    assert len((await output(bench))[1]) == 10


async def test_rows_fail_by_scripts_of_their_own(bench):
    """Permanently, or the first times only, counted over all jobs; the first script counts."""
    bench.emulator.fail_rows("r1", times=None, code=400, message="never")
    bench.emulator.fail_rows("r2", times=2)
    bench.emulator.fail_rows("r[23]", code=429)
    headers = {"Authorization": ""}
    body = {"row": "r4"}
    reply = await bench.api.post("/_emulator/rows", json=body, headers=headers)
    assert (reply.status, reply.json) == (200, {})
    found = []
    for number in range(4):
        name = f"accounts/acme/datasets/out-{number}"
        await begin(bench, count=6, job_id=f"job-{number}", outputDatasetId=name)
        bench.clock.advance(600)
        _, errors = await output(bench, f"out-{number}")
        found.append({custom_id: error["code"] for custom_id, error in errors.items()})
    assert found == [
        {"r1": 400, "r2": 500, "r3": 429, "r4": 500},
        {"r1": 400, "r2": 500},
        {"r1": 400, "r2": 429},
        {"r1": 400},
    ]
    assert errors["r1"]["message"] == "never"


async def test_a_reset_forgets_the_scripts_of_rows(bench):
    """All rows succeed after it."""
    bench.emulator.fail_rows(times=None)
    bench.emulator.reset()
    await begin(bench)
    bench.clock.advance(600)
    assert len((await output(bench))[0]) == 10


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ({"row": 3}, "row: 3 is not a text"),
        ({"times": 0}, "times: 0 is not a whole number of 1 or more"),
        ({"code": 99}, "code: 99 is not a whole number from 100 to 599"),
        ({"message": ""}, "message: '' is not a text"),
        ({"id": "r1"}, "id: 'r1' is not known here; known: row, times, code, message"),
    ],
)
async def test_a_script_for_no_row_is_refused(bench, script, message):
    """The member and its value are named."""
    headers = {"Authorization": ""}
    reply = await bench.api.post("/_emulator/rows", json=script, headers=headers)
    assert (reply.status, reply.json["error"]["message"]) == (400, message)


# The output of a job that only has a script


def scripted_output(job):
    """Give the id of the output dataset of a job."""
    return job["outputDatasetId"].rpartition("/")[2]


@pytest.mark.parametrize(
    ("script", "succeeded", "failed"),
    [
        ({"rows": 100, "failed_rows": 3}, 97, 3),
        ({}, 100, 0),
        ({"rows": 0}, 0, 0),
        ({"rows": 10, "phases": [*RUNNING, "EXPIRED"]}, 5, 0),
        ({"rows": 10, "failed_rows": 4, "phases": [*RUNNING, "FAILED"]}, 3, 2),
    ],
)
async def test_a_job_that_only_has_a_script_has_as_many_rows_as_it_counts(
    bench, script, succeeded, failed
):
    """Its rows are made up when they are asked for, and read as those of any other job."""
    bench.emulator.script_job("nightly", **script)
    bench.clock.advance(3600)
    job = await bench.job()
    results, errors = await output(bench, scripted_output(job))

    assert counts(job)[1:4] == [succeeded, failed, succeeded]
    assert (len(set(results)), len(errors)) == (succeeded, failed)
    assert await bench.job() == job


async def test_a_job_without_an_output_by_its_script_has_none(bench):
    """Before its end; if it ended before it ran; and if it has more rows than a disk should."""
    bench.emulator.script_job("runs", phases=["RUNNING"])
    bench.emulator.script_job("bad", phases=["VALIDATING", "FAILED"])
    bench.emulator.script_job("large", phases=["COMPLETED"], rows=100_001)
    bench.clock.advance(3600)
    for job_id in ("runs", "bad", "large"):
        dataset = scripted_output(await bench.job(job_id))
        assert (await bench.api.get(f"{DATASETS}/{dataset}")).status == 404


async def test_made_up_rows_are_made_once(bench):
    """An output that was deleted stays so; requests at the same time see the same dataset."""
    bench.emulator.script_job("nightly", phases=["COMPLETED"])
    dataset = scripted_output(await bench.job())
    path = f"{DATASETS}/{dataset}"
    replies = await asyncio.gather(*(bench.api.get(path) for _ in range(5)))
    assert [reply.json["exampleCount"] for reply in replies] == ["100"] * 5
    listed = (await bench.api.get(DATASETS)).json["datasets"]
    assert [each["name"] for each in listed] == [f"accounts/acme/datasets/{dataset}"]

    await bench.api.delete(path)
    assert (await bench.api.get(path)).status == 404


async def test_made_up_rows_do_not_use_up_scripts_for_rows(bench):
    """`fail_rows` and the responder are for rows that a client has uploaded."""
    bench.emulator.fail_rows()
    bench.emulator.script_job("nightly", phases=["COMPLETED"], rows=5)
    results, errors = await output(bench, scripted_output(await bench.job()))
    assert (len(results), errors) == (5, {})
