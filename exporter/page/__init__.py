"""What the live page shows: the state of the sidecar and of each feed as JSON, with a history in memory."""
