"""How fast files go up and down beside bare aiohttp, and how much memory that takes.

The server runs in a process of its own, stores nothing, and serves one file from the disk. Uploads
are timed from their first byte, after the reading pass that counts and hashes; ours hashes a
second time while it sends. A bare download writes to a file; where the server announces an MD5,
the bare one computes it as well.
"""

import asyncio
import base64
import hashlib
import os
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from figures import MIB, Report, Sampler, by_median, interleave, main, serving, single
from fireworks_batch import BatchClient, Limits

ACCOUNT = "acme"
KEY = "fw_benchmark"
DATASETS = f"/v1/accounts/{ACCOUNT}/datasets"
ROW = b'{"custom_id": "row-%09d", "body": {"messages": [{"role": "user", "content": "%s"}]}}\n'
THROUGH_API = Limits(max_upload_bytes=10 * 1024 * MIB)
TO_STORAGE = Limits(max_upload_bytes=1)


async def measure(share: float) -> Report:
    """Transfer in each way, by hand and by ours in turns."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "rows.jsonl")
        write_rows(source, int(1024 * share))
        with serving([sys.executable, __file__, "--serve", str(source)]) as base_url:
            samples, memory = await transfer(base_url, source, 5 if share == 1 else 11)
    pairs = {
        "up-api": ("our post", "bare post"),
        "up-storage": ("our put", "bare put"),
        "down": ("our get", "bare get"),
        "down-synced": ("our get", "bare get, synced"),
        "down-md5": ("our get, hashed", "bare get, hashed"),
    }
    figures = [
        by_median(name, samples[ours], samples[bare]) for name, (ours, bare) in pairs.items()
    ]
    return Report([*figures, single("memory", memory)])


async def transfer(
    base_url: str, source: Path, rounds: int
) -> tuple[dict[str, list[float]], float]:
    """Return the seconds of each way, and how many MiB ours took."""
    async with (
        aiohttp.ClientSession() as session,
        BatchClient(api_key=KEY, account_id=ACCOUNT, base_url=base_url) as client,
    ):
        bare = Bare(session, base_url, source)
        ours = Ours(client, source)
        memory = await memory_of(ours)
        samplers: dict[str, Sampler] = {
            "bare post": bare.post,
            "our post": ours.post,
            "bare put": bare.put,
            "our put": ours.put,
            "bare get": bare.get,
            "bare get, synced": bare.get_synced,
            "our get": ours.get,
            "bare get, hashed": bare.get_hashed,
            "our get, hashed": ours.get_hashed,
        }
        return await interleave(samplers, rounds), memory


def write_rows(path: Path, mib: int) -> None:
    """Write a file of rows of about a kilobyte each."""
    with path.open("wb") as file:
        for number in range(mib * 1024):
            file.write(ROW % (number, b"x" * 930))


async def memory_of(ours: "Ours") -> float:
    """Return the most MiB of Python's objects through all of our transfers."""
    tracemalloc.start()
    await ours.all()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / MIB


# --- Ours ---------------------------------------------------------------------------------------


class Ours:
    """Transfers by this library."""

    def __init__(self, client: BatchClient, source: Path) -> None:
        self.client = client
        self.source = source

    async def all(self) -> None:
        """Transfer in each way."""
        for transfer in (self.post, self.put, self.get, self.get_hashed):
            await transfer()

    async def post(self) -> float:
        """Upload through the API."""
        return await self._upload(THROUGH_API)

    async def put(self) -> float:
        """Upload to storage."""
        return await self._upload(TO_STORAGE)

    async def _upload(self, limits: Limits) -> float:
        began: list[float] = []

        def tell(_done: int, _total: int) -> None:
            if not began:
                began.append(time.perf_counter())

        await self.client.datasets.upload(self.source, limits=limits, on_progress=tell)
        return time.perf_counter() - began[0]

    async def get(self) -> float:
        """Download what has no hash."""
        return await self._download("plain")

    async def get_hashed(self) -> float:
        """Download and verify."""
        return await self._download("hashed")

    async def _download(self, dataset_id: str) -> float:
        began = time.perf_counter()
        (path,) = await self.client.datasets.download(dataset_id, self.source.parent / "down")
        took = time.perf_counter() - began
        path.unlink()
        return took


# --- Bare aiohttp -------------------------------------------------------------------------------


