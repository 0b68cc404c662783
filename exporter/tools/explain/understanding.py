"""What a decoder makes of records: feeds, symbols, the fields that are found and missed, or why not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from exporter.config.schema import Limits
from exporter.decoding.batch import LEVELS, PRICES, Batch, Message
from exporter.decoding.contents import PRICED, expects_prices, has
from exporter.decoding.names import check_feed, check_symbol
from exporter.model import FeedKey, Record, Rejected
from exporter.tools.explain.candidate import Candidate, TopicDecoder

# The fields of a row beside its symbol.
ROW_FIELDS = ("timestamp", *PRICES, *LEVELS)


class Understanding(NamedTuple):
    """What became of a record: its batch, why it is rejected, or neither for a control message."""

    record: Record
    batch: Batch | None = None
    rejected: Rejected | None = None

    @property
    def feed(self) -> FeedKey | None:
        """The feed, None when the record names none."""
        if self.batch is not None:
            return FeedKey(self.batch.region, self.batch.exchange, self.batch.request_type)
        return None if self.rejected is None else self.rejected.feed


def understand(record: Record, decoder: TopicDecoder, limits: Limits) -> Understanding:
    """Return what a decoder and the limits on names make of a record."""
    try:
        batch = decoder.decode(record)
        if batch is not None:
            check_feed(FeedKey(batch.region, batch.exchange, batch.request_type), limits.name_length)
            for symbol in {row.symbol for row in batch.data}:
                check_symbol(symbol, limits.name_length)
    except Rejected as rejected:
        return Understanding(record, rejected=rejected.detached())
    return Understanding(record, batch)


def rows_of(understood: Iterable[Understanding]) -> list[Message]:
    """Return the rows of all batches."""
    return [row for each in understood if each.batch is not None for row in each.batch.data]


def found_fields(rows: Sequence[Message]) -> dict[str, int]:
    """Return how many of the rows have each field, without the fields that none has."""
    counts = {name: sum(has(row, name) for row in rows) for name in ROW_FIELDS}
    return {name: count for name, count in counts.items() if count}


def blindness(understood: Sequence[Understanding]) -> list[str]:
    """Return what no row of the batches has although feeds of their kind do: `price`, `timestamp`."""
    rows = rows_of(understood)
    found = found_fields(rows)
    is_priced = any(expects_prices(each.feed.request_type) for each in understood if each.batch and each.feed)
    missing = ["price"] if is_priced and not any(name in found for name in PRICED) else []
    missing += [] if "timestamp" in found else ["timestamp"]
    return missing if rows else []


class Recognised(NamedTuple):
    """What reads records better than they were read, and what it makes of them."""

    candidate: Candidate
    understood: Sequence[Understanding]


def recognised(understood: Sequence[Understanding], tried: Iterable[Candidate], limits: Limits) -> Recognised | None:
    """Return what reads the records better than they were read, None when nothing does."""
    best, best_value = None, _value(understood)
    if best_value[:2] == (len(understood), 0):
        return None
    for candidate in tried:
        read = [understand(each.record, candidate.decoder, limits) for each in understood]
        # A symbol alone is no sign: most records have a field of that name.
        if found_fields(rows_of(read)) and (value := _value(read)) > best_value:
            best, best_value = Recognised(candidate, read), value
    return best


def _value(understood: Sequence[Understanding]) -> tuple[int, int, int]:
    """Return how well records are understood: batches first, then what each feed needs, then other fields."""
    batches = sum(each.batch is not None for each in understood)
    rows = rows_of(understood)
    return batches, -len(blindness(understood)) if rows else -2, len(found_fields(rows))
