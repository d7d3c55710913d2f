"""``fireworks-batch datasets``: list, upload, download, delete."""

from pathlib import Path

from fireworks_batch.cli.displays import shown
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.cli.figures import visible
from fireworks_batch.cli.lines import dataset_cells, dataset_fields, record
from fireworks_batch.cli.listings import Columns, tell_all
from fireworks_batch.cli.running import Options, Session, run
from fireworks_batch.cli.transfer_display import TransferDisplay

__all__ = ["delete", "download", "list_all", "upload"]

_COLUMNS = Columns(
    headings=("dataset", "state", "rows", "created (UTC)"),
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


def upload(options: Options, file: Path, *, dataset_id: str | None, reuse: bool) -> ExitCode:
    """Upload a file of rows, and write the dataset's id when it is READY."""

    async def work(session: Session) -> ExitCode:
        output, display = session.output, TransferDisplay(session.output, "uploading")
        uploading = session.client.datasets.upload(
            file, dataset_id=dataset_id, reuse=reuse, on_progress=display.tell
        )
        dataset = await shown(output, display, uploading)
        if output.as_json:
            output.record(record(dataset))
        else:
            output.line(dataset.id)
        return ExitCode.SUCCEEDED

    return run(options, work)


def download(options: Options, dataset: str, directory: Path, *, lineage: bool) -> ExitCode:
    """Download a dataset's files, and write their paths."""

    async def work(session: Session) -> ExitCode:
        output, display = session.output, TransferDisplay(session.output, "downloading")
        downloading = session.client.datasets.download(
            dataset, directory, lineage=lineage, on_progress=display.tell
        )
        for path in await shown(output, display, downloading):
            if output.as_json:
                output.record({"path": str(path), "bytes": path.stat().st_size})
            else:
                output.line(str(path))
        return ExitCode.SUCCEEDED

    return run(options, work)


def delete(options: Options, dataset: str) -> ExitCode:
    """Remove a dataset with its files."""

    async def work(session: Session) -> ExitCode:
        await session.client.datasets.delete(dataset)
        session.output.talk(f"{visible(dataset)} is deleted")
        return ExitCode.SUCCEEDED

    return run(options, work)
