"""The progress of a replay, as a bar on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator

from exporter.events.encoding import utc_text
from exporter.tools.replay.arrival import Arrived

WIDTH = 30
REDRAW_SECONDS = 0.2
# Records between two looks at the clock.
STEP = 500
_CLEAR = "\r\x1b[K"


def shown(arrived: Iterable[Arrived], share: Callable[[int], float]) -> Iterator[Arrived]:
    """Yield what has arrived; if stderr is a terminal, show there how far it is, by the `share` of so many records."""
    if not sys.stderr.isatty():
        yield from arrived
        return
    began = drawn = time.monotonic()
    number = 0
    try:
        for number, each in enumerate(arrived, 1):
            yield each
            if number % STEP == 0 and (now := time.monotonic()) - drawn >= REDRAW_SECONDS:
                drawn = now
                text = bar(min(share(number), 1.0), number, now - began, each[0])
                print(f"{_CLEAR}{text}", end="", file=sys.stderr, flush=True)
    finally:
        print(_CLEAR, end="", file=sys.stderr, flush=True)


def bar(share: float, records: int, seconds: float, at_ms: int) -> str:
    """Return the bar: the share that is read, the time of the records, their rate, and the seconds that remain."""
    filled = round(WIDTH * share)
    rest = f", {seconds / share - seconds:,.0f} s left" if share > 0 else ""
    drawn = "#" * filled + "-" * (WIDTH - filled)
    return f"[{drawn}] {share:4.0%}  {utc_text(at_ms)[:19]}Z  {records / max(seconds, 0.001):,.0f} records/s{rest}"
