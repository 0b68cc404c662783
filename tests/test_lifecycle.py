"""The paths that change a running sidecar answer whom they should, and nobody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import requests

from exporter.config.loader import load
from exporter.config.schema import Config
from exporter.model import Status
from exporter.reload import Reloader
from exporter.runtime.clock import SystemClock
from exporter.web.hosts import Access
from exporter.web.interface import Row
from exporter.web.lifecycle import BODY_BYTES_MAX, NOT_COMMITTED
from tests.support.queries import HOST, Site, site
from tests.support.waiting import eventually

ON = Access(enable_lifecycle=True)


class Wanted:
    """What the layers hold, as text of a file; each reading sets `reading` and waits for `go_on`."""

    def __init__(self) -> None:
        self.text = ""
        self.reads = 0
        self.reading = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def load(self) -> Config:
        self.reading.set()
        assert self.go_on.wait(10)
        self.reads += 1
        return load(self.text, {}, {}, hostname="one", read_file=str)


@pytest.fixture
def wanted() -> Wanted:
    return Wanted()


@pytest.fixture
def reloader(wanted: Wanted) -> Reloader:
    return Reloader(load("", {}, {}, hostname="one", read_file=str), wanted.load, [], lambda _: None, SystemClock())


@pytest.fixture
def shop(reloader: Reloader) -> Iterator[Site]:
    with site(access=ON, lifecycle=reloader) as running:
        yield running


def ask(running: Site, method: str, path: str, data: object = None, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, running.url(path), data=data, headers=named, timeout=10)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_reload_answers_what_changed_and_what_needs_a_restart(shop: Site, wanted: Wanted, method: str) -> None:
    wanted.text = "feeds: {exclude: ['test:*']}\nkafka: {bootstrap_servers: 'a:1', properties: {sasl.password: p}}"
    answer = ask(shop, method, "/-/reload")
    assert answer.status_code == 200
    assert answer.text.splitlines() == [
        "reloaded, changed: feeds.exclude",
        "restart needed for kafka.bootstrap_servers, kafka.properties.sasl.password",
    ]
    wanted.text = "feeds: {exclude: ['test:*']}"
    assert ask(shop, method, "/-/reload").text == "reloaded, changed: nothing\n"


def test_a_reload_that_fails_answers_500_with_every_mistake(shop: Site, wanted: Wanted) -> None:
    wanted.text = "feeds: {exclude: [1]}\nredis: {password: 's3cret-word', nothing: 1}\nlog: {level: loud}"
    answer = ask(shop, "POST", "/-/reload")
    assert answer.status_code == 500
    first, *mistakes = answer.text.splitlines()
    assert first == "the configuration is not reloaded, the old one stays in force:"
    assert [mistake.partition(":")[0] for mistake in mistakes] == ["feeds.exclude[0]", "redis.nothing", "log.level"]
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("access", [Access(), ON._replace(enable_lifecycle=False)])
@pytest.mark.parametrize(("method", "path"), [("POST", "/-/reload"), ("PUT", "/-/log-level"), ("GET", "/-/log-level")])
def test_nothing_can_be_changed_unless_it_is_enabled(
    access: Access, method: str, path: str, reloader: Reloader, wanted: Wanted
) -> None:
    with site(access=access, lifecycle=reloader) as running:
        answer = ask(running, method, path)
        assert (answer.status_code, answer.text) == (403, "Lifecycle API is not enabled, see web.enable_lifecycle\n")
        assert wanted.reads == 0
        running.server.allow(ON)
        assert ask(running, method, path, "debug").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/-/reload", "POST, PUT"),
        ("HEAD", "/-/reload", "POST, PUT"),
        ("DELETE", "/-/reload", "POST, PUT"),
        ("POST", "/-/log-level", "GET, HEAD, PUT"),
        ("GET", "/-/risk/lift", "POST"),
        ("POST", "/metrics", "GET, HEAD"),
        ("PUT", "/-/ready", "GET, HEAD"),
    ],
)
def test_other_methods_are_refused(shop: Site, wanted: Wanted, method: str, path: str, allowed: str) -> None:
    answer = ask(shop, method, path)
    assert (answer.status_code, answer.headers["Allow"], wanted.reads) == (405, allowed, 0)


def test_without_risk_no_stop_can_be_lifted(shop: Site, reloader: Reloader) -> None:
    path = "/-/risk/lift?portfolio=main"
    assert ask(shop, "POST", path).status_code == 404
    assert ask(shop, "POST", path, Origin="https://evil.example").status_code == 403
    with site(access=Access(), lifecycle=reloader) as running:
        assert ask(running, "POST", path).status_code == 403


class Stops:
    """Stops of portfolios, each of which is lifted once the test says with which result."""

    def __init__(self) -> None:
        self.asked: dict[str, Future[bool | None]] = {}

    def rows(self) -> Row:
        """See Risk."""
        return {}

    def ready(self) -> Status:
        """See Risk."""
        return Status(True, ())

    def lift(self, portfolio: str) -> Future[bool | None]:
        """See Risk."""
        self.asked[portfolio] = Future()
        return self.asked[portfolio]


@pytest.mark.parametrize(
    ("result", "status", "text"),
    [
        (True, 200, "lifted\n"),
        (False, 409, "the portfolio has no emergency stop in force here\n"),
        (None, 202, f"{NOT_COMMITTED}\n"),
    ],
)
def test_a_lift_is_answered_with_its_result_and_not_before(
    reloader: Reloader, result: bool | None, status: int, text: str
) -> None:
    stops = Stops()
    with site(access=ON, lifecycle=reloader, risk=stops) as running, ThreadPoolExecutor(1) as executor:
        answering = executor.submit(ask, running, "POST", "/-/risk/lift?portfolio=a%2Fb%26c")
        eventually(lambda: stops.asked)
        assert not answering.done()
        stops.asked["a/b&c"].set_result(result)
        answer = answering.result(10)
        assert (answer.status_code, answer.text) == (status, text)


OWN = "http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "sidecar"}, 200),
        ({"Origin": OWN}, 200),
        ({"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://metrics.example.com:{port}", "Host": "metrics.example.com:{port}"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": f"{OWN}.evil.example"}, 403),
        ({"Origin": OWN, "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example:{port}", "Host": "evil.example:{port}", "Sec-Fetch-Site": "same-origin"}, 421),
    ],
)
def test_pages_of_other_sites_change_nothing(
    headers: Mapping[str, str], status: int, reloader: Reloader, wanted: Wanted
) -> None:
    named = "metrics.example.com", "sidecar"
    with site(access=ON._replace(allowed_hosts=named), lifecycle=reloader) as running:
        sent = {name: value.format(port=running.port) for name, value in headers.items()}
        for path in ("/-/reload", "/-/log-level?level=info"):
            answer = requests.put(running.url(path), headers=sent, timeout=10)
            assert answer.status_code == status
    assert wanted.reads == (status == 200)


def test_a_page_under_a_name_that_was_made_to_lead_here_changes_nothing(shop: Site, wanted: Wanted) -> None:
    """DNS rebinding, where `web.allowed_hosts` does not say which names are ours."""
    host = f"evil.example:{shop.port}"
    for headers in ({"Origin": f"http://{host}"}, {"Sec_Fetch_Site": "same-origin"}):
        assert ask(shop, "POST", "/-/reload", Host=host, **headers).status_code == 403
    assert wanted.reads == 0


@pytest.mark.parametrize(
    ("path", "data", "level"),
    [
        ("/-/log-level?level=debug", None, "debug"),
        ("/-/log-level", "warn", "warn"),
        ("/-/log-level", "level=error", "error"),
        ("/-/log-level", b"error\n", "error"),
        ("/-/log-level", iter([b"de", b"bug"]), "debug"),
    ],
)
def test_the_log_level_is_set_by_the_query_or_the_body(shop: Site, path: str, data: object, level: str) -> None:
    assert ask(shop, "GET", "/-/log-level").text == "info\n"
    answer = ask(shop, "PUT", path, data)
    assert (answer.status_code, answer.text) == (200, f"{level}\n")
    assert ask(shop, "GET", "/-/log-level").text == f"{level}\n"


@pytest.mark.parametrize("data", [None, "", "loud", "level=", "level=loud", b"\xff\xfe", "DEBUG", "&&&=;"])
def test_a_word_that_is_no_level_is_refused_and_not_repeated(shop: Site, data: object) -> None:
    answer = ask(shop, "PUT", "/-/log-level", data)
    assert (answer.status_code, answer.text) == (400, "level must be one of debug, info, warn, error\n")


@pytest.mark.parametrize("size", [BODY_BYTES_MAX + 1, 10_000_000])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_long_body_is_refused_and_not_read(shop: Site, size: int, is_chunked: bool) -> None:
    head = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {size}"
    # By its length alone it is refused; bytes that are not read would reset the connection.
    sent = b"%x\r\n" % size + b"x" * min(size, 2000) if is_chunked else b""
    with shop.connect() as client:
        client.sendall(f"PUT /-/log-level HTTP/1.1\r\nHost: {HOST}\r\n{head}\r\n\r\n".encode())
        client.sendall(sent)
        assert received(client).startswith(b"HTTP/1.1 413 ")
    assert ask(shop, "GET", "/-/log-level").text == "info\n"


def received(client: socket.socket) -> bytes:
    """All until the server closes."""
    found = b""
    while part := client.recv(65536):
        found += part
    return found


def test_a_body_that_comes_later_is_waited_for(shop: Site) -> None:
    with shop.connect() as client:
        client.sendall(f"PUT /-/log-level HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\n".encode())
        assert ask(shop, "GET", "/-/log-level").text == "info\n"
        # Meanwhile the server waits for the client, as for one that does not read.
        assert eventually(lambda: len(shop.server._connections.places.transferring) == 1)
        client.sendall(b"debug")
        assert received(client).endswith(b"\r\n\r\ndebug\n")
        assert ask(shop, "GET", "/-/log-level").text == "debug\n"


def test_a_client_that_leaves_does_not_cancel_the_reload_of_others(shop: Site, wanted: Wanted) -> None:
    wanted.go_on.clear()
    with shop.connect() as client:
        client.sendall(f"POST /-/reload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n".encode())
        assert wanted.reading.wait(10)
    wanted.go_on.set()
    assert ask(shop, "POST", "/-/reload").status_code == 200
    assert wanted.reads == 2
