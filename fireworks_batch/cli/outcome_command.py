"""The command of ``wait --exec``, which the shell runs for each job that has an outcome."""

import asyncio
import codecs
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from fireworks_batch.cli.display.board import Outcome
from fireworks_batch.cli.display.output import Output
from fireworks_batch.files.threads import off_loop
from fireworks_batch.files.workspace import workspace
from fireworks_batch.models.texts import visible

__all__ = ["OutcomeCommand"]

_PIECE: Final = 64 * 1024


class OutcomeCommand:
    """Runs a command once for each outcome, one at a time, in the order of the outcomes."""

    def __init__(
        self,
        command: str | None,
        output: Output,
        environment: Mapping[str, str],
        *,
        grace: float = 5.0,
    ) -> None:
        """Run nothing yet.

        Args:
            command: The command, for the shell. None to run nothing at all.
            output: Gets what the command writes, as messages: stdout is for data.
            environment: Further variables of the command's environment.
            grace: Seconds that a command has to end after SIGTERM, before SIGKILL.
        """
        self.has_failed: bool = False
        """Whether the command could not be run, or has ended with another code than 0."""
        self._command = command
        self._output = output
        self._environment = environment
        self._grace = grace
        self._outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._open: dict[str, None] = {}

    def add(self, outcome: Outcome) -> None:
        """Have the command run for an outcome."""
        if self._command is not None:
            self._open[visible(outcome.job_id)] = None
            self._outcomes.put_nowait(outcome)

    def close(self) -> None:
        """Take no more outcomes: `run` ends when the command has run for those that were added."""
        self._outcomes.put_nowait(None)

    async def run(self) -> None:
        """Run the command for each outcome. A failure is told, and kept in `has_failed`.

        If this task is cancelled, the command and the processes that it has started are ended, and
        the jobs are named for which it has not run to its end.
        """
        try:
            while (outcome := await self._outcomes.get()) is not None:
                await self._run_for(outcome)
                del self._open[visible(outcome.job_id)]
        except asyncio.CancelledError:
            for job_id in self._open:
                self._output.talk(f"--exec for {job_id}: interrupted")
            raise

    async def _run_for(self, outcome: Outcome) -> None:
        named = f"--exec for {visible(outcome.job_id)}"
        try:
            code = await self._code(outcome)
        except OSError as exc:
            self._tell(f"{named}: cannot run the shell: {exc.strerror or exc}")
        else:
            if code:
                self._tell(f"{named}: {_words(code)}")

    def _tell(self, failure: str) -> None:
        self.has_failed = True
        self._output.talk(failure, "bold red")

    async def _code(self, outcome: Outcome) -> int:
        # A file and no pipe: what the command leaves in the background may hold a pipe for ever.
        async with workspace() as space:
            path = space.path / "output"
            with await off_loop(path.open, "wb") as file:
                try:
                    return await self._run_shell(file, outcome)
                finally:
                    await self._relay(path)

    async def _run_shell(self, file: IO[bytes], outcome: Outcome) -> int:
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_shell(
                self._command or "",
                stdin=DEVNULL,
                stdout=file,
                stderr=STDOUT,
                env={**os.environ, **self._environment, **_variables(outcome)},
                start_new_session=True,  # a Ctrl-C is for this process, which then ends the command
            )
        )
        try:
            # A start that is cancelled would leave what the shell has started by then.
            process = await asyncio.shield(starting)
            return await process.wait()
        except asyncio.CancelledError:
            await self._end(await starting)
            raise

    async def _end(self, process: Process) -> None:
        """End a command and what it has started; by force after the grace, or if cancelled."""
        for force in (False, True):
            _signal(process, force=force)
            with suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(self._grace):
                    await process.wait()

    async def _relay(self, path: Path) -> None:
        """Write what a command has written so far as messages, line by line."""
        left = (await off_loop(path.stat)).st_size
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        rest = ""
        with await off_loop(path.open, "rb") as file:
            while piece := await off_loop(file.read, min(left, _PIECE)):
                left -= len(piece)
                *lines, rest = (rest + decode(piece)).split("\n")
                if len(rest) > _PIECE:
                    lines, rest = [*lines, rest], ""
                for line in lines:
                    self._say(line)
        if rest:
            self._say(rest)

    def _say(self, line: str) -> None:
        self._output.talk(visible(line.rstrip("\r").expandtabs()))


def _variables(outcome: Outcome) -> dict[str, str]:
    """Return what the command is told of an outcome."""
    state = "" if outcome.job is None else str(outcome.job.state)
    return {
        "FIREWORKS_BATCH_JOB": visible(outcome.job_id),
        "FIREWORKS_BATCH_STATE": visible(state),
        "FIREWORKS_BATCH_EXIT_CODE": str(int(outcome.code)),
    }


def _words(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"ended by signal {-code}"


if sys.platform == "win32":

    def _signal(process: Process, *, force: bool) -> None:  # noqa: ARG001 - there is one way
        with suppress(ProcessLookupError):
            process.kill()

else:

    def _signal(process: Process, *, force: bool) -> None:
        # The process leads a group of its own, in which its children are.
        with suppress(ProcessLookupError, PermissionError):  # macOS has the second for the first
            os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)
