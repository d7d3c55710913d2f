"""What the command ``fireworks-batch`` starts: the grammar of its command line.

A package of its own because importing anything of `fireworks_batch` imports the whole library,
which takes longer than a whole ``fireworks-batch --help``, and each completion in a shell starts a
process. So the words are here, and what they do is in `fireworks_batch.cli`, imported when needed.
"""

import sys
from typing import Final

__all__ = ["PROGRAM", "main"]

PROGRAM: Final = "fireworks-batch"
"""The name of the command."""

_NEEDED: Final = {"typer", "rich"}
_ADVICE: Final = f"""\
{PROGRAM} needs {{missing}}, which is not installed: its packages are an extra.
  try: pip install '{PROGRAM}[cli]'
"""


def main() -> None:
    """Run the command line, and exit with its code; with 2 if a package is missing."""
    try:
        _run()
    except ModuleNotFoundError as exc:
        if exc.name not in _NEEDED:
            raise
        sys.stderr.write(_ADVICE.format(missing=exc.name))
        sys.exit(2)
    except KeyboardInterrupt:  # before anything was begun
        sys.exit(130)


def _run() -> None:
    from fireworks_batch_cli.app import app

    app(prog_name=PROGRAM)
