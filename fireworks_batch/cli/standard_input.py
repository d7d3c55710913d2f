"""Standard input as a file, since requests are read more than once."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Final

from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.display.progress import Words, shown
from fireworks_batch.files.threads import off_loop, reported
from fireworks_batch.files.workspace import workspace
from fireworks_batch.models.errors import ConfigurationError

__all__ = ["is_standard_input", "readable"]

_STDIN: Final = 0
_PIECE: Final = 256 * 1024
_GZIP: Final = b"\x1f\x8b"


def is_standard_input(path: Path) -> bool:
    """Return whether a path of the command line stands for standard input."""
    return str(path) == "-"


@asynccontextmanager
async def readable(path: Path, output: Output) -> AsyncIterator[Path]:
    """Give a file that can be read several times: for ``-``, a copy of standard input.

    Args:
        path: The path of the command line.
        output: Where people are told that standard input is read.

    Raises:
        ConfigurationError: Standard input is closed.
        LocalFileError: Standard input cannot be read, or the copy cannot be written.
    """
    if not is_standard_input(path):
        yield path
        return
    if sys.stdin is None:  # another file may have its descriptor by now
        raise ConfigurationError("cannot read standard input: it is closed")
    async with workspace() as space:
        copy = space.path / "standard-input"
        if os.isatty(_STDIN):
            output.talk("reading standard input; Ctrl-D ends it")
            await _copy(copy)
        else:
            await shown(output, Words("reading standard input"), _copy(copy))
        yield await off_loop(_named, copy)


async def _copy(path: Path) -> None:
    """Copy standard input to a file; a cancellation does not wait for more input."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[OSError | None] = loop.create_future()

    def work(file: IO[bytes]) -> None:
        error: OSError | None = None
        try:
            with file:
                # Not sys.stdin: Python waits for its lock at the end, and the lock may be held.
                while piece := os.read(_STDIN, _PIECE):
                    file.write(piece)
        except OSError as exc:
            error = exc
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(finish, error)

    def finish(error: OSError | None) -> None:
        if not done.done():
            done.set_result(error)

    with reported("write", str(path)):
        file = await off_loop(path.open, "wb")
    # A thread of asyncio's own would be waited for at the end.
    threading.Thread(target=work, args=(file,), daemon=True).start()
    with reported("read", "standard input"):
        if error := await done:
            raise error


def _named(path: Path) -> Path:
    """Give the copy a name that says whether the content is compressed."""
    with path.open("rb") as file:
        is_compressed = file.read(2) == _GZIP
    return path.rename(path.with_suffix(".jsonl.gz" if is_compressed else ".jsonl"))
