"""The numbers of records of any configured shape, for the expected side of an audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.config.format_schema import SchemaRegistryFormat
from exporter.config.schema import Config
from exporter.config.topic_choice import TopicChoice
from exporter.decoding.names import check_feed, check_symbol
from exporter.decoding.record_decoder import record_decoder
from exporter.model import FeedKey, Record
from exporter.tools.audit.ledger import BatchFacts
from exporter.tools.audit.readers import InputReader


class RecordReader:
    """Reader of input records: usual batches by a recount of their JSON, those of topics with a format as by a sidecar.

    A recount by other means would need a second implementation of each format. So an audit of such topics shows that no
    record is lost, doubled or altered on the way, and not that its format is read right: `explain` shows that.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._usual = InputReader(config)
        self._decoder = record_decoder(config.input, required_schemas)
        self._choices = [TopicChoice(one.topics) for one in config.input.formats]
        self._has_format: dict[str, bool] = {}

    def facts(self, record: Record) -> BatchFacts | None:
        """Return the numbers of a valid batch; None for control messages, and for feeds that are filtered out.

        Raise `Rejected` for other records, and `RegistryError` when a schema that is needed cannot be had.
        """
        topic = record.partition.topic
        if topic not in self._has_format:
            self._has_format[topic] = any(choice.groups(topic) is not None for choice in self._choices)
        return self._by_format(record) if self._has_format[topic] else self._usual.facts(record.value)

    def _by_format(self, record: Record) -> BatchFacts | None:
        batch = self._decoder.read(record)
        if batch is None:
            return None
        feed, length = FeedKey(batch.region, batch.exchange, batch.request_type), self._config.input.limits.name_length
        check_feed(feed, length)
        if not self._usual.wants(feed):
            return None
        symbols = {row.symbol for row in batch.data}
        for symbol in symbols:
            check_symbol(symbol, length)
        efficiency = 1 / len(symbols) if symbols else 0.0
        return BatchFacts(feed, len(batch.data), len(symbols), efficiency, batch.timestamp_ms)


def required_schemas(registry: SchemaRegistryFormat) -> Callable[[int], Any]:
    """Return what finds the schemas of a registry by id; it raises `RegistryError` for one that cannot be had."""
    # Loaded when it is needed, as is the client of the registry.
    from exporter.events.writer_schemas import schemas
    from exporter.runtime.worker import ThreadWorker

    return schemas(registry, ThreadWorker("schemas")).require
