"""Datasets over HTTP: what is refused, both ways up, the way down."""

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest

DATASETS = "/v1/accounts/acme/datasets"
ROWS = b'{"custom_id": "a"}\n{"custom_id": "b"}\n'
SIGNED = {"Content-Type": "application/octet-stream"}


def refused(code: int, message: str) -> dict:
    """Give the gateway's error object."""
    return {"code": code, "message": message, "details": []}


async def create(bench, dataset_id="in", **members):
    """Create a dataset that waits for its files."""
    dataset = {"userUploaded": {}, "exampleCount": "2"} | members
    body = {"datasetId": dataset_id, "dataset": dataset}
    return await bench.api.post(DATASETS, json=body)


async def upload(bench, dataset_id="in", content=ROWS, name="input.jsonl"):
    """Upload a file in a form."""
    form = aiohttp.FormData()
    form.add_field("file", content, filename=name)
    return await bench.api.post(f"{DATASETS}/{dataset_id}:upload", data=form)


async def register(bench, dataset_id="in", **sizes):
    """Ask for signed URLs to upload to, by file."""
    body = {"filenameToSize": {f"{name}.jsonl": str(size) for name, size in sizes.items()}}
    reply = await bench.api.post(f"{DATASETS}/{dataset_id}:getUploadEndpoint", json=body)
    assert reply.status == 200, reply.body
    return reply.json["filenameToSignedUrls"]


async def put(bench, url, content, size=None, **headers):
    """Upload by a signed URL."""
    size = len(content) if size is None else size
    signed = SIGNED | {"X-Goog-Content-Length-Range": f"{size},{size}"}
    async with (
        aiohttp.ClientSession() as session,
        session.put(url, data=content, headers=signed | headers) as response,
    ):
        return response.status, await response.text()


async def state(bench, dataset_id="in"):
    """Give a dataset's state."""
    return (await bench.api.get(f"{DATASETS}/{dataset_id}")).json["state"]


async def download(bench, dataset_id="in"):
    """Give the contents of all files, by key."""
    reply = await bench.api.get(f"{DATASETS}/{dataset_id}:getDownloadEndpoint")
    assert reply.status == 200, reply.body
    contents = {}
    async with aiohttp.ClientSession() as session:
        for key, url in reply.json["filenameToSignedUrls"].items():
            async with session.get(url) as response:
                contents[key] = await response.read()
    return contents


# Creating, showing, listing, deleting


async def test_a_created_dataset_shows_all_its_members(bench):
    """Nine digits in the answer to create, six afterwards; int64 is text."""
    reply = await create(bench, displayName="mine", format="CHAT")
    times = "2026-09-14T09:00:00.000000"
    assert reply.status == 200
    assert re.fullmatch(rf"{times}\d{{3}}Z", reply.json["createTime"])
    assert (await bench.api.get(f"{DATASETS}/in")).json == {
        "name": "accounts/acme/datasets/in",
        "displayName": "mine",
        "createTime": f"{times}Z",
        "updateTime": f"{times}Z",
        "createdBy": "dev@acme.example",
        "state": "UPLOADING",
        "status": {"code": "OK", "message": ""},
        "exampleCount": "2",
        "estimatedTokenCount": "0",
        "averageTurnCount": 0,
        "format": "CHAT",
        "externalUrl": "",
        "sourceJobName": "",
        "encryptionState": "ENCRYPTION_STATE_PLAINTEXT",
        "userUploaded": {},
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"datasetId": "in", "dataset": {"userUploaded": {}}},
            "error validating dataset: example_count is required for uploaded datasets",
        ),
        (
            {"datasetId": "in", "exampleCount": "2", "dataset": {}},
            'proto: (line 1:21): unknown field "exampleCount"',
        ),
        ({"datasetId": "in"}, "error validating dataset: dataset is required"),
        (
            {"dataset": {"exampleCount": 2}},
            "invalid dataset_id '': a-z, 0-9 and -, a letter first",
        ),
        (
            {"datasetId": "in", "dataset": {"exampleCount": "x"}},
            'proto: (line 1:33): invalid value for int64 field dataset.exampleCount: "x"',
        ),
        (
            {"datasetId": "in", "dataset": {"userUploaded": {}, "evalProtocol": {}}},
            "proto: oneof data_source is already set: userUploaded and evalProtocol",
        ),
    ],
)
async def test_a_dataset_that_cannot_be_made_is_refused(bench, body, message):
    """The count of rows is required, inside of the dataset, and unknown members are not taken."""
    reply = await bench.api.post(DATASETS, json=body)
    assert (reply.status, reply.json) == (400, refused(3, message))


