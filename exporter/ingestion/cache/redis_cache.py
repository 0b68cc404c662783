"""Applies actions to the caches in Redis, in slices that hold the server for a few milliseconds at most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import redis
from prometheus_client import CollectorRegistry

from exporter.config.schema import RedisConfig
from exporter.ingestion.cache import scripts
from exporter.ingestion.cache.actions import Action, Drop, Lifetimes, Refresh, Write, source_of
from exporter.ingestion.cache.keys import (
    ANALYSIS,
    DERIVED,
    FLOOR,
    HISTORY,
    NAMES,
    OPEN,
    OWN,
    RATE,
    ROUND,
    SEEN,
    STATS,
    Choice,
    Histories,
    Names,
    kind_of,
)
from exporter.ingestion.cache.metrics import CacheMetrics, Outcome
from exporter.redis.connecting_async import open_async_client
from exporter.redis.refusals import error_text

T = TypeVar("T")

SOCKET_SECONDS = 5.0
# Measured: a call of each takes 0.3 to 1 ms of the server.
KEYS_PER_SCAN = 500
KEYS_PER_UNLINK = 500
RATES_PER_CALL = 100
# Names of histories that an update drops at once; all others, and the rest of these, wait for a sweep.
NAMES_MAX = 64
NAME_CHARACTERS_MAX = 64
_OUTCOMES = (Outcome.LATE, Outcome.APPLIED, Outcome.REPEATED)


class CacheUnavailable(Exception):
    """Redis does not answer in time, or refuses for now (full, read-only, loading): wait, and apply the action again.

    The event is not at fault, so it is no dead letter. The text is safe for logs.
    """


class Applied(NamedTuple):
    """What an action changed: rates written, keys dropped, keys prolonged or limited; nothing for what is late."""

    written: int = 0
    dropped: int = 0
    refreshed: int = 0
    outcome: Outcome = Outcome.APPLIED


class RedisCache:
    """The caches in the configured Redis, which connects at the first action. Actions may overlap, and may be repeated.

    `protected` are beginnings of keys that no event may drop. Use it within one event loop. `is_open` is set when
    histories wait for a `sweep`.
    """

    def __init__(
        self,
        config: RedisConfig,
        lifetimes: Lifetimes,
        protected: Sequence[str] = (),
        metrics: CacheMetrics | None = None,
        **options: Any,
    ) -> None:
        limits = {"socket_timeout": SOCKET_SECONDS, "socket_connect_timeout": SOCKET_SECONDS, **options}
        self._client = open_async_client(config, limits)
        self._lifetimes = lifetimes
        self._protected = tuple(protected)
        self._metrics = metrics or CacheMetrics(CollectorRegistry())
        self.is_open = asyncio.Event()

    async def apply(self, action: Action) -> Applied:
        """Apply an action; raise `CacheUnavailable` when it may be incomplete and must be applied again."""
        async with self._available():
            match action:
                case Write():
                    return await self._write(action)
                case Drop():
                    return Applied(dropped=await self._drop_named(action))
                case Refresh():
                    return await self._refresh(action)

    async def sweep(self) -> int:
        """Drop the histories that updates have left, by one pass for all of them, and return how many.

        What waits is known in Redis: it is swept by any service, also after a crash. Raise `CacheUnavailable`.
        """
        async with self._available():
            open_ = await self._call("read", self._client.hgetall(OPEN))
            if not open_:
                return 0
            histories, dropped, names = Histories(map(_decoded, open_)), 0, set[str]()
            async for keys in self._scan(histories.pattern):
                found = {key: name for key in keys if (name := histories.name(key)) is not None}
                dropped += await self._drop_keys(list(found), 0)
                names.update(found.values())
            for slice_ in _slices(list(open_.items()), RATES_PER_CALL):
                await self._eval("sweep", scripts.CLOSE, [OPEN], *[each for pair in slice_ for each in pair])
            await self._learn(names)
            return dropped

    async def _learn(self, names: Iterable[str]) -> None:
        """Have the next updates drop histories of these names at once."""
        short = [name for name in names if len(name) <= NAME_CHARACTERS_MAX][:NAMES_MAX]
        if not short:
            return
        with suppress(redis.ResponseError):  # a full server has no room for them, and updates do without
            await self._eval("sweep", scripts.LEARN, [NAMES], self._lifetimes.seen_ms, NAMES_MAX, *short)

    async def limit(self) -> int:
        """Limit the time to live of all keys that other programs write; return how many. Raise `CacheUnavailable`."""
        async with self._available():
            return sum([await self._limit(kind) for kind in (HISTORY, STATS, ANALYSIS)])

    async def ping(self) -> None:
        """Make a write that changes nothing, which a replica or a full server refuses; raise `CacheUnavailable`."""
        async with self._available():
            # XX: only an existing key would be written, and this one never exists.
            await self._call("ping", self._client.set(f"{OWN}ping", "", xx=True, px=1))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _available(self) -> AsyncIterator[None]:
        try:
            yield
        except (redis.RedisError, OSError, UnicodeError) as error:
            self._metrics.redis_up.set(0)
            # A server that was demoted or replaced still answers on old connections.
            await self._client.connection_pool.disconnect(inuse_connections=False)
            raise CacheUnavailable(error_text(error)) from error
        self._metrics.redis_up.set(1)

    async def _write(self, action: Write) -> Applied:
        rate, history = RATE + action.code, HISTORY + action.code
        ttls = self._lifetimes.of(RATE), self._lifetimes.seen_ms
        keys = [rate, SEEN + rate, FLOOR, OPEN, NAMES, history]
        arguments = (action.at_us, action.payload, *ttls, action.code)
        result, dropped = await self._evaluated("write", scripts.WRITE, keys, *arguments)
        outcome = _OUTCOMES[result]
        if outcome is not Outcome.APPLIED:
            return Applied(outcome=outcome)
        self.is_open.set()
        self._metrics.count_keys("rate", "written", 1)
        self._metrics.count_keys("history", "dropped", dropped)
        return Applied(written=1, dropped=dropped)

    async def _drop_named(self, action: Drop) -> int:
        if action.names.all_rates:
            # First: an older update of a rate that is not cached must not come in between.
            await self._eval("drop", scripts.RAISE, [FLOOR], action.at_us, self._lifetimes.seen_ms)
        return await self._drop(action.names, action.at_us)

    async def _drop(self, names: Names, at_us: int) -> int:
        choice = Choice(names.patterns, self._protected)
        dropped = await self._drop_keys([key for key in names.exact if choice.allows(key)], at_us)
        if not names.patterns:
            return dropped
        # One pass for any number of patterns: a pass takes as long as there are keys.
        match = names.patterns[0] if len(names.patterns) == 1 else "*"
        async for keys in self._scan(match):
            dropped += await self._drop_keys([key for key in keys if key in choice], at_us)
        if names.may_match_rates:
            # Rates that are known and not cached: an older update of one must not come back.
            async for keys in self._scan(SEEN + match):
                known = [key.removeprefix(SEEN) for key in keys]
                dropped += await self._drop_keys([key for key in known if key in choice], at_us)
        return dropped

    async def _drop_keys(self, keys: Iterable[str], at_us: int) -> int:
        dropped = 0
        by_kind: dict[str, list[str]] = {}
        for key in keys:
            by_kind.setdefault(kind_of(key), []).append(key)
        for slice_ in _slices(by_kind.pop("rate", []), RATES_PER_CALL):
            pairs = [name for rate in slice_ for name in (rate, SEEN + rate)]
            number = await self._eval("drop", scripts.DROP, pairs, at_us, self._lifetimes.seen_ms)
            self._metrics.count_keys("rate", "dropped", number)
            dropped += number
        for kind, others in by_kind.items():
            for slice_ in _slices(others, KEYS_PER_UNLINK):
                number = await self._call("drop", self._client.unlink(*slice_))
                self._metrics.count_keys(kind, "dropped", number)
                dropped += number
        return dropped

    async def _refresh(self, action: Refresh) -> Applied:
        key, at = ROUND + action.source, str(action.at_us)
        last = await self._call("read", self._client.get(key))
        if last is not None and int(last) >= action.at_us:
            return Applied(outcome=Outcome.REPEATED if int(last) == action.at_us else Outcome.LATE)
        dropped = await self._drop(DERIVED, action.at_us)
        refreshed = 0
        async for keys in self._scan(f"{RATE}*"):
            refreshed += await self._prolong(keys, action.source)
        refreshed += await self._limit(HISTORY)
        # Last: a refresh that was interrupted is not known as done.
        await self._eval("refresh", scripts.RAISE, [key], at, self._lifetimes.seen_ms)
        return Applied(dropped=dropped, refreshed=refreshed)

    async def _prolong(self, keys: Sequence[str], source: str) -> int:
        """Prolong the rates of a source: the round has confirmed them, unchanged ones included."""
        prolonged = 0
        for slice_ in _slices(keys, RATES_PER_CALL):
            payloads = await self._call("read", self._client.mget(slice_))
            pipeline = self._client.pipeline(transaction=False)
            for rate, payload in zip(slice_, payloads, strict=True):
                if payload is not None and source_of(payload) == source:
                    pipeline.pexpire(SEEN + rate, self._lifetimes.seen_ms)
                    pipeline.pexpire(rate, self._lifetimes.of(RATE))
                    prolonged += 1
            await self._call("refresh", pipeline.execute())
        self._metrics.count_keys("rate", "refreshed", prolonged)
        return prolonged

    async def _limit(self, kind: str) -> int:
        """Limit the time to live of keys of a kind that other programs write."""
        limited = 0
        async for keys in self._scan(f"{kind}*"):
            for slice_ in _slices(keys, RATES_PER_CALL):
                limited += await self._eval("refresh", scripts.LIMIT, slice_, self._lifetimes.of(kind))
        self._metrics.count_keys(kind_of(kind), "limited", limited)
        return limited

    async def _scan(self, pattern: str) -> AsyncIterator[list[str]]:
        """Yield slices of the keys that match, at least those that exist from begin to end."""
        place = 0
        while True:
            place, found = await self._call("scan", self._client.scan(place, match=pattern, count=KEYS_PER_SCAN))
            # A key that is no UTF-8 is none that an event can name.
            if keys := [key for key in map(_text, found) if key is not None]:
                yield keys
            if not place:
                return

    async def _eval(self, operation: str, script: str, keys: Sequence[str], *arguments: Any) -> int:
        return int(await self._evaluated(operation, script, keys, *arguments))

    async def _evaluated(self, operation: str, script: str, keys: Sequence[str], *arguments: Any) -> Any:
        evaluate: Callable[..., Awaitable[Any]] = self._client.eval
        return await self._call(operation, evaluate(script, len(keys), *keys, *arguments))

    async def _call(self, operation: str, call: Awaitable[Any]) -> Any:
        """Await one call to Redis, which is timed: a slice of the work on many keys."""
        with self._metrics.seconds.labels(operation).time():
            return await call


def _slices(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _decoded(text: bytes | str) -> str:
    return text if isinstance(text, str) else text.decode()


def _text(key: bytes | str) -> str | None:
    try:
        return _decoded(key)
    except UnicodeDecodeError:
        return None
