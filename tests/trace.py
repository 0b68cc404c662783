"""`python -m tests.trace [--calls]`: how far a record, scrape, configuration key and symbol travel in the package.

A *move* is a call from a function of one file to a function of another, whatever lies between them. The record is
warm: its feed is known, nothing is due by the clock, and no commit is made. `--calls` lists each move.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import exporter
from exporter.app import App
from exporter.config import loader
from exporter.instrument.exposition import TEXT, render
from exporter.kafka.positions import Position, Start
from exporter.model import FeedKey, Partition, Record
from exporter.runtime import clock
from exporter.source.handler import RebalanceHandler
from tests.support.waiting import eventually

ROOT = str(Path(exporter.__file__).parent) + "/"
PARTITION = Partition("ticker-data.korea", 0)
FEED = FeedKey("korea", "upbit", "ticker")
SETTINGS = {
    "input.core": "python",
    "output.enabled": False,
    "output.commit_interval": "30s",
    "output.summary_interval": "1d",
}
WARM_RECORDS = 40


class Move(NamedTuple):
    """A call from one file to another, by the path within the package, and the function that is called."""

    caller: str
    callee: str
    function: str


class MemorySource:
    """A source of records in memory; see `Source`."""

    def __init__(self) -> None:
        self.waiting: list[Record] = []
        self.paused = False
        self.subscribed = True
        self.is_empty = False
        self.is_reachable = True
        self.is_sole_reader = True
        self.is_refused = False
        self.last_error = ""
        self.blocked: list[str] = []

    def open(self, handler: RebalanceHandler) -> None:
        """See Source."""
        handler.assigned({PARTITION: Start(Position(0, 0, 0), 0, 0)})

    def take(self, seconds: float) -> list[Record]:
        """See Source."""
        records, self.waiting = self.waiting, []
        return records

    def pause(self) -> None:
        """See Source."""

    def resume(self) -> None:
        """See Source."""

    def high_watermarks(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """See Source."""
        return {}

    def close(self, seconds: float) -> bool:
        """See Source."""
        return True


class Sidecar:
    """A sidecar that reads from memory and publishes nothing, turn by turn."""

    def __init__(self) -> None:
        self.app = App(loader.load(None, {}, SETTINGS, hostname="box", read_file=str))
        self.app.loop.source = self.source = MemorySource()
        self._written = 0
        self.source.open(self.app.loop)
        self.app.loop.publisher.advance()
        eventually(self._is_open, 5.0)
        for _ in range(WARM_RECORDS):
            self.turn(1)

    def turn(self, records: int) -> None:
        """Take so many records."""
        self.source.waiting = [self._record() for _ in range(records)]
        self.app.loop.turn()

    def moves_of_turn(self, records: int) -> list[Move]:
        """Return the moves of a turn in which nothing is due by the clock."""
        turns = [traced(lambda: self.turn(records)) for _ in range(5)]
        return min(turns, key=len)

    def _is_open(self) -> bool:
        """Take a turn; return whether the channel is open, which a thread of its own does."""
        self.turn(1)
        return self.app.loop.publisher.busy_seconds() == 0

    def close(self) -> None:
        """End the thread of the publisher."""
        self.app.loop.publisher.close(5.0)

    def _record(self) -> Record:
        now_ms, self._written = clock.now_ms(), self._written + 1
        price = 1.0 + self._written % 7
        rows = [{"target_currency": symbol, "timestamp": now_ms - 20, "last": price} for symbol in ("A", "B", "C")]
        value = json.dumps({**FEED._asdict(), "timestamp_ms": now_ms - 5, "data": rows}).encode()
        return Record(PARTITION, self._written - 1, now_ms, value)


def traced(call: Callable[[], object]) -> list[Move]:
    """Return the moves within the package while the call lasts."""
    moves: list[Move] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        if event != "call" or not path.startswith(ROOT):
            return
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(ROOT):
            caller = caller.f_back
        if caller is not None and caller.f_code.co_filename != path:
            before = caller.f_code.co_filename.removeprefix(ROOT)
            moves.append(Move(before, path.removeprefix(ROOT), frame.f_code.co_name))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return moves


def added(more: Iterable[Move], fewer: Iterable[Move]) -> list[Move]:
    """Return the moves of one trace that another has not."""
    return list((Counter(more) - Counter(fewer)).elements())


def subjects() -> dict[str, list[Move]]:
    """Return the moves of each subject."""
    sidecar = Sidecar()
    one, two = sidecar.moves_of_turn(1), sidecar.moves_of_turn(2)
    queries = sidecar.app.queries
    render(queries.collect(), TEXT)
    sidecar.turn(1)
    found = {
        "a record in a turn of its own": one,
        "one more record in a turn": added(two, one),
        "a scrape with one changed feed": traced(lambda: render(queries.collect(), TEXT)),
        "a symbol, by its page": traced(lambda: list(queries.symbols(FEED, "", 1).rows)),
        "a configuration key": traced(
            lambda: loader.load(None, {}, {"input.live_age": "30s"}, hostname="box", read_file=str)
        ),
    }
    sidecar.close()
    return found


def main(arguments: list[str]) -> None:
    """Print files and moves of each subject."""
    print(f"{'':32}{'files':>6}{'moves':>7}")
    for subject, moves in subjects().items():
        files = {file for move in moves for file in (move.caller, move.callee)}
        print(f"{subject:32}{len(files):6}{len(moves):7}")
        if "--calls" in arguments:
            print(*(f"    {move.caller} -> {move.callee} {move.function}" for move in moves), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
