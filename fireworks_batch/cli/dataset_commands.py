"""``fireworks-batch datasets``: list, delete."""

from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.cli.figures import visible
from fireworks_batch.cli.lines import dataset_cells, dataset_fields, record
from fireworks_batch.cli.listings import Columns, tell_all
from fireworks_batch.cli.running import Options, Session, run

__all__ = ["delete", "list_all"]

_COLUMNS = Columns(
    headings=("dataset", "state", "rows", "created"),
    cells=dataset_cells,
    fields=dataset_fields,
    record=record,
)


def list_all(
    options: Options, *, filter_: str | None, order_by: str | None, limit: int | None
) -> ExitCode:
    """List datasets."""

    async def work(session: Session) -> ExitCode:
        datasets = session.client.datasets.list(
            filter=filter_, order_by=order_by, page_size=min(limit or 200, 200)
        )
        await tell_all(session.output, datasets, _COLUMNS, limit=limit)
        return ExitCode.SUCCEEDED

    return run(options, work)


def delete(options: Options, dataset: str) -> ExitCode:
    """Remove a dataset with its files."""

    async def work(session: Session) -> ExitCode:
        await session.client.datasets.delete(dataset)
        session.output.talk(f"{visible(dataset)} is deleted")
        return ExitCode.SUCCEEDED

    return run(options, work)
