"""The trigger that waits for deferred tasks, in the triggerer."""
