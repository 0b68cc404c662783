"""What reading a record costs by its format, beside the usual batch of 20 rows: decoding alone, without a broker."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from exporter.config.schema import Limits
from exporter.decoding.formats.avro import parsed
from exporter.decoding.json_decoder import Decoder
from exporter.decoding.record_decoder import RecordDecoder, record_decoder
from exporter.events.encoding import confluent_frame
from exporter.model import Record
from tests.bench.bench import Bench, Subject
from tests.bench.figures import Cases
from tests.support.formats import configured, record, samples
from tests.test_formats_avro import FORMAT, SCHEMA, body
from tests.test_presets import FORMATS

BATCH = "usual batch, 20 rows"
ROUND = 2000
ROWS = 20


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Decode each record many times; the least of several rounds counts, because whatever disturbs only adds."""
    calls = dict(_calls())
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.repeats):
        for name, call in calls.items():
            spent[name].append(_least(call))
        bench.progress("each format was read")
    return {
        name: {"record_us": us, "by_usual": [each / usual for each, usual in zip(us, spent[BATCH], strict=True)]}
        for name, us in spent.items()
    }


def _least(call: Callable[[], object], rounds: int = 5) -> float:
    """Return the microseconds of one call."""
    least = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        for _ in range(ROUND):
            call()
        least = min(least, time.process_time() - begin)
    return least / ROUND * 1e6


def _calls() -> list[tuple[str, Callable[[], object]]]:
    usual, usual_decoder = _usual(), Decoder(Limits())
    found: list[tuple[str, Callable[[], object]]] = [
        (f"{BATCH}, before there were formats", partial(usual_decoder.decode, usual.value)),
        (BATCH, partial(usual_decoder.read, usual)),
        (f"{BATCH}, beside formats", partial(_decoder("cryptofeed").read, usual)),
        (f"{BATCH}, as a format", partial(_decoder("kor-coin-stream-2025").read, usual)),
        *_of_presets(),
        ("MessagePack, 20 rows", _message_pack(usual)),
        ("Confluent Avro, one row", _avro()),
    ]
    return found


def _usual() -> Record:
    first, *_ = samples("kor-coin-stream-2025")
    return _with_rows(first)


def _with_rows(one: Record) -> Record:
    """Return a batch with 20 rows."""
    batch = json.loads(one.value or b"")
    rows = (batch["data"] * ROWS)[:ROWS]
    return record(batch | {"data": rows, "batch_size": ROWS}, one.partition.topic)


def _decoder(one: object) -> RecordDecoder:
    return record_decoder(configured(one).input)


def _of_presets() -> list[tuple[str, Callable[[], object]]]:
    found: dict[str, Callable[[], object]] = {}
    for name in FORMATS:
        decoder = _decoder(FORMATS[name])
        for one in samples(name):
            one = _with_rows(one) if name.startswith("kor-coin") else one
            batch = decoder.read(one)
            kind = "control message" if batch is None else batch.request_type
            found.setdefault(f"{name} {kind}", partial(decoder.read, one))
    return list(found.items())


def _message_pack(usual: Record) -> Callable[[], object]:
    one: dict[str, Any] = {"preset": "kor-coin-stream-2025", "encoding": "msgpack"}
    value = msgspec.msgpack.encode(json.loads(usual.value or b""))
    return partial(_decoder(one).read, record(value, usual.partition.topic))


def _avro() -> Callable[[], object]:
    one = FORMAT | {"encoding": "avro-confluent", "schema_registry": "http://registry:8081"}
    schema = parsed(json.dumps(SCHEMA))
    decoder = record_decoder(configured(one).input, lambda registry: lambda number: schema)
    return partial(decoder.read, record(confluent_frame(1) + body()))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=3, help="times that each format is measured (3)")


FORMATS_SUBJECT = Subject("what reading a record costs by its format", _add_options, measure)
