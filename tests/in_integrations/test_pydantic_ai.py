"""Agents of pydantic-ai whose requests become jobs, against the emulator."""

import asyncio
import contextlib
import json
import signal
import sys
from collections import Counter
from datetime import timedelta

import pytest
from clients import client_of
from pydantic import BaseModel, TypeAdapter
from pydantic_ai import Agent, BinaryContent, ImageUrl, NativeOutput, ToolOutput
from pydantic_ai.capabilities import BatchModelRequests
from pydantic_ai.direct import model_request_batch
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    UserError,
)
from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelRequest
from pydantic_ai.models.batch import Batch, BatchRequest
from pydantic_ai.output import PendingModelResponse

from fireworks_batch import ConfigurationError, NotFoundError
from fireworks_batch.emulator import Emulator, RowFailureError
from fireworks_batch.integrations.pydantic_ai import FireworksBatchModel
from test_examples import environment

MODEL = "accounts/fireworks/models/demo-8b"

FOR_EVER = ["RUNNING"]


class Place(BaseModel):
    city: str
    country: str


def batching(requests=1, *, wait=0.05):
    """Batches of so many requests, or of the requests that come in so many seconds."""
    return BatchModelRequests(
        max_requests=requests,
        max_wait=timedelta(seconds=wait),
        poll_interval=timedelta(milliseconds=5),
        max_poll_interval=timedelta(milliseconds=20),
    )


def created(emulator):
    """The ids of the jobs that were created."""
    return [
        each.query["batchInferenceJobId"]
        for each in emulator.requests()
        if each.method == "POST" and each.path.endswith("Jobs") and each.status == 200
    ]


def deleted(emulator):
    """The paths of the jobs that were deleted."""
    return [each.path for each in emulator.requests() if each.method == "DELETE"]


def completion(**message):
    """A response whose message has these members."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": MODEL} | {
        "choices": [choice],
        "usage": usage,
    }


def call(name, **arguments):
    """A response that calls a tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return completion(tool_calls=[{"id": "1", "type": "function", "function": function}])


@pytest.fixture
async def serving():
    """Give a function that makes an emulator with a responder, and a client of the emulator."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(responder, **options):
            options |= {"speed": 60_000, "account_id": "acme", "responder": responder}
            emulator = Emulator(**options)
            await stack.enter_async_context(emulator)
            return emulator, await stack.enter_async_context(client_of(emulator))

        yield make


async def until(condition):
    """Let the emulator and the runs go on."""
    while not condition():
        await asyncio.sleep(0.001)


# --- Jobs -----------------------------------------------------------------------------------------


async def test_fifty_runs_become_one_job(emulator, client):
    """Each run has its own answer."""
    model = FireworksBatchModel(MODEL, client=client)
    agent = Agent(model, capabilities=[batching(50, wait=30)])
    prompts = [f"question {number}" for number in range(50)]
    results = await asyncio.gather(*(agent.run(each) for each in prompts))
    assert [each.output for each in results] == prompts
    assert len(created(emulator)) == 1
    assert results[0].usage.output_tokens > 0


PROGRAM = """
import asyncio, json, sys
from datetime import timedelta
from pydantic_ai import Agent
from pydantic_ai.capabilities import BatchModelRequests
from fireworks_batch import BatchClient
from fireworks_batch.integrations.pydantic_ai import FireworksBatchModel

async def main():
    batching = BatchModelRequests(
        max_requests=50, max_wait=timedelta(seconds=30), poll_interval=timedelta(milliseconds=5)
    )
    prompts = [f"question {number}" for number in range(50)]
    async with BatchClient() as client:
        model = FireworksBatchModel("accounts/fireworks/models/demo-8b", client=client)
        agent = Agent(model, capabilities=[batching])
        if sys.stdin.readline() == "backwards\\n":
            prompts.reverse()
        results = await asyncio.gather(*(agent.run(each) for each in prompts))
    print(json.dumps(sorted(each.output for each in results)))

