"""A sidecar whose commits never return, and whose watchdog loses patience after two seconds."""

import sys
import threading

from exporter import cli, clients
from exporter.sink import TransactionalChannel


def main() -> int:
    """Run `marketdata-exporter` like that."""
    clients.SHORTEST_STUCK_SECONDS = 2.0
    TransactionalChannel.seal = lambda *_: threading.Event().wait()  # type: ignore[assignment,method-assign]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
