"""One HTTP request with limits on the total time and size of the response: headers, chunks and body.

The library requests limits the time of each read only, so a server that sends a byte a second is never cut off, and it
unpacks bodies in memory.
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
# Compressed bodies are neither requested nor unpacked.
_PLAIN = {"Accept-Encoding": "identity"}

Auth = Callable[[requests.PreparedRequest], requests.PreparedRequest]


class ClientTls(NamedTuple):
    """Files of a client for HTTPS, and the name that the certificate of the server must have, by default its host."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None


class TooLarge(requests.RequestException):
    """The response is larger than the caller allows."""


class Answer(NamedTuple):
    """A response; a redirect is one like any other."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


def error_text(error: Exception) -> str:
    """Return why there is no response, without the names of objects that libraries put around the reason."""
    found: Any = error
    while (inner := getattr(found, "reason", None) or next(iter(getattr(found, "args", ())), None)) is not None:
        if not isinstance(inner, Exception):
            break
        found = inner
    text = str(found)
    return text.partition("): ")[2] or text if text.startswith(("HTTPConnection", "HTTPSConnection")) else text


class _Limit:
    """The remaining time and bytes of one request."""

    def __init__(self, seconds: float, size: int) -> None:
        self._deadline = time.monotonic() + seconds
        self._size = size

    def seconds(self) -> float:
        """Return the remaining seconds, or raise `TimeoutError`."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def count(self, received: int) -> None:
        """Count received bytes; raise `OSError` beyond the limit."""
        self._size -= received
        if self._size < 0:
            raise OSError

    def cause(self, error: Exception) -> requests.RequestException:
        """Return the cause of an error: urllib3 and requests wrap those of this limit in their own."""
        if self._size < 0:
            return TooLarge("the answer is too large")
        if isinstance(error, (TimeoutError, urllib3.exceptions.ReadTimeoutError)) or time.monotonic() > self._deadline:
            return requests.ReadTimeout("the answer takes too long")
        return error if isinstance(error, requests.RequestException) else requests.ConnectionError(error)


class _LimitedReader(io.RawIOBase):
    """A raw reader of a socket, within a limit."""

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
    """An adapter whose responses, those of a proxy included, share one limit."""

    def __init__(self, limit: _Limit, server_name: str | None = None) -> None:
        self._limit = limit
        self._names: dict[str, Any] = (
            {} if server_name is None else {"server_hostname": server_name, "assert_hostname": server_name}
        )
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: Any) -> None:
        """See HTTPAdapter."""
        super().init_poolmanager(connections, maxsize, block, **more, **self._names)

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
    """A session within a limit that does not process redirects: requests would unpack their bodies."""

    def __init__(self, limit: _Limit, tls: ClientTls, *, trust_env: bool) -> None:
        super().__init__()
        self.trust_env = trust_env
        self.mount("http://", _Adapter(limit))
        self.mount("https://", _Adapter(limit, tls.server_name))

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
    tls: ClientTls = ClientTls(),  # noqa: B008 - frozen
    trust_env: bool = True,
) -> Answer:
    """Return the response to one request, of at most `size` bytes, within `seconds`; redirects are not followed.

    Without `trust_env`, proxies, certificates and passwords of the environment are not used; those of `tls` are always.
    Raises `requests.RequestException`: `TooLarge`, a time-out, or the reason why there is no response.
    """
    limit = _Limit(seconds, size)
    timeout = min(CONNECT_SECONDS, seconds), seconds
    given: dict[str, Any] = {"json": json, "headers": _PLAIN | dict(headers or {}), "auth": auth, "timeout": timeout}
    if tls.ca_file is not None:
        given["verify"] = tls.ca_file
    if tls.cert_file is not None:
        given["cert"] = (tls.cert_file, tls.key_file)
    with _Session(limit, tls, trust_env=trust_env) as session:
        try:
            with session.request(method, url, allow_redirects=False, stream=True, **given) as answer:
                # In pieces: one read would allocate as many bytes as the server announces.
                body = b"".join(answer.raw.stream(_PIECE, decode_content=False))
        # urllib3 and http.client raise their own errors while a body is read; invalid host names raise ValueError.
        except (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
            cause = limit.cause(error)
            raise cause from (None if cause is error else error)
    return Answer(answer.status_code, answer.reason or "", answer.headers, body)


def system_text(error: BaseException) -> str:
    """Return the text of the system or of TLS about an error that libraries have wrapped; empty when there is none."""
    cause: BaseException | None = error
    while cause is not None:
        text = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
        if isinstance(text, str) and text:
            return text
        cause = cause.__cause__ or cause.__context__ or _within(cause)
    return ""


def _within(error: BaseException) -> BaseException | None:
    """Return the error that urllib3 has made an argument of its own."""
    return next((each for each in error.args if isinstance(each, BaseException)), None)
