"""The formats in which a command writes rows, and where it writes them."""

import csv
import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import orjson

from fireworks_batch import ConfigurationError, ResultRow, RunReport, integrations
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.options import RowOptions
from fireworks_batch.files.part_file import PartFile, check_targets, set_aside, written_to
from fireworks_batch.files.threads import off_loop, reported
from fireworks_batch.files.workspace import workspace
from fireworks_batch.models.texts import visible

__all__ = ["check_terms", "keeping_rows", "write_rows"]

Row: TypeAlias = ResultRow[Any]

_PIECE: Final = 256 * 1024


async def check_terms(output: Output, terms: RowOptions, source: Path | None) -> None:
    """Refuse what could not be written, before anything is sent or downloaded.

    Args:
        output: The two streams.
        terms: The files and the format.
        source: The file of requests, which must not be overwritten; None if there is none.

    Raises:
        ConfigurationError: Two of the files are the same, a terminal would get Parquet, or the
            extra that the format needs is not installed.
        LocalFileError: A file cannot be written.
    """
    await off_loop(check_targets, (terms.output, terms.errors), source)
    if terms.format != "parquet":
        return
    if terms.output is None and output.is_on_terminal:
        raise ConfigurationError(
            "--format parquet writes binary data, which a terminal cannot show: name a file with "
            "--output"
        )
    try:
        await off_loop(getattr, integrations, "arrow")  # imports pyarrow, which takes a while
    except ModuleNotFoundError as exc:
        raise ConfigurationError(f"--format parquet: {exc}") from None


@asynccontextmanager
async def keeping_rows(report: RunReport, output: Output, terms: RowOptions) -> AsyncIterator[None]:
    """Keep the file that the block replaces, if it may have responses that the new file lacks.

    That is so if the result is not complete, and the new file is smaller. The library compares the
    responses, but only in files of JSON lines.

    Raises:
        LocalFileError: The file cannot be renamed.
    """
    if terms.output is None or report.is_complete:
        yield
        return
    with reported("write", str(terms.output)):
        place = await off_loop(written_to, terms.output)
        older = await off_loop(lambda: set_aside(place) if place.exists() else None)
    if older is None:
        yield
        return
    try:
        yield
    except BaseException:
        await off_loop(older.replace, place)
        raise
    if await off_loop(lambda: place.stat().st_size < older.stat().st_size):
        output.talk(
            f"{visible(str(terms.output))} may have had responses that are not among the new "
            f"results: it is kept as {visible(str(older))}"
        )
    else:
        await off_loop(older.unlink)


async def write_rows(rows: AsyncIterable[Row], output: Output, terms: RowOptions) -> None:
    """Write rows to the file or to stdout, and the rows that failed to the file of errors.

    The files appear when all rows are written.

    Args:
        rows: The rows, those that failed among them.
        output: The two streams.
        terms: The files and the format.

    Raises:
        LocalFileError: A file or stdout cannot be written.
        ReaderLeftError: The reader of stdout has left.
    """
    if terms.format == "parquet":
        async with (
            _sink(None, terms.errors) as bad,
            _file_of(output, terms.output) as path,
            aclosing(_with_errors_to(bad, rows)) as passed,
        ):
            # Rows that are not passed one by one are parsed in blocks.
            await integrations.arrow.write_parquet(passed if terms.errors else rows, path)
        return
    encode = _ENCODERS[terms.format]
    encode_error = _as_is if terms.is_table else encode
    async with _sink(output, terms.output) as good, _sink(None, terms.errors) as bad:
        if terms.is_table:
            await good.write(_csv_line(_COLUMNS))
        async for row in rows:
            if row.ok or terms.is_table:
                await good.write(encode(row))
            if not row.ok:
                await bad.write(encode_error(row))


# --- The formats --------------------------------------------------------------------------------


def _as_is(row: Row) -> bytes:
    return row.raw + b"\n"


def _as_openai(row: Row) -> bytes:
    """Return a line of OpenAI's batch results. Its ids are made from those of the row."""
    body, error = row.response, row.error
    line: dict[str, Any] = {
        "id": None if row.custom_id is None else f"batch_req_{row.custom_id}",
        "custom_id": row.custom_id,
        "response": None,
        "error": None,
    }
    if body is not None:
        line["response"] = {"status_code": 200, "request_id": body.get("id") or "", "body": body}
    if error is not None:
        line["error"] = {"code": error.code, "message": error.message}
        if row.custom_id is None:
            line["error"]["raw"] = row.raw.decode(errors="backslashreplace")
    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, or a number of more than 64 bits
        return json.dumps(line).encode() + b"\n"


class _Given:
    """A file for the csv module, whose lines are returned instead of written."""

    def write(self, line: str) -> str:
        return line


# With it, the csv module quotes a value that has either character, on each Python.
_END: Final = "\r\n"
_line: Final[Callable[..., Any]] = csv.writer(_Given(), lineterminator=_END).writerow
_COLUMNS: Final = (*Row(custom_id=None, response=None, error=None, raw=b"").record(),)


def _csv_line(values: Any) -> bytes:
    text: str = _line(values)
    line = text.removesuffix(_END) + "\n"
    return line.encode(errors="replace")  # a lone surrogate becomes a question mark


def _as_csv(row: Row) -> bytes:
    return _csv_line(row.record().values())


_ENCODERS: Final[dict[str, Callable[[Row], bytes]]] = {
    "jsonl": _as_is,
    "openai": _as_openai,
    "csv": _as_csv,
}


async def _with_errors_to(bad: "_Sink", rows: AsyncIterable[Row]) -> AsyncGenerator[Row, None]:
    """Yield all rows, and write the rows that failed."""
    async for row in rows:
        if not row.ok:
            await bad.write(_as_is(row))
        yield row


# --- Where the rows go --------------------------------------------------------------------------


class _Sink(Protocol):
    async def write(self, piece: bytes, /) -> None: ...


class _Pipe:
    """Stdout, written in large pieces; without an output the rows are dropped."""

    def __init__(self, output: Output | None) -> None:
        self._output = output
        self._lines = bytearray()

    async def write(self, piece: bytes, /) -> None:
        if self._output is not None:
            self._lines += piece
            if len(self._lines) >= _PIECE:
                self.flush()

    def flush(self) -> None:
        if self._output is not None:
            self._output.write(bytes(self._lines))
            self._lines.clear()


@asynccontextmanager
async def _sink(output: Output | None, path: Path | None) -> AsyncIterator[_Sink]:
    """Open the file or pipe that rows go to; a file appears when the block ends well."""
    if path is None:
        pipe = _Pipe(output)
        yield pipe
        pipe.flush()
        return
    with reported("write", str(path)):
        place = await off_loop(written_to, path)
    async with PartFile(place) as part:
        yield part
        await part.finish()


@asynccontextmanager
async def _file_of(output: Output, path: Path | None) -> AsyncIterator[Path]:
    """Give the file, or a temporary one that goes to stdout when the block ends well."""
    if path is not None:
        yield path
        return
    async with workspace() as space:
        yield space.path / "rows"
        output.copy(space.path / "rows")
