"""A TCP proxy before one real broker that knows Kafka's requests by their kind, and can do harm to each of them.

Every request begins with its length, the kind (`api key`), a version and a number that its answer repeats (Kafka
protocol guide, "Protocol Primitives"); nothing more is understood. The broker advertises the proxy's port.
"""

import asyncio
import struct
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from contextlib import closing, suppress
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from threading import Thread
from typing import Any, Self, TypeVar

T = TypeVar("T")

HEAD = struct.Struct(">ihhi")
FORGED = struct.Struct(">iiih")  # an answer to END_TXN: length, number, throttling, error
CODE = struct.Struct(">h")
LENGTH = struct.Struct(">i")
BROKERS_AT = 13  # in an answer to METADATA: after length, number, tags, and throttling


class Api(IntEnum):
    """Kinds of requests."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28
    CONSUMER_GROUP_HEARTBEAT = 68


# Where the code of an error stands in an answer, from its end, by the version of the request.
ERROR_AT: dict[Api, Callable[[int], int]] = {
    Api.OFFSET_FETCH: lambda version: -2 if version < 6 else -3 if version < 8 else -4,
    Api.END_TXN: lambda version: -2 if version < 3 else -3,
    Api.HEARTBEAT: lambda version: -2 if version < 4 else -3,
    Api.TXN_OFFSET_COMMIT: lambda version: -2 if version < 3 else -5,  # that of the last partition
}

TRANSACTIONAL = (
    Api.INIT_PRODUCER_ID,
    Api.ADD_PARTITIONS_TO_TXN,
    Api.ADD_OFFSETS_TO_TXN,
    Api.TXN_OFFSET_COMMIT,
    Api.END_TXN,
)


class Harm(Enum):
    """What is done to a request."""

    DROP_REQUEST = auto()  # the broker never sees it, the client waits
    DROP_ANSWER = auto()  # the broker has done it, the client waits
    CUT_BEFORE = auto()  # the connection ends, and the broker never sees it
    CUT_AFTER = auto()  # the broker has done it, and the connection ends before the answer
    DELAY = auto()  # it arrives `seconds` later, and so does all that comes behind it
    LATE = auto()  # the connection ends; the broker sees it `seconds` later, when the client has long sent it again
    REFUSE = auto()  # the broker has done it, and the answer says `error`; only of the kinds in ERROR_AT
    FORGET = auto()  # the answer has no brokers, and topics without leaders as they were; only METADATA from version 9
    FORGE = auto()  # the broker never sees it, and the answer says `error`; only END_TXN


@dataclass
class Rule:
    """Harm to the next `times` requests of a kind; `done` tells when."""

    api: Api
    harm: Harm
    times: int = 1
    seconds: float = 0.0
    error: int = 0
    done: list[float] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)  # when late requests arrived

    def applies(self, api: int) -> bool:
        """Whether this request is meant."""
        return api == self.api and len(self.done) < self.times


class Proxy:
    """Listens on `port` and speaks to the broker on `behind`. All methods may be called from any thread.

    On `direct` the broker asks nobody who he is: late requests come without the greetings of their connection.
    """

    def __init__(self, port: int, behind: int, direct: int) -> None:
        self.port = port
        self._direct = direct
        self.seen: Counter[int] = Counter()
        self._behind = behind
        self._rules: deque[Rule] = deque()
        self._loop = asyncio.new_event_loop()
        self._links: set[_Link] = set()
        self._flowing: asyncio.Event
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def add(self, rule: Rule) -> Rule:
        """Begin to do harm."""
        self._rules.append(rule)
        return rule

    def heal(self) -> None:
        """Forget all rules, and let everything through again."""
        self._rules.clear()
        self.resume()

    def cut(self) -> int:
        """Reset all connections; return how many there were."""
        return self._run(self._cut())

    def stall(self) -> None:
        """Take what comes, connections too, and pass nothing on."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def resume(self) -> None:
        """Pass on all that has been waiting."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def rule_for(self, api: int) -> Rule | None:
        """Take the next rule for a request of that kind."""
        for rule in list(self._rules):
            if rule.applies(api):
                rule.done.append(self._loop.time())
                return rule
        return None

    async def passing(self) -> None:
        """Wait while everything is stalled."""
        await self._flowing.wait()

    async def deliver(self, frame: bytes, rule: Rule) -> None:
        """Send one request late, by a connection of its own, and wait for the answer."""
        await asyncio.sleep(rule.seconds)
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._direct)
            with closing(writer):
                writer.write(frame)
                await _frame(reader)
            rule.delivered.append(self._loop.time())

    async def _listen(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            broker = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:
            writer.close()
            return
        link = _Link(self, (reader, writer), broker)
        self._links.add(link)
        with suppress(asyncio.CancelledError):  # at the end; the server would print it
            await link.run()
        self._links.discard(link)

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.cut()
        return len(links)

    async def _end(self) -> None:
        self._server.close()
        await self._cut()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the turn in which what was closed goes

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(10)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection of a client, and the one behind it."""

    def __init__(self, proxy: Proxy, client: Stream, broker: Stream) -> None:
        self._proxy = proxy
        self._client = client
        self._broker = broker
        self._expected: dict[int, tuple[Rule, int]] = {}  # requests to whose answers harm is to be done; versions

    async def run(self) -> None:
        """Pass frames on until one side ends."""
        pumps = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._answers())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for _, writer in (self._client, self._broker):
                writer.close()
            await asyncio.gather(*pumps, return_exceptions=True)

    def cut(self) -> None:
        """Reset both connections."""
        for _, writer in (self._client, self._broker):
            writer.transport.abort()

    async def _requests(self) -> None:
        reader, broker = self._client[0], self._broker[1]
        while True:
            frame = await _frame(reader)
            await self._proxy.passing()
            if await self._harmed(frame):
                continue
            broker.write(frame)
            await broker.drain()

    async def _harmed(self, frame: bytes) -> bool:
        """Do to a request what a rule says; return whether the broker is not to see it now."""
        _, api, version, number = HEAD.unpack_from(frame)
        self._proxy.seen[api] += 1
        rule = self._proxy.rule_for(api)
        if rule is None:
            return False
        if rule.harm in (Harm.DROP_ANSWER, Harm.CUT_AFTER, Harm.REFUSE, Harm.FORGET):
            self._expected[number] = rule, version
        elif rule.harm is Harm.DELAY:
            await asyncio.sleep(rule.seconds)
        elif rule.harm is Harm.LATE:
            self._later(frame, rule)
        elif rule.harm is Harm.FORGE:
            self._client[1].write(FORGED.pack(FORGED.size - LENGTH.size, number, 0, rule.error))
        if rule.harm in (Harm.CUT_BEFORE, Harm.LATE):
            self.cut()
        return rule.harm in (Harm.DROP_REQUEST, Harm.CUT_BEFORE, Harm.LATE, Harm.FORGE)

    def _later(self, frame: bytes, rule: Rule) -> None:
        asyncio.ensure_future(self._proxy.deliver(frame, rule))  # noqa: RUF006  the loop has it until it slept

    async def _answers(self) -> None:
        reader, client = self._broker[0], self._client[1]
        while True:
            frame = await _frame(reader)
            await self._proxy.passing()
            rule, version = self._expected.pop(LENGTH.unpack_from(frame, LENGTH.size)[0], (None, 0))
            if rule and rule.harm is Harm.CUT_AFTER:
                self.cut()
            if (answer := _answer(frame, rule, version)) is not None:
                client.write(answer)
                await client.drain()


