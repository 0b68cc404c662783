"""The log lines about single events, limited in rate before they are made: nearly all of them are suppressed."""

from __future__ import annotations

import logging

from exporter.runtime import logs
from exporter.runtime.clock import now_ms
from exporter.runtime.log_repeats import BURST, PER_SECOND
from exporter.runtime.rate_limit import RateLimiter

log = logs.logger("ingestion")


class EventLines:
    """Lines of one text and level INFO, at the rate that the filter of all loggers of the package allows."""

    def __init__(self) -> None:
        self._limiter = RateLimiter(BURST, PER_SECOND)

    def next_fields(self) -> dict[str, object] | None:
        """Return the further fields of a line that is to be written, None for one that is suppressed."""
        if not log.isEnabledFor(logging.INFO):
            return None
        kept_back = self._limiter.admit("", now_ms())
        return None if kept_back is None else {"kept_back": kept_back} if kept_back else {}
