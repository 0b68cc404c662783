"""The records of a load test: batches of made-up tickers with fresh times. Pure."""

from __future__ import annotations

import orjson

from exporter.model import FeedKey

REGION, EXCHANGE, REQUEST = "loadtest", "exchange-{}", "ticker"
# The value is a name of the run and the number of the message in it: what is read back is compared with what was sent.
HEADER = "loadtest"
_STAMP = 1_000_000_000_000  # as many digits as each time of the years 2001 to 2286


def feed(index: int) -> FeedKey:
    """Return the feed of a sender."""
    return FeedKey(REGION, EXCHANGE.format(index), REQUEST)


class BatchWriter:
    """Writer of batches of one feed, each with `messages` rows and as many symbols.

    Only times differ, and prices from one batch to the next: making records must not cost what it measures.
    """

    def __init__(self, key: FeedKey, messages: int) -> None:
        self.key = str(key).encode()
        self._texts = [_pieces(key, messages, last) for last in (100.0, 100.5)]

    def value(self, number: int, now_ms: int) -> bytes:
        """Return the record of a message."""
        return (b"%d" % now_ms).join(self._texts[number % 2])


def _pieces(key: FeedKey, messages: int, last: float) -> list[bytes]:
    """Return the parts of a record between its times."""
    rows = [
        {"target_currency": f"LOAD-{row}", "timestamp": _STAMP, "first": 99.0, "last": last, "high": 101.0, "low": 99.0}
        for row in range(messages)
    ]
    batch = {**key._asdict(), "timestamp_ms": _STAMP, "batch_size": messages, "data": rows}
    return orjson.dumps(batch).split(str(_STAMP).encode())
