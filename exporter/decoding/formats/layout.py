"""A format as configured, in the form in which both ways of reading a record use it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from exporter.config.format_text import LIST
from exporter.decoding.batch import LEVELS, Message
from exporter.decoding.formats.texts import Text
from exporter.decoding.formats.units import from_scalar
from exporter.decoding.numbers import number

if TYPE_CHECKING:
    from exporter.config.format_schema import FormatConfig, RowFormat

# Any value, also one that is no scalar.
ANY = "*"


class RowValue(NamedTuple):
    """A field of a row: its place among the fields of a `Message`, where it is, and how any scalar is read.

    `only` are the request types for which it is read, all when there are none.
    """

    name: str
    target: int
    paths: tuple[str, ...]
    only: frozenset[str]
    read: Callable[[object], int | float | None]

    @property
    def is_levels(self) -> bool:
        """Whether it is a side of an order book."""
        return self.name in LEVELS

    def is_for(self, request_type: str) -> bool:
        """Return whether it is read for a request type."""
        return not self.only or request_type in self.only


class Layout:
    """A format as configured."""

    def __init__(self, config: FormatConfig) -> None:
        self.config = config
        self.feed: tuple[Text, Text, Text] = (
            Text(config.feed.region),
            Text(config.feed.exchange),
            Text(config.feed.request_type),
        )
        self.symbol = Text(config.row.symbol)
        self.skip = {path: frozenset(values) for path, values in config.skip.items()}
        self.time_paths = config.time.field or ()
        self.read_time = from_scalar(config.time.unit, config.time.zone)
        self.is_list = config.rows == LIST
        self.values = _row_values(config.row)

    @property
    def outer_array(self) -> tuple[str, ...]:
        """The names of the record's positions, when it is an array and one row."""
        return () if self.config.has_rows else self.config.array

    def is_skipped(self, path: str, value: object) -> bool:
        """Return whether a record with this scalar in that field is a control message."""
        wanted = self.skip[path]
        return ANY in wanted or spelled(value) in wanted


def spelled(value: object) -> str:
    """Return a scalar as JSON spells it, a text as it is."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def _row_values(row: RowFormat) -> list[RowValue]:
    places = {name: place for place, name in enumerate(Message.__struct_fields__)}
    found: list[RowValue] = []
    for name in row.__struct_fields__:
        value = getattr(row, name)
        if name == "symbol" or value is None:
            continue
        read = from_scalar(value.unit, value.zone) if name == "timestamp" else number
        found.append(RowValue(name, places[name], value.field, frozenset(value.only), read))
    return found
