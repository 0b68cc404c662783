"""Messages between the consumer and the loop, with limits on the number and the bytes of a turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import Any

# The limits of a turn, in records and unpacked bytes: with the most expensive records about 0.2 s of work (measured).
TAKE_RECORDS = 500
TAKE_BYTES = 4 * 1024**2


class Intake:
    """Queue of fetched messages that the loop has not taken yet.

    The size of a message is known only after the consumer returns it, so those beyond a turn's limit wait here.
    """

    def __init__(self) -> None:
        self._waiting: deque[Any] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def fetch(self, consumer: Any, seconds: float) -> None:
        """Poll the consumer, which also calls its callbacks; wait up to `seconds` for the first message."""
        first = consumer.poll(seconds)
        if first is None:
            return
        is_idle = not self._waiting
        # Callbacks may drop partitions between two polls, so messages are kept nowhere else.
        self._waiting.append(first)
        portion, size = 4, len(first)
        while is_idle and len(self._waiting) < TAKE_RECORDS and size < TAKE_BYTES:
            messages = consumer.consume(min(portion, TAKE_RECORDS - len(self._waiting)), 0)
            self._waiting += messages
            if len(messages) < portion:
                return
            size += sum(map(len, messages))
            portion *= 4

    def take(self) -> list[Any]:
        """Return the messages of the next turn, at least one if any waits."""
        taken: list[Any] = []
        size, waiting = 0, self._waiting
        while waiting and len(taken) < TAKE_RECORDS and size < TAKE_BYTES:
            message = waiting.popleft()
            size += len(message)
            taken.append(message)
        return taken

    def drop(self, partitions: Container[tuple[str, int]]) -> None:
        """Drop the messages of partitions that were released, or are read from another offset."""
        if self._waiting:
            kept = (each for each in self._waiting if (each.topic(), each.partition()) not in partitions)
            self._waiting = deque(kept)
