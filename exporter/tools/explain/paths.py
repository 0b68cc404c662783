"""The fields that a record has, as paths such as `data[].code`: for what no decoder reads. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

# Beyond these, a record is data rather than structure.
DEPTH = 4
PATHS = 200


def paths(record: object) -> dict[str, object]:
    """Return each field of a record, given as plain objects, with its first value, at most `PATHS` of them."""
    found: dict[str, object] = {}
    for path, inner in _walk(record, "", DEPTH):
        found.setdefault(path, inner)
        if len(found) == PATHS:
            break
    return found


def unread(fields: Iterable[str], read: Iterable[str]) -> list[str]:
    """Return the fields that nothing reads: neither they nor what they stand in are among those `read`."""
    known = tuple(read)
    return [each for each in fields if not any(_is_in(each, one) for one in known)]


def _is_in(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))


def _walk(value: object, path: str, depth: int) -> Iterator[tuple[str, object]]:
    """Yield the fields; of a list only what its first member has."""
    if depth and isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _walk(inner, f"{path}.{name}" if path else name, depth - 1)
    elif depth and isinstance(value, list) and value and isinstance(value[0], dict | list):
        yield from _walk(value[0], f"{path}[]", depth)
    else:
        yield path, value
