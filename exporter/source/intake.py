"""Messages between the consumer and the loop: how many are taken at once, in number and in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import Any

# A turn takes at most so many records, and no more once they have so many bytes, unpacked: with the most expensive
# records that is about 0.2 s of work.
TAKE_RECORDS = 500
TAKE_BYTES = 4 * 1024**2


class Intake:
    """What the consumer has handed out and was not taken yet, in order.

    How large messages are is known only once the consumer hands them out; what is too much for one turn waits here.
    """

    def __init__(self) -> None:
        self._waiting: deque[Any] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def fetch(self, consumer: Any, seconds: float) -> None:
        """Let the consumer hand messages out and call back; wait at most so long for the first."""
        first = consumer.poll(seconds)
        if first is None:
            return
        is_idle = not self._waiting
        # Callbacks may drop partitions in between, so nothing is kept elsewhere.
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
        """Return the next messages: as many as one turn may have, and at least one when any waits."""
        taken: list[Any] = []
        size, waiting = 0, self._waiting
        while waiting and len(taken) < TAKE_RECORDS and size < TAKE_BYTES:
            message = waiting.popleft()
            size += len(message)
            taken.append(message)
        return taken

    def drop(self, partitions: Container[tuple[str, int]]) -> None:
        """Forget what waits of partitions that are not ours any more, or are read from another place."""
        if self._waiting:
            kept = (each for each in self._waiting if (each.topic(), each.partition()) not in partitions)
            self._waiting = deque(kept)
