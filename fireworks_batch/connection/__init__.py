"""The room connection."""
