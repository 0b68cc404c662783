"""Families about the configuration: the last reload of it, and what waits for a restart."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from exporter.status import ReloadState


def configuration_families(state: ReloadState) -> Iterator[Metric]:
    """Yield whether the last reload succeeded, when one last did, and the number of keys that need a restart."""
    yield GaugeMetricFamily(
        "marketdata_exporter_config_last_reload_successful",
        "Whether the last reload of the configuration succeeded; 1 before the first one.",
        float(not state.error),
    )
    yield GaugeMetricFamily(
        "marketdata_exporter_config_last_reload_success_timestamp_seconds",
        "Unix time of the last reload of the configuration that succeeded, or of the start.",
        state.success_seconds,
    )
    yield GaugeMetricFamily(
        "marketdata_exporter_config_keys_awaiting_restart",
        "Keys of the configuration with new values that need a restart.",
        len(state.with_restart),
    )
