"""Pushes by the ways that programs have, to a real server beside a real Pushgateway: both answer and show the same."""

from __future__ import annotations

import gzip
import http.client
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.error import HTTPError

import pytest
import requests
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Metric,
    Summary,
    delete_from_gateway,
    push_to_gateway,
    pushadd_to_gateway,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.process_collector import ProcessCollector

from exporter.app import App
from exporter.config import loader
from exporter.instrument import MetricsCollector, PushStorage
from exporter.instrument.exposition import OPENMETRICS, PROTOBUF, TEXT, render
from exporter.instrument.samples import samples
from exporter.pushes.groups import PushedGroups
from exporter.web.config_file import WebConfigFile, WebFileMetrics
from exporter.web.hosts import Access
from exporter.web.interface import WebMetrics
from exporter.web.pushes import BODIES, REASON_MAX, PushRoutes
from exporter.web.server import WebServer
from tests.support.metrics_proto import metric_family, read_page
from tests.support.missing import program
from tests.support.odd_requests import connection
from tests.support.pushgateway import PASSWORD, USER, USERS, PushgatewayServer
from tests.test_push_readers import delimited

HOST = "127.0.0.1"
PUSHED = "marketdata_exporter_pushes_total"
Shown = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class Served:
    """The pages of a sidecar that never met Kafka, and takes pushes."""

    url: str
    app: App
    server: WebServer

    @property
    def groups(self) -> PushedGroups:
        assert self.app.pushes is not None
        return self.app.pushes

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")

    def count(self, result: str) -> float:
        """How many pushes had this result."""
        page = page_of(self)
        return sum(each.value for each in samples(page) if each.name == PUSHED and each.labels["result"] == result)

    def push(self, body: bytes, path: str = "/job/one", method: str = "PUT", **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.request(method, f"{self.url}/metrics{path}", data=body, headers=named, timeout=10)


@contextmanager
def served(web_file: WebConfigFile | None = None, **flags: object) -> Iterator[Served]:
    named = {f"web.push.{name}": value for name, value in flags.items()}
    app = App(loader.load(None, {}, {"web.push.enabled": True, **named}, hostname="box", read_file=str))
    assert app.pushes is not None
    routes = PushRoutes(app.pushes, "/metrics")
    metrics = WebMetrics(CollectorRegistry())
    server = WebServer(app.queries, HOST, 0, "/metrics", metrics=metrics, web_file=web_file, pushes=routes)
    port = server.start()
    try:
        yield Served(f"http://{HOST}:{port}", app, server)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture
def sidecar(shared: Served) -> Served:
    """The server without groups."""
    for group in shared.groups.groups():
        shared.groups.delete(group.labels)
    return shared


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushgatewayServer]:
    running = PushgatewayServer(tmp_path_factory.mktemp("gateway")).start()
    yield running
    running.kill()


def shown(page: str) -> Shown:
    """The samples of programs on a page, without the times of pushes."""
    found = [each for each in samples(page) if each.labels.get("job") and not each.name.startswith("push_")]
    return {(each.name, tuple(sorted(_plain(each.labels).items()))): float(each.value) for each in found}


def _plain(labels: dict[str, str]) -> dict[str, str]:
    """Bounds as numbers: Go spells 1.0 as 1."""
    return {name: repr(float(value)) if name in ("le", "quantile") else value for name, value in labels.items()}


def page_of(running: Served) -> str:
    """The page as of now: over HTTP it may be as old as its rendering takes."""
    return render(running.app.queries.collect(), TEXT).decode()


def registry() -> CollectorRegistry:
    """A registry with a metric of each type, and those of the process."""
    found = CollectorRegistry()
    ProcessCollector(registry=found)
    Counter("orders", "Orders.", ["side"], registry=found).labels('b"uy\n\\é').inc(3)
    Gauge("depth", "Depth.", registry=found).set(float("-inf"))
    Histogram("latency_seconds", "Latency.", ["stage"], registry=found).labels("decide").observe(0.2)
    Summary("size", "Size.", registry=found).observe(2)
    Info("program", "Program.", registry=found).info({"version": "1"})
    Enum("phase", "Phase.", states=["open", "closed"], registry=found).state("open")
    return found


def without_creation(found: Shown) -> Shown:
    return {key: value for key, value in found.items() if not key[0].endswith("_created")}


