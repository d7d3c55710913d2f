"""The storage that signed URLs lead to. It has its own origin, and takes no API key."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

from aiohttp import web

from fireworks_batch.emulator.datasets.bucket import LENGTH_RANGE, SignatureError, StoredObject
from fireworks_batch.emulator.datasets.store import DatasetStore
from fireworks_batch.emulator.files import StoredFile
from fireworks_batch.emulator.http.answers import Answer, FileBody, GzipBody, answer_xml
from fireworks_batch.emulator.http.request_log import Entry
from fireworks_batch.emulator.http.uploads import TooLargeError, Upload
from fireworks_batch.emulator.setting import Setting

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")


class UnsatisfiableRangeError(Exception):
    """A range has no byte of the object."""


def read_range(text: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the length that ``Range`` asks for; None for the whole object.

    A text that is not a range of bytes, or has several ranges, asks for the whole object.

    Raises:
        UnsatisfiableRangeError: The object has no byte of the range.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= end:
        raise UnsatisfiableRangeError
    return start, end - start


def is_range_meant(headers: Mapping[str, str], etag: str, modified: datetime) -> bool:
    """Whether ``Range`` applies: there is no ``If-Range``, or it names the present object."""
    wanted = headers.get("If-Range")
    if wanted is None:
        return True
    if wanted.startswith(('"', "W/")):
        return wanted == etag
    try:
        return parsedate_to_datetime(wanted) == modified.replace(microsecond=0)
    except ValueError:
        return False


class Storage:
    """Answers the requests to the storage's port. It reads and writes the files of datasets."""

    origin = "storage"

    def __init__(self, setting: Setting, datasets: DatasetStore) -> None:
        self._clock = setting.clock
        self._rules = setting.rules
        self._datasets = datasets
        self._bucket = datasets.bucket

    def streams(self, path: str) -> bool:  # noqa: ARG002  # of a `Site`
        """Return true: any body may be too large to be read before the answer is made."""
        return True

    async def answer(self, request: web.BaseRequest, entry: Entry) -> Answer:
        """Answer one request."""
        if "Authorization" in request.headers:
            return answer_xml(
                400,
                "InvalidArgument",
                "Invalid argument.",
                "Only one auth mechanism is allowed: a signed URL or the Authorization header.",
            )
        try:
            self._datasets.signer.check(
                request.method, request.path, request.query, request.headers
            )
        except SignatureError as error:
            return answer_xml(error.status, error.code, error.message, error.details)
        if request.method == "PUT":
            return await self._put(request, entry)
        return self._get(request)

    async def _put(self, request: web.BaseRequest, entry: Entry) -> Answer:
        least, most = (int(text) for text in request.headers[LENGTH_RANGE].split(","))
        try:
            file = await Upload(request, entry).store(self._bucket.files, most=most)
        except TooLargeError:
            return _refuse_size("EntityTooLarge", "large")
        if file.size < least:
            return _refuse_size("EntityTooSmall", "small")
        now = self._clock.now()
        self._bucket.put(request.path, file, now)
        stored = StoredObject(file, now)
        return Answer(200, b"", "text/html; charset=UTF-8", self._object_headers(stored))

    def _get(self, request: web.BaseRequest) -> Answer:
        stored = self._bucket.find(request.path)
        if stored is None:
            return answer_xml(404, "NoSuchKey", "The specified key does not exist.")
        file, headers = stored.file, self._object_headers(stored)
        moment = self._clock.moment(stored.written)
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
            "Last-Modified": self._clock.http_date(stored.written),
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
