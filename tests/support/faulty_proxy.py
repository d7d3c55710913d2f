"""A TCP proxy that does harm to what passes through it, exchange by exchange.

It does not read HTTP: an exchange begins where bytes come from the client after bytes came from the
server. At the start of each exchange, `draw` says what harm is done to it.
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Self

import attrs

__all__ = ["HARMS", "FaultyProxy", "Harm", "draw_harm"]

HARMS = (
    "delay_request",
    "delay_answer",
    "throttle_request",
    "throttle_answer",
    "reset_request",
    "reset_answer",
    "close_answer",
    "half_close_answer",
    "half_close_request",
    "close_kept_alive",
    "reset_kept_alive",
    "drop_answer",
    "stall_answer",
    "duplicate",
    "leave_out",
    "corrupt",
    "garbage",
    "forge",
    "stale",
)
"""What can be done to an exchange."""

FALSIFYING = frozenset({"duplicate", "leave_out", "corrupt", "garbage", "forge", "stale"})
"""Harm after which an answer may say something else than the server did."""

_CHUNK = 64 * 1024
_LONGEST_DELAY = 0.02
_PIECES = 200  # in so many pieces a throttled direction sends, and then the rest
_REMEMBERED = 64 * 1024


@attrs.frozen
class Harm:
    """What is done to one exchange."""

    action: str
    at: int
    """At which byte, counted from the start of the request or answer."""

    size: int
    """How many bytes are duplicated, left out or sent at a time."""

    seconds: float
    junk: bytes = b""
    """What is sent before the answer."""


def draw_harm(random: Random, actions: tuple[str, ...] = HARMS) -> Harm:
    """Draw a harm: in the status line, the headers or the body."""
    at = random.choice(
        [
            random.randrange(20),
            random.randrange(20, 500),
            random.randrange(200, 2_000),
            int(10 ** random.uniform(2, 6)),
        ]
    )
    action = random.choice(actions)
    junk = {
        "garbage": lambda: random.choice(
            [
                random.randbytes(random.randrange(1, 200)),
                b"\r\n",
                b"\x16\x03\x01\x02\x00",
                b"HTTP/1.1 100 Continue\r\n\r\n",
                b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * random.randrange(1, 50),
                b"SSH-2.0-OpenSSH_9.6\r\n",
            ]
        ),
        "forge": lambda: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    }.get(action, bytes)()
    return Harm(action, at, random.randint(1, 400), random.uniform(0.0, _LONGEST_DELAY), junk)


@attrs.define(eq=False)
class _Line:
    """One connection of a client, and the one to the server that belongs to it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server_reader: asyncio.StreamReader
    server_writer: asyncio.StreamWriter
    harm: Harm | None = None
    exchanges: int = 0
    is_answered: bool = True
    sent: int = 0
    """Bytes of this request."""

    got: int = 0
    """Bytes of this answer."""

    last: bytearray = attrs.field(factory=bytearray)
    """The start of this answer."""


class _EndedError(Exception):
    """The line has come to its end."""


