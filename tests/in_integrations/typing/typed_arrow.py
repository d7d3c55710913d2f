"""What type checkers say about `fireworks_batch.integrations.arrow`; nothing here is run."""

from collections.abc import Iterator
from typing import Any, assert_type

from fireworks_batch import BatchClient
from fireworks_batch.integrations import arrow
from fireworks_batch.typing import BatchResult, JobResults, Requests


def requests_of(frame: object) -> Requests:
    """A run takes what is made of a data frame."""
    made = arrow.requests(frame, "{text}", id_column="id", max_tokens=5)
    assert_type(made, Iterator[dict[str, Any]])
    return made


async def results_of(client: BatchClient, result: BatchResult[Any], rows: JobResults[Any]) -> None:
    """All that gives rows is taken, whatever is made of them."""
    await arrow.read_table(result)
    await arrow.read_table(rows, response=True)
    await arrow.write_parquet(result.failures(), "failures.parquet")
    async for batch in arrow.to_arrow(rows):
        assert batch
    await arrow.read_table(client.jobs.list())  # type: ignore[arg-type] # jobs are no rows