@pytest.mark.parametrize("members", [{"exampleCount": 7}, {"example_count": "7"}])
async def test_the_count_of_rows_is_taken_as_it_is_said(bench, members):
    """As a number or a text, in either spelling; nobody counts."""
    dataset = {"user_uploaded": {}} | members
    reply = await bench.api.post(DATASETS, json={"dataset_id": "in", "dataset": dataset})
    assert (reply.status, reply.json["exampleCount"]) == (200, "7")


@pytest.mark.parametrize(("position", "status"), [("409", 409), ("400", 400)])
async def test_a_taken_id_is_refused(make_bench, position, status):
    """By the code ALREADY_EXISTS, and the dataset stays."""
    async with make_bench(assume={"duplicate_dataset_status": position}) as bench:
        await create(bench)
        reply = await create(bench, exampleCount="9")
        assert (reply.status, reply.json) == (status, refused(6, "dataset already exists"))
        assert (await bench.api.get(f"{DATASETS}/in")).json["exampleCount"] == "2"


async def test_a_display_name_may_be_rejected(make_bench):
    """By assumption it is an unknown field."""
    async with make_bench(assume={"dataset_display_name": "reject"}) as bench:
        reply = await create(bench, displayName="x")
        assert (reply.status, "unknown field" in reply.json["message"]) == (400, True)


async def test_datasets_are_listed_by_name_in_pages(bench):
    """The documented default order; the last token is empty."""
    for name in ("b", "c", "a"):
        await create(bench, name)
    first = (await bench.api.get(f"{DATASETS}?pageSize=2")).json
    names = [dataset["name"][-1] for dataset in first["datasets"]]
    assert (names, first["totalSize"]) == (["a", "b"], 3)
    query = {"pageSize": "2", "pageToken": first["nextPageToken"]}
    second = (await bench.api.get(DATASETS, params=query)).json
    names = [dataset["name"][-1] for dataset in second["datasets"]]
    assert (names, second["nextPageToken"]) == (["c"], "")
    query = {"orderBy": "name desc", "filter": "state=UPLOADING", "readMask": "name"}
    third = (await bench.api.get(DATASETS, params=query)).json
    assert [dataset["name"][-1] for dataset in third["datasets"]] == ["c", "b", "a"]


async def test_a_dataset_can_be_updated(bench):
    """Members directly, without a mask; the format stays what it is."""
    await create(bench, format="CHAT")
    reply = await bench.api.send("PATCH", f"{DATASETS}/in", json={"displayName": "new"})
    assert (reply.status, reply.json["displayName"], reply.json["format"]) == (200, "new", "CHAT")
    reply = await bench.api.send("PATCH", f"{DATASETS}/in", json={"format": "RL"})
    assert (reply.status, reply.json) == (400, refused(3, "format is immutable"))


async def test_a_deleted_dataset_is_gone_at_once(bench):
    """Its files as well, and its id is free."""
    await create(bench)
    await upload(bench)
    bench.clock.advance(1)
    url = (await bench.api.get(f"{DATASETS}/in:getDownloadEndpoint")).json["filenameToSignedUrls"]
    reply = await bench.api.delete(f"{DATASETS}/in")
    assert (reply.status, reply.json) == (200, {})
    for path in ("in", "in:getDownloadEndpoint"):
        reply = await bench.api.get(f"{DATASETS}/{path}")
        assert (reply.status, reply.json) == (404, refused(5, "resource not found"))
    async with aiohttp.ClientSession() as session, session.get(*url.values()) as response:
        assert (response.status, "NoSuchKey" in await response.text()) == (404, True)
    assert (await create(bench)).status == 200


