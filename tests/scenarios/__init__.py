"""Failures played against the diagnosis, with the time as an argument: hours run in seconds."""
