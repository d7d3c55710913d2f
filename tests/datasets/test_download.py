"""Downloads over real HTTP: resumed, verified, whole or not at all, and what is left behind."""

import asyncio
import base64
import errno
import gzip
import hashlib
import os
import random
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from clients import QUICK, client_of
from multidict import CIMultiDict

from fireworks_batch import (
    APIStatusError,
    AuthenticationError,
    BatchClient,
    BatchInferenceJob,
    ConfigurationError,
    JobState,
    LocalFileError,
    NotFoundError,
    ResponseDecodeError,
    RetryPolicy,
    TransportError,
)
from fireworks_batch.emulator import Emulator

AIOHTTP = tuple(map(int, aiohttp.__version__.split(".")[:2]))
STORAGE = "/fireworks-acme/*"
RESULTS = random.Random(7).randbytes(6_000_000)
ERRORS = b'{"custom_id": "r-3"}\n'
EXPIRED = "<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The emulator's."""
    return Clock()


@pytest.fixture
async def emulator(clock):
    """One with a job's output."""
    async with Emulator(account_id="acme", clock=clock) as running:
        running.add_dataset("out", files={"BIJOutputSet.jsonl": RESULTS, "error-data": b""})
        yield running


def ranges(emulator: Emulator, name: str = "BIJOutputSet.jsonl") -> list[tuple[Any, int | None]]:
    """What was asked of a file, and the statuses."""
    return [
        (request.headers.get("Range"), request.status)
        for request in emulator.requests()
        if request.origin == "storage" and request.path.endswith(name)
    ]


def names_in(directory: Path) -> list[str]:
    """All names in a directory."""
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


# --- Files --------------------------------------------------------------------------------------


async def test_all_files_come_under_their_names(client, tmp_path):
    """Byte for byte, also the empty one; in a directory that is made."""
    paths = await client.datasets.download("out", tmp_path / "a" / "b")

    assert paths == (tmp_path / "a/b/BIJOutputSet.jsonl", tmp_path / "a/b/error-data")
    assert [path.read_bytes() for path in paths] == [RESULTS, b""]
    assert names_in(tmp_path / "a" / "b") == ["BIJOutputSet.jsonl", "error-data"]


async def test_a_dataset_is_named_in_any_way(client, tmp_path):
    """By itself, its resource name and its id; the directory as a text, too."""
    dataset = await client.datasets.get("out")
    for name in (dataset, dataset.name, "out"):
        assert len(await client.datasets.download(name, str(tmp_path))) == 2


async def test_files_that_are_there_are_replaced(client, tmp_path):
    """At once, when the new one is whole; and others stay."""
    (tmp_path / "BIJOutputSet.jsonl").write_bytes(b"old")
    (tmp_path / "notes").write_bytes(b"mine")
    seen = set()
    await client.datasets.download(
        "out", tmp_path, on_progress=lambda *_: seen.add(names_in(tmp_path)[-2])
    )

    assert (tmp_path / "BIJOutputSet.jsonl").read_bytes() == RESULTS
    assert names_in(tmp_path) == ["BIJOutputSet.jsonl", "error-data", "notes"]


async def test_a_dataset_that_is_not_there_is_told(client, tmp_path):
    """And no directory is made for it."""
    with pytest.raises(NotFoundError, match="404 NOT_FOUND"):
        await client.datasets.download("nothing", tmp_path / "new")

    assert not (tmp_path / "new").exists()


async def test_a_malformed_directory_is_refused_before_any_request(emulator, client):
    """By its value."""
    for directory in ("", 7, "a\0b", b"bytes"):
        with pytest.raises(ConfigurationError, match="directory must be a path, not"):
            await client.datasets.download("out", directory)

    assert emulator.requests() == []


async def test_with_a_borrowed_session_the_key_stays_away_from_storage(emulator, tmp_path):
    """The emulator refuses a signed URL with a key, and so would the storage."""
    async with (
        aiohttp.ClientSession() as session,
        client_of(emulator, session=session) as client,
    ):
        paths = await client.datasets.download("out", tmp_path)
    assert paths[0].read_bytes() == RESULTS


