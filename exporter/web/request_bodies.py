"""Bodies of requests, which the server reads only where a path takes one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from aiohttp import web

from exporter.web.protocol import Protocol

# As long as a client has for a request.
BODY_SECONDS = 10.0
CHUNK_BYTES_MAX = 64 * 1024
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def read_body(
    request: web.BaseRequest, bytes_max: int, take: Callable[[int], object] = lambda _: None, *, may_wait: bool = False
) -> bytes:
    """Return the body, or its first part if it is longer than `bytes_max`.

    `take` is called with the length of each part, and may raise. `may_wait`: the client may wait for 100 Continue, as
    curl does for a second with a large body. Raises TimeoutError.
    """
    if (request.content_length or 0) > bytes_max:
        return bytes(bytes_max + 1)
    parts, length = [], 0
    async with asyncio.timeout(BODY_SECONDS):
        with cast(Protocol, request.protocol).receiving():
            if may_wait and request.body_exists and request.headers.get("Expect", "").lower() == "100-continue":
                _send(request, CONTINUE)
            while length <= bytes_max and (part := await request.content.read(CHUNK_BYTES_MAX)):
                take(len(part))
                parts.append(part)
                length += len(part)
    return b"".join(parts)


def _send(request: web.BaseRequest, data: bytes) -> None:
    if request.transport is not None:
        request.transport.write(data)
