"""Run the command line as ``python -m fireworks_batch.cli``."""

from fireworks_batch.cli import main

main()
