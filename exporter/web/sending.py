"""Sending of responses over active connections, as fast as their clients read, and in turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from exporter.web.connections import Connections
from exporter.web.limits import Eviction
from exporter.web.protocol import transport_of
from exporter.web.responses import CHUNK_BYTES, CompleteResponse
from exporter.web.sockets import unacknowledged
from exporter.web.streams import SlowReader

# Pieces of a response that are sent before others have a turn: some milliseconds. A page has a dozen turns, and waits
# for a whole pass of the event loop in each.
TURN_PIECES = 8
# Interval between checks whether a response was received, at first and at most.
DELIVERY_SECONDS = 0.001, 0.05


class Sender:
    """Sends responses; all methods belong to the thread of the event loop."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._places = connections.places
        self._limits = connections.limits

    async def send(self, request: web.BaseRequest, stream: web.StreamResponse, response: CompleteResponse) -> None:
        """Send a response as fast as the client reads it, one chunk at a time in the write buffer."""
        handler = request.protocol
        if response.length > CHUNK_BYTES:
            self._make_room(handler, response.body)
            # All that wait for one response have it at the same moment.
            await self._go_on(handler, 0)
        self._connections.move(handler, self._places.transferring)
        stream.content_length = response.length
        await stream.prepare(request)
        if request.method != "HEAD":
            for number, piece in enumerate(_pieces(response.body), 1):
                await stream.write(piece)
                self._connections.move(handler, self._places.transferring)
                if number % TURN_PIECES == 0:
                    await self._go_on(handler, number)
        await stream.write_eof()
        await request.writer.drain()
        await self._wait_for_delivery(transport_of(handler))

    async def _go_on(self, handler: RequestHandler, sent: int) -> None:
        """Wait for a turn to send more of a response; writing to a fast reader would never wait."""
        self._connections.move(handler, self._places.waiting)  # meanwhile there is nothing to read
        await self._connections.turns.go_on(sent)
        self._connections.move(handler, self._places.transferring)

    @property
    def has_room_for_stream(self) -> bool:
        """Whether one more response without an end may begin."""
        return len(self._places.streaming) < self._limits.streams

    async def stream(
        self, request: web.BaseRequest, stream: web.StreamResponse, messages: AsyncGenerator[bytes]
    ) -> None:
        """Send messages as they come, until they end or the client does not read them in time; then close."""
        stream.force_close()
        self._connections.move(request.protocol, self._places.streaming, self._limits.response_seconds)
        await stream.prepare(request)
        if request.method != "HEAD":
            async with aclosing(messages):
                try:
                    await self._send_messages(request, stream, messages)
                except SlowReader:
                    return self._connections.evict(request.protocol, Eviction.SLOW)
        await stream.write_eof()

    async def _send_messages(
        self, request: web.BaseRequest, stream: web.StreamResponse, messages: AsyncGenerator[bytes]
    ) -> None:
        async for message in messages:
            for piece in _pieces((message,)):
                await stream.write(piece)
                await request.writer.drain()
                self._connections.move(request.protocol, self._places.streaming, self._limits.response_seconds)

    async def _wait_for_delivery(self, transport: asyncio.Transport) -> None:
        """Wait until the client has received all; the kernel would keep unread bytes even after the connection."""
        pause = DELIVERY_SECONDS[0]
        while not transport.is_closing() and unacknowledged(transport.get_extra_info("socket")):
            await asyncio.sleep(pause)
            pause = min(2 * pause, DELIVERY_SECONDS[1])

    def _make_room(self, handler: RequestHandler, body: tuple[bytes, ...]) -> None:
        """Close the connections that have read nothing for longest, until the bodies being sent fit into the limit."""
        self._places.hold_body(handler, body)
        for reader in self._places.unread(handler):
            self._connections.evict(reader, Eviction.MEMORY)


def _pieces(body: Iterable[bytes]) -> Iterator[memoryview]:
    """Yield a body in pieces of at most `CHUNK_BYTES`, without a copy."""
    for chunk in body:
        view = memoryview(chunk)
        yield from (view[start : start + CHUNK_BYTES] for start in range(0, len(chunk), CHUNK_BYTES))
