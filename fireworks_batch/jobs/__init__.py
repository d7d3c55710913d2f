"""`client.jobs`: endpoints, creation, the wait for one job, the wait for many."""
