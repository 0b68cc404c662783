"""Threads that have to live as long as what they are for: one that dies of an error is reported, never just missing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from traceback import extract_tb

Start = Callable[[str, Callable[[], None]], threading.Thread]


class ThreadDied(Exception):
    """A thread without which nothing can go on has died."""


def start(name: str, run: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread; what it dies of is for `threading.excepthook`."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


class Guard:
    """Starts threads, and reports the first that dies: by its name and what it died of."""

    def __init__(self, on_death: Callable[[str], None]) -> None:
        self.death = ""
        self._on_death = on_death

    def start(self, name: str, run: Callable[[], None]) -> threading.Thread:
        """Start a daemon thread."""
        return start(name, lambda: self._guarded(name, run))

    def _guarded(self, name: str, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            if not self.death:
                self.death = f"the thread {name} has died: {described(error)}"
                self._on_death(self.death)


def described(error: BaseException) -> str:
    """Return kind and place of an error; its text is left out, since it may quote what must not be in a log."""
    frames = extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {frames[-1].filename}, line {frames[-1].lineno}" if frames else repr(type(error))
