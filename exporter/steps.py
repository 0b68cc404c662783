"""Long work in steps, so that its caller decides how many of them are taken at a time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from exporter.batch import Batch
from exporter.model import Rejected

# Records that are applied at once: about two milliseconds, in which nobody else sees the state.
PIECE_RECORDS = 100
PIECE_MESSAGES = 2000

# Takes all steps before it returns.
Spread = Callable[[Iterable[object]], None]


def at_once(steps: Iterable[object]) -> None:
    """Take all steps without a break."""
    for _ in steps:
        pass


def pieces(decoded: Sequence[Batch | Rejected | None]) -> Iterator[slice]:
    """Divide records into what is applied at once: so many records, and so many messages unless one record has more."""
    start = messages = 0
    for index, batch in enumerate(decoded):
        size = len(batch.data) if isinstance(batch, Batch) else 0
        if index - start >= PIECE_RECORDS or (index > start and messages + size > PIECE_MESSAGES):
            yield slice(start, index)
            start, messages = index, 0
        messages += size
    if start < len(decoded):
        yield slice(start, len(decoded))
