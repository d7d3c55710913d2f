"""Take the pictures of README and docs: real runs on a pseudo-terminal, drawn as SVG by rich.

`make pictures` runs it; a picture is taken when a certain text is on the screen. Needs a POSIX
system. The fonts are those of the reader's machine: nothing is fetched.
"""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from fireworks_batch.emulator import Emulator

PICTURES = Path(__file__).parent / "pictures"
SPEED = 240
PATIENCE = 60.0
SCALE = 0.74  # of the pixels that rich takes for a letter; 80 columns fit on a page
THEME = TerminalTheme(
    (24, 26, 31),
    (212, 215, 220),
    [
        (63, 68, 81),
        (224, 108, 117),
        (126, 196, 120),
        (222, 184, 104),
        (97, 175, 239),
        (198, 120, 221),
        (86, 182, 194),
        (212, 215, 220),
    ],
)
# rich's own format, without the fonts that it would fetch, and without the frame that cuts what
# hangs below the last line.
FORMAT = re.sub(
    r"@font-face \{\{.*?\n    \}\}\n",
    "",
    __import__("rich._export_format", fromlist=["CONSOLE_SVG_FORMAT"]).CONSOLE_SVG_FORMAT,
    flags=re.DOTALL,
)
FORMAT = FORMAT.replace("Fira Code, monospace", "Menlo, Consolas, 'DejaVu Sans Mono', monospace")
FORMAT = FORMAT.replace(' clip-path="url(#{unique_id}-clip-terminal)"', "")


class Terminal:
    """A process on a pseudo-terminal, read in the running loop."""

    def __init__(self, columns: int, lines: int) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._master, self._slave = pty.openpty()
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, size)
        self._news = asyncio.Event()

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        """Start the command line on it."""
        asyncio.get_running_loop().add_reader(self._master, self._read)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "fireworks_batch.cli", *arguments),
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )
        os.close(self._slave)
        return process

    async def wait_for(self, pattern: str) -> None:
        """Wait until a pattern is on the screen."""
        async with asyncio.timeout(PATIENCE):
            while not re.search(pattern, self.text, re.MULTILINE):
                self._news.clear()
                await self._news.wait()
        await self._end_of_frame()

    async def _end_of_frame(self) -> None:
        """Wait until nothing has come for a moment: a picture of half a frame is none."""
        while True:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), 0.1)
            except TimeoutError:
                return

    def close(self) -> None:
        """Close it."""
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)

    def _read(self) -> None:
        try:
            self._stream.feed(os.read(self._master, 65536))
        except OSError:  # the process has gone
            asyncio.get_running_loop().remove_reader(self._master)
        self._news.set()


