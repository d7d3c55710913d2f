"""`client.datasets`: endpoints, upload, download."""
