"""How fast results are read beside a loop of orjson.loads, and how much memory that takes.

The file lies on the disk in both cases: how fast it comes there is measured by transfer.py. Ours
makes a row of each line, keeps its id, and writes the report at the end; the loop throws away what
it parsed. The seconds of the rounds are those on the clock.
"""

import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import orjson

from figures import Report, Sampler, by_median, interleave, main, single
from fireworks_batch import BatchInferenceJob, JobState
from fireworks_batch.results.job_results import JobResults

ROWS = 1_000_000
JOB = BatchInferenceJob(
    name="accounts/acme/batchInferenceJobs/nightly",
    state=JobState.COMPLETED,
    output_dataset_id="accounts/acme/datasets/output",
)
TEXT = "The review is positive: the author praises the battery, the screen and the price. " * 3
RESPONSE = {
    "id": "chatcmpl-0001-abcdef",
    "object": "chat.completion",
    "created": 1789376930,
    "model": "accounts/fireworks/models/demo-8b",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": TEXT},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 42,
        "completion_tokens": 58,
        "total_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 20},
    },
}


async def measure(share: float) -> Report:
    """Read with a loop and with ours in turns; and a whole file, for the memory of a row."""
    with tempfile.TemporaryDirectory() as directory:
        whole, part = Path(directory, "whole.jsonl"), Path(directory, "part.jsonl")
        write_rows(part, ROWS // 50)
        write_rows(whole, int(ROWS * share))
        growth = await memory_of(whole) - await memory_of(part)

        async def ours() -> float:
            return await read(part)

        async def loop() -> float:
            return bare_loop(part)

        samplers: dict[str, Sampler] = {"loop": loop, "ours": ours}
        samples = await interleave(samplers, int(90 * share) + 40)
    return Report(
        [
            by_median("read", samples["ours"], samples["loop"]),
            single("row", growth / (ROWS * share - ROWS // 50)),
        ]
    )


async def memory_of(path: Path) -> int:
    """Return the most bytes of Python's objects while a file is read."""
    tracemalloc.start()
    await read(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def write_rows(path: Path, count: int) -> None:
    """Write rows of some 600 bytes."""
    response = orjson.dumps(RESPONSE)
    with path.open("wb") as file:
        file.writelines(
            b'{"custom_id":"request-%09d","response":%s}\n' % (number, response)
            for number in range(count)
        )


def bare_loop(path: Path) -> float:
    """Parse each line, and return the seconds."""
    began = time.perf_counter()
    with path.open("rb") as file:
        for line in file:
            orjson.loads(line)
    return time.perf_counter() - began


class Source:
    """Gives a file in place of a download."""

    def __init__(self, path: Path) -> None:
        """Take the file."""
        self._path = path

    async def download(self, *_: object, **__: object) -> tuple[Path, ...]:
        """Give it."""
        return (self._path,)


async def read(path: Path) -> float:
    """Read each row and the report, and return the seconds."""
    source: Any = Source(path)
    async with JobResults[dict[str, object]]._made(
        JOB, source, source, expected=None, decode=None, lineage=False
    ) as rows:
        began = time.perf_counter()
        async for _ in rows:
            pass
        return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main(__doc__, measure))
