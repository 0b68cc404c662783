"""Caches in Redis that follow the events of ingesting services."""
