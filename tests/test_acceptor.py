"""Health checks are answered under any load, and invalid requests never affect valid ones."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from exporter.model import Status
from exporter.web.acceptor import SEND_BYTES, Acceptor
from exporter.web.connections import TURNS
from exporter.web.heads import HEAD_BYTES_MAX, LINE_BYTES_MAX
from exporter.web.hosts import Access
from exporter.web.limits import ClientLimits, Eviction
from exporter.web.protocol import HEADERS_MAX
from exporter.web.responses import CHUNK_BYTES, HEADERS, text_response
from exporter.web.sockets import unacknowledged
from exporter.web.turns import Turns
from tests.support.background import repeating
from tests.support.process import free_port
from tests.support.queries import HOST, Site, large, site
from tests.support.sidecar import Sidecar
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[1]
MARK = "X-Secret-Of-The-Client"
WITHOUT_DESCRIPTORS = """
import os, resource, sys
from tests.support.queries import site
with site() as running:
    first_free = os.dup(0)
    os.close(first_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, first_free))
    print(running.port, flush=True)
    sys.stdin.read()
"""
# More than the head of a request may have, and far less than what the server would have to be sent before it looks.
LONG = "a," * HEAD_BYTES_MAX


@pytest.fixture
def open_sockets() -> Iterator[ExitStack]:
    """Closes at the end what a test has opened."""
    with ExitStack() as stack:
        yield stack


@contextmanager
def standing(running: Site) -> Iterator[None]:
    """The event loop does nothing within this."""
    has_begun, go_on = threading.Event(), threading.Event()

    def stand() -> None:
        has_begun.set()
        go_on.wait(20)

    running.server._loop.call_soon_threadsafe(stand)
    assert has_begun.wait(10)
    try:
        yield
    finally:
        go_on.set()


def asked(running: Site, sent: bytes) -> bytes:
    """All that comes for what is sent, until the server closes the connection."""
    with running.connect() as client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(sent)
        return b"".join(iter(lambda: client.recv(65536), b""))


def answers(running: Site) -> float:
    """How many answers the server has counted."""
    families = [family for family in running.queries.registry.collect() if family.name.endswith("http_responses")]
    return sum(sample.value for sample in families[0].samples if sample.name.endswith("_total"))


def test_a_connection_that_has_just_sent_its_request_is_not_closed_for_others(open_sockets: ExitStack) -> None:
    """However many arrived since it was read last; the oldest silent connection is closed instead."""
    handed, evicted = list[socket.socket](), list[Eviction]()
    listener = open_sockets.enter_context(socket.create_server((HOST, 0)))
    acceptor = Acceptor(
        listener,
        ClientLimits(incoming=2),
        (),
        check=lambda _: text_response("ok", 200),
        hand_over=lambda client, *_: handed.append(open_sockets.enter_context(client)),
        on_exhausted=lambda: None,
        on_response=lambda _: None,
        on_eviction=evicted.append,
    )

    def come() -> socket.socket:
        client = open_sockets.enter_context(socket.create_connection(listener.getsockname()))
        acceptor._accept()
        return client

    clients = [come(), come()]
    clients[0].sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    come()
    assert [client.getpeername() for client in handed] == [clients[0].getsockname()]
    assert not evicted
    come()
    assert (len(handed), evicted) == (1, [Eviction.CONNECTIONS])
    acceptor.stop()
    acceptor.run()


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
def test_health_checks_are_answered_while_the_event_loop_stands_still(path: str) -> None:
    with site() as running, standing(running):
        assert requests.get(running.url(path), timeout=5).text == "ok\n"
        running.queries.health = running.queries.readiness = Status(False, ("no turn for 40 s",))
        answer = requests.get(running.url(path), timeout=5)
        assert (answer.status_code, answer.text) == (503, "no turn for 40 s\n")
        head = requests.head(running.url(path), timeout=5)
        assert (head.status_code, head.headers["Content-Length"]) == (503, "17")
        with pytest.raises(requests.Timeout):
            requests.get(running.url("/metrics"), timeout=0.2)


def test_a_server_whose_event_loop_stands_still_is_not_healthy() -> None:
    with site() as running, standing(running):
        running.server._connections.turned_at -= 60
        answer = requests.get(running.url("/-/healthy"), timeout=5)
        assert answer.status_code == 503
        assert answer.text.startswith("the HTTP server has answered no other request for 60 s")


def test_health_checks_are_answered_under_a_flood_of_connections(open_sockets: ExitStack) -> None:
    """Silent connections only wait."""
    with site() as running, standing(running), repeating(lambda: open_sockets.enter_context(running.connect())):
        for _ in range(20):
            assert requests.get(running.url("/-/healthy"), timeout=5).text == "ok\n"


def test_a_health_check_may_come_in_pieces() -> None:
    with site() as running, standing(running), running.connect() as client:
        for piece in (b"GET /-/heal", b"thy HTTP/1.1\r\nHost: x\r", b"\n\r", b"\n"):
            client.sendall(piece)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


ACCEPTS = f"Accept: {'a,' * 400}\r\n" * 1250
POST = "POST / HTTP/1.1\r\nHost: x\r\n"
HEALTH = "GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        pytest.param(431, f"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {LONG}\r\n\r\n", id="a long Accept"),
        pytest.param(431, f"GET /metrics HTTP/1.1\r\nHost: x\r\n{ACCEPTS}\r\n", id="1 MB of Accept"),
        pytest.param(431, f"GET / HTTP/1.1\r\nHost: x\r\nA: {'y' * 9000}\r\n\r\n", id="a long header"),
        pytest.param(431, "GET / HTTP/1.1\r\nHost: x\r\n" + "A: b\r\n" * HEADERS_MAX + "\r\n", id="many headers"),
        pytest.param(414, f"GET /{'y' * LINE_BYTES_MAX} HTTP/1.1\r\nHost: x\r\n\r\n", id="a long request line"),
        pytest.param(414, f"GET /?{'name[]=y&' * 120_000} HTTP/1.1\r\nHost: x\r\n\r\n", id="1 MB of names"),
        pytest.param(400, f"GET /?{'&' * 201} HTTP/1.1\r\nHost: x\r\n\r\n", id="many parameters"),
        pytest.param(505, "GET /metrics\r\n\r\n", id="HTTP/0.9"),
        pytest.param(505, "GET /metrics HTTP/2.0\r\nHost: x\r\n\r\n", id="HTTP/2.0"),
        pytest.param(400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="the preface of HTTP/2"),
        pytest.param(400, "GET /metrics HTTP/9.9\r\nHost: x\r\n\r\n", id="HTTP/9.9"),
        pytest.param(400, "GET /metrics HTTP/1.1\r\n\r\n", id="no Host"),
        pytest.param(400, "GET /metrics HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", id="two Hosts"),
        pytest.param(400, f"GET / HTTP/1.1\r\nHost: x\r\n{MARK}: a\x00b\r\n\r\n", id="NUL"),
        pytest.param(400, f"GET / HTTP/1.1\r\nHost: x\r\n{MARK} : a\r\n\r\n", id="a space before the colon"),
        pytest.param(400, f"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n {MARK}\r\n\r\n", id="a folded header"),
        pytest.param(400, f"GET / HTTP/1.1\nHost: x\n{MARK}: y\n\n", id="bare line feeds"),
        pytest.param(400, f"{MARK} / HTTP/1.1\r\nHost: x\r\n\r\n", id="no such method"),
        pytest.param(400, "get / HTTP/1.1\r\nHost: x\r\n\r\n", id="a method in small letters"),
        pytest.param(400, "GET http:// HTTP/1.1\r\nHost: x\r\n\r\n", id="a URL that is none"),
        pytest.param(400, POST + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", id="two lengths"),
        pytest.param(400, POST + "Transfer-Encoding: x\r\nContent-Length: 3\r\n\r\nabc", id="smuggling"),
        pytest.param(400, POST + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", id="chunks that are none"),
        pytest.param(405, f"TRACE / HTTP/1.1\r\nHost: x\r\n{MARK}: y\r\n\r\n", id="TRACE"),
        pytest.param(405, "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\nabc", id="CONNECT"),
        pytest.param(405, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", id="OPTIONS *"),
        pytest.param(405, f"PUT /{MARK} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", id="PUT"),
        pytest.param(404, f"GET /{MARK} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", id="no such path"),
        pytest.param(404, HEALTH.replace("-/", "-%2F") + "\r\n", id="an encoded slash"),
        pytest.param(404, HEALTH.replace("/-/", "//-/") + "\r\n", id="two slashes"),
        pytest.param(404, HEALTH.replace("/-/", "/static/../-/") + "\r\n", id="dots"),
        pytest.param(200, HEALTH.replace("/-", "http://x/-") + "\r\n", id="an absolute URL"),
        pytest.param(200, HEALTH + "Upgrade: h2c\r\n\r\n", id="an upgrade"),
        pytest.param(200, HEALTH + "Expect: 100-continue\r\n\r\n", id="an expectation"),
        pytest.param(200, HEALTH + f"Expect: {MARK}\r\n\r\n", id="another expectation"),
    ],
)
def test_every_response_is_that_of_the_sidecar_and_counted(status: int, sent: str) -> None:
    """It has the usual headers, repeats nothing of the request, and names no library."""
    with site() as running:
        answer = asked(running, sent.encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[0].split(" ")[1] == str(status)
        assert {f"{name}: {value}" for name, value in HEADERS.items()} <= set(lines)
        assert f"Content-Length: {len(body)}" in lines
        assert MARK.encode() not in answer
        assert not any(word in answer.lower() for word in (b"aiohttp", b"python", b"traceback", b"got more than"))
        assert answers(running) == 1
        assert requests.get(running.url("/metrics"), timeout=5).status_code == 200


def test_a_later_request_has_the_same_limits() -> None:
    """Also on a connection that was answered before."""
    with site() as running, requests.Session() as session:
        assert session.get(running.url("/absent"), timeout=5).status_code == 404
        answer = session.get(
            running.url("/metrics"), headers={f"A{number}": "b" * 1000 for number in range(20)}, timeout=5
        )
        assert answer.status_code == 431
        assert answer.text == f"the request head is longer than {HEAD_BYTES_MAX} bytes\n"


def test_a_slow_request_gets_a_response() -> None:
    """A connection that has sent nothing is closed without one."""
    with site(ClientLimits(request_seconds=0.2)) as running:
        assert asked(running, b"GET / HTTP/1.1\r\n").startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert asked(running, b"") == b""
        assert running.queries.evictions("slow") == 2


def test_an_incomplete_request_gets_a_response() -> None:
    with site() as running, running.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(65536).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_a_client_that_closed_its_side_gets_its_response(open_sockets: ExitStack) -> None:
    """It did so after its request."""
    with site() as running:
        client = open_sockets.enter_context(running.connect())
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(15) == b"HTTP/1.1 200 OK"


def test_the_newest_request_is_answered_first(open_sockets: ExitStack) -> None:
    """When too many wait, the oldest is closed."""
    with site(ClientLimits(active=1, waiting=1)) as running:
        running.queries.go_on.clear()
        holder, older = (open_sockets.enter_context(running.connect()) for _ in range(2))
        holder.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert running.queries.collecting.wait(10)
        older.sendall(b"GET /absent HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: len(running.server._connections.queue._queued) == 1)
        newer = open_sockets.enter_context(running.connect())
        newer.sendall(b"GET /absent HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert older.recv(1) == b""
        running.queries.go_on.set()
        assert newer.recv(22) == b"HTTP/1.1 404 Not Found"


def test_a_connection_that_reads_nothing_is_replaced(open_sockets: ExitStack) -> None:
    with site(ClientLimits(active=1)) as running:
        running.queries.more = [large("large")]
        slow = open_sockets.enter_context(running.connect(receive_bytes=4096))
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(15) == b"HTTP/1.1 200 OK"
        assert requests.get(running.url("/metrics?name[]=depth"), timeout=10).status_code == 200
        assert running.queries.evictions("connections") == 1
        # Nor does the kernel keep what it has not read.
        with pytest.raises(ConnectionResetError):
            list(iter(lambda: slow.recv(65536), b""))


def test_a_name_that_is_not_allowed_is_refused_for_every_path() -> None:
    access = Access(("metrics.example.com",))
    with site(access=access) as running:
        for path in ("/", "/metrics", "/-/healthy", "/config", "/absent"):
            for host in ("evil.example", f"metrics.example.com.evil.example:{running.port}"):
                assert requests.get(running.url(path), headers={"Host": host}, timeout=5).status_code == 421
            answer = asked(
                running, f"GET http://evil.example{path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
            )
            assert answer.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
        for host in (
            "metrics.example.com",
            f"metrics.example.com:{running.port}",
            "localhost",
            f"{HOST}:{running.port}",
        ):
            for path in ("/", "/metrics", "/-/healthy", "/config"):
                assert requests.get(running.url(path), headers={"Host": host}, timeout=5).status_code == 200


def test_the_configuration_is_hidden_from_other_machines() -> None:
    far = {"X-Forwarded-For": "10.0.0.1"}
    with site() as running:
        for headers, status in (({}, 200), (far, 403), ({"Host": "evil.example"}, 403)):
            assert requests.get(running.url("/config"), headers=headers, timeout=5).status_code == status
    with site(access=Access(config_page="everyone")) as running:
        assert requests.get(running.url("/config"), headers=far, timeout=5).status_code == 200
    with site(access=Access(config_page="off")) as running:
        assert requests.get(running.url("/config"), timeout=5).status_code == 403


@pytest.mark.parametrize("spare", [16, 32])
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_without_descriptors_health_checks_are_answered_and_the_log_stays_short(
    sent: bytes, spare: int, tmp_path: Path, open_sockets: ExitStack
) -> None:
    """Whatever the connections that hold all descriptors have sent. Others are served once these are closed."""
    sidecar = Sidecar(tmp_path, {"kafka.bootstrap_servers": f"{HOST}:{free_port()}"}).start()
    try:
        used = len(list(Path(f"/proc/{sidecar.pid}/fd").iterdir()))
        resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE, (used + spare, used + spare))
        for _ in range(100):
            client = open_sockets.enter_context(socket.create_connection((HOST, sidecar.port), 5))
            client.sendall(sent)
        for _ in range(10):
            assert sidecar.get("/-/healthy").ok
        open_sockets.close()
        eventually(lambda: sidecar.get("/metrics").ok)
        assert sidecar.log.count("new connections are delayed") <= 1
        assert len(sidecar.log.splitlines()) < 20
    finally:
        sidecar.kill()


def test_without_a_single_descriptor_health_checks_are_answered() -> None:
    """One is reserved for them; the response to other requests gives the reason."""
    command = [sys.executable, "-c", WITHOUT_DESCRIPTORS]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            url = f"http://{HOST}:{int(serving.stdout.readline())}"
            assert [requests.get(f"{url}/-/healthy", timeout=10).text for _ in range(3)] == ["ok\n"] * 3
            answer = requests.get(f"{url}/metrics", timeout=10)
            assert (answer.status_code, answer.text) == (503, "no file descriptors are left\n")
        finally:
            serving.kill()


def test_little_is_buffered_for_a_client_that_reads_nothing(open_sockets: ExitStack) -> None:
    """A piece of the response here, and some in the kernel, whose default would be megabytes."""
    with site() as running:
        running.queries.more = [large("large")]
        slow = open_sockets.enter_context(running.connect(receive_bytes=4096))
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(15) == b"HTTP/1.1 200 OK"
        [connection] = running.server._connections.places.taken
        transport = connection.transport
        assert transport is not None
        eventually(lambda: transport.get_write_buffer_size() > 0)
        assert transport.get_write_buffer_size() <= CHUNK_BYTES
        assert unacknowledged(transport.get_extra_info("socket")) <= 2 * SEND_BYTES


def test_a_client_that_has_not_read_a_small_response_counts_as_reading(open_sockets: ExitStack) -> None:
    """Although all of it is in the kernel by then, which would keep it after the connection was closed."""
    with site() as running:
        running.queries.more = [large("large", 100_000)]
        slow = open_sockets.enter_context(running.connect(receive_bytes=4096))
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(15, socket.MSG_PEEK) == b"HTTP/1.1 200 OK"
        assert len(running.server._connections.places.transferring) == 1
        answer = HTTPResponse(slow)
        answer.begin()
        assert len(answer.read()) > 90_000
        assert eventually(lambda: len(running.server._connections.places.idle) == 1)


def test_few_requests_have_a_turn_in_one_pass_of_the_event_loop() -> None:
    """However many wait for one."""

    async def rounds() -> list[int]:
        loop = asyncio.get_running_loop()
        limited = Turns(TURNS)
        turns = [loop.create_task(limited.take(0.0)) for _ in range(3 * TURNS)]
        done = []
        while not all(turn.done() for turn in turns):
            await asyncio.sleep(0)
            done.append(sum(turn.done() for turn in turns))
        return [after - before for before, after in pairwise(done)]

    assert 0 < max(asyncio.run(rounds())) <= TURNS
