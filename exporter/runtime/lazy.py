"""Names of a package whose modules are imported at their first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module


def lazy_names(
    package: str, names_by_module: Mapping[str, Iterable[str]], extra: str = ""
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package; modules are given by their full names.

    A library that is missing is an `ImportError` that names the command which installs the extra with it.
    """
    modules = {name: module for module, names in names_by_module.items() for name in names}

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(import_module(modules[name]), name)
        except ModuleNotFoundError as error:
            if not extra:
                raise
            install = f"pip install 'marketdata-exporter[{extra}]'"
            raise ImportError(f"{package}.{name} needs {error.name}: {install}") from error

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names
