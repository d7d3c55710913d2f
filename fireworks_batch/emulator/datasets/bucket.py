"""The stored objects of all accounts, and the signed URLs for them."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, urlencode

import attrs

from fireworks_batch.emulator.clock import SECOND, EmulatedClock, Instant, microseconds
from fireworks_batch.emulator.files import FileStore, StoredFile, remove

DOWNLOAD_SECONDS: Final = 599
"""The lifetime of a URL for a download, in emulated seconds. Seen live by one source."""

UPLOAD_SECONDS: Final = 3599
"""The lifetime of a URL for an upload, in emulated seconds. The vendor's client says an hour."""

CONTENT_TYPE: Final = "application/octet-stream"
LENGTH_RANGE: Final = "x-goog-content-length-range"
_SIGNATURE: Final = "X-Goog-Signature"
_TIME_FORMAT: Final = "%Y%m%dT%H%M%SZ"


@attrs.frozen
class StoredObject:
    """The content of a path, and the instant at which it was written."""

    file: StoredFile
    written: Instant


class Bucket:
    """Owns the objects, by their paths of the form ``/bucket/dataset/{dataset}/{file}``."""

    def __init__(self, files: FileStore) -> None:
        self.files = files
        self._objects: dict[str, StoredObject] = {}

    def put(self, path: str, file: StoredFile, now: Instant) -> None:
        """Put a content under *path*, in place of an earlier one.

        If the earlier content is the same, its file stays, so that a job can go on reading it.
        """
        there = self._objects.get(path)
        if there is not None and (there.file.size, there.file.md5) == (file.size, file.md5):
            remove(file.path)
            file = attrs.evolve(file, path=there.file.path)
        else:
            self.delete(path)
        self._objects[path] = StoredObject(file, now)

    def find(self, path: str) -> StoredObject | None:
        """Return the object under *path*."""
        return self._objects.get(path)

    def delete(self, path: str) -> None:
        """Remove the object under *path*, if there is one."""
        stored = self._objects.pop(path, None)
        if stored is not None:
            remove(stored.file.path)

    def clear(self) -> None:
        """Remove everything."""
        self._objects.clear()
        self.files.clear()


class SignatureError(Exception):
    """A request by a signed URL is refused."""

    def __init__(self, status: int, code: str, message: str, details: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details


class Signer:
    """Signs URLs for one method, some headers and a lifetime, and checks requests by such URLs."""

    def __init__(self, secret: bytes, clock: EmulatedClock, *, grace: float) -> None:
        self._secret = secret
        self._clock = clock
        self._shortest = microseconds(grace * clock.speed)

    def sign(
        self,
        method: str,
        base_url: str,
        path: str,
        *,
        seconds: int,
        headers: Mapping[str, str],
    ) -> str:
        """Return a URL that opens *path* for *seconds* of emulated time.

        Args:
            method: The only method that the URL may be used with.

            base_url: The base URL of the storage.

            path: The object's path, not encoded.

            seconds: The lifetime of the URL, in emulated seconds.

            headers: The headers that the request must have, by name in lower case. The host is
                added to them.
        """
        host = base_url.partition("://")[2]
        signed = {**headers, "host": host}
        moment = self._clock.moment(self._clock.now()).strftime(_TIME_FORMAT)
        query = {
            "X-Goog-Algorithm": "GOOG4-RSA-SHA256",
            "X-Goog-Credential": f"emulator@example.com/{moment[:8]}/auto/storage/goog4_request",
            "X-Goog-Date": moment,
            "X-Goog-Expires": str(seconds),
            "X-Goog-SignedHeaders": ";".join(sorted(signed)),
        }
        query[_SIGNATURE] = self._signature(method, path, query, signed)
        return f"{base_url}{quote(path)}?{urlencode(query)}"

    def check(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> None:
        """Check a request by a signed URL.

        Raises:
            SignatureError: The signature is of another request, the URL has expired, or a signed
                header is missing.
        """
        found = query.get(_SIGNATURE, "")
        if not found.isascii():
            raise SignatureError(
                400, "InvalidArgument", "Invalid argument.", "The signature is not hexadecimal."
            )
        signed = query.get("X-Goog-SignedHeaders", "").split(";")
        given = {name: headers.get(name, "") for name in signed}
        others = {name: value for name, value in query.items() if name != _SIGNATURE}
        self._require(name for name in signed if name and name not in headers)
        wanted = self._signature(method, path, others, given)
        if not hmac.compare_digest(wanted, found):
            raise SignatureError(
                403,
                "SignatureDoesNotMatch",
                "Access denied.",
                "The request signature we calculated does not match the signature you provided.",
            )
        life = max(int(query["X-Goog-Expires"]) * SECOND, self._shortest)
        if self._age(query["X-Goog-Date"]) >= life:
            raise SignatureError(
                400, "ExpiredToken", "Invalid argument.", "The provided token has expired."
            )

    def _age(self, written: str) -> Instant:
        now = self._clock.moment(self._clock.now())
        begun = now.strptime(written, _TIME_FORMAT).replace(tzinfo=now.tzinfo)
        return round((now - begun).total_seconds() * SECOND)

    def _require(self, missing: Iterable[str]) -> None:
        for name in missing:
            raise SignatureError(
                400,
                "MalformedSecurityHeader",
                "Your request has a malformed header.",
                f"Header {name} was included in signedheaders, but not in the request.",
            )

    def _signature(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> str:
        # aiohttp gives bytes of a header that are not UTF-8 as lone surrogates.
        given = urlencode(sorted(headers.items()), errors="surrogateescape")
        text = "\n".join([method, path, urlencode(sorted(query.items())), given])
        return hashlib.blake2b(text.encode(), key=self._secret, digest_size=32).hexdigest()