async def test_a_dataset_is_copied(bench):
    """A source is ready; the copy knows where it is from, and outlives it."""
    await create(bench)
    body = {"datasetId": "copy", "dataset": {}, "sourceDatasetId": "in"}
    assert (await bench.api.post(DATASETS, json=body)).status == 400
    await upload(bench)
    bench.clock.advance(1)
    reply = await bench.api.post(DATASETS, json=body)
    source = {"sourceDatasetId": "accounts/acme/datasets/in", "filter": "", "originalFormat": ""}
    assert (reply.status, reply.json["exampleCount"]) == (200, "2")
    assert reply.json["transformed"].items() <= source.items()
    bench.clock.advance(1)
    await bench.api.delete(f"{DATASETS}/in")
    assert await download(bench, "copy") == {"dataset/copy/input.jsonl": ROWS}


async def test_a_dataset_is_split(bench):
    """Into chunks of so many rows, at least 200; blank lines are none."""
    rows = b"".join(b"%d\n" % number for number in range(450))
    bench.emulator.add_dataset("in", files={"a": rows[:890] + b"\n", "b": rows[890:]})
    path = f"{DATASETS}/in:splitDataset"
    reply = await bench.api.post(path, json={"chunkSize": 199})
    message = "chunk_size must be at least 200, not 199"
    assert (reply.status, reply.json) == (400, refused(3, message))
    reply = await bench.api.post(path, json={"chunkSize": 200})
    assert (reply.status, reply.json) == (
        200,
        {
            "chunkDatasetNames": [f"accounts/acme/datasets/in-chunk-{n}" for n in (1, 2, 3)],
            "chunksCreated": 3,
            "totalExamples": "450",
        },
    )
    assert await state(bench, "in-chunk-3") == "UPLOADING"
    bench.clock.advance(1)
    contents = [await download(bench, f"in-chunk-{number}") for number in (1, 2, 3)]
    assert b"".join(content for files in contents for content in files.values()) == rows
    dataset = (await bench.api.get(f"{DATASETS}/in-chunk-3")).json
    source = {"sourceDatasetId": "accounts/acme/datasets/in"}
    assert (dataset["exampleCount"], dataset["splitted"]) == ("50", source)


# Up, in a form


async def test_an_uploaded_file_makes_the_dataset_ready(bench):
    """After about a second; the answer names the dataset."""
    await create(bench)
    reply = await upload(bench)
    assert (reply.status, reply.json) == (
        200,
        {
            "id": "accounts/acme/datasets/in",
            "object": "file",
            "bytes": len(ROWS),
            "created_at": 1789376400,
            "filename": "input.jsonl",
            "purpose": "dataset",
        },
    )
    assert await state(bench) == "UPLOADING"
    reply = await bench.api.get(f"{DATASETS}/in:getDownloadEndpoint")
    assert (reply.status, reply.json["message"]) == (400, "dataset is not ready")
    bench.clock.advance(1)
    assert await state(bench) == "READY"
    assert await download(bench) == {"dataset/in/input.jsonl": ROWS}
    assert bench.emulator.requests()[1].body_bytes > len(ROWS)


@pytest.mark.parametrize(("position", "status"), [("400", 400), ("409", 409)])
@pytest.mark.parametrize("seconds", [0, 1])
async def test_a_second_upload_is_refused(make_bench, position, status, seconds):
    """Whether the dataset is ready or not quite; likewise by a signed URL."""
    async with make_bench(assume={"reupload_status": position}) as bench:
        await create(bench)
        await upload(bench)
        bench.clock.advance(seconds)
        for reply in (
            await upload(bench, content=b"x"),
            await bench.api.post(f"{DATASETS}/in:getUploadEndpoint", json={}),
            await bench.api.post(f"{DATASETS}/in:validateUpload", json={}),
        ):
            message = "dataset is already uploaded"
            assert (reply.status, reply.json) == (status, refused(9, message))
        bench.clock.advance(1)
        assert await download(bench) == {"dataset/in/input.jsonl": ROWS}


