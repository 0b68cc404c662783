"""`marketdata-exporter` whose thread that accepts dies of the first request for `/-/ready`."""

import sys

from exporter import cli
from exporter.model import Status
from exporter.web.queries import SidecarQueries


def die(_: SidecarQueries) -> Status:
    """End the thread that asks."""
    raise SystemExit


if __name__ == "__main__":
    SidecarQueries.ready = die  # type: ignore[assignment,method-assign]
    sys.exit(cli.main())
