"""Streams of server-sent events, and the other paths of the live page, on a real server."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import requests

from exporter.config.parsers import telemetry_path
from exporter.web.limits import ClientLimits
from exporter.web.static_files import VIEWS, StaticFiles
from exporter.web.streams import TICKS_KEPT
from tests.support import streams
from tests.support.queries import Site, site
from tests.support.streams import Message, messages
from tests.support.waiting import eventually

FAST = ClientLimits(tick_seconds=0.01)
STREAM = "/api/v1/stream"
HEAD_OF_STREAM = b"GET /api/v1/stream HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def stream(running: Site, query: str = "", last_id: str = "") -> Iterator[Iterator[Message]]:
    """The messages of a stream, as they come."""
    with streams.stream(running.connect(), query, last_id) as found:
        yield found


def numbers(found: list[Message]) -> list[int]:
    """The numbers of steps."""
    return [int(message.id.rpartition(".")[2]) for message in found if message.id]


def status(running: Site, path: str = STREAM, **headers: str) -> int:
    """The status of a response whose body is not waited for."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with requests.get(running.url(path), headers=sent, stream=True, timeout=10) as answer:
        return answer.status_code


def test_a_stream_begins_with_the_whole_state_and_misses_no_step() -> None:
    with site(FAST) as running, stream(running) as found:
        some = [next(found) for _ in range(6)]
    assert [message.event for message in some] == ["snapshot", *["update"] * 5]
    assert some[0].data == '"all"'
    assert numbers(some) == list(range(numbers(some)[0], numbers(some)[0] + 6))
    assert {message.id.partition(".")[0] for message in some} == {"start"}


def test_all_streams_share_one_watch_which_ends_after_the_last() -> None:
    """Nothing is read without clients."""
    with site(FAST) as running:
        assert running.queries.watches == 0
        assert not any(thread.name.startswith("web-stream") for thread in threading.enumerate())
        with stream(running) as first, stream(running) as second:
            next(first)
            next(second)
            assert running.queries.watches == 1
        assert eventually(lambda: running.queries.steps.is_closed)
        with stream(running) as again:
            assert next(again).event == "snapshot"
        assert running.queries.watches == 2


def test_published_events_are_for_those_who_ask() -> None:
    """By type; the others do not get them."""
    with site(FAST) as running:
        with stream(running) as plain:
            assert {next(plain).event for _ in range(5)} == {"snapshot", "update"}
        assert running.queries.steps.tapped == frozenset()
        with stream(running, "?events=error") as errors, stream(running, "?events=all") as everything:
            assert {next(errors).data.split(" ")[0] for _ in range(20)} == {'"all"', "{}", '"error'}
            kinds = {next(everything).data.split(" ")[0] for _ in range(20)}
        assert kinds >= {'"error', '"batch_collected', '"performance_summary'}


def test_a_client_that_comes_back_misses_no_event() -> None:
    """Those of the steps since its last one come first, then the whole state, each once."""
    with site(ClientLimits(tick_seconds=0.1)) as running:
        with stream(running, "?events=error") as found:
            eventually(lambda: next(found).event == "published")
            last = eventually(lambda: next(found).id)
        with stream(running, "?events=error", last) as found:
            some = [next(found) for _ in range(12)]
    events = [int(message.data.strip('"').split(" ")[1]) for message in some if message.event == "published"]
    # The events that step n + 1 brings bear the number n.
    assert events == list(range(int(last.rpartition(".")[2]), events[-1] + 1))
    assert [message.event for message in some].count("snapshot") == 1


@pytest.mark.parametrize("last", ["other.1", "start.x", "start.", "", "start.99999999999999999999999", "%C2%B2"])
def test_an_id_of_another_start_is_no_reason_to_fail(last: str) -> None:
    with site(FAST) as running, stream(running, f"?events=all&last_event_id={last}") as found:
        assert next(found).event == "snapshot"


def test_the_number_of_streams_is_limited_and_scrapes_are_served() -> None:
    with site(FAST._replace(streams=2)) as running, ExitStack() as stack:
        first = stack.enter_context(stream(running))
        next(first)
        next(stack.enter_context(stream(running)))
        with requests.get(running.url(STREAM), timeout=10) as answer:
            assert (answer.status_code, answer.text) == (503, "too many streams are open, retry later\n")
        assert status(running, "/metrics") == 200
        stack.pop_all().close()
        assert eventually(lambda: status(running) == 200)


def test_a_machine_with_few_descriptors_has_few_streams() -> None:
    """Most connections remain for scrapes."""
    assert ClientLimits().within(100_000).streams == 32
    small = ClientLimits().within(200)
    assert 0 < small.streams <= small.active / 4


def test_a_client_that_does_not_read_is_dropped() -> None:
    """Its steps are not kept, and others do not wait."""
    with site(FAST._replace(response_seconds=0.5)) as running, running.connect(receive_bytes=4096) as silent:
        running.queries.steps.update = b'"%b"' % (b"x" * 200_000)
        silent.sendall(HEAD_OF_STREAM)
        assert eventually(lambda: running.queries.evictions("slow") == 1)
        with stream(running) as found:
            assert next(found).event == "snapshot"


def test_a_client_that_falls_behind_is_dropped() -> None:
    """It may reconnect for the whole state."""
    with site(FAST) as running, running.connect(receive_bytes=4096) as slow:
        running.queries.steps.update = b'"%b"' % (b"x" * 500_000)
        slow.sendall(HEAD_OF_STREAM)
        assert slow.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        eventually(lambda: running.queries.steps.number > 2 * TICKS_KEPT)
        assert eventually(lambda: slow.recv(65536) and running.queries.evictions("slow") == 1)