async def test_of_two_uploads_at_once_one_counts(bench):
    """The one that is done first; the other is refused at its end."""
    await create(bench)
    may_end = asyncio.Event()

    async def chunks():
        yield b"late"
        await may_end.wait()

    late = asyncio.create_task(upload(bench, content=chunks()))
    while len(bench.emulator.requests()) < 2:
        await asyncio.sleep(0)
    assert (await upload(bench)).status == 200
    may_end.set()
    reply = await late
    assert (reply.status, reply.json["message"]) == (400, "dataset is already uploaded")
    bench.clock.advance(1)
    assert await download(bench) == {"dataset/in/input.jsonl": ROWS}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("copy.jsonl", {"input.jsonl", "copy.jsonl"}), ("input.jsonl", {"input.jsonl"})],
)
async def test_of_two_uploads_at_once_both_may_count(make_bench, name, expected):
    """By assumption the dataset has the files of both; a later upload is refused all the same."""
    async with make_bench(assume={"concurrent_uploads": "all"}) as bench:
        await create(bench)
        may_end = asyncio.Event()

        async def chunks():
            yield ROWS
            await may_end.wait()

        late = asyncio.create_task(upload(bench, content=chunks(), name=name))
        while len(bench.emulator.requests()) < 2:
            await asyncio.sleep(0)
        assert (await upload(bench)).status == 200
        bench.clock.advance(1)
        may_end.set()
        assert (await late).status == 200
        assert await state(bench) == "READY"
        assert await download(bench) == {f"dataset/in/{each}": ROWS for each in expected}
        assert (await upload(bench, name="third.jsonl")).status == 400


async def test_a_form_without_the_file_is_refused(bench):
    """The part is called `file`, and is not empty; the dataset still waits."""
    await create(bench)
    form = aiohttp.FormData()
    form.add_field("data", ROWS, filename="x.jsonl")
    reply = await bench.api.post(f"{DATASETS}/in:upload", data=form)
    assert (reply.status, reply.json) == (400, refused(3, "no part 'file' in the form"))
    reply = await bench.api.post(f"{DATASETS}/in:upload", data=ROWS)
    assert (reply.status, reply.json["message"]) == (
        400,
        "request Content-Type isn't multipart/form-data: application/octet-stream",
    )
    reply = await upload(bench, content=b"")
    assert (reply.status, reply.json["message"]) == (400, "file 'input.jsonl' is empty")
    assert (await upload(bench)).status == 200


@pytest.mark.once
@pytest.mark.parametrize(("position", "status"), [("150MB", 413), ("150MiB", 413), ("none", 200)])
async def test_an_upload_has_a_limit(make_bench, position, status, tmp_path):
    """A byte too many is answered by the front end; the dataset still waits."""
    size = {"150MB": 150_000_001, "150MiB": 157_286_401, "none": 150_000_001}[position]
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(size)
    async with make_bench(assume={"upload_limit": position}) as bench:
        await create(bench)
        with path.open("rb") as file:
            reply = await upload(bench, content=file)
        assert reply.status == status
        bench.clock.advance(1)
        assert await state(bench) == ("READY" if status == 200 else "UPLOADING")


async def test_an_upload_that_is_cut_leaves_nothing(bench):
    """Not a half file, and the dataset waits for another one."""
    await create(bench)
    bench.emulator.add_fault("reset", path="*:upload", bytes=200_000)
    with pytest.raises(aiohttp.ClientError):
        await upload(bench, content=bytes(1_000_000))
    assert await state(bench) == "UPLOADING"
    assert (await upload(bench)).status == 200
    bench.clock.advance(1)
    assert await download(bench) == {"dataset/in/input.jsonl": ROWS}


# Up, by signed URLs


async def test_files_come_by_signed_urls(bench):
    """All registered files, then a validation; after about a second it is ready."""
    await create(bench)
    urls = await register(bench, one=3, two=4)
    assert [
        await put(bench, url, content)
        for url, content in zip(urls.values(), (b"a\nb", b"c\nd\n"), strict=True)
    ] == [(200, "")] * 2
    assert await state(bench) == "UPLOADING"
    reply = await bench.api.post(f"{DATASETS}/in:validateUpload", json={})
    assert (reply.status, reply.json) == (200, {})
    bench.clock.advance(0.5)
    assert await state(bench) == "UPLOADING"
    bench.clock.advance(0.5)
    assert await state(bench) == "READY"
    assert await download(bench) == {
        "dataset/in/one.jsonl": b"a\nb",
        "dataset/in/two.jsonl": b"c\nd\n",
    }