def test_prometheus_clients_pushes_are_shown_as_by_the_pushgateway(sidecar: Served, gateway: PushgatewayServer) -> None:
    pushed = registry()
    for url in (sidecar.url, gateway.url):
        key = {"instance": "a/b", "empty": "", "zone": "ü x"}
        push_to_gateway(url, "signals", pushed, grouping_key=key)
        push_to_gateway(url, "signals", pushed)
        pushadd_to_gateway(url, "signals", pushed, compression="gzip")
        pushadd_to_gateway(url, "other", pushed)
        delete_from_gateway(url, "signals", grouping_key=key)
    ours, theirs = shown(page_of(sidecar)), shown(requests.get(f"{gateway.url}/metrics", timeout=5).text)
    for job in ("signals", "other"):
        delete_from_gateway(gateway.url, job)
    theirs = {key: value for key, value in theirs.items() if not key[0].startswith("process_")}
    assert {key: value for key, value in ours.items() if not key[0].startswith("process_")} == without_creation(theirs)
    assert {dict(labels)["job"] for _, labels in ours} == {"signals", "other"}
    assert {name for name, _ in ours if name.startswith("process_")}


PATHS = (
    "/job/a", "/job/a/", "/job@base64/YQ", "/job@base64/YQ==", "/job@base64/=", "/job/a/x@base64/=", "/job/a/x/",
    "/job/a/x@base64/L3Zhci90bXA", "/job/a/x@base64/Lw==", "/job/a/x@base64/L+w", "/job/a/x@base64/A", "/job/a%2Fb",
    "/job/a%20b", "/job/a/__x/y", "/job/a/job/c", "/job/a/x", "/job/a/x/y/z", "/job/a/0x/y", "/job/a/instance/i",
    "/job/a/x/1/x/2", "/job/a/x%40base64/Lw", "/job/a+b", "/job/a/%C3%A9/b", "/job/titan/name/%CE%A0%CF%81",
    "/job/a/job@base64/Yg", "/job@base64/4pyT",
)  # fmt: skip
TEXTS = (
    "", "\n", "m 1", "m 1\r\n", "m\n", "m{} 1\n", 'm{a="b",} 1\n', "m{,} 1\n", 'm{a="b"}1\n', 'm {a="b"} 1\n', "m\t1\n",
    "m 1 2\n", "m 1\nm 2\n", "# TYPE m counter\nm 1\n", "# TYPE m counter\n# TYPE m counter\nm 1\n",
    "#TYPE m gauge\nm 1\n",
    "m 1\n# TYPE m counter\n", "# HELP m a\n# HELP m b\nm 1\n", "# TYPE m foo\nm 1\n", "# TYPE m\nm 1\n",
    '# TYPE m histogram\nm_bucket{le="1"} 1\nm_count 2\nm_sum 3\n', "# TYPE m histogram\nm_count 2\n",
    '# TYPE m histogram\nm_bucket{le="x"} 2\n', '# TYPE m summary\nm{quantile="0.5"} 2\n',
    "# TYPE m summary\nm_count 2\nm_sum NaN\n", "m +Inf\n", "m 1e3\n", "m 0x10\n", "m 1_0\n", "m infinity\n",
    'm{a="b",a="c"} 1\n', 'm{__name__="b"} 1\n', 'm{__x="b"} 1\n', 'm{a:b="b"} 1\n', "a:b 1\n", "1m 1\n", "m.x 1\n",
    'm{a="\\x"} 1\n', 'm{a="\\n"} 1\n', "# HELP m é \\q\nm 1\n", "# remark\nm 1\n", 'm{job="x",instance="y"} 1\n',
    "m_count 1\n# TYPE m histogram\nm_count 1\n", "{} 1\n", 'm{a="b"\n', "# TYPE m gauge\nm 1 # {} 1\n", "m 1\n\n\n",
    "# EOF\n", "# TYPE m untyped\nm 1\n", "# TYPE m unknown\nm 1\n", 'm{a="b"\t,\tc = "d" } 1\n', 'm{"a.b"="c"} 1\n',
    "push_time_seconds 3\n",  "go_goroutines_of_mine 1\n", "m NaN\n",
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "text"), [(path, "m 1\n") for path in PATHS] + [("/job/texts", text) for text in TEXTS]
)
def test_a_push_is_answered_and_shown_as_by_the_pushgateway(
    sidecar: Served, gateway: PushgatewayServer, path: str, text: str
) -> None:
    statuses = [raw(url, "PUT", f"/metrics{path}", text.encode()) for url in (sidecar.url, gateway.url)]
    pages = [shown(page_of(sidecar)), shown(requests.get(f"{gateway.url}/metrics", timeout=5).text)]
    for url in (sidecar.url, gateway.url):
        raw(url, "DELETE", f"/metrics{path}", b"")
    assert statuses[0] == statuses[1]
    assert repr(sorted(pages[0].items())) == repr(sorted(pages[1].items()))


