"""The keys in Redis, and the changes of them that updates cause: pure, without client or clock.

With the prefix `marketdata`, for the partition `ticker-data.korea/0` and the feed `korea:upbit:ticker`:

| key | type | holds |
|---|---|---|
| `marketdata:{ticker-data.korea/0}:messages` | hash | name -> messages; under the empty name the fence |
| `marketdata:{ticker-data.korea/0}:seen` | sorted set | name by the stamp (ms) of the newest batch it was in |
| `marketdata:{korea:upbit:ticker}:distinct:489453` | HyperLogLog | the symbols of a window: stamp // window |
| `marketdata:partitions` | sorted set | partition by the time (ms) of the last write to it |

A name is region, exchange, request type and symbol, joined by NUL. Readers add up over the partitions.

- The **fence** of a partition is the offset of the first record that is not counted yet. It changes only together with
  the counts beside it, by one script, and the script refuses a delta that begins below it. So a record that is offered
  again, by any replica and together with any others, counts once. Fence and counts are one key: they expire together.
- The braces are hash tags: each call stays within one slot of a cluster. A sketch needs no fence, it is idempotent.
- Memory is bounded: every key expires when nothing was written to it for the TTL (a sketch after two windows), and a
  symbol is removed when it was in no batch for the TTL. A refused delta prolongs nothing: a topic that was deleted and
  created again under its name is counted when its offsets pass the old fence, or after the TTL.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from exporter.model import FeedKey, Partition, SymbolUpdate

# A script blocks the server: 5,000 messages for some 20 ms.
RECORDS_PER_DELTA = 500
MESSAGES_PER_DELTA = 5000

# The code of an error after the fence was moved: a repeated delta would be refused as counted.
HALFWAY = "HALFWAY"

# KEYS: messages, seen. ARGV: first offset, next offset, TTL in seconds, the least fence to expect, then name, messages,
# stamp of each symbol. A lower fence than expected is that of a server which lost updates: nothing is changed, and the
# caller writes from there.
# The fence is moved first, so that an error in the middle leaves a gap and never a double count. What a server refuses
# for now (it is full, or a replica) it refuses there, before anything is changed. Symbols age by the newest stamp or by
# the server's clock, whichever is behind: a replay drops nothing, nor does a stamp from the future.
APPLY = f"""
local fence = tonumber(redis.call('HGET', KEYS[1], '') or 0)
if fence > tonumber(ARGV[1]) or fence < tonumber(ARGV[4]) then return fence end
redis.call('HSET', KEYS[1], '', ARGV[2])
local counted, failure = pcall(function()
  for i = 5, #ARGV, 3 do
    redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
    redis.call('ZADD', KEYS[2], 'GT', ARGV[i + 2], ARGV[i])
  end
  local newest = tonumber(redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or 0)
  local oldest = math.min(newest, redis.call('TIME')[1] * 1000) - ARGV[3] * 1000
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. oldest, 'LIMIT', 0, 100)) do
    redis.call('HDEL', KEYS[1], name)
    redis.call('ZREM', KEYS[2], name)
  end
  redis.call('EXPIRE', KEYS[1], ARGV[3])
  redis.call('EXPIRE', KEYS[2], ARGV[3])
end)
if counted then return tonumber(ARGV[2]) end
return redis.error_reply('{HALFWAY} ' .. (type(failure) == 'table' and failure.err or tostring(failure)))
"""

# The field that keeps the fence.
FENCE = b""

_PARTITION = re.compile(rb"[A-Za-z0-9._-]{1,249}/[0-9]{1,10}")
# The largest integer that both the protocol of Redis and JSON carry.
_NUMBER_MAX = 2**63 - 1

_offset = attrgetter("offset")
_stamp = attrgetter("timestamp_ms")


class Keys(NamedTuple):
    """The names of the keys under a prefix; a partition is written as `topic/number`."""

    prefix: str

    @property
    def partitions(self) -> str:
        """The key of the index of all partitions."""
        return f"{self.prefix}:partitions"

    def messages(self, partition: str) -> str:
        """Return the key of counts and fence."""
        return f"{self.prefix}:{{{partition}}}:messages"

    def seen(self, partition: str) -> str:
        """Return the key of the stamps."""
        return f"{self.prefix}:{{{partition}}}:seen"

    def distinct(self, feed: FeedKey, window: int) -> str:
        """Return the key of the sketch of one window."""
        return f"{self.prefix}:{{{feed}}}:distinct:{window}"


def trials(keys: Keys) -> tuple[tuple[str | int, ...], ...]:
    """Return each command that the sidecar uses, in a form that changes nothing; PFADD has no such form."""
    key = keys.messages("")  # there is no such partition
    return (
        ("EVAL", "return 0", 0),
        ("EXPIRE", key, 1),
        ("HDEL", key, ""),
        ("HGET", key, ""),
        ("HINCRBY", key, "", "no number"),
        ("HMGET", key, ""),
        ("HSCAN", key, 0),
        ("HSET", key, "", "", "odd"),
        ("PEXPIRE", key, 1),
        ("PFCOUNT", key),
        ("TIME",),
        ("ZADD", key, "XX", 0, ""),
        ("ZMSCORE", key, ""),
        ("ZRANGE", key, 0, 0),
        ("ZRANGEBYSCORE", key, 0, 0),
        ("ZREM", key, ""),
        ("ZREMRANGEBYSCORE", key, 0, 0),
        ("ZREVRANGE", key, 0, 0),
    )


class SymbolCounts:
    """Counts and newest stamps of the symbols of a feed in one window."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self.seen: dict[str, int] = {}

    def add(self, update: SymbolUpdate) -> None:
        """Add an update that is not older than those before it."""
        self.messages.update(update.symbols)
        self.seen.update(dict.fromkeys(update.symbols, update.timestamp_ms))