async def test_a_registered_file_must_be_there(bench):
    """A validation before it has come is refused, and can be repeated."""
    await create(bench)
    path = f"{DATASETS}/in:validateUpload"
    reply = await bench.api.post(path, json={})
    assert (reply.status, reply.json) == (400, refused(9, "dataset has no files"))
    urls = await register(bench, one=3)
    reply = await bench.api.post(path, json={})
    assert (reply.status, reply.json) == (400, refused(9, "file 'one.jsonl' was not uploaded"))
    reply = await bench.api.post(path, json={"x": 1})
    assert (reply.status, reply.json["message"]) == (400, 'proto: (line 1:2): unknown field "x"')
    await put(bench, urls["one.jsonl"], b"a\nb")
    assert (await bench.api.post(path, json={})).status == 200


async def test_a_registered_file_must_have_its_size(bench):
    """What came under another size is not it."""
    await create(bench)
    await put(bench, (await register(bench, one=3))["one.jsonl"], b"abc")
    await register(bench, one=4)
    reply = await bench.api.post(f"{DATASETS}/in:validateUpload", json={})
    assert (reply.status, reply.json) == (400, refused(9, "file 'one.jsonl' was not uploaded"))


async def test_files_registered_later_are_all_there_is(bench):
    """Each call replaces what was registered before."""
    await create(bench)
    urls = await register(bench, one=1)
    await put(bench, urls["one.jsonl"], b"1")
    urls = await register(bench, two=1)
    await put(bench, urls["two.jsonl"], b"2")
    await bench.api.post(f"{DATASETS}/in:validateUpload", json={})
    bench.clock.advance(1)
    assert await download(bench) == {"dataset/in/two.jsonl": b"2"}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({}, "filename_to_size is required"),
        ({"a/b": 1}, "invalid file 'a/b' of 1 bytes"),
        ({"a": "0"}, "invalid file 'a' of 0 bytes"),
        ({"": 1}, "invalid file name ''"),
        (
            {"a": "x"},
            'proto: (line 1:2): invalid value for sizes field filenameToSize: {"a":"x"}',
        ),
    ],
)
async def test_files_that_cannot_come_are_refused(bench, sizes, message):
    """Base names, and sizes above 0."""
    await create(bench)
    reply = await bench.api.post(f"{DATASETS}/in:getUploadEndpoint", json={"filenameToSize": sizes})
    assert (reply.status, reply.json) == (400, refused(3, message))


# Down


async def test_a_download_asked_for_with_a_body_meets_the_front_end(bench):
    """400 and no JSON; a POST is a wrong method."""
    bench.emulator.add_dataset("out", files={"x": b"1"})
    reply = await bench.api.get(f"{DATASETS}/out:getDownloadEndpoint", json={})
    assert (reply.status, reply.headers["Content-Type"]) == (400, "text/html")
    reply = await bench.api.post(f"{DATASETS}/out:getDownloadEndpoint", json={})
    assert (reply.status, reply.json) == (501, refused(12, "Method Not Allowed"))


@pytest.mark.parametrize(("position", "status"), [("400", 400), ("404", 404)])
async def test_a_dataset_that_is_not_ready_cannot_be_downloaded(make_bench, position, status):
    """Refused until its files are there."""
    async with make_bench(assume={"unready_download_status": position}) as bench:
        await create(bench)
        reply = await bench.api.get(f"{DATASETS}/in:getDownloadEndpoint")
        assert (reply.status, reply.json) == (status, refused(9, "dataset is not ready"))


# Put there by a test


async def test_a_test_puts_a_dataset_there(bench, tmp_path):
    """From bytes or a file, with members of its own, ready at once."""
    path = tmp_path / "rows"
    path.write_bytes(b"1\n\n2\n3")
    name = bench.emulator.add_dataset(
        "out",
        files={"BIJOutputSet.jsonl": path, "error-data": b""},
        fields={"sourceJobName": "accounts/acme/batchInferenceJobs/nightly"},
    )
    path.unlink()
    dataset = (await bench.api.get(f"/v1/{name}")).json
    assert (dataset["state"], dataset["exampleCount"]) == ("READY", "3")
    assert dataset["sourceJobName"].endswith("/nightly")
    assert await download(bench, "out") == {
        "dataset/out/BIJOutputSet.jsonl": b"1\n\n2\n3",
        "dataset/out/error-data": b"",
    }


