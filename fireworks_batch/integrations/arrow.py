"""Arrow: requests from data frames, and results as record batches, as a table and as Parquet.

`requests` reads data frames of pandas, polars and others through the Arrow PyCapsule protocol.
`to_arrow` makes record batches of results; `read_table` and `write_parquet` take all of them.
"""

import asyncio
import errno
import json
import os
import secrets
import stat
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager, suppress
from io import BytesIO
from itertools import count
from pathlib import Path
from string import Formatter
from typing import Any, Final, TypeVar

import orjson

from fireworks_batch import ClientStateError, ConfigurationError, LocalFileError, ResultRow, chats
from fireworks_batch.integrations import needs
from fireworks_batch.typing import BatchResult, JobResults

with needs("arrow"):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.json as pj
    import pyarrow.parquet as pq

__all__ = ["SCHEMA", "read_table", "requests", "to_arrow", "write_parquet"]

_T = TypeVar("_T")

SCHEMA: Final = pa.schema(
    {
        "custom_id": pa.string(),
        "text": pa.string(),
        "finish_reason": pa.string(),
        "error_code": pa.string(),
        "error_message": pa.string(),
        "prompt_tokens": pa.int64(),
        "completion_tokens": pa.int64(),
        "cached_tokens": pa.int64(),
    }
)
"""The columns of results, which are the members of `ResultRow.record`."""

# Nearly all ids and texts differ: no dictionary makes them shorter.
_FEW_VALUES: Final = ["finish_reason", "error_code", "error_message"]

# Most rows and characters of a batch of rows that are converted one by one.
_ROWS: Final = 16_384
_CHARACTERS: Final = 8 * 1024 * 1024

# Bytes of a row group of a Parquet file. Files of many small row groups are slow to read.
_GROUP: Final = 16 * 1024 * 1024

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
    chats((), template, id_column=id_column, **body)  # raises what is wrong with any of them
    columns = _columns(template, id_column)
    return chats(_records(_reader(table, columns), columns), template, id_column=id_column, **body)


def _columns(template: str, id_column: str | None) -> list[str]:
    """Return the names of the columns that are needed, each once."""
    found = [name for _, name, _, _ in Formatter().parse(template)]
    return [name for name in dict.fromkeys([*found, id_column]) if name is not None]


def _reader(table: Any, columns: list[str]) -> pa.RecordBatchReader:
    """Return a reader of a table that has the columns."""
    if not hasattr(table, "__arrow_c_stream__"):
        raise ConfigurationError(
            "table must be a data frame with the method __arrow_c_stream__ (pandas has it since "
            f"2.2), not {type(table).__name__}; for mappings there is fireworks_batch.chats"
        )
    reader = None if hasattr(table, "iloc") else _stream(table)
    names = [*table.columns] if reader is None else reader.schema.names
    for column in columns:
        if names.count(column) != 1:
            has = ", ".join(map(str, names)) or "nothing"
            raise ConfigurationError(f"the table has no column {column!r}, or two; it has: {has}")
    # pandas converts all columns of a frame, and not every column can be converted.
    return _stream(table[columns].reset_index(drop=True)) if reader is None else reader


def _stream(table: Any) -> pa.RecordBatchReader:
    with _readable():
        return pa.RecordBatchReader.from_stream(table)


def _records(reader: pa.RecordBatchReader, columns: list[str]) -> Iterator[dict[str, Any]]:
    with _readable():
        for batch in reader:
            needed = batch.select(columns)
            for start in range(0, needed.num_rows, _SLICE):
                yield from needed.slice(start, _SLICE).to_pylist()


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as exc:
        raise ConfigurationError(f"the table cannot be read: {exc}") from exc


# --- Results ------------------------------------------------------------------------------------


