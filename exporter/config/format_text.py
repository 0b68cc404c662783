"""The texts in `input.formats`: paths of fields, patterns, names; ValueError describes the mistake in one. Pure."""

from __future__ import annotations

from exporter.config import parsers
from exporter.config.named_pattern import KeyPattern, NamedPattern
from exporter.config.subscription import is_pattern

LIST = "[]"  # the record itself is the list of rows
PATH_PARTS = 8
LABEL_MAX = 256


def label(text: str) -> str:
    """Return the text, which is printable and not too long."""
    if not 0 < len(text) <= LABEL_MAX or not text.isprintable():
        raise ValueError(f"it has 1 to {LABEL_MAX} printable characters")
    return text


def json_path(text: str) -> str:
    """Return the path of a field: names of fields with dots between them."""
    if text == LIST:
        return text
    parts = label(text).split(".")
    if not all(parts) or any(character in text for character in '"\\[]'):
        raise ValueError("names of fields stand with a dot between them, without brackets and quotes")
    if len(parts) > PATH_PARTS:
        raise ValueError(f"it leads through more than {PATH_PARTS} fields")
    return text


def key_pattern(text: str) -> str:
    """Return the pattern of a key, of which the first group is the value."""
    if not is_pattern(text):
        raise ValueError("it begins with ^")
    KeyPattern(label(text))
    return text


def header_name(text: str) -> str:
    """Return the name of a header."""
    return label(text)


def file_name(text: str) -> str:
    """Return the path of a file."""
    return label(text)


def topic_or_groups(text: str) -> str:
    """Return the name of a topic, or a pattern of names with groups."""
    if not is_pattern(text):
        return parsers.topic(text)
    NamedPattern(text)
    return text
