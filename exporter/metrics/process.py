"""Figures of this process from the kernel, where the kernel shows them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.process_collector import ProcessCollector


class OwnProcess(ProcessCollector):
    """Processor time, memory and descriptors of this process; none where /proc is hidden or has another form."""

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        try:
            return list(super().collect())
        except (ValueError, IndexError, NameError):  # of a missing line, prometheus_client makes an UnboundLocalError
            return ()

    def _boot_time(self) -> float:
        try:
            return super()._boot_time() or 0.0  # type: ignore[no-untyped-call]
        except (ValueError, IndexError):
            return 0.0
