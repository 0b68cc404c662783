"""Detects a client that has lost all brokers for good."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException

from exporter.runtime.threads import start

# Between two questions to a silent client.
ASK_SECONDS = 5.0
# For the answer: one that is connected has it at once; one that is not may be about to connect again.
SOON_SECONDS, ANSWER_SECONDS = 0.3, 3.0


class Lifeline:
    """Comparison of a client that is silent with a new one.

    A broker that begins or ends may answer that there are no brokers. librdkafka 2.16 then forgets those that it knows,
    and in some cases never connects again, without an error (its issue 5301). `answers` returns whether brokers answer
    a new client; it may block. `is_lost` belongs to one thread.
    """

    def __init__(self, answers: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._answers = answers
        self._clock = clock
        self._due: float | None = None
        self._has_answer = False

    def is_lost(self, client: Any, *, is_silent: bool) -> bool:
        """Return whether brokers answer a new client and not this one, which may have nothing to do if `is_silent`.

        Call it in each turn. Asks once in a while, and blocks up to the seconds above.
        """
        if not is_silent:
            self._due, self._has_answer = None, False
            return False
        if self._has_answer:
            self._has_answer = False
            return not _has_brokers(client, ANSWER_SECONDS)
        now = self._clock()
        if self._due is not None and now >= self._due and not _has_brokers(client, SOON_SECONDS):
            start("brokers", self._ask)
        if self._due is None or now >= self._due:
            self._due = now + ASK_SECONDS
        return False

    def _ask(self) -> None:
        self._has_answer = self._answers()


def _has_brokers(client: Any, seconds: float) -> bool:
    try:
        # Of one topic, as the answer about all may be large; it need not exist.
        return bool(client.list_topics("__consumer_offsets", timeout=seconds).brokers)
    except KafkaException:
        return False