asyncio.run(main())
"""


@pytest.mark.timeout(240)
async def test_a_killed_process_finds_its_job(emulator, tmp_path):
    """With the same calls in another order: all answers, and one job."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    emulator.script_jobs(phases=FOR_EVER)

    async def start():
        return await asyncio.create_subprocess_exec(
            sys.executable,
            str(program),
            env=environment(emulator),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    # The imports take seconds. So both processes import at the same time, and wait for a line.
    process, again = await start(), await start()
    process.stdin.write(b"forwards\n")
    await until(lambda: created(emulator) or process.returncode is not None)
    process.kill()
    await process.communicate()
    assert process.returncode == -signal.SIGKILL
    emulator.script_job(created(emulator)[0], phases=["RUNNING", "COMPLETED"])
    output, _ = await again.communicate(b"backwards\n")
    assert json.loads(output) == sorted(f"question {number}" for number in range(50))
    posted = [each for each in emulator.requests() if each.path.endswith("/batchInferenceJobs")]
    assert [each.method for each in posted].count("POST") == 1


async def test_the_same_requests_again_are_another_job(emulator, client):
    """In one process. Another process finds the first job first, and then the second."""
    for _ in range(2):
        agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching()])
        assert [(await agent.run("hello")).output for _ in range(2)] == ["hello"] * 2
    assert len(set(created(emulator))) == len(created(emulator)) == 2


async def test_two_equal_requests_of_a_batch_are_two_rows(serving):
    """So that a question asked twice has two answers."""
    bodies = []

    def answer(_, body):
        bodies.append(body)
        return str(len(bodies))

    emulator, client = await serving(answer)
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching(2, wait=30)])
    results = await asyncio.gather(agent.run("hello"), agent.run("hello"))
    assert {each.output for each in results} == {"1", "2"}
    assert len(created(emulator)) == 1


async def test_two_equal_batches_at_a_time_are_two_jobs(emulator, client):
    """If one of them is cancelled, the other one has its job."""
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching()])
    results = await asyncio.gather(agent.run("hello"), agent.run("hello"))
    assert [each.output for each in results] == ["hello"] * 2
    assert len(set(created(emulator))) == 2


async def test_another_name_is_another_job(emulator, client):
    """The ids of jobs begin with the name."""
    for name in ("what customers ask on Monday", "what customers ask on Tuesday"):
        model = FireworksBatchModel(MODEL, client=client, name=name)
        await Agent(model, capabilities=[batching()]).run("hello")
    assert [each[:18] for each in created(emulator)] == ["what-customers-ask"] * 2


async def test_a_refused_submission_does_not_count(emulator, client):
    """The next batch of the same rows is the first, which another process finds."""
    emulator.add_fault("status", method="POST", path="*/batchInferenceJobs", status=400)
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching()])
    with pytest.raises(ModelHTTPError) as caught:
        await agent.run("hello")
    assert caught.value.status_code == 400
    await agent.run("hello")
    await Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching()]).run("hello")
    assert len(created(emulator)) == 1


async def test_requests_of_two_clients_are_two_jobs(emulator, client):
    """Since two clients may belong to two accounts."""
    shared = batching(2)
    async with client_of(emulator) as other:
        agents = [
            Agent(FireworksBatchModel(MODEL, client=each), capabilities=[shared])
            for each in (client, other)
        ]
        await asyncio.gather(*(agent.run(str(n)) for n, agent in enumerate(agents)))
    assert len(created(emulator)) == 2


async def test_requests_without_an_agent_become_a_job(emulator, client):
    """By ``model_request_batch`` of pydantic-ai."""
    requests = [
        BatchRequest(custom_id=each, messages=[ModelRequest.user_text_prompt(each)])
        for each in ("b", "a")
    ]
    responses = await model_request_batch(
        FireworksBatchModel(MODEL, client=client),
        requests,
        poll_interval=timedelta(milliseconds=5),
        max_poll_interval=timedelta(milliseconds=20),
    )
    assert [each.text for each in responses] == ["b", "a"]
    assert len(created(emulator)) == 1


