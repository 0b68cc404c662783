"""What the server shows of the risk of portfolios, and lets clients do."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from exporter.model import Status
from exporter.web.interface import Row

ROWS, READY, LIFT = "/api/v1/risk", "/-/ready/risk", "/-/risk/lift"


class Risk(Protocol):
    """The risk of portfolios; `ready` returns at once, and `rows` runs in worker threads."""

    def rows(self) -> Row:
        """Return all figures of the last evaluation."""

    def ready(self) -> Status:
        """Return whether all portfolios are known, and no emergency stop is in force."""

    def lift(self, portfolio: str) -> Future[bool | None]:
        """Lift the emergency stop of a portfolio; the result, once that is committed, is whether one was in force.

        It is None when the sidecar ends before.
        """
