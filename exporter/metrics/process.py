"""What the kernel says of this process, as far as it says anything."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.process_collector import ProcessCollector


class OwnProcess(ProcessCollector):
    """Processor time, memory and descriptors of this process; none of them where /proc is hidden, or not as usual."""

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        try:
            return list(super().collect())
        except (ValueError, IndexError, NameError):  # its own of a line that is missing is an UnboundLocalError
            return ()

    def _boot_time(self) -> float:
        try:
            return super()._boot_time() or 0.0  # type: ignore[no-untyped-call]
        except (ValueError, IndexError):
            return 0.0
