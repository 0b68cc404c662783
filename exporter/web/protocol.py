"""aiohttp's part of a connection: limits of what it reads, and responses to invalid requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from exporter.web.flows import Flow
from exporter.web.heads import LINE_BYTES_MAX, LINE_TOO_LONG
from exporter.web.responses import CompleteResponse, text_response

HEADERS_MAX = 64
FIELD_BYTES_MAX = 8190
# Drops everything: aiohttp would log invalid bytes that clients sent.
_SILENT = logging.Logger("aiohttp", logging.CRITICAL + 1)


class Protocol(RequestHandler):
    """One connection.

    `has_request` returns whether a request was received or is being received, `receiving` the context of receiving the
    body of one; `on_response` is called with the status of each response that is created here. `flow` is the one of its
    first request.
    """

    __slots__ = ("_has_request", "_on_response", "_receiving", "flow")

    def __init__(
        self,
        manager: web.Server,
        loop: asyncio.AbstractEventLoop,
        idle_seconds: float,
        *,
        has_request: Callable[[RequestHandler], bool],
        receiving: Callable[[RequestHandler], AbstractContextManager[None]],
        on_response: Callable[[int], None],
    ) -> None:
        self.flow = Flow("")
        self._has_request = has_request
        self._receiving = receiving
        self._on_response = on_response
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=idle_seconds,
            # Unwanted bodies are not waited for.
            lingering_time=0,
            access_log=None,  # type: ignore[arg-type]  # documented to switch it off
            logger=_SILENT,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=FIELD_BYTES_MAX,
            max_headers=HEADERS_MAX,
            # A small body may unpack to one that is very large, in this thread.
            auto_decompress=False,
        )

    def receiving(self) -> AbstractContextManager[None]:
        """Return the context of receiving the body of a request; nothing is read otherwise while one is handled."""
        return self._receiving(self)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it: True keeps the connection open
        """See asyncio.Protocol; a client that closes its side after a request still gets the response."""
        return self._has_request(self)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """See RequestHandler; the response repeats nothing of the request and does not name the library."""
        if request.writer.output_size > 0 or self.transport is None or self.transport.is_closing():
            raise ConnectionError("the connection is closing or a response has begun")
        refusal = _refusal(status, exc)
        self._on_response(refusal.status)
        response = web.Response(status=refusal.status, body=b"".join(refusal.body), headers=refusal.headers)
        response.force_close()
        return response


def transport_of(handler: RequestHandler) -> asyncio.Transport:
    """Return the transport of a connection; raise ConnectionResetError without one."""
    if handler.transport is None:
        raise ConnectionResetError("the client has disconnected")
    return handler.transport


def _refusal(status: int, error: BaseException | None) -> CompleteResponse:
    if status != 400:
        return text_response("internal error", status)
    if isinstance(error, LineTooLong):
        if error.args[1] == LINE_BYTES_MAX:
            return text_response(LINE_TOO_LONG.text, LINE_TOO_LONG.status)
        return text_response(f"a header is longer than {FIELD_BYTES_MAX} bytes", 431)
    if error is not None and error.args == ("Too many headers received",):
        return text_response(f"the request has more than {HEADERS_MAX} headers", 431)
    return text_response("not a valid HTTP request", 400)
