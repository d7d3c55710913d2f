"""The command line ``fireworks-batch``: what its words, in `fireworks_batch_cli`, do."""
