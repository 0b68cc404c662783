"""Classification of the first bytes of a connection: a health check, another request, or a refused one. Pure.

Of other requests only limits are checked here: the parser that reads the head next decides whether it is valid HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Container
from enum import Enum
from typing import NamedTuple

HEAD_BYTES_MAX = 16 * 1024
# The first byte of a TLS handshake; the head of a record ends with its length in two bytes.
_TLS_RECORD, _RECORD_HEAD_BYTES = b"\x16", 5
# The length that every server should support, RFC 9112 section 3.
LINE_BYTES_MAX = 8000
_END = re.compile(rb"\n\r?\n")
# No other parser sees it, so it is valid as a whole: names, colons, and values without control characters.
_HEALTH = re.compile(
    rb"[\r\n]*(GET|HEAD) (/-/[a-z]+) HTTP/1\.[01]\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*\r\n"
)
_HOST = re.compile(rb"\nhost:[ \t]*([^\r\n]*)", re.IGNORECASE)
_AUTHORIZATION = re.compile(rb"\nauthorization:[ \t]*([^\r\n]*)", re.IGNORECASE)
# With these headers a request has a body or an upgrade.
_MORE = re.compile(rb"\n(?:content-length|transfer-encoding|expect|upgrade)[ \t]*:", re.IGNORECASE)
_BODY = re.compile(rb"\n(?:content-length[ \t]*:[ \t]*([0-9]{1,19})|transfer-encoding[ \t]*:)", re.IGNORECASE)


class Head(Enum):
    """State of a head that is not a health check."""

    INCOMPLETE = "more bytes are expected"
    COMPLETE = "to be parsed"
    BEFORE_BODY = "to be parsed, and its body has not arrived as a whole"


class HealthCheck(NamedTuple):
    """A health check, `length` bytes long; `host` and `authorization` are empty without these headers."""

    path: str
    host: str
    is_head: bool
    length: int
    authorization: str = ""


class Refusal(NamedTuple):
    """A refusal of a request: status and text of the response, after which the connection is closed."""

    status: int
    text: str


TOO_SLOW = Refusal(408, "the request was not received in time")
LINE_TOO_LONG = Refusal(414, f"the request line is longer than {LINE_BYTES_MAX} bytes")
HEAD_TOO_LARGE = Refusal(431, f"the request head is longer than {HEAD_BYTES_MAX} bytes")
NO_TLS = Refusal(400, "this port serves HTTPS, and the request is not encrypted")
CUT_OFF = Refusal(400, "the connection ended before the request was complete")


def classify_head(head: bytes, health_paths: Container[str], *, is_final: bool) -> Head | HealthCheck | Refusal:
    """Return the class of the bytes received so far; `is_final`: no more will follow.

    Bytes that cannot become a request count as complete, so that the parser refuses them at once. Line breaks may
    precede a request, RFC 9112 section 2.2.
    """
    request = head.lstrip(b"\r\n")
    if request and not b"A" <= request[:1] <= b"Z":
        return Head.COMPLETE
    if len(request) > LINE_BYTES_MAX and request.find(b"\n", 0, LINE_BYTES_MAX) < 0:
        return LINE_TOO_LONG
    end = _END.search(head, len(head) - len(request), HEAD_BYTES_MAX)
    if end is not None:
        return _check(head[: end.end()], health_paths) or _completeness(head, end.end())
    if len(head) > HEAD_BYTES_MAX:
        return HEAD_TOO_LARGE
    return CUT_OFF if is_final else Head.INCOMPLETE


def head_of(received: bytes) -> bytes:
    """Return the head of a request, without the body; of what is no request, all."""
    end = _END.search(received)
    return received if end is None else received[: end.end()]


def classify_record(first: bytes, *, is_final: bool) -> Head | Refusal:
    """Return whether the first message of a TLS client is complete, or the refusal of a client without TLS."""
    if first[:1] != _TLS_RECORD:
        return NO_TLS
    length = _RECORD_HEAD_BYTES + int.from_bytes(first[_RECORD_HEAD_BYTES - 2 : _RECORD_HEAD_BYTES])
    is_complete = len(first) > min(max(length, _RECORD_HEAD_BYTES) - 1, HEAD_BYTES_MAX)
    return Head.COMPLETE if is_complete or is_final else Head.INCOMPLETE


def _check(head: bytes, paths: Container[str]) -> HealthCheck | None:
    found = _HEALTH.fullmatch(head)
    if found is None or (path := found[2].decode()) not in paths or _MORE.search(head) or len(_HOST.findall(head)) > 1:
        return None
    is_head = found[1] == b"HEAD"
    return HealthCheck(path, _field(_HOST, head), is_head, len(head), _field(_AUTHORIZATION, head))


def _completeness(received: bytes, end: int) -> Head:
    """Return the state of a head of `end` bytes, by whether as many bytes as its length of a body follow."""
    if (body := _BODY.search(received, 0, end)) is None:
        return Head.COMPLETE
    has_arrived = body[1] is not None and int(body[1]) <= len(received) - end
    return Head.COMPLETE if has_arrived else Head.BEFORE_BODY


def _field(pattern: re.Pattern[bytes], head: bytes) -> str:
    found = pattern.search(head)
    return found[1].strip().decode("latin-1") if found else ""
