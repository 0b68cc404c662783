"""The bytes of records by their encoding: how they are read at once, and how they are looked at with care. Pure.

What is not read yet is a *token*: JSON as it came, or any object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

import msgspec
from msgspec import Raw

from exporter.decoding.appearance import around
from exporter.decoding.batch import NO_JSON
from exporter.decoding.exponents import Exponents
from exporter.decoding.faults import UNREADABLE
from exporter.decoding.formats import levels
from exporter.decoding.lenient import quick
from exporter.decoding.literals import BOM, MARK, as_json
from exporter.decoding.nesting import is_deeper_than
from exporter.model import Reason, Rejected

_SHOWN_BYTES = 40
_SCALAR = int | float | str | bool | None


class Body(Protocol):
    """An encoding of records."""

    unread: Any

    def decoder(self, kind: Any, *, strict: bool) -> Callable[[bytes], Any]:
        """Return what reads a type from bytes, or raises what is in `UNREADABLE`."""

    def token(self, value: bytes) -> tuple[Any, int]:
        """Return the record as a token, and how many numbers were taken out of it because they are none."""

    def content(self, value: bytes) -> Any:
        """Return what a record holds as plain objects; raise what is in `UNREADABLE`, or `Rejected`."""

    def check(self, value: bytes, rows: int) -> None:
        """Raise `Rejected` for a record that was read and is nested too deep."""

    def fields(self, token: Any) -> Mapping[str, Any]:
        """Return the fields of an object as tokens; raise what is in `UNREADABLE`."""

    def items(self, token: Any) -> list[Any]:
        """Return the items of a list as tokens; raise what is in `UNREADABLE`."""

    def scalar(self, token: Any) -> object:
        """Return a number, text, boolean or None; raise what is in `UNREADABLE`."""

    def unpacked(self, token: Any) -> Any:
        """Return what a text holds as a token; a token that is no text as it is."""

    def is_null(self, token: Any) -> bool:
        """Return whether a token is null."""

    def shown(self, token: Any) -> str:
        """Return what a token looks like, for a message."""

    def as_levels(self, token: Any) -> Raw:
        """Return the side of an order book as JSON."""

    def are_levels(self, tokens: Iterable[Any]) -> bool:
        """Return whether these sides of order books are as `as_levels` returns them."""

    def as_units(self, token: Any) -> Raw:
        """Return the units of an order book as JSON."""


class JsonBody:
    """JSON, with what common writers put into it that is none; nested at most `depth` levels."""

    unread: Any = Raw

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._exponents = Exponents()
        self._fields = msgspec.json.Decoder(dict[str, Raw])
        self._items = msgspec.json.Decoder(list[Raw])
        self._scalar = quick(msgspec.json.Decoder(_SCALAR).decode)

    def decoder(self, kind: Any, *, strict: bool) -> Callable[[bytes], Any]:
        """See Body; numbers that take long to read are left to be looked at with care."""
        decode, exponents = msgspec.json.Decoder(kind, strict=strict).decode, self._exponents

        def read(value: bytes) -> Any:
            exponents.unseen_bytes += len(value)
            if exponents.unseen_bytes >= exponents.due_bytes and exponents.seen(value):
                raise ValueError("long exponents")
            return decode(value)

        return read

    def token(self, value: bytes) -> tuple[Any, int]:
        """See Body."""
        text, literals = as_json(value.removeprefix(BOM))
        return Raw(text), literals

    def content(self, value: bytes) -> Any:
        """See Body."""
        return msgspec.json.decode(self.token(value)[0])

    def check(self, value: bytes, rows: int) -> None:
        """See Body."""
        # As in `json_decoder`. Rows lie beside each other, so that of their brackets one makes a level.
        brackets = 2 * len(value) - len(value.replace(b"{", b"")) - len(value.replace(b"[", b""))
        if brackets - max(rows - 1, 0) > self._depth and is_deeper_than(value, self._depth):
            raise Rejected(Reason.TOO_DEEP, f"nested deeper than {self._depth} levels")

    def fields(self, token: Any) -> Mapping[str, Any]:
        """See Body."""
        return self._fields.decode(token)

    def items(self, token: Any) -> list[Any]:
        """See Body."""
        return self._items.decode(token)

    def scalar(self, token: Any) -> object:
        """See Body."""
        return self._scalar(token)

    def unpacked(self, token: Any) -> Any:
        """See Body."""
        try:
            found = self._scalar(token)
        except UNREADABLE:
            return token
        if not isinstance(found, str):
            return token
        text = found.encode()
        self.check(text, 1)
        return Raw(as_json(text)[0])

    def is_null(self, token: Any) -> bool:
        """See Body."""
        return bytes(token) == b"null"

    def shown(self, token: Any) -> str:
        """See Body."""
        text = bytes(token)
        return "NaN or Infinity" if text.removeprefix(b"-") == MARK else around(text, 0, _SHOWN_BYTES)

    def as_levels(self, token: Any) -> Raw:
        """See Body."""
        return levels.from_json(token)

    def are_levels(self, tokens: Iterable[Any]) -> bool:
        """See Body."""
        return all(map(levels.is_usual, tokens))

    def as_units(self, token: Any) -> Raw:
        """See Body."""
        side: Raw = token
        return side


class ObjectBody:
    """What `read` makes objects of, such as Avro; it raises what is in `UNREADABLE`, or `Rejected`."""

    unread: Any = Any

    def __init__(self, read: Callable[[bytes], Any]) -> None:
        self._read = read

    def decoder(self, kind: Any, *, strict: bool) -> Callable[[bytes], Any]:
        """See Body."""
        convert, read = partial(msgspec.convert, type=kind, strict=strict), self._read
        return lambda value: convert(read(value))

    def token(self, value: bytes) -> tuple[Any, int]:
        """See Body."""
        return self._read(value), 0

    def content(self, value: bytes) -> Any:
        """See Body."""
        return self._read(value)

    def check(self, value: bytes, rows: int) -> None:
        """See Body: what is nested deeper than it can be read was not read."""

    def fields(self, token: Any) -> Mapping[str, Any]:
        """See Body."""
        if not isinstance(token, dict):
            raise ValueError("no object")
        return token

    def items(self, token: Any) -> list[Any]:
        """See Body."""
        if not isinstance(token, list | tuple):
            raise ValueError("no list")
        return list(token)

    def scalar(self, token: Any) -> object:
        """See Body."""
        if isinstance(token, datetime):
            return token.isoformat()
        if token is not None and not isinstance(token, int | float | str | Decimal):
            raise ValueError("no scalar")
        return token

    def unpacked(self, token: Any) -> Any:
        """See Body."""
        return token

    def is_null(self, token: Any) -> bool:
        """See Body."""
        return token is None

    def shown(self, token: Any) -> str:
        """See Body."""
        return f"`{type(token).__name__}`"

    def as_levels(self, token: Any) -> Raw:
        """See Body."""
        return levels.from_object(token)

    def are_levels(self, tokens: Iterable[Any]) -> bool:
        """See Body."""
        return False

    def as_units(self, token: Any) -> Raw:
        """See Body."""
        return NO_JSON if token is NO_JSON else levels.as_json(token)


class MessagePackBody(ObjectBody):
    """MessagePack: types are read from the bytes, and objects only where care is due."""

    unread: Any = Raw

    def __init__(self) -> None:
        super().__init__(msgspec.msgpack.decode)

    def decoder(self, kind: Any, *, strict: bool) -> Callable[[bytes], Any]:
        """See Body."""
        return msgspec.msgpack.Decoder(kind, strict=strict).decode

    def as_levels(self, token: Any) -> Raw:
        """See Body."""
        return super().as_levels(_object(token))

    def as_units(self, token: Any) -> Raw:
        """See Body."""
        return super().as_units(_object(token))


def _object(token: Any) -> Any:
    """Return a token as an object, whether it is one already or still MessagePack."""
    return token if token is NO_JSON or token.__class__ is not Raw else msgspec.msgpack.decode(token)
