"""Ids and offsets of topics: a topic that was deleted and created again has another id.

librdkafka does not report a topic that was created again between two of its requests: it continues at the old offset,
and never reads the records before it. So the ids are requested here from time to time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future, wait
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition, Uuid
from confluent_kafka import admin as kafka_admin

from exporter.model import Partition
from exporter.runtime import logs

log = logs.logger("source")

# Between two requests: the longest that a topic created again goes unnoticed.
POLL_SECONDS = 5.0
ANSWER_SECONDS = 3.0
ENDS_SECONDS = 5.0
NO_ID = str(Uuid(0, 0))  # the answer of brokers without ids
# The library's types leave it out.
_OffsetSpec: Any = kafka_admin.OffsetSpec  # type: ignore[attr-defined]


class TopicIds:
    """Client for ids and offsets of topics, made by the first request. Loop thread only."""

    def __init__(self, make_admin: Callable[[], Any]) -> None:
        self._make_admin = make_admin
        self._admin: Any = None
        self._has_ids: bool | None = None  # whether brokers ever answered; None before the first request
        self._asked: dict[str, Future[Any]] = {}
        self._due = 0.0

    def renew(self) -> None:
        """Make another client at the next request, as the present one may not find the brokers any more."""
        self._admin, self._asked = None, {}

    def ids(self, names: Collection[str]) -> dict[str, str]:
        """Return the id of each topic, empty where there is none; raise `TimeoutError` when they are unavailable.

        Brokers that did not answer the first request are taken to have no ids.
        """
        asked = self._ask(names) if names else {}
        if self._has_ids is not False:
            wait(asked.values(), ANSWER_SECONDS)
        found = self._answers(asked)
        if self._has_ids and len(found) < len(asked):
            raise TimeoutError("the ids of topics are unavailable")
        return {name: found.get(name) or "" for name in names}

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        """Return the first offset of each partition, and the one after its last committed record.

        One request for each broker asks for all of them; raise `KafkaException` when one is unknown.
        """
        low, high = (self._listed(partitions, spec) for spec in (_OffsetSpec.earliest(), _OffsetSpec.latest()))
        return {partition: (low[partition].result().offset, high[partition].result().offset) for partition in low}

    def _listed(self, partitions: Collection[Partition], spec: Any) -> dict[Partition, Future[Any]]:
        asked = {TopicPartition(*partition): spec for partition in partitions}
        answers = self._client().list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=ENDS_SECONDS
        )
        return {Partition(tp.topic, tp.partition): answer for tp, answer in answers.items()}

    def poll(self, names: Collection[str], now: float) -> dict[str, str | None]:
        """Return the ids answered since the last call, without waiting; None for a topic that does not exist."""
        if self._asked and all(future.done() for future in self._asked.values()):
            asked, self._asked = self._asked, {}
            if self._has_ids and not any(map(_is_answered, asked.values())):
                self.renew()  # it may have lost the brokers for good, see `kafka.lifeline`
            return self._answers(asked)
        if names and not self._asked and now >= self._due:
            self._due = now + POLL_SECONDS
            self._asked = self._ask(names)
        return {}

    def _ask(self, names: Collection[str]) -> dict[str, Future[Any]]:
        asked: dict[str, Future[Any]] = self._client().describe_topics(
            TopicCollection(sorted(names)), request_timeout=POLL_SECONDS
        )
        return asked

    def _client(self) -> Any:
        if self._admin is None:
            self._admin = self._make_admin()
        return self._admin

    def _answers(self, asked: dict[str, Future[Any]]) -> dict[str, str | None]:
        found = {name: _id(future) for name, future in asked.items() if _is_answered(future)}
        if found:
            self._has_ids = True
        elif asked and self._has_ids is None:
            self._has_ids = False
            log.info("topic ids unavailable: a topic that is created again is recognized by its offsets only")
        return found


def _is_answered(future: Future[Any]) -> bool:
    """Return whether a broker has answered; codes below 0 are librdkafka's own, without an answer."""
    error = future.exception() if future.done() else TimeoutError()
    return error is None or (isinstance(error, KafkaException) and error.args[0].code() >= 0)


def _id(future: Future[Any]) -> str | None:
    """Return the id in an answer; empty without an id, None when the topic does not exist."""
    if (error := future.exception()) is not None:
        return None if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART else ""
    topic_id = str(future.result().topic_id)
    return "" if topic_id == NO_ID else topic_id
