"""How long `fireworks-batch --help` takes, beside a bare program of typer and rich.

Each time is the CPU time of a fresh process; the least of several, because everything but the
program itself only adds to it. A completion in a shell is the same start.
"""

import shutil
import sys
import sysconfig

from figures import Report, by_least, cpu_of_process, interleave, main

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


async def measure(share: float) -> Report:
    """Start both in turns."""
    ours = [sys.executable, program(), "--help"]
    bare = [sys.executable, "-c", BARE, "--help"]
    samples = await interleave(
        {"ours": cpu_of_process(ours), "bare": cpu_of_process(bare)}, max(9, round(30 * share))
    )
    return Report([by_least("help", samples["ours"], samples["bare"])])


if __name__ == "__main__":
    sys.exit(main(__doc__, measure))
