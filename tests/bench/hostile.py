"""`python -m tests.bench.hostile [REPEATS]`: what records cost that were written to be expensive, without a broker.

Processor time in µs for each KiB of a record of 1 MiB, its whole way: decoded, measured, analyzed and encoded, or
rejected with an error event. `factor` divides by an ordinary batch; the largest is the constant of the promise that the
cost of any record is linear in its bytes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from exporter.config.schema import Limits
from tests.support.pipeline import FIRST, NOW_MS, START, pipeline, record, start

SIZE = 1024**2
LIMITS = Limits(record_bytes=2 * SIZE)
ROWS = LIMITS.messages - 1
_HEAD = '{"exchange":"upbit","region":"korea","request_type":"ticker","timestamp_ms":1760031213693'
_SYMBOL = '"target_currency":"KRW-BTC"'
_TICKER = {"timestamp": 1760031199778, "last": 176695000.0, "high": 178054000.0, "low": 176500000.0}


def rows(*fields: str) -> bytes:
    """A batch of rows with these fields."""
    return f'{_HEAD},"data":[{",".join(fields)}]}}'.encode()


def repeated(field: str) -> bytes:
    """A batch whose only row gives one field again and again."""
    return rows(f"{{{_SYMBOL}" + f",{field}" * (SIZE // (len(field) + 1)) + "}")


def same(fields: str) -> bytes:
    """A batch of as many equal rows as there may be."""
    row = f"{{{_SYMBOL},{fields}}}"
    return rows(*[row] * min(ROWS, SIZE // len(row)))


def single(fields: str) -> bytes:
    """A batch with one row."""
    return rows(f"{{{_SYMBOL},{fields}}}")


def extra(field: str) -> bytes:
    """A batch with one row and one more field of its own."""
    return f'{_HEAD},"data":[{{{_SYMBOL}}}],"x":{field}}}'.encode()


def nests(levels: int) -> str:
    """Brackets side by side, so deep each."""
    nest = "[" * levels + "]" * levels
    return f"[{','.join([nest] * (SIZE // len(nest)))}]"


def texts() -> dict[str, bytes]:
    """An ordinary batch first, then what each is made of."""
    digits, half = "7" * SIZE, "7" * (SIZE // 2)
    return {
        "ordinary": rows(*(json.dumps({"target_currency": f"KRW-{n % 200}", **_TICKER}) for n in range(ROWS))),
        "digits: whole number": single(f'"timestamp":{digits}'),
        "digits: price": single(f'"last":{digits}'),
        "digits: fraction": single(f'"last":0.{digits}'),
        "digits: zeros and one": single(f'"last":0.{"0" * SIZE}1'),
        "digits: price as text": single(f'"last":"{digits}"'),
        "digits: stamps of 4,000": same(f'"timestamp":{"7" * 4000}'),
        "digits: 300 before the point": repeated(f'"last":{"7" * 300}'),
        "digits: 20 after a half": repeated(f'"last":9007199254740993.{"0" * 20}1'),
        "exponent: a million": single(f'"last":1{digits}e-{SIZE}'),
        "exponent: subnormal": repeated('"last":5e-310'),
        "exponent: subnormal as text": repeated('"last":"5e-310"'),
        "exponent: subnormal a row": same('"timestamp":5e-310,"last":5e-310,"high":5e-310,"low":5e-310'),
        "exponent: 300, long": repeated('"last":1.2345678901234567123456e300'),
        "exponent: 60, long": repeated('"last":1.2345678901234567123456e60'),
        "exponent: near misses": repeated('"id":"1e300x"'),
        "brackets: 31 deep": extra(nests(28)),
        "brackets: 900 deep": extra(nests(900)),
        "brackets: pairs": extra(nests(1)),
        "brackets: one tower": extra("[" * (SIZE // 2) + "]" * (SIZE // 2)),
        "brackets: in texts": extra("[" + ",".join(['"["'] * (SIZE // 4)) + "]"),
        "escapes: quotes": extra('"' + '\\"' * (SIZE // 2) + '"'),
        "escapes: symbol": rows('{"target_currency":"' + "\\n" * (SIZE // 2) + '"}'),
        "keys: many": extra("{" + ",".join(f'"k{n}":1' for n in range(SIZE // 11)) + "}"),
        "keys: long": extra('{"' + "k" * SIZE + '":1}'),
        "keys: escaped": extra("{" + ",".join(['"\\u0061":1'] * (SIZE // 11)) + "}"),
        "levels: long price": single(f'"asks":[[{half},1]],"bids":[[{half},1]]'),
        "levels: long fraction": single(f'"asks":[[0.{half},1]],"bids":[[0.{half},1]]'),
        "levels: many": single('"asks":[' + ",".join(["[1,1]"] * (SIZE // 6)) + '],"bids":[[1,1]]'),
        "levels: spaces": single(f'"asks":{" " * (SIZE // 2)}[{" " * (SIZE // 2)}[1,1]],"bids":[[1,1]]'),
        "levels: a book a row": rows(
            *(f'{{"target_currency":"{n % 200}","asks":[[1,1]],"bids":[[0,1]]}}' for n in range(ROWS))
        ),
        "levels: units without prices": single('"units":[{' + ",".join(['"ap"  :  null'] * (SIZE // 14)) + "}]"),
        "levels: unit of spaces": single(f'"units":[{{"ap"{" " * SIZE}:1,"bp":1}}]'),
        "surrogates: pairs": extra('"' + "\\ud83d\\ude00" * (SIZE // 12) + '"'),
        "surrogates: halves": extra('"' + "\\ud83d" * (SIZE // 6) + '"'),
        "whitespace": f'{_HEAD},"data":[{" " * SIZE}]}}'.encode(),
        "numbers as text": same('"timestamp":"1760031199778","last":"1.5","high":"2.0","low":"1.0"'),
        "a broken field a row": same('"last":[]'),
        "a broken field at last": rows(*[f'{{{_SYMBOL},"last":1.5}}'] * ROWS, f'{{{_SYMBOL},"last":true}}'),
        "a new symbol a row": rows(*(f'{{"target_currency":"{n}"}}' for n in range(ROWS))),
        "cut off": rows(f'{{"target_currency":"{"a" * SIZE}"}}')[:-10],
        "not UTF-8 at last": extra('"' + "a" * SIZE + '"').replace(b'a"', b'\xff"'),
        "a long name": f'{_HEAD.replace("upbit", "a" * SIZE)},"data":[]}}'.encode(),
    }


def cost(value: bytes, repeats: int) -> float:
    """Return the least processor time in seconds of some readings; what disturbs only adds."""
    return min(_time(_reading(value)) for _ in range(repeats))


def _reading(value: bytes) -> Callable[[], object]:
    """Return what reads the record twice, as a sidecar does that has just been started."""
    here = pipeline(limits=LIMITS)
    here.assign(FIRST, start(START, 2))
    records = [record(0, value), record(1, value)]
    return lambda: here.analyze(records, here.decode(records), NOW_MS)


def _time(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return (time.process_time() - begin) / 2


def main(repeats: int = 3) -> None:
    """Measure and print."""
    print(f"{'':32}{'KiB':>8}{'ms':>10}{'µs/KiB':>10}{'factor':>10}")
    ordinary = 0.0
    for name, value in texts().items():
        seconds, size = cost(value, repeats), len(value) / 1024
        per_kib = seconds * 1e6 / size
        ordinary = ordinary or per_kib
        print(f"{name:32}{size:8.0f}{seconds * 1e3:10.2f}{per_kib:10.2f}{per_kib / ordinary:10.2f}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
