"""The vendor's own SDK, which we did not write, drives the emulator through the life of a job.

It checks each answer against its own models, since it is asked to be strict.
"""

import asyncio
import json
from types import SimpleNamespace

import fireworks
import httpx
import pytest
from fireworks.lib import dataset_upload

from fireworks_batch.emulator import Emulator, RowFailureError

ROWS = b"".join(
    json.dumps(
        {"custom_id": f"r{n}", "body": {"messages": [{"role": "user", "content": "hi"}]}}
    ).encode()
    + b"\n"
    for n in range(5)
)


def refuse_one(custom_id, _):
    """Answer all rows but one."""
    return RowFailureError("no") if custom_id == "r3" else custom_id


@pytest.fixture
async def emulator():
    """An emulator in which a minute passes in a millisecond."""
    async with Emulator(speed=60_000, responder=refuse_one) as running:
        yield running


def options(emulator):
    """Give what a client of the emulator is made with."""
    return {
        "api_key": emulator.api_key,
        "account_id": emulator.account_id,
        "base_url": emulator.base_url,
        "max_retries": 0,
        "_strict_response_validation": True,
    }


@pytest.fixture
async def client(emulator):
    """The vendor's async client."""
    async with fireworks.AsyncFireworks(**options(emulator)) as made:
        yield made


@pytest.fixture
def sync_client(emulator):
    """The vendor's sync client, for a thread."""
    with fireworks.Fireworks(**options(emulator)) as made:
        yield made


async def until_ready(client, dataset_id):
    """Poll a dataset as the vendor's README does."""
    while (dataset := await client.datasets.get(dataset_id)).state != "READY":
        await asyncio.sleep(0.001)
    return dataset


async def until_over(client, job_id):
    """Poll a job."""
    while True:
        job = await client.batch_inference_jobs.get(job_id)
        if job.state in {"JOB_STATE_COMPLETED", "JOB_STATE_FAILED", "JOB_STATE_EXPIRED"}:
            return job
        await asyncio.sleep(0.002)


async def create_dataset(client, dataset_id):
    """Create a dataset that waits for its rows."""
    return await client.datasets.create(
        dataset_id=dataset_id, dataset={"user_uploaded": {}, "example_count": "5"}
    )


async def create_job(client, job_id, dataset_id="reviews"):
    """Create a job."""
    return await client.batch_inference_jobs.create(
        batch_inference_job_id=job_id,
        model="accounts/fireworks/models/demo-8b",
        input_dataset_id=f"accounts/acme/datasets/{dataset_id}",
        output_dataset_id=f"accounts/acme/datasets/{job_id}-out",
        inference_parameters={"max_tokens": 5, "temperature": 0.5, "extra_body": '{"stop": ["x"]}'},
    )


async def download(client, dataset_id):
    """Give the rows of all files, by their names."""
    answer = await client.datasets.get_download_endpoint(dataset_id)
    found = {}
    async with httpx.AsyncClient() as http:
        for key, url in answer.filename_to_signed_urls.items():
            text = (await http.get(url)).raise_for_status().text
            found[key.rpartition("/")[2]] = [json.loads(line) for line in text.splitlines()]
    return found


async def test_the_whole_life_of_a_job(client):
    """From an upload to the rows, and all is deleted."""
    dataset = await create_dataset(client, "reviews")
    assert (dataset.state, dataset.example_count) == ("UPLOADING", "5")
    uploaded = await client.datasets.upload("reviews", file=("input.jsonl", ROWS))
    assert (uploaded.bytes, uploaded.filename) == (len(ROWS), "input.jsonl")
    await until_ready(client, "reviews")
    job = await create_job(client, "nightly")
    assert (job.state, job.job_progress) == ("JOB_STATE_VALIDATING", None)
    assert job.inference_parameters.max_tokens == 5
    job = await until_over(client, "nightly")
    assert (job.state, job.status.code) == ("JOB_STATE_COMPLETED", "OK")
    progress = job.job_progress
    assert (progress.percent, progress.output_rows, progress.failed_requests) == (100, 4, 1)
    found = await download(client, "nightly-out")
    results = {row["custom_id"]: row["response"] for row in found["BIJOutputSet.jsonl"]}
    assert results.keys() == {"r0", "r1", "r2", "r4"}
    assert results["r0"]["choices"][0]["message"]["content"] == "r0"
    assert found["error-data"] == [{"custom_id": "r3", "error": {"code": 400, "message": "no"}}]
    await client.batch_inference_jobs.delete("nightly")
    for dataset_id in ("reviews", "nightly-out"):
        await client.datasets.delete(dataset_id)
    assert (await client.datasets.list()).datasets == []


