"""All that an object consists of, as text by path: two objects that were made alike have the same facts."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import partial
from types import FunctionType, GetSetDescriptorType, MethodType

from exporter.config.schema import Config
from exporter.config.section import Section

PLAIN = (str, int, float, bytes, bool, type(None), Enum, type)
# Times, and a count of changes.
PASSING = {
    "_due", "_rested_at", "_start", "started_ms", "_waiting", "success_seconds", "turned_at", "version", "_summary_due",
}  # fmt: skip
PASSING |= {"_evaluated_ms", "_listening_since_ms", "_certain_from_ms"}
# Where sections of the configuration are kept that a reload replaces. Other parts keep those of the start, and look at
# nothing but what needs a restart.
OF_RISK = ("risk.engine", "risk.monitor", "risk.plausibility")
REPLACED = ("analyzers", "decoding", "feeds", "pipeline", "publishing.dispatch", "reload", "web", *OF_RISK)


def facts(root: object) -> dict[str, str]:
    """Return the facts of an object; what other packages define is told by its type alone."""
    found: dict[str, str] = {}
    seen: dict[int, object] = {}  # they are kept: another object could have the id of one that is gone
    waiting: deque[tuple[str, object, object]] = deque([("", root, None)])
    while waiting:
        path, value, holder = waiting.popleft()
        if isinstance(value, Section):
            found[path] = _of_section(value, holder)
        elif isinstance(value, PLAIN):
            found[path] = repr(value)
        elif id(value) not in seen:
            seen[id(value)] = value
            found[path] = type(value).__qualname__
            kept_by = value if type(value).__module__.startswith("exporter.") else holder
            waiting += [(f"{path}.{name}", part, kept_by) for name, part in _parts(value) if name not in PASSING]
    return found


def of_the_start(section: Section) -> object:
    """Return what a section has of keys that need a restart."""
    values = {name: getattr(section, name) for name in section.__struct_fields__}
    return {
        name: of_the_start(value) if isinstance(value, Section) and name not in section.needs_restart else value
        for name, value in values.items()
        if name in section.needs_restart or isinstance(value, Section)
    }


def _of_section(section: Section, holder: object) -> str:
    module = type(holder).__module__.removeprefix("exporter.")
    if not module.startswith(REPLACED):
        return repr(of_the_start(section))
    if module.startswith("feeds") and isinstance(section, Config):
        return repr((section.input, section.feeds))
    return repr(section)


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((str(key), value[key]) for key in value)
    elif isinstance(value, set | frozenset):
        yield "all", ", ".join(sorted(map(repr, value)))
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from zip(value._fields, value, strict=True)
    elif isinstance(value, list | tuple | deque):
        yield from ((str(number), one) for number, one in enumerate(value))
    elif isinstance(value, re.Pattern):
        yield "pattern", value.pattern
    elif isinstance(value, partial):
        yield from (("call", value.func), ("args", value.args), ("keywords", value.keywords))
    elif isinstance(value, MethodType):
        yield from (("self", value.__self__), ("name", value.__name__))
    elif isinstance(value, FunctionType):
        yield "name", value.__qualname__
        yield from ((f"cell{n}", cell.cell_contents) for n, cell in enumerate(value.__closure__ or ()))
    elif type(value).__module__.startswith("exporter."):
        yield from _attributes(value)


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    if type(value).__module__ == "exporter.core._native":
        yield from ((name, getattr(value, name)) for name in sorted(_fields(type(value))))
        return
    slots = (name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()))
    for name in sorted({*slots, *getattr(value, "__dict__", {})}):
        if hasattr(value, name):
            yield name, getattr(value, name)


def _fields(kind: type) -> Iterator[str]:
    """What a class of the native core shows."""
    return (name for name, each in vars(kind).items() if isinstance(each, GetSetDescriptorType))
