"""What decorators of this package ask of a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def check_function(function: object, why_no_generator: str) -> None:
    """Raise `TypeError` for generators, classes and what `classmethod`, `staticmethod` and `property` return."""
    called = getattr(type(function), "__call__", None)  # noqa: B004, that of an object that is no function
    for each in (function, called):
        if inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
            raise TypeError(f"{name_of(function)} is a generator: {why_no_generator}")
    if isinstance(function, classmethod | staticmethod | property):
        raise TypeError(f"the decorator stands below {type(function).__name__}, not above it")
    if inspect.isclass(function) or not callable(function):
        raise TypeError(f"{name_of(function)} is no function: decorate its methods")


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether calls return coroutines, which is true of objects with such a `__call__`, too."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def name_of(function: object) -> str:
    """Return the qualified name, or for objects without one how they are shown."""
    return getattr(function, "__qualname__", repr(function))