@pytest.mark.parametrize(
    "assume", [{"signed_url_hash": "none"}, {"signed_url_range": "ignore"}, {}]
)
async def test_any_storage_brings_the_same_bytes(tmp_path, assume):
    """With or without hashes and ranges, through breaks."""
    async with Emulator(account_id="acme", assume=assume) as emulator:
        emulator.add_dataset("out", files={"r.jsonl": RESULTS})
        emulator.add_fault("truncate", path=STORAGE, bytes=2_000_000)
        emulator.add_fault("truncate", path=STORAGE, bytes=3_000_000)
        async with client_of(emulator) as client:
            (path,) = await client.datasets.download("out", tmp_path)
    assert path.read_bytes() == RESULTS


# --- Resuming -----------------------------------------------------------------------------------


async def test_a_truncated_download_goes_on_where_it_broke(emulator, client, tmp_path):
    """What came is not asked for again."""
    emulator.add_fault("truncate", path=STORAGE, bytes=1_000_000)
    emulator.add_fault("truncate", path=STORAGE, bytes=2_000_000)
    paths = await client.datasets.download("out", tmp_path)

    assert paths[0].read_bytes() == RESULTS
    assert ranges(emulator) == [(None, 200), ("bytes=1000000-", 206), ("bytes=3000000-", 206)]


async def test_bytes_that_came_make_the_attempts_count_anew(emulator, client, tmp_path):
    """A bad line costs patience, never the file: thirty breaks, four attempts allowed."""
    emulator.add_fault("truncate", path=STORAGE, times=30, bytes=150_000)
    paths = await client.datasets.download("out", tmp_path)

    assert paths[0].read_bytes() == RESULTS
    assert len(ranges(emulator)) == 31


async def test_attempts_without_a_byte_come_to_an_end(emulator, client, tmp_path):
    """As many as the policy allows, from the one that brought the last byte; nothing is left."""
    emulator.add_fault("truncate", path=STORAGE, bytes=1_000_000)
    emulator.add_fault("truncate", path=STORAGE, times=None, bytes=0)
    with pytest.raises(TransportError):
        await client.datasets.download("out", tmp_path)

    assert len(ranges(emulator)) == QUICK.max_attempts
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_passes_is_repeated(emulator, client, tmp_path, status):
    """In the middle of it, too."""
    emulator.add_fault("truncate", path=STORAGE, bytes=1_000_000)
    emulator.add_fault("status", path=STORAGE, status=status, times=2)
    paths = await client.datasets.download("out", tmp_path)

    assert paths[0].read_bytes() == RESULTS


async def test_faults_of_all_kinds_leave_the_bytes_the_same(emulator, client, tmp_path):
    """By hash: 500s, truncations, resets and pages of a proxy, one after the other."""
    for action in ("truncate", "status", "reset", "truncate", "html", "status") * 3:
        emulator.add_fault(action, path=STORAGE, bytes=600_000)
    paths = await client.datasets.download("out", tmp_path)

    assert hashlib.sha256(paths[0].read_bytes()).digest() == hashlib.sha256(RESULTS).digest()
    assert sum(r.fault is not None for r in emulator.requests()) == 18


@pytest.mark.parametrize("status", [400, 403])
async def test_an_expired_url_is_replaced(emulator, client, tmp_path, status):
    """In the middle of the download; what came is kept."""
    emulator.add_fault("truncate", path=STORAGE, bytes=1_000_000)
    emulator.add_fault("status", path=STORAGE, status=status, body=EXPIRED, times=2)
    paths = await client.datasets.download("out", tmp_path)

    assert paths[0].read_bytes() == RESULTS
    assert ranges(emulator)[-1] == ("bytes=1000000-", 206)


async def test_urls_that_expire_meanwhile_do_no_harm(emulator, client, tmp_path, clock):
    """Ten minutes pass at each piece: each attempt and each file asks for a URL of its own."""
    emulator.add_dataset("out", files={"a.jsonl": RESULTS, "b.jsonl": RESULTS})
    emulator.add_fault("truncate", path=STORAGE, times=3, after=2, bytes=1_500_000)

    def pass_time(*_: int) -> None:
        clock.now += 700

    paths = await client.datasets.download("out", tmp_path, on_progress=pass_time)

    assert [path.read_bytes() == RESULTS for path in paths] == [True, True]
    statuses = {r.status for r in emulator.requests() if r.origin == "storage"}
    assert statuses == {200, 206}


