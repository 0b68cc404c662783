"""The event bus: a queue and a worker for each handler."""
