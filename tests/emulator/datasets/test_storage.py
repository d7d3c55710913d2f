"""Signed URLs: another origin, what they open and for how long, ranges, faults."""

import asyncio
import base64
import hashlib
import resource
import sys
import zlib

import aiohttp
import attrs
import pytest

from fireworks_batch.emulator.datasets.storage import UnsatisfiableRangeError, read_range

DATASETS = "/v1/accounts/acme/datasets"
CONTENT = bytes(range(256)) * 40
RANGE = "X-Goog-Content-Length-Range"


@attrs.frozen
class Seen:
    status: int
    headers: dict
    body: bytes

    @property
    def code(self):
        """The storage's code of a refusal."""
        assert self.headers["Content-Type"] == "application/xml; charset=UTF-8"
        return self.body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


async def ask(url, method="GET", **options):
    """Send one request to the storage."""
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, url, **options) as response,
    ):
        return Seen(response.status, response.headers, await response.read())


async def download_url(bench, content=CONTENT):
    """Put a file there and have a URL for it."""
    bench.emulator.add_dataset("out", files={"x": content})
    reply = await bench.api.get(f"{DATASETS}/out:getDownloadEndpoint")
    return reply.json["filenameToSignedUrls"]["dataset/out/x"]


async def upload_url(bench, size=3):
    """Have a URL to upload a file to."""
    body = {"datasetId": "in", "dataset": {"exampleCount": 1}}
    await bench.api.post(DATASETS, json=body)
    body = {"filenameToSize": {"x": size}}
    reply = await bench.api.post(f"{DATASETS}/in:getUploadEndpoint", json=body)
    return reply.json["filenameToSignedUrls"]["x"]


async def put(url, content, size=3, **headers):
    """Upload by a signed URL, with its two headers."""
    signed = {"Content-Type": "application/octet-stream", RANGE: f"{size},{size}"}
    return await ask(url, "PUT", data=content, headers=signed | headers)


async def is_uploaded(bench):
    """Whether the storage has the whole file."""
    return (await bench.api.post(f"{DATASETS}/in:validateUpload", json={})).status == 200


# What a URL opens


async def test_signed_urls_have_an_origin_of_their_own(bench):
    """Another port; the path names the file, the query the time, and the log the origin."""
    url = await download_url(bench)
    origin = bench.emulator.storage_url
    assert url.startswith(f"{origin}/fireworks-acme/dataset/out/x?X-Goog-")
    assert origin != bench.emulator.base_url
    assert "X-Goog-Expires=599&X-Goog-SignedHeaders=host&" in url
    await ask(url)
    api, storage = bench.emulator.requests()
    assert (api.origin, storage.origin) == ("api", "storage")
    assert (storage.path, storage.status) == ("/fireworks-acme/dataset/out/x", 200)


async def test_a_whole_file_comes_with_its_length_tag_and_hash(bench):
    """What a client needs to go on later, and to check what it got."""
    seen = await ask(await download_url(bench))
    assert (seen.status, seen.body) == (200, CONTENT)
    md5 = base64.b64encode(hashlib.md5(CONTENT, usedforsecurity=False).digest()).decode()
    assert seen.headers["x-goog-hash"] == f"md5={md5}"
    assert seen.headers["Content-Length"] == str(len(CONTENT))
    assert seen.headers["Accept-Ranges"] == "bytes"
    assert seen.headers["ETag"].strip('"')
    assert seen.headers["x-goog-generation"].isdecimal()


@pytest.mark.breaks_contract
async def test_the_key_closes_a_signed_url(bench):
    """A request with Authorization is refused, and stands in the log without the key."""
    url = await download_url(bench)
    seen = await ask(url, headers={"Authorization": "Bearer fw_emulator"})
    assert (seen.status, seen.code) == (400, "InvalidArgument")
    record = bench.emulator.requests()[-1]
    assert (record.origin, record.headers["Authorization"]) == ("storage", "Bearer ***")
    seen = await put(await upload_url(bench), b"abc", Authorization="Bearer fw_emulator")
    assert (seen.status, await is_uploaded(bench)) == (400, False)