class Bare:
    """The same by hand."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, source: Path) -> None:
        self.session = session
        self.base_url = base_url
        self.source = source

    async def post(self) -> float:
        """Post a form."""
        with self.source.open("rb") as file:
            form = aiohttp.FormData()
            form.add_field("file", file, filename="rows.jsonl")
            return await self._send("POST", f"{DATASETS}/bare:upload", form)

    async def put(self) -> float:
        """Put the file."""
        with self.source.open("rb") as file:
            return await self._send("PUT", "/storage/put", file)

    async def _send(self, method: str, path: str, data: Any) -> float:
        began = time.perf_counter()
        async with self.session.request(method, f"{self.base_url}{path}", data=data) as answer:
            answer.raise_for_status()
            await answer.read()
        return time.perf_counter() - began

    async def get(self) -> float:
        """Write what comes."""
        return await self._receive("plain")

    async def get_synced(self) -> float:
        """Write what comes, and wait until it is on the disk."""
        return await self._receive("plain", synced=True)

    async def get_hashed(self) -> float:
        """Write and hash what comes, and wait until it is on the disk."""
        return await self._receive("hashed", hashed=True, synced=True)

    async def _receive(
        self, dataset_id: str, *, hashed: bool = False, synced: bool = False
    ) -> float:
        path = self.source.with_name("bare")
        digest = hashlib.md5(usedforsecurity=False)
        began = time.perf_counter()
        url = f"{self.base_url}/storage/{dataset_id}"
        async with self.session.get(url, headers={"Accept-Encoding": "identity"}) as answer:
            with path.open("wb") as file:
                async for piece in answer.content.iter_chunked(MIB):
                    file.write(piece)
                    if hashed:
                        digest.update(piece)
                if synced:
                    file.flush()
                    os.fsync(file.fileno())
        took = time.perf_counter() - began
        path.unlink()
        return took


# --- The server ---------------------------------------------------------------------------------


class Server:
    """Answers as the API and the storage do, in so far as a transfer asks."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._example_count = "0"
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        self._md5 = f"md5={base64.b64encode(digest.digest()).decode()}"

    def app(self) -> web.Application:
        """Return what aiohttp serves."""
        app = web.Application()
        app.router.add_post(DATASETS, self.create)
        app.router.add_post(DATASETS + "/{name}", self.call)
        app.router.add_get(DATASETS + "/{name}", self.ask)
        app.router.add_put("/storage/put", self.discard)
        app.router.add_get("/storage/{name}", self.fetch)
        return app

    def record(self, dataset_id: str, state: str) -> web.Response:
        """Describe a dataset."""
        name = f"accounts/{ACCOUNT}/datasets/{dataset_id}"
        record = {"name": name, "state": state, "exampleCount": self._example_count}
        return web.json_response(record)

    async def create(self, request: web.Request) -> web.Response:
        """Create a dataset."""
        asked = await request.json()
        self._example_count = asked["dataset"]["exampleCount"]
        return self.record(asked["datasetId"], "UPLOADING")

    async def call(self, request: web.Request) -> web.Response:
        """Say where to upload, or take in whatever comes."""
        if not request.path.endswith(":getUploadEndpoint"):
            return await self.discard(request)
        names = (await request.json())["filenameToSize"]
        url = f"{request.url.origin()}/storage/put"
        return web.json_response({"filenameToSignedUrls": dict.fromkeys(names, url)})

    async def ask(self, request: web.Request) -> web.Response:
        """Say what the dataset is, or where to download it."""
        dataset_id, _, verb = request.path.rpartition("/")[2].partition(":")
        if not verb:
            return self.record(dataset_id, "READY")
        key = f"dataset/{dataset_id}/rows.jsonl"
        url = f"{request.url.origin()}/storage/{dataset_id}"
        return web.json_response({"filenameToSignedUrls": {key: url}})

    async def discard(self, request: web.Request) -> web.Response:
        """Take in a file, and forget it."""
        while await request.content.readany():
            pass
        return web.json_response({})

    async def fetch(self, request: web.Request) -> web.FileResponse:
        """Send the file."""
        headers = {"x-goog-hash": self._md5} if request.path.endswith("hashed") else {}
        return web.FileResponse(self._source, headers=headers)


async def serve(source: Path) -> None:
    """Print the base URL, and answer for ever."""
    runner = web.AppRunner(Server(source).app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(Path(sys.argv[2])))
    else:
        sys.exit(main(__doc__, measure))
