"""Where a collector's metrics are stored: a storage is one file."""
