"""The rows of a job and its report (`client.results`), and the index of the rows of a run."""
