"""The command line ``fireworks-batch``.

Help, and completion in a shell, load the grammar alone (`app` and `options`). A command loads what
it does, and the library with it, when it is called.
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
    except KeyboardInterrupt:  # before a command has begun
        sys.exit(130)


def _run() -> None:
    from fireworks_batch.cli.app import app

    app(prog_name=PROGRAM)
