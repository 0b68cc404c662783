"""The entries in Redis, which several processes share.

`NAME:k:KEY` has an entry, with its time to live. An invalidation writes a random token to `NAME:v:KEY`, or for a
prefix to `NAME:loads`, before it deletes. A load notes both before it begins, and its answer is written only if they
are the same still: what began before an invalidation, in any process, does not come back after it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from exporter.performance.breaker import CircuitOpenError
from exporter.performance.cache.distrust import Distrust, Mark
from exporter.performance.cache.entries import Decode, Encode, Entry, packed, unpacked
from exporter.performance.cache.steps import Ask, Steps
from exporter.performance.notices import log

# Longer than a load takes.
TOKEN_MS = 3_600_000
SCAN = 1000
_WRITE = """
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] or (redis.call('GET', KEYS[3]) or '') ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1
"""
Ticket = tuple[bytes, bytes]


class Reading(NamedTuple):
    """An entry, or None, and what a load needs to write its answer; no ticket when it must not."""

    entry: Entry | None
    ticket: Ticket | None


NOTHING = Reading(None, None)


class RedisTier:
    """What is asked of Redis; nothing is raised, and `count` gets the result of each request that was made."""

    def __init__(
        self, name: str, encode: Encode, decode: Decode, count: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._name = name
        self._encode = encode
        self._decode = decode
        self._count = count
        self._clock = clock
        self._distrust = Distrust()
        self._lock = threading.Lock()  # of what is distrusted
        self._longest = 0.0
        self._is_warned = False
        self._refused = set[bool]()  # ways, by `is_write`, whose breaker is open
        self._last_error = ""

    def distrust(self, text: str, ttl: float, *, is_prefix: bool = False) -> Mark:
        """Stop reading a key or a prefix, until an invalidation has come to Redis."""
        with self._lock:
            self._longest = max(self._longest, ttl)
            return self._distrust.add(text, is_prefix=is_prefix, until=self._clock() + self._longest)

    def read(self, key: str) -> Steps[Reading]:
        """Return what Redis has."""
        with self._lock:
            marks = self._distrust.of(key, self._clock())
        if marks and not (yield from self.invalidate(marks)):
            return NOTHING
        names = [f"{self._name}:k:{key}", f"{self._name}:v:{key}", f"{self._name}:loads"]

        def call(client: Any) -> Any:
            pipeline = client.pipeline(transaction=False)
            return pipeline.mget(names).pttl(names[0]).execute()

        answer = yield from self._ask(Ask(call, False))
        if answer is None:
            return NOTHING
        (payload, version, loads), left_ms = answer
        return Reading(self._entry(payload, left_ms), (version or b"", loads or b""))

    def write(self, key: str, entry: Entry, ticket: Ticket) -> Steps[None]:
        """Write an answer of the loader, unless there was an invalidation since the ticket."""
        payload = self._payload(entry)
        if payload is not None:
            self._longest = max(self._longest, entry.ttl)
            names = [f"{self._name}:k:{key}", f"{self._name}:v:{key}", f"{self._name}:loads"]
            arguments = [*ticket, payload, max(1, int(entry.ttl * 1000))]
            yield from self._ask(Ask(lambda client: client.eval(_WRITE, 3, *names, *arguments), True))

    def put(self, key: str, entry: Entry, mark: Mark) -> Steps[None]:
        """Write a value that the caller has set; ends the mark when it is there."""
        payload = self._payload(entry)
        if payload is None or entry.ttl <= 0 or mark.is_prefix:
            yield from self.invalidate([mark])
            return

        def call(client: Any) -> Any:
            pipeline = client.pipeline(transaction=False)
            pipeline.set(f"{self._name}:v:{key}", uuid4().hex, px=TOKEN_MS)
            return pipeline.set(f"{self._name}:k:{key}", payload, px=max(1, int(entry.ttl * 1000))).execute()

        is_written = (yield from self._ask(Ask(call, True))) is not None
        if is_written and not self._trust(mark):
            # Another value was set meanwhile, and may have been written before this one.
            yield from self._delete(key)

    def invalidate(self, marks: Sequence[Mark]) -> Steps[bool]:
        """Delete what is under the marks, and end each mark that is done; return whether all are."""
        is_done = True
        for mark in marks:
            steps = self._delete_prefix(mark.text) if mark.is_prefix else self._delete(mark.text)
            is_deleted = yield from steps
            is_done = is_deleted and is_done
            if is_deleted:
                self._trust(mark)
        return is_done

    def _trust(self, mark: Mark) -> bool:
        """End a mark; return whether no newer one has taken its place."""
        with self._lock:
            return self._distrust.remove(mark)

    def _delete(self, key: str) -> Steps[bool]:
        def call(client: Any) -> Any:
            pipeline = client.pipeline(transaction=False)
            pipeline.set(f"{self._name}:v:{key}", uuid4().hex, px=TOKEN_MS)
            return pipeline.unlink(f"{self._name}:k:{key}").execute()

        return (yield from self._ask(Ask(call, True))) is not None

    def _delete_prefix(self, prefix: str) -> Steps[bool]:
        token = Ask(lambda client: client.set(f"{self._name}:loads", uuid4().hex, px=TOKEN_MS), True)
        pattern, place = f"{_escaped(f'{self._name}:k:{prefix}')}*", 0
        if (yield from self._ask(token)) is None:
            return False
        while True:
            found = yield from self._ask(Ask(_scan(place, pattern), False))
            if found is None:
                return False
            place, names = found
            if names and (yield from self._ask(Ask(_unlink(names), True))) is None:
                return False
            if not place:
                return True

    def _ask(self, ask: Ask) -> Steps[Any]:
        """Return the answer; None for a command that failed or was not made."""
        try:
            answer = yield ask
        except CircuitOpenError:
            if ask.is_write not in self._refused:
                self._refused.add(ask.is_write)
                log.warning("cache %s does without Redis for a while: %s", self._name, self._last_error)
            return None
        except Exception as error:
            # Whatever the client raises: a reader is served by the other tiers.
            self._last_error = str(error) or type(error).__name__
            self._count("error")
            return None
        if ask.is_write in self._refused:
            self._refused.discard(ask.is_write)
            log.info("cache %s uses Redis again", self._name)
        return answer

    def _entry(self, payload: bytes | None, left_ms: int) -> Entry | None:
        if payload is None or left_ms <= 0:
            self._count("miss")
            return None
        try:
            entry = Entry(unpacked(payload, self._decode), left_ms / 1000, "redis")
        except Exception:
            self._count("error")
            return None
        self._count(entry.result)
        return entry

    def _payload(self, entry: Entry) -> bytes | None:
        try:
            return packed(entry.value, self._encode, self._decode)
        except Exception as error:
            self._count("error")
            if not self._is_warned:
                self._is_warned = True
                log.warning("a value is kept in memory only, it cannot be written to Redis: %s", error)
            return None


def _scan(place: int, pattern: str) -> Callable[[Any], Any]:
    return lambda client: client.scan(place, match=pattern, count=SCAN)


def _unlink(names: Sequence[bytes]) -> Callable[[Any], Any]:
    return lambda client: client.unlink(*names)


def _escaped(text: str) -> str:
    """Return a text as it is in a pattern of Redis."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)