def raw(url: str, method: str, path: str, body: bytes) -> int:
    """The status of a request whose path is sent as it is."""
    client = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    client.request(method, path, body)
    status = client.getresponse().status
    client.close()
    return status


def test_curl_pushes_as_the_pushgateways_readme_has_it(sidecar: Served) -> None:
    curl = program("curl", "curl")
    text = '# TYPE some_metric counter\nsome_metric{label="val1"} 42\n# TYPE another gauge\nanother 2398.283\n'
    url = f"{sidecar.url}/metrics/job/some_job/instance/some_instance"

    def run(*arguments: str, body: bytes = b"") -> str:
        command = [curl, "-sS", "-w", "%{http_code}", *arguments]
        return subprocess.run(command, input=body, capture_output=True, check=True, timeout=20).stdout.decode()

    assert run("--data-binary", "@-", url, body=text.encode()) == "200"
    assert run("-H", "Content-Encoding: gzip", "--data-binary", "@-", url, body=gzip.compress(b"z 1\n")) == "200"
    assert {name for name, _ in shown(page_of(sidecar))} == {"some_metric_total", "another", "z"}
    large = b"# a remark that makes the body large\n" * 100_000
    # curl waits for 100 Continue before it sends so much.
    assert run("--expect100-timeout", "15", "--data-binary", "@-", url, body=large + b"y 1\n") == "200"
    assert run("-X", "DELETE", url) == "202"
    assert shown(page_of(sidecar)) == {}


def test_the_storage_of_the_instrumentation_library_pushes_and_reads_reasons(sidecar: Served) -> None:
    collector = MetricsCollector(storage=PushStorage(sidecar.url, "library", grouping_key={"instance": "i"}))
    collector.counter("orders_total", description="Orders.").increment(5)
    collector.summary("order_seconds", description="Time.").observe(0.5)
    collector.storage.store(collector)
    found = {name: value for (name, labels), value in shown(page_of(sidecar)).items()}
    assert found["orders_total"] == 5
    assert found["order_seconds_count"] == 1


def test_a_push_in_protobuf_is_shown_in_all_formats(sidecar: Served) -> None:
    family = metric_family()(name="h", help="H.", type=4)
    metric = family.metric.add()
    metric.label.add(name="stage", value="é")
    metric.histogram.sample_count, metric.histogram.sample_sum, metric.histogram.schema = 3, 1.5, 3
    metric.histogram.positive_span.add(offset=0, length=1)
    metric.histogram.positive_delta.append(3)
    answer = sidecar.push(delimited(family), Content_Type=PROTOBUF.content_type)
    assert (answer.status_code, answer.text) == (200, "")
    texts = [
        requests.get(f"{sidecar.url}/metrics?name[]=h", headers={"Accept": each.content_type}, timeout=5)
        for each in (TEXT, OPENMETRICS, PROTOBUF)
    ]
    assert 'h_bucket{instance="",job="one",stage="é",le="+Inf"} 3.0' in texts[0].text
    (read,) = openmetrics(texts[1].text)
    (message,) = read_page(texts[2].content)
    assert (read.type, read.documentation, message.metric[0].histogram.sample_count) == ("histogram", "H.", 3)


def test_refused_pushes_change_nothing_and_give_the_reason(sidecar: Served) -> None:
    sidecar.push(b"a 1\n")
    before = sidecar.count("inconsistent")
    answer = sidecar.push(b"b 1\na 1 5\n")
    assert (answer.status_code, answer.text) == (400, "a has a timestamp: pushed samples may have none\n")
    assert sidecar.count("inconsistent") == before + 1
    assert [name for name, _ in shown(page_of(sidecar))] == ["a"]
    with pytest.raises(HTTPError, match="400"):
        push_to_gateway(sidecar.url, "one", Renamed())


class Renamed:
    """A collector whose metric has a name of the sidecar's."""

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("marketdata_feed_state", "State.", 1)


