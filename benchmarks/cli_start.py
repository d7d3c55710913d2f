"""How long `fireworks-batch --help` takes, beside a bare program of typer and rich.

Each time is the CPU time of a fresh process; the least of several, because everything but the
program itself only adds to it. A completion in a shell is the same start.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig

from table import Row, ask_for_size, by_least, interleave, show

GOAL = 1.5
BARE = """
import rich.console, typer
app = typer.Typer()
@app.command()
def one(count: int = 1) -> None:
    "Do one thing."
@app.command()
def two(count: int = 1) -> None:
    "Do another."
app()
"""


def program() -> str:
    """Return the path of the command."""
    found = shutil.which("fireworks-batch", path=sysconfig.get_path("scripts"))
    return found or sys.exit("fireworks-batch is not installed beside this Python")


async def cpu_of_process(*command: str) -> float:
    """Run a process to its end, and return its CPU time."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )


async def measure(rounds: int) -> Row:
    """Start both so often."""
    ours = [sys.executable, program(), "--help"]
    bare = [sys.executable, "-c", BARE, "--help"]
    samples = await interleave(
        {"ours": lambda: cpu_of_process(*ours), "bare": lambda: cpu_of_process(*bare)}, rounds
    )
    return by_least("fireworks-batch --help", GOAL, samples["ours"], samples["bare"])


if __name__ == "__main__":
    sys.exit(show([asyncio.run(measure(max(5, round(30 * ask_for_size(__doc__)))))]))
