"""Libraries that only parts of this package need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def require(module: str, user: str, extra: str) -> ModuleType:
    """Return a module; raise `ImportError` that names what needs it and the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        install = f"pip install 'marketdata-exporter[{extra}]'"
        raise ImportError(f"{user} needs {module}: {install}") from error
