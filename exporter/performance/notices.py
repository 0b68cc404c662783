"""The logger of what `exporter.performance` reports of itself; the sidecar's limits on its own log do not apply."""

from __future__ import annotations

import logging

log = logging.getLogger("exporter.performance")
