"""TLS between a transport of asyncio and a protocol, for a session whose handshake is complete.

asyncio can only make a handshake itself, which would take a place among the active connections until it ends.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any

from exporter.web.tls import TlsSession

Buffer = bytes | bytearray | memoryview


class TlsTransport(asyncio.Transport):
    """The transport of the inner protocol: encrypts what it writes; everything else is that of the outer transport."""

    def __init__(self, outer: asyncio.Transport, session: TlsSession) -> None:
        super().__init__()
        self._outer = outer
        self._session = session

    def write(self, data: Buffer) -> None:
        """See WriteTransport."""
        if self._outer.is_closing():
            return
        try:
            self._session.encrypt(data)
        except ssl.SSLError:  # the session has ended
            self._outer.abort()
        else:
            self._outer.write(self._session.to_send())

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        """See WriteTransport."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """See BaseTransport; the client learns from TLS that nothing was cut off."""
        if not self._outer.is_closing():
            self._session.end()
            self._outer.write(self._session.to_send())
            self._outer.close()

    def abort(self) -> None:
        """See WriteTransport."""
        self._outer.abort()

    def is_closing(self) -> bool:
        """See BaseTransport."""
        return self._outer.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See BaseTransport."""
        return self._outer.get_extra_info(name, default)

    def is_reading(self) -> bool:
        """See ReadTransport."""
        return self._outer.is_reading()

    def pause_reading(self) -> None:
        """See ReadTransport."""
        self._outer.pause_reading()

    def resume_reading(self) -> None:
        """See ReadTransport."""
        self._outer.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See WriteTransport."""
        self._outer.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """See WriteTransport."""
        return self._outer.get_write_buffer_size()

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See BaseTransport."""
        return self._outer.get_protocol()


class TlsProtocol(asyncio.Protocol):
    """The protocol of the outer transport: decrypts for `inner`, and begins with what the session has received."""

    def __init__(self, inner: asyncio.Protocol, session: TlsSession) -> None:
        self._inner = inner
        self._session = session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See BaseProtocol."""
        self._outer: asyncio.Transport = transport  # type: ignore[assignment]  # that of a socket can read and write
        self._inner.connection_made(TlsTransport(self._outer, self._session))
        self._deliver()

    def data_received(self, data: bytes) -> None:
        """See Protocol."""
        try:
            self._session.feed(data)
        except ssl.SSLError:
            self._outer.abort()
            return
        if reply := self._session.to_send():
            self._outer.write(reply)
        self._deliver()

    def _deliver(self) -> None:
        if data := self._session.take():
            self._inner.data_received(data)
        if self._session.has_ended and not self.eof_received():
            self._outer.close()

    def eof_received(self) -> bool:
        """See Protocol."""
        return bool(self._inner.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        """See BaseProtocol."""
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """See BaseProtocol."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See BaseProtocol."""
        self._inner.resume_writing()
