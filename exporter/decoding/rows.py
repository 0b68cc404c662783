"""Types of batches and rows for msgspec, made for a configured name of the symbol's field. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from exporter.decoding.batch import NO_JSON, PRICES, Batch, Message

_Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]

# Text and objects may be NaN and Infinity, unlike JSON's numbers; the check costs nothing measurable.
FINITE = (("timestamp", int | _Finite | None, 0), *((name, _Finite | None, None) for name in PRICES))


def row_type(
    symbol_field: str, fields: Iterable[tuple[str, Any, Any]] = (), left_out: Iterable[str] = ()
) -> type[Message]:
    """Return the type of rows with their symbol in `symbol_field`; `fields` have another type and default.

    Fields in `left_out` are never decoded: their names in the type are those of no JSON field.
    """
    hidden = [(name, msgspec.Raw, NO_JSON) for name in left_out]
    names = {"symbol": symbol_field} | {name: f"{name} as JSON" for name in left_out}
    named: list[Any] = [("symbol", str), *fields, *hidden]
    return msgspec.defstruct(Message.__name__, named, bases=(Message,), rename=names, gc=False)  # type: ignore[return-value]


def batch_type(row: type[Message]) -> type[Batch]:
    """Return the type of batches of such rows."""
    return msgspec.defstruct(Batch.__name__, [("data", list[row])], bases=(Batch,), gc=False)  # type: ignore[return-value, valid-type]
