"""Locks after a fork: one that another thread held at that moment would never be released in the child."""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet

_owners = WeakSet[Any]()


def renew_lock_after_fork(owner: object) -> None:
    """Give the child of a fork a new lock as `_lock` of an object whose lock is held for long."""
    _owners.add(owner)


def _renew() -> None:
    for owner in list(_owners):
        owner._lock = threading.Lock()


os.register_at_fork(after_in_child=_renew)
