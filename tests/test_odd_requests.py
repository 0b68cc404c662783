"""Whatever a connection sends, it gets valid responses or none, and the next client is served; by a seeded grammar."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random

import pytest

from exporter.config.loader import load
from exporter.reload import Reloader
from exporter.runtime.clock import SystemClock
from exporter.web.hosts import Access
from exporter.web.limits import ClientLimits
from tests.support.odd_requests import Sent, answers, check, connection
from tests.support.queries import Site, site
from tests.support.waiting import eventually
from tests.support.webfile import WebFiles

NUMBER, NUMBER_ENCRYPTED, NUMBER_HOSTILE = 800, 200, 20_000
CLIENTS = 16
LIMITS = ClientLimits(request_seconds=0.5, idle_seconds=0.2, tick_seconds=0.05)
STREAMED = b"text/event-stream"
RESET = struct.pack("ii", 1, 0)
Connect = Callable[[Site], socket.socket]


def plain(running: Site) -> socket.socket:
    """A connection without TLS."""
    return running.connect()


def encrypted(running: Site) -> socket.socket:
    """A connection with TLS, to whatever server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(running.connect())


def exchange(client: socket.socket, sent: Sent) -> tuple[bytes, bool]:
    """What comes until the server closes the connection, and whether something may be missing at the end."""
    # A client that is refused before it has sent everything reads why.
    with suppress(OSError):
        for piece in sent.pieces:
            client.sendall(piece)
        if sent.resets:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return b"", True
        if sent.ends and not isinstance(client, ssl.SSLSocket):  # which could read no more
            client.shutdown(socket.SHUT_WR)
    received = b""
    while STREAMED not in received:  # which has no end: the client goes
        try:
            part = client.recv(65536)
        except (ConnectionError, ssl.SSLError):
            return received, True
        if not part:
            return received, False
        received += part
    return received, True


def attempt(running: Site, connect: Connect, seed: int) -> Counter[int]:
    """Send what a seed means, and check the responses; return their statuses."""
    sent = connection(Random(seed))
    with connect(running) as client:
        try:
            received, is_cut = exchange(client, sent)
            found = answers(received, may_lack_bodies=b"HEAD" in sent.whole, is_cut=is_cut)
            check(sent, found)
        except (AssertionError, TimeoutError) as error:
            raise AssertionError(f"seed {seed}: {error!r} after {sent}") from error
    return Counter(answer.status for answer in found)


def others_are_served(running: Site, connect: Connect) -> bool:
    """Whether a health check and a scrape of another client are answered."""
    for path in ("/-/healthy", "/metrics"):
        with connect(running) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            [answer] = answers(exchange(client, Sent((), 1, ends=False, resets=False))[0])
        if answer.status != 200:
            return False
    return True


def bombard(running: Site, connect: Connect, seeds: range) -> Counter[int]:
    """Attempt all seeds, some at a time; after each of these others have to be served. Return the statuses."""
    statuses = Counter[int]()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for start in seeds[::CLIENTS]:
            some = range(start, min(start + CLIENTS, seeds.stop))
            statuses += sum(pool.map(partial(attempt, running, connect), some), Counter[int]())
            assert others_are_served(running, connect), f"after {some}"
    return statuses


def descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def everything() -> Iterator[Site]:
    """A server of all paths."""
    loaded = partial(load, "", {}, {}, hostname="one", read_file=str)
    reloader = Reloader(loaded(), loaded, [], lambda _: None, SystemClock())
    with site(LIMITS, access=Access(enable_lifecycle=True), lifecycle=reloader) as running:
        yield running


def others() -> set[threading.Thread]:
    """All threads but that of reloads, which stays."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("reload")}


@pytest.fixture
def nothing_is_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No thread, no descriptor, and no warning in the log: clients could fill the disk otherwise."""
    before = others(), descriptors()
    with caplog.at_level(logging.WARNING):
        yield
    assert eventually(lambda: others() <= before[0] and descriptors() <= before[1])
    assert not [record.getMessage() for record in caplog.records]


@pytest.mark.usefixtures("nothing_is_left")
def test_odd_requests_get_valid_responses_or_none_and_others_are_served() -> None:
    with everything() as running:
        assert others_are_served(running, plain)
        before = descriptors()
        statuses = bombard(running, plain, range(NUMBER))
        assert eventually(lambda: descriptors() <= before)
    assert statuses.keys() > {200, 400, 403, 404, 405, 414, 431, 505}


@pytest.mark.usefixtures("nothing_is_left")
def test_odd_requests_over_tls_get_valid_responses_or_none(tmp_path: Path) -> None:
    web = WebFiles(tmp_path)
    with site(LIMITS, config_file=web.write(tls_server_config=web.tls())) as running:
        statuses = bombard(running, encrypted, range(NUMBER, NUMBER + NUMBER_ENCRYPTED))
    assert statuses.keys() > {200, 400, 404, 405}


@pytest.mark.hostile
@pytest.mark.usefixtures("nothing_is_left")
def test_very_many_odd_requests_leave_nothing_behind() -> None:
    """Others in each run; a failure tells the seed of the connection."""
    first = int(time.time()) * NUMBER_HOSTILE
    with everything() as running:
        bombard(running, plain, range(first, first + NUMBER_HOSTILE))
