"""Remember every request, without its key; performs no I/O."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, TypeAlias

import attrs

from fireworks_batch.emulator.clock import EmulatedClock, Instant
from fireworks_batch.emulator.http.answers import Answer

CAPACITY: Final = 100_000
"""How many requests are remembered: the newest."""


@attrs.frozen(kw_only=True)
class RecordedRequest:
    """A request that the emulator received, as far as it got."""

    n: int
    """Its number, from 1."""

    time: str
    """The emulated time of its arrival, RFC 3339."""

    origin: str
    """The port that it came to: `api`, or `storage` for a signed URL."""

    method: str
    """The HTTP method."""

    path: str
    """The path, decoded, without the query."""

    query: Mapping[str, str]
    """The query's parameters; the last one of a name."""

    headers: Mapping[str, str]
    """The request's headers, with `***` in place of the key; any case of a name finds them."""

    body_bytes: int
    """The size of its body; if a fault reset the connection, how much of it was read."""

    status: int | None
    """The status that was answered; None while there is no answer, or if there was none."""

    fault: str | None
    """The action of the fault that it met."""


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
    """Only while it is under way."""


class HeaderView(Mapping[str, str]):
    """Headers found by name in any case, with the names as they were sent."""

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
    """Put `***` in the place of every key."""
    return HeaderView((name, _masked(name.lower(), value)) for name, value in headers.items())


def _masked(name: str, value: str) -> str:
    if name in {"authorization", "proxy-authorization"}:
        scheme, separator, _ = value.partition(" ")
        return f"{scheme} ***" if separator else "***"
    if name in {"x-api-key", "cookie"}:
        return "***"
    # Bytes that are no UTF-8 are lone surrogates, which JSON cannot have.
    return value.encode(errors="surrogateescape").decode(errors="replace")


class RequestLog:
    """Owns the newest requests."""

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
        """Write a request down on its arrival; the rest is filled in on the entry."""
        self._count += 1
        now = self._clock.now()
        entry = Entry(self._count, now, origin, method, path, query, headers, body_bytes)
        self._entries.append(entry)
        return entry

    def since(self, number: int) -> list[RecordedRequest]:
        """Give the requests after *number*, oldest first."""
        first = self._count - len(self._entries)
        entries: Iterable[Entry] = islice(self._entries, max(0, number - first), None)
        return [self.record(entry) for entry in entries]

    def clear(self) -> None:
        """Forget everything and count from 1 again."""
        self._entries.clear()
        self._count = 0

    def record(self, entry: Entry) -> RecordedRequest:
        """Give a request as far as it got."""
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
    """A request that is done with, and what the emulator answered."""

    request: RecordedRequest
    """The request as the log has it."""

    body: bytes | None
    """The answer's body; None if there was no answer, or if it was a file."""

    is_genuine: bool
    """Whether the answer is the emulator's own: no fault and no script's `fields` changed it."""


Watch: TypeAlias = Callable[[Exchange], None]
