"""Whether a sidecar under load is slow or dead."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from exporter.config.web_schema import WebClientConfig
from exporter.loadtest import sidecar
from exporter.loadtest.results import Ended
from exporter.loadtest.run_clock import RunClock
from exporter.loadtest.sidecar import SidecarWatch
from exporter.loadtest.target import Patience


@contextmanager
def unanswering(*, is_down: bool) -> Iterator[str]:
    """The address of a server that takes connections and never answers, or does not listen."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if not is_down:
            server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/metrics"


@pytest.mark.parametrize(
    ("silent_seconds", "is_down", "is_dead"), [(7, True, True), (7, False, False), (12, False, True)]
)
def test_a_sidecar_that_refuses_connections_is_dead_sooner_than_one_that_answers_late(
    monkeypatch: pytest.MonkeyPatch, silent_seconds: int, is_down: bool, is_dead: bool
) -> None:
    monkeypatch.setattr(sidecar, "_ANSWER_SECONDS", 0.1)
    clock = RunClock()
    with unanswering(is_down=is_down) as url:
        watch = SidecarWatch(url, WebClientConfig(), "korea", lambda batches, at: None, clock, Patience())
        assert not watch.start()
    clock.start(time.monotonic() - silent_seconds)
    failure = watch.failure()
    assert (failure is not None) == is_dead
    assert failure is None or failure.ended is Ended.SIDECAR_DIED
