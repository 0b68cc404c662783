"""Which topics an entry with `topics` is for, and what the groups of its patterns cover. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exporter.config.named_pattern import NamedPattern
from exporter.config.subscription import is_pattern


class TopicChoice:
    """Names of topics, and patterns of names with groups."""

    def __init__(self, entries: Iterable[str]) -> None:
        entries = tuple(entries)
        self._names = frozenset(entry for entry in entries if not is_pattern(entry))
        self._patterns = [NamedPattern(entry) for entry in entries if is_pattern(entry)]

    def groups(self, topic: str) -> Mapping[str, str] | None:
        """Return what the groups of the first pattern that matches cover; None for a topic that is not meant."""
        if topic in self._names:
            return {}
        return next((groups for each in self._patterns if (groups := each.named(topic)) is not None), None)
