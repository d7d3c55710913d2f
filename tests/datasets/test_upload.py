"""Uploads over real HTTP: both ways, every fault, and what is left behind."""

import asyncio
import contextlib
import hashlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from clients import FAST, QUICK, client_of

from fireworks_batch import (
    AuthenticationError,
    BatchClient,
    ConfigurationError,
    DatasetConflictError,
    InputRowsError,
    Limits,
    LocalFileError,
    RetryPolicy,
    ServerError,
    TransportError,
)
from fireworks_batch.datasets.source import SourceFile
from fireworks_batch.emulator import Emulator

ROWS = b'{"custom_id": "r-1"}\n\n{"custom_id": "r-2"}'
TO_STORAGE = Limits(max_upload_bytes=10)
LARGE = b"".join(b'{"custom_id": "r-%07d", "body": {}}\n' % n for n in range(60_000))
STORAGE = "/fireworks-acme/*"
CONTENT_ID = "d-72865ca5c090f70ad9b8bd8bfb4e488f63ae6373"  # of ROWS


@pytest.fixture
async def emulator():
    """One whose signed URLs live for ten real seconds."""
    async with Emulator(speed=60, account_id="acme") as running:
        yield running


def seen(emulator: Emulator, *, since: int = 0) -> list[str]:
    """The requests that arrived, each look at the record once in a row."""
    found = []
    for request in emulator.requests(since):
        verb = request.path.rpartition(":")[2] if ":" in request.path else "record"
        what = f"{request.method} {'storage' if request.origin == 'storage' else verb}"
        if what != "GET record" or found[-1:] != [what]:
            found.append(what)
    return found


async def content_of(client: BatchClient, dataset_id: str, directory: Path) -> bytes:
    """What is stored."""
    (path,) = await client.datasets.download(dataset_id, directory)
    return path.read_bytes()


def in_pieces(content: bytes, size: int):
    """An async iterator over a content."""

    async def pieces():
        for at in range(0, len(content), size):
            yield content[at : at + size]

    return pieces()


# --- The two ways -------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [Limits(), TO_STORAGE])
async def test_what_is_stored_is_what_was_given(emulator, client, tmp_path, limits):
    """Byte for byte, with its number of rows, both ways."""
    content = b"\xef\xbb\xbf" + ROWS + b"\r\n" + bytes(range(256))
    dataset = await client.datasets.upload(content, dataset_id="reviews", limits=limits)

    assert (dataset.id, dataset.state, dataset.example_count) == ("reviews", "READY", 4)
    assert await content_of(client, "reviews", tmp_path) == content


async def test_a_small_file_goes_through_the_api(emulator, client):
    """Three requests: create, upload, look."""
    await client.datasets.upload(ROWS)

    assert seen(emulator) == ["POST record", "POST upload", "GET record"]


async def test_a_large_one_goes_to_storage(emulator, client):
    """With the two signed headers, its length, and without a key."""
    await client.datasets.upload(ROWS, limits=TO_STORAGE)

    assert seen(emulator) == [
        "POST record",
        "POST getUploadEndpoint",
        "PUT storage",
        "POST validateUpload",
        "GET record",
    ]
    headers = emulator.requests()[2].headers
    assert headers["X-Goog-Content-Length-Range"] == f"{len(ROWS)},{len(ROWS)}"
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Length"] == str(len(ROWS))
    assert "Transfer-Encoding" not in headers


@pytest.mark.parametrize(("extra", "way"), [(0, "POST upload"), (1, "POST getUploadEndpoint")])
async def test_the_limit_itself_is_small(emulator, client, extra, way):
    """One byte more goes to storage."""
    content = b"x" * (100 + extra)
    await client.datasets.upload(content, limits=Limits(max_upload_bytes=100))

    assert seen(emulator)[1] == way


async def test_413_sends_it_to_storage(emulator, client, tmp_path):
    """The server's limit may be lower than ours."""
    emulator.add_fault("status", path="*:upload", status=413)
    dataset = await client.datasets.upload(LARGE, dataset_id="reviews")

    assert dataset.is_ready
    assert "PUT storage" in seen(emulator)
    assert await content_of(client, "reviews", tmp_path) == LARGE


