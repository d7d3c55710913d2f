"""From requests in any form to the files of jobs: check, count and split, without holding the loop.

All work on files is done in threads, a slice at a time. An iterable of the caller is read on the
event loop, a few milliseconds at a time.
"""

import asyncio
import dataclasses
import math
import os
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import attrs
import orjson

from fireworks_batch.files.lines import check_path
from fireworks_batch.files.threads import off_loop, reported, write_all
from fireworks_batch.files.workspace import workspace
from fireworks_batch.models.errors import ConfigurationError, RowProblem
from fireworks_batch.results.id_sets import Suspects
from fireworks_batch.results.index import ResultIndex
from fireworks_batch.runs.contents import JobDefaults, RowContents
from fireworks_batch.runs.progress import CheckReport, JobPlan
from fireworks_batch.runs.request_rows import RowRules
from fireworks_batch.runs.scan import Scan, ScanTerms
from fireworks_batch.runs.shards import ShardFile
from fireworks_batch.runs.spec import RunOptions

__all__ = [
    "Prepared",
    "Requests",
    "Spooled",
    "check_report",
    "check_requests",
    "json_line",
    "prepare",
    "prepare_requests",
    "spool",
]


Requests: TypeAlias = (
    str | os.PathLike[str] | Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
)
"""The path of a file (``.jsonl``, ``.jsonl.gz``), or an iterable of mappings, sync or async."""


# Blocks that a thread reads in one step: some 30 ms of work, so that a cancellation is never slow.
_SLICE: Final = 16


# Seconds for which an iterable is read before other tasks of the loop have their turn.
_TURN: Final = 0.005


# Mappings in memory at a time. One mapping may hold a picture of a megabyte.
_CHUNK: Final = 100


@attrs.frozen(kw_only=True)
class Prepared:
    """Requests that were checked, ready to be sent."""

    shards: tuple[ShardFile, ...]
    """The input of each job."""

    problems: tuple[RowProblem, ...]
    """The first bad rows, in the order of the input."""

    problem_count: int
    """The number of all bad rows."""

    blank_lines: int
    """The number of lines without a row. They were left out."""

    rows_without_cache_key: int = 0
    """The number of good rows that lack a cache key."""

    content: RowContents = RowContents()  # noqa: RUF009 - frozen
    """What the good rows hold; zeros if that is not counted."""

    @property
    def rows(self) -> int:
        """The number of good rows."""
        return sum(shard.rows for shard in self.shards)


async def prepare(terms: ScanTerms, index: ResultIndex | None = None) -> Prepared:
    """Check a file of requests, and write the files of its shards where they are needed.

    Args:
        terms: How to read the file.
        index: Gets the ids of the good rows; None if the ids are not needed.

    Raises:
        ConfigurationError: The file cannot be read.
        InputRowsError: The file is damaged. Bad rows do not raise an error here.
    """
    if index is not None:
        terms = attrs.evolve(terms, on_ids=index.expect)
    scan = await _pass(terms)
    suspects = await off_loop(scan.ids.duplicates)
    if len(suspects):
        # Equal hashes do not prove that two ids are equal: another pass compares the ids.
        del scan
        if index is not None:
            await off_loop(index.expect_none)
        scan = await _pass(terms, suspects)
    return Prepared(
        shards=scan.shards,
        problems=tuple(scan.problems),
        problem_count=scan.problem_count,
        blank_lines=scan.blank_lines,
        rows_without_cache_key=scan.rows_without_cache_key,
        content=scan.content,
    )


async def _pass(terms: ScanTerms, suspects: Suspects | None = None) -> Scan:
    scan = await off_loop(Scan, terms, suspects, undo=Scan.close)
    try:
        while await off_loop(_advance, scan, terms.directory, stop=scan.stop):
            pass
    finally:
        await off_loop(scan.close)
    return scan


def _advance(scan: Scan, directory: Path) -> bool:
    with reported("write", str(directory)):
        return all(scan.advance() for _ in range(_SLICE))


