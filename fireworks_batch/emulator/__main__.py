"""Run the emulator from the command line."""

import sys

from fireworks_batch.emulator.command import main

sys.exit(main())