async def test_ids_of_the_caller_do_not_make_two_batches_one(emulator, client):
    """What counts is the content: another process finds both jobs, in any order."""
    for prompts in (("a", "b"), ("b", "a")):
        model = FireworksBatchModel(MODEL, client=client)
        for prompt in prompts:
            request = BatchRequest(custom_id="0", messages=[ModelRequest.user_text_prompt(prompt)])
            await model.batch_create([await model.batch_encode(request)])
    assert len(created(emulator)) == 2


# --- What agents do -------------------------------------------------------------------------------


async def test_the_output_of_a_tool_has_a_type(serving):
    """The model calls the tool that pydantic-ai makes of the type."""
    _, client = await serving(lambda *_: call("final_result", city="Rome", country="Italy"))
    model = FireworksBatchModel(MODEL, client=client)
    agent = Agent(model, output_type=ToolOutput(Place), capabilities=[batching()])
    assert (await agent.run("Where?")).output == Place(city="Rome", country="Italy")


async def test_a_native_output_has_a_type(serving):
    """The schema of the type is the ``response_format`` of the row."""
    bodies = []

    def answer(_, body):
        bodies.append(body)
        return '{"city": "Rome", "country": "Italy"}'

    _, client = await serving(answer)
    model = FireworksBatchModel(MODEL, client=client)
    agent = Agent(model, output_type=NativeOutput(Place), capabilities=[batching()])
    assert (await agent.run("Where?")).output == Place(city="Rome", country="Italy")
    schema = bodies[0]["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["city", "country"]


async def test_a_call_of_a_tool_makes_a_second_job(serving):
    """Its rows have the call and what the tool returned."""
    bodies = []

    def answer(_, body):
        bodies.append(body)
        last = body["messages"][-1]
        return call("weather", city=last["content"]) if last["role"] == "user" else last["content"]

    emulator, client = await serving(answer)
    model = FireworksBatchModel(MODEL, client=client)
    agent = Agent(model, capabilities=[batching(2, wait=30)])

    @agent.tool_plain
    def weather(city: str) -> str:
        return f"rain in {city}"

    results = await asyncio.gather(agent.run("Rome"), agent.run("Oslo"))
    assert [each.output for each in results] == ["rain in Rome", "rain in Oslo"]
    assert len(created(emulator)) == 2
    assert Counter(len(body["messages"]) for body in bodies) == {1: 2, 3: 2}
    assert bodies[0]["tools"][0]["function"]["name"] == "weather"


async def test_images_are_parts_of_the_row(serving):
    """By their URL, or as they are."""
    bodies = []

    def answer(_, body):
        bodies.append(body)
        return "a cat"

    _, client = await serving(answer)
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching()])
    url = "https://example.com/cat.png"
    await agent.run(
        ["What is this?", ImageUrl(url), BinaryContent(b"\x89PNG", media_type="image/png")]
    )
    text, by_url, as_is = bodies[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is this?"}
    assert by_url["image_url"]["url"] == url
    assert as_is["image_url"]["url"] == "data:image/png;base64,iVBORw=="


async def test_settings_reach_the_row(serving):
    """Those of the model, those of the run, and members that pydantic-ai does not know."""
    bodies = []

    def answer(_, body):
        bodies.append(body)
        return "yes"

    _, client = await serving(answer)
    model = FireworksBatchModel(MODEL, client=client, settings={"seed": 7, "max_retries": 3})
    agent = Agent(model, capabilities=[batching()])
    await agent.run("?", model_settings={"temperature": 0.5, "extra_body": {"top_k": 3}})
    body = bodies[0]
    assert (body["seed"], body["temperature"], body["top_k"]) == (7, 0.5, 3)
    assert not {"stream", "max_retries", "timeout", "extra_headers"} & set(body)


async def test_a_stream_has_the_answer_in_one_piece(client):
    """The capability waits for the batch."""
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching()])
    async with agent.run_stream("hello") as stream:
        assert await stream.get_output() == "hello"


