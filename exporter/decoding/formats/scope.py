"""The fields that a format reads from one object, as types that msgspec reads them into. Pure.

Each path has one slot, whatever number of keys names it. Objects on the way to a field are structs of their own; one
that a record does not have is a struct with nothing in it, so that an `attrgetter` finds all slots in one go.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta

from exporter.decoding.batch import NO_JSON

_Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]


class Kind(NamedTuple):
    """What a slot holds, and what it holds when the record has no such field."""

    type: Any
    default: Any


TEXT = Kind(str | None, None)
SCALAR = Kind(int | float | str | bool | None, UNSET)
NUMBER = Kind(_Finite | None, None)
WHOLE = Kind(int | _Finite | None, None)
STAMP = Kind(int | _Finite | None, 0)
ISO_TIME = Kind(Annotated[datetime, Meta(tz=True)] | None, 0)
LOCAL_TIME = Kind(datetime | None, 0)
ISO_TEXT = Kind(str | None, 0)


class _Node:
    """A field: of an object or, without inner fields, of a kind."""

    def __init__(self, kind: Kind | None = None) -> None:
        self.kind = kind
        self.inner: dict[str, _Node] = {}


class Scope:
    """The slots of one object, or of an array whose positions have the names in `array`.

    `unread` is the type of what is not read: JSON, or any object.
    """

    def __init__(self, unread: Any, array: tuple[str, ...] = ()) -> None:
        self._unread = Kind(unread, NO_JSON)
        self._is_array = bool(array)
        self._root = _Node()
        self._root.inner = {name: _Node(self._unread) for name in array}

    def add(self, path: str, kind: Kind) -> str:
        """Return the slot of a path, as an `attrgetter` finds it; text that is compared may be any scalar."""
        node, slot = self._root, []
        for part in path.split("."):
            inner = node.inner.setdefault(part, _Node())
            slot.append(f"x{list(node.inner).index(part)}")
            node = inner
        is_new = node.kind is None or (self._is_array and node.kind is self._unread)
        if is_new or kind is SCALAR:
            node.kind = kind
        return ".".join(slot)

    def add_unread(self, path: str) -> str:
        """Return the slot of a field that is kept as it is."""
        return self.add(path, self._unread)

    def struct(self) -> Any:
        """Return the type of the object."""
        return _struct(self._root, array_like=self._is_array)


def _struct(node: _Node, *, array_like: bool = False) -> Any:
    fields: list[Any] = []
    for number, inner in enumerate(node.inner.values()):
        if inner.inner:
            below = _struct(inner)
            fields.append((f"x{number}", below | None, below()))
        elif inner.kind is not None:
            fields.append((f"x{number}", *inner.kind))
    names = {f"x{number}": name for number, name in enumerate(node.inner)}
    return msgspec.defstruct("Fields", fields, rename=names, array_like=array_like, frozen=True, gc=False)
