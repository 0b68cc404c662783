"""Both cores give the same, to the bit: metrics, events, rejections with their words, anomalies, states and symbols."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.analyzers import completeness, latency, order_books, quality, symbol_states
from exporter.config.format_schema import FormatConfig
from exporter.config.schema import (
    Config,
    FamiliesConfig,
    FeedsConfig,
    InputConfig,
    Limits,
    MetricsConfig,
    OutputConfig,
    SymbolsConfig,
)
from exporter.core import CoreChoice, is_installed, native
from exporter.decoding import batch as batches
from exporter.decoding.json_decoder import Decoder
from exporter.decoding.record_decoder import record_decoder
from exporter.events.encoding import AvroEncoder
from exporter.events.factory import EventFactory
from exporter.feeds.evaluator import Evaluator
from exporter.feeds.feed import Feed
from exporter.feeds.native_feed import COMPLETENESS, CONTENTS, NativeFeed
from exporter.feeds.table import FeedTable
from exporter.instrument.exposition import label_text
from exporter.kafka.positions import Position, Start
from exporter.loop_settings import loop_settings
from exporter.metrics.feed_metrics import FEED_PARTS, feed_texts
from exporter.model import Anomaly, Partition, Record
from exporter.pipeline import Pipeline
from tests.bench.load import DIFFERENT, Shape, records
from tests.support.cores import mutated, outcome
from tests.support.missing import missing
from tests.support.poison import CORPUS
from tests.support.recordings import NAMES, recording

NOW_MS = 1_760_343_000_000
PARTITIONS = [Partition("ticker-data.korea", number) for number in range(3)]
LIMITS = Limits(symbols_per_feed=30, feeds=20)
SEED = 20_261_129
CLASSIC = MetricsConfig()
FROM_BEGIN = Start(Position(0, 0, NOW_MS), 0, 1000)
# The first records of a partition are read again only to complete a summary, or are in no summary.
RESUMED = Start(Position(4, 2, NOW_MS - 5000), 2, 1000)
# After so many turns a partition is assigned again, from where it began.
RELEASED_AFTER = 12


class Arrived(NamedTuple):
    """One record: where and when it was appended, and when it is read, in Unix milliseconds."""

    value: bytes | None
    partition: int = 0
    record_ms: int = NOW_MS
    now_ms: int = NOW_MS
    traceparent: bytes | None = None


class Core:
    """A pipeline with one core, and all that can be seen of it."""

    def __init__(
        self,
        core: CoreChoice,
        limits: Limits = LIMITS,
        start: Start = FROM_BEGIN,
        formats: Iterable[FormatConfig] = (),
        metrics: MetricsConfig = CLASSIC,
        **feeds: Any,
    ) -> None:
        symbols = SymbolsConfig(stalest=3)
        config = Config(
            input=InputConfig(core=core, limits=limits, formats=tuple(formats)),
            feeds=FeedsConfig(symbols=symbols, **feeds),
            output=OutputConfig(encoding="avro"),
            metrics=metrics,
        )
        made = loop_settings(config)
        self.pipeline = Pipeline(
            made.pipeline.decoder,
            FeedTable(*made.pipeline.table),
            EventFactory(AvroEncoder(core=core), "one", "events", "errors"),
            batch_events=made.pipeline.batch_events,
            summary_period_seconds=made.pipeline.summary_period_seconds,
            live_age_seconds=made.pipeline.live_age_seconds,
            keep_updates=True,
            shown_as=str,
        )
        self._evaluator = Evaluator(made.comparison)
        self._start = start
        for partition in PARTITIONS:
            self.pipeline.assign(partition, start)

    def play(self, arrived: Iterable[Arrived], together: int = 1) -> Iterator[tuple[object, ...]]:
        """Read so many records at a time, and yield all that can be seen after them, but pages once in a while."""
        offsets = dict.fromkeys(PARTITIONS, self._start.first)
        for number, some in enumerate(batched(arrived, together)):
            read = []
            for each in some:
                partition = PARTITIONS[each.partition]
                read.append(Record(partition, offsets[partition], each.record_ms, each.value, each.traceparent))
                offsets[partition] += 1
            dispatch = self.pipeline.analyze(read, self.pipeline.decode(read), some[-1].now_ms)
            yield (
                [(event.type, event.topic, event.key, event.body, event.headers) for event in dispatch.events],
                {partition: position.offset for partition, position in dispatch.positions.items()},
                [
                    (reject.rejected.reason, reject.rejected.detail, reject.rejected.feed)
                    for reject in self._rejections()
                ],
                [update._replace(symbols=sorted(update.symbols)) for update in self.pipeline.take_updates()],
            )
            if number % 50 == 0:
                yield from self._seen(some[-1].now_ms)
            if number == RELEASED_AFTER:
                self._assign_again(PARTITIONS[1])
                offsets[PARTITIONS[1]] = self._start.first
        yield from self._seen(NOW_MS + 1000)
        yield self._summaries()

    def _assign_again(self, partition: Partition) -> None:
        """Release a partition, and assign it as at the beginning, so that its records come once more."""
        self.pipeline.release([partition])
        self.pipeline.assign(partition, self._start)

    def _rejections(self) -> list[Any]:
        return list(self.pipeline.rejection_log.take())

    def _summaries(self) -> tuple[object, ...]:
        topics = [vars(topic) for topic in self.pipeline.topics.values()]
        return topics, [event.body for event in self.pipeline.summarize(PARTITIONS, NOW_MS + 1000).events]

    def _seen(self, now_ms: int) -> Iterator[tuple[object, ...]]:
        self._evaluator.evaluate(
            list(self.pipeline.table.feeds.values()),
            self.pipeline.progress({}, is_paused=False, now_ms=now_ms),
            now_ms,
            is_reachable=True,
            is_sole_reader=True,
            topics=self.pipeline.traffic(now_ms),
            run_steps=_exhaust,
        )
        yield from map(_facts, self.pipeline.table.feeds.values())


def _exhaust(steps: Iterable[object]) -> None:
    for _ in steps:
        pass


def _facts(feed: Feed) -> tuple[object, ...]:
    page = feed_texts(FEED_PARTS, label_text(feed.key._asdict()), feed).blocks
    return (
        *(feed.key, page, feed.health.state, feed.last, feed.last_message_ms, feed.last_batch_ms),
        *(feed.anomalies, feed.anomaly_places, dict(feed.symbol_messages), feed.symbol_seen_ms),
        feed.health.quality.prices(),
    )


def batched(arrived: Iterable[Arrived], size: int) -> Iterator[list[Arrived]]:
    """Records in lists of a size; the last may be shorter."""
    left = iter(arrived)
    while some := list(islice(left, size)):
        yield some


def assert_equal(arrived: Iterable[Arrived], together: int = 1, **settings: Any) -> None:
    """Play the records on both cores, so many together, and compare what is seen after each time."""
    listed = list(arrived)
    ours, reference = (Core(core, **settings).play(listed, together) for core in ("native", "python"))
    for place, (one, other) in enumerate(zip(ours, reference, strict=True)):
        assert one == other, place


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """Skip where the native core is not built."""
    if not is_installed():
        missing("the native core", "it was not built: install cargo, then `make install`")


@pytest.mark.parametrize("finds", [False, True])
def test_other_threads_have_their_turn_after_each_batch_that_python_examines_but_not_within_a_run(finds: bool) -> None:
    """Parts are sized by the time of a run; no one knows what analyzers in Python take for so much."""
    here, turns = Core("native", find_duplicates=finds).pipeline, list[int]()
    values = [sent.value for sent in islice(records(Shape(feeds=1)), 9)]
    read = [Record(PARTITIONS[0], offset, NOW_MS, value) for offset, value in enumerate(values)]
    first, rest = read[:2], read[2:]  # symbols that are new
    here.analyze(first, here.decode(first), NOW_MS)
    here.analyze(rest, here.decode(rest), NOW_MS, lambda: turns.append(here.partitions[PARTITIONS[0]].next_offset))
    assert turns == ([3, 4, 5, 6, 7, 8, 9] if finds else [])


# Whole histories.


@pytest.mark.parametrize("name", NAMES)
def test_recorded_traffic_gives_the_same(name: str) -> None:
    kept = recording(name).records[:400]
    shift = NOW_MS - max(record.received_ms for record in kept)
    arrived = [
        Arrived(json.dumps(each.value).encode(), 0, each.received_ms + shift - 3, each.received_ms + shift)
        for each in kept
    ]
    assert_equal(arrived, limits=Limits())


@pytest.mark.captures
@pytest.mark.parametrize("kind", ["ticker", "trade", "orderbook"])
def test_streams_of_each_kind_give_the_same(kind: str) -> None:
    sent = islice(records(Shape(kind=kind, feeds=3)), min(DIFFERENT, 300))
    arrived = [Arrived(each.value, each.feed, NOW_MS + n, NOW_MS + n) for n, each in enumerate(sent)]
    assert_equal(arrived)
    assert_equal(arrived, start=RESUMED)
    assert_equal(sorted(arrived, key=lambda each: (each.now_ms // 30, each.partition)), together=10)


@pytest.mark.parametrize("kind", ["ticker", "orderbook"])
@pytest.mark.parametrize(
    "metrics",
    [
        *(MetricsConfig(histograms=each) for each in ("native", "both", "off")),
        MetricsConfig(families=FamiliesConfig(exclude=("*spread*", "*age*", "*interval*", "*_size", "*stage*"))),
    ],
    ids=["native", "both", "off", "excluded"],
)
def test_histograms_of_each_kind_give_the_same(kind: str, metrics: MetricsConfig) -> None:
    sent = islice(records(Shape(kind=kind, feeds=2, messages=8)), 60)
    arrived = [Arrived(each.value, each.feed, NOW_MS + n, NOW_MS + n) for n, each in enumerate(sent)]
    assert_equal(arrived, metrics=metrics)


def walk(random_: random.Random, batches: int) -> Iterator[Arrived]:
    """Prices that change by a little, and now and then by about as much as makes a jump."""
    prices = [100.0, 0.07, 31_000.0]
    for number in range(batches):
        now_ms = NOW_MS + number
        for place, price in enumerate(prices):
            size = 0.003 * random_.uniform(0.5, 1.5) * (random_.uniform(15, 25) if random_.random() < 0.01 else 1)
            prices[place] = price * (1 + size) if random_.random() < 0.5 else price / (1 + size)
        rows = [{"target_currency": f"S{n}", "timestamp": now_ms, "last": last} for n, last in enumerate(prices)]
        batch = {"exchange": "upbit", "region": "korea", "request_type": "ticker", "timestamp_ms": now_ms, "data": rows}
        yield Arrived(json.dumps(batch).encode(), 0, now_ms, now_ms)


def test_prices_that_jump_give_the_same() -> None:
    """What is usual of a symbol is learned from all its changes, so a difference would grow."""
    arrived = list(walk(random.Random(SEED), 4000))
    assert_equal(arrived)
    core = Core("native")
    assert list(core.play(arrived))
    (feed,) = core.pipeline.table.feeds.values()
    assert 20 < feed.anomalies[Anomaly.PRICE_JUMP] < 1000


def test_records_as_nobody_should_write_them_give_the_same() -> None:
    assert_equal([Arrived(each.value) for each in CORPUS if len(each.value or b"") < 200_000])


# Made-up batches of any shape.

SYMBOLS = st.sampled_from(["A", "B", "KRW-BTC", "비트코인", 'q"', "", "x" * 70, "C\n", *(f"S{n}" for n in range(40))])
USUAL_PRICES = st.sampled_from([0, 0.0, 1, 1.5, 100.25, 176695000.0, 0.0007809, 1e-8, 3e22, 123456789.123456789])
PRICES = st.one_of(USUAL_PRICES, st.floats(allow_nan=False, allow_infinity=False), st.integers(-10, 2**70))
ODD_PRICES = st.one_of(PRICES, st.none(), st.booleans(), st.just("1.5"), st.just("x"), st.just([1]))
STAMPS = st.one_of(
    st.integers(NOW_MS - 20_000, NOW_MS + 20_000),
    st.sampled_from([0, 1, -5, 946_684_799_999, 946_684_800_000, 253_402_300_799_999, 253_402_300_800_000, 2**70]),
    st.sampled_from([None, 1.5e12, NOW_MS + 0.5, "2025-10-13T08:10:00Z", "soon", NOW_MS - 90_000, NOW_MS - 86_400_000]),
)
LEVELS: st.SearchStrategy[Any] = st.sampled_from(
    [
        *([[101, 2], [102, 1]], [["100.5", "1"]], [], None, [[100, 0]], "x", [{"ap": 101, "bp": 100}], {}),
        *([[1e999, 1]], [[-1, 2]], [[99.0, 1.0]], [{"ask_price": "7", "bid_price": 8}], [[None, 1]]),
    ]
)
ROWS = st.fixed_dictionaries(
    {"target_currency": SYMBOLS},
    optional={
        "timestamp": STAMPS,
        "last": ODD_PRICES,
        "high": PRICES,
        "low": PRICES,
        "price": ODD_PRICES,
        "asks": LEVELS,
        "bids": LEVELS,
        "units": LEVELS,
        "other": st.sampled_from([None, {"a": [1, "\\ud800"]}, "é\n\\", [[[[1]]]], 1e300, -0.0, "\ud7ff"]),
    },
)
USUAL_ROWS = st.fixed_dictionaries(
    {"target_currency": st.sampled_from("ABCD")},
    optional={
        "timestamp": st.integers(NOW_MS - 9000, NOW_MS),
        "last": USUAL_PRICES,
        "high": USUAL_PRICES,
        "low": PRICES,
    },
)
BATCHES = st.fixed_dictionaries(
    {
        "exchange": st.sampled_from(["upbit", "bithumb", "a b", "x" * 70, ""]),
        "region": st.just("korea"),
        "request_type": st.sampled_from(["ticker", "trade", "orderbook", "funding_rate"]),
        "timestamp_ms": st.one_of(
            st.integers(NOW_MS - 9000, NOW_MS + 9000),
            st.sampled_from([0, 5, -1, 2**63, 1.5, None, "x", NOW_MS + 60_000]),
        ),
        "data": st.one_of(st.lists(USUAL_ROWS, max_size=12), st.lists(ROWS, max_size=8)),
    },
    optional={"batch_size": st.sampled_from([0, 1, 3, 2.0, -1, None, "3", 2**70, True]), "more": st.just({"a": [[1]]})},
)
WRITERS: list[Any] = [
    lambda batch: json.dumps(batch).encode(),
    lambda batch: json.dumps(batch, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"),
    lambda batch: json.dumps(batch, indent=1).encode(),
    msgspec.json.encode,
]
AGES = st.sampled_from([0, 0, 0, 5, 400, 70_000, 10_000_000])


@st.composite
def histories(draw: st.DrawFn) -> list[Arrived]:
    """Batches on several partitions, some of them old, some repeated."""
    made: list[Arrived] = []
    now_ms = NOW_MS
    for batch in draw(st.lists(BATCHES, min_size=1, max_size=25)):
        now_ms += draw(st.sampled_from([0, 1, 250, 20_000]))
        try:
            value = draw(st.sampled_from(WRITERS))(batch)
        except (OverflowError, ValueError, msgspec.MsgspecError, UnicodeError):
            value = json.dumps(batch).encode()
        trace = draw(st.sampled_from([None, None, b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"]))
        each = Arrived(value, draw(st.integers(0, 2)), now_ms - draw(AGES), now_ms, trace)
        made += [each] * draw(st.sampled_from([1, 1, 1, 2]))
    return made


@settings(max_examples=120)
@given(
    arrived=histories(),
    find_duplicates=st.booleans(),
    together=st.sampled_from([1, 1, 5]),
    start=st.sampled_from([FROM_BEGIN, RESUMED]),
)
def test_batches_of_any_shape_give_the_same(
    arrived: list[Arrived], find_duplicates: bool, together: int, start: Start
) -> None:
    assert_equal(arrived, together, find_duplicates=find_duplicates, start=start)


# Order books, as text: the core reads the usual notation of the best levels by itself.

LEVEL_NUMBERS = st.sampled_from(
    [
        *("1", "2.50", '"1.5"', '"100"', "1e2", '"1E-2"', "-0.0", "0", '"0"', "0.1", '"99."', '"1,5"', '"07"', '" 1"'),
        *("9" * 30, '"' + "9" * 41 + '"', "1.5e+05", '"1e"', '"1e100"', "null", "true", '"x"', "[1]", '{"a":1}', '""'),
    ]
)
BLANKS = st.sampled_from(["", "", "", " ", "\n\t"])
UNIT_KEYS = st.sampled_from(["ap", "bp", "ask_price", "bid_price", "as", "a p"])


@st.composite
def sides(draw: st.DrawFn) -> str:
    """The text of a list of levels, or of something else."""
    blank, numbers = draw(BLANKS), st.lists(LEVEL_NUMBERS, max_size=3)
    levels = draw(st.lists(numbers, max_size=2))
    text = f",{blank}".join(f"[{blank}{f'{blank},{blank}'.join(level)}{blank}]" for level in levels)
    return draw(st.sampled_from([f"[{blank}{text}]", f"{blank}[{text}{blank}]", "null", "{}", '"x"']))


@st.composite
def units(draw: st.DrawFn) -> str:
    """The text of a list of units, whose fields may repeat and be of any kind."""
    blank = draw(BLANKS)
    fields = draw(st.lists(st.tuples(UNIT_KEYS, LEVEL_NUMBERS), max_size=5))
    inner = f",{blank}".join(f'"{name}"{blank}:{blank}{number}' for name, number in fields)
    return f"[{blank}{{{inner}{blank}}},{{}}]"


@st.composite
def books(draw: st.DrawFn) -> str:
    """The text of one row."""
    both = draw(st.booleans())
    parts = [f'"asks":{draw(sides())}', f'"bids":{draw(sides())}'] if both else [f'"units":{draw(units())}']
    symbol = draw(st.sampled_from("ABCDEFGH"))
    return f'{{"target_currency":"{symbol}","timestamp":{NOW_MS},{",".join(parts)}}}'


USUAL_BOOK = '{"target_currency":"%s","timestamp":1760343000000,"asks":[[%s,1]],"bids":[["%s","2"]]}'
MOVING = st.tuples(st.sampled_from("ABCDEF"), st.integers(2, 5), st.integers(1, 3)).map(lambda row: USUAL_BOOK % row)


@settings(max_examples=150)
@given(histories=st.lists(st.lists(st.one_of(MOVING, books()), min_size=1, max_size=7), min_size=1, max_size=12))
def test_order_books_in_any_notation_give_the_same(histories: list[list[str]]) -> None:
    head = f'{{"exchange":"upbit","region":"korea","request_type":"orderbook","timestamp_ms":{NOW_MS},"data":['
    arrived = [Arrived(f"{head}{','.join(rows)}]}}".encode(), now_ms=NOW_MS + n) for n, rows in enumerate(histories)]
    assert_equal(arrived)


def test_books_of_a_feed_that_sends_whole_ones_give_the_same() -> None:
    """Only after a hundred whole books is a side without levels an anomaly, unless a level is removed."""
    head = f'{{"exchange":"upbit","region":"korea","request_type":"orderbook","timestamp_ms":{NOW_MS},"data":['
    one_sided = '{"target_currency":"A","asks":[],"bids":[[1,2]]}'
    removal = '{"target_currency":"A","asks":[[3,0]],"bids":[[1,2]]}'
    rows = [*[USUAL_BOOK % ("A", 4, 1)] * 101, one_sided, removal, one_sided, USUAL_BOOK % ("B", 2, 2)]
    arrived = [Arrived(f"{head}{row}]}}".encode()) for row in rows]
    assert_equal(arrived)
    core = Core("native")
    assert list(core.play(arrived))
    (feed,) = core.pipeline.table.feeds.values()
    assert (feed.anomalies[Anomaly.EMPTY_BOOK], feed.anomalies[Anomaly.CROSSED_BOOK]) == (1, 1)


# Single records, without a history: many of them.


@pytest.fixture(scope="module")
def decoders() -> Sequence[Any]:
    """The decoder of each core."""
    return [record_decoder(InputConfig(core=core, limits=LIMITS)) for core in ("native", "python")]


def assert_same(decoders: Sequence[Any], value: bytes) -> None:
    """Compare what both make of a record."""
    ours, reference = (outcome(decoder, Record(PARTITIONS[0], 0, NOW_MS, value)) for decoder in decoders)
    assert repr(ours) == repr(reference), value


GOOD = (
    b'{"exchange":"upbit","region":"korea","request_type":"ticker","timestamp_ms":1760031213693,"batch_size":2,"data":'
    b'[{"target_currency":"KRW-BTC","timestamp":1760031199778,"last":176695000.0,"high":178054000,"low":1.5e-7,'
    b'"x":[{"y":null}]},{"target_currency":"B","price":0.25,"asks":[[1.0,"2"]],"bids":[],"z":"\\u00e9"}]}'
)


def test_records_with_faults_at_random_give_the_same(decoders: Sequence[Any]) -> None:
    """The same faults in each run, as many as fit into some seconds."""
    random_ = random.Random(SEED)
    for _ in range(30_000):
        assert_same(decoders, mutated(GOOD, random_))


@settings(max_examples=250)
@given(value=st.binary(max_size=60))
@example(value=GOOD)
def test_bytes_at_random_give_the_same(decoders: Sequence[Any], value: bytes) -> None:
    assert_same(decoders, value)
    assert_same(decoders, GOOD.replace(b'"x":', value))


@settings(max_examples=500)
@given(number=st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?\Z"))
def test_numbers_are_read_to_the_bit(decoders: Sequence[Any], number: str) -> None:
    text = number.encode()
    assert_same(decoders, GOOD.replace(b"176695000.0", text))
    assert_same(decoders, GOOD.replace(b"1760031199778", text).replace(b'"batch_size":2', b'"batch_size":' + text))


def _quotient(number: float, divisor: float = 1.0) -> float:
    return number / divisor


def _constants(*modules: str) -> dict[str, float]:
    """The numbers that modules of the native core declare, by name."""
    folder = Path(__file__).parents[1] / "native" / "src"
    text = "".join((folder / f"{module}.rs").read_text() for module in modules).replace("_", "")
    found = re.findall(r"^(?:pub )?const (\w+): \w+ = ([\d./ ]+);", text, re.MULTILINE)
    return {name: _quotient(*map(float, number.split("/"))) for name, number in found}


def _of(module: Any, *names: str) -> dict[str, float]:
    return {name.replace("_", ""): getattr(module, name) for name in names}


def test_both_cores_have_the_same_constants() -> None:
    """A difference may show only in one of thousands of batches."""
    found = {
        **{"MOVED": symbol_states.MOVED, "RECENTHOPS": latency.RECENT_HOPS, "PULL": symbol_states._PULL},
        **{kind.name.replace("_", ""): bit for bit, kind in {**CONTENTS, **COMPLETENESS}.items()},
        **_of(symbol_states, "JUMP_DEVIATIONS", "JUMP_RATIO", "WARM_UP_CHANGES", "BACKWARDS_MS"),
        **{**_of(quality, "FUTURE_MS"), **_of(completeness, "ROWS")},
        **_of(batches, "MIN_TIMESTAMP_MS", "MAX_TIMESTAMP_MS"),
        **_of(order_books, "BOOKS_PER_BATCH"),
    }
    assert _constants("lib", "cells", "symbols", "contents", "books") == found


def test_usual_records_are_decoded_and_counted_by_the_native_core() -> None:
    """Else the comparison would be one of Python with itself."""
    core, decoder = native("auto"), record_decoder(InputConfig(core="native"))
    read = [decoder.read(Record(PARTITIONS[0], 0, NOW_MS, sent.value)) for sent in islice(records(Shape()), 50)]
    assert {type(batch) for batch in read} == {core.Batch}
    played = Core("native")
    assert list(played.play([Arrived(sent.value) for sent in islice(records(Shape()), 50)]))
    assert {type(feed) for feed in played.pipeline.table.feeds.values()} == {NativeFeed}
    assert type(decoder.read(Record(PARTITIONS[0], 0, NOW_MS, GOOD))) is core.Batch
    assert Decoder(Limits()).decode(GOOD).region == "korea"