# --- Requests that are no file ------------------------------------------------------------------


@attrs.frozen
class Spooled:
    """Requests as a file."""

    path: Path
    """The caller's own file, or the file that the mappings were written to."""

    problems: tuple[RowProblem, ...] = ()
    """The first mappings that cannot be written as JSON. The file has blank lines instead."""

    problem_count: int = 0
    """The number of all mappings that cannot be written."""


async def spool(requests: Requests, path: Path, *, most_problems: int = 100) -> Spooled:
    """Return requests as a file. Mappings are written to a new file.

    Args:
        requests: The path of the caller's file, or an iterable of mappings.
        path: The new file for mappings, one on each line.
        most_problems: The most mappings to name that cannot be written. All of them are counted.

    Raises:
        ConfigurationError: The requests are neither a path nor mappings, or there is no such file.
        LocalFileError: The new file cannot be written.
    """
    if isinstance(requests, str | os.PathLike):
        return Spooled(await off_loop(check_path, Path(requests)))
    items = _items(requests)
    problems: list[RowProblem] = []
    written = count = 0
    with reported("write", str(path)):
        file = await off_loop(lambda: path.open("wb", buffering=0), undo=_close)
    try:
        async with aclosing(items), aclosing(_chunks(items)) as chunks:
            async for chunk in chunks:
                found = await off_loop(_write, file, chunk, written + 1)
                problems += found[: most_problems - len(problems)]
                count += len(found)
                written += len(chunk)
    finally:
        await off_loop(file.close)
    return Spooled(path, tuple(problems), count)


def _close(file: IO[bytes]) -> None:
    file.close()


def _items(requests: Any) -> AsyncGenerator[Any, None]:
    is_iterable = isinstance(requests, Iterable | AsyncIterable)
    if not is_iterable or isinstance(requests, Mapping | bytes | bytearray):
        raise ConfigurationError(
            "requests must be the path of a .jsonl file, or an iterable of mappings, "
            f"not {type(requests).__name__}"
        )
    return _asked(requests) if isinstance(requests, AsyncIterable) else _in_turns(requests)


