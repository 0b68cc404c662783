"""The cache: memory before Redis before a loader."""
