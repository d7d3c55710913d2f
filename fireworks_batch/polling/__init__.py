"""When to poll, and one poller for all waits of a client."""
