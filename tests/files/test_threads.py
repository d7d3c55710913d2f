"""Work that blocks, in a thread, and what the system's refusals are called."""

import asyncio
import errno
import threading
from pathlib import Path

import pytest

from fireworks_batch import LocalFileError
from fireworks_batch.files.threads import begin, off_loop, reported, write_all


async def test_work_is_done_in_another_thread():
    """Its result comes back, and what it raises."""
    assert await off_loop(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        await off_loop(divmod, 1, 0)


async def test_cancelling_waits_for_the_work():
    """However often; whoever cleans up after it finds nobody still at it."""
    may_end = threading.Event()
    task = asyncio.create_task(off_loop(may_end.wait))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()

    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_fails_while_it_is_cancelled_is_cancelled():
    """Its error is nobody's any more."""
    may_end = threading.Event()

    def fail():
        may_end.wait()
        raise LookupError

    task = asyncio.create_task(off_loop(fail))
    await asyncio.sleep(0)
    task.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_may_be_left_to_itself():
    """What it fails with is then no warning."""
    step = begin(divmod, 1, 0)
    await asyncio.wait([step])
    del step


def test_the_system_s_reason_is_told():
    """With the path, what was tried, and the number."""
    with (
        pytest.raises(LocalFileError, match=r"^cannot write '/x/y': No space left on dev") as no,
        reported("write", "/x/y"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert no.value.errno == errno.ENOSPC


def test_a_path_that_no_file_can_have_is_named():
    """A lone surrogate of any kind but those of file names, say."""
    with (
        pytest.raises(LocalFileError, match=r"^cannot read '/x/\\ud800': not the name of a file: "),
        reported("read", "/x/\ud800"),
    ):
        Path("/x/\ud800").stat()


class Slow:
    """A file that takes three bytes at a time."""

    def __init__(self) -> None:
        self.held = b""

    def write(self, data) -> int:
        self.held += bytes(data[:3])
        return min(3, len(data))


def test_all_is_written_to_a_file_that_takes_less():
    """As a disk does that is nearly full."""
    file = Slow()
    write_all(file, b"0123456789")

    assert file.held == b"0123456789"
