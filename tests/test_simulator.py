"""Simulated collectors: the same seed makes the same records, and the truth about them is exact."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.schema import Config
from exporter.kafka.embedded import EmbeddedBroker
from exporter.model import FeedKey, Reason, Rejected
from exporter.runtime.clock import now_ms
from exporter.tools.audit.readers import InputReader
from exporter.tools.simulate.invalid_records import KINDS, InvalidMutation
from exporter.tools.simulate.market import FEEDS, FeedTruth, SimulatedFeed, SimulatedRecord, Simulator
from exporter.tools.simulate.prices import symbol_names
from exporter.tools.simulate.simulator import Collectors, faster
from tests.support.cluster import Cluster
from tests.support.waiting import eventually

START_MS = 1_760_000_000_000
TICKER = SimulatedFeed(FeedKey("korea", "upbit", "ticker"), "KRW-{}")

feeds = st.builds(
    SimulatedFeed,
    key=st.builds(
        FeedKey,
        st.sampled_from(("korea", "asia")),
        st.sampled_from(("upbit", "okx")),
        st.sampled_from(("ticker", "orderbook", "trade")),
    ),
    symbols=st.integers(1, 40),
    batch_messages=st.sampled_from(((1, 1), (2, 9), (20, 40))),
    interval_ms=st.floats(200, 2000),
    silent_after_ms=st.sampled_from((float("inf"), 2000.0)),
    frozen_after_ms=st.sampled_from((float("inf"), 2000.0)),
    invalid_ratio=st.sampled_from((0.0, 0.3)),
    wrong_size_ratio=st.sampled_from((0.0, 0.3)),
)
markets = st.tuples(st.integers(0, 1000), st.lists(feeds, min_size=1, max_size=4, unique_by=lambda feed: feed.key))


def run(seed: int, profiles: list[SimulatedFeed], until_ms: int = 5000) -> tuple[Simulator, list[SimulatedRecord]]:
    """A simulator and what it made from START_MS on."""
    simulator = Simulator(seed, profiles, START_MS)
    return simulator, list(simulator.records(START_MS + until_ms))


def batches(records: list[SimulatedRecord]) -> list[dict[str, Any]]:
    """The records as JSON."""
    return [json.loads(record.value) for record in records]


@given(markets, st.lists(st.integers(0, 5000), max_size=5))
def test_same_seed_makes_same_stream_in_any_steps(market: tuple[int, list[SimulatedFeed]], steps: list[int]) -> None:
    """Asking for the time in steps or at once makes no difference."""
    simulator = Simulator(*market, START_MS)
    stepped = [record for step in [*sorted(steps), 5000] for record in simulator.records(START_MS + step)]
    whole, records = run(*market)
    assert stepped == records
    assert simulator.truth == whole.truth


def test_another_seed_makes_another_stream() -> None:
    """The seed is what decides."""
    assert run(1, [TICKER])[1] != run(2, [TICKER])[1]


def test_feeds_do_not_depend_on_each_other() -> None:
    """A feed sends the same with and without others beside it."""
    alone = run(1, [TICKER])[1]
    among = [record for record in run(1, list(FEEDS))[1] if record.key == b"korea:upbit:ticker"]
    others = [record for record in run(1, [TICKER, *FEEDS[2:]])[1] if record.key == b"korea:upbit:ticker"]
    assert others == alone
    assert among == run(1, [FEEDS[0]])[1]


@given(markets)
def test_truth_is_what_an_independent_reader_counts(market: tuple[int, list[SimulatedFeed]]) -> None:
    """Batches, messages, symbols, efficiency, wrong sizes, repetitions and garbage, counted again from the bytes."""
    simulator, records = run(*market)
    judge = InputReader(Config())
    counted: dict[FeedKey, FeedTruth] = {}
    garbage: Counter[tuple[str, Reason]] = Counter()
    told: dict[FeedKey, Any] = {}
    for record in records:
        try:
            facts = judge.facts(record.value)
        except Rejected as rejected:
            garbage[record.topic, rejected.reason] += 1
            continue
        assert facts is not None
        truth = counted.setdefault(facts.feed, FeedTruth())
        truth.batches += 1
        truth.messages += facts.batch_size
        truth.unique_symbols += facts.unique_symbols
        truth.cache_efficiency += facts.cache_efficiency
        batch = json.loads(record.value)
        truth.wrong_sizes += batch["batch_size"] != facts.batch_size
        truth.unchanged += batch["data"] == told.get(facts.feed) and facts.feed.request_type != "trade"
        told[facts.feed] = batch["data"]
    assert counted == simulator.truth.feeds
    assert garbage == simulator.truth.invalid_records


@given(markets)
def test_records_come_in_order_of_time(market: tuple[int, list[SimulatedFeed]]) -> None:
    """Over all feeds, and not later than asked for."""
    stamps = [record.timestamp_ms for record in run(*market)[1]]
    assert stamps == sorted(stamps)
    assert all(START_MS <= stamp <= START_MS + 5000 for stamp in stamps)


@given(st.integers(0, 1000), st.sampled_from(("ticker", "orderbook", "trade")))
def test_rows_are_stamped_in_order_between_batches(seed: int, request_type: str) -> None:
    """A row is not older than the batch before its own, and not newer than its own."""
    previous = START_MS
    for batch in batches(run(seed, [SimulatedFeed(FeedKey("asia", "okx", request_type))])[1]):
        stamps = [row["timestamp"] for row in batch["data"]]
        assert stamps == sorted(stamps)
        assert previous <= stamps[0]
        assert stamps[-1] <= batch["timestamp_ms"]
        previous = batch["timestamp_ms"]


@given(st.integers(0, 1000))
def test_ticker_prices_are_coherent(seed: int) -> None:
    """Low is lowest, high is highest, the first stays, and prices move."""
    rows = [row for batch in batches(run(seed, [TICKER])[1]) for row in batch["data"]]
    assert all(0 < row["low"] <= min(row["first"], row["last"]) for row in rows)
    assert all(row["high"] >= max(row["first"], row["last"]) for row in rows)
    firsts = {(row["target_currency"], row["first"]) for row in rows}
    assert len(firsts) == len({symbol for symbol, _ in firsts})
    assert len({(row["target_currency"], row["last"]) for row in rows}) > len(firsts)


def test_batches_have_realistic_sizes() -> None:
    """20 to 150 messages, and the declared size is true."""
    sent = batches(run(1, [TICKER], until_ms=60_000)[1])
    sizes = [len(batch["data"]) for batch in sent]
    assert 20 <= min(sizes) < max(sizes) <= 150
    assert sizes == [batch["batch_size"] for batch in sent]


def test_order_books_have_bids_below_asks() -> None:
    """Both sides start at the best price."""
    for batch in batches(run(1, [SimulatedFeed(FeedKey("korea", "upbit", "orderbook"))])[1]):
        for row in batch["data"]:
            bids, asks = ([price for price, _ in row[side]] for side in ("bids", "asks"))
            assert bids == sorted(bids, reverse=True)
            assert asks == sorted(asks)
            assert bids[0] < asks[0]


def test_trades_have_price_size_and_side() -> None:
    """As exchanges send them."""
    for batch in batches(run(1, [SimulatedFeed(FeedKey("asia", "okx", "trade"))])[1]):
        assert all(row["price"] > 0 and row["size"] > 0 and row["side"] in ("buy", "sell") for row in batch["data"])


def test_silent_feed_sends_nothing_after_its_time() -> None:
    """And the same as a healthy one before."""
    healthy = run(1, [TICKER], until_ms=10_000)[1]
    silent = run(1, [replace(TICKER, silent_after_ms=5000)], until_ms=10_000)[1]
    assert silent == [record for record in healthy if record.timestamp_ms < START_MS + 5000]
    assert 0 < len(silent) < len(healthy)


def test_frozen_feed_sends_on_but_rows_stand_still() -> None:
    """Only the stamp of the batch goes on."""
    sent = batches(run(1, [replace(TICKER, frozen_after_ms=5000)], until_ms=10_000)[1])
    last_fresh = next(i for i, batch in enumerate(sent) if batch["timestamp_ms"] >= START_MS + 5000) - 1
    fresh, frozen = sent[: last_fresh + 1], sent[last_fresh:]
    assert len({json.dumps(batch["data"]) for batch in fresh}) == len(fresh) > 1
    assert len({json.dumps(batch["data"]) for batch in frozen}) == 1
    assert len({batch["timestamp_ms"] for batch in frozen}) == len(frozen) > 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: str(feed.key))
def test_garbage_is_rejected_for_the_reason_it_names(kind: InvalidMutation, feed: SimulatedFeed) -> None:
    """Whatever batch it was made of."""
    for batch in batches(run(1, [replace(feed, invalid_ratio=0.0)], until_ms=2000)[1]):
        with pytest.raises(Rejected) as rejected:
            InputReader(Config()).facts(kind.apply(batch))
        assert rejected.value.reason == kind.reason


def test_garbage_kinds_have_names_of_their_own() -> None:
    """A name stands for one way to spoil a batch."""
    assert len({kind.name for kind in KINDS}) == len(KINDS)


@given(st.integers(0, 200))
def test_symbol_names_are_distinct(count: int) -> None:
    """However many are wanted."""
    assert len(set(symbol_names("KRW-{}", count))) == count


def test_collectors_send_what_the_truth_tells() -> None:
    """What lies in the topics after the stop is what the simulator handed out: in real time, to a broker."""
    broker = EmbeddedBroker()
    simulator = Simulator(1, faster(FEEDS, rate=20), now_ms())
    collectors = Collectors(simulator, {"bootstrap.servers": broker.bootstrap_servers})
    collectors.start()
    eventually(lambda: collectors.sent > 50, 20, "nothing was sent")
    collectors.stop()
    cluster = Cluster(broker.bootstrap_servers)
    read = Counter(record.value for topic in simulator.topics for record in cluster.read_all(topic))
    end_ms = simulator.start_ms + 3_600_000
    again = Simulator(1, faster(FEEDS, rate=20), simulator.start_ms).records(end_ms)
    made = Counter(next(again).value for _ in range(collectors.sent))
    broker.stop()
    assert collectors.failed == 0
    assert read == made
