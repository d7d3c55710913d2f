"""Answer signed URLs, as the storage does: another origin, without the API's key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answers import Answer, FileBody, GzipBody, answer_xml
from .bucket import LENGTH_RANGE, SignatureError, StoredObject
from .ranges import UnsatisfiableRangeError, is_range_meant, read_range
from .reception import Reception
from .uploads import TooLargeError, Upload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from .request_log import Entry
    from .stored_files import StoredFile
    from .world import World


class Storage:
    """Owns nothing but the port: reads and writes the world's bucket."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rules = world.setting.rules
        self._reception = Reception(
            world, origin="storage", respond=self._respond, streams=lambda _: True
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle one request: what aiohttp's server calls."""
        return await self._reception.handle(request)

    async def stop(self) -> None:
        """Wake whatever waits."""
        await self._reception.stop()

    async def _respond(self, request: web.BaseRequest, entry: Entry) -> Answer:
        if "Authorization" in request.headers:
            return answer_xml(
                400,
                "InvalidArgument",
                "Invalid argument.",
                "Only one auth mechanism is allowed: a signed URL or the Authorization header.",
            )
        try:
            self._world.signer.check(request.method, request.path, request.query, request.headers)
        except SignatureError as error:
            return answer_xml(error.status, error.code, error.message, error.details)
        if request.method == "PUT":
            return await self._put(request, entry)
        return self._get(request)

    async def _put(self, request: web.BaseRequest, entry: Entry) -> Answer:
        least, most = (int(text) for text in request.headers[LENGTH_RANGE].split(","))
        try:
            file = await Upload(request, entry).store(self._world.bucket.files, most=most)
        except TooLargeError:
            return _refuse_size("EntityTooLarge", "large")
        if file.size < least:
            return _refuse_size("EntityTooSmall", "small")
        now = self._world.clock.now()
        self._world.bucket.put(request.path, file, now)
        stored = StoredObject(file, now)
        return Answer(200, b"", "text/html; charset=UTF-8", self._object_headers(stored))

    def _get(self, request: web.BaseRequest) -> Answer:
        stored = self._world.bucket.find(request.path)
        if stored is None:
            return answer_xml(404, "NoSuchKey", "The specified key does not exist.")
        file, headers = stored.file, self._object_headers(stored)
        moment = self._world.clock.moment(stored.written)
        wanted = request.headers.get("Range", "")
        is_whole = self._rules.signed_url_range == "ignore"
        if is_whole or not is_range_meant(request.headers, file.etag, moment):
            wanted = ""
        try:
            part = read_range(wanted, file.size)
        except UnsatisfiableRangeError:
            answer = answer_xml(416, "InvalidRange", "The requested range cannot be satisfied.")
            answer.headers = {"Content-Range": f"bytes */{file.size}"}
            return answer
        if self._gzips(request):
            return _answer_gzip(file, headers)
        if part is None:
            return _answer_file(200, FileBody(file.path, 0, file.size), headers)
        start, size = part
        headers["Content-Range"] = f"bytes {start}-{start + size - 1}/{file.size}"
        return _answer_file(206, FileBody(file.path, start, size), headers)

    def _object_headers(self, stored: StoredObject) -> dict[str, str]:
        file = stored.file
        headers = {
            "ETag": file.etag,
            "Last-Modified": self._world.clock.http_date(stored.written),
            "Accept-Ranges": "bytes",
            "x-goog-generation": str(file.generation),
            "x-goog-stored-content-length": str(file.size),
        }
        if self._rules.signed_url_hash == "md5":
            headers["x-goog-hash"] = f"md5={file.md5}"
        return headers

    def _gzips(self, request: web.BaseRequest) -> bool:
        accepted = request.headers.get("Accept-Encoding", "")
        return self._rules.signed_url_gzip == "accepted" and "gzip" in accepted


def _answer_file(status: int, body: FileBody | GzipBody, headers: Mapping[str, str]) -> Answer:
    return Answer(status, body, "application/octet-stream", headers)


def _answer_gzip(file: StoredFile, headers: dict[str, str]) -> Answer:
    headers["Content-Encoding"] = "gzip"
    del headers["Accept-Ranges"]
    return _answer_file(200, GzipBody(file.path), headers)


def _refuse_size(code: str, word: str) -> Answer:
    message = f"Your proposed upload is too {word}."
    return answer_xml(400, code, message, "Content-length is outside of the signed range.")
