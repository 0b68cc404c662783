"""Where the partitions of topics begin and end, and whether topics are still the ones that we began to read.

Each topic has an id of its own, and one made anew has another.

librdkafka does not tell when a topic was deleted and made anew between two of its requests; it reads on at the old
offset, and what lies before that is never read. So we ask for the ids ourselves, from time to time.
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

# Between two questions: for so long at most a topic that was made anew goes unnoticed.
LOOK_SECONDS = 5.0
ANSWER_SECONDS = 3.0
ENDS_SECONDS = 5.0
NO_ID = str(Uuid(0, 0))  # of brokers that know no ids
# The library's types leave it out.
_OffsetSpec: Any = kafka_admin.OffsetSpec  # type: ignore[attr-defined]


class Topics:
    """Asks by an admin client that is made with the first question. Loop thread only."""

    def __init__(self, make_admin: Callable[[], Any]) -> None:
        self._make_admin = make_admin
        self._admin: Any = None
        self._has_told: bool | None = None  # whether there ever was an answer; None before the first question
        self._asked: dict[str, Future[Any]] = {}
        self._due = 0.0

    def renew(self) -> None:
        """Begin anew with another client, as the one that there is may not find its brokers any more."""
        self._admin, self._asked = None, {}

    def ids(self, names: Collection[str]) -> dict[str, str]:
        """Return the id of each topic, empty where there is none; raise `TimeoutError` when it is not to be had now.

        Whoever did not answer the first question is taken for one who tells no ids.
        """
        asked = self._ask(names) if names else {}
        if self._has_told is not False:
            wait(asked.values(), ANSWER_SECONDS)
        told = self._told(asked)
        if self._has_told and len(told) < len(asked):
            raise TimeoutError("the ids of topics are not to be had")
        return {name: told.get(name) or "" for name in names}

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        """Return the first offset of each partition, and the one after its last committed record.

        All are asked for at once, in one request for each broker; raise `KafkaException` when one is not known.
        """
        low, high = (self._listed(partitions, spec) for spec in (_OffsetSpec.earliest(), _OffsetSpec.latest()))
        return {partition: (low[partition].result().offset, high[partition].result().offset) for partition in low}

    def _listed(self, partitions: Collection[Partition], spec: Any) -> dict[Partition, Future[Any]]:
        asked = {TopicPartition(*partition): spec for partition in partitions}
        answers = self._client().list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=ENDS_SECONDS
        )
        return {Partition(tp.topic, tp.partition): answer for tp, answer in answers.items()}

    def look(self, names: Collection[str], now: float) -> dict[str, str | None]:
        """Return what is told of the topics since the last look, without waiting; None for one that is not there."""
        if self._asked and all(future.done() for future in self._asked.values()):
            asked, self._asked = self._asked, {}
            return self._told(asked)
        if names and not self._asked and now >= self._due:
            self._due = now + LOOK_SECONDS
            self._asked = self._ask(names)
        return {}

    def _ask(self, names: Collection[str]) -> dict[str, Future[Any]]:
        asked: dict[str, Future[Any]] = self._client().describe_topics(
            TopicCollection(sorted(names)), request_timeout=LOOK_SECONDS
        )
        return asked

    def _client(self) -> Any:
        if self._admin is None:
            self._admin = self._make_admin()
        return self._admin

    def _told(self, asked: dict[str, Future[Any]]) -> dict[str, str | None]:
        told = {name: _id(future) for name, future in asked.items() if _is_answered(future)}
        if told:
            self._has_told = True
        elif asked and self._has_told is None:
            self._has_told = False
            log.info("ids of topics are not to be had: one that was made anew is told by its offsets only")
        return told


def _is_answered(future: Future[Any]) -> bool:
    """Return whether a broker has answered; librdkafka's own codes, which say that none has, are below 0."""
    error = future.exception() if future.done() else TimeoutError()
    return error is None or (isinstance(error, KafkaException) and error.args[0].code() >= 0)


def _id(future: Future[Any]) -> str | None:
    """Return the id of a topic that was answered for; empty when it has none, and None when there is no such topic."""
    if (error := future.exception()) is not None:
        return None if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART else ""
    topic_id = str(future.result().topic_id)
    return "" if topic_id == NO_ID else topic_id
