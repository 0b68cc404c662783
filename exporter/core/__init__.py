"""The native core, where it is installed: what is done for each message, compiled. `native/` has its source.

The same in Python is the reference and the fallback: `BatchStats`, `Decoder`, `PythonSymbolStates`. Pure.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

CoreChoice = Literal["auto", "native", "python"]
_NATIVE = f"{__name__}._native"


@cache
def is_installed() -> bool:
    """Return whether the native core was built where the package was installed."""
    return find_spec(_NATIVE) is not None


def in_use(choice: CoreChoice = "auto") -> str:
    """Return which core a choice selects: `native` or `python`."""
    return "python" if choice == "python" or not is_installed() else "native"


@cache
def native(choice: CoreChoice) -> Any:
    """Return the module of the native core, None where Python's is used."""
    return import_module(_NATIVE) if in_use(choice) == "native" else None
