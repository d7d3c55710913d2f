"""The functions of the commands; their options are in `fireworks_batch.cli.app`."""
