"""Transfers: what goes where, what ends one that stands still, and that nothing is left behind."""

import asyncio
import contextlib
import functools
import inspect
import io
import json
import re
from collections.abc import AsyncIterator
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from virtual_loop import VirtualLoop

import fireworks_batch as fb
from fireworks_batch import BatchClient, RetryPolicy

MIB = 1024 * 1024


def make(server, **options) -> BatchClient:
    """A client whose API is the server."""
    return BatchClient(api_key="fw_key", account_id="acme", base_url=server.url, **options)


@pytest.fixture
async def server():
    """Answers each path in a way of its own."""
    async with running() as made:
        yield made


async def echo(request):
    """Say what came."""
    body = await request.read()
    sent = {"method": request.method, "url": request.raw_path, "bytes": len(body)}
    return web.json_response({**sent, "headers": dict(request.headers)})


async def trickle(request):
    """Answer for minutes."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(5):
        await response.write(b" ")
        await asyncio.sleep(50)
    return response


async def deaf(_request):
    """Take nothing, answer nothing."""
    await asyncio.sleep(1000)


async def busy(_request):
    """Ask to wait."""
    raise web.HTTPTooManyRequests(headers={"Retry-After": "300"})


async def pressed(_request):
    """Ask to wait, without saying how long."""
    raise web.HTTPTooManyRequests


async def moved(_request):
    """Send elsewhere."""
    raise web.HTTPTemporaryRedirect("https://elsewhere.example/secret?sig=secret")


async def refuse(_request):
    """Refuse before anything is read."""
    return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")


async def slow(request):
    """Take eight megabytes, then none for a while."""
    taken = 0
    while piece := await request.content.readany():
        taken += len(piece)
        if taken // (8 * MIB) > (taken - len(piece)) // (8 * MIB):
            await asyncio.sleep(50)
    return web.json_response({"bytes": taken})


async def early(request):
    """Begin to answer before the body is there."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(json.dumps({"bytes": len(await request.read())}).encode())
    return response


KINDS = {
    kind.__name__: kind for kind in (echo, trickle, deaf, busy, pressed, moved, refuse, slow, early)
}


async def answer(request):
    """Answer by the last segment of the path."""
    return await KINDS[request.path.rpartition("/")[2]](request)


@contextlib.asynccontextmanager
async def running():
    """Two servers of one kind: the API's, and one of another origin, as the storage is."""
    async with TestServer(app()) as api, TestServer(app()) as storage:
        yield SimpleNamespace(url=origin(api), storage=origin(storage))


def app() -> web.Application:
    """What both of them do."""
    made = web.Application(client_max_size=64 * MIB)
    made.router.add_route("*", "/{path:.*}", answer)
    return made


def origin(server: TestServer) -> str:
    """Scheme, host and port; by address, since looking up a name takes a thread."""
    return f"http://127.0.0.1:{server.port}"


def virtual(test):
    """Run a test on a virtual clock: server, client and all are made on a loop of its own."""

    async def scenario(**arguments):
        async with running() as server:
            await test(server=server, **arguments)

    @functools.wraps(test)
    def run(**arguments):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(scenario(**arguments))

    wanted = inspect.signature(test).parameters
    run.__signature__ = inspect.Signature([wanted[name] for name in wanted if name != "server"])
    return run


def now() -> float:
    """The moment."""
    return asyncio.get_running_loop().time()


async def pieces(number: int, pause: float = 0.0) -> AsyncIterator[bytes]:
    """A body that comes a kilobyte at a time."""
    for _ in range(number):
        yield b"x" * 1000
        await asyncio.sleep(pause)


def form() -> aiohttp.FormData:
    """What an upload endpoint takes."""
    fields = aiohttp.FormData()
    fields.add_field("file", b"x" * 5000, filename="input.jsonl", content_type="text/plain")
    return fields


async def whole(stream) -> bytes:
    """The rest of the body."""
    body = b""
    while piece := await stream.read():
        body += piece
    return body


async def ask(client, method, url, **options):
    """The JSON that a transfer is answered with."""
    async with client._api.transport.stream(method, url, **options) as stream:
        assert stream.status == 200
        return json.loads(await whole(stream))


async def strays() -> list[str]:
    """The tasks that are left, but for the server's own, after ten turns of the loop."""
    for _ in range(10):
        await asyncio.sleep(0)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return [repr(task) for task in tasks if "write_bytes" in repr(task) or "pieces" in repr(task)]


