"""What can read a record: the decoder that a topic has by the configuration, and others that are tried in its place.

The seam to `exporter.decoding`: `explain` and `check` know decoders only in this form. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from exporter.config.schema import Config, InputConfig
from exporter.decoding.batch import LEVELS, PRICES, Batch
from exporter.decoding.json_decoder import Decoder
from exporter.decoding.named_feed import named_feed
from exporter.model import FeedKey, Record, Rejected

# Names that known exchanges and collectors give the symbol of a row, the most particular first.
SYMBOL_FIELDS = ("target_currency", "code", "market", "instId", "product_id", "symbol", "pair", "instrument", "s")


class Source(NamedTuple):
    """Where a field of a batch comes from, in words, and the paths of a record that are read for it."""

    text: str
    paths: tuple[str, ...] = ()


class TopicDecoder(Protocol):
    """Reads the records of a topic.

    `sources` has the source of each field that may be found, by its name in a `Batch` or a `Message`.
    """

    @property
    def name(self) -> str:
        """What the format of the records is called."""

    @property
    def sources(self) -> Mapping[str, Source]:
        """Where each field comes from."""

    def decode(self, record: Record) -> Batch | None:
        """Return the batch of a record, None for a control message; raise `Rejected`, with the feed if known."""


class Candidate(NamedTuple):
    """A decoder to try, and the configuration with which a topic would have it, as YAML."""

    decoder: TopicDecoder
    configuration: str


class UsualDecoder:
    """The batch that needs no format."""

    def __init__(self, config: InputConfig) -> None:
        self.name = "the usual batch"
        self._limits = config.limits
        self._decoder = Decoder(config.limits, config.symbol_field)
        self.sources = _usual_sources(config.symbol_field)

    def decode(self, record: Record) -> Batch:
        """See TopicDecoder."""
        try:
            return self._decoder.decode(record.value)
        except Rejected as rejected:
            rejected.feed = named_feed(record.value, self._limits)
            raise


class RenamedDecoder(UsualDecoder):
    """The usual batch, with another name for the symbol of a row."""

    def __init__(self, config: InputConfig, symbol_field: str) -> None:
        super().__init__(InputConfig(limits=config.limits, symbol_field=symbol_field))
        self.name = f"{self.name} with {symbol_field} as the symbol"


def decoder_for(topic: str, config: Config) -> TopicDecoder:
    """Return the decoder that the sidecar uses for a topic."""
    return UsualDecoder(config.input)


def candidates(topic: str, config: Config) -> Iterator[Candidate]:
    """Yield what else a record of a topic may be."""
    for name in SYMBOL_FIELDS:
        if name != config.input.symbol_field:
            yield Candidate(RenamedDecoder(config.input, name), f"input:\n  symbol_field: {name}")


def _usual_sources(symbol_field: str) -> dict[str, Source]:
    outer = (*FeedKey._fields, "timestamp_ms", "batch_size")
    rows = {"symbol": symbol_field} | {name: name for name in ("timestamp", *PRICES, *LEVELS)}
    places = {name: name for name in outer} | {name: f"data[].{field}" for name, field in rows.items()}
    return {name: Source(path, (path,)) for name, path in places.items()}
