"""What both cores make of a record, and records with faults."""

from __future__ import annotations

import random
from typing import Any

from exporter.decoding.batch import NO_JSON
from exporter.decoding.batch_stats import measured
from exporter.model import Record, Rejected

PIECES = (
    *(
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"-",
        b".",
        b"e",
        b"E+5",
        b"0",
        b"00",
        b"9" * 20,
        b"null",
        b"true",
    ),
    *(b"NaN", b"Infinity", b"\xef\xbb\xbf", b"\xff", b"\xc3\xa9", b"\x00", b"\n", b" ", b"\\u0041", b"\\ud83d\\ude00"),
    *(b"\\ud800", b'"last":', b'"last":1', b',"data":[]', b',"timestamp":5', b'"', b"1e999", b"1e-400", b"-0", b"0.1"),
    *(b"[" * 33, b"]" * 33, b'"region":"a"', b'"target_currency":"C"', b"123456789012345678", b"0.30000000000000004"),
)


def outcome(decoder: Any, record: Record) -> object:
    """Return what is known of a record before it is analyzed."""
    try:
        batch = decoder.read(record)
    except Rejected as rejected:
        return rejected.reason, rejected.detail, rejected.feed, rejected.position
    if batch is None:
        return None
    stats = measured(batch)
    rows = [_row(row) for row in stats.batch.data]
    unreadable = getattr(batch, "unreadable", {})
    return (
        *(stats.key, stats.result, stats.names, stats.symbols, stats.size, list(stats.stamps), stats.stamp_sum),
        *(stats.implausible, stats.newest, stats.stamped, stats.has_trades, stats.is_priced, batch.batch_size),
        *(rows, dict(unreadable), batch.timestamp_ms, batch.region, batch.exchange, batch.request_type),
    )


def _row(row: Any) -> tuple[object, ...]:
    # The reference sorts the stamps of a batch, not those of its rows.
    levels = [None if side is NO_JSON else bytes(side) for side in (row.asks, row.bids, row.units)]
    return row.symbol, row.timestamp, row.last, row.high, row.low, row.price, *levels


def mutated(good: bytes, random_: random.Random) -> bytes:
    """Return a good record with some of its bytes replaced, repeated or removed."""
    text = bytearray(good)
    for _ in range(random_.choice([1, 1, 1, 2, 3, 8])):
        start = random_.randrange(len(text) + 1)
        end = start + random_.choice([0, 0, 1, 1, 2, 5, 30])
        text[start:end] = random_.choice([random_.choice(PIECES), bytes(text[start : start + 20]), b""])
    return bytes(text)
