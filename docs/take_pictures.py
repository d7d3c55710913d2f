"""Take the pictures of README and docs: real runs on a pseudo-terminal, drawn as SVG by rich.

`make pictures` runs it. A picture is taken when a certain text is on the screen. The emulator runs
in real time, so that rates and times are those of a real job: all pictures are taken at the same
time, within some minutes. Needs a POSIX system. The fonts are those of the reader's machine:
nothing is fetched.
"""

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import struct
import sys
import tempfile
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
PATIENCE = 900.0
SCALE = 0.74  # of the pixels that rich takes for a letter; 80 columns fit on a page
# Colours that differ in one theme differ in the other, too: rich numbers styles by their colours.
DARK = TerminalTheme(
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
LIGHT = TerminalTheme(
    (250, 250, 250),
    (36, 41, 47),
    [
        (110, 118, 129),
        (190, 30, 45),
        (26, 127, 55),
        (150, 100, 0),
        (9, 105, 218),
        (130, 80, 223),
        (10, 115, 125),
        (36, 41, 47),
    ],
)
# The part of a bar that is not done yet: rich has one colour for it.
BAR_ON_DARK, BAR_ON_LIGHT = "#3a3a3a", "#d0d7de"
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

    async def start(self, *command: str, **environment: str) -> asyncio.subprocess.Process:
        """Start a command on it, in a session of its own."""
        asyncio.get_running_loop().add_reader(self._master, self._read)
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env={**os.environ, "TERM": "xterm-256color", **environment},
            preexec_fn=self._take,
        )
        os.close(self._slave)
        return process

    def _take(self) -> None:
        """Make the terminal that of the process: a shell gives it to what runs in front."""
        os.setsid()
        fcntl.ioctl(self._slave, termios.TIOCSCTTY, 0)

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._master, f"{line}\n".encode())

    def kill(self) -> None:
        """Kill what runs in front, as a system does that is out of memory."""
        os.killpg(os.tcgetpgrp(self._master), signal.SIGKILL)

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


