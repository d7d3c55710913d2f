"""A server of bare streams, which answers as the API and the storage do, and may be made to lie.

It keeps nothing: a job that is asked for has ended, a dataset is READY once something was sent to
it. What is answered in place of the sound answer is up to `spoil`.
"""

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

__all__ = ["Asked", "RawServer", "Sound", "render"]

Spoilt = AsyncIterator[bytes] | Iterable[bytes] | bytes
"""What is sent in place of an answer: its bytes, or pieces of them without end."""

TIME = "2026-09-14T09:09:00.070000Z"
_ROUTES = (
    ("GET", r"/v1/accounts", "accounts"),
    ("GET", r"/v1/accounts/acme/batchInferenceJobs", "list_jobs"),
    ("POST", r"/v1/accounts/acme/batchInferenceJobs", "create_job"),
    ("GET", r"/v1/accounts/acme/batchInferenceJobs/([^/:]+)", "get_job"),
    ("DELETE", r"/v1/accounts/acme/batchInferenceJobs/([^/:]+)", "delete_job"),
    ("GET", r"/v1/accounts/acme/datasets", "list_datasets"),
    ("POST", r"/v1/accounts/acme/datasets", "create_dataset"),
    ("GET", r"/v1/accounts/acme/datasets/([^/:]+)", "get_dataset"),
    ("DELETE", r"/v1/accounts/acme/datasets/([^/:]+)", "delete_dataset"),
    ("POST", r"/v1/accounts/acme/datasets/([^/:]+):upload", "upload"),
    ("POST", r"/v1/accounts/acme/datasets/([^/:]+):getUploadEndpoint", "upload_urls"),
    ("POST", r"/v1/accounts/acme/datasets/([^/:]+):validateUpload", "validate"),
    ("GET", r"/v1/accounts/acme/datasets/([^/:]+):getDownloadEndpoint", "download_urls"),
    ("GET", r"/files/(.+)", "file"),
    ("PUT", r"/files/(.+)", "put"),
)
_MATCHES = [(method, re.compile(path).fullmatch, route) for method, path, route in _ROUTES]


