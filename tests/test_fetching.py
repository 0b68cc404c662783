"""Whatever an HTTP server does, a request ends in time, and its answer is no larger than asked for."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress

import pytest
import requests

from exporter.runtime.http_client import Answer, TooLarge, fetch
from tests.support.peers import HTTP_DRIPS, HTTP_FLOODS, Peer, Talk, http, saying
from tests.support.waiting import eventually

SIZE = 1_000_000


def ask(talk: Talk, seconds: float = 20.0, size: int = SIZE) -> Answer:
    """What comes of a request to such a server."""
    with Peer(talk) as peer:
        try:
            return fetch("GET", peer.url, seconds=seconds, size=size)
        finally:
            eventually(lambda: not peer.open, 10, "the connection was left open")
            # What the kernel holds for a reader is sent, too.
            assert peer.sent < 20 * SIZE


@pytest.mark.parametrize("talk", HTTP_DRIPS.values(), ids=HTTP_DRIPS.keys())
def test_an_answer_that_drips_ends_at_the_deadline(talk: Talk) -> None:
    """Each read succeeds in time, so only a limit on the whole ends it."""
    with pytest.raises(requests.Timeout):
        ask(talk, seconds=0.5)


@pytest.mark.parametrize("talk", HTTP_FLOODS.values(), ids=HTTP_FLOODS.keys())
def test_an_answer_without_end_ends_at_the_size(talk: Talk) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(requests.RequestException):
            ask(talk)
        assert tracemalloc.get_traced_memory()[1] < 20 * SIZE
    finally:
        tracemalloc.stop()


def test_an_answer_of_the_size_is_returned_and_one_byte_more_is_not() -> None:
    answer = http("200 Fine", b"body")
    assert ask(saying(answer), size=len(answer))[:2] == (200, "Fine")
    assert ask(saying(answer), size=len(answer)).body == b"body"
    with pytest.raises(TooLarge):
        ask(saying(answer), size=len(answer) - 1)


@pytest.mark.parametrize("status", ["200 OK", "302 Found"])
def test_a_packed_body_is_not_unpacked(status: str) -> None:
    body = gzip.compress(b"0" * 100_000_000)
    packed = http(status, body, f"Content-Length: {len(body)}", "Content-Encoding: gzip", "Location: /other")
    tracemalloc.start()
    try:
        assert ask(saying(packed)).body == body
        assert tracemalloc.get_traced_memory()[1] < 20 * SIZE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0" * 100,
        b"220 smtp ready\r\n",
        b"HTTP/9.9 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nab",
        b"HTTP/1.1 99999999999 OK\r\n\r\n",
    ],
)
def test_what_is_no_http_is_an_error_of_one_kind_or_an_answer(text: bytes) -> None:
    def hang_up(_: bytes) -> Iterator[bytes]:
        yield text
        raise OSError

    with suppress(requests.RequestException):
        assert ask(hang_up).body in (b"", b"ab")
