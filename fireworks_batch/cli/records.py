"""The requests of a command: a file as it is, its first rows, or records with a template."""

import csv
import json
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from fireworks_batch import chats
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.display.progress import Words, shown
from fireworks_batch.cli.options import RecordOptions
from fireworks_batch.cli.standard_input import is_standard_input, readable
from fireworks_batch.files.lines import LONGEST_LINE, check_path, open_lines, read_blocks
from fireworks_batch.files.threads import off_loop, reported
from fireworks_batch.files.workspace import workspace
from fireworks_batch.models.errors import ConfigurationError, InputRowsError
from fireworks_batch.models.errors import shown as quoted
from fireworks_batch.models.texts import visible
from fireworks_batch.typing import Requests

__all__ = ["requests_of"]

# The delimiter of each kind of file; None for JSON lines.
_DELIMITERS: Final = {"csv": ",", "tsv": "\t", "jsonl": None}
# Rows that a thread reads in one step.
_CHUNK: Final = 100


@asynccontextmanager
async def requests_of(path: Path, terms: RecordOptions, output: Output) -> AsyncIterator[Requests]:
    """Give the requests of a command, as the client takes them.

    Args:
        path: The path of the command line.
        terms: The template of the requests, if the file has records, and how many rows are taken.
        output: Where people are told what takes time.

    Raises:
        ConfigurationError: The options do not fit the file or each other. While the requests are
            read: a record does not fit the template.
        InputRowsError: The file is damaged; also while the requests are read.
        LocalFileError: A file cannot be read or written; also while the requests are read.
    """
    if terms.id_column is not None and terms.template is None:
        raise ConfigurationError("--id-column is about records: it needs --template")
    async with readable(path, output) as file:
        if terms.template is not None:
            records = await off_loop(_records, file, path)
            with closing(records):
                first = islice(records, terms.limit)
                yield _in_threads(chats(first, terms.template, id_column=terms.id_column))
        elif _kind(file) in {"csv", "tsv"}:
            raise ConfigurationError(
                f"{_name(path)} has records, not requests: say what is asked about each record, as "
                "in --template 'Summarise: {text}'"
            )
        elif terms.limit is not None:
            source = await off_loop(check_path, file)
            async with workspace() as space:
                rows = space.path / "first-rows.jsonl"
                words = Words("taking the first rows")
                await shown(output, words, _copy(source, rows, terms.limit))
                yield rows
        else:
            yield file


async def _in_threads(requests: Iterator[Mapping[str, Any]]) -> AsyncIterator[Mapping[str, Any]]:
    """Yield requests. Their file is read in threads."""
    while chunk := await off_loop(_chunk, requests):
        for request in chunk:
            yield request


def _chunk(requests: Iterator[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    # The csv module has one limit for all its readers: a request may be longer than the usual one.
    before = csv.field_size_limit(LONGEST_LINE)
    try:
        return [*islice(requests, _CHUNK)]
    finally:
        csv.field_size_limit(before)


def _name(path: Path) -> str:
    """Return the name of a file, as a message has it."""
    return "standard input" if is_standard_input(path) else visible(str(path))


def _kind(path: Path) -> str:
    return path.name.lower().removesuffix(".gz").rpartition(".")[2]


# --- Records ------------------------------------------------------------------------------------


def _records(file: Path, path: Path) -> Generator[dict[str, Any], None, None]:
    """Return the records of a file; they are read one by one.

    Standard input has no name: what begins like a JSON object is JSON lines, all else is CSV.

    Args:
        file: The file.
        path: The path of the command line.
    """
    kind = _kind(path)
    if is_standard_input(path):
        with open_lines(file) as lines:
            start = next(read_blocks(lines, longest=LONGEST_LINE), None)
        kind = "jsonl" if start is not None and start.data.lstrip().startswith(b"{") else "csv"
    if kind not in _DELIMITERS:
        raise ConfigurationError(
            "--template needs a file of records whose name ends in .csv, .tsv or .jsonl, or in "
            f".gz after one of these, not {_name(path)}"
        )
    delimiter = _DELIMITERS[kind]
    if delimiter is None:
        return _json_records(file, _name(path))
    return _csv_records(file, _name(path), delimiter)


def _csv_records(path: Path, name: str, delimiter: str) -> Generator[dict[str, Any], None, None]:
    """Yield the lines of a file of values, by the names in its first line."""
    with open_lines(path) as file:
        text = (line.decode() for line in _lines(file, name))
        # If a quote is missing, a reader that is not strict takes the rest of a file for one value.
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        with _told(name, reader):
            columns = next(reader, [])
            _check_columns(name, columns)
            for values in reader:
                if len(values) == len(columns):
                    yield dict(zip(columns, values, strict=True))
                elif values:  # else the line is blank
                    raise InputRowsError(
                        f"{name}, line {reader.line_num}: {len(values)} values, but the first line "
                        f"names {len(columns)} columns"
                    )


@contextmanager
def _told(name: str, reader: Any) -> Iterator[None]:
    """Raise errors that name the file, and the line before."""
    try:
        yield
    except UnicodeDecodeError as exc:
        problem = f"not UTF-8: byte 0x{exc.object[exc.start]:02x}; save the file as UTF-8"
    except csv.Error as exc:
        problem = str(exc)
    else:
        return
    raise InputRowsError(f"{name}, after line {reader.line_num}: {problem}")


def _check_columns(name: str, columns: list[str]) -> None:
    if not columns:
        raise InputRowsError(f"{name}: the first line names no columns")
    # A data frame writes its index under an empty name.
    twice = [column for column in columns if column and columns.count(column) > 1]
    if twice:
        raise InputRowsError(f"{name}: the first line names the column {twice[0]!r} twice")


def _json_records(path: Path, name: str) -> Generator[dict[str, Any], None, None]:
    """Yield the objects of a file of JSON lines."""
    with open_lines(path) as file:
        for number, line in enumerate(_lines(file, name), 1):
            if line.strip():
                yield _object(line, f"{name}, line {number}")


def _object(line: bytes, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise InputRowsError(f"{place}: not JSON: {exc}") from None
    if not isinstance(record, dict):
        raise InputRowsError(f"{place}: a record must be a JSON object, not {quoted(record)}")
    return record


def _lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    for block in read_blocks(file, longest=LONGEST_LINE):
        if block.is_too_long:
            raise InputRowsError(
                f"{name} has a line of more than {LONGEST_LINE // 1024**2} MiB, which is no row: "
                "is there one JSON object on each line?"
            )
        yield from block


# --- The first rows -----------------------------------------------------------------------------


async def _copy(source: Path, target: Path, limit: int) -> None:
    """Copy the first rows of a file of requests, byte for byte."""
    with closing(_copying(source, target, limit)) as copying:
        while not await off_loop(lambda: next(copying, True)):
            pass


def _copying(source: Path, target: Path, limit: int) -> Generator[bool, None, None]:
    """Copy rows; yield False now and then, so that a cancellation need not wait for the end."""
    with open_lines(source) as file, reported("write", str(target)), target.open("wb") as copy:
        lines = _first(_lines(file, str(source)), limit)
        while chunk := [*islice(lines, _CHUNK)]:
            copy.write(b"".join(chunk))
            yield False


def _first(lines: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield lines up to so many rows. Blank lines stay, so that errors name the right line."""
    for line in lines:
        yield line
        limit -= bool(line.strip())
        if not limit:
            return
