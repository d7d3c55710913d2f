"""``fireworks-batch datasets``: list, upload, download, delete."""

from pathlib import Path

from fireworks_batch.cli.display.figures import percent, size
from fireworks_batch.cli.display.lines import dataset_cells, dataset_fields, record
from fireworks_batch.cli.display.listing import Columns, print_all
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.display.progress import shown
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.cli.options import CommonOptions
from fireworks_batch.cli.session import Session, in_session
from fireworks_batch.models.texts import visible

__all__ = ["delete", "download", "list_all", "transfer_line", "upload"]

_COLUMNS = Columns(
    headings=("dataset", "state", "rows", "created (UTC)"),
    cells=dataset_cells,
    fields=dataset_fields,
    record=record,
)


def list_all(
    options: CommonOptions, *, filter_: str | None, order_by: str | None, limit: int | None
) -> ExitCode:
    """List datasets."""

    async def work(session: Session) -> ExitCode:
        datasets = session.client.datasets.list(
            filter=filter_, order_by=order_by, page_size=min(limit or 200, 200)
        )
        await print_all(session.output, datasets, _COLUMNS, limit=limit)
        return ExitCode.SUCCEEDED

    return in_session(options, work)


def upload(options: CommonOptions, file: Path, *, dataset_id: str | None, reuse: bool) -> ExitCode:
    """Upload a file of rows, and write the dataset's id when it is READY."""

    async def work(session: Session) -> ExitCode:
        output, display = session.output, _TransferDisplay(session.output, "uploading")
        uploading = session.client.datasets.upload(
            file, dataset_id=dataset_id, reuse=reuse, on_progress=display.show
        )
        dataset = await shown(output, display, uploading)
        if output.as_json:
            output.record(record(dataset))
        else:
            output.line(dataset.id)
        return ExitCode.SUCCEEDED

    return in_session(options, work)


def download(options: CommonOptions, dataset: str, directory: Path, *, lineage: bool) -> ExitCode:
    """Download a dataset's files, and write their paths."""

    async def work(session: Session) -> ExitCode:
        output, display = session.output, _TransferDisplay(session.output, "downloading")
        downloading = session.client.datasets.download(
            dataset, directory, lineage=lineage, on_progress=display.show
        )
        for path in await shown(output, display, downloading):
            if output.as_json:
                output.record({"path": str(path), "bytes": path.stat().st_size})
            else:
                output.line(str(path))
        return ExitCode.SUCCEEDED

    return in_session(options, work)


def delete(options: CommonOptions, dataset: str) -> ExitCode:
    """Remove a dataset with its files."""

    async def work(session: Session) -> ExitCode:
        await session.client.datasets.delete(dataset)
        session.output.talk(f"{visible(dataset)} is deleted")
        return ExitCode.SUCCEEDED

    return in_session(options, work)


# --- Transfers ------------------------------------------------------------------------------------


def transfer_line(what: str, done: int, total: int) -> str:
    """Return the progress of a transfer in words; only its name while the size is not known."""
    if not total:
        return what
    return f"{what} {percent(100 * done / total)} ({size(done)} of {size(total)})"


class _TransferDisplay:
    """Shows the progress of a transfer: as a bar, or in a line for each tenth."""

    def __init__(self, output: Output, what: str) -> None:
        self._output = output
        self._what = what
        self._done = self._total = self._tenth = 0

    def show(self, done: int, total: int) -> None:
        """Take how many bytes are done, of how many."""
        self._done, self._total = done, total
        tenth = 10 * done // total if total else 0
        if tenth != self._tenth and not (self._output.is_live or self._output.as_json):
            self._output.talk(transfer_line(self._what, done, total))
        self._tenth = tenth

    def picture(self) -> tuple[float | None, str]:
        """Return the share of 100 that is done, and the words beside the bar."""
        share = 100 * self._done / self._total if self._total else None
        return share, transfer_line(self._what, self._done, self._total)