# --- What goes where ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (lambda: None, 0),
        (lambda: b"", 0),
        (lambda: b"x" * 5, 5),
        (lambda: b"x" * (3 * MIB + 1), 3 * MIB + 1),
        (lambda: memoryview(bytearray(700_000)), 700_000),
        (lambda: pieces(7), 7000),
        (lambda: aiohttp.BytesIOPayload(io.BytesIO(b"x" * MIB)), MIB),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_body_arrives_whole(server, method, data, size):
    """In any form, and of any size, with its length where that is known."""
    async with make(server) as client:
        seen = await ask(client, method, f"{server.storage}/echo", data=data())
    assert size == seen["bytes"]
    assert method == seen["method"]
    is_known = "Content-Length" in seen["headers"]
    assert is_known == (not inspect.isasyncgen(data()))


async def test_a_form_arrives_as_a_form(server):
    """With its boundary, by the API's upload endpoint."""
    async with make(server) as client:
        seen = await ask(client, "POST", f"{server.url}/echo", data=form())
    assert seen["headers"]["Content-Type"].startswith("multipart/form-data; boundary=")
    assert seen["bytes"] > 5000


async def test_an_iterator_with_a_given_length_is_not_sent_in_chunks(server):
    """As a signed URL wants it."""
    headers = {"Content-Length": "7000", "Content-Type": "application/octet-stream"}
    async with make(server) as client:
        url = f"{server.storage}/echo"
        seen = await ask(client, "PUT", url, headers=headers, data=pieces(7))
    assert seen["headers"]["Content-Length"] == "7000"
    assert "Transfer-Encoding" not in seen["headers"]
    assert seen["bytes"] == 7000


async def test_the_key_and_the_clients_headers_go_to_the_api_only(server):
    """What storage gets is what was said, and no more."""
    async with make(server, headers={"X-Team": "eval"}) as client:
        said = {"accept-encoding": "identity", "X-Goog": "1"}
        ours = await ask(client, "GET", f"{server.url}/echo?a=b", headers=said)
        storage = await ask(client, "GET", f"{server.storage}/echo?a=b", headers=said)
        signed = await ask(client, "GET", f"{server.url}/echo?a=b", headers=said, is_signed=True)
    assert ours["headers"]["Authorization"] == "Bearer fw_key"
    assert ours["headers"]["X-Team"] == "eval"
    assert {"Authorization", "X-Team"}.isdisjoint(storage["headers"])
    assert {"Authorization", "X-Team"}.isdisjoint(signed["headers"])
    assert storage["headers"]["User-Agent"].startswith("fireworks-batch/")
    for seen in (ours, storage):
        assert seen["headers"]["Accept-Encoding"] == "identity"
        assert seen["headers"]["X-Goog"] == "1"
        assert seen["url"].endswith("/echo?a=b")


async def test_a_signed_url_is_sent_as_it_is(server):
    """Its escapes are part of what was signed."""
    async with make(server) as client:
        url = f"{server.storage}/echo?sig=a%2Fb+c%20d&type=content-type%3Bhost"
        assert (await ask(client, "GET", url))["url"] == url.partition(server.storage)[2]


@pytest.mark.parametrize("at_api", [True, False])
async def test_a_redirect_is_refused(server, at_api):
    """Its host is named, its query is not; nothing follows it; the advice fits who was asked."""
    async with make(server) as client:
        with pytest.raises(fb.TransportError, match="307: a redirect to elsewhere") as no:
            await ask(client, "GET", f"{server.url if at_api else server.storage}/moved")
    assert "secret" not in str(no.value)
    assert ("base_url" in str(no.value)) is at_api


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/a",
        "nowhere",
        "ftp://x.example/a",
        "https://[::1/a?sig=s",
        "http://x:65536/a?sig=s",
        "http://x/\x00?sig=s",
        "http://x/?sig=s\r\nX-Injected: 1",
        " http://x/?sig=s",
    ],
)
async def test_a_url_that_cannot_be_used_is_an_error(server, url):
    """Which does not show it: it may be signed."""
    async with make(server) as client:
        with pytest.raises(
            fb.TransportError, match="GET: the URL of the transfer is not an absolute"
        ):
            await ask(client, "GET", url)


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("is_signed", [False, True])
async def test_a_url_that_is_http_is_used_if_that_is_allowed(server, allowed, is_signed):
    """Else it is named without its signature, and nothing is sent."""
    url = f"{server.storage}/echo?sig=secret"
    options = {"base_url": "https://api.example", "allow_insecure_http": allowed}
    async with BatchClient(api_key="fw_key", account_id="acme", **options) as client:
        if allowed:
            assert (await ask(client, "GET", url, is_signed=is_signed))["url"] == "/echo?sig=secret"
            return
        with pytest.raises(fb.TransportError, match=r"GET: .* to 127\.0\.0\.1, is http") as no:
            await ask(client, "GET", url, is_signed=is_signed)
    assert "secret" not in str(no.value)


