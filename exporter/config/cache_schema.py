"""The section `cache`: which events caches in Redis follow, and how long their keys live. Pure."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from exporter.config.section import Section, count, seconds

_LIFETIME = seconds("1s", "30d")


class CacheLifetimes(Section, frozen=True, kw_only=True):
    """How long keys live after they were written; `seen` is how long late events are recognized."""

    rate: Annotated[float, _LIFETIME] = 600.0
    history: Annotated[float, _LIFETIME] = 900.0
    stats: Annotated[float, _LIFETIME] = 1800.0
    analysis: Annotated[float, _LIFETIME] = 3600.0
    seen: Annotated[float, _LIFETIME] = 3600.0


class CacheConfig(Section, frozen=True, kw_only=True):
    """What the command `cache` follows; the Redis is that of the section `redis`."""

    group: Annotated[
        str,
        Meta(pattern=r"\A[!-~](?:[ -~]{0,198}[!-~])?\Z", description="a name of 1 to 200 printable ASCII characters"),
    ] = "marketdata-cache"
    ttl: CacheLifetimes = CacheLifetimes()
    currencies: Annotated[int, count(0, 10_000)] = 200
