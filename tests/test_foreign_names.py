"""What records, peers and clients say reaches pages, streams, logs and headers as inert text, if at all.

Everything runs through the sidecar's own decoder, pipeline, page and formatter of the log.
"""

from __future__ import annotations

import asyncio
import json
import logging
from http.client import HTTPConnection
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter import loop
from exporter.config.schema import Config
from exporter.model import EventType
from exporter.page.page import LivePage
from exporter.runtime import logs
from exporter.runtime.clock import SystemClock
from exporter.runtime.foreign_text import printable
from exporter.store.store import StoreUnavailable
from exporter.web.streams import Broadcast
from tests.support.pipeline import KEY, NOW_MS
from tests.support.queries import HOST, Site, site
from tests.support.unrun import UnrunSidecar

# What steers terminals, pages, streams, lines of a log and headers.
ODD = (
    "</script><script>", "\n\nevent: x\ndata: y\n\n", "\r\nX-Evil: 1\r\n\r\n", "\r", "\u2028", "\u2029", "\x85", "\x0b",
    "\x1b[31m", "\x1b]0;x\x07", "\x9b2J", "\u202e", "\u2066", "\u200b", "\ufeff", "\0", "\ud800", '"', "\\", "'", "=",
    "level=error msg=x", "&lt;", "<!--", "é", "한", "x" * 9000,
)  # fmt: skip
FOREIGN = st.lists(st.sampled_from(ODD) | st.text(st.characters(), max_size=5), min_size=1, max_size=6).map("".join)
FIELDS = ("region", "exchange", "request_type", "symbol", "batch", "timestamp_ms", "whole")
ALL = frozenset(EventType)


def batch(field: str, text: str) -> bytes:
    """A record with the text in a field; JSON escapes what it must, or the text stands there as it is."""
    if field == "whole":
        return text.encode("utf-8", "surrogatepass")
    rows = [{"target_currency": text if field == "symbol" else "A", "last": 1}]
    content: dict[str, Any] = {**KEY._asdict(), "timestamp_ms": NOW_MS, "data": rows}
    if field != "symbol":
        content[field] = text
    return json.dumps(content, ensure_ascii=len(text) % 2 == 0).encode("utf-8", "surrogatepass")


def sidecar_with(field: str, text: str) -> UnrunSidecar:
    """One that has read an ordinary batch and this one."""
    sidecar = UnrunSidecar(Config())
    sidecar.read("AB")
    sidecar.read_value(batch(field, text))
    return sidecar


def streamed(page: LivePage, sidecar: UnrunSidecar, value: bytes) -> bytes:
    """The bytes of a stream from its begin to the step after the record."""

    async def read() -> bytes:
        broadcast = Broadcast(page.watch, 0.001)
        found = list[bytes]()
        try:
            async for message in broadcast.stream(ALL, "", is_gzipped=False):
                found.append(message)
                if len(found) == 2:
                    sidecar.read_value(value)
                if len(found) == 4:
                    break
        finally:
            broadcast.close()
        return b"".join(found)

    return asyncio.run(read())


def assert_inert(data: bytes) -> None:
    """JSON that a stream, a script and a terminal take as one text: strict UTF-8 on one line."""
    json.loads(data.decode())
    assert b"\n" not in data
    assert b"\r" not in data
    assert not any(byte < 0x20 or byte == 0x7F for byte in data)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FIELDS), FOREIGN)
def test_no_name_in_a_record_breaks_a_stream(field: str, text: str) -> None:
    """Its lines are those of the sidecar, and each message is one line of JSON."""
    sidecar = sidecar_with(field, text)
    page = LivePage(Config(), sidecar.app.status, SystemClock(), "1.2.3")
    lines = streamed(page, sidecar, batch(field, text)).split(b"\n")
    for line in lines:
        name, _, value = line.partition(b": ")
        assert name in (b"", b"retry", b"id", b"event", b"data"), line[:100]
        if name == b"data":
            assert_inert(value)
        elif name == b"event":
            assert value in (b"snapshot", b"update", b"published")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FIELDS), FOREIGN)