@pytest.mark.parametrize(
    "base_url", ["http://localhost:1", "https://127.0.0.1:1", "http://[::1]:1"]
)
async def test_an_api_on_this_machine_may_sign_urls_that_are_http(server, base_url):
    """As an emulator does."""
    async with BatchClient(api_key="fw_key", account_id="acme", base_url=base_url) as client:
        assert (await ask(client, "GET", f"{server.storage}/echo", is_signed=True))[
            "url"
        ] == "/echo"


@pytest.mark.parametrize("credentials", ["user:pw@", "user@", ":pw@", "@"])
@pytest.mark.parametrize("is_signed", [False, True])
async def test_a_url_with_credentials_is_not_used(server, credentials, is_signed):
    """They are not shown, and are not sent."""
    url = f"{server.storage}/echo".replace("://", f"://{credentials}")
    async with make(server) as client:
        with pytest.raises(fb.TransportError, match="has a user or password in it") as no:
            await ask(client, "GET", url, is_signed=is_signed)
    assert "pw" not in str(no.value)
    assert not re.search(r"\buser(:|@)", str(no.value))


async def test_an_answer_may_come_before_the_body_is_out(server):
    """A refusal is read, and the rest of the body is not sent; nobody goes on sending."""
    async with make(server, max_connections=1) as client:
        transport = client._api.transport
        async with transport.stream(
            "PUT", f"{server.storage}/refuse", data=pieces(10_000, 0.001)
        ) as stream:
            assert stream.status == 403
            assert b"AccessDenied" in await stream.read()
        assert not await strays()
        assert (await ask(client, "GET", f"{server.url}/echo"))["bytes"] == 0


async def test_a_body_goes_on_after_the_answer_has_begun(server):
    """Its pieces have no limit to start anew any more."""
    async with make(server) as client:
        seen = await ask(client, "PUT", f"{server.storage}/early", data=pieces(50, 0.001))
    assert seen["bytes"] == 50_000


@pytest.mark.parametrize("borrowed", [False, True])
@virtual
async def test_closing_the_client_ends_its_transfers(server, borrowed):
    """One that sends, one that waits for an answer, one that reads."""
    async with aiohttp.ClientSession() as session:
        client = make(server, **({"session": session} if borrowed else {}))
        transfers = [
            ask(client, "PUT", f"{server.storage}/echo", data=pieces(1000, pause=1)),
            ask(client, "PUT", f"{server.storage}/deaf", data=b"x"),
            ask(client, "GET", f"{server.storage}/trickle"),
        ]
        tasks = [asyncio.create_task(transfer) for transfer in transfers]
        await asyncio.sleep(5)
        began = now()
        await client.aclose()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, fb.ClientStateError)
        assert now() - began < 1
        assert not await strays()


# --- What ends one that stands still ------------------------------------------------------------


@virtual
async def test_a_transfer_has_no_limit_but_on_standing_still(server):
    """Ten minutes of sending, and four of reading, at a limit of a minute."""
    async with make(server, transfer_timeout=60) as client:
        began = now()
        seen = await ask(client, "PUT", f"{server.storage}/echo", data=pieces(12, pause=50))
        assert seen["bytes"] == 12_000
        assert now() - began >= 600
        async with client._api.transport.stream("GET", f"{server.storage}/trickle") as stream:
            assert await whole(stream) == b" " * 5


@virtual
async def test_bytes_that_go_out_slowly_are_no_standstill(server):
    """They go out in pieces, each of which counts."""
    async with make(server, transfer_timeout=60) as client:
        began = now()
        seen = await ask(client, "PUT", f"{server.storage}/slow", data=bytes(48 * MIB))
        assert seen["bytes"] == 48 * MIB
        assert now() - began >= 250


@virtual
async def test_a_source_that_stands_still_ends_the_transfer(server):
    """The limit counts from the last piece."""
    async with make(server, transfer_timeout=60) as client:
        began = now()
        with pytest.raises(fb.RequestTimeoutError, match=r"within transfer_timeout \(60 s\)"):
            await ask(client, "PUT", f"{server.storage}/echo", data=pieces(2, pause=61))
        assert round(now() - began) == 60
        assert not await strays()


