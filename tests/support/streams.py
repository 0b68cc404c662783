"""Streams of server-sent events, as a client reads them."""

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, NamedTuple

from tests.support.waiting import eventually


class Message(NamedTuple):
    """One message of a stream."""

    event: str
    data: str
    id: str


def messages(lines: Iterable[bytes]) -> Iterator[Message]:
    """Parse messages as the standard has it; what comes before them is ignored."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().strip().partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            yield Message(fields["event"], fields["data"], fields.get("id", ""))
            fields = {}


@contextmanager
def stream(client: socket.socket, query: str = "", last_id: str = "") -> Iterator[Iterator[Message]]:
    """Request a stream, without chunks, so that its lines can be read as they are; return its messages as they come."""
    with client, client.makefile("rb") as lines:
        head = f"GET /api/v1/stream{query} HTTP/1.0\r\nHost: x\r\nLast-Event-ID: {last_id}\r\n\r\n"
        client.sendall(head.encode())
        assert lines.readline() == b"HTTP/1.0 200 OK\r\n"
        yield messages(lines)


def applied(state: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """The state after a step, as a page computes it."""
    feeds = {row[0]: row for row in state["feeds"]} | {row[0]: row for row in update.get("feeds", ())}
    kept = [row for name, row in feeds.items() if name not in update.get("removed", ())]
    others = {name: value for name, value in update.items() if name not in ("feeds", "removed", "sampled_ms")}
    return {**state, **others, "feeds": kept}


def rows(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of feeds by their names."""
    return {row[0]: dict(zip(state["columns"], row, strict=True)) for row in state["feeds"]}


class Follower:
    """A client that follows a stream with all events: `state` is that of now, `published` are its messages so far."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.published: list[dict[str, Any]] = []

    def follow(self, found: Iterable[Message]) -> None:
        """Read to the end."""
        for message in found:
            data = json.loads(message.data)
            if message.event == "published":
                self.published.append(data)
            else:
                self.state = data if message.event == "snapshot" else applied(self.state, data)


@contextmanager
def following(port: int) -> Iterator[Follower]:
    """A follower, from when it knows the whole state."""
    follower, client = Follower(), socket.create_connection(("127.0.0.1", port))
    with stream(client, "?events=all") as found:
        thread = Thread(target=follower.follow, args=[found])
        thread.start()
        try:
            eventually(lambda: follower.state)
            yield follower
        finally:
            client.shutdown(socket.SHUT_RDWR)
            thread.join()
