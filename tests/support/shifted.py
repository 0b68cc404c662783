"""`marketdata-exporter` on a machine whose clock is off by as many seconds as the file in CLOCK_OFFSET says just then.

Python's clocks only: those of librdkafka are right, as a broker's are.
"""

import os
import sys
import time
from pathlib import Path

_seconds, _nanoseconds, _file = time.time, time.time_ns, Path(os.environ["CLOCK_OFFSET"])


def offset() -> int:
    """How far it is ahead, in seconds."""
    return int(_file.read_text() or 0)


time.time = lambda: _seconds() + offset()
time.time_ns = lambda: _nanoseconds() + offset() * 1_000_000_000

if __name__ == "__main__":
    from exporter import cli

    sys.exit(cli.main())