async def test_jobs_and_datasets_are_listed_in_small_pages(client, emulator):
    """The SDK goes from page to page by itself."""
    for number in range(5):
        emulator.script_job(f"job-{number}", phases=["RUNNING"])
        emulator.add_dataset(f"set-{number}", files={})
    jobs = client.batch_inference_jobs.list(page_size=2, order_by="created_time")
    assert [job.name[-5:] async for job in jobs] == [f"job-{number}" for number in range(5)]
    datasets = client.datasets.list(page_size=2)
    assert [dataset.name[-5:] async for dataset in datasets] == [f"set-{n}" for n in range(5)]
    queries = [record.query for record in emulator.requests()]
    assert ["pageToken" in query for query in queries] == [False, True, True] * 2


async def test_rows_come_by_signed_urls(client):
    """The SDK registers and validates; it is up to httpx to carry the file, without a key."""
    await create_dataset(client, "reviews")
    answer = await client.datasets.get_upload_endpoint(
        "reviews", filename_to_size={"input.jsonl": str(len(ROWS))}
    )
    headers = {
        "Content-Type": "application/octet-stream",
        "X-Goog-Content-Length-Range": f"{len(ROWS)},{len(ROWS)}",
    }
    async with httpx.AsyncClient() as http:
        url = answer.filename_to_signed_urls["input.jsonl"]
        (await http.put(url, content=ROWS, headers=headers)).raise_for_status()
    await client.datasets.validate_upload("reviews", body={})
    await until_ready(client, "reviews")
    await create_job(client, "nightly")
    assert (await until_over(client, "nightly")).job_progress.output_rows == 4


class PlainTransport(httpx.HTTPTransport):
    """Reaches by plain HTTP what it is told to reach by TLS, which the emulator does not speak."""

    def handle_request(self, request):
        request.url = request.url.copy_with(scheme="http")
        return super().handle_request(request)


class SecureDatasets:
    """The SDK's datasets, with signed URLs that look as the helper demands."""

    def __init__(self, datasets):
        self._datasets = datasets

    def __getattr__(self, name):
        return getattr(self._datasets, name)

    def get_upload_endpoint(self, *args, **kwargs):
        answer = self._datasets.get_upload_endpoint(*args, **kwargs)
        urls = answer.filename_to_signed_urls.items()
        secure = {name: url.replace("http:", "https:", 1) for name, url in urls}
        return answer.model_copy(update={"filename_to_signed_urls": secure})


async def test_the_helper_for_shards_uploads_a_directory(
    client, sync_client, monkeypatch, tmp_path
):
    """The vendor's own code for signed URLs, file by file."""
    for number, line in enumerate(ROWS.splitlines(keepends=True)):
        (tmp_path / f"{number}.jsonl").write_bytes(line)

    def plain_client(**settings):
        return httpx.Client(transport=PlainTransport(), **settings)

    fake_httpx = SimpleNamespace(Client=plain_client, URL=httpx.URL)
    monkeypatch.setattr(dataset_upload, "httpx", fake_httpx)
    await create_dataset(client, "reviews")
    shim = SimpleNamespace(datasets=SecureDatasets(sync_client.datasets))
    await asyncio.to_thread(dataset_upload.upload_dataset_shards, shim, "reviews", str(tmp_path))
    await until_ready(client, "reviews")
    assert len(await download(client, "reviews")) == 5
    await create_job(client, "nightly")
    assert (await until_over(client, "nightly")).job_progress.output_rows == 4


async def test_a_refusal_is_the_sdks_own_error(client):
    """404 and 409 become what its users expect."""
    with pytest.raises(fireworks.NotFoundError, match="resource not found"):
        await client.datasets.get("reviews")
    await create_dataset(client, "reviews")
    with pytest.raises(fireworks.ConflictError, match="dataset already exists"):
        await create_dataset(client, "reviews")
    with pytest.raises(fireworks.BadRequestError, match="example_count is required"):
        await client.datasets.create(dataset_id="more", dataset={"user_uploaded": {}})
    await client.datasets.upload("reviews", file=("input.jsonl", ROWS))
    with pytest.raises(fireworks.BadRequestError, match="dataset is already uploaded"):
        await client.datasets.upload("reviews", file=("input.jsonl", ROWS))
