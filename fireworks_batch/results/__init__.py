"""The results of jobs: rows, reports, and an index of rows on disk."""
