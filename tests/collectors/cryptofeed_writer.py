"""Market data through cryptofeed's own types and Kafka backend: `python cryptofeed_writer.py BROKERS BASE TICKS`.

Needs no network but the broker: what an exchange would send is made up here, the newest of it now.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from cryptofeed.backends.kafka import BookKafka, CandlesKafka, TickerKafka, TradeKafka
from cryptofeed.defines import ASK, BID, BUY
from cryptofeed.types import Candle, OrderBook, Ticker, Trade

EXCHANGE = "BINANCE"
STEP_SECONDS = 0.05
EXCHANGE_SECONDS = 0.02  # from the exchange's stamp to the receipt
# A whole book comes after so many changes.
SNAPSHOT_INTERVAL = 10


def trades(symbol: str, index: int, at: float) -> Trade:
    """A trade that names no type, as most exchanges do not."""
    return Trade(EXCHANGE, symbol, BUY, Decimal("0.00226374"), Decimal(100 + index), at, id=str(index))


def ticker(symbol: str, index: int, at: float) -> Ticker:
    """A best bid and ask; Binance's spot market stamps none of them."""
    return Ticker(EXCHANGE, symbol, Decimal(100 + index), Decimal(101 + index), None)


def candle(symbol: str, index: int, at: float) -> Candle:
    """A candle of the running minute, not closed yet."""
    start, low, high = at // 60 * 60, Decimal(99), Decimal(102 + index)
    prices = (Decimal(100), Decimal(101 + index), high, low)
    return Candle(EXCHANGE, symbol, start, start + 59.999, "1m", 505, *prices, Decimal("13.8"), False, at)


class Books:
    """The book of one symbol, of which each tick moves the best bid; the first tick is the whole book."""

    def __init__(self, symbol: str) -> None:
        levels = {Decimal(price): Decimal("0.5") for price in range(90, 100)}
        self._book = OrderBook(EXCHANGE, symbol, bids=levels, asks={Decimal(500): Decimal(1)})

    def tick(self, index: int, at: float) -> OrderBook:
        """Add a level and remove the one before, as exchanges send it."""
        bid, old = Decimal(100 + index), Decimal(99 + index)
        bids = self._book.book.bids
        bids[bid] = Decimal(2)
        if old in bids:
            del bids[old]
        self._book.delta = {BID: [(bid, Decimal(2)), (old, Decimal(0))], ASK: []} if index else None
        self._book.timestamp = at
        return self._book


def ticks(backends: dict[str, Any], base: str, count: int) -> Iterator[tuple[Any, Any, float]]:
    """Yield a backend, what it writes, and when that was received."""
    now = time.time()
    symbols = [f"{base}-USDT", f"{base}-BTC"]
    books = {symbol: Books(symbol) for symbol in symbols}
    for index in range(count):
        received = now - (count - 1 - index) * STEP_SECONDS
        at = received - EXCHANGE_SECONDS
        for symbol in symbols:
            for make in (trades, ticker, candle):
                yield backends[make.__name__], make(symbol, index, at), received
            yield backends["book"], books[symbol].tick(index, at), received


async def main(brokers: str, base: str, count: int) -> None:
    """Write so many ticks of each kind for each of two symbols, and wait until the broker has them."""
    given = {"bootstrap_servers": brokers, "client_id": "cryptofeed", "compression_type": "gzip"}
    backends: dict[str, Any] = {
        "trades": TradeKafka(**given),
        "ticker": TickerKafka(**given),
        "candle": CandlesKafka(**given),
        "book": BookKafka(snapshot_interval=SNAPSHOT_INTERVAL, **given),
    }
    loop = asyncio.get_running_loop()
    for backend in backends.values():
        backend.start(loop)
    for backend, tick, received in ticks(backends, base, count):
        await backend(tick, received)
    for backend in backends.values():
        await backend.queue.join()
        await backend.stop()
        await backend.worker


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
