"""Recorded traffic of real exchanges, as collectors write it; it lies beside the repository, with a README."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.missing import missing

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"


class Recorded(NamedTuple):
    """One Kafka record; `value` is the batch in it."""

    topic: str
    received_ms: int
    value: dict[str, Any]


class Counted(NamedTuple):
    """What an exact reader counts of one feed; the sums are over its batches, the symbols are all different ones."""

    batches: int
    messages: int
    unique_sum: int
    efficiency_sum: float
    symbols: int


def recordings() -> list[str]:
    """The names of all recordings; without them the test that asks is skipped."""
    names = [path.name.removesuffix(".jsonl.gz") for path in sorted(RECORDINGS.glob("*.jsonl.gz"))]
    return names or missing("recorded traffic", "there are no recordings beside the repository")


@cache
def recorded(name: str) -> list[Recorded]:
    """The records of one recording, in order."""
    if name not in recordings():
        missing("recorded traffic", f"there is no recording {name}")
    with gzip.open(RECORDINGS / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [Recorded(**json.loads(line)) for line in lines]


@cache
def truth() -> dict[str, Counted]:
    """What the recordings hold, all together, by feed: `korea:upbit:ticker`."""
    if not (file := RECORDINGS / "truth.json").exists():
        missing("recorded traffic", "there is no truth.json beside the repository")
    return {feed: Counted(**counts) for feed, counts in json.loads(file.read_text()).items()}
