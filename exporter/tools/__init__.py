"""Programs beside the sidecar, each of its own: none of them is needed to run it."""
