"""Records as nobody should write them, and what must become of each."""

import json
from typing import NamedTuple

from exporter.model import Reason

BIG = 10_000_000
ODD = [b"last", b"price", b"timestamp", b"high"]
ROW = b'{"target_currency":"A"}'
HEAD = b'{"exchange":"upbit","region":"korea","request_type":"ticker","timestamp_ms":1760031213693,"batch_size":1,'
GOOD = HEAD + b'"data":[' + ROW + b"]}"
ACCEPTED, FILTERED = "accepted", "filtered"


def plus(text: bytes) -> bytes:
    """A good batch with more at its end."""
    return GOOD[:-1] + b"," + text + b"}"


def batch(**fields: object) -> bytes:
    return json.dumps(json.loads(GOOD) | fields).encode()


def named(symbol: str) -> bytes:
    return batch(data=[{"target_currency": symbol}])


class Poison(NamedTuple):
    """A record, and what must become of it."""

    value: bytes | None
    fate: str


CORPUS = [
    Poison(None, Reason.EMPTY),
    Poison(b"", Reason.EMPTY),
    Poison(b'{"a":"' + b"x" * BIG + b'"}', Reason.TOO_LARGE),
    Poison(b"[" * BIG, Reason.TOO_LARGE),
    Poison(plus(b'"a":' + b"[" * 5000 + b"]" * 5000), Reason.TOO_DEEP),
    Poison(plus(b'"a":' + b"[" * 100_000), Reason.TOO_DEEP),
    Poison(HEAD + b'"data":[{"a":' + b'{"a":' * 100_000, Reason.TOO_DEEP),
    Poison(plus(b'"a":' + b"[" * 32 + b"]" * 32), Reason.TOO_DEEP),
    Poison(plus(b'"a":[' + b'["]",' * 32 + b"0" + b',"["]' * 32 + b"]"), Reason.TOO_DEEP),
    Poison(plus(b'"a":' + b"[" * 31 + b"]" * 31), ACCEPTED),
    Poison(plus(b'"a":"' + b"[" * 100_000 + b'"'), ACCEPTED),
    Poison(b"\xff" * 1000, Reason.INVALID_JSON),
    Poison(plus(b'"region":"\xff\xfe"'), Reason.INVALID_UTF8),
    Poison(plus(b'"data":[{"target_currency":"\xc3"}]'), Reason.INVALID_UTF8),
    Poison(plus(b'"a":"\xff"'), ACCEPTED),
    Poison(plus(b'"\xff":1'), ACCEPTED),
    *[Poison(GOOD[:length], Reason.INVALID_JSON) for length in range(1, len(GOOD), 4)],
    Poison(b"\xef\xbb\xbf" + GOOD, ACCEPTED),
    Poison(GOOD.decode().encode("utf-16"), Reason.INVALID_JSON),
    Poison(plus(b'"a":NaN'), ACCEPTED),
    Poison(plus(b'"batch_size":Infinity'), ACCEPTED),
    Poison(
        plus(
            b'"data":[' + b'{"target_currency":"A","last":NaN,"high":-Infinity,"asks":[[nan,inf]]},' * 999 + ROW + b"]"
        ),
        ACCEPTED,
    ),
    Poison(plus(b'"a":[' + b"NaN," * 100_000 + b"0]"), ACCEPTED),
    Poison(plus(b'"region":NaN'), Reason.WRONG_TYPE),
    Poison(plus(b'"a":1NaN'), Reason.INVALID_JSON),
    Poison(plus(b'"a":"' + b'\\"NaN' * 100_000), Reason.INVALID_JSON),
    Poison(plus(b'"timestamp_ms":1760031213693.0'), ACCEPTED),
    Poison(plus(b'"timestamp_ms":"2025-10-09T17:33:33.693Z"'), ACCEPTED),
    Poison(plus(b'"timestamp_ms":"2025-10-09T17:33:33.693"'), Reason.WRONG_TYPE),
    Poison(plus(b'"data":[{"target_currency":"A","last":' + b"9" * 900_000 + b"}]"), ACCEPTED),
    Poison(plus(b'"data":[{"target_currency":"A","last":"' + b"9," * 450_000 + b'"}]'), ACCEPTED),
    Poison(
        plus(b'"data":[' + b",".join(b'{"target_currency":"A","%b":"?"}' % name for name in ODD * 2500) + b"]"),
        ACCEPTED,
    ),
    Poison(plus(b'"data":[' + b'{"target_currency":"A","last":""},' * 9999 + b"{}]"), Reason.MISSING_FIELD),
    Poison(plus(rb'"region":"\ud800"'), Reason.INVALID_JSON),
    Poison(plus(rb'"\ud800":"\udc00"'), Reason.INVALID_JSON),
    Poison(b"{}", Reason.MISSING_FIELD),
    Poison(plus(b'"data":[{}]'), Reason.MISSING_FIELD),
    Poison(b"[]", Reason.WRONG_TYPE),
    Poison(b"1e400", Reason.WRONG_TYPE),
    Poison(plus(b'"timestamp_ms":1e400'), Reason.WRONG_TYPE),
    Poison(plus(b'"timestamp_ms":' + b"9" * 5000), Reason.WRONG_TYPE),
    Poison(batch(timestamp_ms=True), Reason.WRONG_TYPE),
    Poison(batch(data="none"), Reason.WRONG_TYPE),
    Poison(batch(region={"a": 1}), Reason.WRONG_TYPE),
    Poison(batch(timestamp_ms=2**64), Reason.INVALID_TIMESTAMP),
    Poison(batch(timestamp_ms=-(2**63)), Reason.INVALID_TIMESTAMP),
    *[Poison(batch(exchange=name), Reason.INVALID_FEED) for name in ("", 'a"b', "a\nb", "a:b", "x" * 65, "\x00", "{}")],
    *[Poison(named(name), Reason.INVALID_SYMBOL) for name in ("", "a\nb", "\x00", "\u202e", "x" * 65, "\x1b[2J")],
    *[Poison(named(name), ACCEPTED) for name in ('a"b', "a\\", "{a=1}", "비트코인", "'; DROP TABLE", "💰")],
    Poison(plus(b'"data":[' + b",".join([ROW] * 10_001) + b"]"), Reason.TOO_MANY_MESSAGES),
    Poison(plus(b'"region":"a b","region":"korea"'), ACCEPTED),
    Poison(batch(batch_size=2**64), ACCEPTED),
    Poison(plus(b'"batch_size":1e400'), ACCEPTED),
    Poison(batch(batch_size=True, data=[{"target_currency": "A", "timestamp": 10**300}]), ACCEPTED),
    Poison(
        batch(data=[{"target_currency": "A", "timestamp": 2**64}, {"target_currency": "B", "timestamp": None}]),
        ACCEPTED,
    ),
    Poison(batch(data=[]), ACCEPTED),
    Poison(batch(region="us"), FILTERED),
]