@pytest.mark.parametrize("method", ["PUT", "HEAD", "DELETE", "POST"])
async def test_a_url_is_for_one_method(bench, method):
    """Any other is not signed."""
    assert (await ask(await download_url(bench), method)).status == 403


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/out/x", "/out/y"),
        ("Expires=599", "Expires=9999"),
        ("Signature=", "Signature=0"),
        ("?", "?a=1&"),
    ],
)
async def test_a_changed_url_opens_nothing(bench, old, new):
    """Path, query and signature belong together."""
    url = await download_url(bench)
    seen = await ask(url.replace(old, new))
    assert (seen.status, seen.code) == (403, "SignatureDoesNotMatch")


async def test_a_signature_that_is_no_text_of_ascii_is_refused(bench):
    """It is answered as any other bad argument."""
    seen = await ask((await download_url(bench)).replace("Signature=", "Signature=%C3%A9"))
    assert (seen.status, seen.code) == (400, "InvalidArgument")


async def test_a_signed_header_of_other_bytes_is_not_what_was_signed(bench):
    """Also if the bytes are no UTF-8, which a client of ours would not send."""
    host, _, port = bench.emulator.storage_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    target = b"/x?X-Goog-SignedHeaders=x-odd&X-Goog-Signature=0"
    writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\nX-Odd: \xff\r\nConnection: close\r\n\r\n" % target)
    assert (await reader.read()).startswith(b"HTTP/1.1 403 ")
    writer.close()
    await writer.wait_closed()


async def test_a_url_that_is_not_signed_opens_nothing(bench):
    """Nor does any other path of the port."""
    url = await download_url(bench)
    assert (await ask(url.partition("?")[0])).status == 403
    assert (await ask(bench.emulator.storage_url)).status == 403


@pytest.mark.parametrize("seconds", [598, 599])
async def test_a_download_url_expires(bench, seconds):
    """After ten minutes, nearly; a new one is good."""
    url = await download_url(bench)
    bench.clock.advance(seconds)
    seen = await ask(url)
    assert seen.status == (200 if seconds < 599 else 400)
    if seen.status == 400:
        assert seen.code == "ExpiredToken"
        assert (await ask(await download_url(bench))).status == 200


@pytest.mark.parametrize("seconds", [3598, 3599])
async def test_an_upload_url_expires(bench, seconds):
    """After an hour."""
    url = await upload_url(bench)
    bench.clock.advance(seconds)
    assert (await put(url, b"abc")).status == (200 if seconds < 3599 else 400)


@pytest.mark.parametrize(("grace", "status"), [(0.0, 400), (30.0, 200)])
async def test_fast_time_leaves_a_url_some_seconds(make_bench, grace, status):
    """An hour may be over in a second of the clock; the grace is of the clock, too."""
    async with make_bench(speed=3600, url_grace=grace) as bench:
        url = await download_url(bench)
        bench.clock.advance(29)
        assert (await ask(url)).status == status
        bench.clock.advance(1)
        assert (await ask(url)).status == 400


async def test_a_reset_closes_the_urls_from_before(bench):
    """The same path then belongs to another world."""
    url = await download_url(bench)
    bench.emulator.reset()
    bench.emulator.add_dataset("out", files={"x": CONTENT})
    assert (await ask(url)).status == 403


# Uploads


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, 403, "SignatureDoesNotMatch"),
        ({RANGE: "0,9"}, 403, "SignatureDoesNotMatch"),
    ],
)
async def test_both_headers_are_signed(bench, headers, status, code):
    """Another value does not fit."""
    seen = await put(await upload_url(bench), b"abc", **headers)
    assert (seen.status, seen.code, await is_uploaded(bench)) == (status, code, False)


@pytest.mark.parametrize("headers", [{"Content-Type": "application/octet-stream"}, {RANGE: "3,3"}])
async def test_both_headers_must_be_there(bench, headers):
    """One of them is not enough."""
    url = await upload_url(bench)
    skip = ["Content-Type"]
    seen = await ask(url, "PUT", data=b"abc", headers=headers, skip_auto_headers=skip)
    assert (seen.status, seen.code) == (400, "MalformedSecurityHeader")
    assert not await is_uploaded(bench)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("content", "code"), [(b"ab", "EntityTooSmall"), (b"abcd", "EntityTooLarge"), (b"abc", None)]
)
async def test_an_upload_has_exactly_the_signed_length(bench, content, code, streamed):
    """Whether it says its length first or not."""

    async def chunks():
        yield content

    seen = await put(await upload_url(bench), chunks() if streamed else content)
    assert seen.status == (400 if code else 200)
    assert code is None or seen.code == code
    assert await is_uploaded(bench) == (code is None)


