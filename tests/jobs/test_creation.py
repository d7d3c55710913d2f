"""Creating and deleting jobs over real HTTP: once, whatever becomes of the answers."""

import asyncio
import logging

import pytest
from clients import client_of

from fireworks_batch import (
    AuthenticationError,
    BadRequestError,
    BatchClient,
    ClientStateError,
    ConfigurationError,
    JobConflictError,
    NotFoundError,
    PermissionDeniedError,
    ResponseDecodeError,
    TransportError,
    WaitTimeoutError,
)
from fireworks_batch.emulator import Emulator

MODEL = "accounts/fireworks/models/demo-8b"
JOBS = "/v1/accounts/acme/batchInferenceJobs"


@pytest.fixture
async def emulator():
    """An emulator that does not ask for datasets to be there."""
    assume = {"input_dataset": "unchecked"}
    async with Emulator(speed=60_000, account_id="acme", assume=assume) as running:
        yield running


async def jobs_of(client: BatchClient) -> list[str]:
    """The ids of all jobs."""
    return [job.id async for job in client.jobs.list()]


async def create(client: BatchClient, **options):
    """Create a small job."""
    return await client.jobs.create(**{"model": MODEL, "input_dataset": "in", **options})


async def test_a_job_is_created_as_it_was_asked_for(client, emulator):
    """All members arrive; the answer is the server's."""
    job = await create(
        client,
        job_id="nightly",
        display_name="Nightly",
        inference_parameters={"temperature": 0.5, "extra_body": {"stop": ["END"]}},
        max_job_duration=86400,
        system_prompt="Be brief.",
        precision="FP8",
    )

    assert (job.id, job.state) == ("nightly", "VALIDATING")
    assert job.inference_parameters.extra_body == '{"stop": ["END"]}'
    assert (job.display_name, job.system_prompt, job.precision) == ("Nightly", "Be brief.", "FP8")
    assert [f"{r.method} {r.path}" for r in emulator.requests()] == [f"POST {JOBS}"]


async def test_an_id_is_made_up_and_logged_before_it_is_sent(client, emulator, caplog):
    """So that a job whose answer is lost with the process can be found."""
    caplog.set_level(logging.INFO, "fireworks_batch.run")
    emulator.add_fault("status", status=400, body={"code": 3, "message": "no", "details": []})
    with pytest.raises(BadRequestError) as caught:
        await create(client)

    assert caught.value.ref.job_id.startswith("job-")
    assert f"creating job {caught.value.ref}" in caplog.text


@pytest.mark.parametrize("times", [1, 3])
async def test_a_lost_answer_makes_one_job(client, emulator, times):
    """The repeat is refused, the job is found, and is the same."""
    emulator.add_fault("drop_answer", method="POST", times=times)
    job = await create(client)

    assert await jobs_of(client) == [job.id]


async def test_a_job_whose_answers_were_all_lost_is_found(client, emulator):
    """After the last attempt, one GET tells that the job is there."""
    emulator.add_fault("drop_answer", method="POST", times=None)
    job = await create(client)

    assert await jobs_of(client) == [job.id]


async def test_a_job_that_never_arrived_is_not_invented(client, emulator):
    """The error of the last attempt comes out, with the reference to try again with."""
    emulator.add_fault("reset", method="POST", times=None)
    with pytest.raises(TransportError) as caught:
        await create(client, job_id="nightly")

    assert caught.value.ref == client.jobs.ref("nightly")
    assert await jobs_of(client) == []


FOREIGN = {"name": "accounts/acme/batchInferenceJobs/foreign", "state": "JOB_STATE_VALIDATING"}


async def test_an_answer_about_another_job_is_not_taken_for_ours(client, emulator):
    """It is told by its name, for good, if there is no job of our id."""
    emulator.add_fault("status", method="POST", status=200, body=FOREIGN)
    with pytest.raises(JobConflictError) as no:
        await create(client, job_id="nightly")

    assert str(no.value) == (
        "the server was asked to create job 'nightly' and answered with "
        "'accounts/acme/batchInferenceJobs/foreign': it may have created the latter instead; "
        "check it before you try again"
    )
    assert no.value.ref == client.jobs.ref("nightly")
    assert [r.method for r in emulator.requests()] == ["POST", "GET"]


