"""Run the command line as ``python -m fireworks_batch.cli``."""

from fireworks_batch_cli import main

main()