class FaultyProxy:
    """Listens on a free port of this machine, and passes on to another.

    Args:
        port: The port to pass on to.
        draw: Called at the start of each exchange; None does it no harm.
        tell: Called with what was done.
    """

    def __init__(
        self,
        port: int,
        draw: Callable[[], Harm | None],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._server_port = port
        self._draw = draw
        self._tell = tell
        self._is_healed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.done: Counter[str] = Counter()
        """How often each harm was done."""

        self.volume = 0
        """Bytes that passed, in both directions."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def has_falsified(self) -> bool:
        """Whether an answer may have said something else than the server did."""
        return bool(self.done.keys() & FALSIFYING)

    def heal(self) -> None:
        """Do no more harm; connections that stand still are closed."""
        self._is_healed = True
        for task in self._tasks:
            task.cancel()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
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
            writer.transport.abort()  # also if the task was cancelled before it began

        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(end)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            opened = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            return
        line = _Line(reader, writer, *opened)
        pumps = [asyncio.create_task(each) for each in (self._up(line), self._down(line))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for pump in pumps:
                pump.cancel()
            line.writer.close()  # what was written goes out
            line.server_writer.close()
            await asyncio.gather(*pumps, return_exceptions=True)
            for each in (line.writer, line.server_writer):
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    # --- From the client --------------------------------------------------------------------------

    async def _up(self, line: _Line) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await line.reader.read(_CHUNK):
                self.volume += len(data)
                if line.is_answered:
                    await self._begin(line)
                await self._send_up(line, data)
        if line.server_writer.can_write_eof():
            with contextlib.suppress(OSError):
                line.server_writer.write_eof()
        if line.is_answered:  # the client has left, and waits for nothing
            raise _EndedError

    async def _begin(self, line: _Line) -> None:
        """Begin an exchange."""
        stale = bytes(line.last)
        line.harm = None if self._is_healed else self._draw()
        line.is_answered = False
        line.sent = line.got = 0
        line.last.clear()
        line.exchanges += 1
        match line.harm:
            case Harm("close_kept_alive"):
                self._did(line)
                raise _EndedError
            case Harm("reset_kept_alive"):
                self._did(line)
                self._reset(line)
            case Harm("stale") if stale:
                self._did(line)
                await _write(line.writer, stale)
            case Harm("delay_request", seconds=seconds):
                self._did(line)
                await asyncio.sleep(seconds)

    async def _send_up(self, line: _Line, data: bytes) -> None:
        harm, start = line.harm, line.sent
        line.sent += len(data)
        match harm:
            case Harm("reset_request", at) if line.sent > at:
                await _write(line.server_writer, data[: max(at - start, 0)])
                self._did(line)
                self._reset(line)
            case Harm("throttle_request", size=size, seconds=seconds):
                self._did(line, once=start == 0)
                await _write_slowly(line.server_writer, data, size, seconds)
            case Harm("half_close_request"):
                await _write(line.server_writer, data)
                if data.endswith(b"\r\n\r\n") and line.server_writer.can_write_eof():
                    self._did(line)
                    line.server_writer.write_eof()
            case _:
                await _write(line.server_writer, data)

    # --- From the server --------------------------------------------------------------------------

    async def _down(self, line: _Line) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await line.server_reader.read(_CHUNK):
                self.volume += len(data)
                line.is_answered = True
                if len(line.last) < _REMEMBERED:
                    line.last += data
                start, line.got = line.got, line.got + len(data)
                await self._send_down(line, data, start)
        raise _EndedError

    async def _send_down(  # noqa: C901  # one harm after the other
        self, line: _Line, data: bytes, start: int
    ) -> None:
        harm = line.harm
        at = harm.at - start if harm else 0  # within the data
        is_here = 0 <= at < len(data)
        match harm:
            case Harm("delay_answer", seconds=seconds) if start == 0:
                self._did(line)
                await asyncio.sleep(seconds)
            case Harm("throttle_answer", size=size, seconds=seconds):
                self._did(line, once=start == 0)
                await _write_slowly(line.writer, data, size, seconds)
                return
            case Harm("drop_answer"):
                self._did(line)
                self._reset(line)
            case Harm("reset_answer" | "close_answer" | "half_close_answer" | "stall_answer") if (
                is_here
            ):
                await _write(line.writer, data[:at])
                self._did(line)
                await self._end(line)
            case Harm("duplicate", size=size) if is_here:
                self._did(line)
                data = data[: at + size] + data[at:]
            case Harm("leave_out", size=size) if is_here:
                self._did(line)
                data = data[:at] + data[at + size :]
            case Harm("corrupt", size=size) if is_here:
                self._did(line)
                flipped = bytes([data[at] ^ (1 << size % 8)])
                data = data[:at] + flipped + data[at + 1 :]
            case Harm("garbage" | "forge", junk=junk) if start == 0:
                self._did(line)
                data = junk + data
        await _write(line.writer, data)

    async def _end(self, line: _Line) -> None:
        """End the answer where it is."""
        assert line.harm is not None
        match line.harm.action:
            case "reset_answer":
                self._reset(line)
            case "half_close_answer":
                line.writer.write_eof()
                await asyncio.Event().wait()
            case "stall_answer":
                await asyncio.Event().wait()
        raise _EndedError

    def _reset(self, line: _Line) -> None:
        _abort(line.writer)
        _abort(line.server_writer)
        raise _EndedError

    def _did(self, line: _Line, *, once: bool = True) -> None:
        harm = line.harm
        if harm is not None and once:
            self.done[harm.action] += 1
            self._tell(f"exchange {line.exchanges} of a connection: {harm}")


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with a reset."""
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _write_slowly(
    writer: asyncio.StreamWriter, data: bytes, size: int, seconds: float
) -> None:
    """Send in small pieces for a while, then the rest."""
    for number in range(min(_PIECES, -(-len(data) // size))):
        await _write(writer, data[number * size : (number + 1) * size])
        await asyncio.sleep(seconds / 20)
    await _write(writer, data[_PIECES * size :])
