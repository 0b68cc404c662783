"""Connections whose calls never wait and keep the interpreter do what Python's own do."""

from __future__ import annotations

import resource
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import repeat

import pytest

from exporter.web.prompt_sockets import PromptSocket, accept, accept_some, ready, unwatch, watch
from tests.support.waiting import eventually

FOREVER_SECONDS = 100.0


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listener on a free port of IPv4."""
    with socket.create_server(("127.0.0.1", 0)) as created:
        created.setblocking(False)
        yield created


@pytest.fixture
def ends(listener: socket.socket) -> Iterator[tuple[PromptSocket, socket.socket]]:
    """An accepted connection, and its client."""
    with socket.create_connection(listener.getsockname()) as client:
        client.settimeout(10)
        accepted, _ = accept(listener)
        with accepted:
            yield accepted, client


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.7"), (socket.AF_INET6, "::1")])
def test_a_connection_comes_with_the_address_of_its_client(family: socket.AddressFamily, host: str) -> None:
    at = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((at, 0), family=family) as listening, socket.socket(family) as client:
        listening.setblocking(False)
        client.bind((host, 0))
        client.connect(listening.getsockname())
        accepted, address = accept(listening)
        with accepted:
            assert (address, accepted.getpeername()) == (host, client.getsockname())
            assert not accepted.get_inheritable()


def test_an_ipv4_client_of_a_listener_for_both_has_its_mapped_address() -> None:
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening:
        listening.setblocking(False)
        with socket.create_connection(("127.0.0.1", listening.getsockname()[1])):
            accepted, address = accept(listening)
            accepted.close()
            assert address == "::ffff:127.0.0.1"


def test_without_a_client_there_is_nothing_to_accept(listener: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        accept(listener)


def test_all_that_have_arrived_are_accepted_up_to_a_limit(listener: socket.socket) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(5)]
        accepted = [stack.enter_context(connection) for connection, _ in accept_some(listener, 3)]
        assert len(accepted) == 3
        accepted += [stack.enter_context(connection) for connection, _ in accept_some(listener, 3)]
        assert [each.getpeername() for each in accepted] == [each.getsockname() for each in clients]


def test_what_cannot_be_accepted_for_lack_of_descriptors_is_an_error(
    request: pytest.FixtureRequest, listener: socket.socket
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    request.addfinalizer(partial(resource.setrlimit, resource.RLIMIT_NOFILE, limits))
    with socket.create_connection(listener.getsockname()) as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno(), limits[1]))
        with pytest.raises(OSError, match="Too many open files"):
            list(accept_some(listener, 3))
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for connection, _ in accept_some(listener, 3):
            with connection:
                assert connection.getpeername() == client.getsockname()


def test_bytes_arrive_unchanged_in_both_directions(ends: tuple[PromptSocket, socket.socket]) -> None:
    ours, client = ends
    sent = bytes(range(256)) * 16
    for data in (sent, bytearray(sent), memoryview(sent)):
        assert ours.send(data) == len(sent)
        assert client.recv(len(sent), socket.MSG_WAITALL) == sent
    client.sendall(sent)
    client.shutdown(socket.SHUT_WR)
    assert ours.recv(100, socket.MSG_PEEK) == sent[:100]
    received = b""
    while part := ours.recv(1000):
        received += part
    assert received == sent


def test_no_call_waits(ends: tuple[PromptSocket, socket.socket]) -> None:
    """Also after it was told to, as asyncio may."""
    ours, _ = ends
    ours.setblocking(True)
    with pytest.raises(BlockingIOError):
        ours.recv(1)
    with pytest.raises(BlockingIOError):
        deque(map(ours.send, repeat(bytes(1 << 20))), 0)


def test_the_client_sees_the_end_and_a_closed_connection_cannot_be_used(
    ends: tuple[PromptSocket, socket.socket],
) -> None:
    ours, client = ends
    ours.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    ours.close()
    ours.close()
    assert ours.fileno() == -1
    for use in (lambda: ours.recv(1), lambda: ours.send(b"x"), lambda: ours.shutdown(socket.SHUT_RD)):
        with pytest.raises(OSError, match="Bad file descriptor"):
            use()


def test_a_client_that_has_gone_is_an_error(ends: tuple[PromptSocket, socket.socket]) -> None:
    ours, client = ends
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    with pytest.raises(ConnectionResetError):
        ours.recv(1)
    with pytest.raises(BrokenPipeError):
        ours.send(b"x")


def test_a_watched_connection_has_events_until_it_is_watched_no_more(
    ends: tuple[PromptSocket, socket.socket],
) -> None:
    """By the descriptor and the kinds of events that were given, edges included."""
    ours, client = ends
    with select.epoll() as epoll:
        watch(epoll, ours, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        assert epoll.poll(0) == []
        assert ready(epoll) == {}
        client.sendall(b"x")
        assert epoll.poll(10) == [(ours.fileno(), select.EPOLLIN)]
        assert epoll.poll(0) == []
        client.close()
        assert epoll.poll(10) == [(ours.fileno(), select.EPOLLIN | select.EPOLLRDHUP)]
        with pytest.raises(FileExistsError):
            watch(epoll, ours, select.EPOLLIN)
        unwatch(epoll, ours)
        with pytest.raises(FileNotFoundError):
            unwatch(epoll, ours)
        assert epoll.poll(0) == []


def test_what_is_ready_are_the_events_of_all_watched_connections_up_to_a_limit() -> None:
    with ExitStack() as stack:
        epoll = stack.enter_context(select.epoll())
        pairs = [[stack.enter_context(end) for end in socket.socketpair()] for _ in range(3)]
        for ours, _ in pairs:
            watch(epoll, ours, select.EPOLLIN | select.EPOLLRDHUP)
        for _, theirs in pairs[:2]:
            theirs.sendall(b"x")
        pairs[1][1].shutdown(socket.SHUT_WR)
        first, second = (ours.fileno() for ours, _ in pairs[:2])
        assert ready(epoll) == {first: select.EPOLLIN, second: select.EPOLLIN | select.EPOLLRDHUP}
        assert len(ready(epoll, 1)) == 1


def test_calls_keep_the_interpreter(request: pytest.FixtureRequest, ends: tuple[PromptSocket, socket.socket]) -> None:
    """No other thread runs while they are made, when no thread is ever made to pause."""
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(FOREVER_SECONDS)
    ours, client = ends
    client.sendall(b"x")
    turns, has_ended = [0], threading.Event()

    def go_on() -> None:
        while not has_ended.is_set():
            turns[0] += 1
            time.sleep(0)  # gives the interpreter up

    other = threading.Thread(target=go_on)
    other.start()
    eventually(lambda: turns[0] > 0)
    before = turns[0]
    for _ in range(100):
        ours.send(b"x")
        ours.recv(1, socket.MSG_PEEK)
    after = turns[0]
    has_ended.set()
    other.join()
    assert after == before
