"""Locust's side of the socket to the load test."""

from __future__ import annotations

import os
import socket
from typing import Self

import msgspec

from exporter.loadtest.http.plan import CHANNEL, MESSAGE_BYTES, Plan, Ready, Report, Start


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

    def send(self, report: Report) -> None:
        """Send a report; raise `OSError` when the load test has ended."""
        self._messages.sendall(msgspec.json.encode(report))

    def wait_until_closed(self) -> None:
        """Wait until the load test has ended, or needs no more."""
        while self._messages.recv(MESSAGE_BYTES):
            pass

    def _receive(self) -> bytes:
        message = self._messages.recv(MESSAGE_BYTES)
        if not message:
            raise SystemExit("the load test has ended")
        return message
