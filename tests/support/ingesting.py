"""A service that handles exchange rates and writes down each: `python -m tests.support.ingesting BROKER PREFIX FILE`.

A line `begin CODE RATE` before the handler does anything, and `end CODE RATE` as its last act. Ends cleanly on SIGTERM.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from exporter.ingestion import ExchangeRateUpdated, MessageConsumer
from tests.support.process import Part

TOPIC = "exchange_rate_updated"
GROUP = "caches"
# A killed member is replaced after a second.
SOON = {"kafka.consumer_properties": {"session.timeout.ms": "1000", "heartbeat.interval.ms": "200"}}


class IngestingService(Part):
    """The service as a process of its own; `lines` are what it has written down, with those of others in the file."""

    def __init__(self, directory: Path, bootstrap: str, prefix: str, file: Path) -> None:
        super().__init__(directory)
        self._arguments = [bootstrap, prefix, str(file)]

    def command(self) -> Sequence[str]:
        """See Part."""
        return [sys.executable, "-m", "tests.support.ingesting", *self._arguments]

    def ready(self) -> bool:
        """See Part: it joins the group by itself."""
        return True


async def main(bootstrap: str, prefix: str, path: str) -> None:
    """Handle rates until SIGTERM; each takes a moment, so that a kill meets handlers that run."""
    consumer = MessageConsumer([TOPIC], GROUP + prefix, bootstrap_servers=bootstrap, prefix=prefix, config=SOON)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.stop)
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def handle(event: object) -> None:
        assert isinstance(event, ExchangeRateUpdated)
        what = f"{event.currency_code} {event.deal_base_rate:.0f}\n"
        os.write(out, f"begin {what}".encode())
        await asyncio.sleep(0.002)
        os.write(out, f"end {what}".encode())

    await consumer.consume_messages(handle)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
