"""Something that goes on beside a test."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def repeating(call: Callable[[], object], pause_seconds: float = 0.0) -> Iterator[None]:
    """Make a call again and again within this, on a thread of its own, with a pause before each."""
    stopped = Event()

    def run() -> None:
        while not stopped.wait(pause_seconds):
            call()

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