@pytest.mark.parametrize("limits", [Limits(), TO_STORAGE])
@pytest.mark.parametrize("size", [1, 7, 1_500_000])
async def test_an_iterator_may_be_cut_anywhere(emulator, client, tmp_path, limits, size):
    """It is spooled, since it is read twice."""
    content = ROWS if size < 1000 else LARGE
    dataset = await client.datasets.upload(
        in_pieces(content, size), dataset_id="reviews", limits=limits
    )

    assert dataset.example_count == (2 if content is ROWS else 60_000)
    assert await content_of(client, "reviews", tmp_path) == content


async def test_a_file_keeps_its_name(emulator, client, tmp_path):
    """It is how the server names a row that it refuses."""
    path = tmp_path / "reviews-in.jsonl"
    path.write_bytes(ROWS)
    await client.datasets.upload(str(path), dataset_id="reviews")
    (stored,) = await client.datasets.download("reviews", tmp_path / "down")

    assert stored.name == "reviews-in.jsonl"


async def test_with_a_borrowed_session_the_key_stays_away_from_storage(emulator, tmp_path):
    """The emulator refuses a signed URL with a key, and so would the storage."""
    async with (
        aiohttp.ClientSession() as session,
        client_of(emulator, session=session) as client,
    ):
        await client.datasets.upload(ROWS, dataset_id="reviews", limits=TO_STORAGE)
        assert await content_of(client, "reviews", tmp_path) == ROWS


async def test_one_connection_is_enough(emulator, tmp_path):
    """No transfer waits for a place that it holds itself."""
    async with client_of(emulator, max_connections=1) as client:
        emulator.add_fault("reset", path=STORAGE, times=2, bytes=100_000)
        await client.datasets.upload(LARGE, dataset_id="reviews", limits=TO_STORAGE)
        assert await content_of(client, "reviews", tmp_path) == LARGE


# --- Ids ----------------------------------------------------------------------------------------


async def test_the_same_content_is_uploaded_once(emulator, client):
    """A repeat, after a crash say, finds it READY and sends nothing of it."""
    first = await client.datasets.upload(ROWS)
    before = len(emulator.requests())
    again = await client.datasets.upload(in_pieces(ROWS, 5))

    assert again == first
    assert seen(emulator, since=before) == ["POST record", "GET record"]


@pytest.mark.parametrize(
    ("limits", "step"), [(Limits(), "*:upload"), (TO_STORAGE, "*:validateUpload")]
)
async def test_an_upload_left_in_the_middle_is_gone_on_with(
    emulator, client, tmp_path, limits, step
):
    """By the next one of the same content."""
    emulator.add_fault("status", path=step, status=401)
    with pytest.raises(Exception, match="401"):
        await client.datasets.upload(ROWS, limits=limits)
    dataset = await client.datasets.upload(ROWS, limits=limits)

    assert dataset.is_ready
    assert await content_of(client, dataset.id, tmp_path) == ROWS


async def test_a_taken_id_is_a_conflict_before_anything_is_read(emulator, client, tmp_path):
    """The source need not even be readable to its end."""
    emulator.add_dataset("reviews", files={"in.jsonl": b"{}\n"})
    told = []
    with pytest.raises(DatasetConflictError, match="'reviews' is READY"):
        await client.datasets.upload(
            ROWS, dataset_id="reviews", on_progress=lambda *args: told.append(args)
        )

    assert seen(emulator) == ["GET record"]
    assert told == []


async def test_reuse_takes_what_is_there(emulator, client):
    """Whatever it holds: the caller says so."""
    emulator.add_dataset("reviews", files={"in.jsonl": b"{}\n"})
    dataset = await client.datasets.upload(ROWS, dataset_id="reviews", reuse=True)

    assert (dataset.state, dataset.example_count) == ("READY", 1)
    assert seen(emulator) == ["GET record"]


async def test_a_record_with_other_rows_is_a_conflict(emulator, client):
    """Nothing is sent into it."""
    await client.datasets.create("reviews", example_count=7)
    before = len(emulator.requests())
    with pytest.raises(DatasetConflictError, match=r"created for 7 rows, and .* has 2"):
        await client.datasets.upload(ROWS, dataset_id="reviews")

    assert seen(emulator, since=before) == ["GET record"]