class Delta(NamedTuple):
    """Change by the records of a partition from offset `first` to before `next`, by feed and window."""

    first: int
    next: int
    counts: dict[tuple[FeedKey, int], SymbolCounts]

    def arguments(self, ttl_seconds: int, least_fence: int) -> Iterator[bytes | int]:
        """Yield the ARGV of `APPLY`."""
        yield from (self.first, self.next, ttl_seconds, least_fence)
        for (feed, _), counts in self.counts.items():
            for symbol, messages in counts.messages.items():
                yield from (name(feed, symbol), messages, counts.seen[symbol])


def in_order(updates: Iterable[SymbolUpdate]) -> dict[Partition, list[SymbolUpdate]]:
    """Return the updates of each partition by ascending offset, each offset once."""
    found: dict[Partition, dict[int, SymbolUpdate]] = defaultdict(dict)
    for update in updates:
        found[update.partition][update.offset] = update
    return {partition: sorted(by_offset.values(), key=_offset) for partition, by_offset in found.items()}


def from_fence(updates: list[SymbolUpdate], fence: int) -> list[SymbolUpdate]:
    """Return those of the updates, ordered by offset, that are not counted yet."""
    return updates[bisect_left(updates, fence, key=_offset) :]


def delta(updates: Sequence[SymbolUpdate], window_ms: int) -> Delta:
    """Return the delta of the first updates, ordered by offset, as many as one call may carry."""
    head = updates[: _head(updates)]
    counts: dict[tuple[FeedKey, int], SymbolCounts] = defaultdict(SymbolCounts)
    for update in sorted(head, key=_stamp):
        counts[update.feed, update.timestamp_ms // window_ms].add(update)
    return Delta(head[0].offset, head[-1].offset + 1, counts)


def _head(updates: Sequence[SymbolUpdate]) -> int:
    messages = 0
    for count, update in enumerate(updates[:RECORDS_PER_DELTA]):
        messages += len(update.symbols)
        if messages > MESSAGES_PER_DELTA:
            return max(count, 1)
    return min(len(updates), RECORDS_PER_DELTA)


def encoded(symbol: str) -> bytes:
    """Return a symbol in UTF-8, with ? for lone surrogates, so that the other characters are kept."""
    return symbol.encode(errors="replace")


def name(feed: FeedKey, symbol: str) -> bytes:
    """Return the name of a symbol of a feed within a partition."""
    return encoded("\0".join((*feed, symbol)))


def parsed(text: bytes) -> tuple[FeedKey, str]:
    """Return the feed and the symbol of a name."""
    region, exchange, request_type, symbol = text.decode(errors="replace").split("\0", 3)
    return FeedKey(region, exchange, request_type), symbol


def is_name(text: object) -> bool:
    """Return whether a value can be the name of a symbol, as `name` returns it."""
    if not isinstance(text, bytes) or text.count(b"\0") < 3:
        return False
    try:
        return bool(text.decode())
    except UnicodeDecodeError:
        return False


def is_partition(text: object) -> bool:
    """Return whether a value can be a partition in the index."""
    return isinstance(text, bytes) and _PARTITION.fullmatch(text) is not None


def number(value: object) -> int | None:
    """Return a count (bytes) or a stamp (float) as a number, None when it is neither."""
    if isinstance(value, bytes):
        return int(value) if value.isdigit() and len(value) < 20 and int(value) <= _NUMBER_MAX else None
    if isinstance(value, float) and value.is_integer() and 0 <= value <= _NUMBER_MAX:
        return int(value)
    return None


def pattern(feed: FeedKey) -> bytes:
    """Return the glob that matches the names of a feed's symbols."""
    return re.sub(rb"([\\*?\[\]])", rb"\\\1", name(feed, "")) + b"*"
