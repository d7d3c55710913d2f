"""The work of a job on uploaded rows: find, process and count rows, and write the output."""

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
"""The number of rows after which other tasks of the loop have their turn."""


class RowSource:
    """Knows the position of each row in some files, after a scan."""

    def __init__(self, files: Mapping[str, StoredFile]) -> None:
        self._files: Sequence[tuple[str, StoredFile]] = list(files.items())
        self._owners, self._starts, self._sizes = array("L"), array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self._starts)

    async def scan(self, rules: Assumptions) -> None:
        """Check every row, and remember its position.

        Raises:
            InvalidRowError: A row is bad. The text names its file and line.
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
        """Open the files for a ``with``. Its value is a function that reads a row by number."""
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
    """The numbers of processed rows and their tokens so far."""

    succeeded: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    @property
    def processed(self) -> int:
        """The number of processed rows."""
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

        declared: The ``exampleCount`` of the input dataset.

        job: The members of the job that the client has set.

        rules: The positions of the switches.

        seed: Determines the order of the rows.

        created: The Unix time in the responses.

        before: The work of the job that this job continues; None if there is none. Only rows that
            have not succeeded there are processed.
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
        """The number of rows; 0 before the scan."""
        return len(self._order)

    @property
    def total(self) -> int:
        """The number of rows that the job shows."""
        return self._declared if self.before is None else len(self._order)

    async def scan(self) -> None:
        """Check all rows, and choose the order in which they are processed.

        Raises:
            InvalidRowError: A bad row makes the job fail.

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
        """Process rows until *count* rows are done.

        Args:
            count: The number of rows to be done, including the rows that are done already.

            responder: Answers the rows.

            files: The store for the output.

            failed_rows: The number of rows that fail by the job's script, spread evenly.

            scripts: The scripts that make other rows fail.

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
        """Return the output files, with the rows that were processed."""
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
    """Return *order* shuffled, so that it differs if it has two numbers or more."""
    changed = list(order)
    Random(seed).shuffle(changed)
    return changed if changed != order else changed[1:] + changed[:1]


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
