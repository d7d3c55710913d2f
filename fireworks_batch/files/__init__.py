"""Files of this machine, read and written off the event loop."""
