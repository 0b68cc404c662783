"""The broker that the processes of a parallel run share.

It begins to start before they collect tests, and answers when they have. One for each took a tenth of the processor
time of all tests: it compiles what it does first, and turns while nothing happens.
"""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support.kafka import Broker
from tests.support.waiting import eventually

# Nobody kills it, so it need not be given up soon when a busy machine holds it up: topics cannot be created then.
PROPERTIES = {"broker.session.timeout.ms": "60000"}


class OneBroker:
    """The plugin of the process that distributes the tests."""

    def __init__(self) -> None:
        self._directory = TemporaryDirectory(prefix="kafka-")
        self._broker: Broker | None = None
        # Without Java or Kafka each test that asks for a broker says so.
        with suppress(pytest.skip.Exception, pytest.fail.Exception):
            self._broker = Broker(Path(self._directory.name), PROPERTIES)
            self._broker.launch()

    def pytest_configure_node(self, node: Any) -> None:
        """Tell a process where the broker is."""
        if self._broker:
            node.workerinput["broker"] = self._directory.name, self._broker.port

    def pytest_unconfigure(self) -> None:
        """End it."""
        if self._broker:
            self._broker.kill()
        self._directory.cleanup()


def of_this_run(config: pytest.Config) -> Broker | None:
    """The broker that another process of this run has started, once it answers."""
    directory, port = getattr(config, "workerinput", {}).get("broker", ("", 0))
    if not port:
        return None
    broker = Broker(Path(directory), port=port)
    eventually(broker.ready, broker.start_seconds, f"the broker of all processes did not answer, see {directory}")
    return broker
