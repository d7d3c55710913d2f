"""Arrow: requests from data frames, and results as record batches, as a table and as Parquet.

`requests` reads data frames of pandas, polars and others through the Arrow PyCapsule protocol.
`to_arrow` makes record batches of results; `read_table` and `write_parquet` take all of them.
"""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager, suppress
from pathlib import Path
from string import Formatter
from typing import Any, Final, TypeVar

import orjson

from fireworks_batch import ConfigurationError, LocalFileError, ResultRow, chats
from fireworks_batch.integrations import needs

with needs("arrow"):
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["SCHEMA", "read_table", "requests", "to_arrow", "write_parquet"]

_T = TypeVar("_T")

SCHEMA: Final = pa.schema(
    [
        ("custom_id", pa.string()),
        ("text", pa.string()),
        ("finish_reason", pa.string()),
        ("error_code", pa.string()),
        ("error_message", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
    ]
)
"""The columns of results, which are the members of `ResultRow.record`."""

_RESPONSE: Final = pa.field("response", pa.string())

# Nearly all ids and texts differ: no dictionary makes them shorter.
_FEW_VALUES: Final = ["finish_reason", "error_code", "error_message"]

# Most rows and characters of a batch. A batch becomes a row group of a Parquet file, and files of
# many small row groups are slow to read.
_ROWS: Final = 32_768
_CHARACTERS: Final = 16 * 1024 * 1024

# Rows of a data frame that are Python objects at a time.
_SLICE: Final = 1000


# --- Requests -----------------------------------------------------------------------------------


def requests(
    table: Any, template: str, *, id_column: str | None = None, **body: Any
) -> Iterator[dict[str, Any]]:
    """Make a request of each row of a data frame.

    Template, ids and body are those of `fireworks_batch.chats`.

    Args:
        table: A data frame or table with the Arrow PyCapsule protocol (``__arrow_c_stream__``), as
            pandas, polars, pyarrow and DuckDB have it. Only the columns that are needed are read,
            1,000 rows at a time, while the requests are.
        template: The prompt, with names of columns in braces: ``"Summarise: {text}"``.
        id_column: The column with the ids of the requests: strings that are not empty, or whole
            numbers. None numbers the requests: ``"row-00000001"`` and so on.
        body: The members of each request's body, as in ``max_tokens=100``.

    Returns:
        An iterator of requests, one for each row, in the order of the rows. `BatchClient.run` takes
        the iterator. It can be read once.

    Raises:
        ConfigurationError: The table has no such protocol, or lacks a column; the template or the
            body is wrong. While the iterator is read: a row has no value (null) in a column of the
            template, or no id.
    """
    if not hasattr(table, "__arrow_c_stream__"):
        raise ConfigurationError(
            "table must be a data frame with the method __arrow_c_stream__ (pandas has it since "
            f"2.2), not {type(table).__name__}; for mappings there is fireworks_batch.chats"
        )
    reader = pa.RecordBatchReader.from_stream(table)
    made = chats(_records(reader, template, id_column), template, id_column=id_column, **body)
    names = reader.schema.names
    for column in _columns(template, id_column):
        if column not in names:
            raise ConfigurationError(
                f"the table has no column {column!r}; it has: {', '.join(names) or 'nothing'}"
            )
    return made


def _columns(template: str, id_column: str | None) -> list[str]:
    """Return the names of the columns that are needed, each once."""
    found = [name for _, name, _, _ in Formatter().parse(template)]
    return [name for name in dict.fromkeys([*found, id_column]) if name is not None]


def _records(
    reader: pa.RecordBatchReader, template: str, id_column: str | None
) -> Iterator[dict[str, Any]]:
    columns = _columns(template, id_column)
    for batch in reader:
        needed = batch.select(columns)
        for start in range(0, needed.num_rows, _SLICE):
            yield from needed.slice(start, _SLICE).to_pylist()


# --- Results ------------------------------------------------------------------------------------


async def to_arrow(
    rows: AsyncIterable[ResultRow[Any]], *, response: bool = False
) -> AsyncGenerator[pa.RecordBatch, None]:
    """Read results as record batches, in bounded memory.

    Each row becomes one record, in the order of reading. A row that failed has an ``error_code``
    and an ``error_message``, and null in the columns for which it has no response. A row that
    succeeded has null in these two. A row that is missing has no record.

    Args:
        rows: The result of `BatchClient.run` or `BatchClient.collect`, the entered results of
            `BatchClient.results`, or another async iterable of rows, such as ``result.failures()``.
        response: Whether to add a column ``response`` with the whole response as JSON text. It has
            what the other columns lack, such as tool calls and further choices.

    Yields:
        Batches with the columns of `SCHEMA`: at most 32,768 rows each, and about 16 million
        characters (or one longer row). Memory holds one batch, and the Python objects of its
        values. Without rows there is no batch. A lone surrogate, which Arrow cannot hold, becomes a
        question mark.

    Raises:
        ClientStateError: The rows cannot be read, as with ``async for row in rows``.
        LocalFileError: The rows cannot be read from disk.
    """
    schema = _schema(response=response)
    records: list[dict[str, Any]] = []
    characters = 0
    async for row in rows:
        record: dict[str, Any] = row.record()
        characters += len(record["text"] or "")
        if response and row.response is not None:
            record["response"] = text = _json_of(row.response)
            characters += len(text)
        records.append(record)
        if len(records) >= _ROWS or characters >= _CHARACTERS:
            yield await _in_thread(_batch, records, schema)
            records, characters = [], 0
    if records:
        yield await _in_thread(_batch, records, schema)


async def read_table(rows: AsyncIterable[ResultRow[Any]], *, response: bool = False) -> pa.Table:
    """Read results as one table in memory.

    ``table.to_pandas()`` makes a data frame of pandas, and ``polars.from_arrow(table)`` makes a data
    frame of polars.

    Args:
        rows: The rows, as for `to_arrow`.
        response: Whether to add a column ``response``, as for `to_arrow`.

    Returns:
        The columns of `SCHEMA`, with one record for each row, in the order of reading.

    Raises:
        ClientStateError: The rows cannot be read, as with ``async for row in rows``.
        LocalFileError: The rows cannot be read from disk.
    """
    batches = [batch async for batch in to_arrow(rows, response=response)]
    return pa.Table.from_batches(batches, _schema(response=response))


async def write_parquet(
    rows: AsyncIterable[ResultRow[Any]], path: str | os.PathLike[str], *, response: bool = False
) -> None:
    """Write results to a Parquet file, in bounded memory.

    The file appears when it is complete. An existing file is replaced; of a symbolic link, the file
    that it names.

    Args:
        rows: The rows, as for `to_arrow`.
        path: The file.
        response: Whether to add a column ``response``, as for `to_arrow`.

    Raises:
        ClientStateError: The rows cannot be read, as with ``async for row in rows``.
        LocalFileError: The rows cannot be read from disk, or the file cannot be written.
    """
    file = _ParquetFile(Path(path))
    try:
        await _in_thread(file.open, _schema(response=response))
        async with aclosing(to_arrow(rows, response=response)) as batches:
            async for batch in batches:
                await _in_thread(file.write, batch)
        await _in_thread(file.finish)
    finally:
        await _in_thread(file.discard)


def _schema(*, response: bool) -> pa.Schema:
    return SCHEMA.append(_RESPONSE) if response else SCHEMA


def _json_of(response: dict[str, Any]) -> str:
    try:
        return orjson.dumps(response).decode()
    except TypeError:  # a lone surrogate, or a number of more than 64 bits
        return json.dumps(response)


def _batch(records: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    try:
        return pa.RecordBatch.from_pylist(records, schema)
    except UnicodeEncodeError:
        return pa.RecordBatch.from_pylist([*map(_without_surrogates, records)], schema)


def _without_surrogates(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.encode(errors="replace").decode() if isinstance(value, str) else value
        for name, value in record.items()
    }


class _ParquetFile:
    """A Parquet file with a temporary name; `finish` gives it the final name. Blocks the thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._leaving = ExitStack()

    def open(self, schema: pa.Schema) -> None:
        """Make the file, in the directory of the final name."""
        with self._reported():
            self._place = Path(os.path.realpath(self._path))
            name = f".{self._place.name[:40]}.{secrets.token_hex(6)}.part"
            self._part = self._place.with_name(name)
            self._leaving.callback(self._part.unlink, missing_ok=True)
            self._file = self._leaving.enter_context(self._part.open("xb"))
            writer = pq.ParquetWriter(self._file, schema, use_dictionary=_FEW_VALUES)
            self._writer = self._leaving.enter_context(writer)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a row group."""
        with self._reported():
            self._writer.write_batch(batch)

    def finish(self) -> None:
        """Give the file the final name, and replace an existing file of this name."""
        with self._reported():
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._place)

    def discard(self) -> None:
        """Close the file, and remove it unless it has the final name."""
        with suppress(OSError):
            self._leaving.close()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise LocalFileError(
                f"cannot write {str(self._path)!r}: {exc.strerror or exc}", errno=exc.errno
            ) from exc


async def _in_thread(work: Callable[..., _T], *args: Any) -> _T:
    """Run blocking work in a thread; a cancellation is raised when the work has ended.

    So no file is closed or removed while a thread writes it.
    """
    step = asyncio.ensure_future(asyncio.to_thread(work, *args))
    cancellation: asyncio.CancelledError | None = None
    while not step.done():
        try:
            await asyncio.wait([step])
        except asyncio.CancelledError as exc:
            cancellation = exc
    if cancellation is None:
        return step.result()
    step.exception()  # it was raised for nobody, and asyncio would log it
    raise cancellation
