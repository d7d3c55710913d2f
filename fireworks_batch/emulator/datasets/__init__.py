"""The datasets, their files, and the storage behind signed URLs."""
