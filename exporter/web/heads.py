"""What the first bytes of a connection are: a health check, another request, or none that can be answered. Pure.

Only limits are judged here. Whether a head is HTTP at all is for the parser that reads it next.
"""

from __future__ import annotations

import re
from collections.abc import Container
from enum import Enum
from typing import NamedTuple

HEAD_BYTES_MAX = 16 * 1024
# What every server should take, RFC 9112 section 3.
LINE_BYTES_MAX = 8000
_END = re.compile(rb"\n\r?\n")
_HEALTH = re.compile(rb"(GET|HEAD) (/-/[a-z]+) HTTP/1\.[01]\r\n")
_HOST = re.compile(rb"\nhost:[ \t]*([^\r\n]*)", re.IGNORECASE)
# With these a request is more than a question.
_MORE = re.compile(rb"\n(?:content-length|transfer-encoding|expect|upgrade)[ \t]*:", re.IGNORECASE)


class Head(Enum):
    """A head that is no health check."""

    INCOMPLETE = "more is to come"
    COMPLETE = "for the parser"


class Check(NamedTuple):
    """A health check, `length` bytes long; `host` is empty when it names none."""

    path: str
    host: str
    is_head: bool
    length: int


class Refusal(NamedTuple):
    """Why a connection ends here: the status and text of the answer."""

    status: int
    text: str


TOO_SLOW = Refusal(408, "the request took too long")
LINE_TOO_LONG = Refusal(414, f"a request line has at most {LINE_BYTES_MAX} bytes")
HEAD_TOO_LARGE = Refusal(431, f"the head of a request has at most {HEAD_BYTES_MAX} bytes")
CUT_OFF = Refusal(400, "the request ended too soon")


def examined(head: bytes, health_paths: Container[str], *, is_all: bool) -> Head | Check | Refusal:
    """Return what a head is so far; `is_all`: nothing more will come.

    What cannot become a request counts as complete, so that the parser refuses it at once.
    """
    if not b"A" <= head[:1] <= b"Z":
        return Head.COMPLETE
    if len(head) > LINE_BYTES_MAX and head.find(b"\n", 0, LINE_BYTES_MAX) < 0:
        return LINE_TOO_LONG
    end = _END.search(head, 0, HEAD_BYTES_MAX)
    if end is not None:
        return _check(head[: end.end()], health_paths) or Head.COMPLETE
    if len(head) > HEAD_BYTES_MAX:
        return HEAD_TOO_LARGE
    return CUT_OFF if is_all else Head.INCOMPLETE


def _check(head: bytes, paths: Container[str]) -> Check | None:
    found = _HEALTH.match(head)
    if found is None or (path := found[2].decode()) not in paths or _MORE.search(head):
        return None
    host = _HOST.search(head)
    return Check(path, host[1].strip().decode("latin-1") if host else "", found[1] == b"HEAD", len(head))