@pytest.mark.parametrize("limits", [Limits(), TO_STORAGE])
@pytest.mark.parametrize("dataset_id", [None, CONTENT_ID])
async def test_nothing_is_uploaded_to_a_dataset_with_a_key_of_the_customer(
    emulator, client, limits, dataset_id
):
    """In neither way: the request that shows it is the last one."""
    record = {
        "name": f"accounts/acme/datasets/{CONTENT_ID}",
        "state": "UPLOADING",
        "exampleCount": "2",
        "encryptionState": "ENCRYPTION_STATE_CMEK",
    }
    emulator.add_fault("status", path="*/datasets*", status=200, body=record, times=None)
    with pytest.raises(ConfigurationError, match="encrypted with a key of the customer"):
        await client.datasets.upload(ROWS, dataset_id=dataset_id, limits=limits)

    assert seen(emulator) == ["GET record" if dataset_id else "POST record"]


async def test_a_malformed_id_is_refused_before_any_request(emulator, client):
    """By the server's rule."""
    with pytest.raises(ConfigurationError, match="dataset id 'Reviews' cannot be given"):
        await client.datasets.upload(ROWS, dataset_id="Reviews")

    assert emulator.requests() == []


# --- Sources ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (7, "from a path, bytes, or an async iterable of bytes, not from int"),
        ([b"{}"], "not from list"),
        ("", "'' cannot be the path of a file"),
        ("a\0b", r"'a\\x00b' cannot be the path of a file"),
    ],
)
async def test_what_is_no_source_is_refused(emulator, client, source, message):
    """Before any request."""
    with pytest.raises(ConfigurationError, match=message):
        await client.datasets.upload(source)

    assert emulator.requests() == []


async def test_an_iterator_must_bring_bytes(client):
    """Text has no bytes before somebody says which."""

    async def texts():
        yield "{}\n"

    with pytest.raises(ConfigurationError, match="must be pieces of bytes, not of str"):
        await client.datasets.upload(texts())


async def test_what_an_iterator_raises_is_raised(client):
    """As it is."""

    async def broken():
        yield b"{}\n"
        raise LookupError("no more rows")

    with pytest.raises(LookupError, match="no more rows"):
        await client.datasets.upload(broken())


async def test_a_missing_file_is_named(emulator, client, tmp_path):
    """With the system's reason, before any request."""
    path = tmp_path / "missing.jsonl"
    with pytest.raises(LocalFileError, match=r"cannot read .*missing.jsonl.*: No such file") as no:
        await client.datasets.upload(path)

    assert no.value.errno == 2
    assert emulator.requests() == []


async def test_what_cannot_be_read_twice_is_refused(emulator, client, tmp_path):
    """A directory is said to be one; a pipe is, without waiting for a writer."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="pipe' is a pipe or a device"):
        await client.datasets.upload(tmp_path / "pipe")
    with pytest.raises(LocalFileError, match=r"^cannot read '.*': it is a directory$"):
        await client.datasets.upload(tmp_path)

    assert emulator.requests() == []


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf\n"])
async def test_an_empty_source_is_refused(emulator, client, tmp_path, content):
    """By its name, before any request."""
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputRowsError, match=r"empty.jsonl' .* at least one line of JSON"):
        await client.datasets.upload(path)

    assert emulator.requests() == []


@pytest.mark.parametrize("change", ["longer", "shorter", "other"])
@pytest.mark.parametrize("limits", [Limits(), TO_STORAGE])
async def test_a_file_that_changes_is_never_ready(emulator, client, tmp_path, change, limits):
    """Its last piece is held back: the server has no whole file under the content's id."""
    path = tmp_path / "in.jsonl"
    whole = LARGE[: 2 * 1024 * 1024]  # ends where a piece does
    path.write_bytes(whole)
    contents = {"longer": whole + b"{}\n", "shorter": whole[:-100], "other": whole[:-3] + b"]}\n"}

    def tamper(done: int, _total: int) -> None:
        if done == 0:
            path.write_bytes(contents[change])

    with pytest.raises(LocalFileError, match=r"in.jsonl' was changed while it was uploaded"):
        await client.datasets.upload(path, limits=limits, on_progress=tamper)
    path.write_bytes(whole)
    assert [dataset.state async for dataset in client.datasets.list()] == ["UPLOADING"]
    assert (await client.datasets.upload(path, limits=limits)).is_ready


