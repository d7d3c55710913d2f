"""The command of ``wait --exec``, which the shell runs for each job that has an outcome."""

import asyncio
import codecs
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from fireworks_batch.cli.display.board import Outcome
from fireworks_batch.cli.display.output import Output
from fireworks_batch.models.texts import visible

__all__ = ["OutcomeCommand"]

_PIECE: Final = 64 * 1024


class OutcomeCommand:
    """Runs a command once for each outcome, one at a time, in the order of the outcomes."""

    def __init__(
        self, command: str, output: Output, environment: Mapping[str, str], *, grace: float = 5.0
    ) -> None:
        """Run nothing yet.

        Args:
            command: The command, for the shell.
            output: Gets what the command writes, as messages: stdout is for data.
            environment: Further variables of the command's environment.
            grace: Seconds that a command has to end after SIGTERM, before SIGKILL.
        """
        self.has_failed = False
        """Whether the command could not be run, or has ended with another code than 0."""
        self._command = command
        self._output = output
        self._environment = environment
        self._grace = grace
        self._turn = asyncio.Lock()

    async def run(self, outcome: Outcome) -> None:
        """Run the command to its end. A failure is told, and kept in `has_failed`.

        If this task is cancelled, the command and the processes that it has started are ended.
        """
        named = f"--exec for {visible(outcome.job_id)}"
        try:
            async with self._turn:
                code = await self._run(outcome)
        except OSError as exc:
            self._tell(f"{named}: cannot run the shell: {exc.strerror}")
        except asyncio.CancelledError:
            self._output.talk(f"{named}: interrupted")
            raise
        else:
            if code:
                self._tell(f"{named}: {_words(code)}")

    def _tell(self, failure: str) -> None:
        self.has_failed = True
        self._output.talk(failure, "bold red")

    async def _run(self, outcome: Outcome) -> int:
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_shell(
                self._command,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                env={**os.environ, **self._environment, **_variables(outcome)},
                start_new_session=True,  # a Ctrl-C is for this process, which then ends the command
            )
        )
        try:
            # A start that is cancelled would leave what the shell has started by then.
            process = await asyncio.shield(starting)
            await self._relay(process)
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
                    await process.communicate()  # else its pipe would stay open

    async def _relay(self, process: Process) -> None:
        """Write the lines of a command as messages, until the command closes its output."""
        stream = process.stdout
        if stream is None:
            return
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        rest = ""
        while piece := await stream.read(_PIECE):
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
