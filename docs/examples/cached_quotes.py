"""A cache of instruments: memory, then Redis if REDIS_URL names one, then the exchange."""

import asyncio
import os

from exporter.performance import CacheManager

INSTRUMENTS = {"BTC": {"tick": 0.5, "lot": 0.001}, "ETH": {"tick": 0.05, "lot": 0.01}}
requests = 0


async def load(symbol: str) -> dict[str, float] | None:
    """Ask the exchange; None where it does not know the symbol."""
    global requests
    requests += 1
    await asyncio.sleep(0.01)
    return INSTRUMENTS.get(symbol)


async def main() -> None:
    """Read a thousand times at once, with keys that do not exist among them."""
    url = os.environ.get("REDIS_URL")
    async with CacheManager(
        "instruments", ttl=60, negative_ttl=5, loader=load, redis_url=url, redis_timeout=1
    ) as cache:
        symbols = ["BTC", "ETH", "DOGE"] * 333 + ["BTC"]
        found = await asyncio.gather(*[cache.aget(symbol) for symbol in symbols])
        print(f"{len(found)} reads, {requests} requests, {found.count(None)} unknown")
        # A tick size has changed: neither memory nor Redis nor a load that goes on brings the old one back.
        INSTRUMENTS["BTC"] = {"tick": 0.1, "lot": 0.001}
        await cache.ainvalidate("BTC")
        print(await cache.aget("BTC"), f"hit rate {cache.get_cache_statistics()['hit_rate']:.3f}")


asyncio.run(main())
