"""What reading a record costs by its format, beside the usual batch of 20 rows: decoding alone, without a broker.

By the native core, where it is built, and by Python.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from exporter.config.schema import InputConfig
from exporter.core import CoreChoice
from exporter.decoding.formats.avro import parsed
from exporter.decoding.record_decoder import RecordDecoder, record_decoder
from exporter.events.encoding import confluent_frame
from exporter.model import Record
from tests.bench.bench import Bench, Subject
from tests.bench.figures import Case, Cases
from tests.support.formats import configured, record, samples
from tests.test_formats_avro import FORMAT, SCHEMA, body
from tests.test_presets import FORMATS

BATCH = "usual batch, 20 rows"
ROUND = 2000
ROWS = 20


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Decode each record many times; the least of several rounds counts, because whatever disturbs only adds."""
    cores: dict[str, CoreChoice] = {"native": "auto", "python": "python"}
    calls = {core: dict(_calls(choice)) for core, choice in cores.items()}
    spent: dict[str, dict[str, list[float]]] = {core: defaultdict(list) for core in cores}
    for _ in range(options.repeats):
        for name in calls["python"]:
            for core in cores:
                spent[core][name].append(_least(calls[core][name]))
        bench.progress("each format was read")
    return {name: _case(spent, name) for name in calls["python"]}


def _case(spent: dict[str, dict[str, list[float]]], name: str) -> Case:
    native, python = (spent[core][name] for core in ("native", "python"))
    return {
        "native_us": native,
        "python_us": python,
        "native_by_usual": [each / usual for each, usual in zip(native, spent["native"][BATCH], strict=True)],
        "python_by_usual": [each / usual for each, usual in zip(python, spent["python"][BATCH], strict=True)],
        "python_by_native": [by_python / by_native for by_python, by_native in zip(python, native, strict=True)],
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


def _calls(core: CoreChoice) -> list[tuple[str, Callable[[], object]]]:
    usual = _usual()
    found: list[tuple[str, Callable[[], object]]] = [
        (BATCH, partial(record_decoder(InputConfig(core=core)).read, usual)),
        (f"{BATCH}, beside formats", partial(_decoder("cryptofeed", core).read, usual)),
        (f"{BATCH}, as a format", partial(_decoder("kor-coin-stream-2025", core).read, usual)),
        *_of_presets(core),
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


def _decoder(one: object, core: CoreChoice = "auto") -> RecordDecoder:
    return record_decoder(msgspec.structs.replace(configured(one).input, core=core))


def _of_presets(core: CoreChoice) -> list[tuple[str, Callable[[], object]]]:
    found: dict[str, Callable[[], object]] = {}
    for name in FORMATS:
        decoder = _decoder(FORMATS[name], core)
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
