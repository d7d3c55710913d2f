"""Batches behind a web page: python web_application.py MODEL DIRECTORY PORT

POST a JSON list of texts to /batches, follow /batches/ID/progress, and fetch /batches/ID/results.
DIRECTORY keeps the submission and the results of each batch, as a database would.
"""

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from fireworks_batch import (
    BatchClient,
    FireworksBatchError,
    InputRowsError,
    RunProgress,
    Submission,
)


class Watch:
    """The one wait for the jobs of a batch, for all browsers that follow the batch."""

    def __init__(self, client: BatchClient, submission: Submission, output: Path) -> None:
        """Begin to wait, in a task of its own."""
        self.newest = b""
        self.changed = asyncio.Event()
        self.is_over = False
        self._tell("progress", {"stage": "submitted"})
        self.task = asyncio.create_task(self._collect(client, submission, output))

    async def _collect(self, client: BatchClient, submission: Submission, output: Path) -> None:
        try:
            result = await client.collect(submission, output=output, on_progress=self._show)
            await result.aclose()
            self._tell("end", {"report": str(result.report)})
        except FireworksBatchError as error:
            self._tell("end", {"error": str(error)})
        finally:  # also if the task is cancelled
            self.is_over = True
            self.changed.set()

    def _show(self, progress: RunProgress) -> None:
        shown = {"stage": progress.stage, "percent": progress.percent, "eta": progress.eta}
        self._tell("progress", shown)

    def _tell(self, event: str, data: dict[str, Any]) -> None:
        newest = message(event, data)
        if newest != self.newest:
            self.newest = newest
            self.changed.set()
            self.changed = asyncio.Event()


def message(event: str, data: dict[str, Any]) -> bytes:
    """Return a server-sent event."""
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()


MODEL = web.AppKey("MODEL", str)
STORE = web.AppKey("STORE", Path)
CLIENT = web.AppKey("CLIENT", BatchClient)
WATCHES = web.AppKey("WATCHES", dict[str, Watch])


async def attach(app: web.Application) -> AsyncIterator[None]:
    """Open the one client, and wait for the jobs of each batch that has no results yet."""
    client = BatchClient()
    app[CLIENT], app[WATCHES] = client, {}
    for stored in app[STORE].glob("*.json"):
        output = stored.with_suffix(".jsonl")
        if not output.exists():
            submission = Submission.from_json(stored.read_text())
            app[WATCHES][stored.stem] = Watch(client, submission, output)
    yield
    await client.aclose()


async def detach(app: web.Application) -> None:
    """End the waits, and with them the streams. The jobs run on."""
    tasks = [watch.task for watch in app[WATCHES].values()]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def create(request: web.Request) -> web.Response:
    """Submit the texts, and answer with the id of the batch."""
    app, body = request.app, await request.read()
    batch = hashlib.sha256(body).hexdigest()[:16]
    try:
        async with asyncio.timeout(60):
            submission = await app[CLIENT].submit(rows(body), model=app[MODEL], name=batch)
    except InputRowsError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    except (FireworksBatchError, TimeoutError) as error:
        text = f"not submitted, send it again: {error}"
        raise web.HTTPServiceUnavailable(text=text) from None
    stored = app[STORE] / f"{batch}.json"
    part = stored.with_suffix(".part")
    part.write_text(submission.to_json())
    part.replace(stored)
    if batch not in app[WATCHES] or app[WATCHES][batch].is_over:
        app[WATCHES][batch] = Watch(app[CLIENT], submission, stored.with_suffix(".jsonl"))
    return web.json_response({"id": batch}, status=202)


def rows(body: bytes) -> list[dict[str, Any]]:
    """Make a request of each text. The ids have the order of the texts, and so have the results."""
    try:
        texts = json.loads(body)
    except ValueError:
        texts = None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise web.HTTPBadRequest(text="send a JSON list of texts")
    return [
        {"custom_id": f"{number:06}", "body": {"messages": [{"role": "user", "content": text}]}}
        for number, text in enumerate(texts)
    ]


async def follow(request: web.Request) -> web.StreamResponse:
    """Send the newest progress and each change, until the jobs have ended or the browser leaves."""
    batch = request.match_info["batch"]
    watch = request.app[WATCHES].get(batch)
    if watch is None and not (request.app[STORE] / f"{batch}.jsonl").exists():
        raise web.HTTPNotFound
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    stream = web.StreamResponse(headers=headers)
    await stream.prepare(request)
    while watch is not None and not watch.is_over:
        changed = watch.changed
        await stream.write(watch.newest)
        await changed.wait()
    await stream.write(watch.newest if watch is not None else message("end", {}))
    return stream


async def results(request: web.Request) -> web.FileResponse:
    """Send the file of results, which is there as a whole or not at all."""
    return web.FileResponse(request.app[STORE] / f"{request.match_info['batch']}.jsonl")


def application(model: str, store: Path) -> web.Application:
    """Return the application, which knows its batches by the files in the directory."""
    store.mkdir(parents=True, exist_ok=True)
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app[MODEL], app[STORE] = model, store
    app.cleanup_ctx.append(attach)
    app.on_shutdown.append(detach)
    app.router.add_post("/batches", create)
    app.router.add_get("/batches/{batch:[0-9a-f]{16}}/progress", follow)
    app.router.add_get("/batches/{batch:[0-9a-f]{16}}/results", results)
    return app


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    web.run_app(
        application(sys.argv[1], Path(sys.argv[2])),
        host="127.0.0.1",
        port=int(sys.argv[3]),
        handler_cancellation=True,
    )
