"""A file that is written: its content, who can read it, memory, and what a crash leaves."""

import hashlib
import os
import stat
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from fireworks_batch import LocalFileError
from fireworks_batch.files.part_file import PartFile

SHARED = 0o640
UMASK = 0o027
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """New files can be read by the group."""
    before = os.umask(UMASK)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


async def test_only_the_owner_can_read_a_file_that_is_being_written(tmp_path):
    """From the moment at which it is made; also where the file that it replaces is open to all."""
    target = tmp_path / "rows.jsonl"
    target.write_bytes(b"old")
    target.chmod(0o666)
    async with PartFile(target) as part:
        (made,) = tmp_path.glob(".*.part")
        modes = [mode(made)]
        await part.write(b"a secret")
        await part.flush()
        modes.append(mode(made))
        await part.finish()
    assert modes == [0o600, 0o600]


async def test_the_file_that_can_be_opened_by_others_is_another_one(tmp_path, monkeypatch):
    """An empty file shows the umask's permissions: nothing is ever written to it."""
    opened = []
    unlink = Path.unlink

    def spy(self: Path, *args, **kwargs) -> None:
        if self.exists():
            opened.append(self.open("rb"))
        unlink(self, *args, **kwargs)

    monkeypatch.setattr(Path, "unlink", spy)
    async with PartFile(tmp_path / "rows.jsonl") as part:
        await part.write(b"a secret")
        await part.finish()
    assert [file.read() for file in opened] == [b""]
    for file in opened:
        file.close()


async def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    """Those that the umask leaves."""
    target = tmp_path / "rows.jsonl"
    async with PartFile(target) as part:
        await part.write(b"content")
        await part.finish()
    assert mode(target) == SHARED
    assert target.read_bytes() == b"content"


@pytest.mark.parametrize(("before", "after"), [(0o600, 0o600), (0o664, 0o664), (0o6755, 0o755)])
async def test_a_file_that_is_replaced_hands_on_its_permissions(tmp_path, before, after):
    """But not the bits that would lend the rights of its owner."""
    target = tmp_path / "rows.jsonl"
    target.write_bytes(b"old")
    target.chmod(before)
    async with PartFile(target) as part:
        await part.finish()
    assert mode(target) == after


async def test_the_content_is_on_disk_before_the_name_and_the_name_before_the_end(
    tmp_path, monkeypatch
):
    """A power failure leaves the old file or the whole new one."""
    target, done = tmp_path / "rows.jsonl", []
    target.write_bytes(b"old")
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append(("directory" if is_directory else "file", target.read_bytes()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    async with PartFile(target) as part:
        await part.write(b"content")
        await part.finish()
    assert done == [("file", b"old"), ("directory", b"content")]


async def test_content_that_does_not_reach_the_disk_is_an_error(tmp_path, monkeypatch):
    """The old file stays, and nothing is left."""

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    target = tmp_path / "rows.jsonl"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(LocalFileError, match=r"rows\.jsonl': Input/output error"):
        async with PartFile(target) as part:
            await part.write(b"content")
            await part.finish()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"rows.jsonl": b"old"}


async def test_a_directory_that_cannot_be_synchronised_is_no_error(tmp_path, monkeypatch):
    """As on Windows, which opens none."""
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise PermissionError(13, "Permission denied")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    async with PartFile(tmp_path / "rows.jsonl") as part:
        await part.write(b"content")
        await part.finish()
    assert (tmp_path / "rows.jsonl").read_bytes() == b"content"


async def test_pieces_of_any_size_are_written_and_hashed_in_their_order(tmp_path):
    """Small pieces share a write, and large pieces do not."""
    pieces = [bytes([size % 251]) * size for size in (1, 3 * MIB, 7, 65_536, 0, 200_000, MIB, 2)]
    async with PartFile(tmp_path / "rows.jsonl") as part:
        await part.empty(hashed=True)
        for piece in pieces:
            await part.write(piece)
        await part.flush()
        (made,) = tmp_path.glob(".*.part")
        content, md5 = made.read_bytes(), part.md5
    whole = b"".join(pieces)
    assert content == whole
    assert md5 == hashlib.md5(whole, usedforsecurity=False).digest()


async def test_a_few_mib_are_in_memory_whatever_the_size_of_the_file(tmp_path):
    """One MiB is collected, and one MiB is being written."""
    async with PartFile(tmp_path / "rows.jsonl") as part:
        tracemalloc.start()
        try:
            for _ in range(128):
                await part.write(bytes(MIB // 4))
            await part.flush()
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert most < 4 * MIB
