"""Values of the configuration for display, with every secret masked. Pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from exporter.config.parsers import Secret, quoted
from exporter.config.secrets import is_address, may_be_secret, names_secret, shown_text
from exporter.model import FeedKey
from exporter.runtime.redaction import MASK


def redacted(value: object, key: str = "") -> Any:
    """Return the value as builtins with every secret in it masked: for `/config`, logs and messages.

    `key` is the name of the value; a value whose name is that of a secret of librdkafka is masked, too.
    """
    if isinstance(value, msgspec.Struct):
        return {field: redacted(getattr(value, field), field) for field in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: redacted(inner, name) for name, inner in value.items()}
    if isinstance(value, FeedKey):
        return str(value)
    if isinstance(value, list | tuple):
        return [redacted(inner, key) for inner in value]
    if isinstance(value, Secret) or (value is not None and names_secret(key)):
        return MASK
    return shown_text(str(value), key) if isinstance(value, str) else value


def shown(value: object, key: str = "") -> str:
    """Return a value for a message: short, on one line, with secrets masked."""
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, dict):
        return "a mapping"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        # Without a scheme it may be a password in the wrong place.
        return "text" if is_address(key) and may_be_secret(value) else quoted(redacted(value, key))
    return str(value)[:80]
