"""The datasets, their files, and the storage that signed URLs lead to."""
