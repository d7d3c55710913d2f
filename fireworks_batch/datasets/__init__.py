"""The datasets of the account: endpoints, uploads and downloads."""
