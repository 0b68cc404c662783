"""The active connections, with limits of their number, time and memory.

When the limit is reached, a new connection replaces an idle one, else one of the network with the most connections: the
one that has read nothing of its response for longest, else the one that has waited longest. So slow or hostile clients
lose their connections to those that read their responses. Streams, which are few, lose theirs only when they do not
read. Methods belong to the thread of the event loop unless documented otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from exporter.runtime.rate_limit import RateLimiter
from exporter.web.admission import AdmissionQueue, QueuedConnection
from exporter.web.bodies import BodyMemory
from exporter.web.hosts import NetworkCounts, network_of
from exporter.web.limits import CONNECTIONS_MIN, ClientLimits, Eviction
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
# A connection that has read nothing, or waited, for so long may be replaced; the oldest first.
UNREAD_SECONDS, CROWDED_SECONDS = 1.0, 0.1
# Limits the cost of replacing connections: a client whose connection is closed may connect again at once. With TLS it
# needs another handshake for that. The limit is above the number of these in a second: requests that arrive faster than
# places are freed stay behind newer ones.
EVICTIONS_BURST, EVICTIONS_PER_SECOND, TLS_EVICTIONS_PER_SECOND = 10, 100, 500

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connection:
    """One connection; `group` holds the connections in the same state, ordered by their last activity."""

    __slots__ = ("body", "deadline", "group", "network", "served_at", "since", "transport")

    def __init__(self, transport: asyncio.Transport, network: str, group: Group, now: float) -> None:
        self.transport = transport
        self.network = network
        self.group = group
        self.since = self.deadline = now
        self.served_at = 0.0
        self.body: tuple[bytes, ...] = ()


Group = dict[RequestHandler, Connection]


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
        self._open: dict[RequestHandler, Connection] = {}
        self._idle: Group = {}
        self._reading: Group = {}
        self._waiting: Group = {}
        self._streaming: Group = {}
        self._bodies = BodyMemory()
        self._event_loop = loop
        self._clock = loop.time
        self._attaching: set[asyncio.Task[object]] = set()
        self._turns = Turns(TURNS)
        self._evictions = RateLimiter(EVICTIONS_BURST, TLS_EVICTIONS_PER_SECOND if has_tls else EVICTIONS_PER_SECOND)
        self._is_closing = False
        self._networks = NetworkCounts()
        self.queue = AdmissionQueue(
            loop,
            limits.waiting,
            self._networks,
            has_room=self._has_room,
            admit=self._attach,
            on_eviction=lambda: on_eviction(Eviction.CONNECTIONS),
        )
        self.turned_at = self._clock()

    def __call__(self) -> RequestHandler:
        """See web.Server."""
        return Protocol(self, self._event_loop, self._limits.idle_seconds, self._has_request, self._on_response)

    def _has_request(self, handler: RequestHandler) -> bool:
        return handler in self._waiting or handler in self._reading

    def _attach(self, connection: QueuedConnection) -> None:
        session = connection.session
        factory = self if session is None else self._encrypted(session)
        coroutine = self._event_loop.connect_accepted_socket(factory, connection.client)
        task = self._event_loop.create_task(coroutine)
        self._attaching.add(task)
        self._networks.add(connection.network)
        task.add_done_callback(partial(self._attached, connection.network))

    def _encrypted(self, session: TlsSession) -> Callable[[], asyncio.Protocol]:
        # Loaded when it is needed.
        from exporter.web.tls_transport import TlsProtocol

        return lambda: TlsProtocol(self(), session)

    def _attached(self, network: str, task: asyncio.Task[object]) -> None:
        self._attaching.discard(task)
        self._networks.remove(network)  # if it is connected, it was counted once more
        # The client may have disconnected, which is not logged.
        task.cancelled() or task.exception()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """See web.Server."""
        # With 0, a write waits until all bytes are in the kernel, so that the next chunk waits for its reader.
        transport.set_write_buffer_limits(high=0)
        peer = transport.get_extra_info("peername")
        connection = Connection(transport, network_of(peer[0] if peer else ""), self._waiting, self._clock())
        self._networks.add(connection.network)
        connection.deadline = connection.since + self._limits.request_seconds
        self._open[handler] = self._waiting[handler] = connection
        super().connection_made(handler, transport)
        if self._is_closing:
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """See web.Server."""
        self._forget(handler)
        super().connection_lost(handler, exc)

    @contextmanager
    def serving(self, request: web.BaseRequest) -> Iterator[None]:
        """Context of computing and sending the response to a request, in which nothing more is read."""
        handler = request.protocol
        connection = self._open.get(handler)
        if connection is None:
            raise ConnectionResetError("the client has disconnected")
        # aiohttp pauses reading as well, when requests arrive faster than responses are sent; then it resumes it.
        if was_reading := connection.transport.is_reading():
            connection.transport.pause_reading()
        self._move(handler, self._waiting, self._limits.response_seconds)
        try:
            yield
        finally:
            if handler in self._open:
                self._hold_body(connection, ())
                # aiohttp closes idle connections sooner; this limit is for those that it cannot close.
                self._move(handler, self._idle, 2 * self._limits.idle_seconds)
                connection.served_at = connection.since
                if was_reading and not connection.transport.is_closing():
                    connection.transport.resume_reading()

    async def take_turn(self, request: web.BaseRequest) -> None:
        """Wait for a turn; at most `TURNS` requests have one at a time, so that passes of the event loop stay short."""
        connection = self._open.get(request.protocol)
        await self._turns.take(0.0 if connection is None else connection.served_at)

    async def _go_on(self, handler: RequestHandler, sent: int) -> None:
        """Wait for a turn to send more of a response; writing to a fast reader would never wait."""
        self._move(handler, self._waiting)  # meanwhile there is nothing to read
        await self._turns.go_on(sent)
        self._move(handler, self._reading)

    async def send(self, request: web.BaseRequest, stream: web.StreamResponse, response: CompleteResponse) -> None:
        """Send a response as fast as the client reads it, one chunk at a time in the write buffer."""
        handler = request.protocol
        if response.length > CHUNK_BYTES:
            self._make_room(handler, response.body)
            # All that wait for one response have it at the same moment.
            await self._go_on(handler, 0)
        self._move(handler, self._reading)
        stream.content_length = response.length
        await stream.prepare(request)
        if request.method != "HEAD":
            for number, piece in enumerate(_pieces(response.body), 1):
                await stream.write(piece)
                self._move(handler, self._reading)
                if number % TURN_PIECES == 0:
                    await self._go_on(handler, number)
        await stream.write_eof()
        await request.writer.drain()
        await self._wait_for_delivery(self._open[handler].transport)

    @property
    def has_room_for_stream(self) -> bool:
        """Whether one more response without an end may begin."""
        return len(self._streaming) < self._limits.streams

    async def stream(
        self, request: web.BaseRequest, stream: web.StreamResponse, messages: AsyncGenerator[bytes]
    ) -> None:
        """Send messages as they come, until they end or the client does not read them in time; then close."""
        stream.force_close()
        self._move(request.protocol, self._streaming, self._limits.response_seconds)
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
                self._move(request.protocol, self._streaming, self._limits.response_seconds)

    @property
    def is_crowded(self) -> bool:
        """Whether all places are taken and further requests wait, so that no client should keep its place."""
        return len(self._open) >= self._limits.active and len(self.queue) > 0

    def close_some(self) -> None:
        """Close some queued or active connections soon; callable from any thread."""
        self._event_loop.call_soon_threadsafe(self._close_some)

    def _close_some(self) -> None:
        for _ in range(CONNECTIONS_MIN):
            candidate = next(iter(self._idle or self._reading or self._waiting or self._streaming), None)
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
            for handler in [each for each, connection in self._open.items() if connection.deadline < now]:
                self._evict(handler, Eviction.SLOW)
            await asyncio.sleep(SWEEP_SECONDS)

    def abort(self) -> None:
        """Close all connections, including those being accepted, without waiting for clients."""
        self._is_closing = True
        self.queue.close()
        for connection in self._open.values():
            connection.transport.abort()

    def _move(self, handler: RequestHandler, group: Group, seconds: float | None = None) -> None:
        """Make a connection the last of a group; `seconds` is its time limit there."""
        if (connection := self._open.get(handler)) is None:
            raise ConnectionResetError("the client has disconnected")
        del connection.group[handler]
        connection.group = group
        group[handler] = connection
        connection.since = self._clock()
        if seconds is not None:
            connection.deadline = connection.since + seconds

    def _has_room(self) -> bool:
        """Return whether one more connection can be active; close another one if necessary."""
        if len(self._open) + len(self._attaching) < self._limits.active:
            return True
        if self._turns.is_crowded:
            return False  # it would wait behind older ones; in the queue the newest comes first
        candidate = self._candidate(self._clock())
        if candidate is None or self._evictions.admit("", int(self._clock() * 1000)) is None:
            return False
        self._evict(candidate, Eviction.CONNECTIONS)
        return True

    def _candidate(self, now: float) -> RequestHandler | None:
        """Return a connection to close: one that is idle, does not read, or has waited too long, in this order."""
        # Slow readers are closed sooner when they hold most of the places; a few may just have had no time to read.
        reading_seconds = CROWDED_SECONDS if len(self._reading) > self._limits.active / 2 else UNREAD_SECONDS
        if self._idle:
            return next(iter(self._idle))
        crowded = self._networks.crowded()
        for group, seconds in ((self._reading, reading_seconds), (self._waiting, UNREAD_SECONDS)):
            first = next((each for each, connection in group.items() if connection.network in crowded), None)
            if first is not None and now - group[first].since >= seconds:
                return first
        return None

    def _make_room(self, handler: RequestHandler, body: tuple[bytes, ...]) -> None:
        """Close the connections that have read nothing for longest, until the bodies being sent fit into the limit."""
        self._hold_body(self._open[handler], body)
        for reader in [each for each, connection in self._reading.items() if connection.body and each is not handler]:
            if self._bodies.total_bytes <= self._limits.bodies_bytes:
                return
            self._evict(reader, Eviction.MEMORY)

    def _hold_body(self, connection: Connection, body: tuple[bytes, ...]) -> None:
        self._bodies.release(connection.body)
        self._bodies.hold(body)
        connection.body = body

    def _forget(self, handler: RequestHandler) -> None:
        if (connection := self._open.pop(handler, None)) is not None:
            del connection.group[handler]
            self._hold_body(connection, ())
            self._networks.remove(connection.network)

    def _evict(self, handler: RequestHandler, why: Eviction) -> None:
        transport = self._open[handler].transport
        self._forget(handler)
        discard_unread(transport.get_extra_info("socket"))
        transport.abort()
        self._on_eviction(why)


def _pieces(body: Iterable[bytes]) -> Iterator[memoryview]:
    """Yield a body in pieces of at most `CHUNK_BYTES`, without a copy."""
    for chunk in body:
        view = memoryview(chunk)
        yield from (view[start : start + CHUNK_BYTES] for start in range(0, len(chunk), CHUNK_BYTES))
