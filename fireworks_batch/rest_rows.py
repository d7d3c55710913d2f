"""The rest of a job's rows: those that none of the jobs before has answered, by their results."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from fireworks_batch.collecting import Collector, Selection
from fireworks_batch.input_files import ShardFile
from fireworks_batch.input_rows import RowRules
from fireworks_batch.limits import Limits
from fireworks_batch.local_io import off_loop
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.result_index import UNANSWERED
from fireworks_batch.run_input import look_at, workspace
from fireworks_batch.run_options import RunOptions
from fireworks_batch.submission import SubmittedJob

__all__ = ["open_rest"]


@asynccontextmanager
async def open_rest(
    collector_in: Callable[[Path], AbstractAsyncContextManager[Collector]],
    shard: ShardFile,
    before: SubmittedJob,
    last: BatchInferenceJob,
    limits: Limits,
) -> AsyncIterator[ShardFile | None]:
    """Fetch what jobs have done, and open the rows without a response: see `OpenRest`.

    Args:
        collector_in: Makes a collector in a directory.
        shard: All rows of the job.
        before: The jobs that may have answered them.
        last: The newest of those.
        limits: What one job takes.
    """
    async with workspace() as directory:
        path = directory / "rest.jsonl"
        async with collector_in(directory) as collector:
            try:
                await collector.expect([shard])
                await collector.fetch(before, last, shard=0, attempt=0)
                await collector.choose()
                selection = Selection(shard.path, 1, shard.rows, UNANSWERED)
                rows = await collector.select([selection], path)
            finally:
                await off_loop(collector.index.close)
        await off_loop(shard.check_unchanged)
        if not rows:
            yield None
            return
        part = directory / "rest"
        await off_loop(part.mkdir)
        prepared = await look_at(path, RowRules(), RunOptions(limits=limits), part)
        (rest,) = prepared.shards
        yield rest
