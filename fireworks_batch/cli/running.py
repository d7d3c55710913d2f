"""Run one command to its end: a client, the signals, and what becomes of errors."""

import asyncio
import contextlib
import logging
import os
import traceback
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import attrs

from fireworks_batch import BatchClient, PollPolicy
from fireworks_batch.cli.exit_codes import ExitCode, code_of_error
from fireworks_batch.cli.figures import visible
from fireworks_batch.cli.interrupts import InterruptedByUserError, Interrupts
from fireworks_batch.cli.output import Output, ReaderLeftError
from fireworks_batch.connection.configuration import Environment, read_time_scale
from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.policies import scaled

__all__ = ["Options", "Session", "run"]

# For commands that send nothing.
_NO_KEY: Final = "none"


class Options(Protocol):
    """What all commands may be told."""

    @property
    def api_key_file(self) -> Path | None:
        """The file that holds the key."""
        ...

    @property
    def account(self) -> str | None:
        """The account's id."""
        ...

    @property
    def base_url(self) -> str | None:
        """The API."""
        ...

    @property
    def json(self) -> bool:
        """Whether stdout gets JSON."""
        ...

    @property
    def debug(self) -> bool:
        """Whether log and tracebacks are shown."""
        ...


@attrs.frozen(kw_only=True)
class Session:
    """What a command works with."""

    client: BatchClient
    """The client, which ends with the command."""

    output: Output
    """Where words go."""

    interrupts: Interrupts
    """The guard of what may be interrupted with more than a farewell."""


Work = Callable[[Session], Coroutine[Any, Any, ExitCode]]


def run(
    options: Options,
    work: Work,
    *,
    poll: Callable[[PollPolicy], PollPolicy] | None = None,
    needs_key: bool = True,
) -> ExitCode:
    """Run a command, and return its exit code; whatever goes wrong is told on stderr.

    Args:
        options: What all commands may be told.
        work: The command.
        poll: Makes the client's poll policy from the default one.
        needs_key: Whether the command sends anything.
    """
    output = Output(as_json=options.json, is_verbose=options.debug, connection=_connection(options))
    try:
        interrupts = Interrupts()
        with _shown_log(output, interrupts, is_verbose=options.debug):
            return asyncio.run(
                _in_session(
                    work,
                    lambda: _client(options, poll, needs_key=needs_key),
                    output=output,
                    interrupts=interrupts,
                )
            )
    except ReaderLeftError:
        output.abandon_stdout()
        return ExitCode.READER_LEFT
    except (InterruptedByUserError, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except Exception as exc:  # noqa: BLE001 - the end of the line: nobody else would tell
        error = _single(exc)
        if options.debug:
            output.talk("".join(traceback.format_exception(error)).rstrip())
        output.explain(error)
        return code_of_error(error)


async def _in_session(
    work: Work, make_client: Callable[[], BatchClient], *, interrupts: Interrupts, **others: Any
) -> ExitCode:
    with interrupts.installed():
        async with make_client() as client:
            session = Session(client=client, interrupts=interrupts, **others)
            return await interrupts.guard(work(session))


def _connection(options: Options) -> tuple[str, ...]:
    """Return the options that say whom to talk to, but for those that the environment says."""
    given = {
        "--api-key-file": ("FIREWORKS_API_KEY_FILE", options.api_key_file),
        "--account": ("FIREWORKS_ACCOUNT_ID", options.account),
        "--base-url": ("FIREWORKS_BASE_URL", options.base_url),
    }
    return tuple(
        word
        for option, (variable, value) in given.items()
        if value and str(value) != os.environ.get(variable)
        for word in (option, str(value))
    )


def _client(
    options: Options, poll: Callable[[PollPolicy], PollPolicy] | None, *, needs_key: bool
) -> BatchClient:
    key_file = options.api_key_file
    key = _NO_KEY if not needs_key else None if key_file is None else _key_reader(key_file)
    default = scaled(PollPolicy(), read_time_scale(Environment(os.environ)))
    return BatchClient(
        api_key=key,
        account_id=options.account or None,
        base_url=options.base_url or None,
        poll=poll(default) if poll else None,
    )


def _key_reader(path: Path) -> Callable[[], str]:
    """Return a function that reads the key anew each time: it may be renewed meanwhile."""

    def read() -> str:
        return path.read_text(encoding="utf-8").strip()

    if not read():
        raise ConfigurationError(f"{path} is empty; it should hold the API key")
    return read


def _single(error: Exception) -> Exception:
    """Return the first error of a group; the others were cancelled on its account."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


# --- The log ------------------------------------------------------------------------------------


class _Teller(logging.Handler):
    """Tells the log on stderr."""

    def __init__(self, output: Output, interrupts: Interrupts, *, is_verbose: bool) -> None:
        super().__init__(logging.DEBUG if is_verbose else logging.WARNING)
        self._output = output
        self._interrupts = interrupts
        self._is_verbose = is_verbose

    def emit(self, record: logging.LogRecord) -> None:
        text = visible(record.getMessage())
        if self._is_verbose:
            self._output.talk(f"{record.levelname} {record.name}: {text}")
        elif not self._is_told(record):
            self._output.talk(f"{record.levelname.lower()}: {text}", "yellow")

    def _is_told(self, record: logging.LogRecord) -> bool:
        """Return whether people hear of it anyhow."""
        if record.name == "fireworks_batch.wait" and hasattr(record, "fireworks_job"):
            return self._output.is_live  # what is drawn has the lost looks
        if record.name != "fireworks_batch.run":
            return False
        # Who is interrupted says what becomes of the jobs, with commands. A job of which a state
        # is known is one that had ended before: in the end there is a line about those.
        return self._interrupts.are_told or hasattr(record, "fireworks_state")


@contextlib.contextmanager
def _shown_log(output: Output, interrupts: Interrupts, *, is_verbose: bool) -> Iterator[None]:
    logger = logging.getLogger("fireworks_batch")
    teller = _Teller(output, interrupts, is_verbose=is_verbose)
    level = logger.level
    logger.addHandler(teller)
    if is_verbose:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(teller)
        logger.setLevel(level)
