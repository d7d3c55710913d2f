"""The emulator as a command, ``python -m fireworks_batch.emulator``."""

import sys

from fireworks_batch.emulator.command import main

sys.exit(main())