def to_arrow(
    rows: AsyncIterable[ResultRow[Any]], *, response: bool = False
) -> AsyncGenerator[pa.RecordBatch, None]:
    """Read results as record batches, in bounded memory.

    Each row becomes one record, in the order of reading. A row that failed has an ``error_code``
    and an ``error_message``, and null in the columns for which it has no response. A row that
    succeeded has null in these two. A row that is missing has no record.

    The lines of a `BatchResult` and of `JobResults` are parsed by pyarrow, in threads. Other rows
    are converted one by one, which takes about twice as long: rows of other iterables, rows with
    ``decode=`` or ``lineage=True``, and ``response=True``.

    Args:
        rows: The result of `BatchClient.run` or `BatchClient.collect`, the entered results of
            `BatchClient.results`, or another async iterable of rows, such as ``result.failures()``.
        response: Whether to add a column ``response`` with the whole response as JSON text. It has
            what the other columns lack, such as tool calls and further choices.

    Returns:
        An async iterator of batches with the columns of `SCHEMA`. A batch has at most 8 MiB of
        lines, or some 8 million characters of text (or one longer row). Memory holds three batches,
        and the lines of two. A lone surrogate, which Arrow cannot hold, becomes a question mark.

    Raises:
        ClientStateError: The rows cannot be read, as with ``async for row in rows``.
        LocalFileError: The rows cannot be read from disk.
    """
    batches = None if response else _batches_of(rows)
    return _converted(rows, response=response) if batches is None else batches


