"""`marketdata-exporter` whose loop never comes back from its source; it may take two seconds to stop."""

import ctypes
import sys

from exporter import cli
from exporter.source.consumer import KafkaSource
from exporter.tools import process


def wait(*_: object) -> None:
    """Never return, in a call that runs no handler of a signal."""
    print("hanging", flush=True)
    while True:
        ctypes.CDLL(None).pause()


if __name__ == "__main__":
    KafkaSource.take = wait  # type: ignore[assignment,method-assign]
    process.STOP_SECONDS = 2.0
    sys.exit(cli.main())
