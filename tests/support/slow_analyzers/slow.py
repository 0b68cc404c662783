"""An analyzer that costs a known time a batch."""

import os
import time
from collections.abc import Sequence

from exporter.analyzers import Analyzer
from exporter.decoding.batch import Batch
from exporter.decoding.batch_stats import BatchStats
from exporter.model import Anomaly, Arrival

SECONDS = float(os.environ["SLOW_SECONDS"])
# Where other programs take the processor, waiting costs what it should, and computing costs more.
COMPUTES = "SLOW_COMPUTES" in os.environ


class Slow(Analyzer):
    """Waits, as code that asks a service does, or turns the processor, as slow code does."""

    __slots__ = ()
    rows = ()
    is_required = True

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """See Analyzer."""
        if not COMPUTES:
            time.sleep(SECONDS)
            return ()
        until = time.perf_counter() + SECONDS
        while time.perf_counter() < until:
            pass
        return ()
