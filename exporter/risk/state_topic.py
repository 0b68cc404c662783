"""The states of portfolios in the topic of risk events: the last event of each portfolio carries its state."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec
from confluent_kafka import KafkaException, Message

from exporter.config.schema import Config
from exporter.config.subscription import Subscription
from exporter.kafka.credentials import KafkaLogin
from exporter.kafka.positions import Span
from exporter.kafka.reader import TopicReader, reader_properties
from exporter.risk.events import STATE_HEADER
from exporter.risk.guard import PortfolioState
from exporter.runtime import logs
from exporter.runtime.foreign_text import printable

log = logs.logger("risk")

ANSWER_SECONDS = 10.0
# Records of each partition that are read first; then so many times as many, until each portfolio is found.
FIRST_RECORDS, FACTOR = 1000, 8


class StateError(Exception):
    """The states cannot be read; the text contains no secret."""


class StateTopic:
    """The topic from which a successor learns what its predecessors knew of portfolios; `login` may change."""

    def __init__(self, config: Config, login: KafkaLogin | None = None) -> None:
        self._config = config
        self._login = login or KafkaLogin(config)

    def read(self, names: Collection[str]) -> dict[str, PortfolioState]:
        """Return the last committed state of each portfolio that has one; raise `StateError`.

        Waits for transactions that are open. What has no valid state is as if it were not there.
        """
        count = FIRST_RECORDS
        try:
            while (found := self._last(names, count)) is None:
                count *= FACTOR
        except KafkaException as error:
            raise StateError(printable(error.args[0].str())) from error
        return found

    def _last(self, names: Collection[str], count: int) -> dict[str, PortfolioState] | None:
        """Return the states in the last `count` records of each partition; None if more of them may have others."""
        topic = self._config.risk.topic
        # A reader for each range: a client that has read a partition to its end leaves it paused.
        properties = reader_properties(self._login.present(self._config))
        with TopicReader(properties, self._config.input.group, ANSWER_SECONDS) as reader:
            partitions = reader.partitions(Subscription([topic]))
            if not partitions:
                # An event to it would hold up all other events.
                raise StateError(f"the topic {topic} does not exist")
            first, ends = reader.first(partitions), reader.written(partitions)
            starts = {partition: max(first[partition], end - count) for partition, end in ends.items()}
            spans = {partition: Span(starts[partition], end, end) for partition, end in ends.items()}
            found = _states(reader.read(spans), names)
        return found if len(found) == len(names) or starts == first else None


def _states(messages: Iterable[Message], names: Collection[str]) -> dict[str, PortfolioState]:
    found: dict[str, PortfolioState] = {}
    for message in messages:
        name = (message.key() or b"").decode(errors="replace")
        header = dict(message.headers() or ()).get(STATE_HEADER)
        if name not in names or not isinstance(header, bytes):
            continue
        try:
            found[name] = msgspec.json.decode(header, type=PortfolioState)
        except msgspec.MsgspecError as error:
            log.warning("the state of a portfolio is unreadable", extra={"portfolio": name, "error": str(error)})
    return found
