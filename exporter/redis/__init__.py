"""Clients of Redis of each kind, for threads and event loops, and what its refusals mean."""