@pytest.mark.parametrize("status", [403, 404])
async def test_a_page_of_a_proxy_in_place_of_the_urls_is_repeated(
    emulator, client, tmp_path, status
):
    """It is not the API's word, though a file of the dataset is under way."""
    emulator.add_fault("html", path="*:getDownloadEndpoint", status=status, after=1)

    assert len(await client.datasets.download("out", tmp_path)) == 2


async def test_a_refused_key_is_no_expired_url(emulator, client, tmp_path):
    """The API's own 401 is final also if its text speaks of something that has expired."""
    body = {"code": 16, "message": "the key has expired"}
    emulator.add_fault("status", path="*:getDownloadEndpoint", status=401, after=1, body=body)

    with pytest.raises(AuthenticationError, match="the key has expired"):
        await client.datasets.download("out", tmp_path)


async def test_a_429_of_storage_in_json_holds_back_no_call(emulator, tmp_path):
    """Storage says nothing of the account, in whichever form."""
    body = {"error": {"code": 429, "message": "too many requests for this object"}}
    headers = {"Retry-After": "0.3"}
    emulator.add_fault("status", path=STORAGE, status=429, headers=headers, body=body)
    async with client_of(emulator, retry=RetryPolicy()) as client:
        download = asyncio.create_task(client.datasets.download("out", tmp_path))
        while (None, 429) not in ranges(emulator):
            await asyncio.sleep(0.01)
        began = asyncio.get_running_loop().time()
        await client.datasets.get("out")
        assert asyncio.get_running_loop().time() - began < 0.2
        assert len(await download) == 2


async def test_another_refusal_of_storage_is_final(emulator, client, tmp_path):
    """Told in its words, without the signature."""
    denied = "<Error><Code>AccessDenied</Code><Message>Not yours.</Message></Error>"
    emulator.add_fault("status", path=STORAGE, status=403, body=denied)
    with pytest.raises(APIStatusError, match=r"403 AccessDenied: Not yours\.") as caught:
        await client.datasets.download("out", tmp_path)

    assert "Signature" not in str(caught.value)
    assert len(ranges(emulator)) == 1
    assert names_in(tmp_path) == []


async def test_an_object_that_changed_is_started_over(emulator, client, tmp_path):
    """Between two ranges: never are bytes of two objects in one file."""
    # Two requests find out the lengths.
    emulator.add_fault("truncate", path=STORAGE, after=2, bytes=1_000_000)
    other = bytes(reversed(RESULTS))
    told = []

    def change(done: int, _total: int) -> None:
        told.append(done)
        if done and emulator.requests()[-1].fault == "truncate":
            emulator.replace_file("out", "BIJOutputSet.jsonl", other)

    paths = await client.datasets.download("out", tmp_path, on_progress=change)

    assert paths[0].read_bytes() == other
    assert ranges(emulator)[-1] == ("bytes=1000000-", 200)


# --- What storage may answer --------------------------------------------------------------------

Script = list[Callable[[web.Request], web.StreamResponse]]


