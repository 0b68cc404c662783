"""A publisher of exchange rates: `python -m tests.support.publishing BROKER PREFIX FILE`.

It sends one rate of each currency after another, each greater than all before, and updated at that millisecond. The
last line of the file is the last number of all publishers that used it, written before it is sent.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from exporter.ingestion import IngestionProducer, SendError
from tests.support.ingesting import TOPIC
from tests.support.ingestion import EXAMPLES
from tests.support.process import Part

CODES = ("USD", "EUR", "JPY", "CNH", "GBP", "CHF")
BEGIN = datetime(2025, 1, 27, tzinfo=UTC)
PAUSE_SECONDS = 0.005


class RatePublisher(Part):
    """The publisher as a process of its own."""

    def __init__(self, directory: Path, bootstrap: str, prefix: str) -> None:
        super().__init__(directory)
        self._arguments = [bootstrap, prefix, str(directory / "numbers")]

    def command(self) -> Sequence[str]:
        """See Part."""
        return [sys.executable, "-m", "tests.support.publishing", *self._arguments]

    def ready(self) -> bool:
        """See Part: it connects by itself."""
        return True

    @property
    def last(self) -> int:
        """The number that was begun last."""
        return last_number(self.directory / "numbers")


def last_number(file: Path) -> int:
    """Return the number that was begun last; 0 before the first."""
    lines = file.read_text().split("\n") if file.exists() else []
    return int(lines[-2]) if len(lines) > 1 else 0


def rate_of(code: str, number: int) -> dict[str, object]:
    """Return the event of a number."""
    at = (BEGIN + timedelta(milliseconds=number)).isoformat()
    return {**EXAMPLES[TOPIC], "currency_code": code, "deal_base_rate": float(number), "updated_at": at}


async def main(bootstrap: str, prefix: str, path: str) -> None:
    """Send until SIGTERM. What cannot be delivered is lost, and the next number is sent."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    number = last_number(Path(path))
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with IngestionProducer(bootstrap_servers=bootstrap, prefix=prefix) as producer:
        while not stopping.is_set():
            for code in CODES:
                number += 1
                os.write(out, f"{number}\n".encode())
                try:
                    await producer.send(TOPIC, rate_of(code, number))
                except SendError:
                    continue
            await asyncio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
