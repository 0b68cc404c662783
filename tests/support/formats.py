"""Formats from YAML, and records of real programs to read with them."""

import json
from pathlib import Path
from typing import Any

from exporter.config.loader import load
from exporter.config.schema import Config, Limits
from exporter.decoding.formats.formats import Formats
from exporter.decoding.json_decoder import Decoder
from exporter.model import Partition, Record

SAMPLES = Path(__file__).parents[1] / "data" / "formats"
KAFKA_MS = 1_700_000_000_500
# Topics that a test may use; events go elsewhere.
CONFIG: dict[str, dict[str, object]] = {
    "input": {"topics": ["^[a-z].*"]},
    "output": {"topic": "Events", "error_topic": "Errors"},
}


def configured(*formats: object) -> Config:
    """Return a configuration with these formats, given as YAML has them."""
    given = {"input": {**CONFIG["input"], "formats": list(formats)}, "output": CONFIG["output"]}
    return load(json.dumps(given), {}, {}, hostname="box-1", read_file=str)


def reader(*formats: object, **limits: int) -> Formats:
    """Return what reads records by these formats."""
    bounds = Limits(**limits)
    return Formats(configured(*formats).input.formats, bounds, Decoder(bounds))


def record(value: object, topic: str = "t", key: bytes | None = None, **headers: str) -> Record:
    """Return a record; a value that is not bytes is written as JSON."""
    body = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    named = tuple((name, text.encode()) for name, text in headers.items())
    return Record(Partition(topic, 0), 0, KAFKA_MS, body, key=key, headers=named)


def samples(name: str) -> list[Record]:
    """Return the records of a sample file."""
    lines = (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [_sample(json.loads(line)) for line in lines]


def _sample(line: dict[str, Any]) -> Record:
    key = line.get("key")
    return record(line["value"], line["topic"], None if key is None else key.encode(), **line.get("headers", {}))