async def test_the_loop_goes_on_while_a_source_is_read(client):
    """It is surveyed in other threads, in pieces: a busy task has a thousand turns meanwhile."""
    turns, end = 0, asyncio.Event()

    async def be_busy():
        nonlocal turns
        while not end.is_set():
            turns += 1
            await asyncio.sleep(0)

    busy = asyncio.create_task(be_busy())
    async with SourceFile(LARGE * 8) as file:
        turns = 0
        survey = await file.survey()
        end.set()
    await busy

    assert survey.rows == 480_000
    assert turns > 1000


# --- Progress -----------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [Limits(), TO_STORAGE])
async def test_progress_goes_from_nothing_to_all(client, limits):
    """Each number above the one before, of the same total."""
    told = []
    await client.datasets.upload(
        LARGE, limits=limits, on_progress=lambda done, total: told.append((done, total))
    )
    done = [each for each, _ in told]

    assert (done[0], done[-1]) == (0, len(LARGE))
    assert done == sorted(set(done))
    assert len(done) >= 4
    assert {total for _, total in told} == {len(LARGE)}


async def test_progress_may_end_the_upload(emulator, client):
    """What it raises comes out as it is, and no attempt follows."""

    def stop(done: int, _total: int) -> None:
        if done:
            raise ZeroDivisionError("enough")

    with pytest.raises(ZeroDivisionError, match="enough"):
        await client.datasets.upload(LARGE, limits=TO_STORAGE, on_progress=stop)
    assert seen(emulator).count("PUT storage") <= 1  # it may end before the server has read it


async def test_progress_must_be_a_function(client):
    """A coroutine function would never be awaited; said before anything is read."""

    async def tell(done, total):
        pytest.fail("nobody awaits it")

    class Teller:
        __call__ = staticmethod(tell)

    for wrong in (7, tell, partial(tell, 1), Teller()):
        with pytest.raises(
            ConfigurationError, match="on_progress must be a function that is not async, not "
        ):
            await client.datasets.upload(ROWS, on_progress=wrong)


async def test_limits_must_be_limits(emulator, client):
    """Said before anything is read."""
    with pytest.raises(ConfigurationError, match="limits must be a Limits, not 150"):
        await client.datasets.upload(ROWS, limits=150)

    assert emulator.requests() == []


async def test_a_refused_key_is_told_at_once(emulator):
    """Whether the dataset is there is not asked with it."""
    async with BatchClient(
        api_key="fw_wrong", account_id="acme", base_url=emulator.base_url, retry=QUICK
    ) as client:
        with pytest.raises(AuthenticationError):
            await client.datasets.upload(ROWS)

    assert seen(emulator) == ["POST record"]


# --- Faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [Limits(), TO_STORAGE])
@pytest.mark.parametrize("size", [0, 100_000, 1_000_000])
async def test_an_upload_cut_in_the_middle_is_sent_again(emulator, client, tmp_path, limits, size):
    """As a whole: never is half a dataset taken for it."""
    path = "*:upload" if limits == Limits() else STORAGE
    emulator.add_fault("reset", path=path, times=2, bytes=size)
    dataset = await client.datasets.upload(LARGE, dataset_id="reviews", limits=limits)

    assert dataset.is_ready
    assert await content_of(client, "reviews", tmp_path) == LARGE


@pytest.mark.parametrize("limits", [Limits(), TO_STORAGE])
async def test_an_upload_that_is_always_cut_leaves_no_dataset_ready(emulator, client, limits):
    """After the attempts of the policy, and no more."""
    path = "*:upload" if limits == Limits() else STORAGE
    emulator.add_fault("reset", path=path, times=None, bytes=100_000)
    with pytest.raises(TransportError):
        await client.datasets.upload(LARGE, dataset_id="reviews", limits=limits)

    tried = [r for r in emulator.requests() if r.fault == "reset"]
    assert len(tried) == QUICK.max_attempts
    assert (await client.datasets.get("reviews")).state == "UPLOADING"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("limits", [Limits(), TO_STORAGE])
async def test_what_passes_is_repeated(emulator, client, tmp_path, status, limits):
    """By the API and by the storage."""
    path = "*:upload" if limits == Limits() else STORAGE
    emulator.add_fault("status", path=path, status=status, times=2)
    await client.datasets.upload(LARGE, dataset_id="reviews", limits=limits)

    assert await content_of(client, "reviews", tmp_path) == LARGE