def _answer(frame: bytes, rule: Rule | None, version: int) -> bytes | None:
    """What the client gets of an answer; None for nothing."""
    if rule is None:
        return frame
    if rule.harm is Harm.REFUSE:
        return _refused(frame, rule, version)
    return _without_brokers(frame) if rule.harm is Harm.FORGET else None


def _without_brokers(frame: bytes) -> bytes:
    """The answer to METADATA with an empty list of brokers: each has an id, a name, a port, a rack, and tags."""
    begin = BROKERS_AT
    count, at = _varint(frame, begin)
    for _ in range(count - 1):
        length, at = _varint(frame, at + 4)
        length, at = _varint(frame, at + length - 1 + 4)
        _, at = _varint(frame, at + max(0, length - 1))
    body = frame[LENGTH.size : begin] + b"\x01" + frame[at:]
    return LENGTH.pack(len(body)) + body


def _varint(frame: bytes, at: int) -> tuple[int, int]:
    """The unsigned number there, and where it ends."""
    value = shift = 0
    while frame[at] & 0x80:
        value, shift, at = value | (frame[at] & 0x7F) << shift, shift + 7, at + 1
    return value | frame[at] << shift, at + 1


def _refused(frame: bytes, rule: Rule, version: int) -> bytes:
    place = len(frame) + ERROR_AT[rule.api](version)
    return frame[:place] + CODE.pack(rule.error) + frame[place + CODE.size :]


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(LENGTH.size)
    return head + await reader.readexactly(LENGTH.unpack(head)[0])