async def test_a_run_is_resumed_from_its_messages(emulator, client):
    """By another model and another client. The messages have no key."""
    emulator.script_jobs(phases=FOR_EVER)
    model = FireworksBatchModel(MODEL, client=client)
    kinds = [str, PendingModelResponse]
    first = await Agent(model, output_type=kinds, capabilities=[batching()]).run("hello")
    assert isinstance(first.output, PendingModelResponse)
    stored = first.all_messages_json()
    emulator.script_job(created(emulator)[0], phases=["RUNNING", "COMPLETED"])
    async with client_of(emulator) as other:
        agent = Agent(FireworksBatchModel(MODEL, client=other), capabilities=[batching()])
        history = ModelMessagesTypeAdapter.validate_json(stored)
        second = await agent.run(message_history=history)
    assert second.output == "hello"
    assert len(created(emulator)) == 1
    for text in (stored, second.all_messages_json(), repr(model).encode()):
        assert emulator.api_key.encode() not in text


# --- What goes wrong ------------------------------------------------------------------------------


async def test_a_failed_row_is_an_error_of_its_run(serving):
    """The other runs have their answers."""

    def answer(_, body):
        content = body["messages"][-1]["content"]
        if content == "bad":
            raise RowFailureError("that is no question", 400)
        return content

    emulator, client = await serving(answer)
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching(3, wait=30)])
    runs = (agent.run(each) for each in ("good", "bad", "better"))
    good, bad, better = await asyncio.gather(*runs, return_exceptions=True)
    assert (good.output, better.output) == ("good", "better")
    assert isinstance(bad, ModelHTTPError)
    assert bad.status_code == 400
    assert bad.body["message"] == "that is no question"
    assert len(created(emulator)) == 1


@pytest.mark.parametrize("shape", ["int_code", "string_code"])
@pytest.mark.parametrize("code", [429, 499, 503])
async def test_a_row_that_failed_for_a_moment_runs_again(serving, code, shape):
    """In a job of its own, though its batch had the same rows."""
    failures = iter([RowFailureError("busy", code)] * 2)
    assume = {"error_shape": shape}
    emulator, client = await serving(lambda *_: next(failures, "at last"), assume=assume)
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching()])
    assert (await agent.run("hello")).output == "at last"
    assert len(created(emulator)) == 3


async def test_rows_of_an_expired_job_run_again(emulator, client):
    """Only those that had no answer."""
    emulator.script_jobs(phases=["RUNNING", "EXPIRED"])
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching(4, wait=0.2)])
    prompts = ["a", "b", "c", "d"]
    results = await asyncio.gather(*(agent.run(each) for each in prompts))
    assert [each.output for each in results] == prompts
    jobs = [await client.jobs.get(each) for each in created(emulator)]
    assert [each.job_progress.total_input_requests for each in jobs] == [4, 2]


async def test_a_failed_job_is_an_error_of_its_runs(emulator, client):
    """With the server's reason. The job is not deleted."""
    status = {"code": "INTERNAL", "message": "out of memory"}
    emulator.script_jobs(phases=["VALIDATING", "FAILED"], status=status)
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching(2, wait=30)])
    runs = (agent.run(each) for each in ("a", "b"))
    for error in await asyncio.gather(*runs, return_exceptions=True):
        assert isinstance(error, ModelAPIError)
        assert "FAILED" in str(error)
        assert "out of memory" in str(error)
    assert len(created(emulator)) == 1
    assert not deleted(emulator)