@asynccontextmanager
async def played(script: Script, keys: list[str] | None = None) -> AsyncIterator[BatchClient]:
    """A client of a server whose storage answers as a script says, its last line again."""
    asked = []

    async def urls(request: web.Request) -> web.Response:
        base = request.url.origin()
        named = {key: f"{base}/file?number={n}" for n, key in enumerate(keys or ["dataset/o/f"])}
        return web.json_response({"filenameToSignedUrls": named})

    async def file(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return script[min(len(asked), len(script)) - 1](request)

    app = web.Application()
    app.router.add_get("/v1/accounts/acme/datasets/o:getDownloadEndpoint", urls)
    app.router.add_get("/file", file)
    async with TestServer(app) as server:
        base_url = str(server.make_url("")).rstrip("/")
        async with BatchClient(
            api_key="fw_key", account_id="acme", base_url=base_url, retry=QUICK
        ) as client:
            yield client


def say(body: bytes, status: int = 200, **headers: str):
    """An answer, whatever is asked; headers named as arguments can be."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.Response(body=body, status=status, headers=named)


def md5_of(content: bytes) -> str:
    """The value of ``x-goog-hash``."""
    digest = hashlib.md5(content, usedforsecurity=False).digest()
    return f"crc32c=AAAAAA==,md5={base64.b64encode(digest).decode()}"


async def test_a_file_with_another_hash_is_asked_for_again(tmp_path):
    """As a whole."""
    good = say(b"content", x_goog_hash=md5_of(b"content"))
    bad = say(b"c0ntent", x_goog_hash=md5_of(b"content"))
    async with played([bad, good]) as client:
        (path,) = await client.datasets.download("o", tmp_path)
    assert path.read_bytes() == b"content"


async def test_a_file_that_never_has_its_hash_is_none(tmp_path):
    """After the attempts of the policy."""
    asked = []

    def answer(request: web.Request) -> web.Response:
        asked.append(request)
        return say(b"c0ntent", x_goog_hash=md5_of(b"content"))(request)

    async with played([answer]) as client:
        with pytest.raises(TransportError, match="7 bytes that came do not have the MD5"):
            await client.datasets.download("o", tmp_path)
    assert len(asked) == QUICK.max_attempts
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "second",
    [
        say(b"tent", 206, Content_Range="bytes 4-7/8", ETag='"1"'),
        say(b"tent", 206, ETag='"1"'),
        say(b"tent", 206, Content_Range="bytes 3-6/7", ETag='"2"'),
        say(b"", 416, Content_Range="bytes */2"),
        say(b"", 412),
    ],
)
async def test_a_rest_that_does_not_fit_is_dropped(tmp_path, second):
    """The whole is asked for then, and is what is stored."""

    def cut(request: web.Request) -> web.Response:
        response = say(b"con", ETag='"1"')(request)
        response.headers["Content-Length"] = "7"
        response.force_close()
        return response

    async with played([cut, second, say(b"content", ETag='"2"')]) as client:
        (path,) = await client.datasets.download("o", tmp_path)
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize(
    ("headers", "where"),
    [({"Location": "http://127.0.0.1:9/elsewhere"}, "127.0.0.1"), ({}, "another path")],
)
async def test_a_redirect_is_not_followed(tmp_path, headers, where):
    """It is told, and that it is the signed URL that led there, not ``base_url``."""
    async with played([say(b"", 302, **headers)]) as client:
        with pytest.raises(TransportError) as no:
            await client.datasets.download("o", tmp_path)
    assert str(no.value).endswith(
        f": 302: a redirect to {where}, not followed; "
        "storage answers a signed URL itself: is a proxy in between?"
    )


async def test_a_signed_url_on_the_apis_own_origin_gets_no_key_either(tmp_path):
    """A gateway in front of both hands out such ones."""
    told = [lambda request: web.Response(text=str(request.headers.get("Authorization")))]
    async with played(told) as client:
        (path,) = await client.datasets.download("o", tmp_path)
    assert path.read_text() == "None"


@pytest.mark.parametrize("url", ["http://storage.example/f", "https://user:pw@storage.example/f"])
async def test_a_signed_url_that_is_not_safe_is_not_used(responses, tmp_path, url):
    """The rows would be shown on the way, or credentials sent; no file is left."""
    base = "https://api.example/v1/accounts/acme/datasets/o"
    answer = {"filenameToSignedUrls": {"dataset/o/f": f"{url}?sig=secret"}}
    responses.get(f"{base}:getDownloadEndpoint", payload=answer, repeat=True)
    options = {"base_url": "https://api.example", "retry": QUICK}
    async with BatchClient(api_key="fw_key", account_id="acme", **options) as client:
        with pytest.raises(TransportError, match=r"the URL of the transfer, to storage\.ex") as no:
            await client.datasets.download("o", tmp_path)
    assert "secret" not in str(no.value)
    assert {str(each.origin()) for _, each in responses.requests} == {"https://api.example"}
    assert names_in(tmp_path) == []


async def test_what_storage_unpacks_is_stored_as_it_comes(tmp_path):
    """Google's does so for an object that was stored packed; its hash is that of other bytes."""
    answer = say(
        b"content",
        x_goog_stored_content_encoding="gzip",
        x_goog_hash=md5_of(gzip.compress(b"content")),
    )
    async with played([answer]) as client:
        (path,) = await client.datasets.download("o", tmp_path)
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("codings", [["gzip"], ["identity", "gzip"]])
async def test_a_compressed_answer_is_refused_unread(tmp_path, codings):
    """Of a bomb of 64 MiB nothing comes to disk, and no more than a few MiB to memory."""
    packed = gzip.compress(bytes(2**26))
    asked = []

    def answer(request: web.Request) -> web.Response:
        asked.append(request)
        headers = CIMultiDict([("Content-Encoding", coding) for coding in codings])
        return web.Response(body=packed, headers=headers)

    told = []
    tracemalloc.start()
    try:
        async with played([answer]) as client:
            with pytest.raises(TransportError, match=r"compressed \('gzip'\), which was not asked"):
                await client.datasets.download(
                    "o", tmp_path, on_progress=lambda *pair: told.append(pair)
                )
        if AIOHTTP >= (3, 14):  # older ones unpack what came with the headers
            assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert len(asked) == 1 + QUICK.max_attempts
    assert told == []
    assert names_in(tmp_path) == []


async def test_a_compressed_answer_may_be_followed_by_a_plain_one(tmp_path):
    """A proxy that compressed it once is no reason to give up."""
    packed = say(gzip.compress(b"content"), Content_Encoding="gzip")
    async with played([packed, say(b"content")]) as client:
        (path,) = await client.datasets.download("o", tmp_path)
    assert path.read_bytes() == b"content"


async def test_more_bytes_than_announced_are_not_read_to_their_end(tmp_path):
    """There may be none."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 2**16
            yield bytes(2**16)

    def cut(_: web.Request) -> web.Response:
        response = web.Response(body=b"con", headers={"ETag": '"1"', "Content-Length": "7"})
        response.force_close()
        return response

    def more(_: web.Request) -> web.Response:
        headers = {"Content-Range": "bytes 3-6/7", "ETag": '"1"'}
        return web.Response(status=206, body=endless(), headers=headers)

    async with played([cut, more, say(b"content")]) as client:
        (path,) = await client.datasets.download("o", tmp_path)
    assert path.read_bytes() == b"content"
    assert 0 < sent < 2**25


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("dataset/o/../../../../evil", "evil"),
        ("/etc/evil", "evil"),
        ("dataset/o/..\\evil", "%2E.%5Cevil"),
        ("dataset/o/..", "%2E%2E"),
        ("C:\\evil", "C%3A%5Cevil"),
    ],
)
@pytest.mark.parametrize("lineage", [False, True])
async def test_no_name_leaves_the_directory(tmp_path, key, name, lineage):
    """However evil it is."""
    async with played([say(b"content")], [key]) as client:
        (path,) = await client.datasets.download("o", tmp_path / "here", lineage=lineage)

    assert path.name == name
    assert path.resolve().is_relative_to((tmp_path / "here").resolve())
    assert names_in(tmp_path) == ["here"]


async def test_a_lineage_has_a_folder_for_each_dataset(tmp_path):
    """Files of one name do not meet."""
    keys = ["dataset/first/r.jsonl", "dataset/second/r.jsonl"]
    async with played([say(b"content")], keys) as client:
        paths = await client.datasets.download("o", tmp_path, lineage=True)
    assert paths == (tmp_path / "first/r.jsonl", tmp_path / "second/r.jsonl")


async def test_names_that_cannot_be_files_are_told(tmp_path):
    """Before anything is stored."""
    async with played([say(b"")], ["dataset/o/"]) as client:
        with pytest.raises(ResponseDecodeError, match="'dataset/o/' names no file"):
            await client.datasets.download("o", tmp_path)


@pytest.mark.parametrize("answer", [{"filenameToSignedUrls": []}, [], {"filenameToSignedUrls": 7}])
async def test_an_answer_without_urls_is_told(emulator, client, tmp_path, answer):
    """By the member's name."""
    emulator.add_fault("status", path="*:getDownloadEndpoint", status=200, body=answer)
    if answer == {"filenameToSignedUrls": []}:
        assert await client.datasets.download("out", tmp_path) == ()
        return
    with pytest.raises(ResponseDecodeError, match="filenameToSignedUrls: expected an object"):
        await client.datasets.download("out", tmp_path)


async def test_a_file_that_vanishes_is_told(emulator, client, tmp_path):
    """Between two attempts."""
    emulator.add_fault("truncate", path=STORAGE, bytes=1_000_000)
    emulator.add_fault(
        "status", path="*:getDownloadEndpoint", after=1, status=200, body={}, times=None
    )
    with pytest.raises(ResponseDecodeError, match=r"no URL for 'dataset/out/BIJOutputSet.jsonl'"):
        await client.datasets.download("out", tmp_path)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(("path", "after"), [(STORAGE, 0), ("*:getDownloadEndpoint", 1)])
async def test_a_file_that_is_listed_and_gone_is_not_taken_for_no_output(
    emulator, client, tmp_path, path, after
):
    """Storage's 404, or the API's in the middle: there are rows, or were."""
    emulator.add_fault("truncate", path=STORAGE, bytes=1_000_000)
    emulator.add_fault("status", path=path, after=after, status=404, times=None)
    listed = r"^file 'dataset/out/BIJOutputSet.jsonl' was listed, and is not there: .*404"
    with pytest.raises(TransportError, match=listed):
        await client.datasets.download("out", tmp_path)
    assert names_in(tmp_path) == []
    emulator.clear_faults()
    emulator.add_fault("status", path=STORAGE, status=404, times=None)
    job = BatchInferenceJob(
        name="accounts/acme/batchInferenceJobs/nightly",
        state=JobState.COMPLETED,
        output_dataset_id="accounts/acme/datasets/out",
    )
    with pytest.raises(TransportError, match=listed):
        await client.results(job).__aenter__()


# --- Progress -----------------------------------------------------------------------------------


async def test_progress_knows_the_whole_from_the_start(emulator, client, tmp_path):
    """Of all files; the last call has all of it."""
    emulator.add_dataset("out", files={"a.jsonl": RESULTS, "b.jsonl": ERRORS, "c": b""})
    told = []
    await client.datasets.download(
        "out", tmp_path, on_progress=lambda done, total: told.append((done, total))
    )
    whole = len(RESULTS) + len(ERRORS)

    assert {total for _, total in told} == {whole}
    assert told[-1][0] == whole
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) >= 8


