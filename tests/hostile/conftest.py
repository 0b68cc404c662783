"""A stage for all attacks, and their table at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.row import Row, table
from tests.hostile.stage import Stage
from tests.support.kafka import Broker

ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A broker of its own, with more to read than is read in the time of an attack."""
    broker = Broker(tmp_path_factory.mktemp("kafka")).start()
    try:
        yield Stage(broker, tmp_path_factory.mktemp("hostile"))
    finally:
        broker.kill()


@pytest.fixture
def rows(pytestconfig: pytest.Config) -> list[Row]:
    """Where tests put the rows of the table that is printed at the end."""
    return pytestconfig.stash.setdefault(ROWS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    if rows := config.stash.get(ROWS, []):
        terminalreporter.write_line("")
        terminalreporter.write_line(table(rows))
