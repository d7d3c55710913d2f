"""The rows of a job and the work on them: find, process, count, and write the output."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any, Final, TypeAlias

import attrs

from fireworks_batch.emulator.assumptions import Assumptions
from fireworks_batch.emulator.files import FileStore, FileWriter, StoredFile
from fireworks_batch.emulator.jobs.responder import Responder, failure_line, respond, success_line
from fireworks_batch.emulator.jobs.rows import InvalidRowError, RowCheck, RowFailureError, RowReader
from fireworks_batch.emulator.jobs.scripts import RowBook

RESULTS: Final = "BIJOutputSet.jsonl"
ERRORS: Final = "error-data"
_UNFINISHED, _SUCCEEDED, _FAILED = range(3)

ReadLine: TypeAlias = Callable[[int], bytes]
SLICE: Final = 200
"""How many rows are handled before others have their turn on the loop."""


class RowSource:
    """Knows where each row of some files lies, once they were scanned."""

    def __init__(self, files: Mapping[str, StoredFile]) -> None:
        self._files: Sequence[tuple[str, StoredFile]] = list(files.items())
        self._owners, self._starts, self._sizes = array("L"), array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self._starts)

    async def scan(self, rules: Assumptions) -> None:
        """Check every row and remember its place.

        Raises:
            InvalidRowError: A row is bad; the text names its file and line.
        """
        owners, starts, sizes = array("L"), array("Q"), array("Q")
        check, first = RowCheck(rules), 1 if rules.line_numbers == "right" else 0
        for owner, (name, file) in enumerate(self._files):
            start = 0
            for number, line in enumerate(file.lines(), first):
                if number % SLICE == 0:
                    await asyncio.sleep(0)
                if _is_row(check, line, f"{name}:{number}"):
                    owners.append(owner)
                    starts.append(start)
                    sizes.append(len(line))
                start += len(line)
        self._owners, self._starts, self._sizes = owners, starts, sizes

    @contextmanager
    def reading(self) -> Iterator[ReadLine]:
        """Open the files; gives a function that reads a row's line by its number."""
        with ExitStack() as stack:
            files = [stack.enter_context(file.path.open("rb")) for _, file in self._files]

            def read(number: int) -> bytes:
                file = files[self._owners[number]]
                file.seek(self._starts[number])
                return file.read(self._sizes[number])

            yield read


def _is_row(check: RowCheck, line: bytes, place: str) -> bool:
    try:
        return check.is_row(line)
    except InvalidRowError as error:
        raise InvalidRowError(
            f"Dataset has a syntax error: chat dataset validation failed on {place}: {error}"
        ) from None


@attrs.define(slots=True)
class Counters:
    """How many rows were processed so far, and their tokens."""

    succeeded: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    @property
    def processed(self) -> int:
        """How many rows were processed."""
        return self.succeeded + self.failed

    def add(self, response: Mapping[str, Any]) -> None:
        """Count a row that succeeded."""
        self.succeeded += 1
        usage = response.get("usage")
        if isinstance(usage, Mapping):
            self.input_tokens += _count(usage.get("prompt_tokens"))
            self.output_tokens += _count(usage.get("completion_tokens"))
            details = usage.get("prompt_tokens_details")
            if isinstance(details, Mapping):
                self.cached_tokens += _count(details.get("cached_tokens"))


class Work:
    """The rows of one job, in the order in which they are processed, and their output.

    Args:
        source: The rows.

        declared: How many the dataset was said to have.

        created: The Unix time that its responses bear.

        before: The work that this one goes on with: only what it has not done is done.
    """

    def __init__(
        self,
        source: RowSource,
        *,
        declared: int,
        job: Mapping[str, object],
        rules: Assumptions,
        seed: int,
        created: int,
        before: Work | None = None,
    ) -> None:
        self.counters: Counters = Counters()
        self.before = before
        self.is_scanned: bool = False
        self.is_finished: bool = False
        self._source = source
        self._declared = declared
        self._rules = rules
        self._seed = seed
        self._created = created
        self._reader = RowReader(job, rules)
        self._order: list[int] = []
        self._states = bytearray()
        self._results: FileWriter | None = None
        self._errors: FileWriter | None = None

    @property
    def rows(self) -> int:
        """How many rows it has; 0 until it was scanned."""
        return len(self._order)

    @property
    def total(self) -> int:
        """How many rows the job says that it has."""
        return self._declared if self.before is None else len(self._order)

    async def scan(self) -> None:
        """Check all rows, and choose the order in which they are processed.

        Raises:
            InvalidRowError: A row is bad, for which the job fails.

            FileNotFoundError: A file was removed.
        """
        before = self.before
        if before is not None and before.is_scanned:
            self._source = before._source  # noqa: SLF001  # of the same class
            states = before._states  # noqa: SLF001
            self._order = [n for n in range(len(states)) if states[n] != _SUCCEEDED]
            self._states = bytearray(states)
        else:
            await self._source.scan(self._rules)
            self._order = list(range(len(self._source)))
            self._states = bytearray(len(self._source))
        if self._rules.row_order == "shuffled":
            self._order = shuffled(self._order, self._seed)
        self.is_scanned = True

    async def advance(
        self,
        count: int,
        responder: Responder,
        files: FileStore,
        *,
        failed_rows: int = 0,
        scripts: RowBook,
    ) -> None:
        """Process rows until *count* of them are done.

        Args:
            count: How many rows are to be done.

            responder: Answers the rows.

            files: Where the output is written.

            failed_rows: How many of all rows fail whatever they are, spread evenly.

            scripts: Say which other rows fail.

        Raises:
            FileNotFoundError: A file was removed.
        """
        if self._results is None or self._errors is None:
            self._results, self._errors = files.create(), files.create()
        try:
            with self._source.reading() as read:
                while (done := self.counters.processed) < min(count, self.rows):
                    number, failed = self._order[done], min(failed_rows, self.rows)
                    fails = (done + 1) * failed // self.rows > done * failed // self.rows
                    await self._process(
                        number, read(number), _fail if fails else responder, scripts
                    )
                    if done % SLICE == 0:
                        await asyncio.sleep(0)
        finally:
            self._results.pause()
            self._errors.pause()

    def finish(self, files: FileStore) -> dict[str, StoredFile]:
        """Return the output files, of the rows that were processed."""
        self.is_finished = True
        results, errors = self._results or files.create(), self._errors or files.create()
        if not errors.size and self._rules.error_file == "when_needed":
            return {RESULTS: results.finish()}
        return {RESULTS: results.finish(), ERRORS: errors.finish()}

    async def _process(
        self, number: int, line: bytes, responder: Responder, scripts: RowBook
    ) -> None:
        if self._results is None or self._errors is None:
            return
        row = self._reader.read(line)
        try:
            body = self._reader.complete(row)
            scripts.strike(row.custom_id)
            response = await respond(responder, row.custom_id, body, self._created)
            written = success_line(row.custom_id, response, self._rules)
        except RowFailureError as failure:
            self._errors.write(failure_line(row.custom_id, failure, self._rules))
            self._states[number] = _FAILED
            self.counters.failed += 1
        else:
            self._results.write(written)
            self._states[number] = _SUCCEEDED
            self.counters.add(response)


def _fail(_: str, __: Mapping[str, Any]) -> RowFailureError:
    return RowFailureError("the row fails by the job's script", 500)


def shuffled(order: list[int], seed: int) -> list[int]:
    """Shuffle, and be sure that it shows."""
    changed = list(order)
    Random(seed).shuffle(changed)
    return changed if changed != order else changed[1:] + changed[:1]


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
