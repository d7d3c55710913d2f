"""What each command does; the grammar is in `fireworks_batch.cli.app`."""
