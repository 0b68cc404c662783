"""The command `cache`: caches in Redis that follow the events of ingesting services."""
