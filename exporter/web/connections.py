"""The active connections, with limits of their number, time and memory.

When the limit is reached, a new connection replaces another one, see `places`, so that slow or hostile clients lose
their connections to those that send their requests and read the responses. Streams, which are few, lose theirs only
when they do not read. Methods belong to the thread of the event loop unless documented otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from exporter.runtime.rate_limit import RateLimiter
from exporter.web.admission import AdmissionQueue
from exporter.web.admission_order import QueuedConnection
from exporter.web.flows import Flow
from exporter.web.limits import CONNECTIONS_MIN, ClientLimits, Eviction
from exporter.web.places import Group, Place, Places
from exporter.web.protocol import Protocol
from exporter.web.responses import CHUNK_BYTES, CompleteResponse
from exporter.web.sockets import discard_unread, unacknowledged
from exporter.web.streams import SlowReader
from exporter.web.turns import Turns

if TYPE_CHECKING:
    from exporter.web.tls import TlsSession

SWEEP_SECONDS = 0.5
# Requests that are processed, and pieces of a response that are sent, before others have a turn: some milliseconds. A
# page has a dozen turns, and waits for a whole pass of the event loop in each.
TURNS, TURN_PIECES = 4, 8
# Interval between checks whether a response was received, at first and at most.
DELIVERY_SECONDS = 0.001, 0.05
# Limits the cost of replacing connections: a client whose connection is closed may connect again at once. With TLS it
# needs another handshake for that. The limit is above the number of these in a second: of requests that arrive faster
# than places are freed, most stay behind newer ones.
EVICTIONS_BURST, EVICTIONS_PER_SECOND, TLS_EVICTIONS_PER_SECOND = 10, 100, 500

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connections(web.Server):
    """aiohttp's server with limits.

    `on_eviction` is called for each connection that is closed because of a limit, `on_response` with the status of each
    response to an invalid request, which the handler does not receive.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: Handler,
        limits: ClientLimits,
        on_eviction: Callable[[Eviction], None],
        on_response: Callable[[int], None],
        *,
        has_tls: bool = False,
    ) -> None:
        super().__init__(handler, handler_cancellation=True, loop=loop)
        self._limits = limits
        self._on_eviction = on_eviction
        self._on_response = on_response
        self._places = Places[RequestHandler](limits.active, limits.bodies_bytes)
        self._event_loop = loop
        self._clock = loop.time
        self._attaching: set[asyncio.Task[object]] = set()
        self._turns = Turns(TURNS)
        self._evictions = RateLimiter(EVICTIONS_BURST, TLS_EVICTIONS_PER_SECOND if has_tls else EVICTIONS_PER_SECOND)
        self._is_closing = False
        self.queue = AdmissionQueue(
            loop,
            limits.waiting,
            self._places.active,
            has_room=self._has_room,
            admit=self._attach,
            on_eviction=lambda: on_eviction(Eviction.CONNECTIONS),
        )
        self.turned_at = self._clock()

    def __call__(self) -> Protocol:
        """See web.Server."""
        return Protocol(
            self,
            self._event_loop,
            self._limits.idle_seconds,
            has_request=self._has_request,
            receiving=self._receiving,
            on_response=self._on_response,
        )

    def _has_request(self, handler: RequestHandler) -> bool:
        return handler in self._places.waiting or handler in self._places.transferring

    def _attach(self, connection: QueuedConnection) -> None:
        protocol = self._protocol(connection.flow, connection.session)
        coroutine = self._event_loop.connect_accepted_socket(lambda: protocol, connection.client)
        task = self._event_loop.create_task(coroutine)
        self._attaching.add(task)
        self._places.active.add(connection.flow)
        task.add_done_callback(partial(self._attached, connection.flow))

    def _protocol(self, flow: Flow, session: TlsSession | None) -> asyncio.Protocol:
        protocol = self()
        protocol.flow = flow
        if session is None:
            return protocol
        # Loaded when it is needed.
        from exporter.web.tls_transport import TlsProtocol

        return TlsProtocol(protocol, session)

    def _attached(self, flow: Flow, task: asyncio.Task[object]) -> None:
        self._attaching.discard(task)
        self._places.active.remove(flow)  # if it is connected, it was counted once more
        # The client may have disconnected, which is not logged.
        task.cancelled() or task.exception()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """See web.Server."""
        # With 0, a write waits until all bytes are in the kernel, so that the next chunk waits for its reader.
        transport.set_write_buffer_limits(high=0)
        now = self._clock()
        self._places.add(handler, cast(Protocol, handler).flow, now, now + self._limits.request_seconds)
        super().connection_made(handler, transport)
        if self._is_closing:
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """See web.Server."""
        self._places.remove(handler)
        super().connection_lost(handler, exc)

    @contextmanager
    def serving(self, request: web.BaseRequest) -> Iterator[None]:
        """Context of computing and sending the response to a request, in which nothing more is read."""
        handler = request.protocol
        self._move(handler, self._places.waiting, self._limits.response_seconds)
        transport = _transport(handler)
        # aiohttp pauses reading as well, when requests arrive faster than responses are sent; then it resumes it.
        if was_reading := transport.is_reading():
            transport.pause_reading()
        try:
            yield
        finally:
            if handler in self._places.taken:
                self._places.hold_body(handler, ())
                # aiohttp closes idle connections sooner; this limit is for those that it cannot close.
                place = self._move(handler, self._places.idle, 2 * self._limits.idle_seconds)
                place.served_at = place.since
                if was_reading and not transport.is_closing():
                    transport.resume_reading()

    @contextmanager
    def _receiving(self, handler: RequestHandler) -> Iterator[None]:
        """Context of receiving the body of a request, in which the server waits for its client."""
        if handler in self._places.taken:
            self._move(handler, self._places.transferring)
            _transport(handler).resume_reading()
        try:
            yield
        finally:
            if handler in self._places.taken:
                _transport(handler).pause_reading()
                self._move(handler, self._places.waiting)

    async def take_turn(self, request: web.BaseRequest) -> None:
        """Wait for a turn; at most `TURNS` requests have one at a time, so that passes of the event loop stay short."""
        place = self._places.taken.get(request.protocol)
        await self._turns.take(0.0 if place is None else place.served_at)

    async def _go_on(self, handler: RequestHandler, sent: int) -> None:
        """Wait for a turn to send more of a response; writing to a fast reader would never wait."""
        self._move(handler, self._places.waiting)  # meanwhile there is nothing to read
        await self._turns.go_on(sent)
        self._move(handler, self._places.transferring)

    async def send(self, request: web.BaseRequest, stream: web.StreamResponse, response: CompleteResponse) -> None:
        """Send a response as fast as the client reads it, one chunk at a time in the write buffer."""
        handler = request.protocol
        if response.length > CHUNK_BYTES:
            self._make_room(handler, response.body)
            # All that wait for one response have it at the same moment.
            await self._go_on(handler, 0)
        self._move(handler, self._places.transferring)
        stream.content_length = response.length
        await stream.prepare(request)
        if request.method != "HEAD":
            for number, piece in enumerate(_pieces(response.body), 1):
                await stream.write(piece)
                self._move(handler, self._places.transferring)
                if number % TURN_PIECES == 0:
                    await self._go_on(handler, number)
        await stream.write_eof()
        await request.writer.drain()
        await self._wait_for_delivery(_transport(handler))

    @property
    def has_room_for_stream(self) -> bool:
        """Whether one more response without an end may begin."""
        return len(self._places.streaming) < self._limits.streams

    async def stream(
        self, request: web.BaseRequest, stream: web.StreamResponse, messages: AsyncGenerator[bytes]
    ) -> None:
        """Send messages as they come, until they end or the client does not read them in time; then close."""
        stream.force_close()
        self._move(request.protocol, self._places.streaming, self._limits.response_seconds)
        await stream.prepare(request)
        if request.method != "HEAD":
            async with aclosing(messages):
                try:
                    await self._send_messages(request, stream, messages)
                except SlowReader:
                    return self._evict(request.protocol, Eviction.SLOW)
        await stream.write_eof()

    async def _send_messages(
        self, request: web.BaseRequest, stream: web.StreamResponse, messages: AsyncGenerator[bytes]
    ) -> None:
        async for message in messages:
            for piece in _pieces((message,)):
                await stream.write(piece)
                await request.writer.drain()
                self._move(request.protocol, self._places.streaming, self._limits.response_seconds)

    @property
    def is_crowded(self) -> bool:
        """Whether all places are taken and further requests wait, so that no client should keep its place."""
        return len(self._places) >= self._limits.active and len(self.queue) > 0

    def close_some(self) -> None:
        """Close some queued or active connections soon; callable from any thread."""
        self._event_loop.call_soon_threadsafe(self._close_some)

    def _close_some(self) -> None:
        for _ in range(CONNECTIONS_MIN):
            candidate = self._places.least_active()
            if not self.queue.evict_one() and candidate is not None:
                self._evict(candidate, Eviction.CONNECTIONS)

    async def _wait_for_delivery(self, transport: asyncio.Transport) -> None:
        """Wait until the client has received all; the kernel would keep unread bytes even after the connection."""
        pause = DELIVERY_SECONDS[0]
        while not transport.is_closing() and unacknowledged(transport.get_extra_info("socket")):
            await asyncio.sleep(pause)
            pause = min(2 * pause, DELIVERY_SECONDS[1])

    async def sweep(self) -> None:
        """Close connections that exceed their time; run until cancelled."""
        while True:
            self.turned_at = now = self._clock()
            self.queue.expire(now - self._limits.response_seconds)
            for handler in self._places.late(now):
                self._evict(handler, Eviction.SLOW)
            await asyncio.sleep(SWEEP_SECONDS)

    def abort(self) -> None:
        """Close all connections, including those being accepted, without waiting for clients."""
        self._is_closing = True
        self.queue.close()
        for handler in self._places.taken:
            _transport(handler).abort()

    def _move(
        self, handler: RequestHandler, group: Group[RequestHandler], seconds: float | None = None
    ) -> Place[RequestHandler]:
        """Make a connection the last of a group; `seconds` is its time limit there."""
        if handler not in self._places.taken:
            raise ConnectionResetError("the client has disconnected")
        return self._places.move(handler, group, self._clock(), seconds)

    def _has_room(self) -> bool:
        """Return whether one more connection can be active; close another one if necessary."""
        if len(self._places) + len(self._attaching) < self._limits.active:
            return True
        if self._turns.is_crowded:
            return False  # it would wait behind older ones; in the queue the newest comes first
        candidate = self._places.replaceable(self._clock())
        if candidate is None or self._evictions.admit("", int(self._clock() * 1000)) is None:
            return False
        self._evict(candidate, Eviction.CONNECTIONS)
        return True

    def _make_room(self, handler: RequestHandler, body: tuple[bytes, ...]) -> None:
        """Close the connections that have read nothing for longest, until the bodies being sent fit into the limit."""
        self._places.hold_body(handler, body)
        for reader in self._places.unread(handler):
            self._evict(reader, Eviction.MEMORY)

    def _evict(self, handler: RequestHandler, why: Eviction) -> None:
        transport = _transport(handler)
        self._places.remove(handler)
        discard_unread(transport.get_extra_info("socket"))
        transport.abort()
        self._on_eviction(why)


def _transport(handler: RequestHandler) -> asyncio.Transport:
    """Return the transport of a connection; raise ConnectionResetError without one."""
    if handler.transport is None:
        raise ConnectionResetError("the client has disconnected")
    return handler.transport


def _pieces(body: Iterable[bytes]) -> Iterator[memoryview]:
    """Yield a body in pieces of at most `CHUNK_BYTES`, without a copy."""
    for chunk in body:
        view = memoryview(chunk)
        yield from (view[start : start + CHUNK_BYTES] for start in range(0, len(chunk), CHUNK_BYTES))
