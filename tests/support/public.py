"""What a package offers: its public names as a caller writes them, with the methods of classes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from types import ModuleType
from typing import Any, Protocol, get_origin


def offered(package: ModuleType, made: frozenset[str]) -> Iterator[str]:
    """Yield names and signatures; `made` are classes that callers do not make themselves."""
    for name in package.__all__:
        found = getattr(package, name)
        if inspect.isclass(found):
            is_made = name in made or issubclass(found, Enum | Exception) or Protocol in found.__mro__
            yield name if is_made or found.__name__ != name else f"{name}{_arguments(found)}"
            yield from (f"{name}.{method}" for method in _methods(found) if found.__name__ == name)
        else:
            yield name if get_origin(found) else f"{name}{_arguments(found)}"


def _methods(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        if base.__module__.startswith(kind.__module__.partition(".")[0]):
            for name, member in vars(base).items():
                if inspect.isfunction(member) and not name.startswith("_"):
                    yield f"{name}{_arguments(member)}"


def _arguments(called: Any) -> str:
    """Return the arguments and their defaults, without annotations and `self`."""
    empty = inspect.Parameter.empty
    parameters = inspect.signature(called).parameters.values()
    shown = [each.replace(annotation=empty, default=_named(each.default)) for each in parameters if each.name != "self"]
    return str(inspect.Signature(shown))


class _Name(str):
    """A text that is shown without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _named(default: Any) -> Any:
    """Return a function or class as a caller names it, and other defaults as they are."""
    is_named = default is not inspect.Parameter.empty and (inspect.isroutine(default) or inspect.isclass(default))
    return _Name(f"{default.__module__}.{default.__qualname__}".removeprefix("builtins.")) if is_named else default
