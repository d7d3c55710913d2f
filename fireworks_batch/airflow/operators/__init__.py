"""Tasks that run requests."""
