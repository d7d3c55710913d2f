"""From requests to results: check, submit, collect, run."""