async def test_after_an_answer_about_another_job_ours_is_looked_for(client, emulator, caplog):
    """By a GET of the id, whose answer has to be about it, too."""
    made = await create(client, job_id="nightly")
    emulator.add_fault("status", method="POST", status=200, body=FOREIGN, times=2)
    assert (await create(client, job_id="nightly")).name == made.name

    emulator.add_fault("status", method="GET", status=200, body=FOREIGN)
    with pytest.raises(JobConflictError, match="and answered with"):
        await create(client, job_id="nightly")
    assert "is not known: the answer is about accounts/acme/batchInferenceJobs/fo" in caplog.text


async def test_the_same_call_again_gives_the_same_job(client, emulator):
    """A worker that was killed repeats its call with the id of its own."""
    first = await create(client, job_id="nightly", display_name="x")
    again = await create(client, job_id="nightly", display_name="x")

    assert (first.name, [again.id]) == (again.name, await jobs_of(client))


async def test_another_job_under_the_id_is_a_conflict(client):
    """The error names the difference, and the reference."""
    await create(client, job_id="nightly")
    with pytest.raises(JobConflictError) as caught:
        await create(client, job_id="nightly", input_dataset="other")

    assert str(caught.value).startswith(
        "job id 'nightly' is taken by another job: input_dataset_id is "
        "'accounts/acme/datasets/in', not 'accounts/acme/datasets/other'; choose another job_id"
    )
    assert caught.value.ref == client.jobs.ref("nightly")


@pytest.mark.parametrize("state", ["DELETING", "DELETED", "ARCHIVED"])
async def test_a_job_that_is_being_deleted_is_not_taken_over(client, emulator, state):
    """It would never end, though it is the same."""
    await create(client, job_id="nightly")
    emulator.script_job("nightly", phases=[state])
    with pytest.raises(JobConflictError) as caught:
        await create(client, job_id="nightly")

    assert str(caught.value).startswith(
        f"job id 'nightly' is taken by the same job, which is {state}: choose another job_id"
    )


async def test_a_taken_id_may_be_refused_with_400():
    """Nobody has seen how the server says it: either way the job is looked for."""
    assume = {"duplicate_job_status": "400", "input_dataset": "unchecked"}
    async with (
        Emulator(speed=60_000, assume=assume) as emulator,
        client_of(emulator) as client,
    ):
        emulator.add_fault("drop_answer", method="POST")
        job = await create(client)
        assert await jobs_of(client) == [job.id]


async def test_a_plain_refusal_is_reported_as_it_is(client, emulator):
    """There was no such job before, and there is none after."""
    body = {"code": 3, "message": "model is not there", "details": []}
    emulator.add_fault("status", method="POST", status=400, body=body)
    with pytest.raises(BadRequestError, match="400 INVALID_ARGUMENT: model is not there"):
        await create(client, job_id="nightly")


async def test_an_unreadable_answer_is_answered_by_a_look(client, emulator):
    """A 2xx that is not JSON may have made the job."""
    emulator.add_fault("garbage", method="POST")
    with pytest.raises(Exception, match="the body is not JSON") as caught:
        await create(client, job_id="nightly")
    assert caught.value.ref == client.jobs.ref("nightly")


async def test_malformed_arguments_send_nothing(client, emulator):
    """A wrong type inside the parameters is named by its path."""
    with pytest.raises(
        ConfigurationError, match=r"inferenceParameters\.maxTokens: expected an int"
    ):
        await create(client, inference_parameters={"max_tokens": "many"})
    with pytest.raises(ConfigurationError, match="belongs to account 'other'"):
        await create(client, continued_from="accounts/other/batchInferenceJobs/x")

    assert emulator.requests() == []