async def test_an_upload_cut_by_a_fault_leaves_nothing(bench):
    """`reset` reads so many bytes of the body first; the URL is good for another attempt."""
    url = await upload_url(bench, size=1_000_000)
    # Twice, since aiohttp itself repeats a PUT once.
    bench.emulator.add_fault("reset", times=2, path="/fireworks-*/in/x", bytes=300_000)
    with pytest.raises(aiohttp.ClientError):
        await put(url, bytes(1_000_000), size=1_000_000)
    record = bench.emulator.requests()[-1]
    assert (record.origin, record.fault, record.status) == ("storage", "reset", None)
    assert record.body_bytes == 300_000
    assert not await is_uploaded(bench)
    assert (await put(url, bytes(1_000_000), size=1_000_000)).status == 200
    assert await is_uploaded(bench)


async def test_an_upload_cut_by_the_client_leaves_nothing(bench):
    """A connection that ends in the middle is no upload, and no file stays behind."""
    url = await upload_url(bench, size=100_000)
    sent = asyncio.Event()

    async def chunks():
        yield bytes(50_000)
        sent.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(put(url, chunks(), size=100_000))
    await sent.wait()
    upload.cancel()
    await asyncio.wait([upload])
    assert not await is_uploaded(bench)
    bucket = bench.emulator._world().datasets.bucket
    while list(bucket.files._directory.iterdir()) if bucket.files._directory else ():
        await asyncio.sleep(0)


# Ranges


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("bytes=0-", (0, 10)),
        ("bytes=3-", (3, 7)),
        ("bytes=3-3", (3, 1)),
        ("bytes=3-99", (3, 7)),
        ("bytes=-4", (6, 4)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=1-2,4-5", None),
        ("lines=1-2", None),
        ("bytes=9-", (9, 1)),
    ],
)
def test_a_range_of_bytes_is_read(text, expected):
    """One range; whatever is none asks for everything."""
    assert read_range(text, 10) == expected


