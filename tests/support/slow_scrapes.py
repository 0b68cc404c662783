"""The program with pages of metrics that take `SLOW_SECONDS` more each: an HTTP server of a known capacity.

They take it one after the other, as the loop of the server makes them; with `SLOW_APART` beside each other. With
`SLOW_COMPUTES` the time is spent on the processor.
"""

import asyncio
import os
import sys
import time
from typing import Any

from exporter.cli import main
from exporter.web.scrapes import Scrapes

SECONDS = float(os.environ["SLOW_SECONDS"])
_respond = Scrapes.respond


async def slow(self: Scrapes, request: Any) -> Any:
    """Take the time, then answer as ever."""
    if "SLOW_APART" in os.environ:
        await asyncio.sleep(SECONDS)
    elif "SLOW_COMPUTES" in os.environ:
        until = time.thread_time() + SECONDS
        while time.thread_time() < until:
            pass
    else:
        time.sleep(SECONDS)
    return await _respond(self, request)


if __name__ == "__main__":
    Scrapes.respond = slow  # type: ignore[method-assign]
    sys.exit(main())