async def test_malformed_arguments_do_not_even_ask_for_the_account(emulator):
    """They are told first, whether the account is known or not."""
    async with client_of(emulator, account_id=None) as client:
        for options in ({"model": "demo-8b"}, {"inference_parameters": {"max_tokens": "many"}}):
            with pytest.raises(ConfigurationError):
                await create(client, **options)

    assert emulator.requests() == []


async def test_a_deployed_model_is_rewritten_with_a_warning(client, caplog):
    """The log says so."""
    job = await create(client, model="accounts/acme/deployedModels/mine")

    assert job.model == "accounts/acme/models/mine"
    assert "model 'accounts/acme/deployedModels/mine' is the name of a deployment" in caplog.text


# --- Deleting -------------------------------------------------------------------------------------


async def test_delete_stops_and_removes(client, emulator):
    """It returns when the server has accepted it."""
    emulator.script_job("nightly", phases=["RUNNING"])
    await client.jobs.delete("nightly")

    assert [r.method for r in emulator.requests()] == ["DELETE"]


async def test_delete_waits_until_the_job_is_gone(client, emulator):
    """Afterwards there is no such job."""
    emulator.script_job("nightly", phases=["RUNNING"])
    await client.jobs.delete("nightly", wait=True)

    with pytest.raises(NotFoundError):
        await client.jobs.get("nightly")


async def test_delete_waits_where_masks_are_refused():
    """It does without."""
    assume = {"input_dataset": "unchecked", "mask_support": "refuse"}
    async with (
        Emulator(speed=60_000, account_id="acme", assume=assume) as emulator,
        client_of(emulator) as client,
    ):
        emulator.script_job("nightly", phases=["RUNNING"])
        emulator.add_fault("status", method="GET", status=503)  # so that there are two looks
        await client.jobs.delete("nightly", wait=True)
        with pytest.raises(NotFoundError):
            await client.jobs.get("nightly")


@pytest.mark.parametrize(
    ("position", "state"), [("tombstone", "DELETED"), ("archived", "ARCHIVED")]
)
def test_delete_takes_a_tombstone_for_gone(in_virtual_time, position, state):
    """A job that stays visible as DELETED or ARCHIVED is waited for no longer."""

    async def scenario(emulator, client):
        emulator.script_job("nightly", phases=["RUNNING"])
        await client.jobs.delete("nightly", wait=True)
        assert (await client.jobs.get("nightly")).state == state

    in_virtual_time(scenario, emulator={"assume": {"deleted_job": position}})


@pytest.mark.parametrize(
    ("position", "kind"), [("403", PermissionDeniedError), ("400", BadRequestError)]
)
def test_a_zero_data_retention_policy_is_no_wrong_key(in_virtual_time, position, kind):
    """The job is refused at once, once, in the server's words, and the key is not blamed."""

    async def scenario(emulator, client):
        began = asyncio.get_running_loop().time()
        with pytest.raises(kind, match="zero data retention policy") as caught:
            await create(client, job_id="nightly")
        assert asyncio.get_running_loop().time() - began < 1
        assert not isinstance(caught.value, AuthenticationError)
        assert "API_KEY" not in str(caught.value)
        assert [each.status for each in emulator.requests() if each.method == "POST"] == [
            int(position)
        ]

    in_virtual_time(scenario, emulator={"assume": {"zero_data_retention": position}})


async def test_a_router_is_let_through(client, emulator):
    """Its name is sent as it is: whether routers serve batch jobs is for the server to say."""
    router = "accounts/fireworks/routers/fast"
    assert (await create(client, model=router)).model == router


async def test_delete_waits_through_failures(client, emulator):
    """A look that is lost costs nothing but itself."""
    emulator.script_job("nightly", phases=["RUNNING"])
    emulator.add_fault("status", method="GET", status=503, times=2)
    emulator.add_fault("reset", method="GET", times=2)
    await client.jobs.delete("nightly", wait=True)

    looks = [request for request in emulator.requests() if request.method == "GET"]
    assert ["status", "status", "reset", "reset"] == [look.fault for look in looks if look.fault]
    assert (404, None) == (looks[-1].status, looks[-1].fault)


