"""This machine's files, read and written off the event loop."""
