"""The web server answers what it is asked, in the form that was asked for."""

import gzip
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest
import requests
import yaml
from prometheus_client.samples import Exemplar

from exporter.instrument.exposition import OPENMETRICS, TEXT, Family
from exporter.model import Status
from exporter.store.store import StoreUnavailable
from exporter.web.interface import CursorError
from exporter.web.server import WebServer
from exporter.web.sockets import ListenError
from tests.support.missing import missing
from tests.support.prometheus import PrometheusServer
from tests.support.queries import HOST, Shown, Site, site
from tests.support.waiting import eventually

EVERY_VIEW = ["/metrics", "/-/healthy", "/-/ready", "/config", "/api/v1/feeds", "/api/v1/symbols"]
LARGE = Family("batches", "counter", "Batches.", "", [f'batches_total{{region="r{n}"}} {n}\n' for n in range(1000)])


@pytest.fixture
def shop() -> Iterator[Site]:
    """A server with the usual limits."""
    with site() as running:
        yield running


def get(running: Site, path: str, **headers: str) -> requests.Response:
    """The response to a GET; without headers the client accepts any format."""
    plain: dict[str, str | None] = {"Accept": None, "Accept-Encoding": "identity"}
    plain |= {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(running.url(path), headers=plain, timeout=10)


@pytest.mark.parametrize(
    ("accept", "content_type", "counter_type"),
    [
        ("*/*", TEXT.content_type, "# TYPE records_total counter"),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0; charset=utf-8", "# TYPE records_total counter"),
        ("application/openmetrics-text;version=1.0.0", OPENMETRICS.content_type, "# TYPE records counter"),
    ],
)
def test_metrics_have_the_negotiated_format(shop: Site, accept: str, content_type: str, counter_type: str) -> None:
    """The content type names it."""
    shop.queries.records.labels("a").inc()
    answer = get(shop, "/metrics", Accept=accept)
    assert answer.headers["Content-Type"] == content_type
    assert counter_type in answer.text.splitlines()
    assert 'records_total{topic="a"} 1.0' in answer.text
    assert answer.text.endswith("# EOF\n") == ("openmetrics" in content_type)


def test_selected_names_return_their_families_only(shop: Site) -> None:
    """`name[]` may be repeated, and unknown names return an empty page."""
    answer = get(shop, "/metrics?name[]=depth&name%5B%5D=records_total")
    assert [line for line in answer.text.splitlines() if line.startswith("# TYPE")] == [
        "# TYPE records_total counter",
        "# TYPE depth gauge",
    ]
    assert get(shop, "/metrics?name[]=absent").text == ""
    assert get(shop, "/metrics?" + "name[]=x&" * 101).status_code == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("path", ["/metrics", "/static/app.js", "/static/css/base.css"])
def test_large_responses_are_compressed_for_clients_that_accept_it(shop: Site, path: str) -> None:
    """The compressed body holds the same, and q=0 forbids it."""
    shop.queries.more = [LARGE]
    shop.queries.rows *= 20
    with requests.get(shop.url(path), headers={"Accept-Encoding": "br, gzip;q=0.2"}, stream=True, timeout=10) as answer:
        packed = answer.raw.read(decode_content=False)
    plain = get(shop, path, Accept_Encoding="gzip;q=0, *;q=0")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert int(answer.headers["Content-Length"]) == len(packed) < len(plain.content)
    assert gzip.decompress(packed).splitlines()[0] == plain.content.splitlines()[0]


@pytest.mark.parametrize("path", ["/-/healthy", "/", "/config", "/absent"])
def test_head_has_the_headers_of_get_and_no_body(shop: Site, path: str) -> None:
    """The length is that of the body of GET."""
    head = requests.head(shop.url(path), headers={"Accept-Encoding": "identity"}, timeout=10)
    answer = get(shop, path)
    assert head.status_code == answer.status_code
    assert head.content == b""
    assert int(head.headers["Content-Length"]) == len(answer.content) > 0
    assert head.headers["Content-Type"] == answer.headers["Content-Type"]


def test_a_connection_serves_many_requests(shop: Site) -> None:
    """HEAD, GET and refusals follow each other on one connection."""
    with requests.Session() as session:
        session.headers["Connection"] = "keep-alive"
        codes = [session.request(method, shop.url("/-/healthy"), timeout=10).status_code for method in ("HEAD", "GET")]
        codes.append(session.get(shop.url("/absent"), timeout=10).status_code)
        codes.append(session.get(shop.url("/metrics"), timeout=10).status_code)
    assert codes == [200, 200, 404, 200]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_get_and_head_are_allowed(shop: Site, method: str) -> None:
    """The response names them."""
    answer = requests.request(method, shop.url("/metrics"), data=b"x" * 100, timeout=10)
    assert answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    assert answer.headers["Allow"] == "GET, HEAD"


def test_an_unknown_path_is_not_found_and_not_echoed(shop: Site) -> None:
    """The answer is short and the same for all."""
    answer = get(shop, "/<script>")
    assert (answer.status_code, answer.text) == (404, "not found\n")


@pytest.mark.parametrize("path", [*EVERY_VIEW, "/absent", "/static/css/base.css"])
def test_every_response_has_the_security_headers(shop: Site, path: str) -> None:
    """No scripts, no frames, no guessing of types, no permission for other origins."""
    headers = get(shop, path, Origin="http://elsewhere.example").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "script-src" not in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
def test_health_and_readiness_give_their_reasons(shop: Site, path: str) -> None:
    """200 and ok, or 503 and a line for each reason."""
    assert (get(shop, path).status_code, get(shop, path).text) == (200, "ok\n")
    shop.queries.health = shop.queries.readiness = Status(False, ("2 partitions lag", "the backlog is full"))
    answer = get(shop, path)
    assert (answer.status_code, answer.text) == (503, "2 partitions lag\nthe backlog is full\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_readiness_includes_warnings(shop: Site) -> None:
    """In lines of their own; what is not ready is so for its reasons."""
    warnings = ("97 % are rejected", "so is another")
    shop.queries.readiness = Status(True, (), warnings)
    answer = get(shop, "/-/ready")
    told = "ready; warning: 97 % are rejected\nready; warning: so is another\n"
    assert (answer.status_code, answer.text) == (200, told)
    shop.queries.readiness = Status(False, ("catching up",), warnings[:1])
    answer = get(shop, "/-/ready")
    assert (answer.status_code, answer.text) == (503, "catching up\nwarning: 97 % are rejected\n")


def test_the_configuration_is_shown_as_yaml(shop: Site) -> None:
    """In the order in which it is given, and as plain text."""
    shop.queries.settings = {
        "web": {"listen_address": ":8000"},
        "input": {"topics": ["^ticker-"]},
        "redis": {"url": None},
    }
    answer = get(shop, "/config")
    assert yaml.safe_load(answer.text) == shop.queries.settings
    assert answer.text.startswith("web:")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_unavailable_symbols_are_no_internal_error(shop: Site) -> None:
    """The response names Redis."""
    shop.queries.failure = StoreUnavailable("no answer")
    answer = get(shop, "/api/v1/symbols")
    assert (answer.status_code, answer.json()) == (503, {"status": "error", "error": "Redis: no answer"})


def test_feeds_and_symbols_are_json(shop: Site) -> None:
    """Rows stand under `data`; a feed can be chosen."""
    assert get(shop, "/api/v1/feeds").json() == {"status": "success", "data": shop.queries.rows}
    one = get(shop, "/api/v1/symbols?feed=korea:upbit:ticker").json()
    data = [{"feed": "korea:upbit:ticker", "symbol": "KRW-BTC"}]
    assert one == {"status": "success", "data": data, "distinct": 1}
    assert get(shop, "/api/v1/symbols").json()["data"] == [{"feed": None, "symbol": "KRW-BTC"}]


def test_simultaneous_requests_for_feeds_share_one_response(shop: Site) -> None:
    """Many requests cost no more than one."""
    shop.queries.go_on.clear()
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(get, shop, "/api/v1/feeds") for _ in range(8)]
        assert shop.queries.collecting.wait(10)
        eventually(lambda: len(shop.server._connections.places.waiting) == 8)
        shop.queries.go_on.set()
        assert {answer.result(10).status_code for answer in asking} == {200}
    assert shop.queries.readings == 1


def test_a_page_of_symbols_names_the_next(shop: Site) -> None:
    """And how many rows it may have; at the end there is no next."""
    first = get(shop, "/api/v1/symbols?limit=7").json()
    assert "next" not in first
    shop.queries.after = "there"
    assert get(shop, "/api/v1/symbols?limit=7").json() == {**first, "next": "there"}
    assert get(shop, "/api/v1/symbols?limit=10000&after=here").status_code == HTTPStatus.OK
    assert shop.queries.asked == [("", 7), ("", 7), ("here", 10_000)]


@pytest.mark.parametrize("limit", ["", "0", "10001", "-1", "1e3", "x", "1" * 5000])
def test_an_invalid_limit_is_an_error_in_json(shop: Site, limit: str) -> None:
    answer = get(shop, f"/api/v1/symbols?limit={limit}")
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert answer.json() == {"status": "error", "error": "limit must be a whole number from 1 to 10000"}


def test_an_invalid_cursor_is_an_error_in_json(shop: Site) -> None:
    shop.queries.failure = CursorError("after must be the `next` of the previous page")
    answer = get(shop, "/api/v1/symbols?after=x")
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert answer.json() == {"status": "error", "error": "after must be the `next` of the previous page"}


@pytest.mark.parametrize("feed", ["", "korea", "korea:upbit", "korea::ticker", "a:b:c:d"])
def test_a_malformed_feed_is_an_error_in_json(shop: Site, feed: str) -> None:
    """The error describes the format of a feed."""
    answer = get(shop, f"/api/v1/symbols?feed={feed}")
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert answer.json() == {"status": "error", "error": "feed must be region:exchange:request_type"}


@pytest.mark.parametrize("path", EVERY_VIEW)
def test_a_query_that_fails_affects_one_response(shop: Site, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """The client sees that it failed, the log where, and neither the message; the next request works."""
    shop.queries.failure = ValueError("redis://user:hunter2@redis")
    with caplog.at_level(logging.INFO):
        answer = get(shop, path)
    assert (answer.status_code, answer.text) == (500, "internal error, see the log\n")
    [line] = caplog.messages
    assert line.startswith(f"request for {path} failed: ValueError in ")
    assert "hunter2" not in caplog.text
    assert shop.queries.registry.get_sample_value("marketdata_exporter_http_responses_total", {"code": "500"}) == 1
    shop.queries.failure = None
    assert eventually(lambda: get(shop, path).status_code) == HTTPStatus.OK


def test_scrapes_at_the_same_time_share_one_page(shop: Site) -> None:
    """Requests for the page that is being rendered wait for it."""
    shop.queries.go_on.clear()
    with ThreadPoolExecutor(1) as pool, shop.connect() as second:
        first = pool.submit(get, shop, "/metrics")
        assert shop.queries.collecting.wait(10)
        second.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        # The loop reads from all its sockets in turn: after two answers here the request above has been read.
        assert [get(shop, "/-/healthy").text for _ in range(2)] == ["ok\n", "ok\n"]
        shop.queries.go_on.set()
        body = b"".join(iter(lambda: second.recv(65536), b"")).partition(b"\r\n\r\n")[2]
        assert body == first.result(10).content
    assert shop.queries.scrapes == 1


def test_a_page_is_soon_rendered_again(shop: Site) -> None:
    """A later scrape sees changes."""
    shop.queries.depth.set(1)
    assert "depth 1.0" in get(shop, "/metrics").text
    shop.queries.depth.set(2)
    assert eventually(lambda: "depth 2.0" in get(shop, "/metrics").text)


def test_different_selections_do_not_share_a_page(shop: Site) -> None:
    """Nor do formats."""
    pages = {
        get(shop, path, Accept=accept).text
        for path in ("/metrics?name[]=depth", "/metrics?name[]=records", "/metrics")
        for accept in ("text/plain", "application/openmetrics-text")
    }
    assert len(pages) == 6


def test_a_symbol_store_that_hangs_delays_nothing_else(shop: Site) -> None:
    """Scrapes and health checks are answered while a read of symbols waits."""
    with ThreadPoolExecutor(1) as pool:
        shop.queries.go_on.clear()
        waiting = pool.submit(get, shop, "/api/v1/symbols")
        assert get(shop, "/-/ready").status_code == HTTPStatus.OK
        shop.queries.go_on.set()
        assert waiting.result(10).status_code == HTTPStatus.OK


def test_rendering_is_measured(shop: Site) -> None:
    """Each page that is made counts, with the time it took."""
    get(shop, "/metrics")
    count = shop.queries.registry.get_sample_value("marketdata_exporter_scrape_render_seconds_count")
    assert count == 1


def test_a_real_prometheus_reads_samples_and_exemplars(shop: Site, prometheus: Callable[..., PrometheusServer]) -> None:
    """A block family with an exemplar arrives in Prometheus as it was meant."""
    line = 'batches_total{region="korea"}'
    exemplar = Exemplar({"topic": "ticker-data.korea", "offset": "7"}, 1.0)
    shop.queries.more = [Family("batches", "counter", "Batches.", "", [line + " 12\n"], {line: exemplar})]
    server = prometheus([f"{HOST}:{shop.port}"])
    [sample] = eventually(lambda: server.query("batches_total"), 20)
    assert sample.value == 12
    assert server.query("up")[0].value == 1
    window = {"start": "2000-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z"}
    [found] = eventually(lambda: server.get("query_exemplars", query="batches_total", **window))
    assert found["exemplars"][0]["labels"] == exemplar.labels


def test_an_address_in_use_is_named() -> None:
    """The error is one line, and an OSError."""
    queries = Shown()
    with site() as running:
        second = WebServer(queries, HOST, running.port, "/metrics", metrics=queries.metrics)
        with pytest.raises(ListenError, match=rf"^cannot listen on 127.0.0.1:{running.port}: Address already in use"):
            second.start()
        second.stop()


@pytest.mark.parametrize(
    ("host", "shown"), [("host.invalid", r"host\.invalid:1"), ("2001:db8::1", r"\[2001:db8::1\]:1")]
)
def test_an_address_of_another_machine_is_named(host: str, shown: str) -> None:
    """IPv6 addresses stand in brackets."""
    queries = Shown()
    with pytest.raises(ListenError, match=f"^cannot listen on {shown}: "):
        WebServer(queries, host, 1, "/metrics", metrics=queries.metrics).start()


def answer_at(address: str, port: int) -> str:
    """The response of a server at one of this machine's addresses."""
    return requests.get(f"http://{address}:{port}/-/healthy", timeout=10).text


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("host", ["", "::", "0:0:0:0:0:0:0:0"])
def test_all_interfaces_are_those_of_ipv4_and_of_ipv6(host: str, address: str) -> None:
    """As of exporters in Go, `:8000` and `[::]:8000` mean the same."""
    if address == "[::1]" and not socket.has_dualstack_ipv6():
        missing("IPv6", "this machine has none")
    with site(host=host) as running:
        assert answer_at(address, running.port) == "ok\n"


@pytest.mark.parametrize("host", ["", "::"])
def test_a_machine_without_ipv6_serves_ipv4(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sockets know no such family."""
    monkeypatch.setattr(socket, "has_ipv6", False)
    with site(host=host) as running:
        assert answer_at("127.0.0.1", running.port) == "ok\n"


@pytest.mark.parametrize(
    ("host", "silent"), [("0.0.0.0", "[::1]"), ("::1", "127.0.0.1"), ("127.0.0.1", "[::1]"), ("localhost", "127.0.0.2")]
)
def test_an_address_of_one_kind_is_not_served_by_the_other(host: str, silent: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        missing("IPv6", "this machine has none")
    with site(host=host) as running, pytest.raises(requests.ConnectionError):
        answer_at(silent, running.port)


def test_a_name_with_addresses_of_both_kinds_is_served_by_ipv4() -> None:
    with site(host="localhost") as running:
        assert answer_at("127.0.0.1", running.port) == "ok\n"


def test_the_telemetry_path_can_be_chosen() -> None:
    """Metrics are there and not at the usual place."""
    queries = Shown()
    server = WebServer(queries, HOST, 0, "/telemetry", metrics=queries.metrics)
    running = Site(queries, server.start(), server)
    try:
        assert "depth 0.0" in get(running, "/telemetry").text
        assert get(running, "/metrics").status_code == HTTPStatus.NOT_FOUND
    finally:
        server.stop()


def test_a_stopped_server_leaves_neither_thread_nor_port() -> None:
    """Stopping closes connections that are open, whatever they wait for, and may be done twice."""
    with site() as running, running.connect() as silent, running.connect() as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        get(running, "/-/healthy")
        running.server.stop()
        running.server.stop()
        assert "web" not in {thread.name for thread in threading.enumerate()}
        assert silent.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            running.connect()
