"""The two streams: data goes to stdout, messages go to stderr."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from fireworks_batch.cli.display.advice import advise
from fireworks_batch.models.errors import LocalFileError
from fireworks_batch.models.texts import visible

__all__ = ["Output", "ReaderLeftError"]

_PIECE: Final = 256 * 1024


class ReaderLeftError(Exception):
    """The reader of stdout has left, as in ``... | head``."""


class Output:
    """Writes to the process's stdout and stderr; each may be a terminal, a file, or closed."""

    def __init__(self, *, as_json: bool, is_verbose: bool, connection: Sequence[str] = ()) -> None:
        """Take the streams as they are now.

        Args:
            as_json: Whether stdout gets JSON only.
            is_verbose: Whether the log is shown, which leaves no room for a live display.
            connection: The options that another command needs to reach the same account.
        """
        self.connection: tuple[str, ...] = tuple(connection)
        self.as_json = as_json
        self.tells_missing_jobs = False
        """Whether the command says which jobs the server does not know: the log need not."""
        self._stdout = _forgiving(sys.stdout)
        self._stderr = _forgiving(sys.stderr)
        self._is_verbose = is_verbose
        # rich's console while a live display is up; rich is imported only where it draws.
        self._live: Any = None

    # --- Data -----------------------------------------------------------------------------------

    @property
    def is_on_terminal(self) -> bool:
        """Whether stdout is a terminal."""
        return _is_terminal(self._stdout)

    @property
    def is_for_people(self) -> bool:
        """Whether stdout is a terminal, and gets no JSON."""
        return not self.as_json and self.is_on_terminal

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return shutil.get_terminal_size().columns

    def line(self, text: str) -> None:
        """Write one line of data, at once.

        Raises:
            ReaderLeftError: The reader has left.
            LocalFileError: Stdout cannot be written: the disk is full, say.
        """
        if self._stdout is None:
            return
        with self._reported():
            self._stdout.write(text + "\n")
            self._stdout.flush()

    def fields(self, *values: object) -> None:
        """Write one line of fields with tabs between them, for ``cut`` and ``awk``."""
        self.line("\t".join(visible(str(value)) for value in values))

    def record(self, members: Mapping[str, Any]) -> None:
        """Write one JSON object on a line."""
        self.line(json.dumps(members))

    def copy(self, path: Path) -> None:
        """Write a file's bytes, as they are.

        Raises:
            ReaderLeftError: The reader has left.
            LocalFileError: Stdout cannot be written: the disk is full, say.
        """
        if self._stdout is None:
            return
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                self.write(piece)

    def write(self, data: bytes) -> None:
        """Write bytes as they are.

        Raises:
            ReaderLeftError: The reader has left.
            LocalFileError: Stdout cannot be written: the disk is full, say.
        """
        stdout = self._stdout
        if stdout is None:
            return
        with self._reported():
            stdout.flush()
            raw = getattr(stdout, "buffer", None)
            if raw is None:
                stdout.write(data.decode(errors="backslashreplace"))
            else:
                raw.write(data)
                raw.flush()

    def picture(self, renderable: Any) -> None:
        """Draw a renderable of rich on stdout, which is a terminal."""
        from rich.console import Console

        with self._reported():
            Console(file=self._stdout).print(renderable)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Raise an error that names stdout, and drop what cannot be written."""
        try:
            yield
        except BrokenPipeError:
            raise ReaderLeftError from None
        except OSError as exc:
            self.abandon_stdout()
            reason = exc.strerror or str(exc)
            raise LocalFileError(f"cannot write to stdout: {reason}", errno=exc.errno) from None

    # --- Talk -----------------------------------------------------------------------------------

    @property
    def can_be_live(self) -> bool:
        """Whether progress can be drawn: stderr is a terminal, and shows nothing else."""
        is_dumb = os.environ.get("TERM", "").lower() in {"dumb", "unknown"}
        return not (self.as_json or self._is_verbose or is_dumb) and _is_terminal(self._stderr)

    @property
    def is_live(self) -> bool:
        """Whether a live display is up."""
        return self._live is not None

    @property
    def is_heard(self) -> bool:
        """Whether stderr is a terminal."""
        return _is_terminal(self._stderr)

    def talk(self, text: str, style: str = "") -> None:
        """Write a message to stderr; above the live display, if there is one."""
        if self._stderr is None:
            return
        with contextlib.suppress(OSError):  # the reader has left
            if self._live is None and not _is_terminal(self._stderr):
                self._stderr.write(text + "\n")
                self._stderr.flush()
            else:
                self._speak(text, style)

    def explain(self, error: BaseException, *, job_id: str | None = None) -> None:
        """Write an error and the advice about it to stderr.

        Args:
            error: The error.
            job_id: The job that the error is about, if the error itself need not name it.
        """
        advice = advise(error, self.connection, job_id=job_id)
        self.talk(f"error: {advice.problem}", "bold red")
        for hint in advice.hints:
            self.talk(f"  {hint}")

    @contextlib.contextmanager
    def live(self) -> Any:
        """Lend the console on stderr to a live display."""
        self._live = self._console()
        try:
            yield self._live
        finally:
            self._live = None

    def _speak(self, text: str, style: str) -> None:
        from rich.text import Text

        # Soft wrap: the terminal breaks lines, so that a command can be copied in one piece.
        (self._live or self._console()).print(Text(text, style), soft_wrap=True)

    def _console(self) -> Any:
        from rich.console import Console

        return Console(file=self._stderr)

    # --- The end --------------------------------------------------------------------------------

    def abandon_stdout(self) -> None:
        """Drop what is still in the buffer of stdout, which cannot be written."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def _forgiving(stream: TextIO | None) -> TextIO | None:
    """Return a stream that escapes characters its encoding lacks; None if it is closed."""
    if stream is None or stream.closed:
        return None
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return stream


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