def test_an_error_ends_the_streams_and_the_next_one_tries_again() -> None:
    with site(FAST) as running:
        with stream(running) as found:
            next(found)
            running.queries.steps.failure = ValueError("secret")
            list(found)
        running.queries.steps.failure = None
        with stream(running) as found:
            assert next(found).event == "snapshot"


def test_a_stopped_server_ends_its_streams_at_once() -> None:
    with site(FAST) as running, stream(running) as found:
        next(found)
        running.server.stop()
        list(found)
        assert "web" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({}, 200),
    ],
)
def test_pages_of_other_sites_get_no_stream(headers: dict[str, str], expected: int) -> None:
    """They could not read it, but hold all of the places."""
    with site(FAST) as running:
        assert status(running, **headers) == expected


def test_the_page_itself_gets_a_stream() -> None:
    with site(FAST) as running:
        assert status(running, Origin=running.url("").lower()) == 200


def test_unknown_types_of_events_are_an_error() -> None:
    with site(FAST) as running:
        answer = requests.get(running.url(STREAM + "?events=error,nonsense"), timeout=10)
    expected = "events must be all, or some of batch_collected, performance_summary, error"
    assert (answer.status_code, answer.json()["error"]) == (400, expected)


def test_the_head_of_a_stream_ends() -> None:
    with site(FAST) as running:
        head = requests.head(running.url(STREAM), timeout=10)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert head.headers["Cache-Control"] == "no-store"
        assert "Content-Length" not in head.headers
        assert running.queries.watches == 0


def test_a_client_of_http_1_0_gets_a_stream_without_chunks() -> None:
    with site(FAST) as running, running.connect() as client, client.makefile("rb") as received:
        client.sendall(b"GET /api/v1/stream HTTP/1.0\r\n\r\n")
        head, _, body = received.read(700).partition(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert body.startswith(b"retry: 2000\n\nid: start.")


def test_a_compressed_stream_has_the_same_messages() -> None:
    """Each can be read when it comes, and all clients get the same blocks after the first."""
    with site(FAST) as running, running.connect() as client:
        client.sendall(b"GET /api/v1/stream HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
        received = b""
        while received.count(b"\r\n\r\n") == 0 or len(received) < 1000:
            received += client.recv(1000)
        head, _, body = received.partition(b"\r\n\r\n")
        assert b"content-encoding: gzip" in head.lower()
        plain = zlib.decompressobj(31).decompress(body).decode()
    assert plain.startswith("retry: 2000\n\nid: start.")
    found = [message.event for message in messages(line.encode() for line in plain.splitlines(keepends=True))]
    assert found[:3] == ["snapshot", "update", "update"]


# The other paths.


def test_one_feed_and_the_history_are_json() -> None:
    with site() as running:
        feed = requests.get(running.url("/api/v1/feed?feed=korea:upbit:ticker"), timeout=10).json()
        assert (feed["status"], feed["data"]["batches"]) == ("success", 1234)
        unknown = requests.get(running.url("/api/v1/feed?feed=a:b:c"), timeout=10)
        assert (unknown.status_code, unknown.json()) == (404, {"status": "error", "error": "unknown feed"})
        assert status(running, "/api/v1/feed") == status(running, "/api/v1/feed?feed=a:b") == 400
        history = requests.get(running.url("/api/v1/history?feed=d:e:f&feed=a:b:c"), timeout=10).json()
        assert history["data"]["feeds"] == ["a:b:c", "d:e:f"]
        assert status(running, "/api/v1/history?" + "feed=a:b:c&" * 101) == 400


def test_files_have_their_type_and_a_tag_that_saves_sending_them_again() -> None:
    with site() as running:
        url = running.url("/static/css/base.css")
        first = requests.get(url, timeout=10)
        assert first.headers["Content-Type"] == "text/css; charset=utf-8"
        assert first.headers["Cache-Control"] == "no-cache"
        tag = first.headers["ETag"]
        for known in (tag, f'"other", {tag}', tag.removeprefix("W/")):
            again = requests.get(url, headers={"If-None-Match": known}, timeout=10)
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert requests.get(url, headers={"If-None-Match": '"other"'}, timeout=10).status_code == 200
        packed = requests.get(url, headers={"Accept-Encoding": "gzip"}, stream=True, timeout=10)
        assert gzip.decompress(packed.raw.read(decode_content=False)) == first.content
        packed.close()


@pytest.mark.parametrize(
    "path",
    [
        "/static/", "/static/absent.js", "/static/../routes.py", "/static/%2e%2e/routes.py", "/static//app.js",
        "/static/app.js/", "/staticapp.js", "/feeds", "/feeds/", "/other/x",
    ],
)  # fmt: skip
def test_only_the_files_of_the_page_are_served(path: str) -> None:
    """Whatever the path does."""
    with site() as running, running.connect() as client, client.makefile("rb") as received:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert received.readline() == b"HTTP/1.1 404 Not Found\r\n"


@pytest.mark.parametrize("path", [f"/{view}/metrics" for view in (*VIEWS, "static", "api")])
def test_metrics_do_not_take_the_path_of_a_view(path: str) -> None:
    with pytest.raises(ValueError, match="are taken"):
        telemetry_path(path)


def test_documents_and_workers_may_run_scripts_of_the_page_only() -> None:
    """None within the document, and nothing from elsewhere; a worker has the policy of its script."""
    files = StaticFiles()
    documents = [name for name in files.names if name.endswith((".html", ".js"))]
    assert documents
    for name in documents:
        policy = files.get(name, False).headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


def test_a_view_has_the_page_as_its_document() -> None:
    """Whatever its feed."""
    with site() as running:
        assert requests.get(running.url("/feeds/a:b:c"), timeout=10).status_code == 200
