"""A Kafka broker inside this process, for the demo, for load tests without services, and for experiments.

It is the mock cluster of librdkafka. It listens on loopback only, keeps nothing after `stop`, creates each topic with
four partitions when a producer asks for it, and silently drops the oldest records of a partition beyond 5 MiB.
Topics cannot be created by request, and transactions are accepted but not real: aborted records can be read, offsets
sent in a transaction are lost, and two producers of one transactional.id do not fence each other. Delivery reports
have a wrong timestamp; the records keep theirs.
"""

from __future__ import annotations

import logging

from confluent_kafka import Producer

_ANSWER_SECONDS = 10.0
_QUIET = logging.getLogger(f"{__name__}.librdkafka")


class EmbeddedBroker:
    """A broker that lives until `stop`, or as long as this value."""

    def __init__(self) -> None:
        _QUIET.addHandler(logging.NullHandler())
        _QUIET.propagate = False
        # The cluster lives as long as the client that made it.
        self._owner: Producer | None = Producer({"test.mock.num.brokers": 1, "logger": _QUIET})
        brokers = self._owner.list_topics(timeout=_ANSWER_SECONDS).brokers.values()
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def stop(self) -> None:
        """Stop the broker and drop its records."""
        self._owner = None
