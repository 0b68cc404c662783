"""A service that handles exchange rates and writes down each.

`python -m tests.support.ingesting BROKER PREFIX FILE SETTINGS SECONDS`. A line `begin CODE RATE` before the handler
does anything, and `end CODE RATE` as its last act; it raises for one currency. Ends cleanly on SIGTERM.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporter.ingestion import ExchangeRateUpdated, MessageConsumer
from tests.support.process import Part

TOPIC = "exchange_rate_updated"
GROUP = "caches"
FAILING = "BAD"
SLOW_EVERY = 50
# A killed member is replaced after a second.
SOON = {"kafka.consumer_properties": {"session.timeout.ms": "1000", "heartbeat.interval.ms": "200"}}


class IngestingService(Part):
    """The service as a process of its own; `lines` are what it has written down, with those of others in the file."""

    def __init__(
        self,
        directory: Path,
        bootstrap: str,
        prefix: str,
        file: Path,
        settings: Mapping[str, object] = SOON,
        seconds: float = 0.002,
    ) -> None:
        super().__init__(directory)
        self._arguments = [bootstrap, prefix, str(file), json.dumps(settings), str(seconds)]

    def command(self) -> Sequence[str]:
        """See Part."""
        return [sys.executable, "-m", "tests.support.ingesting", *self._arguments]

    def ready(self) -> bool:
        """See Part: it joins the group by itself."""
        return True


async def main(bootstrap: str, prefix: str, path: str, settings: str, seconds: str) -> None:
    """Handle rates until SIGTERM; each takes a moment, some take `seconds`, so that a kill meets handlers that run."""
    places = {"bootstrap_servers": bootstrap, "prefix": prefix}
    config = json.loads(settings)
    consumer = MessageConsumer([TOPIC], GROUP + prefix, **places, max_retries=1, retry_delay=0.01, config=config)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.stop)
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def handle(event: object) -> None:
        assert isinstance(event, ExchangeRateUpdated)
        if event.currency_code == FAILING:
            raise ValueError(event.currency_code)
        what = f"{event.currency_code} {event.deal_base_rate:.0f}\n"
        os.write(out, f"begin {what}".encode())
        await asyncio.sleep(0.002 if event.deal_base_rate % SLOW_EVERY else float(seconds))
        os.write(out, f"end {what}".encode())

    await consumer.consume_messages(handle)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
