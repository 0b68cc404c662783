"""Members of a group that come and go, on brokers behind proxies."""

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from tests.chaos.brokers import Brokers
from tests.support.process import Part
from tests.support.waiting import eventually

P = TypeVar("P", bound=Part)

MOST_MEMBERS = 4
GROUPS: dict[str, dict[str, Any]] = {
    # A broker that was killed and started waits for members that were dead before as long as for a slow poll.
    "classic": {"session.timeout.ms": "2000", "heartbeat.interval.ms": "300", "max.poll.interval.ms": "15000"},
    "consumer": {"group.protocol": "consumer"},
}
FETCH = {"fetch.wait.max.ms": "20", "topic.metadata.refresh.interval.ms": "500", "socket.timeout.ms": "3000"}


class Members(Generic[P]):
    """`up` are the members that run and do not sleep; whoever does harm to one takes it out first."""

    def __init__(self, brokers: Brokers, seed: int) -> None:
        self.brokers = brokers
        self.random = random.Random(seed)
        self.up: list[P] = []
        self.revived = 0
        self._down: list[P] = []

    @contextmanager
    def away(self) -> Iterator[P]:
        """One of those that run, while it must not be scraped."""
        member = self.random.choice(self.up)
        self.up.remove(member)
        yield member
        self.up.append(member)

    def scale(self, number: int) -> None:
        """Start or stop members until there are so many."""
        while len(self.up) < number:
            self.up.append(self._down.pop().start())
        while len(self.up) > number:
            member = self.random.choice(self.up)
            self.up.remove(member)
            end(member)
            self._down.append(member)

    def revive(self) -> None:
        """Start again what has ended by itself, as whatever runs containers does."""
        for member in [member for member in self.up if not member.is_running]:
            self.up.remove(member)
            member.kill()
            self.up.append(member.start())
            self.revived += 1


def end(member: Part) -> None:
    """Ask a member to end; it has half a minute, and may not find the time to say goodbye."""
    member.signal(signal.SIGTERM)
    eventually(lambda: member.exit_code() is not None, 30, "a member did not end")
    member.kill()
