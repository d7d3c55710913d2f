"""The batch inference jobs, their scripts, and the work on their rows."""