async def test_the_control_protocol_puts_a_dataset_there_and_changes_it(bench):
    """As the methods in Python."""
    no_key = {"Authorization": ""}
    body = {"files": {"x": "é"}, "fields": {"exampleCount": 7}}
    reply = await bench.api.post("/_emulator/datasets/out", json=body, headers=no_key)
    assert (reply.status, reply.json["exampleCount"], reply.json["state"]) == (200, "7", "READY")
    reply = await bench.api.send("PUT", "/_emulator/datasets/out/x", data=b"\xff", headers=no_key)
    assert (reply.status, reply.json) == (200, {})
    assert await download(bench, "out") == {"dataset/out/x": b"\xff"}


@pytest.mark.parametrize(
    ("dataset_id", "value", "message"),
    [
        ("Out", {"files": {}}, "dataset id: 'Out' is not an id: a-z, 0-9 and -, a letter first"),
        ("out", {}, "files: None is not an object"),
        ("out", {"files": {"a/b": ""}}, "files: 'a/b' is not a base name"),
        ("out", {"files": {"a": 1}}, "files.a: 1 is not a text, bytes or a path"),
        (
            "out",
            {"files": {}, "fields": {"x": 1}},
            "fields: {'x': 1} is not members of a dataset: proto: (line 1:1): unknown field \"x\"",
        ),
        (
            "out",
            {"files": {}, "account_id": "globex"},
            "account_id: 'globex' is not one of acme",
        ),
        (
            "out",
            {"file": {}},
            "file: {} is not known here; known: files, fields, account_id; did you mean 'files'?",
        ),
    ],
)
async def test_a_dataset_that_cannot_be_put_there_is_refused(bench, dataset_id, value, message):
    """The member, its value, and what was wanted."""
    path = f"/_emulator/datasets/{dataset_id}"
    reply = await bench.api.post(path, json=value, headers={"Authorization": ""})
    assert (reply.status, reply.json["error"]["message"]) == (400, message)


async def test_only_a_dataset_that_is_there_can_be_changed(bench):
    """Its name is said."""
    with pytest.raises(ValueError, match=r"^dataset id: 'out' is not the id of a dataset$"):
        bench.emulator.replace_file("out", "x", b"")


async def test_a_reset_removes_datasets_and_their_files(bench):
    """Nothing of them is left on the disk; new ones find a place."""
    bench.emulator.add_dataset("out", files={"x": b"1"})
    directory = stored_directory(bench.emulator)
    assert list(directory.iterdir()) != []
    bench.emulator.reset()
    assert not directory.exists()
    assert (await bench.api.get(f"{DATASETS}/out")).status == 404
    bench.emulator.add_dataset("out", files={"x": b"2"})
    assert await download(bench, "out") == {"dataset/out/x": b"2"}


async def test_files_go_with_the_emulator(make_bench):
    """They outlive an outage, not its `async with`."""
    async with make_bench() as bench:
        bench.emulator.add_dataset("out", files={"x": b"1"})
        directory = stored_directory(bench.emulator)
        await bench.emulator.stop()
        await bench.emulator.start()
        assert await download(bench, "out") == {"dataset/out/x": b"1"}
    assert not directory.exists()


def stored_directory(emulator) -> Path:
    """Give the directory that holds the contents."""
    return emulator._world().datasets.bucket.files._directory


@pytest.mark.parametrize(("position", "status"), [("for_ever", 200), ("30_days", 404)])
async def test_an_old_dataset_may_be_gone(make_bench, position, status):
    """With its files, and out of the listing."""
    async with make_bench(assume={"dataset_retention": position}) as bench:
        await create(bench)
        bench.clock.advance(29 * 86_400)
        assert (await bench.api.get(f"{DATASETS}/in")).status == 200
        bench.clock.advance(2 * 86_400)
        assert (await bench.api.get(f"{DATASETS}/in")).status == status
        listed = (await bench.api.get(DATASETS)).json["datasets"]
        assert len(listed) == (status == 200)