async def test_progress_may_end_the_download(client, tmp_path):
    """What it raises comes out, and nothing is left."""

    def stop(*_: int) -> None:
        raise ZeroDivisionError("enough")

    with pytest.raises(ZeroDivisionError, match="enough"):
        await client.datasets.download("out", tmp_path, on_progress=stop)
    assert names_in(tmp_path) == []


async def test_lengths_that_cannot_be_asked_for_are_learned_later(emulator, client, tmp_path):
    """The progress does without them, and the download too."""
    emulator.add_fault("reset", path=STORAGE, times=2)
    told = []
    await client.datasets.download("out", tmp_path, on_progress=lambda *pair: told.append(pair))

    assert told[-1] == (len(RESULTS), len(RESULTS))


# --- The disk -----------------------------------------------------------------------------------


async def test_a_disk_that_is_full_is_told(client, tmp_path, full_disk):
    """By the path and the system's reason; nothing is left, not even of what was there."""
    (tmp_path / "BIJOutputSet.jsonl").write_bytes(b"old")
    message = r"cannot write .*/BIJOutputSet.jsonl': "
    with full_disk(2_000_000), pytest.raises(LocalFileError, match=message) as caught:
        await client.datasets.download("out", tmp_path)

    assert caught.value.errno == errno.EFBIG
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert names_in(tmp_path) == ["BIJOutputSet.jsonl"]
    assert (tmp_path / "BIJOutputSet.jsonl").read_bytes() == b"old"


