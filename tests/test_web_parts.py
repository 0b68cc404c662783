"""Heads, hosts, limits and chunks by their values."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.heads import CUT_OFF, HEAD_BYTES_MAX, HEAD_TOO_LARGE, LINE_BYTES_MAX, LINE_TOO_LONG, Head, HealthCheck
from exporter.web.heads import classify_head as classify_with
from exporter.web.hosts import Access, is_loopback
from exporter.web.limits import DESCRIPTORS_KEPT, ClientLimits
from exporter.web.responses import CHUNK_BYTES, Response, complete, grouped, text_response, to_bytes

PATHS = ("/-/healthy", "/-/ready")
HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: 10.0.0.1:8000\r\nUser-Agent: kube-probe/1.33\r\nConnection: close\r\n\r\n"


def classify(head: bytes, *, is_final: bool = False) -> object:
    """Classify a head with the usual paths of health checks."""
    return classify_with(head, PATHS, is_final=is_final)


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (HEALTHY, HealthCheck("/-/healthy", "10.0.0.1:8000", False, len(HEALTHY))),
        (HEALTHY + b"GET / HTTP/1.1\r\n", HealthCheck("/-/healthy", "10.0.0.1:8000", False, len(HEALTHY))),
        (b"HEAD /-/ready HTTP/1.0\r\n\r\n", HealthCheck("/-/ready", "", True, 26)),
        (b"GET /-/ready HTTP/1.1\nhOsT :x\nHOST:  y \n\n", Head.COMPLETE),
        (b"GET /-/ready HTTP/1.1\r\nHOST:\ty \n\n", Head.COMPLETE),
        (b"GET /-/other HTTP/1.1\r\nHost: x\r\n\r\n", Head.COMPLETE),
        (b"GET /-/healthy?a=b HTTP/1.1\r\nHost: x\r\n\r\n", Head.COMPLETE),
        (b"POST /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n", Head.COMPLETE),
        (b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", Head.COMPLETE),
        (b"GET /-/healthy HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n", Head.BEFORE_BODY),
        (b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", Head.COMPLETE),
        (b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n", Head.COMPLETE),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Head.COMPLETE),
        (b"GET /metrics HTTP/1.1\nHost: x\n\n", Head.COMPLETE),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n", Head.INCOMPLETE),
        (b"G", Head.INCOMPLETE),
        (b"\x16\x03\x01", Head.COMPLETE),
        (b"\r\n", Head.INCOMPLETE),
        (b"\r\n" * HEAD_BYTES_MAX, HEAD_TOO_LARGE),
        (b"\r\n\n" + HEALTHY, HealthCheck("/-/healthy", "10.0.0.1:8000", False, len(HEALTHY) + 3)),
        (b"\r\nget", Head.COMPLETE),
        (HEALTHY.replace(b"User", b"Host: evil.example\r\nUser"), Head.COMPLETE),
        (HEALTHY.replace(b"kube", b"\x00kube"), Head.COMPLETE),
        (HEALTHY.replace(b"kube", b"\rkube"), Head.COMPLETE),
        (HEALTHY.replace(b"User-Agent:", b" User-Agent:"), Head.COMPLETE),
        (HEALTHY.replace(b"User-Agent:", b"User-Agent"), Head.COMPLETE),
        (HEALTHY.replace(b"1.1", b"1.2"), Head.COMPLETE),
        (b"get / http/1.1", Head.COMPLETE),
        (b"GET /" + b"x" * LINE_BYTES_MAX, LINE_TOO_LONG),
        (b"GET /" + b"x" * LINE_BYTES_MAX + b"\r\n\r\n", LINE_TOO_LONG),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (HEAD_BYTES_MAX // 6), HEAD_TOO_LARGE),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (HEAD_BYTES_MAX // 6) + b"\r\n", HEAD_TOO_LARGE),
    ],
    ids=range(32),
)
def test_a_head_is_a_check_a_request_or_too_much(head: bytes, found: object) -> None:
    assert classify(head) == found


@pytest.mark.parametrize(
    ("fields", "rest", "found"),
    [
        (b"Content-Length: 3", b"", Head.BEFORE_BODY),
        (b"CONTENT-LENGTH:3", b"ab", Head.BEFORE_BODY),
        (b"Content-Length: 3", b"abc", Head.COMPLETE),
        (b"Content-Length: 3", b"abcGET / HTTP/1.1", Head.COMPLETE),
        (b"Content-Length: 0", b"", Head.COMPLETE),
        (b"Content-Length: x", b"", Head.COMPLETE),
        (b"Content-Length: " + b"9" * 5000, b"", Head.BEFORE_BODY),
        (b"Transfer-Encoding: chunked", b"", Head.BEFORE_BODY),
        (b"X: y", b"Content-Length: 3\r\n\r\n", Head.COMPLETE),
    ],
)
def test_a_request_is_complete_when_its_body_has_arrived(fields: bytes, rest: bytes, found: Head) -> None:
    assert classify(b"POST /-/reload HTTP/1.1\r\n" + fields + b"\r\n\r\n" + rest) is found


@given(st.integers(1, len(HEALTHY) - 1))
def test_the_beginning_of_a_head_is_incomplete(length: int) -> None:
    assert classify(HEALTHY[:length]) is Head.INCOMPLETE
    assert classify(HEALTHY[:length], is_final=True) == CUT_OFF


@given(st.binary(max_size=2 * HEAD_BYTES_MAX), st.booleans())
def test_every_head_is_classified_and_none_is_incomplete_without_end(head: bytes, is_final: bool) -> None:
    found = classify(b"G" + head, is_final=is_final)
    assert found is not Head.INCOMPLETE or (len(head) < HEAD_BYTES_MAX and not is_final)


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("metrics.example.com", True),
        ("Metrics.Example.COM.:8000", True),
        ("localhost:8000", True),
        ("127.0.0.1", True),
        ("10.1.2.3:8000", True),
        ("[::1]:8000", True),
        ("", True),
        ("evil.example", False),
        ("evil.metrics.example.com", False),
        ("metrics.example.com.evil.example:8000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("1", False),
        ("evil.example\x00localhost", False),
        ("[::1]evil.example", False),
        ("[::1", False),
        ("127.0.0.1:evil.example", False),
        ("localhost:8000:evil.example", False),
        (":8000", False),
        ("user@localhost", False),
    ],
)
def test_only_configured_host_names_are_allowed(host: str, is_allowed: bool) -> None:
    """Addresses and localhost cannot be names of another site."""
    assert Access(("metrics.example.com",)).allows_host(host) is is_allowed
    assert Access().allows_host(host)


@pytest.mark.parametrize(
    ("page", "peer", "host", "headers", "is_shown"),
    [
        ("loopback", "127.0.0.1", "localhost:8000", {}, True),
        ("loopback", "::1", "[::1]:8000", {}, True),
        ("loopback", "::ffff:127.0.0.1", "", {}, True),
        ("loopback", "10.0.0.1", "10.0.0.1:8000", {}, False),
        ("loopback", "::ffff:10.0.0.1", "10.0.0.1:8000", {}, False),
        ("loopback", None, "", {}, False),
        ("loopback", "127.0.0.1", "evil.example", {}, False),
        ("loopback", "127.0.0.1", "metrics.example.com", {}, True),
        ("loopback", "127.0.0.1", "localhost", {"X-Forwarded-For": "10.0.0.1"}, False),
        ("loopback", "127.0.0.1", "localhost", {"Forwarded": "for=10.0.0.1"}, False),
        ("everyone", "10.0.0.1", "evil.example", {"Via": "1.1 a"}, True),
        ("off", "127.0.0.1", "localhost", {}, False),
    ],
)
def test_the_configuration_is_shown_on_this_machine_without_proxies(
    page: str, peer: str | None, host: str, headers: dict[str, str], is_shown: bool
) -> None:
    access = Access(("metrics.example.com",), page)  # type: ignore[arg-type]  # one of the three
    assert access.shows_config(peer, host, headers) is is_shown


def test_an_invalid_address_is_not_a_loopback_address() -> None:
    assert not is_loopback("127.0.0.1.evil.example")
    assert is_loopback("::1%lo")


@given(st.integers(0, 10_000))
def test_connections_leave_descriptors_for_others(descriptors: int) -> None:
    """Limits shrink in proportion, down to a minimum."""
    limits = ClientLimits().within(descriptors)
    total = limits.incoming + limits.waiting + limits.active
    assert total <= max(0, descriptors - DESCRIPTORS_KEPT) + 3 * 8
    assert min(limits[:3]) >= 8
    assert ClientLimits().within(1_000_000) == ClientLimits()


@given(st.lists(st.binary(max_size=CHUNK_BYTES // 3), max_size=20))
def test_chunks_join_all_parts_and_only_the_last_is_small(parts: list[bytes]) -> None:
    chunks = list(grouped(parts))
    assert b"".join(chunks) == b"".join(parts)
    assert all(CHUNK_BYTES <= len(chunk) < 2 * CHUNK_BYTES for chunk in chunks[:-1])


@given(st.lists(st.binary(max_size=3000), max_size=20), st.booleans())
def test_compression_keeps_the_body(parts: list[bytes], is_gzipped: bool) -> None:
    answer = complete(Response(iter(parts)), is_gzipped)
    body = b"".join(answer.body)
    assert answer.length == len(body)
    assert (gzip.decompress(body) if "Content-Encoding" in answer.headers else body) == b"".join(parts)
    assert ("Content-Encoding" in answer.headers) == (is_gzipped and sum(map(len, parts)) >= 1024)


def test_the_bytes_of_a_response_have_its_length_and_close_the_connection() -> None:
    head, _, body = to_bytes(text_response("no", 431)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert {b"Content-Length: 3", b"Connection: close", b"Server: marketdata-exporter"} <= set(head.split(b"\r\n"))
    assert body == b"no\n"
    assert to_bytes(text_response("no", 431), with_body=False).endswith(b"\r\n\r\n")