@attrs.frozen
class Asked:
    """A request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    route: str
    """A short name of what was asked for; empty if there is no such thing."""

    name: str
    """The id of the job or dataset, or the file."""

    @property
    def query(self) -> dict[str, str]:
        """The arguments of the URL."""
        return {k: v[0] for k, v in parse_qs(urlsplit(self.target).query).items()}


@attrs.frozen
class Sound:
    """What a sound server would answer."""

    value: Any
    """The JSON; None for a file."""

    body: bytes
    status: str = "200 OK"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


def render(sound: Sound, *more: tuple[str, str], length: bool = True) -> bytes:
    """Write an answer as HTTP, with more headers."""
    size = (("Content-Length", str(len(sound.body))),) if length else ()
    lines = [f"{name}: {value}" for name, value in (*sound.headers, *size, *more)]
    head = "\r\n".join([f"HTTP/1.1 {sound.status}", *lines, "", ""])
    return head.encode("utf-8", "surrogateescape") + sound.body


class RawServer:
    """Listens on a free port of this machine.

    Args:
        rows: The ids of the rows of each job.
        spoil: Given a request and its sound answer; returns what is sent instead, or None.
        most: How many bytes of one answer are sent at most.
        looks: How many times a job is seen RUNNING before it has ended.
    """

    def __init__(
        self,
        rows: list[str],
        spoil: Callable[[Asked, Sound], Spoilt | None],
        *,
        most: int = 40_000_000,
        looks: int = 0,
    ) -> None:
        self._rows = rows
        self._spoil = spoil
        self._most = most
        self._looks = looks
        self._seen: Counter[str] = Counter()
        self._ready = {"in", "out"}
        self._counts: dict[str, Any] = {}
        self._made: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.asked: list[Asked] = []
        self.volume = 0
        """Bytes that were sent."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            writer.transport.abort()  # also if the task was cancelled

        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(end)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, ValueError):
            while (asked := await self._read(reader)) is not None:
                self.asked.append(asked)
                sound = self._answer(asked)
                spoilt = self._spoil(asked, sound)
                if spoilt is None:
                    await self._send(writer, render(sound))
                    continue
                await self._send(writer, spoilt)
                # What was said is wrong: a client that cannot tell waits, and then goes.
                if not isinstance(spoilt, bytes):
                    writer.write_eof()
                    await reader.read()
                    break
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()  # takes note of how the connection ended

    async def _send(self, writer: asyncio.StreamWriter, pieces: Spoilt) -> None:
        left = self._most
        for each in _plain(pieces) if not isinstance(pieces, AsyncIterator) else ():
            left -= len(each)
            await self._write(writer, each)
            if left < 0:
                return
        if isinstance(pieces, AsyncIterator):
            async for each in pieces:
                left -= len(each)
                await self._write(writer, each)
                if left < 0:
                    return

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0)  # the client is on the same loop
        self.volume += len(data)

    async def _read(self, reader: asyncio.StreamReader) -> Asked | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            return None
        body = await _body(reader, headers)
        path = unquote(urlsplit(target).path)
        for wanted, match, route in _MATCHES:
            if wanted == method and (found := match(path)):
                name = found[1] if found.groups() else ""
                return Asked(method, target, headers, body, route, name)
        return Asked(method, target, headers, body, "", "")

    # --- Sound answers ----------------------------------------------------------------------------

    def _answer(self, asked: Asked) -> Sound:
        if asked.route == "file":
            return Sound(None, self._file(asked.name), headers=(("Accept-Ranges", "bytes"),))
        if asked.route == "put":
            self._ready.add(asked.name.partition("/")[0])
            return Sound(None, b"", headers=())
        if asked.route == "upload":
            self._ready.add(asked.name)
        make = getattr(self, f"_{asked.route}", None) if asked.route else None
        if make is None:
            value: Any = {} if asked.route else {"error": "there is no such thing", "code": 5}
            status = "200 OK" if asked.route else "404 Not Found"
            return Sound(value, json.dumps(value).encode(), status)
        value = make(asked)
        if value is None:
            value = {"code": 5, "message": "not found", "details": []}
            return Sound(value, json.dumps(value).encode(), "404 Not Found")
        return Sound(value, json.dumps(value).encode())

    def _accounts(self, _: Asked) -> Any:
        return {"accounts": [{"name": "accounts/acme"}], "nextPageToken": "", "totalSize": 1}

    def _list_jobs(self, _: Asked) -> Any:
        jobs = [self._job(name) for name in ("job-a", "job-b", *self._made)]
        return {"batchInferenceJobs": jobs, "nextPageToken": "", "totalSize": len(jobs)}

    def _create_job(self, asked: Asked) -> Any:
        name = asked.query.get("batchInferenceJobId", "job-made")
        self._made[name] = json.loads(asked.body)
        self._ready.add(self._made[name].get("outputDatasetId", "").rpartition("/")[2])
        return {**self._job(name), "state": "JOB_STATE_CREATING"}

    def _get_job(self, asked: Asked) -> Any:
        is_there = asked.name.startswith("job-") or asked.name in self._made
        return self._job(asked.name) if is_there else None

    def _job(self, name: str) -> Any:
        rows = len(self._rows)
        self._seen[name] += 1
        state = "RUNNING" if self._seen[name] <= self._looks else "COMPLETED"
        return {
            "name": f"accounts/acme/batchInferenceJobs/{name}",
            "displayName": "",
            "createTime": "2026-09-14T09:01:00.000111Z",
            "updateTime": TIME,
            "expireTime": "2026-09-15T09:00:59.800333Z",
            "state": f"JOB_STATE_{state}",
            "status": {"code": "OK", "message": ""},
            "model": "accounts/fireworks/models/demo-8b",
            "inputDatasetId": "accounts/acme/datasets/in",
            "outputDatasetId": "accounts/acme/datasets/out",
            "inferenceParameters": {"maxTokens": 256, "extraBody": '{"stop": ["END"]}'},
            "precision": "BF16",
            "jobProgress": {
                "percent": 100,
                "totalInputRequests": rows,
                "totalProcessedRequests": rows,
                "successfullyProcessedRequests": rows,
                "failedRequests": 0,
            },
            "maxJobDuration": "86400s",
            "continuedFromJobName": "",
            "waitingOnCapacity": False,
            **{key: value for key, value in self._made.get(name, {}).items() if value},
        }

    def _list_datasets(self, _: Asked) -> Any:
        return {"datasets": [self._dataset("in", "READY"), self._dataset("out", "READY")]}

    def _create_dataset(self, asked: Asked) -> Any:
        made = json.loads(asked.body)
        self._counts[made["datasetId"]] = made["dataset"].get("exampleCount")
        return self._dataset(made["datasetId"], "UPLOADING")

    def _get_dataset(self, asked: Asked) -> Any:
        if asked.name in self._ready:
            return self._dataset(asked.name, "READY")
        return None

    def _dataset(self, name: str, state: str) -> Any:
        return {
            "name": f"accounts/acme/datasets/{name}",
            "createTime": TIME,
            "updateTime": TIME,
            "state": state,
            "status": {"code": "OK", "message": ""},
            "exampleCount": self._counts.get(name, str(len(self._rows))),
            "encryptionState": "ENCRYPTION_STATE_PLAINTEXT",
            "userUploaded": {},
        }

    def _upload_urls(self, asked: Asked) -> Any:
        names = json.loads(asked.body)["filenameToSize"]
        urls = {name: f"{self.url}/files/{asked.name}/{name}?X-Goog-Signature=5e" for name in names}
        return {"filenameToSignedUrls": urls}

    def _download_urls(self, asked: Asked) -> Any:
        base = f"{self.url}/files/{asked.name}"
        names = ("BIJOutputSet.jsonl",)
        return {
            "filenameToSignedUrls": {
                f"dataset/{asked.name}/{name}": f"{base}/{name}?X-Goog-Signature=5e"
                for name in names
            }
        }

    def _file(self, _: str) -> bytes:
        lines = (
            {"custom_id": row, "response": {"choices": [{"message": {"content": row}}]}}
            for row in self._rows
        )
        return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def _plain(pieces: Iterable[bytes] | bytes) -> Iterable[bytes]:
    return (pieces,) if isinstance(pieces, bytes) else pieces


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body
    return await reader.readexactly(int(headers.get("content-length", "0")))
