"""The command line ``fireworks-batch``.

Help, and completion in a shell, load only `app` and `options`. A command loads its function and
the library when it is called.
"""

import contextlib
import os
import sys
from typing import Any, Final

__all__ = ["PROGRAM", "main"]

PROGRAM: Final = "fireworks-batch"
"""The name of the command."""

_NEEDED: Final = {"typer", "rich"}
_ADVICE: Final = f"""\
{PROGRAM} needs {{missing}}, which is not installed: its packages are an extra.
  try: pip install '{PROGRAM}[cli]'
"""


def main() -> None:
    """Run the command line, and exit with its code.

    The code is 2 if a package is missing, 141 if the reader of a help has left, and 1 if the output
    cannot be written for another reason, such as a full disk.
    """
    try:
        try:
            _run()
        finally:
            _flush()
    except ModuleNotFoundError as exc:
        if exc.name not in _NEEDED:
            raise
        sys.stderr.write(_ADVICE.format(missing=exc.name))
        sys.exit(2)
    except KeyboardInterrupt:  # before a command has begun
        sys.exit(130)
    except BrokenPipeError:  # the reader of the help has left
        sys.exit(141)
    except OSError as exc:  # the help cannot be written; a command reports its own errors
        with contextlib.suppress(OSError, AttributeError):
            sys.stderr.write(f"error: cannot write to stdout: {exc.strerror}\n")
        sys.exit(1)


def _run() -> None:
    from fireworks_batch.cli.app import app

    try:
        app(prog_name=PROGRAM)
    except SystemExit as exc:
        if isinstance(exc.__context__, BrokenPipeError):  # typer makes 1 of it
            raise exc.__context__ from None
        raise


def _flush() -> None:
    """Flush the streams: Python would exit with 120 if it could not do so at its end.

    Raises:
        OSError: Stdout cannot be written. The content of its buffer is dropped.
    """
    _flushed(sys.stderr)  # a failure of stderr cannot be reported anywhere
    failure = _flushed(sys.stdout)
    if failure is not None:
        raise failure


def _flushed(stream: Any) -> OSError | None:
    """Flush a stream, which is None if it is closed; if that fails, drop the content."""
    if stream is None:
        return None
    try:
        stream.flush()
    except OSError as exc:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return exc
    return None
