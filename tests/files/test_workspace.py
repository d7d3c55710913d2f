"""Temporary directories: removed by their process, or by the next one if that was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fireworks_batch.files.workspace import workspace

PROGRAM = """
import asyncio
from fireworks_batch.files.workspace import workspace

async def main():
    async with workspace() as space:
        print(space.path, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The place of temporary files, of this process and of others."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def names(directory) -> set[str]:
    """The names in a directory."""
    return {each.name for each in directory.iterdir()}


async def test_directory_lasts_as_long_as_its_block(temporary):
    """It is there inside, and gone afterwards; if it is to be kept, only failure removes it."""
    async with workspace() as space:
        assert space.path.is_dir()
    assert [] == [*temporary.iterdir()]
    async with workspace(keep=True) as space:
        pass
    assert [space.path] == [*temporary.iterdir()]
    space.remove()
    with pytest.raises(ZeroDivisionError):
        async with workspace(keep=True):
            raise ZeroDivisionError
    assert [] == [*temporary.iterdir()]


async def test_directory_of_a_killed_process_is_swept(temporary):
    """Not as long as the process lives; and nothing is touched that is not ours."""
    (temporary / "fireworks-batch-other").mkdir()
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
        text=True,
    )
    path = Path(process.stdout.readline().strip())
    try:
        async with workspace():
            assert path.name in names(temporary)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert path.name in names(temporary)
    async with workspace():
        assert path.name not in names(temporary)
    assert "fireworks-batch-other" in names(temporary)