@pytest.mark.parametrize(("text", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_a_range_outside_is_not_satisfied(text, size):
    """Not a byte of it is there."""
    with pytest.raises(UnsatisfiableRangeError):
        read_range(text, size)


async def test_a_part_is_served(bench):
    """With its place, under the tag of the whole."""
    url = await download_url(bench)
    whole = await ask(url)
    part = await ask(url, headers={"Range": "bytes=1000-"})
    assert (part.status, part.body) == (206, CONTENT[1000:])
    assert part.headers["Content-Range"] == f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert part.headers["ETag"] == whole.headers["ETag"]
    seen = await ask(url, headers={"Range": f"bytes={len(CONTENT)}-"})
    assert (seen.status, seen.code) == (416, "InvalidRange")
    assert seen.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


async def test_a_changed_file_is_served_whole(bench):
    """If-Range names what the client has a part of; by tag or by date."""
    url = await download_url(bench)
    first = await ask(url)
    wanted = {"Range": "bytes=1000-"}
    for name in ("ETag", "Last-Modified"):
        part = await ask(url, headers=wanted | {"If-Range": first.headers[name]})
        assert part.status == 206
    bench.clock.advance(1)
    bench.emulator.replace_file("out", "x", b"new")
    for name in ("ETag", "Last-Modified"):
        seen = await ask(url, headers=wanted | {"If-Range": first.headers[name]})
        assert (seen.status, seen.body) == (200, b"new")
    assert seen.headers["ETag"] != first.headers["ETag"]
    assert (await ask(url, headers=wanted | {"If-Range": "yesterday"})).status == 200


@pytest.mark.parametrize(
    ("assume", "headers", "status", "missing"),
    [
        ({"signed_url_range": "ignore"}, {"Range": "bytes=1-"}, 200, "Content-Range"),
        ({"signed_url_hash": "none"}, {}, 200, "x-goog-hash"),
        ({"signed_url_gzip": "accepted"}, {"Accept-Encoding": "identity"}, 200, "Content-Encoding"),
        ({}, {"Accept-Encoding": "gzip"}, 200, "Content-Encoding"),
    ],
)
async def test_what_is_not_known_of_the_storage_is_a_switch(
    make_bench, assume, headers, status, missing
):
    """Whether it knows ranges, hashes and compression."""
    async with make_bench(assume=assume) as bench:
        seen = await ask(await download_url(bench), headers=headers)
        assert (seen.status, seen.body, missing in seen.headers) == (status, CONTENT, False)


async def test_a_file_may_come_compressed(make_bench):
    """By assumption, to whom it is welcome: without a length, and whole."""
    async with make_bench(assume={"signed_url_gzip": "accepted"}) as bench:
        headers = {"Accept-Encoding": "gzip, br", "Range": "bytes=5-"}
        seen = await ask(await download_url(bench), headers=headers)
        assert (seen.status, seen.headers["Content-Encoding"]) == (200, "gzip")
        assert zlib.decompress(seen.body, wbits=31) == CONTENT
        assert "Content-Length" not in seen.headers


# Faults


async def test_faults_strike_the_storage_as_well(bench):
    """By its path; the body is cut where the fault says, also within a range."""
    url = await download_url(bench)
    bench.emulator.add_fault("status", path="/fireworks-acme/*", status=500)
    assert (await ask(url)).status == 500
    for headers, expected in (({}, CONTENT), ({"Range": "bytes=100-"}, CONTENT[100:])):
        bench.emulator.add_fault("truncate", method="GET", path="*/dataset/out/x", bytes=5000)
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as seen:
            assert seen.headers["Content-Length"] == str(len(expected))
            with pytest.raises(aiohttp.ClientPayloadError):
                await seen.read()
    assert (await ask(url)).body == CONTENT


@pytest.mark.parametrize("action", ["reset", "drop_answer"])
async def test_a_connection_to_the_storage_is_reset(bench, action):
    """A lost answer to an upload is an upload."""
    url = await upload_url(bench)
    bench.emulator.add_fault(action, method="PUT", times=2)
    with pytest.raises(aiohttp.ClientError):
        await put(url, b"abc")
    assert await is_uploaded(bench) == (action == "drop_answer")


async def test_a_late_upload_is_an_upload(bench):
    """`delay` waits before the body is read."""
    bench.emulator.add_fault("delay", method="PUT", seconds=0.001)
    url = await upload_url(bench)
    assert (await put(url, b"abc")).status == 200


# Size


@pytest.mark.skipif(sys.platform == "win32", reason="the size of a process is asked of POSIX")
async def test_the_same_content_again_disturbs_no_job(bench):
    """Two that upload the same at once end at different times: what one runs the other replaces."""
    row = b'{"custom_id": "a", "body": {"messages": [{"role": "user", "content": "x"}]}}\n'
    url = await upload_url(bench, len(row))
    await put(url, row, len(row))
    assert await is_uploaded(bench)
    bench.clock.advance(1)
    body = {
        "model": "accounts/fireworks/models/demo-8b",
        "inputDatasetId": "accounts/acme/datasets/in",
    }
    jobs = "/v1/accounts/acme/batchInferenceJobs"
    await bench.api.post(jobs, params={"batchInferenceJobId": "one"}, json=body)
    again = await put(url, row, len(row))
    bench.clock.advance(1000)
    job = (await bench.api.get(f"{jobs}/one")).json

    assert 200 == again.status
    assert "JOB_STATE_COMPLETED" == job["state"]
    assert 1 == job["jobProgress"]["successfullyProcessedRequests"]


async def test_large_files_stay_on_the_disk(bench, tmp_path):
    """Up and down, 100 MiB add less than a third of that to the process."""
    size = 100 * 2**20
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    url = await upload_url(bench, size)
    with path.open("rb") as file:
        assert (await put(url, file, size)).status == 200
    assert await is_uploaded(bench)
    bench.clock.advance(1)
    reply = await bench.api.get(f"{DATASETS}/in:getDownloadEndpoint")
    (url,) = reply.json["filenameToSignedUrls"].values()
    received = 0
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        async for chunk in response.content.iter_any():
            received += len(chunk)
    unit = 1 if sys.platform == "darwin" else 1024
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    assert (received, grown < size / 3) == (size, True)
