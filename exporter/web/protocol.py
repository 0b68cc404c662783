"""aiohttp's side of a connection: what it may read, and answers of our own to what is no request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from exporter.web.heads import LINE_BYTES_MAX
from exporter.web.responses import Settled, short

HEADERS_MAX = 64
FIELD_BYTES_MAX = 8190
# Says nothing: what aiohttp would log is garbage that clients sent.
_SILENT = logging.Logger("aiohttp", logging.CRITICAL + 1)


class Protocol(RequestHandler):
    """One connection.

    `is_asking` tells whether a request has come or is on its way; `on_answer` is called with the status of each answer
    that is given here.
    """

    __slots__ = ("_is_asking", "_on_answer")

    def __init__(
        self,
        manager: web.Server,
        loop: asyncio.AbstractEventLoop,
        idle_seconds: float,
        is_asking: Callable[[RequestHandler], bool],
        on_answer: Callable[[int], None],
    ) -> None:
        self._is_asking = is_asking
        self._on_answer = on_answer
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=idle_seconds,
            # A body that nobody asked for is not waited for.
            lingering_time=0,
            access_log=None,  # type: ignore[arg-type]  # its documents say that this switches it off
            logger=_SILENT,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=FIELD_BYTES_MAX,
            max_headers=HEADERS_MAX,
        )

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it: True keeps the connection open
        """See asyncio.Protocol: who has asked and will say no more gets its answer."""
        return self._is_asking(self)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """See RequestHandler: nothing of what was sent comes back, and nothing about what reads it."""
        if request.writer.output_size > 0 or self.transport is None or self.transport.is_closing():
            raise ConnectionError("it is too late for another answer")
        answer = _refusal(status, exc)
        self._on_answer(answer.status)
        response = web.Response(status=answer.status, body=b"".join(answer.body), headers=answer.headers)
        response.force_close()
        return response


def _refusal(status: int, error: BaseException | None) -> Settled:
    if status != 400:
        return short("internal error", status)
    if isinstance(error, LineTooLong):
        is_request_line = error.args[1] == LINE_BYTES_MAX
        return short("the request line is too long", 414) if is_request_line else short("a header is too long", 431)
    if error is not None and error.args == ("Too many headers received",):
        return short(f"a request has at most {HEADERS_MAX} headers", 431)
    return short("not a valid HTTP request", 400)