@pytest.mark.parametrize("call", ["datasets", "datasets/*:upload"])
async def test_a_lost_answer_costs_nothing(emulator, client, tmp_path, call):
    """The repeat meets what the lost attempt did, and finds that out."""
    emulator.add_fault("drop_answer", method="POST", path=f"*/{call}")
    dataset = await client.datasets.upload(ROWS)

    assert dataset.is_ready
    assert await content_of(client, dataset.id, tmp_path) == ROWS


@pytest.mark.parametrize("call", ["getUploadEndpoint", "validateUpload"])
async def test_a_lost_answer_on_the_way_to_storage_costs_nothing(emulator, client, tmp_path, call):
    """Also where the repeat is refused, since the dataset is uploaded already."""
    emulator.add_fault("drop_answer", path=f"*:{call}")
    dataset = await client.datasets.upload(ROWS, dataset_id="reviews", limits=TO_STORAGE)

    assert dataset.is_ready
    assert await content_of(client, "reviews", tmp_path) == ROWS


async def test_a_lost_answer_of_storage_costs_a_put(emulator, client, tmp_path):
    """By another URL."""
    emulator.add_fault("drop_answer", path=STORAGE)
    await client.datasets.upload(ROWS, dataset_id="reviews", limits=TO_STORAGE)
    urls = [r.query["X-Goog-Signature"] for r in emulator.requests() if r.method == "PUT"]

    assert len(urls) == 2
    assert await content_of(client, "reviews", tmp_path) == ROWS


async def test_an_expired_url_is_replaced(client, emulator):
    """Storage says so with 400 and a code; another refusal is final."""
    expired = "<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"
    emulator.add_fault("status", path=STORAGE, status=400, body=expired)
    assert (await client.datasets.upload(ROWS, limits=TO_STORAGE)).is_ready
    assert seen(emulator).count("POST getUploadEndpoint") == 2


@pytest.mark.parametrize("status", [403, 404])
async def test_a_page_of_a_proxy_in_place_of_the_urls_is_repeated(emulator, client, status):
    """It is not the API's word, and storage has not been asked yet."""
    emulator.add_fault("html", path="*:getUploadEndpoint", status=status)

    assert (await client.datasets.upload(ROWS, limits=TO_STORAGE)).is_ready


async def test_a_refusal_of_storage_is_told(emulator, client):
    """In its words, at once, without the signature."""
    denied = "<Error><Code>AccessDenied</Code><Message>No CMEK.</Message></Error>"
    emulator.add_fault("status", path=STORAGE, status=403, body=denied)
    with pytest.raises(Exception, match=r"403 AccessDenied: No CMEK\.") as caught:
        await client.datasets.upload(ROWS, limits=TO_STORAGE)

    assert "Signature" not in str(caught.value)
    assert seen(emulator).count("PUT storage") == 1


async def test_two_uploads_of_the_same_content_meet(emulator, client):
    """Both end READY, whoever is first."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.datasets.upload(LARGE)) for _ in range(4)]

    assert {task.result().state for task in tasks} == {"READY"}
    assert [dataset.id async for dataset in client.datasets.list()] == [tasks[0].result().id]


async def test_two_files_of_the_same_content_meet(emulator, client, tmp_path):
    """Whatever they are called: in storage they are one file, and neither takes the other away."""
    emulator.add_fault("delay", seconds=0.002, times=None, probability=0.5)
    paths = [tmp_path / f"input-{number}.jsonl" for number in range(6)]
    for path in paths:
        path.write_bytes(ROWS)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.datasets.upload(p, limits=TO_STORAGE)) for p in paths]
    found = {task.result().id for task in tasks}
    puts = {request.path for request in emulator.requests() if request.method == "PUT"}

    assert {"READY"} == {task.result().state for task in tasks}
    assert 1 == len(found) == len(puts)
    assert puts.pop().endswith(f"/{found.pop()}.jsonl")


@pytest.mark.parametrize("limits", [Limits(), TO_STORAGE])
async def test_another_content_under_a_given_id_is_not_taken_for_ours(emulator, client, limits):
    """Somebody else was faster: it is told, with the ways out and what the server said."""

    def be_faster(done: int, _total: int) -> None:
        if done == 0:
            emulator.add_dataset("reviews", files={"other.jsonl": b"{}\n"})

    with pytest.raises(DatasetConflictError) as no:
        await client.datasets.upload(
            LARGE, dataset_id="reviews", limits=limits, on_progress=be_faster
        )
    told = str(no.value)
    assert told.startswith(
        "dataset 'reviews' was uploaded by another client at the same time (POST "
    )
    assert (
        "400 FAILED_PRECONDITION: dataset is already uploaded): its content is not known." in told
    )
    assert "Pass reuse=True to use it in place of the content (2,340,000 bytes), leave" in told


async def test_a_server_that_stays_down_is_told(emulator, client):
    """With its last word."""
    emulator.add_fault("status", method="POST", path="*/datasets", status=500, times=None)
    with pytest.raises(ServerError, match="500"):
        await client.datasets.upload(ROWS)


@contextlib.asynccontextmanager
async def describing(looks: Iterator[dict[str, Any]]) -> AsyncIterator[BatchClient]:
    """A client of a server that takes any upload, and says of the dataset what each look brings."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        name = f"accounts/acme/datasets/{request.match_info.get('id', 'new')}"
        seen = next(looks) if request.method == "GET" else {}
        record = {"name": name, "state": "UPLOADING", "exampleCount": "2", "status": None}
        return web.json_response(record | seen)

    app = web.Application()
    app.router.add_post("/v1/accounts/acme/datasets", answer)
    app.router.add_post("/v1/accounts/acme/datasets/{id}", answer)
    app.router.add_get("/v1/accounts/acme/datasets/{id}", answer)
    async with TestServer(app) as server:
        base_url = str(server.make_url("")).rstrip("/")
        options = {"api_key": "fw_key", "account_id": "acme", "base_url": base_url, "poll": FAST}
        async with BatchClient(**options) as client:
            yield client