async def test_a_job_that_failed_half_way_keeps_its_rows(emulator, client):
    """The other rows are not sent again: the job would fail again."""
    emulator.script_jobs(phases=["RUNNING", "FAILED"])
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching(4, wait=30)])
    runs = (agent.run(each) for each in ("a", "b", "c", "d"))
    results = await asyncio.gather(*runs, return_exceptions=True)
    assert Counter(map(type, results))[ModelAPIError] == 2
    assert len(created(emulator)) == 1


async def test_cancelled_runs_delete_their_job(emulator, client):
    """When the last run is cancelled."""
    emulator.script_jobs(phases=FOR_EVER)
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching(2, wait=30)])
    first, second = (asyncio.create_task(agent.run(each)) for each in ("a", "b"))
    await until(lambda: created(emulator) and emulator.requests()[-1].method == "GET")
    first.cancel()
    await asyncio.wait([first])
    assert not deleted(emulator)
    second.cancel()
    await asyncio.wait([second])
    assert deleted(emulator) == [f"/v1/accounts/acme/batchInferenceJobs/{created(emulator)[0]}"]


@pytest.mark.parametrize("setting", [{"timeout": 5}, {"extra_headers": {"X-Trace": "1"}}])
async def test_a_setting_without_a_meaning_is_refused(client, setting):
    """It is named, and nothing is sent."""
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching()])
    with pytest.raises(UserError, match=next(iter(setting))):
        await agent.run("hello", model_settings=setting)


@pytest.mark.parametrize(
    ("prompt", "settings", "reason"),
    [
        ("bad", {"extra_body": {"model": f"{MODEL}-2"}}, "demo-8b-2"),
        ([BinaryContent(bytes(13 * 2**20), media_type="image/png")], {}, "16"),
    ],
    ids=["another model", "too large"],
)
async def test_a_bad_row_is_an_error_of_its_run(emulator, client, prompt, settings, reason):
    """Before anything is sent, so that the other rows of the batch are."""
    agent = Agent(FireworksBatchModel(MODEL, client=client), capabilities=[batching()])
    bad, good = await asyncio.gather(
        agent.run(prompt, model_settings=settings), agent.run("good"), return_exceptions=True
    )
    assert isinstance(bad, UserError)
    assert reason in str(bad)
    assert good.output == "good"
    assert len(created(emulator)) == 1


async def test_a_malformed_model_is_refused(client):
    """The error says what to write."""
    agent = Agent(FireworksBatchModel("demo-8b", client=client), capabilities=[batching()])
    with pytest.raises(ConfigurationError, match="accounts/fireworks/models/demo-8b"):
        await agent.run("hello")


async def test_without_the_capability_requests_are_refused(emulator, client):
    """Streams, too. The error names the capability."""
    agent = Agent(FireworksBatchModel(MODEL, client=client))
    with pytest.raises(UserError, match="BatchModelRequests"):
        await agent.run("hello")
    with pytest.raises(UserError, match="BatchModelRequests"):
        async with agent.run_stream("hello"):
            pass
    assert not emulator.requests()


# --- Batches --------------------------------------------------------------------------------------


async def a_batch(model, *prompts):
    """Submit requests, and return the batch as another process would read it."""
    requests = [
        BatchRequest(custom_id=each, messages=[ModelRequest.user_text_prompt(each)])
        for each in prompts
    ]
    batch = await model.batch_create([await model.batch_encode(each) for each in requests])
    adapter = TypeAdapter(Batch)
    return adapter.validate_json(adapter.dump_json(batch))


async def its_end(model, batch):
    """Poll a batch until it has ended."""
    while batch.status != "ended":
        batch = await model.batch_status(batch)
    return batch


async def test_a_stored_batch_has_its_results(emulator, client):
    """By another model with another client, as in another process."""
    batch = await a_batch(FireworksBatchModel(MODEL, client=client), "b", "a")
    assert batch.id == f"accounts/acme/batchInferenceJobs/{created(emulator)[0]}"
    async with client_of(emulator) as other:
        model = FireworksBatchModel(MODEL, client=other)
        batch = await its_end(model, batch)
        results = await model.batch_results(batch)
    assert batch.created_at == (await client.jobs.get(batch.id)).create_time
    assert sorted((each.custom_id, each.status) for each in results) == [
        ("a", "succeeded"),
        ("b", "succeeded"),
    ]


