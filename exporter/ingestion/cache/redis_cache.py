"""Applies actions to the caches in Redis, in slices that hold the server for a few milliseconds at most."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from exporter.ingestion.cache import scripts
from exporter.ingestion.cache.actions import Action, Drop, Lifetimes, Refresh, Write, source_of
from exporter.ingestion.cache.keys import DERIVED, FLOOR, HISTORY, OWN, RATE, ROUND, SEEN, Choice, Names, history_of
from exporter.store.refusals import error_text

SOCKET_SECONDS = 5.0
# Measured: a call of each takes 0.3 to 1 ms of the server.
KEYS_PER_SCAN = 500
KEYS_PER_UNLINK = 500
RATES_PER_CALL = 100


class CacheUnavailable(Exception):
    """Redis does not answer in time, or refuses for now (full, read-only, loading): wait, and apply the action again.

    The event is not at fault, so it is no dead letter. The text is safe for logs.
    """


class Applied(NamedTuple):
    """What an action changed: rates written, keys dropped, keys prolonged or limited; nothing for what is late."""

    written: int = 0
    dropped: int = 0
    refreshed: int = 0


class RedisCache:
    """The caches in one Redis, which connects at the first action. Actions may overlap, and may be repeated.

    `protected` are beginnings of keys that no event may drop. Use it within one event loop.
    """

    def __init__(self, url: str, lifetimes: Lifetimes, protected: Sequence[str] = (), **options: Any) -> None:
        limits = {"socket_timeout": SOCKET_SECONDS, "socket_connect_timeout": SOCKET_SECONDS, **options}
        self._client = redis.asyncio.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **limits)
        self._lifetimes = lifetimes
        self._protected = tuple(protected)

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

    async def ping(self) -> None:
        """Make a write that changes nothing, which a replica or a full server refuses; raise `CacheUnavailable`."""
        async with self._available():
            # XX: only an existing key would be written, and this one never exists.
            await self._client.set(f"{OWN}ping", "", xx=True, px=1)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _available(self) -> AsyncIterator[None]:
        try:
            yield
        except (redis.RedisError, OSError, UnicodeError) as error:
            # A server that was demoted or replaced still answers on old connections.
            await self._client.connection_pool.disconnect(inuse_connections=False)
            raise CacheUnavailable(error_text(error)) from error

    async def _write(self, action: Write) -> Applied:
        rate, at = RATE + action.code, action.at_us
        ttls = self._lifetimes.of(RATE), self._lifetimes.seen_ms
        outcome = await self._eval(scripts.WRITE, [rate, SEEN + rate, FLOOR], at, action.payload, *ttls)
        if not outcome:
            return Applied()
        dropped = await self._drop(history_of(action.code), at)
        await self._eval(scripts.CLOSE, [SEEN + rate], at)
        return Applied(written=int(outcome == 1), dropped=dropped)

    async def _drop_named(self, action: Drop) -> int:
        if action.names.all_rates:
            # First: an older update of a rate that is not cached must not come in between.
            await self._eval(scripts.RAISE, [FLOOR], action.at_us, self._lifetimes.seen_ms)
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

    async def _drop_keys(self, keys: Sequence[str], at_us: int) -> int:
        rates = [key for key in keys if key.startswith(RATE)]
        others = [key for key in keys if not key.startswith(RATE)]
        dropped = 0
        for slice_ in _slices(rates, RATES_PER_CALL):
            pairs = [name for rate in slice_ for name in (rate, SEEN + rate)]
            dropped += await self._eval(scripts.DROP, pairs, at_us, self._lifetimes.seen_ms)
        for slice_ in _slices(others, KEYS_PER_UNLINK):
            dropped += await self._client.unlink(*slice_)
        return dropped

    async def _refresh(self, action: Refresh) -> Applied:
        key, at = ROUND + action.source, str(action.at_us)
        last = await self._client.get(key)
        if last is not None and int(last) >= action.at_us:
            return Applied()
        dropped = await self._drop(DERIVED, action.at_us)
        refreshed = 0
        async for keys in self._scan(f"{RATE}*"):
            refreshed += await self._prolong(keys, action.source)
        async for keys in self._scan(f"{HISTORY}*"):
            for slice_ in _slices(keys, RATES_PER_CALL):
                refreshed += await self._eval(scripts.LIMIT, slice_, self._lifetimes.of(HISTORY))
        # Last: a refresh that was interrupted is not known as done.
        await self._eval(scripts.RAISE, [key], at, self._lifetimes.seen_ms)
        return Applied(dropped=dropped, refreshed=refreshed)

    async def _prolong(self, keys: Sequence[str], source: str) -> int:
        """Prolong the rates of a source: the round has confirmed them, unchanged ones included."""
        prolonged = 0
        for slice_ in _slices(keys, RATES_PER_CALL):
            payloads = await self._client.mget(slice_)
            pipeline = self._client.pipeline(transaction=False)
            for rate, payload in zip(slice_, payloads, strict=True):
                if payload is not None and source_of(payload) == source:
                    pipeline.pexpire(SEEN + rate, self._lifetimes.seen_ms)
                    pipeline.pexpire(rate, self._lifetimes.of(RATE))
                    prolonged += 1
            await pipeline.execute()
        return prolonged

    async def _scan(self, pattern: str) -> AsyncIterator[list[str]]:
        """Yield slices of the keys that match, at least those that exist from begin to end."""
        place = 0
        while True:
            place, found = await self._client.scan(place, match=pattern, count=KEYS_PER_SCAN)
            # A key that is no UTF-8 is none that an event can name.
            if keys := [key for key in map(_text, found) if key is not None]:
                yield keys
            if not place:
                return

    async def _eval(self, script: str, keys: Sequence[str], *arguments: Any) -> int:
        evaluate: Callable[..., Any] = self._client.eval
        return int(await evaluate(script, len(keys), *keys, *arguments))


def _slices(keys: Sequence[str], size: int) -> list[Sequence[str]]:
    return [keys[start : start + size] for start in range(0, len(keys), size)]


def _text(key: bytes | str) -> str | None:
    try:
        return key if isinstance(key, str) else key.decode()
    except UnicodeDecodeError:
        return None