def seen(screen: pyte.Screen) -> list[Text]:
    """Return the lines of a screen down to the last one with text."""
    lines = [_line(screen, number) for number in range(screen.lines)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    return lines


def picture(lines: list[Text], columns: int) -> str:
    """Draw lines; commands are bold."""
    console = Console(record=True, width=columns, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    for line in lines:
        if line.plain.startswith("$ "):
            line.stylize("bold")
        console.print(line, soft_wrap=True)
    drawn = _exported(console, DARK)
    drawn = drawn.replace("</style>", _rules_for_light(_exported(console, LIGHT)) + "</style>")
    drawn = re.sub(r'viewBox="0 0 (\d+)', _with_width, drawn, count=1)
    return re.sub(r"[ \t]+$", "", drawn, flags=re.MULTILINE)


def _exported(console: Console, theme: TerminalTheme) -> str:
    return console.export_svg(
        title="fireworks-batch", theme=theme, clear=False, code_format=FORMAT, unique_id="picture"
    )


def _rules_for_light(drawn: str) -> str:
    """Return what differs for a reader who prefers a light page: one picture serves both."""
    background, title = re.findall(r'<(?:rect|text) [^>]*?fill="(#\w+)"', drawn)[:2]
    rules = [f".rich-terminal > rect {{ fill: {background}; stroke: rgba(0,0,0,0.2) }}"]
    rules.append(f".picture-title {{ fill: {title} }}")
    drawn = drawn.replace(BAR_ON_DARK, BAR_ON_LIGHT)
    rules += re.findall(r"\.picture-r\d+ \{.*?\}", drawn)
    return "@media (prefers-color-scheme: light) {\n" + "\n".join(rules) + "\n}\n"


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
    async with Emulator(speed=1) as emulator:
        prepare(emulator)
        terminal = Terminal(columns, lines)
        process = await terminal.start(
            *(sys.executable, "-m", "fireworks_batch.cli", *(arguments or command.split()[1:])),
            **environment(emulator),
        )
        await terminal.wait_for(pattern)
        if interrupt:
            process.send_signal(signal.SIGINT)
            await terminal.wait_for(interrupt)
        drawn = picture([Text(f"$ {command}"), *seen(terminal.screen)], columns)
        (PICTURES / f"{name}.svg").write_text(drawn, encoding="utf-8")
        if process.returncode is None:
            process.terminate()
        await process.wait()
        terminal.close()
    print(f"{name}.svg")


async def take_killed() -> None:
    """Take the picture of a run that is killed, and of the same command after that, in a shell."""
    model = "accounts/fireworks/models/demo-8b"
    command = f"fireworks-batch run requests.jsonl --model {model} -o rows.jsonl"
    body = {"messages": [{"role": "user", "content": "What is a batch?"}]}
    rows = [json.dumps({"custom_id": f"r{number}", "body": body}) for number in range(500)]
    async with Emulator(speed=1) as emulator:
        emulator.script_jobs(phases=[{"state": "RUNNING", "seconds": 600}, "COMPLETED"])
        with tempfile.TemporaryDirectory() as directory:
            requests = Path(directory) / "requests.jsonl"
            requests.write_text("\n".join(rows), encoding="utf-8")
            terminal = Terminal(96, 24)
            shell = await terminal.start(
                *("bash", "-c", "cd; PS1='$ ' exec bash --noprofile --norc -i"),
                **environment(emulator),
                PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                HOME=directory,
                BASH_SILENCE_DEPRECATION_WARNING="1",
            )
            await terminal.wait_for(r"^\$")
            terminal.type(command)
            await terminal.wait_for(r"RUNNING\s.*[34]\d(\.\d)? ?%")
            terminal.kill()
            await terminal.wait_for("Killed")
            terminal.type(command)
            await terminal.wait_for(r"Killed(.|\n)*RUNNING\s.*[67]\d(\.\d)? ?%")
            running = seen(terminal.screen)
            await terminal.wait_for(r"500 of 500 rows succeeded(.|\n)*^\$")
            # The last lines take the place of the progress, which the picture shows, too.
            ended = [line for line in seen(terminal.screen) if "rows succeeded" in line.plain]
            terminal.type("exit")
            await shell.wait()
            terminal.close()
    drawn = picture([*running, *ended], terminal.screen.columns)
    (PICTURES / "killed.svg").write_text(drawn, encoding="utf-8")
    print("killed.svg")


def environment(emulator: Emulator) -> dict[str, str]:
    """What a client needs to know of an emulator."""
    return {
        "FIREWORKS_API_KEY": emulator.api_key,
        "FIREWORKS_ACCOUNT_ID": emulator.account_id,
        "FIREWORKS_BASE_URL": emulator.base_url,
    }


# --- The scenes ---------------------------------------------------------------------------------

REASON = {"code": "INVALID_ARGUMENT", "message": "row 17: invalid role 'pirate' in message 0"}


def script(emulator: Emulator, job: str, *phases: tuple[str, float], **options: Any) -> None:
    """Script one job: states, and for how many seconds the job has each of them."""
    named = [{"state": state, "seconds": seconds} for state, seconds in phases]
    emulator.script_job(job, phases=named, **options)


def some_jobs(emulator: Emulator) -> None:
    """Five jobs in five situations."""
    script(emulator, "reviews", ("RUNNING", 1200), ("COMPLETED", 0), rows=1_000, failed_rows=8)
    script(emulator, "letters", ("RUNNING", 7200), ("COMPLETED", 0), rows=20_000)
    script(emulator, "faqs", ("PENDING", 90_000))
    script(emulator, "roles", ("VALIDATING", 60), ("FAILED", 0), status=REASON)
    script(emulator, "titles", ("RUNNING", 200), ("COMPLETED", 0), rows=200)
    emulator.add_fault("status", status=503, path="*/letters", after=3, times=None)


def ended_jobs(emulator: Emulator) -> None:
    """Three jobs that end soon, each in another way."""
    script(emulator, "reviews", ("RUNNING", 240), ("COMPLETED", 0), rows=200, failed_rows=2)
    script(emulator, "titles", ("RUNNING", 200), ("COMPLETED", 0), rows=200)
    script(emulator, "roles", ("VALIDATING", 60), ("FAILED", 0), status=REASON)


def many_jobs(emulator: Emulator) -> None:
    """Five hundred jobs, some of which fail."""
    for number in range(500):
        rows = {"rows": 1_000, "failed_rows": number % 7}
        end = ("FAILED", 0.0) if number % 41 == 0 else ("COMPLETED", 0.0)
        script(emulator, f"shard-{number:03}", ("RUNNING", 200 + number * 5), end, **rows)


def one_job(emulator: Emulator) -> None:
    """One job under way."""
    script(emulator, "nightly-eval", ("RUNNING", 1200), ("COMPLETED", 0), rows=1_000)


async def main() -> None:
    """Take all of them."""
    PICTURES.mkdir(exist_ok=True)
    five = "fireworks-batch wait reviews letters faqs roles titles"
    shards = tuple(f"shard-{number:03}" for number in range(500))
    async with asyncio.TaskGroup() as group:

        def shoot(name: str, command: str, pattern: str, **options: Any) -> None:
            group.create_task(take(name, command, pattern, **options))

        shoot(
            "wait",
            five,
            r"COMPLETED(.|\n)*failed poll|failed poll(.|\n)*COMPLETED",
            prepare=some_jobs,
        )
        three = "fireworks-batch wait reviews titles roles"
        shoot("wait-narrow", three, "COMPLETED", prepare=some_jobs, columns=48)
        shoot("ended", three, "invalid role", prepare=ended_jobs)
        shoot(
            "wait-many",
            "fireworks-batch wait shard-000 shard-001 ... shard-499",
            r"[2-9]\d ended",
            prepare=many_jobs,
            arguments=("wait", *shards),
            lines=20,
        )
        shoot(
            "detach",
            "fireworks-batch wait nightly-eval",
            r"RUNNING +\S+ +[1-9]\d",
            prepare=one_job,
            interrupt="to delete",
        )
        shoot("demo", "fireworks-batch demo", "review-24", lines=40)
        group.create_task(take_killed())


if __name__ == "__main__":
    asyncio.run(main())
