"""What the sidecar knows of ingesting services from their events. Pure."""
