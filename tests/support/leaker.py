"""A program that leaks on purpose, and looks at its memory with `MemoryManager` until it has reached its limit.

It prints the seconds to the limit that were foretold at half the way, and those that it took from there.
"""

from __future__ import annotations

import json
import time

import psutil

from exporter.performance import MemoryManager

RATE = 24_000_000
LEAK = 96_000_000
PAUSE = 0.02


def main() -> None:
    """Leak at a rate that does not depend on how busy the machine is."""
    process, kept = psutil.Process(), []
    limit = process.memory_info().rss + LEAK
    memory = MemoryManager(limit_bytes=limit)
    begin, leaked = time.monotonic(), 0
    foretold = said = 0.0
    while process.memory_info().rss < limit:
        if (due := int(RATE * (time.monotonic() - begin)) - leaked) > 0:
            kept.append(b"\1" * due)
            leaked += due
        memory.sample()
        if not said and leaked >= LEAK / 2:
            said, foretold = time.monotonic(), memory.get_memory_trend()["seconds_to_limit"]
        time.sleep(PAUSE)
    print(json.dumps({"foretold_seconds": foretold, "seconds": time.monotonic() - said}))


if __name__ == "__main__":
    main()
