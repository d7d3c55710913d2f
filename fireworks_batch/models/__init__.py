"""Words and values: errors, states, names, jobs, policies, snapshots. No I/O, no wire."""
