"""One HTTP request, with limits on the time and the size of everything that a server sends: headers, chunks and body.

The time-outs of requests hold for one read each, so a byte a second lasts for ever, and bodies are unpacked in memory.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any, NamedTuple

import requests
import urllib3
from requests.adapters import HTTPAdapter

CONNECT_SECONDS = 2.0
_PIECE = 65536
# Packed bodies are neither asked for nor unpacked.
_PLAIN = {"Accept-Encoding": "identity"}

Auth = Callable[[requests.PreparedRequest], requests.PreparedRequest]


class TooLarge(requests.RequestException):
    """An answer is larger than the caller takes."""


class Answer(NamedTuple):
    """What a server answered; a redirect is an answer like any other."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class _Limit:
    """What is left of the time and the bytes of one request."""

    def __init__(self, seconds: float, size: int) -> None:
        self._deadline = time.monotonic() + seconds
        self._size = size

    def seconds(self) -> float:
        """Return the seconds that are left, or raise `TimeoutError`."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def count(self, received: int) -> None:
        """Count bytes; raise `OSError` when they are too many."""
        self._size -= received
        if self._size < 0:
            raise OSError

    def meant(self, error: Exception) -> requests.RequestException:
        """Return what an error means: the libraries between wrap those of this limit in their own."""
        if self._size < 0:
            return TooLarge("the answer is too large")
        if isinstance(error, (TimeoutError, urllib3.exceptions.ReadTimeoutError)) or time.monotonic() > self._deadline:
            return requests.ReadTimeout("the answer takes too long")
        return error if isinstance(error, requests.RequestException) else requests.ConnectionError(error)


class _LimitedReader(io.RawIOBase):
    """The bytes that a socket receives, within a limit."""

    def __init__(self, sock: Any, limit: _Limit) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", 0)
        self._limit = limit

    def readable(self) -> bool:
        """See RawIOBase."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """See RawIOBase."""
        self._sock.settimeout(self._limit.seconds())
        received: int | None = self._raw.readinto(buffer)
        self._limit.count(received or 0)
        return received

    def close(self) -> None:
        """See RawIOBase."""
        self._raw.close()
        super().close()


class _Adapter(HTTPAdapter):
    """Makes connections whose answers, those of a proxy included, keep to one limit."""

    def __init__(self, limit: _Limit) -> None:
        self._limit = limit
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **more: Any) -> Any:
        """See HTTPAdapter."""
        pool: Any = super().get_connection_with_tls_context(*args, **more)
        made: Any = pool.ConnectionCls
        limit = self._limit

        class Response(HTTPResponse):
            def __init__(self, sock: Any, *args: Any, **more: Any) -> None:
                super().__init__(sock, *args, **more)
                self.fp.close()
                self.fp = io.BufferedReader(_LimitedReader(sock, limit))

        pool.ConnectionCls = type(made.__name__, (made,), {"response_class": Response})
        return pool


class _Session(requests.Session):
    """A session that leaves redirects alone: requests would unpack their bodies."""

    def get_redirect_target(self, resp: Any) -> None:
        """Return no target."""


def fetch(
    method: str,
    url: str,
    *,
    seconds: float,
    size: int,
    headers: Mapping[str, str] | None = None,
    json: object = None,
    auth: Auth | None = None,
    trust_env: bool = True,
) -> Answer:
    """Return a server's answer to one request, of at most `size` bytes, within `seconds`; redirects are not followed.

    Without `trust_env`, proxies, certificates and passwords of the environment are not used.
    Raises `requests.RequestException`: `TooLarge`, a time-out, or why there is no answer.
    """
    limit = _Limit(seconds, size)
    with _Session() as session:
        session.trust_env = trust_env
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(limit))
        try:
            answer = session.request(
                method,
                url,
                json=json,
                headers=_PLAIN | dict(headers or {}),
                auth=auth,
                timeout=(min(CONNECT_SECONDS, seconds), seconds),
                allow_redirects=False,
                stream=True,
            )
            with answer:
                # In pieces, or room would be made for as many bytes as are announced.
                body = b"".join(answer.raw.stream(_PIECE, decode_content=False))
        # urllib3 and http.client raise theirs while a body is read; host names that are none raise others.
        except (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
            meant = limit.meant(error)
            raise meant from (None if meant is error else error)
    return Answer(answer.status_code, answer.reason or "", answer.headers, body)
