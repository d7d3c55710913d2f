"""``client.jobs``: endpoints, creation, the wait for one job and the watch over many."""
