"""The command line, called in this process or run under a pseudo-terminal."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator

import attrs
import pyte
import pytest

from fireworks_batch.cli.app import app

COMMAND = [sys.executable, "-m", "fireworks_batch.cli"]
PATIENCE = 30.0
"""Seconds that a test waits for a screen, on a machine that has much to do."""


def pytest_collection_modifyitems(items) -> None:
    """A test with a terminal starts a process, which takes a second."""
    for item in items:
        if "terminal" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.once)


@attrs.frozen
class Finished:
    """What one call left."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict]:
        return [json.loads(line) for line in self.lines]

    @property
    def fields(self) -> list[list[str]]:
        return [line.split("\t") for line in self.lines]


@pytest.fixture
def cli(capsys) -> Callable[..., Finished]:
    """Call the command line in this process, without a terminal."""

    def call(*arguments: str) -> Finished:
        with pytest.raises(SystemExit) as caught:
            app(args=[*arguments], prog_name="fireworks-batch")
        out, err = capsys.readouterr()
        return Finished(caught.value.code or 0, out, err)

    return call


@pytest.fixture
def process() -> Callable[..., Finished]:
    """Run any command to its end."""

    def run(*command: object) -> Finished:
        ended = subprocess.run(
            [*map(str, command)], check=False, capture_output=True, text=True, timeout=PATIENCE
        )
        return Finished(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture
def shell(process) -> Callable[[str], Finished]:
    """Run a line of bash, with the command line as $CLI."""

    def run(line: str) -> Finished:
        return process("bash", "-c", f"CLI='{' '.join(COMMAND)}'; set -o pipefail; {line}")

    return run


class Terminal:
    """A process on a terminal that a test can look at."""

    def __init__(self, arguments: tuple[str, ...], columns: int, lines: int, **streams) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        streams = {"stdin": slave, "stdout": slave, "stderr": slave} | streams
        environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        for name in ("COLUMNS", "LINES"):
            environment.pop(name, None)
        command = [*COMMAND, *arguments]
        self.process = subprocess.Popen(command, env=environment, **streams)
        os.close(slave)
        self.raw = b""

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).strip()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def await_screen(self, pattern: str) -> str:
        """Wait until the screen matches a pattern, and return it."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.text, re.MULTILINE):
            if not self._read() or time.monotonic() > deadline:
                pytest.fail(f"no {pattern!r} on the screen:\n{self.text}")
        return self.text

    def press_ctrl_c(self) -> None:
        """Do what a terminal does: write "^C" where the cursor is, and send the signal."""
        os.write(self._master, b"\x03")
        self.process.send_signal(signal.SIGINT)

    def finish(self) -> int:
        """Read to the end, and return the exit code."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], PATIENCE)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the process has gone
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Start the command line on a terminal of the test's own."""
    started: list[Terminal] = []

    def start(*arguments: str, columns: int = 80, lines: int = 24, **streams) -> Terminal:
        started.append(Terminal(arguments, columns, lines, **streams))
        return started[-1]

    yield start
    for one in started:
        one.close()
