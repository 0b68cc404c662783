"""Which topics are read: the only place that matches `input.topics`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Literal

from exporter.config.topic_pattern import TopicPattern

# The prefix of topics of Kafka and its tools, such as __consumer_offsets.
INTERNAL = "__"


def ingestion_group(group: str) -> str:
    """Return the group that reads ingestion events beside the group of the batches."""
    return f"{group}-ingestion"


def is_pattern(entry: str) -> bool:
    """Return whether an entry of `input.topics` is a pattern rather than a name."""
    return entry.startswith("^")


def shown_as(entries: Iterable[str], topics: Literal["all", "pattern", "none"]) -> Callable[[str], str]:
    """Return what gives the name under which a topic is shown by `metrics.topics`: empty when none is."""
    if topics == "all":
        return str
    return cache(Subscription(entries).entry) if topics == "pattern" else lambda _: ""


class Subscription:
    """The topics of names and patterns without those of `excluded`; never internal topics, whatever the pattern."""

    def __init__(self, entries: Iterable[str], excluded: Iterable[str] = ()) -> None:
        self.entries = entries = tuple(entries)
        self._names = frozenset(entry for entry in entries if not is_pattern(entry))
        self._patterns = [TopicPattern(entry) for entry in entries if is_pattern(entry)]
        self._excluded = Subscription(excluded) if (excluded := tuple(excluded)) else None

    @property
    def subscribed(self) -> list[str]:
        """The entries for a consumer's subscription; client and brokers then find the same topics as `means`."""
        return [*sorted(self._names), *(pattern.subscribed for pattern in self._patterns)]

    @property
    def ignored(self) -> list[str]:
        """The patterns of topics that a client must not know of: internal topics, and those that are excluded."""
        return [f"^{INTERNAL}", *([] if self._excluded is None else map(_whole, self._excluded.subscribed))]

    def means(self, name: str) -> bool:
        """Return whether a topic of that name is to be read."""
        return not name.startswith(INTERNAL) and self._covers(name) and not self.excludes(name)

    def excludes(self, name: str) -> bool:
        """Return whether a topic of that name is not to be read, whatever covers it."""
        return self._excluded is not None and self._excluded.means(name)

    def among(self, names: Iterable[str]) -> list[str]:
        """Return those of the names that are to be read, in order."""
        return sorted(filter(self.means, names))

    def internal(self, names: Iterable[str]) -> list[str]:
        """Return the internal topics that a pattern covers, which are not read, in order."""
        return sorted(name for name in names if name.startswith(INTERNAL) and self._covers(name))

    def entry(self, name: str) -> str:
        """Return the entry that means a topic: its name, or the first pattern that covers it; the name if none does."""
        return name if name in self._names else next((p.text for p in self._patterns if p.matches(name)), name)

    def _covers(self, name: str) -> bool:
        return name in self._names or any(pattern.matches(name) for pattern in self._patterns)


def _whole(entry: str) -> str:
    """Return a pattern for an entry of a subscription."""
    return entry if is_pattern(entry) else "^" + entry.replace(".", "[.]") + "$"