def picture(screen: pyte.Screen, command: str) -> str:
    """Draw what is on a screen, below the command that brought it there."""
    lines = [_line(screen, number) for number in range(screen.lines)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    console = Console(record=True, width=screen.columns, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(Text(f"$ {command}", Style(bold=True)), soft_wrap=True)
    for line in lines:
        console.print(line, soft_wrap=True)
    drawn = console.export_svg(
        title="fireworks-batch", theme=THEME, code_format=FORMAT, unique_id="picture"
    )
    drawn = re.sub(r'viewBox="0 0 (\d+)', _with_width, drawn, count=1)
    return re.sub(r"[ \t]+$", "", drawn, flags=re.MULTILINE)


def _with_width(found: re.Match[str]) -> str:
    """Let letters be of one size, however wide the terminal: a page would stretch the picture."""
    return f'width="{int(found[1]) * SCALE:.0f}" {found[0]}'


def _line(screen: pyte.Screen, number: int) -> Text:
    text = Text()
    for column in range(screen.columns):
        char = screen.buffer[number][column]
        colour = None if char.fg == "default" else {"brown": "yellow"}.get(char.fg, char.fg)
        colour = f"#{colour}" if colour and re.fullmatch("[0-9a-f]{6}", colour) else colour
        text.append(char.data, Style(color=colour, bold=char.bold))
    text.rstrip()
    return text


async def take(
    name: str,
    command: str,
    pattern: str,
    *,
    prepare: Callable[[Emulator], Any] = lambda _: None,
    arguments: tuple[str, ...] = (),
    columns: int = 80,
    lines: int = 24,
    interrupt: str = "",
) -> None:
    """Take one picture.

    Args:
        name: Of the file.
        command: What is shown as typed.
        pattern: When it is on the screen, the picture is taken.
        prepare: Sets the scene.
        arguments: What is really run, if not what is shown.
        columns: Of the terminal.
        lines: Of the terminal.
        interrupt: Press Ctrl-C when the pattern is there, and wait for this one.
    """
    async with Emulator(speed=SPEED) as emulator:
        prepare(emulator)
        terminal = Terminal(columns, lines)
        process = await terminal.start(
            *(arguments or command.split()[1:]),
            FIREWORKS_API_KEY=emulator.api_key,
            FIREWORKS_ACCOUNT_ID=emulator.account_id,
            FIREWORKS_BASE_URL=emulator.base_url,
            FIREWORKS_BATCH_TIME_SCALE=str(1 / SPEED),
        )
        await terminal.wait_for(pattern)
        if interrupt:
            process.send_signal(signal.SIGINT)
            await terminal.wait_for(interrupt)
        (PICTURES / f"{name}.svg").write_text(picture(terminal.screen, command), encoding="utf-8")
        if process.returncode is None:
            process.terminate()
        await process.wait()
        terminal.close()
    print(f"{name}.svg")


# --- The scenes ---------------------------------------------------------------------------------

START = [("VALIDATING", 60), ("PENDING", 60)]


def script(emulator: Emulator, job: str, *phases: tuple[str, float], **options: Any) -> None:
    """Script one job."""
    named = [{"state": state, "seconds": seconds} for state, seconds in phases]
    emulator.script_job(job, phases=named, **options)


def some_jobs(emulator: Emulator) -> None:
    """Five jobs in five situations."""
    script(emulator, "reviews", ("RUNNING", 1500), ("COMPLETED", 0), rows=12_000, failed_rows=40)
    script(emulator, "translations", ("RUNNING", 4000), rows=250_000)
    script(emulator, "embeddings-eu", ("PENDING", 90_000))
    script(emulator, "roles", ("VALIDATING", 60), ("FAILED", 0))
    script(emulator, "titles", ("RUNNING", 300), ("COMPLETED", 0), rows=900)
    emulator.add_fault("status", status=503, path="*/translations", after=8, times=None)


def many_jobs(emulator: Emulator) -> None:
    """Five hundred jobs, some of which fail."""
    for number in range(500):
        rows = {"rows": 20_000, "failed_rows": number % 7}
        end = ("FAILED", 0.0) if number % 41 == 0 else ("COMPLETED", 0.0)
        script(emulator, f"shard-{number:03}", ("RUNNING", 900 + number * 2), end, **rows)


def one_job(emulator: Emulator) -> None:
    """One job under way."""
    script(emulator, "nightly-eval", ("RUNNING", 2400), ("COMPLETED", 0), rows=10_000)


async def main() -> None:
    """Take all of them."""
    PICTURES.mkdir(exist_ok=True)
    five = "fireworks-batch wait reviews translations embeddings-eu roles titles"
    shards = tuple(f"shard-{number:03}" for number in range(500))
    await take("wait", five, r"COMPLETED(.|\n)*lost|lost(.|\n)*COMPLETED", prepare=some_jobs)
    three = "fireworks-batch wait reviews titles roles"
    await take("wait-narrow", three, r"COMPLETED", prepare=some_jobs, columns=48)
    await take(
        "wait-many",
        "fireworks-batch wait shard-000 shard-001 ... shard-499",
        r"[2-9]\d ended",
        prepare=many_jobs,
        arguments=("wait", *shards),
        lines=20,
    )
    await take(
        "detach",
        "fireworks-batch wait nightly-eval",
        r"RUNNING +\S+ +[1-9]\d",
        prepare=one_job,
        interrupt="to delete",
    )
    await take("demo", "fireworks-batch demo", "review-24", lines=40)


if __name__ == "__main__":
    asyncio.run(main())
