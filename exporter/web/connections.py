"""The connections that are answered: how many, how long, and with how much memory.

When all places are taken, the next takes that of one that is idle, else of the one that has read nothing of its answer
for longest, else of the one that has waited longest. So clients that are slow or hostile lose to those that read their
answers. Everything here belongs to the thread of the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from exporter.runtime.rate_limit import RateLimiter
from exporter.web.admission import Admission, Applicant
from exporter.web.bodies import Bodies
from exporter.web.hosts import Origins, origin
from exporter.web.limits import CONNECTIONS_MIN, ClientLimits, Eviction
from exporter.web.protocol import Protocol
from exporter.web.responses import CHUNK_BYTES, Settled
from exporter.web.sockets import give_up, unacknowledged

SWEEP_SECONDS = 0.5
# What is done at a time: requests that are looked at, or pieces of answers that are sent. It takes some milliseconds.
TURNS, TURN_PIECES = 16, 8
# Between two looks whether an answer has arrived, at first and at most.
DELIVERY_SECONDS = 0.001, 0.05
# Who has taken nothing for so long, or has waited so long, may lose its place to another: who did for longest, first.
PATIENCE_SECONDS, CROWDED_SECONDS = 1.0, 0.1
# What this costs is bounded, too: who is closed may come again at once.
EVICTIONS_BURST, EVICTIONS_PER_SECOND = 100, 100

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connection:
    """One client; `crowd` has those that do the same, in the order in which they did something last."""

    __slots__ = ("body", "crowd", "deadline", "origin", "since", "transport")

    def __init__(self, transport: asyncio.Transport, origin: str, crowd: Crowd, now: float) -> None:
        self.transport = transport
        self.origin = origin
        self.crowd = crowd
        self.since = self.deadline = now
        self.body: tuple[bytes, ...] = ()


Crowd = dict[RequestHandler, Connection]


class Connections(web.Server):
    """aiohttp's server with limits.

    `on_eviction` is called for each connection that is closed for breaking one, `on_answer` with the status of each
    answer that the handler does not give, because what was sent is no request.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: Handler,
        limits: ClientLimits,
        on_eviction: Callable[[Eviction], None],
        on_answer: Callable[[int], None],
    ) -> None:
        super().__init__(handler, handler_cancellation=True, loop=loop)
        self._limits = limits
        self._on_eviction = on_eviction
        self._on_answer = on_answer
        self._open: dict[RequestHandler, Connection] = {}
        self._idle: Crowd = {}
        self._reading: Crowd = {}
        self._waiting: Crowd = {}
        self._bodies = Bodies()
        self._event_loop = loop
        self._clock = loop.time
        self._adopting: set[asyncio.Task[object]] = set()
        self._turns = asyncio.Semaphore(TURNS)
        self._evictions = RateLimiter(EVICTIONS_BURST, EVICTIONS_PER_SECOND)
        self._is_closing = False
        self._origins = Origins()
        self.admission = Admission(
            loop,
            limits.waiting,
            self._origins,
            has_room=self._has_room,
            admit=self._adopt,
            on_eviction=lambda: on_eviction(Eviction.CONNECTIONS),
        )
        self.turned_at = self._clock()

    def __call__(self) -> RequestHandler:
        """See web.Server."""
        return Protocol(self, self._event_loop, self._limits.idle_seconds, self._is_asking, self._on_answer)

    def _is_asking(self, handler: RequestHandler) -> bool:
        return handler in self._waiting or handler in self._reading

    def _adopt(self, applicant: Applicant) -> None:
        coroutine = self._event_loop.connect_accepted_socket(self, applicant.client)
        task = self._event_loop.create_task(coroutine)
        self._adopting.add(task)
        task.add_done_callback(self._adopted)

    def _adopted(self, task: asyncio.Task[object]) -> None:
        self._adopting.discard(task)
        # The client may have gone; that is not worth a line in the log.
        task.cancelled() or task.exception()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """See web.Server."""
        # What was written has then gone to the kernel, and the next chunk waits for its reader.
        transport.set_write_buffer_limits(high=0)
        peer = transport.get_extra_info("peername")
        connection = Connection(transport, origin(peer[0] if peer else ""), self._waiting, self._clock())
        self._origins.add(connection.origin)
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
        """The request has been read; within this its answer is made and sent, and nothing more is read."""
        handler = request.protocol
        connection = self._open.get(handler)
        if connection is None:
            raise ConnectionResetError("the client has gone")
        # aiohttp stops reading as well, when requests come faster than answers; then that is its business.
        if was_reading := connection.transport.is_reading():
            connection.transport.pause_reading()
        self._move(handler, self._waiting, self._limits.reply_seconds)
        try:
            yield
        finally:
            if handler in self._open:
                self._take_body(connection, ())
                # aiohttp closes an idle connection sooner than this; this one is for what it cannot close.
                self._move(handler, self._idle, 2 * self._limits.idle_seconds)
                if was_reading and not connection.transport.is_closing():
                    connection.transport.resume_reading()

    async def turn(self) -> None:
        """Wait for a turn: so few have one at a time that the loop comes round soon, however many want one."""
        async with self._turns:
            await asyncio.sleep(0)

    async def send(self, request: web.BaseRequest, response: web.StreamResponse, answer: Settled) -> None:
        """Send an answer as fast as the client reads it, with a chunk at a time in this process."""
        handler = request.protocol
        if answer.length > CHUNK_BYTES:
            self._make_room(handler, answer.body)
        self._move(handler, self._reading)
        response.content_length = answer.length
        await response.prepare(request)
        if request.method != "HEAD":
            for number, piece in enumerate(_pieces(answer.body), 1):
                await response.write(piece)
                self._move(handler, self._reading)
                if number % TURN_PIECES == 0:
                    await self.turn()  # a fast reader is never waited for
        await response.write_eof()
        await request.writer.drain()
        await self._delivered(self._open[handler].transport)

    def relieve(self) -> None:
        """Close some that wait for their places, or have them, soon; from any thread."""
        self._event_loop.call_soon_threadsafe(self._close_some)

    def _close_some(self) -> None:
        for _ in range(CONNECTIONS_MIN):
            victim = next(iter(self._idle or self._reading or self._waiting), None)
            if not self.admission.close_one() and victim is not None:
                self._evict(victim, Eviction.CONNECTIONS)

    async def _delivered(self, transport: asyncio.Transport) -> None:
        """Wait until the client has all: what it does not take, the kernel would keep after the connection, too."""
        pause = DELIVERY_SECONDS[0]
        while not transport.is_closing() and unacknowledged(transport.get_extra_info("socket")):
            await asyncio.sleep(pause)
            pause = min(2 * pause, DELIVERY_SECONDS[1])

    async def sweep(self) -> None:
        """Close, for ever, connections that took too long."""
        while True:
            self.turned_at = now = self._clock()
            self.admission.expire(now - self._limits.reply_seconds)
            for handler in [each for each, connection in self._open.items() if connection.deadline < now]:
                self._evict(handler, Eviction.SLOW)
            await asyncio.sleep(SWEEP_SECONDS)

    def abort(self) -> None:
        """Close all connections, and those that are only just coming, without waiting for their clients."""
        self._is_closing = True
        self.admission.close()
        for connection in self._open.values():
            connection.transport.abort()

    def _move(self, handler: RequestHandler, crowd: Crowd, seconds: float | None = None) -> None:
        """Make a client the last of a crowd; with `seconds`, it has so long for what comes now."""
        if (connection := self._open.get(handler)) is None:
            raise ConnectionResetError("the client has gone")
        del connection.crowd[handler]
        connection.crowd = crowd
        crowd[handler] = connection
        connection.since = self._clock()
        if seconds is not None:
            connection.deadline = connection.since + seconds

    def _has_room(self) -> bool:
        """Whether there is a place for one more, if need be that of another."""
        if len(self._open) + len(self._adopting) < self._limits.answered:
            return True
        victim = self._victim(self._clock())
        if victim is None or self._evictions.admit("", int(self._clock() * 1000)) is None:
            return False
        self._evict(victim, Eviction.CONNECTIONS)
        return True

    def _victim(self, now: float) -> RequestHandler | None:
        """Who has no use for its place: who is idle, does not read, or has waited for too long, in this order."""
        # Readers that hold most of the places are the trouble; a few may just have had no time to read.
        reading_seconds = CROWDED_SECONDS if len(self._reading) > self._limits.answered / 2 else PATIENCE_SECONDS
        crowds = (self._idle, 0.0), (self._reading, reading_seconds), (self._waiting, PATIENCE_SECONDS)
        for crowd, seconds in crowds:
            first = next(iter(crowd), None)
            if first is not None and now - crowd[first].since >= seconds:
                return first
        return None

    def _make_room(self, handler: RequestHandler, body: tuple[bytes, ...]) -> None:
        """Close who has read nothing for longest, until the different answers on their way fit into memory."""
        self._take_body(self._open[handler], body)
        for reader in [each for each, connection in self._reading.items() if connection.body and each is not handler]:
            if self._bodies.total <= self._limits.bodies_bytes:
                return
            self._evict(reader, Eviction.MEMORY)

    def _take_body(self, connection: Connection, body: tuple[bytes, ...]) -> None:
        self._bodies.release(connection.body)
        self._bodies.hold(body)
        connection.body = body

    def _forget(self, handler: RequestHandler) -> None:
        if (connection := self._open.pop(handler, None)) is not None:
            del connection.crowd[handler]
            self._take_body(connection, ())
            self._origins.remove(connection.origin)

    def _evict(self, handler: RequestHandler, why: Eviction) -> None:
        transport = self._open[handler].transport
        self._forget(handler)
        give_up(transport.get_extra_info("socket"))
        transport.abort()
        self._on_eviction(why)


def _pieces(body: Iterable[bytes]) -> Iterator[memoryview]:
    """Yield a body in pieces of at most `CHUNK_BYTES`, without a copy."""
    for chunk in body:
        view = memoryview(chunk)
        yield from (view[start : start + CHUNK_BYTES] for start in range(0, len(chunk), CHUNK_BYTES))