def test_each_limit_has_its_status() -> None:
    with served(max_groups=1, max_series=3, max_bytes="1KiB") as sidecar:
        assert sidecar.push(b"a 1\n").status_code == 200
        answers = {
            "too_large": sidecar.push(b"a" * 1025),
            "no_room": sidecar.push(b"a 1\n", "/job/two"),
            "unsupported": sidecar.push(b"", Content_Encoding="br"),
        }
        many = sidecar.push(b"a 1\nb 1\nc 1\nd 1\n")
        packed = sidecar.push(gzip.compress(b"\n" * 2000), Content_Encoding="gzip")
        assert {name: answer.status_code for name, answer in answers.items()} == {
            "too_large": 413, "no_room": 429, "unsupported": 415,
        }  # fmt: skip
        assert (many.status_code, packed.status_code) == (413, 413)
        assert answers["unsupported"].headers["Accept-Encoding"] == "gzip, snappy"
        assert "see web.push.max_bytes" in answers["too_large"].text
        assert [sidecar.count(name) for name in ("too_large", "no_room", "unsupported")] == [3, 1, 1]
        assert [name for name, _ in shown(page_of(sidecar))] == ["a"]


def test_bodies_that_are_being_received_take_a_limited_memory() -> None:
    with served(max_bytes="64KiB") as sidecar:
        head = b"PUT /metrics/job/a HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n"
        clients = [
            socket.create_connection((HOST, int(sidecar.url.rpartition(":")[2])), timeout=10) for _ in range(BODIES + 1)
        ]
        for client in clients:
            client.sendall(head + b"#" * 65535)
        # One of them is refused before it is complete; then there is room for the rest.
        refused, _, _ = select.select(clients, [], [], 10)
        for client in clients:
            if client not in refused:
                client.sendall(b"\n")
        statuses = [client.recv(12) for client in clients]
        for client in clients:
            client.close()
        assert sorted(statuses) == [b"HTTP/1.1 200"] * BODIES + [b"HTTP/1.1 503"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "sidecar"}, 200),
        ({"Origin": "https://example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "rebound.example.com", "Sec-Fetch-Site": "same-origin"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_pages_of_other_sites_cannot_push(sidecar: Served, headers: dict[str, str], status: int, method: str) -> None:
    sidecar.push(b"a 1\n")
    answer = requests.request(method, f"{sidecar.url}/metrics/job/one", data=b"b 1\n", headers=headers, timeout=5)
    assert answer.status_code == (202 if status == 200 and method == "DELETE" else status)
    if status == 403:
        assert [name for name, _ in shown(page_of(sidecar))] == ["a"]


def test_the_passwords_of_the_web_file_protect_pushes(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text(USERS)
    file = WebConfigFile(str(tmp_path / "web.yml"), WebFileMetrics(CollectorRegistry()))
    with served(web_file=file) as sidecar:
        for method in ("PUT", "POST", "DELETE"):
            assert sidecar.push(b"a 1\n", method=method).status_code == 401
        assert sidecar.groups.groups() == []
        storage = PushStorage(sidecar.url, "one", username=USER, password=PASSWORD)
        assert MetricsCollector(storage=storage).store().is_success()
        assert len(sidecar.groups.groups()) == 1
        storage.close()
        assert sidecar.groups.groups() == []


def test_a_reason_is_one_line_of_limited_length(sidecar: Served) -> None:
    line = b'a{x="' + b"y" * 10_000 + b'\\n\x1b[2J"} 1\n'
    answer = sidecar.push(line + line)
    assert answer.status_code == 400
    assert len(answer.text) <= REASON_MAX + 10
    assert answer.text.count("\n") == 1
    assert "\x1b" not in answer.text


def test_odd_requests_get_valid_responses_and_others_are_served(sidecar: Served) -> None:
    errors = 0
    for seed in range(200):
        sent = connection(Random(seed))
        with socket.create_connection((HOST, int(sidecar.url.rpartition(":")[2])), timeout=10) as client:
            with suppress(OSError):
                for piece in sent.pieces:
                    client.sendall(piece.replace(b" /", b" /metrics/job/").replace(b"GET", b"PUT"))
                client.shutdown(socket.SHUT_WR)
            received = b""
            with suppress(ConnectionError):
                while part := client.recv(65536):
                    received += part
        assert received == b"" or received.startswith(b"HTTP/"), seed
        errors += received.count(b"internal error")
    assert errors == 0
    sidecar.push(b"last 1\n", "/job/last")
    assert ("last", (("instance", ""), ("job", "last"))) in shown(page_of(sidecar))


def test_other_host_names_are_refused_where_they_are_listed(sidecar: Served) -> None:
    sidecar.server.allow(Access(allowed_hosts=("metrics.example.com",)))
    try:
        assert sidecar.push(b"a 1\n", Host="other.example.com").status_code == 421
        assert sidecar.push(b"a 1\n", Host="metrics.example.com").status_code == 200
    finally:
        sidecar.server.allow(Access())


@pytest.mark.parametrize(("method", "path", "allow"), [
    ("GET", "/metrics/job/one", "DELETE, POST, PUT"),
    ("PATCH", "/metrics/job/one", "DELETE, POST, PUT"),
    ("OPTIONS", "/metrics/job/one", "DELETE, POST, PUT"),
    ("PUT", "/metrics", "GET, HEAD"),
    ("PUT", "/metrics/job", "GET, HEAD"),
    ("PUT", "/metrics/jobs/one", "GET, HEAD"),
    ("PUT", "/metrics%2Fjob/one", "GET, HEAD"),
    ("PUT", "//metrics/job/one", "GET, HEAD"),
    ("PUT", "/x/../metrics/job/one", "GET, HEAD"),
])  # fmt: skip
def test_only_the_paths_of_groups_take_pushes(sidecar: Served, method: str, path: str, allow: str) -> None:
    client = http.client.HTTPConnection(sidecar.address, timeout=10)
    client.request(method, path, b"a 1\n")
    answer = client.getresponse()
    assert (answer.status, answer.headers["Allow"]) == (405, allow)
    client.close()
    assert shown(page_of(sidecar)) == {}


def test_dots_in_a_path_are_names_like_others(sidecar: Served) -> None:
    for job in (".", ".."):
        assert raw(sidecar.url, "PUT", f"/metrics/job/{job}", b"a 1\n") == 200
    assert {dict(labels)["job"] for _, labels in shown(page_of(sidecar))} == {".", ".."}


def test_a_body_may_come_in_chunks_and_a_connection_ends_after_it(sidecar: Served) -> None:
    client = http.client.HTTPConnection(sidecar.address, timeout=10)
    client.request("PUT", "/metrics/job/one", iter([b"a 1\n", b"b ", b"2\n"]), encode_chunked=True)
    answer = client.getresponse()
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    client.close()
    assert {name for name, _ in shown(page_of(sidecar))} == {"a", "b"}


def test_without_pushes_there_is_neither_a_path_nor_a_module_of_them() -> None:
    code = (
        "import sys\nfrom exporter.app import App\nfrom exporter.config import loader\n"
        "app = App(loader.load(None, {}, {}, hostname='box', read_file=str))\n"
        "assert app.pushes is None\n"
        "print(sorted(name for name in sys.modules if 'push' in name and name.startswith('exporter.')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "['exporter.web.push_paths']\n"
    app = App(loader.load(None, {}, {}, hostname="box", read_file=str))
    server = WebServer(app.queries, HOST, 0, "/metrics", metrics=WebMetrics(CollectorRegistry()))
    url = f"http://{HOST}:{server.start()}/metrics/job/a"
    try:
        for method in ("PUT", "POST", "DELETE"):
            answer = requests.request(method, url, data=b"a 1\n", timeout=5)
            assert (answer.status_code, answer.text) == (403, "pushes are not enabled, see web.push.enabled\n")
        assert requests.get(url, timeout=5).status_code == 405
    finally:
        server.stop()


def test_groups_are_what_the_page_reads(sidecar: Served) -> None:
    push_to_gateway(sidecar.url, "signals", registry(), grouping_key={"instance": "i"})
    sidecar.push(b"a 1 1\n", "/job/failing")
    signals, failing = sidecar.groups.groups()
    assert (signals.labels, failing.labels) == ({"job": "signals", "instance": "i"}, {"job": "failing"})
    assert {each.name: each.type for each in signals.families}["orders"] == "counter"
    assert signals.expires_seconds == pytest.approx(signals.pushed_seconds + 300, abs=0.1)
    assert (failing.pushed_seconds, failing.families) == (0, [])
    assert failing.expires_seconds == pytest.approx(failing.failed_seconds + 300, abs=0.1)