async def test_what_the_server_finds_wrong_later_is_told():
    """There is no FAILED state: the status of the dataset says it."""
    refused = {"code": "INVALID_ARGUMENT", "message": "in.jsonl:2: no custom_id"}
    async with describing(itertools.repeat({"status": refused})) as client:
        with pytest.raises(InputRowsError, match=r"INVALID_ARGUMENT: in.jsonl:2: no custom_id"):
            await client.datasets.upload(ROWS)


@pytest.mark.parametrize("code", ["PENDING_SCAN", 0])
async def test_a_status_that_nobody_knows_is_no_refusal(code):
    """While the dataset is on its way to READY, it may mean anything."""
    status = {"code": code, "message": ""}
    states = iter(["UPLOADING", "UPLOADING", "READY"])
    async with describing({"state": state, "status": status} for state in states) as client:
        assert (await client.datasets.upload(ROWS)).is_ready


async def test_an_unreadable_answer_to_create_is_answered_by_a_look(emulator, client):
    """What the server did counts, not how it said so."""
    made = f"d-{hashlib.sha256(ROWS).hexdigest()[:40]}"
    await client.datasets.create(made, example_count=2)
    emulator.add_fault("garbage", method="POST", path="*/datasets")

    assert (await client.datasets.upload(ROWS)).is_ready


# --- What is left behind ------------------------------------------------------------------------


def ours() -> set[asyncio.Task]:
    """Tasks that are not the emulator's."""
    return {
        task
        for task in asyncio.all_tasks()
        if task is not asyncio.current_task() and "RequestHandler" not in repr(task)
    }


@pytest.mark.parametrize("limits", [Limits(), TO_STORAGE])
async def test_cancelling_leaves_nothing_behind(client, limits):
    """No task, and no file open, which would be a warning; the next upload works."""
    before, begun = ours(), asyncio.Event()

    def tell(done: int, _total: int) -> None:
        if done:
            begun.set()

    source = in_pieces(LARGE, 4096)
    task = asyncio.create_task(client.datasets.upload(source, limits=limits, on_progress=tell))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(100):
        if ours() <= before:
            break
        await asyncio.sleep(0.01)
    assert ours() <= before
    assert (await client.datasets.upload(LARGE, limits=limits)).is_ready


async def test_closing_the_client_ends_an_upload(emulator):
    """With ClientStateError."""
    client = client_of(emulator, retry=RetryPolicy(max_attempts=1))
    emulator.add_fault("hang", path="*:upload")
    task = asyncio.create_task(client.datasets.upload(ROWS))
    while "POST upload" not in seen(emulator):
        await asyncio.sleep(0.001)
    await client.aclose()
    with pytest.raises(Exception, match="the client is closed"):
        await task
