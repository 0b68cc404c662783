"""What the library logs, by the logging of the program."""

from __future__ import annotations

import logging

# Not one of the sidecar's loggers, which suppress repetitions: what is logged here is logged once in any case.
log = logging.getLogger("exporter.instrument")
_given: set[tuple[str, str]] = set()


def convention(metric: str, finding: str) -> None:
    """Log that a name is against a convention, once for each process."""
    if (metric, finding) not in _given:
        _given.add((metric, finding))
        log.warning("metric %s: %s", metric, finding)


def too_many_series(metric: str, limit: int) -> None:
    """Log that a metric has as many label sets as it may have."""
    log.warning("metric %s has %d label sets, further ones go to __other__", metric, limit)


def not_stored(error: Exception) -> None:
    """Log the first of several failures."""
    log.warning("metrics cannot be stored, retrying: %s", error)


def stored_again() -> None:
    """Log the end of a failure."""
    log.info("metrics are stored again")
