"""The command that runs the emulator. The base URL is its first line on stdout."""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from fireworks_batch.emulator.assumptions import parse_assumptions
from fireworks_batch.emulator.http.port import is_loopback
from fireworks_batch.emulator.jobs.scripts import read_row_script
from fireworks_batch.emulator.members import ControlError
from fireworks_batch.emulator.server import Emulator

_PROGRAM = "python -m fireworks_batch.emulator"


def main(argv: Sequence[str] | None = None, *, program: str = _PROGRAM) -> int:
    """Run until SIGINT or SIGTERM.

    Args:
        argv: The arguments. If None, the arguments of the process.
        program: The name of the command in its help and messages.

    Returns:
        The exit code: 0 after a signal, 1 if the emulator cannot listen.
    """
    parser = _parser(program)
    options = parser.parse_args(argv)
    if not options.allow_remote and not is_loopback(options.host):
        parser.error(
            f"{options.host} is not a loopback address: other machines could use the emulator;"
            " allow that with --allow-remote"
        )
    try:
        emulator, failures = _emulator(options), [_read_failure(t) for t in options.fail_rows]
    except ValueError as error:
        parser.error(str(error))
    try:
        asyncio.run(_run(emulator, failures))
    except OSError as error:
        sys.stderr.write(f"{program}: {error.strerror or error}\n")
        return 1
    return 0


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Emulate the Fireworks control plane for batch inference on this machine.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=0, help="port of the API; by default a free port"
    )
    parser.add_argument(
        "--storage-port", type=int, default=0, help="port of the storage; by default a free port"
    )
    parser.add_argument(
        "--api-key", default="fw_emulator", help="the only API key that is accepted (%(default)s)"
    )
    parser.add_argument(
        "--account-id", default="acme", help="id of the account of the key (%(default)s)"
    )
    parser.add_argument(
        "--speed", type=float, default=1.0, help="emulated seconds in a real second (%(default)s)"
    )
    parser.add_argument(
        "--tick",
        type=float,
        default=60.0,
        help="emulated seconds between two changes of a job (%(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of everything that is random (%(default)s)"
    )
    parser.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a switch for an unknown of the server, as in deleted_job=tombstone (a wrong name "
        "lists all switches); may be repeated",
    )
    parser.add_argument(
        "--fail-rows",
        action="append",
        default=[],
        metavar="JSON",
        help="make rows fail, with the body of POST /_emulator/rows: "
        """'{"row": "r7*", "times": 2, "code": 503}'; may be repeated""",
    )
    parser.add_argument(
        "--requests-per-minute",
        type=int,
        help="most requests of the account in an emulated minute; by default there is no limit",
    )
    parser.add_argument(
        "--url-grace",
        type=float,
        default=30.0,
        help="least real seconds for which a signed URL is valid (%(default)s)",
    )
    parser.add_argument(
        "--allow-remote", action="store_true", help="let other machines use the emulator"
    )
    return parser


def _emulator(options: argparse.Namespace) -> Emulator:
    return Emulator(
        host=options.host,
        port=options.port,
        storage_port=options.storage_port,
        api_key=options.api_key,
        account_id=options.account_id,
        speed=options.speed,
        tick=options.tick,
        seed=options.seed,
        assume=parse_assumptions(options.assume),
        url_grace=options.url_grace,
        requests_per_minute=options.requests_per_minute,
    )


def _read_failure(text: str) -> Mapping[str, Any]:
    """Return the arguments of `Emulator.fail_rows` that a value of ``--fail-rows`` has.

    Raises:
        ControlError: The text is not JSON, or a member of the object cannot be used.
    """
    try:
        value: Mapping[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ControlError("--fail-rows", text, "JSON") from None
    read_row_script(value)
    return value


async def _run(emulator: Emulator, failures: Sequence[Mapping[str, Any]]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C interrupts instead
            loop.add_signal_handler(number, stopping.set)
    async with emulator:
        for failure in failures:
            emulator.fail_rows(**failure)
        sys.stdout.write(f"{emulator.base_url}\n")
        sys.stdout.flush()
        await stopping.wait()
