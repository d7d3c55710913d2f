"""Tasks that wait for a job."""
