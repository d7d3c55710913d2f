"""When to poll a job, and one poller for all waits of a client."""
