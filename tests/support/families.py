"""The metric families that dashboards and rules may name, and their labels."""

FEED = frozenset({"region", "exchange", "request_type"})
PARTITION = frozenset({"topic", "partition"})
TARGET = frozenset({"job", "instance"})  # Prometheus gives these to whatever it scrapes

FAMILIES: dict[str, frozenset[str]] = {
    "marketdata_records_total": frozenset({"topic"}),
    "marketdata_records_rejected_total": frozenset({"topic", "reason"}),
    "marketdata_records_redelivered_total": frozenset({"topic"}),
    "marketdata_records_recovered_total": frozenset({"topic"}),
    "marketdata_records_filtered_total": frozenset({"topic"}),
    "marketdata_batches_total": FEED,
    "marketdata_messages_total": FEED,
    "marketdata_batch_size": FEED | {"le"},
    "marketdata_batch_unique_symbols": FEED | {"le"},
    "marketdata_batch_cache_efficiency_ratio": FEED | {"le"},
    "marketdata_last_batch_size": FEED,
    "marketdata_last_batch_unique_symbols": FEED,
    "marketdata_last_batch_cache_efficiency_ratio": FEED,
    "marketdata_anomalies_total": FEED | {"kind"},
    "marketdata_feed_last_batch_timestamp_seconds": FEED,
    "marketdata_feed_last_message_timestamp_seconds": FEED,
    "marketdata_feed_last_received_timestamp_seconds": FEED,
    "marketdata_feed_expected": FEED,
    "marketdata_consumer_lag_records": PARTITION,
    "marketdata_consumer_position_offset": PARTITION,
    "marketdata_consumer_high_watermark_offset": PARTITION,
    "marketdata_consumer_last_record_timestamp_seconds": PARTITION,
    "marketdata_consumer_rebalances_total": frozenset({"event"}),
    "marketdata_consumer_commits_total": frozenset(),
    "marketdata_consumer_commit_failures_total": frozenset({"reason"}),
    "marketdata_consumer_kafka_errors_total": frozenset({"code"}),
    "marketdata_processing_seconds": frozenset({"stage", "le"}),
    "marketdata_events_total": frozenset({"event_type"}),
    "marketdata_events_failed_total": frozenset({"event_type"}),
    "marketdata_event_delivery_seconds": frozenset({"event_type", "le"}),
    "marketdata_event_backlog": frozenset(),
    "marketdata_event_backlog_limit": frozenset(),
    "marketdata_event_backlog_ratio": frozenset(),
    "marketdata_redis_operations_total": frozenset({"operation"}),
    "marketdata_redis_failures_total": frozenset({"operation"}),
    "marketdata_redis_operation_seconds": frozenset({"operation", "le"}),
    "marketdata_redis_up": frozenset(),
    "marketdata_redis_circuit_state": frozenset({"state"}),
    "marketdata_redis_dropped_records_total": frozenset(),
    "marketdata_redis_queue": frozenset(),
    "marketdata_schema_registry_operations_total": frozenset({"operation"}),
    "marketdata_schema_registry_failures_total": frozenset({"operation"}),
    "marketdata_schema_registry_operation_seconds": frozenset({"operation", "le"}),
    "marketdata_schema_registry_up": frozenset(),
    "marketdata_exporter_build_info": frozenset({"version", "python", "librdkafka"}),
    "marketdata_exporter_ready": frozenset(),
    "marketdata_exporter_series": frozenset(),
    "marketdata_exporter_label_overflow_total": frozenset({"label"}),
    "marketdata_exporter_log_messages_total": frozenset({"level"}),
    "marketdata_exporter_scrape_render_seconds": frozenset(),
    "marketdata_exporter_http_responses_total": frozenset({"code"}),
    "marketdata_exporter_http_evictions_total": frozenset({"reason"}),
    "process_cpu_seconds_total": frozenset(),
    "process_resident_memory_bytes": frozenset(),
    "process_start_time_seconds": frozenset(),
    # What Prometheus itself makes.
    "up": frozenset(),
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
}


def family_of(series: str) -> str:
    """The family of a series: those of histograms and summaries have their family's name and a suffix."""
    for suffix in ("_bucket", "_sum", "_count"):
        if series not in FAMILIES and series.removesuffix(suffix) in FAMILIES:
            return series.removesuffix(suffix)
    return series
