"""The keys of the caches in Redis, and patterns over them. Pure.

| key | holds |
|---|---|
| `rate:USD` | the last `exchange_rate_updated` of a currency, as JSON |
| `history:USD`, `history:USD:1d` | what other programs derived from the rates of a currency |
| `stats:…`, `analysis:…` | what other programs derived from all rates |
| `ingestion:seen:rate:USD` | hash: `at`, the time of the newest update or invalidation |
| `ingestion:open` | hash: by currency the time of an update whose histories are not all dropped yet |
| `ingestion:names` | set: names of histories, such as `1d`, that an update drops at once |
| `ingestion:floor` | the time of the newest invalidation of all rates |
| `ingestion:round:SOURCE` | the time of the newest completed round whose refresh has ended |

Keys below `ingestion:` are the service's own: no event can drop them. Times are Unix microseconds. All keys expire.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

OWN = "ingestion:"
SEEN = f"{OWN}seen:"
FLOOR = f"{OWN}floor"
OPEN = f"{OWN}open"
NAMES = f"{OWN}names"
ROUND = f"{OWN}round:"
RATE, HISTORY, STATS, ANALYSIS = "rate:", "history:", "stats:", "analysis:"
KINDS = (RATE, HISTORY, STATS, ANALYSIS)
# The name of a rate in events.
_ALIAS = "exchange_rate:"
_WILDCARD = re.compile(r"[*?\[\\]")
# As Redis reads patterns: within brackets a range may end with any character, and a bracket need not be closed.
_TOKEN = re.compile(r"\\(.)|\[(\^?)((?:\\.|[^\]]-.|[^\]])*)(?:\]|\Z)|(\*+)|(\?)|(.)", re.DOTALL)
_CHOICE = re.compile(r"\\(.)|(.)-(.)|(.)", re.DOTALL)


class Names(NamedTuple):
    """What an event names: exact keys, and patterns, without repetitions."""

    exact: tuple[str, ...]
    patterns: tuple[str, ...]

    @property
    def all_rates(self) -> bool:
        """Whether a pattern covers each rate, cached or not."""
        return not {"*", f"{RATE}*"}.isdisjoint(self.patterns)

    @property
    def may_match_rates(self) -> bool:
        """Whether a pattern may match the key of a rate."""
        return any(each.startswith(RATE) or not has_kind(each) for each in self.patterns)


def names_of(cache_keys: Iterable[str]) -> Names:
    """Return what the keys of an invalidation name."""
    names = dict.fromkeys(RATE + name.removeprefix(_ALIAS) if name.startswith(_ALIAS) else name for name in cache_keys)
    exact = tuple(name for name in names if not _WILDCARD.search(name))
    return Names(exact, tuple(name for name in names if _WILDCARD.search(name)))


def has_kind(pattern: str) -> bool:
    """Return whether a pattern has a kind: no wildcard before its first colon."""
    head, colon, _ = pattern.partition(":")
    return bool(colon) and not _WILDCARD.search(head)


class Choice:
    """Which of the keys that exist are dropped; `protected` are beginnings of keys that no event may drop.

    A pattern without a kind, such as `*`, reaches the caches and nothing else in the same Redis.
    """

    def __init__(self, patterns: Iterable[str], protected: Iterable[str]) -> None:
        patterns = tuple(patterns)
        self._protected = (OWN, *protected)
        self._with_kind = matcher(filter(has_kind, patterns))
        self._any_kind = matcher(pattern for pattern in patterns if not has_kind(pattern))

    def allows(self, key: str) -> bool:
        """Return whether a key may be dropped when it is named."""
        return not key.startswith(self._protected)

    def __contains__(self, key: str) -> bool:
        if not self.allows(key):
            return False
        is_named = self._with_kind.fullmatch(key) is not None
        return is_named or (key.startswith(KINDS) and self._any_kind.fullmatch(key) is not None)


def matcher(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return an expression for all texts that any of the patterns matches in Redis."""
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns) or r"(?!)", re.DOTALL)


def _expression(pattern: str) -> str:
    return "".join(_part(*found.groups()) for found in _TOKEN.finditer(pattern))


def _part(escaped: str, negation: str, choice: str, star: str, one: str, literal: str) -> str:
    if star or one:
        return ".*" if star else "."
    if choice is None:
        return re.escape(escaped or literal)
    ranges = [sorted(filter(None, found.groups())) for found in _CHOICE.finditer(choice)]
    inside = "".join("-".join(map(re.escape, ends)) for ends in ranges)
    return f"[{negation}{inside}]" if inside else "." if negation else "(?!)"


def escaped(text: str) -> str:
    """Return a text as it is in a pattern of Redis."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)


class Histories:
    """The histories of some currencies, but for those that are named like the currency alone."""

    def __init__(self, codes: Iterable[str]) -> None:
        self._codes = frozenset(codes)

    @property
    def pattern(self) -> str:
        """A pattern that matches them all, and as few others as one pattern can."""
        return f"{HISTORY}{escaped(next(iter(self._codes)))}:*" if len(self._codes) == 1 else f"{HISTORY}*:*"

    def name(self, key: str) -> str | None:
        """Return the name of a key, such as `1d` of `history:USD:1d`; None for the history of another currency."""
        code, colon, name = key.removeprefix(HISTORY).partition(":")
        while colon:
            if code in self._codes:
                return name
            part, colon, name = name.partition(":")  # a code may have colons, too
            code = f"{code}:{part}"
        return None


def kind_of(key: str) -> str:
    """Return the kind of a key without its colon, `other` for what is none of the caches."""
    kind = key.partition(":")[0]
    return kind if f"{kind}:" in KINDS else "other"


DERIVED = Names((), (f"{STATS}*", f"{ANALYSIS}*"))
