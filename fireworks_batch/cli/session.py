"""One command from its start to its exit code: the client, the signals, the log, the errors."""

import asyncio
import contextlib
import logging
import os
import traceback
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from fireworks_batch import BatchClient, PollPolicy
from fireworks_batch.cli.display.output import Output, ReaderLeftError
from fireworks_batch.cli.durations import parse_duration
from fireworks_batch.cli.exit_codes import ExitCode, code_of_error
from fireworks_batch.cli.interrupts import InterruptedByUserError, Interrupts
from fireworks_batch.cli.options import CommonOptions
from fireworks_batch.connection.configuration import Environment, read_time_scale
from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.policies import scaled
from fireworks_batch.models.texts import fit

__all__ = ["Session", "in_session", "poll_policy"]

# For commands that send nothing.
_NO_KEY: Final = "none"


@attrs.frozen(kw_only=True)
class Session:
    """The objects that a command works with."""

    client: BatchClient
    """The client, which is closed with the command."""

    output: Output
    """The two streams."""

    interrupts: Interrupts
    """Runs work that is cancelled by a signal."""


Work = Callable[[Session], Coroutine[Any, Any, ExitCode]]


def in_session(options: CommonOptions, work: Work, *, needs_key: bool = True) -> ExitCode:
    """Run the work of a command in a session, report any error, and return the exit code.

    Args:
        options: The options of all commands.
        work: The work.
        needs_key: Whether the work sends anything, and so needs a key.
    """
    output = Output(as_json=options.json, is_verbose=options.debug, connection=_connection(options))
    interrupts = Interrupts()
    try:
        with _shown_log(output, interrupts, is_verbose=options.debug):
            client = _client(options, needs_key=needs_key)
            return asyncio.run(
                _guarded(work, Session(client=client, output=output, interrupts=interrupts))
            )
    except ReaderLeftError:
        output.abandon_stdout()
        return ExitCode.READER_LEFT
    except (InterruptedByUserError, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except Exception as exc:  # noqa: BLE001 - nothing above would report it
        error = _single(exc)
        if options.debug:
            told = "".join(traceback.format_exception(error)).rstrip()
            output.talk("\n".join(map(fit, told.split("\n"))))
        output.explain(error)
        return code_of_error(error)


async def _guarded(work: Work, session: Session) -> ExitCode:
    with session.interrupts.installed():
        async with session.client:
            return await session.interrupts.guard(work(session))


def _connection(options: CommonOptions) -> tuple[str, ...]:
    """Return the options of the connection whose values are not in the environment."""
    given = {
        "--api-key-file": ("FIREWORKS_API_KEY_FILE", options.api_key_file),
        "--account-id": ("FIREWORKS_ACCOUNT_ID", options.account_id),
        "--base-url": ("FIREWORKS_BASE_URL", options.base_url),
    }
    return tuple(
        word
        for option, (variable, value) in given.items()
        if value and str(value) != os.environ.get(variable)
        for word in (option, str(value))
    )


def _client(options: CommonOptions, *, needs_key: bool) -> BatchClient:
    key_file = options.api_key_file
    return BatchClient(
        api_key=_NO_KEY if not needs_key else None if key_file is None else _key_reader(key_file),
        account_id=options.account_id or None,
        base_url=options.base_url or None,
    )


def _key_reader(path: Path) -> Callable[[], str]:
    """Return a function that reads the file each time: the key may be renewed meanwhile."""

    def read() -> str:
        return path.read_text(encoding="utf-8").strip()

    if not read():
        raise ConfigurationError(f"{path} is empty; it should hold the API key")
    return read


def poll_policy(stall_after: str | None) -> PollPolicy:
    """Return the default policy of the client, with the value of ``--stall-after``.

    Args:
        stall_after: As typed; None if the option is not given.

    Raises:
        ConfigurationError: The text is not a duration, or the duration is 0.
    """
    policy = scaled(PollPolicy(), read_time_scale(Environment(os.environ)))
    if stall_after is None:
        return policy
    return attrs.evolve(policy, stall_after=parse_duration("--stall-after", stall_after))


def _single(error: Exception) -> Exception:
    """Return the first error of a group; the other tasks were cancelled because of it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


# --- The log ------------------------------------------------------------------------------------


class _LogOnStderr(logging.Handler):
    """Writes the log to stderr: all of it, or the warnings that nothing else shows."""

    def __init__(self, output: Output, interrupts: Interrupts, *, is_verbose: bool) -> None:
        super().__init__(logging.DEBUG if is_verbose else logging.WARNING)
        self._output = output
        self._interrupts = interrupts
        self._is_verbose = is_verbose

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if self._is_verbose:
            self._output.talk(f"{record.levelname} {record.name}: {text}")
        elif not self._is_shown(record):
            self._output.talk(f"{record.levelname.lower()}: {text}", "yellow")

    def _is_shown(self, record: logging.LogRecord) -> bool:
        """Return whether another part of the output shows the fact."""
        if record.name == "fireworks_batch.wait" and hasattr(record, "fireworks_job"):
            # The table has the failed polls.
            return self._output.is_live or self._is_about_missing_job(record)
        if record.name != "fireworks_batch.run":
            return False
        # After an interrupt the command itself names the jobs. A record with a state is about a
        # job that had ended before the run: the report has a line about such jobs.
        return self._interrupts.is_reported or hasattr(record, "fireworks_state")

    def _is_about_missing_job(self, record: logging.LogRecord) -> bool:
        is_missing = str(record.msg).startswith("there is no job")
        return is_missing and self._output.tells_missing_jobs


@contextlib.contextmanager
def _shown_log(output: Output, interrupts: Interrupts, *, is_verbose: bool) -> Iterator[None]:
    logger = logging.getLogger("fireworks_batch")
    handler = _LogOnStderr(output, interrupts, is_verbose=is_verbose)
    level = logger.level
    logger.addHandler(handler)
    if is_verbose:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
