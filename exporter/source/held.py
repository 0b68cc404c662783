"""Messages that cannot be decoded yet, and those behind them on their partitions; other partitions are not delayed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Sequence
from typing import Any, Protocol

from exporter.model import Partition, Record


class Hold(Protocol):
    """Decides which messages have to wait: of Kafka's client, or the records that child processes made of them."""

    @property
    def partitions(self) -> frozenset[Partition]:
        """The partitions that wait; nothing more should be fetched of them."""

    def release(self, messages: list[Any]) -> list[Any]:
        """Return what need not wait any longer, and what of the next messages need not wait, in order."""

    def drop(self, partitions: Container[tuple[str, int]]) -> None:
        """Forget what waits of partitions."""

    def reasons(self) -> list[str]:
        """Return a line for each partition that waits, with the reason."""


class NoHold:
    """No message has to wait."""

    partitions: frozenset[Partition] = frozenset()

    def release(self, messages: list[Any]) -> list[Any]:
        """See Hold."""
        return messages

    def drop(self, partitions: Container[tuple[str, int]]) -> None:
        """See Hold."""

    def reasons(self) -> list[str]:
        """See Hold."""
        return []


class Held:
    """Messages wait until `obstacle` returns no reason for them any more; it is asked again and again, and never waits.

    It takes topic and value. As nothing is fetched of partitions that wait, there are no more messages here than one
    turn takes.
    """

    def __init__(self, obstacle: Callable[[str, bytes | None], str]) -> None:
        self._obstacle = obstacle
        self._waiting: dict[Partition, deque[Any]] = {}
        self._reasons: dict[Partition, str] = {}

    @property
    def partitions(self) -> frozenset[Partition]:
        """See Hold."""
        return frozenset(self._waiting)

    def release(self, messages: list[Any]) -> list[Any]:
        """See Hold."""
        released: list[Any] = []
        for partition, waiting in list(self._waiting.items()):
            while waiting and self._is_free(partition, waiting[0]):
                released.append(waiting.popleft())
            if not waiting:
                del self._waiting[partition]
        for message in messages:
            partition = _partition(message)
            if partition in self._waiting:
                self._waiting[partition].append(message)
            elif self._is_free(partition, message):
                released.append(message)
            else:
                self._waiting[partition] = deque([message])
        return released

    def _is_free(self, partition: Partition, message: Any) -> bool:
        value, offset = _content(message)
        reason = self._obstacle(partition.topic, value)
        if reason:
            self._reasons[partition] = f"{partition} waits at offset {offset}: {reason}"
        else:
            self._reasons.pop(partition, None)
        return not reason

    def drop(self, partitions: Container[tuple[str, int]]) -> None:
        """See Hold."""
        for partition in [each for each in self._waiting if each in partitions]:
            del self._waiting[partition]
            self._reasons.pop(partition, None)

    def reasons(self) -> list[str]:
        """See Hold."""
        return list(self._reasons.values())


def _partition(message: Any) -> Partition:
    return message.partition if isinstance(message, Record) else Partition(message.topic(), message.partition())


def _content(message: Any) -> tuple[bytes | None, int]:
    """Return value and offset; None for an error, which is no value."""
    if isinstance(message, Record):
        return message.value, message.offset
    return None if message.error() is not None else message.value(), message.offset()


def changes(
    stopped: frozenset[Partition], wanted: frozenset[Partition]
) -> tuple[Sequence[Partition], Sequence[Partition]]:
    """Return which partitions to stop, and which to go on with."""
    return sorted(wanted - stopped), sorted(stopped - wanted)
