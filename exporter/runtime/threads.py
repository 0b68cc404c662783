"""Threads that the process cannot do without: one that ends with an error is reported."""

from __future__ import annotations

import threading
from collections.abc import Callable
from traceback import extract_tb

Start = Callable[[str, Callable[[], None]], threading.Thread]


class ThreadDied(Exception):
    """A thread that the process cannot do without has ended with an error."""


def start(name: str, run: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread; `threading.excepthook` gets its uncaught errors."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


class Guard:
    """Starter of threads that reports the first that ends with an error: its name, and kind and place of the error."""

    def __init__(self, on_death: Callable[[str], None]) -> None:
        self.death = ""
        self._on_death = on_death

    def start(self, name: str, run: Callable[[], None]) -> threading.Thread:
        """Start a daemon thread that is reported when it ends with an error."""
        return start(name, lambda: self._guarded(name, run))

    def _guarded(self, name: str, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            if not self.death:
                self.death = f"the thread {name} has died: {described(error)}"
                self._on_death(self.death)


def described(error: BaseException) -> str:
    """Return kind and place of an error, without its text, which may quote secrets."""
    frames = extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {frames[-1].filename}, line {frames[-1].lineno}" if frames else repr(type(error))