@virtual
async def test_a_server_that_takes_no_more_ends_the_transfer(server):
    """One large piece of bytes is many small ones, of which the last that fits is counted."""
    async with make(server, transfer_timeout=60) as client:
        began = now()
        with pytest.raises(fb.RequestTimeoutError, match="within transfer_timeout"):
            await ask(client, "PUT", f"{server.storage}/deaf", data=bytes(48 * MIB))
        assert 59 < now() - began < 70
        assert not await strays()


@virtual
async def test_a_download_that_stands_still_is_ended(server):
    """Between two pieces too."""
    async with make(server, transfer_timeout=40) as client:
        with pytest.raises(fb.RequestTimeoutError, match=r"within transfer_timeout \(40 s\)"):
            await ask(client, "GET", f"{server.storage}/trickle")


@virtual
async def test_a_key_that_never_comes_ends_the_transfer(server):
    """Who is asked for it is bounded as the rest is."""
    client = BatchClient(
        api_key=functools.partial(asyncio.sleep, 1000), account_id="acme", base_url=server.url
    )
    async with client:
        with pytest.raises(fb.RequestTimeoutError, match="within transfer_timeout"):
            await ask(client, "GET", f"{server.url}/echo")


async def test_what_the_data_raises_is_raised_as_it_is(server):
    """It is no error of the network, though the connection ends with it."""
    error = LookupError("the file has gone")

    async def broken():
        yield b"x"
        raise error

    async with make(server) as client:
        with pytest.raises(LookupError) as caught:
            await ask(client, "PUT", f"{server.storage}/echo", data=broken())
        assert caught.value is error
        assert not await strays()


async def test_a_body_is_never_sent_twice():
    """Where a kept connection is dropped, aiohttp would repeat a PUT, with what is left of it."""
    arrived, serving = [], set()

    async def serve(reader, writer):
        serving.add(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        else:
            arrived.append(await reader.read())  # to its end, since nobody answers
        writer.close()
        serving.remove(writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as raw:
        url = f"http://127.0.0.1:{raw.sockets[0].getsockname()[1]}"
        async with make(SimpleNamespace(url=url), transfer_timeout=2) as client:
            async with client._api.transport.stream("GET", f"{url}/a") as stream:
                assert stream.status == 200
                assert await stream.read() == b""
            with pytest.raises(fb.TransportError):
                await ask(client, "PUT", f"{url}/b", data=pieces(3))
        while serving:
            await asyncio.sleep(0.001)
    # The last chunk of a body in chunks, which makes it whole.
    assert not any(b"0\r\n\r\n" in body for body in arrived)


# --- Places and the gate ------------------------------------------------------------------------


async def test_a_transfer_holds_its_place_to_its_end(server):
    """A call waits for it, and goes on after it."""
    async with make(server, max_connections=1) as client:
        async with client._api.transport.stream("GET", f"{server.storage}/echo"):
            call = asyncio.create_task(ask(client, "GET", f"{server.url}/echo"))
            await asyncio.sleep(0.05)
            assert not call.done()
        assert (await call)["bytes"] == 0


@pytest.mark.parametrize("after", [0.0, 0.05], ids=["at once", "sending"])
async def test_a_cancelled_transfer_leaves_nothing(server, after):
    """Neither its place nor a task."""
    async with make(server, max_connections=1) as client:
        upload = ask(client, "PUT", f"{server.storage}/echo", data=pieces(10_000, 0.001))
        task = asyncio.create_task(upload)
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not await strays()
        assert (await ask(client, "GET", f"{server.url}/echo"))["bytes"] == 0


@pytest.mark.parametrize(("path", "seconds"), [("busy", 300), ("pressed", 50)])
@virtual
async def test_a_429_of_the_api_closes_the_gate_for_all_but_storage(server, path, seconds):
    """For what the server asks, or else for the retry policy's first delay."""
    async with make(server, retry=RetryPolicy(initial_delay=5)) as client:
        began = now()
        async with client._api.transport.stream("GET", f"{server.url}/{path}") as stream:
            assert stream.status == 429
        await ask(client, "GET", f"{server.storage}/echo")
        assert now() - began < 1
        await ask(client, "GET", f"{server.url}/echo")
        assert round(now() - began) == seconds


@virtual
async def test_a_429_of_the_storage_closes_nothing(server):
    """It says nothing of the account."""
    async with make(server) as client:
        began = now()
        async with client._api.transport.stream("GET", f"{server.storage}/busy") as stream:
            assert stream.status == 429
        await ask(client, "GET", f"{server.url}/echo")
        assert now() - began < 1
