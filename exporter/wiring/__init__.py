"""Makes the parts of a sidecar from its configuration, a file for each side of it."""
