"""A job's rows and reports, and the index of a run's rows; `client.results`."""
