"""The active connections, with limits of their number, time and memory.

When the limit is reached, a new connection replaces another one, see `places`, so that slow or hostile clients lose
their connections to those that send their requests and read the responses. Streams, which are few, lose theirs only
when they do not read. Methods belong to the thread of the event loop unless documented otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
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
from exporter.web.protocol import Protocol, transport_of
from exporter.web.sockets import discard_unread
from exporter.web.turns import Turns

if TYPE_CHECKING:
    from exporter.web.tls import TlsSession

SWEEP_SECONDS = 0.5
# Requests that are processed before others have a turn: some milliseconds.
TURNS = 4
# Limits the cost of replacing connections: a client whose connection is closed may connect again at once. With TLS it
# needs another handshake for that. The limit is above the number of these in a second: of requests that arrive faster
# than places are freed, most stay behind newer ones.
EVICTIONS_BURST, EVICTIONS_PER_SECOND, TLS_EVICTIONS_PER_SECOND = 10, 100, 500

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connections(web.Server):
    """aiohttp's server with limits.

    `on_eviction` is called for each connection that is closed because of a limit, `on_response` with the status of each
    response to an invalid request, which the handler does not receive.
    `places` and `turns` are for `sending`, and `queue` takes connections that have sent a request.
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
        self.limits = limits
        self._on_eviction = on_eviction
        self._on_response = on_response
        self.places = Places[RequestHandler](limits.active, limits.bodies_bytes)
        self._event_loop = loop
        self._clock = loop.time
        self._attaching: set[asyncio.Task[object]] = set()
        self.turns = Turns(TURNS)
        self._evictions = RateLimiter(EVICTIONS_BURST, TLS_EVICTIONS_PER_SECOND if has_tls else EVICTIONS_PER_SECOND)
        self._is_closing = False
        self.queue = AdmissionQueue(
            loop,
            limits.waiting,
            self.places.active,
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
            self.limits.idle_seconds,
            has_request=self._has_request,
            receiving=self._receiving,
            on_response=self._on_response,
        )

    def _has_request(self, handler: RequestHandler) -> bool:
        return handler in self.places.waiting or handler in self.places.transferring

    def _attach(self, connection: QueuedConnection) -> None:
        protocol = self._protocol(connection.flow, connection.session)
        coroutine = self._event_loop.connect_accepted_socket(lambda: protocol, connection.client)
        task = self._event_loop.create_task(coroutine)
        self._attaching.add(task)
        self.places.active.add(connection.flow)
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
        self.places.active.remove(flow)  # if it is connected, it was counted once more
        # The client may have disconnected, which is not logged.
        task.cancelled() or task.exception()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """See web.Server."""
        # With 0, a write waits until all bytes are in the kernel, so that the next chunk waits for its reader.
        transport.set_write_buffer_limits(high=0)
        now = self._clock()
        self.places.add(handler, cast(Protocol, handler).flow, now, now + self.limits.request_seconds)
        super().connection_made(handler, transport)
        if self._is_closing:
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """See web.Server."""
        self.places.remove(handler)
        super().connection_lost(handler, exc)

    @contextmanager
    def serving(self, request: web.BaseRequest) -> Iterator[None]:
        """Context of computing and sending the response to a request, in which nothing more is read."""
        handler = request.protocol
        self.move(handler, self.places.waiting, self.limits.response_seconds)
        transport = transport_of(handler)
        # aiohttp pauses reading as well, when requests arrive faster than responses are sent; then it resumes it.
        if was_reading := transport.is_reading():
            transport.pause_reading()
        try:
            yield
        finally:
            if handler in self.places.taken:
                self.places.hold_body(handler, ())
                # aiohttp closes idle connections sooner; this limit is for those that it cannot close.
                place = self.move(handler, self.places.idle, 2 * self.limits.idle_seconds)
                place.served_at = place.since
                if was_reading and not transport.is_closing():
                    transport.resume_reading()

    @contextmanager
    def _receiving(self, handler: RequestHandler) -> Iterator[None]:
        """Context of receiving the body of a request, in which the server waits for its client."""
        if handler in self.places.taken:
            self.move(handler, self.places.transferring)
            transport_of(handler).resume_reading()
        try:
            yield
        finally:
            if handler in self.places.taken:
                transport_of(handler).pause_reading()
                self.move(handler, self.places.waiting)

    async def take_turn(self, request: web.BaseRequest) -> None:
        """Wait for a turn; at most `TURNS` requests have one at a time, so that passes of the event loop stay short."""
        if (place := self.places.taken.get(request.protocol)) is None:
            return await self.turns.take(0.0)
        await self.turns.take(place.served_at, self.places.active.magnitude(place.flow))

    @property
    def is_crowded(self) -> bool:
        """Whether all places are taken and further requests wait, so that no client should keep its place."""
        return len(self.places) >= self.limits.active and len(self.queue) > 0

    def close_some(self) -> None:
        """Close some queued or active connections soon; callable from any thread."""
        self._event_loop.call_soon_threadsafe(self._close_some)

    def _close_some(self) -> None:
        for _ in range(CONNECTIONS_MIN):
            candidate = self.places.least_active()
            if not self.queue.evict_one() and candidate is not None:
                self.evict(candidate, Eviction.CONNECTIONS)

    async def sweep(self) -> None:
        """Close connections that exceed their time; run until cancelled."""
        while True:
            self.turned_at = now = self._clock()
            self.queue.expire(now - self.limits.response_seconds)
            for handler in self.places.late(now):
                self.evict(handler, Eviction.SLOW)
            await asyncio.sleep(SWEEP_SECONDS)

    def abort(self) -> None:
        """Close all connections, including those being accepted, without waiting for clients."""
        self._is_closing = True
        self.queue.close()
        for handler in self.places.taken:
            transport_of(handler).abort()

    def move(
        self, handler: RequestHandler, group: Group[RequestHandler], seconds: float | None = None
    ) -> Place[RequestHandler]:
        """Make a connection the last of a group; `seconds` is its time limit there."""
        if handler not in self.places.taken:
            raise ConnectionResetError("the client has disconnected")
        return self.places.move(handler, group, self._clock(), seconds)

    def _has_room(self) -> bool:
        """Return whether one more connection can be active; close another one if necessary."""
        if len(self.places) + len(self._attaching) < self.limits.active:
            return True
        if self.turns.is_crowded:
            return False  # it would wait behind older ones; in the queue the newest comes first
        candidate = self.places.replaceable(self._clock())
        if candidate is None or self._evictions.admit("", int(self._clock() * 1000)) is None:
            return False
        self.evict(candidate, Eviction.CONNECTIONS)
        return True

    def evict(self, handler: RequestHandler, why: Eviction) -> None:
        transport = transport_of(handler)
        self.places.remove(handler)
        discard_unread(transport.get_extra_info("socket"))
        transport.abort()
        self._on_eviction(why)