async def _asked(requests: AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    """Yield the items of an async iterable. Close a generator: no other code can go on with it."""
    try:
        async for item in requests:
            yield item
    finally:
        if isinstance(requests, AsyncGenerator):
            await requests.aclose()


async def _in_turns(requests: Iterable[Any]) -> AsyncGenerator[Any, None]:
    """Yield the items of a plain iterable, and let other tasks have their turn now and then."""
    since = time.perf_counter()
    try:
        for item in requests:
            yield item
            if time.perf_counter() - since > _TURN:
                await asyncio.sleep(0)
                since = time.perf_counter()
    finally:
        if isinstance(requests, Generator):
            requests.close()


async def _chunks(items: AsyncIterable[Any]) -> AsyncGenerator[list[Any], None]:
    chunk: list[Any] = []
    async for item in items:
        chunk.append(item)
        if len(chunk) >= _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _write(file: IO[bytes], chunk: list[Any], first: int) -> list[RowProblem]:
    problems: list[RowProblem] = []
    lines: list[bytes] = []
    for number, item in enumerate(chunk, first):
        try:
            lines.append(json_line(item))
        except (TypeError, ValueError) as exc:
            lines.append(b"")
            reason = f"cannot be written as JSON: {exc}"
            custom_id = item.get("custom_id") if isinstance(item, Mapping) else None
            named = custom_id if isinstance(custom_id, str) else None
            problems.append(RowProblem(number, named, reason))
    with reported("write", file.name):
        write_all(file, b"".join(line + b"\n" for line in lines))
    return problems


def json_line(item: object) -> bytes:
    """Return a row as one line of JSON, without a line end.

    Raises:
        TypeError: A value is no JSON.
        ValueError: A number is not finite.
    """
    line = orjson.dumps(item, default=_as_dict)
    # orjson writes null for NaN and Infinity: the caller would not learn that null was sent.
    if b"null" in line:
        _check_numbers(item)
    return line


def _check_numbers(value: object) -> None:
    """Refuse numbers that JSON does not have, at any depth that orjson writes."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON number")
    members: Iterable[object] = ()
    if isinstance(value, Mapping):
        members = value.values()
    elif isinstance(value, list | tuple):
        members = value
    elif dataclasses.is_dataclass(value):
        members = (getattr(value, field.name, None) for field in dataclasses.fields(value))
    for member in members:
        _check_numbers(member)


def _as_dict(value: object) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


async def check_requests(
    requests: Requests, rules: RowRules, options: RunOptions, defaults: JobDefaults
) -> CheckReport:
    """Check requests, and send nothing; see `BatchClient.check`."""
    async with workspace() as space:
        prepared = await prepare_requests(
            requests, rules, options, space.path, write=False, defaults=defaults
        )
    return check_report(prepared, rules.model)


def check_report(prepared: Prepared, model: str | None) -> CheckReport:
    """Return the report on requests that were checked.

    Args:
        prepared: The requests, whose contents were counted.
        model: The resource name of the job's model; None if it is not known.
    """
    plans = [
        JobPlan(
            rows=shard.rows,
            bytes=shard.bytes,
            first_line=shard.first_line,
            last_line=shard.last_line,
        )
        for shard in prepared.shards
    ]
    return CheckReport(
        model=model,
        rows=prepared.rows,
        bytes=sum(plan.bytes for plan in plans),
        jobs=tuple(plans),
        problems=prepared.problems,
        problem_count=prepared.problem_count,
        blank_lines=prepared.blank_lines,
        remarks=tuple(_remarks(prepared)),
        content=prepared.content,
    )


def _remarks(prepared: Prepared) -> Iterator[str]:
    count = prepared.rows_without_cache_key
    if count:
        yield (
            f"{count} {'row has' if count == 1 else 'rows have'} prompt_token_ids and neither user "
            "nor prompt_cache_key: rows that share a prompt have no cache affinity then"
        )


async def prepare_requests(
    requests: Requests,
    rules: RowRules,
    options: RunOptions,
    directory: Path,
    *,
    index: ResultIndex | None = None,
    write: bool = True,
    defaults: JobDefaults | None = None,
) -> Prepared:
    """Check requests of any form, and write the files of their shards where they are needed.

    Args:
        requests: The path of a file, or an iterable of mappings.
        rules: The settings of the jobs that rows must not contradict.
        options: The limits of a job, and what to do about bad rows.
        directory: An existing directory for the files.
        index: Gets the ids of the good rows; None if the ids are not needed.
        write: Whether the files are needed; otherwise only their sizes are.
        defaults: What the job says for rows that do not. None if the contents of rows are not
            counted.

    Returns:
        The shards, and the bad rows. A mapping that cannot be written as JSON is a bad row.

    Raises:
        ConfigurationError: The requests are neither a path nor mappings, or there is no such file.
        InputRowsError: The file is damaged. Bad rows do not raise an error here.
        LocalFileError: A file cannot be written.
    """
    most_problems = options.max_problems
    spooled = await spool(requests, directory / "requests.jsonl", most_problems=most_problems)
    prepared = await prepare(
        ScanTerms(
            path=spooled.path,
            rules=rules,
            limits=options.limits,
            directory=directory,
            skip_bad=options.skips_bad_rows,
            write=write,
            most_problems=most_problems,
            defaults=defaults,
        ),
        index,
    )
    problems = sorted([*prepared.problems, *spooled.problems], key=lambda problem: problem.line)
    return attrs.evolve(
        prepared,
        problems=tuple(problems[:most_problems]),
        problem_count=prepared.problem_count + spooled.problem_count,
        blank_lines=prepared.blank_lines - spooled.problem_count,
    )
