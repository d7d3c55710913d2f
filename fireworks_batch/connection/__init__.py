"""The line to the API: one HTTP session, its gate, its repeats, its key and account."""
