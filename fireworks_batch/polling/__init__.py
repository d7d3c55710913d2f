"""The room polling."""
