"""The log of requests, without API keys. Performs no I/O."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, TypeAlias

import attrs

from fireworks_batch.emulator.clock import EmulatedClock, Instant
from fireworks_batch.emulator.http.answers import Answer

CAPACITY: Final = 100_000
"""The number of requests that are kept. These are the newest."""


@attrs.frozen(kw_only=True)
class RecordedRequest:
    """A request that the emulator has received. It may still be under way."""

    n: int
    """The number of the request, from 1."""

    time: str
    """The emulated time at which the request arrived, in RFC 3339."""

    origin: str
    """The port that got the request, ``"api"`` or ``"storage"`` (by a signed URL)."""

    method: str
    """The HTTP method, such as ``"GET"``."""

    path: str
    """The path, decoded, without the query."""

    query: Mapping[str, str]
    """The parameters of the query, decoded. Of several values of a name, one is kept."""

    headers: Mapping[str, str]
    """The headers of the request, with ``***`` in place of a key. Names are found in any case."""

    body_bytes: int
    """The size of the request's body in bytes.

    If a fault reset the connection, it is the number of bytes that were read.
    """

    status: int | None
    """The HTTP status of the answer. None while there is no answer, or if no answer was sent."""

    fault: str | None
    """The action of the fault that struck the request, such as ``"reset"``; None without one."""


@attrs.define(slots=True, eq=False)
class Entry:
    """A request that may still be under way."""

    n: int
    time: Instant
    origin: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body_bytes: int = 0
    status: int | None = None
    fault: str | None = None
    answer: Answer | None = None
    """The answer, while the request is under way."""


class HeaderView(Mapping[str, str]):
    """Headers that are found by name in any case. Their names are kept as they were sent."""

    __slots__ = ("_found", "_sent")

    def __init__(self, sent: Iterable[tuple[str, str]]) -> None:
        self._sent = {str(name): value for name, value in sent}
        self._found = {name.lower(): value for name, value in self._sent.items()}

    def __getitem__(self, name: str) -> str:
        return self._found[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sent)

    def __len__(self) -> int:
        return len(self._sent)

    def __repr__(self) -> str:
        return repr(self._sent)


def mask_credentials(headers: Mapping[str, str]) -> HeaderView:
    """Return headers with ``***`` in place of every key."""
    return HeaderView((name, _masked(name.lower(), value)) for name, value in headers.items())


def _masked(name: str, value: str) -> str:
    if name in {"authorization", "proxy-authorization"}:
        scheme, separator, _ = value.partition(" ")
        return f"{scheme} ***" if separator else "***"
    if name in {"x-api-key", "cookie"}:
        return "***"
    # Bytes that are not UTF-8 are lone surrogates, which JSON cannot have.
    return value.encode(errors="surrogateescape").decode(errors="replace")


class RequestLog:
    """Keeps the newest requests."""

    def __init__(self, clock: EmulatedClock, *, capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._entries: deque[Entry] = deque(maxlen=capacity)
        self._count = 0

    def open(
        self,
        *,
        origin: str = "api",
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body_bytes: int,
    ) -> Entry:
        """Add a request on its arrival. The caller completes the entry later."""
        self._count += 1
        now = self._clock.now()
        entry = Entry(self._count, now, origin, method, path, query, headers, body_bytes)
        self._entries.append(entry)
        return entry

    def since(self, number: int) -> list[RecordedRequest]:
        """Return the requests after a number, the oldest first."""
        first = self._count - len(self._entries)
        entries: Iterable[Entry] = islice(self._entries, max(0, number - first), None)
        return [self.record(entry) for entry in entries]

    def clear(self) -> None:
        """Forget all requests, and count from 1 again."""
        self._entries.clear()
        self._count = 0

    def record(self, entry: Entry) -> RecordedRequest:
        """Return the record of a request, as the request is now."""
        return RecordedRequest(
            n=entry.n,
            time=self._clock.timestamp(entry.time),
            origin=entry.origin,
            method=entry.method,
            path=entry.path,
            query=dict(entry.query),
            headers=mask_credentials(entry.headers),
            body_bytes=entry.body_bytes,
            status=entry.status,
            fault=entry.fault,
        )


@attrs.frozen(kw_only=True)
class Exchange:
    """A request at its end, with the emulator's answer."""

    request: RecordedRequest
    """The request, as the log has it."""

    body: bytes | None
    """The body of the answer. None if no answer was sent, or if the body is a file."""

    is_genuine: bool
    """Whether the answer is the emulator's own.

    It is not if a fault changed the answer, or if ``fields`` of any script may have changed it.
    """


Watch: TypeAlias = Callable[[Exchange], None]