async def test_a_stored_batch_can_be_cancelled(emulator, client):
    """Cancelling deletes the job."""
    emulator.script_jobs(phases=FOR_EVER)
    model = FireworksBatchModel(MODEL, client=client)
    batch = await model.batch_cancel(await a_batch(model, "a"))
    assert batch.status == "canceling"
    with pytest.raises(NotFoundError):
        while True:
            await client.jobs.get(batch.id)


async def test_a_batch_that_has_ended_is_not_deleted(emulator, client):
    """Its results were paid for."""
    model = FireworksBatchModel(MODEL, client=client)
    batch = await its_end(model, await a_batch(model, "a"))
    assert (await model.batch_cancel(batch)).status == "ended"
    assert not deleted(emulator)


@pytest.mark.parametrize("state", ["COMPLETED", "EXPIRED"])
async def test_a_late_output_is_not_taken_for_missing_rows(emulator, client, state):
    """Otherwise the rows would be sent again, and paid for again."""
    late = {"not_found_seconds": 30_000_000}
    emulator.script_jobs(phases=["RUNNING", state], output=late)
    model = FireworksBatchModel(MODEL, client=client)
    batch = await its_end(model, await a_batch(model, "a", "b"))
    with pytest.raises(ModelConnectionError, match=f"{state}: its output has 0 of"):
        await model.batch_results(batch)


async def test_a_line_that_cannot_be_read_costs_one_result(emulator, client):
    """Its row was paid for, and is not sent again."""
    model = FireworksBatchModel(MODEL, client=client)
    batch = await its_end(model, await a_batch(model, "a", "b"))
    line = json.dumps({"custom_id": "a", "response": completion(content="yes")})
    output = f"{created(emulator)[0]}-out"
    emulator.replace_file(output, "BIJOutputSet.jsonl", f"{line}\n{{broken\n".encode())
    assert [each.custom_id for each in await model.batch_results(batch)] == ["a"]
    assert model._batch_unlisted_status(batch) == "canceled"


async def test_a_new_job_may_not_be_visible_yet(emulator, client):
    """A job that was seen before is gone."""
    model = FireworksBatchModel(MODEL, client=client)
    batch = await a_batch(model, "a")
    hidden = {"method": "GET", "path": "*/batchInferenceJobs/*", "status": 404}
    emulator.add_fault("status", **hidden)
    with pytest.raises(ModelConnectionError):
        await model.batch_status(batch)
    batch = await model.batch_status(batch)
    emulator.add_fault("status", **hidden)
    with pytest.raises(ModelHTTPError, match="404"):
        await model.batch_status(batch)


async def test_results_of_a_batch_that_runs_are_refused(emulator, client):
    """As by other models."""
    emulator.script_jobs(phases=FOR_EVER)
    model = FireworksBatchModel(MODEL, client=client)
    batch = await a_batch(model, "a")
    with pytest.raises(UserError, match="has not ended"):
        await model.batch_results(batch)


async def test_a_server_that_is_not_there_is_a_failed_connection(emulator, client):
    """Such an error of a poll does not end a run at once."""
    model = FireworksBatchModel(MODEL, client=client)
    batch = await a_batch(model, "a")
    await emulator.stop()
    with pytest.raises(ModelConnectionError):
        await model.batch_status(batch)
    await emulator.start()


async def test_a_batch_of_another_model_is_refused(client):
    """It has no submission of ours."""
    model = FireworksBatchModel(MODEL, client=client)
    batch = await a_batch(model, "a")
    batch.provider_details = None
    with pytest.raises(ConfigurationError, match="not a stored submission"):
        await model.batch_status(batch)