async def read_table(rows: AsyncIterable[ResultRow[Any]], *, response: bool = False) -> pa.Table:
    """Read results as one table in memory.

    ``table.to_pandas()`` makes a data frame of pandas, and ``polars.from_arrow(table)`` makes one
    of polars.

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
    return SCHEMA.append(pa.field("response", pa.string())) if response else SCHEMA


def _batches_of(rows: object) -> AsyncGenerator[pa.RecordBatch, None] | None:
    """Return the batches of results; None if the rows have to be read one by one."""
    if not isinstance(rows, BatchResult | JobResults):
        return None
    try:
        return rows.blocks(_parsed)
    except ClientStateError:
        return None  # `async for` raises it again, unless the rows are not just their lines


async def _converted(
    rows: AsyncIterable[ResultRow[Any]], *, response: bool
) -> AsyncGenerator[pa.RecordBatch, None]:
    """Convert rows one by one."""
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


# --- Lines of results -----------------------------------------------------------------------------


# The members of a line that become columns; and "body" and "error", which no usual line has.
_CHOICE: Final = pa.struct(
    {"message": pa.struct({"content": pa.string()}), "finish_reason": pa.string()}
)
_USAGE: Final = pa.struct(
    {
        "prompt_tokens": pa.int64(),
        "completion_tokens": pa.int64(),
        "prompt_tokens_details": pa.struct({"cached_tokens": pa.int64()}),
    }
)
_RESPONSE: Final = pa.struct({"choices": pa.list_(_CHOICE), "usage": _USAGE, "body": pa.string()})
_LINE: Final = pa.schema({"custom_id": pa.string(), "response": _RESPONSE, "error": pa.string()})


def _parsed(lines: bytes) -> tuple[pa.RecordBatch, list[str] | None]:
    """Return the records of lines, and their ids if pyarrow has parsed all of them.

    The library parses lines that pyarrow might read in another way. Most of them have an error.
    """
    batch = _plain(lines)
    if batch is not None:
        return batch, batch["custom_id"].to_pylist()
    each = [line for line in BytesIO(lines) if not line.isspace()]
    is_odd = [b'"error"' in line for line in each]
    plain = _plain(b"".join(line for line, odd in zip(each, is_odd, strict=True) if not odd))
    if plain is None:
        return _batch([ResultRow.from_line(line).record() for line in each], SCHEMA), None
    odd_lines = (line for line, odd in zip(each, is_odd, strict=True) if odd)
    odd = _batch([ResultRow.from_line(line).record() for line in odd_lines], SCHEMA)
    places = {False: count(), True: count(plain.num_rows)}
    order = [next(places[is_odd_line]) for is_odd_line in is_odd]
    (merged,) = pa.Table.from_batches([plain, odd]).take(order).combine_chunks().to_batches()
    return merged, None


def _plain(lines: bytes) -> pa.RecordBatch | None:
    """Return the records of lines if all have a response, and pyarrow surely parses them well."""
    each = lines.removesuffix(b"\n").split(b"\n")
    number = len(each)
    try:
        # So each line is one object: a string has no line end, and only two objects meet like this.
        if {line[0] for line in each} != {ord("{")} or {line[-1] for line in each} != {ord("}")}:
            return None
        lines.decode()  # pyarrow does not look at the bytes of members that it leaves out
        table = pj.read_json(
            pa.BufferReader(lines),
            pj.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            pj.ParseOptions(explicit_schema=_LINE, unexpected_field_behavior="ignore"),
        )
        (found,) = table.combine_chunks().to_batches()
        response = found["response"]
        choices = pc.struct_field(response, "choices")
        strangers = pc.struct_field(response, "body"), found["error"]  # null in each line
        if (
            found["custom_id"].null_count
            or choices.null_count
            or any(stranger.null_count != number for stranger in strangers)
            or pc.min(pc.list_value_length(choices)).as_py() == 0
        ):
            return None
        # `pc.list_element` would import pandas, if it is there, to convert the 0.
        first = choices.values.take(choices.offsets.slice(0, number))
        usage = pc.struct_field(response, "usage")
        columns = {
            "custom_id": found["custom_id"],
            "text": pc.struct_field(first, ["message", "content"]),
            "finish_reason": pc.struct_field(first, "finish_reason"),
            "prompt_tokens": pc.struct_field(usage, "prompt_tokens"),
            "completion_tokens": pc.struct_field(usage, "completion_tokens"),
            "cached_tokens": pc.struct_field(usage, ["prompt_tokens_details", "cached_tokens"]),
        }
        return pa.RecordBatch.from_arrays(
            [columns.get(field.name, pa.nulls(number, field.type)) for field in SCHEMA],
            schema=SCHEMA,
        )
    except (ValueError, LookupError, pa.ArrowException):
        return None


# --- Parquet ------------------------------------------------------------------------------------


class _ParquetFile:
    """A Parquet file with a temporary name; `finish` gives it the final name. Blocks the thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._leaving = ExitStack()
        self._group: list[pa.RecordBatch] = []

    def open(self, schema: pa.Schema) -> None:
        """Make the file, in the directory of the final name."""
        with self._reported():
            self._place = Path(os.path.realpath(self._path))
            name = f".{self._place.name[:40]}.{secrets.token_hex(6)}.part"
            self._part = self._place.with_name(name)
            self._leaving.callback(self._part.unlink, missing_ok=True)
            self._file = self._leaving.enter_context(self._part.open("xb"))
            self._permissions = _permissions_of(self._place, or_of=self._part)
            self._part.chmod(0o600)  # while it is being written
            writer = pq.ParquetWriter(self._file, schema, use_dictionary=_FEW_VALUES)
            self._writer = self._leaving.enter_context(writer)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append records."""
        self._group.append(batch)
        if sum(batch.nbytes for batch in self._group) >= _GROUP:
            self._write_group()

    def _write_group(self) -> None:
        with self._reported():
            self._writer.write_table(pa.Table.from_batches(self._group))
        self._group.clear()

    def finish(self) -> None:
        """Give the file the final name, and replace an existing file of this name."""
        if self._group:
            self._write_group()
        with self._reported():
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.chmod(self._permissions)
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


def _permissions_of(place: Path, *, or_of: Path) -> int:
    """Return the permissions of a file that is to be replaced, or of a new one."""
    mode = (place if place.exists() else or_of).stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a directory, a pipe or a device")
    return mode & 0o777


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
    step.exception()  # asyncio logs an error of the work that is never read
    raise cancellation
