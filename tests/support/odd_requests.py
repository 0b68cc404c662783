"""Requests by a grammar that contains what is not valid, and a strict reader of what a server answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from exporter.web.responses import HEADERS

# Nothing of a request that has this in it may come back.
MARK = "x-mark-of-the-client"
# A request that stands in the body of another one.
SMUGGLED = f"GET /{MARK} HTTP/1.1\r\nHost: x\r\n\r\n"
STREAM = "/api/v1/stream"
# What is usual, and what is not, of each part of a request.
METHODS = (
    ("GET", "GET", "GET", "HEAD", "POST", "PUT"),
    ("DELETE", "OPTIONS", "TRACE", "CONNECT", "PRI", "get", "X" * 99),
)
VERSIONS = ("HTTP/1.1",), ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.10", "http/1.1", "RTSP/1.0", "HTTP/1.1 x", "")
TARGETS = (
    "/", "/metrics", "/config", "/-/healthy", "/-/ready", "/-/reload", "/-/log-level", "/api/v1/feed", "/api/v1/feeds",
    "/api/v1/history", "/api/v1/symbols", STREAM, "/static/icon.svg", "/feeds/korea:upbit:ticker",
    f"/{MARK}", f"/feeds/{MARK}",
), (
    "*", "x:80", "metrics", "", "/static/", "http://x/metrics", "http://[::1/metrics", "http://u:p@x:99999/metrics",
    "file:///etc/passwd", "javascript:alert(1)", "//x/metrics", "/-%2freload", "/%6detrics",
)  # fmt: skip
TWISTS = (
    "//", "/..", "/%2e%2e", "%2f", "%5c..", "/./", "\\..\\", "%00", "%0d%0aX:y", "%c0%ae", "%ff", "%zz", "%", "é",
    "\u202e", "\xad", "#x", ";a=b", "/" * 300, "y" * 9000,
)  # fmt: skip
QUERIES = (
    "", "?", "?feed=korea:upbit:ticker", "?limit=3&after=x", "?name[]=depth", "?events=all", "?level=debug",
), (
    "?feed=%ff:%0a:%ed%a0%80", "?feed=a", "?limit=٣", "?limit=-1&after=%00", "?name[]=%ed%a0%80",
    "?last_event_id=%0a1.99", "?events=batch_collected,x", "?" + "&" * 300, "?" + "feed=a:b:c&" * 120,
)  # fmt: skip
HOSTS = (
    ("Host: x\r\n",),
    ("", "Host: x\r\nHost: y\r\n", "Host: [::1\r\n", "Host: a/b?c@d\r\n", "Host:\r\n", "Host : x\r\n"),
)
FIELDS = (
    "Accept: application/openmetrics-text;q=nan, */*;q=1e999\r\n", "Accept: é;q=²\r\n", "Accept-Encoding: gzip\r\n",
    "Accept-Encoding: gzip;q=0, *\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n", "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n", "Origin: null\r\n",
    "Connection: upgrade\r\nUpgrade: websocket\r\n", "Authorization: Basic Og==\r\n", "Origin: https://evil.example\r\n",
    "Sec-Fetch-Site: cross-site\r\n", "Last-Event-ID: 1.99999999999999999999\r\n", 'If-None-Match: W/"a", *\r\n',
    "Range: bytes=0-0,-1\r\n", 'Cookie: é=;;"\r\n', f"{MARK}: {MARK}\r\n", "X-Forwarded-For: \xad\r\n",
    "Authorization: Basic é\r\n",
), (
    f"X: {MARK}\x00\r\n", f"X\x00: {MARK}\r\n", f"X: a\r\n {MARK}\r\n", f"X: a\r{MARK}: b\r\n", f"X: a\n{MARK}: b\r\n",
    f"{MARK}\r\n", ": a\r\n", "X: a\n\n", "X: \x7f\r\n", "X" * 9000 + ": a\r\n", "X: " + "a" * 9000 + "\r\n",
    "X: a\r\n" * 70,
)  # fmt: skip
# What says how long a body is, and a body; the first ones agree with each other.
BODIES = (
    ("Content-Length: {n}\r\n", "{b}"),
    ("Transfer-Encoding: chunked\r\n", "{n:x}\r\n{b}\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "{n:x};a=\"b\"\r\n{b}\r\n0;c\r\n\r\n"),
    ("Transfer-Encoding: gzip, chunked\r\n", "{n:x}\r\n{b}\r\n0\r\n\r\n"),
    ("Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n{b}"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n{b}"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n{b}"),
    ("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n{b}"),
    ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n{b}"),
    ("Content-Length: 0\r\nContent-Length: {n}\r\n", "{b}"),
    ("Content-Length: {n}, {n}\r\n", "{b}"),
    ("Content-Length: +{n}\r\n", "{b}"),
    ("Content-Length: 0x{n:x}\r\n", "{b}"),
    ("Content-Length: 99999999999999999999\r\n", "{b}"),
    ("Content-Length: 9999999\r\n", "{b}"),
    ("Transfer-Encoding: chunked\r\n", "-1\r\n{b}"),
    ("Transfer-Encoding: chunked\r\n", "{n:x}\r\n{b}XX0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "{n:x};a\nb\r\n{b}\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "0\r\nContent-Length: {n}\r\n\r\n{b}"),
)  # fmt: skip
# Bytes that mean something to one parser or another.
INSERTED = (b"\0", b"\r", b"\n", b"\t", b" ", b":", b"\xff", b"\x0b", b"\r\n", b"\r\n\r\n", b"HTTP/1.1")
ANSWERED = {200, 304, 400, 401, 403, 404, 405, 408, 413, 414, 421, 429, 431, 503, 505}
# A version that is not supported is refused in that version.
_STATUS = re.compile(rb"HTTP/(?:1\.[01]|(?:0\.9|2\.0)(?= 505 )) ([0-9]{3}) [A-Za-z -]+\r\n")
_FIELD = re.compile(rb"([A-Za-z-]+): ([\x20-\x7e]+)\r\n")


class Sent(NamedTuple):
    """What one connection sends, in pieces; `answers_max` requests of it may be answered.

    `ends`: then the client says that it sends no more; `resets`: it resets the connection instead of reading.
    """

    pieces: tuple[bytes, ...]
    answers_max: int
    ends: bool
    resets: bool

    @property
    def whole(self) -> bytes:
        """All pieces."""
        return b"".join(self.pieces)


class Answer(NamedTuple):
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes


def connection(random: Random) -> Sent:
    """Some requests, some of them spoiled, in pieces."""
    requests = list[str]()
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        text, has_body = _request(random)
        requests.append(text)
        if has_body:
            break
    whole, answers_max = "".join(requests).encode(), len(requests)
    if random.random() < 0.2:
        # Anything may be a request now, also what stood in a body.
        whole, answers_max = _spoiled(random, whole), 100
    cuts = sorted(random.randrange(len(whole) + 1) for _ in range(random.choice((0, 0, 1, 3))))
    pieces = tuple(whole[start:end] for start, end in zip((0, *cuts), (*cuts, len(whole)), strict=True))
    return Sent(pieces, answers_max, ends=random.random() < 0.9, resets=random.random() < 0.1)


def _one_of(random: Random, choices: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    """Mostly a usual one."""
    usual, odd = choices
    return random.choice(odd if random.random() < 0.08 else usual)


def _request(random: Random) -> tuple[str, bool]:
    """The text of a request, and whether it has a body, which another one may stand in."""
    target = _one_of(random, TARGETS)
    if random.random() < 0.1:
        place = random.randrange(len(target) + 1)
        target = target[:place] + random.choice(TWISTS) + target[place:]
    line = " ".join((_one_of(random, METHODS), target + _one_of(random, QUERIES), _one_of(random, VERSIONS)))
    fields = [_one_of(random, HOSTS), *(_one_of(random, FIELDS) for _ in range(random.choice((0, 1, 1, 3))))]
    body = ""
    if has_body := random.random() < 0.3:
        length, form = random.choice(BODIES)
        inner = random.choice(("level=debug", SMUGGLED, "\0" * 99, "a" * 3000))
        fields.append(length.format(n=len(inner)))
        body = form.format(n=len(inner), b=inner)
    random.shuffle(fields)
    before = random.choice(("",) * 20 + ("\r\n", "\n", "\r\n" * 500))
    return f"{before}{line}\r\n{''.join(fields)}\r\n{body}", has_body


def _spoiled(random: Random, whole: bytes) -> bytes:
    """The same with a few bytes changed, added, removed or repeated."""
    for _ in range(random.choice((1, 1, 2, 4))):
        start = random.randrange(len(whole) + 1)
        end = min(len(whole), start + random.choice((0, 1, 1, 4, 100)))
        middle = random.choice((b"", random.choice(INSERTED), bytes([random.randrange(256)]), 2 * whole[start:end]))
        whole = whole[:start] + middle + whole[end:]
    return whole


def answers(received: bytes, *, may_lack_bodies: bool = False, is_cut: bool = False) -> list[Answer]:
    """Read responses strictly, to the last byte; raise AssertionError.

    `may_lack_bodies`: some requests were HEAD. `is_cut`: the end may be missing.
    """
    found = []
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        if not end and is_cut:
            break
        status = _STATUS.match(head + b"\r\n") if end else None
        assert status, received[:200]
        headers = _fields(head[status.end() :] + b"\r\n")
        body, received = _body(headers, rest, may_lack_bodies=may_lack_bodies, is_cut=is_cut)
        found.append(Answer(int(status[1]), headers, body))
    return found


def _fields(lines: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines.splitlines(keepends=True):
        field = _FIELD.fullmatch(line)
        assert field, lines
        name = field[1].decode().lower()
        assert name not in fields, lines
        fields[name] = field[2].decode()
    return fields


def _body(headers: dict[str, str], rest: bytes, *, may_lack_bodies: bool, is_cut: bool) -> tuple[bytes, bytes]:
    """The body and what follows it."""
    assert "transfer-encoding" not in headers or headers["transfer-encoding"] == "chunked"
    if may_lack_bodies and (not rest or rest.startswith(b"HTTP/1.")):
        return b"", rest
    if headers["content-type"].startswith("text/event-stream"):
        return rest, b""  # without an end
    length = int(headers["content-length"])
    assert "transfer-encoding" not in headers
    assert len(rest) >= length or is_cut, (headers, rest)
    return rest[:length], rest[length:]


def check(sent: Sent, found: Sequence[Answer]) -> None:
    """Each answer is one of the sidecar to one of the requests; raise AssertionError."""
    assert len(found) <= sent.answers_max, found
    for number, answer in enumerate(found, 1):
        assert answer.status in ANSWERED, answer
        assert {name.lower() for name in HEADERS} <= answer.headers.keys(), answer
        assert answer.headers["server"] == HEADERS["Server"], answer
        assert MARK.encode() not in answer.body.lower(), answer
        assert not any(MARK in value.lower() for value in answer.headers.values()), answer
        assert number == len(found) or answer.headers.get("connection") != "close", found
