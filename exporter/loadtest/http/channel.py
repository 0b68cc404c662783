"""Locust's side of the socket to the load test."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Self

import msgspec

from exporter.loadtest.http.plan import CHANNEL, MESSAGE_BYTES, Done, Plan, Ready, Report, Start, Step


class Channel:
    """Messages from and to the load test; all processes of Locust share it, as each message is sent whole."""

    def __init__(self, messages: socket.socket) -> None:
        self._messages = messages

    @classmethod
    def inherited(cls) -> Self:
        """Return the channel that the load test has given to this process."""
        return cls(socket.socket(fileno=int(os.environ[CHANNEL])))

    def plan(self) -> Plan:
        """Wait for the plan, the first message."""
        return msgspec.json.decode(self._receive(), type=Plan)

    def ready(self) -> Start:
        """Report that everything is connected, wait until users may begin, and return until when."""
        self._messages.sendall(msgspec.json.encode(Ready()))
        return msgspec.json.decode(self._receive(), type=Start)

    def send(self, message: Report | Done) -> None:
        """Send a message; raise `OSError` when the load test has ended."""
        self._messages.sendall(msgspec.json.encode(message))

    def steps(self) -> Iterator[Step]:
        """Yield steps until the load test has ended, or needs no more."""
        while message := self._messages.recv(MESSAGE_BYTES):
            yield msgspec.json.decode(message, type=Step)

    def _receive(self) -> bytes:
        message = self._messages.recv(MESSAGE_BYTES)
        if not message:
            raise SystemExit("the load test has ended")
        return message