async def test_a_job_that_a_proxy_does_not_find_is_not_gone(client, emulator):
    """Its page is a lost look: only the API's own word ends the waiting."""
    emulator.script_job("nightly", phases=["RUNNING"])
    emulator.add_fault("html", method="GET", status=404, times=2)
    await client.jobs.delete("nightly", wait=True)

    *lost, last = [r for r in emulator.requests() if r.method == "GET"]
    assert ["html", "html"] == [r.fault for r in lost][:2]
    assert (404, None) == (last.status, last.fault)


async def test_a_repeated_delete_that_a_proxy_does_not_find_has_failed(client, emulator):
    """Nobody knows what became of the first attempt: the job may run on."""
    emulator.script_job("nightly", phases=["RUNNING"])
    emulator.add_fault("reset", method="DELETE")
    emulator.add_fault("html", method="DELETE", status=404, times=None)
    with pytest.raises(NotFoundError):
        await client.jobs.delete("nightly")

    assert (await client.jobs.get("nightly")).state == "RUNNING"


async def test_a_page_of_a_proxy_deletes_no_job(client, emulator):
    """A 200 whose body is not JSON is an error: the job may run on."""
    emulator.script_job("nightly", phases=["RUNNING"])
    emulator.add_fault("html", method="DELETE", status=200)
    with pytest.raises(ResponseDecodeError):
        await client.jobs.delete("nightly")

    assert (await client.jobs.get("nightly")).state == "RUNNING"


async def test_a_repeated_delete_finds_nothing_and_is_content():
    """A lost answer may have been a yes, so the 404 of the repeat is one."""
    async with (
        Emulator(speed=60_000, assume={"repeated_delete": "not_found"}) as emulator,
        client_of(emulator) as client,
    ):
        emulator.script_job("nightly", phases=["RUNNING"])
        emulator.add_fault("drop_answer", method="DELETE")
        await client.jobs.delete("nightly")
        deletes = [r.status for r in emulator.requests() if r.method == "DELETE"]
        assert deletes == [None, 404]


async def test_delete_of_nothing_says_so(client):
    """A 404 at the first attempt is an error."""
    with pytest.raises(NotFoundError, match="resource not found"):
        await client.jobs.delete("nightly")


async def test_delete_gives_up_waiting(emulator, monkeypatch):
    """A job that stays is reported, with the state it was last seen in."""
    monkeypatch.setenv("FIREWORKS_BATCH_TIME_SCALE", "1e-5")
    emulator.script_job("nightly", phases=["RUNNING"])
    async with client_of(emulator) as client:
        emulator.add_fault(
            "status",
            method="GET",
            times=None,
            status=200,
            body={
                "name": "accounts/acme/batchInferenceJobs/nightly",
                "state": "JOB_STATE_DELETING",
            },
        )
        with pytest.raises(WaitTimeoutError, match=r"to be gone after .*DELETING"):
            await client.jobs.delete("accounts/acme/batchInferenceJobs/nightly", wait=True)


async def test_cancelling_a_wait_for_a_deletion_lands_at_once(client, emulator):
    """And leaves nothing behind."""
    emulator.script_job("nightly", phases=["RUNNING"])
    emulator.add_fault("hang", method="GET", times=None)
    task = asyncio.create_task(client.jobs.delete("nightly", wait=True))
    while not any(r.method == "GET" for r in emulator.requests()):
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_closing_the_client_ends_a_wait_for_a_deletion(client, emulator):
    """With the error that says so."""
    emulator.script_job("nightly", phases=["RUNNING"])
    emulator.add_fault("hang", method="GET", times=None)
    task = asyncio.create_task(client.jobs.delete("nightly", wait=True))
    while not any(r.method == "GET" for r in emulator.requests()):
        await asyncio.sleep(0.001)
    await client.aclose()
    with pytest.raises(ClientStateError, match="the client is closed"):
        await task