def test_rejections_are_shown_on_one_line_without_what_steers(field: str, text: str) -> None:
    sidecar = sidecar_with(field, text)
    page = LivePage(Config(), sidecar.app.status, SystemClock(), "1.2.3")
    watch = page.watch()
    watch.tick(ALL, 1.0)
    assert_inert(watch.snapshot()[1])
    view = page.feed(KEY)
    assert view is not None
    assert_inert(orjson.dumps(view))
    for rejection in json.loads(watch.snapshot()[1])["rejections"]:
        for shown in (rejection["detail"], rejection["feed"] or ""):
            assert shown.isprintable()
            assert len(shown) <= 200


def as_lines(record: logging.LogRecord) -> list[str]:
    """The lines of a record in both forms."""
    return [logs._Formatter(style).format(record) for style in ("logfmt", "json")]


def assert_one_line(line: str) -> None:
    """What a terminal and a collector of logs take as one line."""
    assert line.isascii() or line.isprintable(), line
    assert len(line.splitlines()) == 1, line
    assert not any(ord(character) < 0x20 or ord(character) == 0x7F for character in line)
    line.encode()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FIELDS), FOREIGN)
def test_a_rejected_record_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture, field: str, text: str) -> None:
    caplog.clear()
    logs.forget()
    loop._log_rejections(sidecar_with(field, text).app.loop.pipeline.rejection_log.take())
    assert caplog.records or field != "whole"
    for record in caplog.records:
        for line in as_lines(record):
            assert_one_line(line)
            assert len(line) < 2000


@settings(max_examples=200)
@given(FOREIGN, FOREIGN)
def test_any_text_in_a_log_is_one_line(text: str, other: str) -> None:
    """Names of topics, answers of brokers, Redis and registries, addresses of clients and errors that quote them."""
    try:
        raise ValueError(text)
    except ValueError as error:
        information = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("exporter", logging.ERROR, __file__, 1, "topic %s", (text,), information)
    record.error, record.rows = other, [{"name": text}]
    logfmt, as_json = as_lines(record)
    for line in (logfmt, as_json):
        assert_one_line(line)
    fields = json.loads(as_json)
    assert fields["level"] == "error"
    assert logfmt.startswith(f"ts={fields['ts']} level=error logger=exporter msg=")


@given(FOREIGN, st.integers(2, 300))
def test_texts_for_pages_and_terminals_are_printable_and_bounded(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit


@pytest.fixture(scope="module")
def running() -> Any:
    """A server whose Redis and readiness say what a test lets them say."""
    with site() as running:
        yield running


def answer(running: Site, path: str, **headers: str) -> tuple[int, str, bytes]:
    """The status of a response, its headers as one text, and its body."""
    connection = HTTPConnection(HOST, running.port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        found = connection.getresponse()
        return found.status, str(found.getheaders()), found.read()
    finally:
        connection.close()


MARK = "evil-mark"


@settings(max_examples=25, deadline=None)
@given(FOREIGN)
def test_no_header_has_what_peers_say(running: Site, text: str) -> None:
    queries = running.queries
    for failure, path in (
        (StoreUnavailable(MARK + text), "/api/v1/symbols"),
        (ValueError(MARK + text), "/api/v1/feeds"),
    ):
        queries.failure = failure
        try:
            status, headers, body = answer(running, path)
        finally:
            queries.failure = None
        assert status in (500, 503)
        assert MARK not in headers
        if status == 503:
            assert_inert(body)
            assert json.loads(body)["error"].isprintable()
        else:
            assert body == b"internal error, see the log\n"


@pytest.mark.parametrize(
    "path", ["/", "/feeds/", "/static/", "/api/v1/feed?feed=a:b:", "/api/v1/symbols?limit=", "/-/"]
)
def test_no_answer_repeats_what_a_client_says(running: Site, caplog: pytest.LogCaptureFixture, path: str) -> None:
    """Neither do headers or the log."""
    for odd in ("%3C/script%3E", "%0d%0aX:1", "%1b%5b31m", "%E2%80%AE", "%00", "%ed%a0%80"):
        said = {"User-Agent": MARK, "Referer": f"http://{MARK}/", "X-Forwarded-For": MARK, "Cookie": MARK}
        status, headers, body = answer(running, f"{path}{MARK}{odd}", **said)
        assert status in (400, 404) or path == "/feeds/"
        assert MARK not in headers
        assert MARK.encode() not in body
    assert MARK not in caplog.text
