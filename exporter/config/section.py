"""A level of the configuration, and how its values are described and bounded. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from msgspec import Meta

from exporter.config import parsers
from exporter.config.display import redacted
from exporter.config.parsers import Secret


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A level of the configuration; its repr masks secrets.

    `needs_restart` are the fields whose new values a running sidecar cannot adopt; all others change with a reload.
    """

    needs_restart: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({redacted(self)})"


def parsed(parse: Callable[[Any], object], expected: str) -> Meta:
    return Meta(description=expected, extra={"parse": parse})


def secret(expected: str, parse: Callable[[str], Secret] = Secret) -> Meta:
    """Describe a value that is never shown, and that environment and flags give as plain text, not as YAML."""
    return Meta(description=expected, extra={"parse": parse, "is_secret": True})


def count(low: int, high: int) -> Meta:
    return Meta(ge=low, le=high, description=f"a whole number from {low} to {high}")


def number(low: float, high: float) -> Meta:
    return Meta(ge=low, le=high, description=f"a number from {low:g} to {high:g}")


def seconds(low: str, high: str) -> Meta:
    expected = f"a duration from {low} to {high}, such as 250ms, 60s or 1m30s"
    bounds = parsers.duration(low), parsers.duration(high)
    return Meta(ge=bounds[0], le=bounds[1], description=expected, extra={"parse": parsers.duration})


def byte_size(low: str, high: str) -> Meta:
    expected = f"a size from {low} to {high}, such as 64KiB or 5MB"
    return Meta(ge=parsers.size(low), le=parsers.size(high), description=expected, extra={"parse": parsers.size})
