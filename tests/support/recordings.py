"""Recorded traffic of real exchanges, as collectors write it; it lies beside the repository, with a README."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
NAMES = ("bitget", "bithumb", "hitbtc", "okx", "upbit")


class Recorded(NamedTuple):
    """One Kafka record; `value` is the batch in it."""

    topic: str
    received_ms: int
    value: dict[str, Any]

    @property
    def feed(self) -> str:
        """The feed of the batch: `korea:upbit:ticker`."""
        return f"{self.value['region']}:{self.value['exchange']}:{self.value['request_type']}"


class Counted(NamedTuple):
    """What an exact reader counts of one feed; the sums are over its batches, the symbols are all different ones."""

    batches: int
    messages: int
    unique_sum: int
    efficiency_sum: float
    symbols: int


class Capture(NamedTuple):
    """Records of collectors in the order in which they came, and what an exact reader counts of each feed in them."""

    records: Sequence[Recorded]
    truth: Mapping[str, Counted]


@cache
def recording(name: str) -> Capture:
    """Return one recording; skip the test that asks where there is none, also in CI: recordings cannot be installed."""
    if not (file := RECORDINGS / f"{name}.jsonl.gz").exists():
        pytest.skip("no recorded traffic beside the repository, in ../shared/recordings")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        records = [Recorded(**json.loads(line)) for line in lines]
    feeds = {record.feed for record in records}
    return Capture(records, {feed: counted for feed, counted in _truth() if feed in feeds})


def _truth() -> Iterator[tuple[str, Counted]]:
    for feed, counts in json.loads((RECORDINGS / "truth.json").read_text()).items():
        yield feed, Counted(**counts)
