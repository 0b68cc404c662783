"""What can read a record: the decoder that a topic has by the configuration, and others that are tried in its place."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from exporter.config.schema import Config, InputConfig
from exporter.decoding.batch import LEVELS, PRICES, Batch
from exporter.decoding.json_decoder import Decoder
from exporter.decoding.named_feed import named_feed
from exporter.model import FeedKey, Record, Rejected
from exporter.tools.explain.candidate import Candidate, Source, TopicDecoder
from exporter.tools.explain.formats import format_decoder, preset_candidates

# Names that known exchanges and collectors give the symbol of a row, the most particular first.
SYMBOL_FIELDS = ("target_currency", "code", "market", "instId", "product_id", "symbol", "pair", "instrument", "s")


class UsualDecoder:
    """The batch that needs no format."""

    has_format = False

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

    def content(self, record: Record) -> object:
        """See TopicDecoder."""
        return msgspec.json.decode(record.value or b"")


class RenamedDecoder(UsualDecoder):
    """The usual batch, with another name for the symbol of a row."""

    def __init__(self, config: InputConfig, symbol_field: str) -> None:
        super().__init__(InputConfig(limits=config.limits, symbol_field=symbol_field))
        self.name = f"{self.name} with {symbol_field} as the symbol"


def decoder_for(topic: str, config: Config) -> TopicDecoder:
    """Return the decoder that the sidecar uses for a topic."""
    return format_decoder(topic, config) or UsualDecoder(config.input)


def candidates(topic: str, config: Config) -> Iterator[Candidate]:
    """Yield what else a record of a topic may be, the most likely last."""
    for name in SYMBOL_FIELDS:
        if name != config.input.symbol_field:
            yield Candidate(RenamedDecoder(config.input, name), f"input:\n  symbol_field: {name}")
    yield from preset_candidates(topic, config.input)


def _usual_sources(symbol_field: str) -> dict[str, Source]:
    outer = (*FeedKey._fields, "timestamp_ms", "batch_size")
    rows = {"symbol": symbol_field} | {name: name for name in ("timestamp", *PRICES, *LEVELS)}
    places = {name: name for name in outer} | {name: f"data[].{field}" for name, field in rows.items()}
    return {name: Source(path, (path,)) for name, path in places.items()}