async def test_a_directory_that_cannot_be_written_is_told(emulator, client, tmp_path):
    """By its name and the reason, before anything is downloaded."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalFileError, match=r"cannot make directory .*/file/below': ") as caught:
        await client.datasets.download("out", tmp_path / "file" / "below")

    assert caught.value.errno == errno.ENOTDIR
    assert ranges(emulator) == []


@contextmanager
def no_privileges():
    """Root, who may write anywhere, is nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


async def test_a_directory_without_permission_is_told(client, tmp_path):
    """By the system's reason."""
    tmp_path.chmod(0o500)
    await asyncio.to_thread(int)  # nobody may not even read the modules that a thread needs
    with no_privileges(), pytest.raises(LocalFileError, match="Permission denied"):
        await client.datasets.download("out", tmp_path)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="Linux has a directory for nobody's files")
async def test_a_directory_that_takes_no_files_is_told(emulator, client):
    """Not even root's; before anything is downloaded."""
    with pytest.raises(LocalFileError, match=r"cannot write '/proc/BIJOutputSet.jsonl': "):
        await client.datasets.download("out", "/proc")

    assert ranges(emulator) == []


@pytest.mark.parametrize("length", [256, 300])
async def test_a_name_that_is_too_long_is_told(tmp_path, length):
    """The server may have longer ones than the disk; before any file is downloaded."""
    asked = []

    def answer(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(body=b"content")

    async with played([answer], ["dataset/o/a", "dataset/o/" + "x" * length]) as client:
        with pytest.raises(LocalFileError, match=os.strerror(errno.ENAMETOOLONG)):
            await client.datasets.download("o", tmp_path)
    assert asked == []
    assert names_in(tmp_path) == []


async def test_the_longest_name_is_no_problem(tmp_path):
    """255 bytes, with characters of several bytes."""
    name = "ä" * 124 + "x.jsonl"
    async with played([say(b"content")], [f"dataset/o/{name}"]) as client:
        (path,) = await client.datasets.download("o", tmp_path)
    assert (path.name, len(os.fsencode(path.name))) == (name, 255)


async def test_a_name_that_is_a_directory_is_told(emulator, client, tmp_path):
    """Before any file is downloaded; what is in it stays."""
    (tmp_path / "error-data").mkdir()
    with pytest.raises(LocalFileError, match=r"cannot write .*/error-data'"):
        await client.datasets.download("out", tmp_path)

    assert ranges(emulator) == []
    assert names_in(tmp_path) == ["error-data"]


# --- What is left behind ------------------------------------------------------------------------


async def test_cancelling_leaves_nothing_behind(client, tmp_path):
    """No temporary file, no task; and the next download works."""
    begun = asyncio.Event()
    before = asyncio.all_tasks()
    task = asyncio.create_task(
        client.datasets.download("out", tmp_path, on_progress=lambda *_: begun.set())
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert names_in(tmp_path) == []
    left = {each for each in asyncio.all_tasks() - before if "RequestHandler" not in repr(each)}
    assert left == set()
    assert len(await client.datasets.download("out", tmp_path)) == 2


async def test_cancelling_leaves_no_connection_in_use(emulator, tmp_path):
    """Up or down; of a borrowed session, too."""
    async with (
        aiohttp.ClientSession() as session,
        client_of(emulator, session=session) as client,
    ):
        for transfer in (
            lambda tell: client.datasets.download("out", tmp_path, on_progress=tell),
            lambda tell: client.datasets.upload(RESULTS, on_progress=tell),
        ):
            begun = asyncio.Event()
            task = asyncio.create_task(transfer(lambda *_, begun=begun: begun.set()))
            await begun.wait()
            assert session.connector._acquired
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not session.connector._acquired


async def test_cancelling_twice_leaves_nothing_behind_either(client, tmp_path):
    """At any moment of the cleaning up."""
    begun = asyncio.Event()
    task = asyncio.create_task(
        client.datasets.download("out", tmp_path, on_progress=lambda *_: begun.set())
    )
    await begun.wait()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    for _ in range(100):
        if not names_in(tmp_path):
            break
        await asyncio.sleep(0.01)
    assert names_in(tmp_path) == []
