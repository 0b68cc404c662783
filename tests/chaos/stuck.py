"""A sidecar one of whose calls never returns: `commit`, with a watchdog that waits two seconds, or `close`."""

import sys
import threading

from confluent_kafka import Consumer

from exporter import cli
from exporter.kafka import clients
from exporter.publishing.channels.transactional import TransactionalChannel


def wait(*_: object) -> None:
    """Never return."""
    threading.Event().wait()


class StuckConsumer(Consumer):
    """Cannot be closed."""

    def close(self) -> None:
        """Never return."""
        wait()


def main() -> int:
    """Run `marketdata-exporter` like that; the first argument says which call it is."""
    if sys.argv.pop(1) == "commit":
        clients.SHORTEST_STUCK_SECONDS = 2.0
        TransactionalChannel.commit = wait  # type: ignore[assignment,method-assign]
    else:
        clients.Consumer = StuckConsumer  # type: ignore[attr-defined]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
