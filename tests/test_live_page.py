"""What the live page shows of a sidecar: it equals the metrics, and steps of a stream add up to the whole state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.schema import Config, FeedsConfig, Thresholds
from exporter.config.web_schema import WebConfig
from exporter.events.encoding import AvroEncoder, JsonEncoder, Stamp
from exporter.events.factory import EventFactory
from exporter.events.fields import FieldReader
from exporter.events.values import batch_value
from exporter.feeds.health import HealthContext
from exporter.feeds.rejections import RECENT_MAX, RecentRejections
from exporter.feeds.states import TRANSITIONS_KEPT, FeedState, HealthInputs, StateTracker
from exporter.instrument.exposition import TEXT, pieces
from exporter.instrument.samples import samples
from exporter.model import BatchResult, EventType, FeedKey, Partition, Reason, Record, Rejected
from exporter.page.page import LivePage
from exporter.page.watch import Tick, Watch
from exporter.publishing.dispatch import Dispatch
from exporter.publishing.tap import EVENTS_MAX, EventTap
from exporter.runtime.clock import SystemClock
from exporter.runtime.threads import start
from tests.support.pipeline import FIRST, KEY, NOW_MS
from tests.support.streams import applied, rows
from tests.support.unrun import UnrunSidecar
from tests.support.waiting import eventually

OTHER = FeedKey("asia", "okx", "trade")
NONE: frozenset[EventType] = frozenset()
ALL = frozenset(EventType)


@pytest.fixture
def sidecar() -> UnrunSidecar:
    """One with two feeds, an anomaly and two rejected records."""
    sidecar = UnrunSidecar(Config())
    for _ in range(3):
        sidecar.read("ABA", 1000)
        sidecar.read("X", 0, OTHER)
    sidecar.read_value(json.dumps({**KEY._asdict(), "timestamp_ms": sidecar.now_ms, "data": 7}).encode())
    sidecar.read_value(b"<html>\xe2\x80\xae\n")
    return sidecar


def page_of(sidecar: UnrunSidecar, history: float = 900.0) -> LivePage:
    """The page of a sidecar."""
    return LivePage(Config(web=WebConfig(history=history)), sidecar.app.status, SystemClock(), "1.2.3")


def step(watch: Watch, types: frozenset[EventType] = NONE) -> dict[str, Any]:
    """The next step."""
    return dict(json.loads(watch.tick(types, 1.0).update))


def whole(watch: Watch) -> dict[str, Any]:
    """The state after the last step."""
    return dict(json.loads(watch.snapshot()[1]))


Found = dict[tuple[str, frozenset[tuple[str, str]]], float]


def metrics(sidecar: UnrunSidecar) -> Found:
    """All samples of the metrics page, by name and labels."""
    text = b"".join(pieces(sidecar.app.queries.collect(), TEXT)).decode()
    return {(each.name, frozenset(each.labels.items())): each.value for each in samples(text)}


def of_feed(found: Found, name: str, key: FeedKey = KEY, **labels: str) -> float:
    """A sample of a feed."""
    return found[name, frozenset({**key._asdict(), **labels}.items())]


def test_a_row_has_the_figures_of_the_metrics(sidecar: UnrunSidecar) -> None:
    watch, found = page_of(sidecar).watch(), metrics(sidecar)
    step(watch)
    for key in (KEY, OTHER):
        row = rows(whole(watch))[str(key)]
        assert row["batches"] == of_feed(found, "marketdata_batches_total", key)
        assert row["messages"] == of_feed(found, "marketdata_messages_total", key)
        assert row["batch_size"] == of_feed(found, "marketdata_last_batch_size", key)
        assert row["unique_symbols"] == of_feed(found, "marketdata_last_batch_unique_symbols", key)
        assert row["efficiency"] == of_feed(found, "marketdata_last_batch_cache_efficiency_ratio", key)
        received = of_feed(found, "marketdata_feed_last_received_timestamp_seconds", key)
        assert row["last_received_ms"] == received * 1000
        limit = of_feed(found, "marketdata_feed_stale_threshold_seconds", key)
        assert row["silent_limit_seconds"] == limit
        assert of_feed(found, "marketdata_feed_state", key, state=row["state"]) == 1


def test_steps_add_up_to_the_whole_state(sidecar: UnrunSidecar) -> None:
    """And contain nothing that has not changed."""
    watch = page_of(sidecar).watch()
    step(watch)
    state = whole(watch)
    sidecar.read("AB", 1000)
    update = step(watch)
    assert [row[0] for row in update["feeds"]] == [str(KEY)]
    state = applied(state, update)
    assert state == whole(watch)
    assert not {"feeds", "rejections", "states", "sidecar", "lag"} & step(watch).keys() - {"lag"}
    sidecar.feed.release(FIRST)
    state = applied(state, step(watch))
    assert rows(state)[str(KEY)]["state"] is None
    del sidecar.app.loop.pipeline.table.feeds[OTHER]
    update = step(watch)
    assert update["removed"] == [str(OTHER)]
    assert applied(state, update)["feeds"] == whole(watch)["feeds"]


operations = st.lists(st.tuples(st.sampled_from(("read", "release", "forget", "reject")), st.booleans()), max_size=12)


@settings(max_examples=20, deadline=None)
@given(operations)
def test_steps_add_up_whatever_happens(happened: list[tuple[str, bool]]) -> None:
    """Also when feeds come and go between two of them."""
    sidecar = UnrunSidecar(Config())
    watch = page_of(sidecar).watch()
    step(watch)
    state = whole(watch)
    for what, is_first in happened:
        key = KEY if is_first else OTHER
        feeds = sidecar.app.loop.pipeline.table.feeds
        if what == "read":
            sidecar.read("ABC", 700, key)
        elif what == "reject":
            sidecar.read_value(b"{" if is_first else b"")
        elif key in feeds:
            feeds[key].release(FIRST)
            sidecar.app.loop.pipeline.partitions[FIRST].feeds.pop(key, None)
            if what == "forget":
                del feeds[key]
        state = applied(state, step(watch))
        assert {name: row[1:] for name, row in by_name(state)} == {name: row[1:] for name, row in by_name(whole(watch))}
        assert {**state, "feeds": 0} == {**whole(watch), "feeds": 0}


def by_name(state: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    """The rows of a state, whatever their order."""
    return sorted((row[0], row) for row in state["feeds"])


def test_each_start_of_a_sidecar_has_a_name_of_its_own(sidecar: UnrunSidecar) -> None:
    """So that a page knows that nothing of its state holds any more."""
    assert page_of(sidecar).watch().start != page_of(sidecar).watch().start


def test_a_feed_that_is_released_shows_counters_only(sidecar: UnrunSidecar) -> None:
    """It may be another replica's."""
    watch = page_of(sidecar).watch()
    sidecar.feed.release(FIRST)
    step(watch)
    shown = {name for name, value in rows(whole(watch))[str(KEY)].items() if value not in (None, [])}
    assert shown == {"name", "batches", "messages", "symbols", "anomalies"}


def test_rejections_and_anomalies_have_their_places(sidecar: UnrunSidecar) -> None:
    """The newest first; what a record contains is printable."""
    watch = page_of(sidecar).watch()
    step(watch)
    html, wrong = whole(watch)["rejections"]
    assert (html["reason"], html["feed"], html["offset"], html["count"]) == ("invalid_json", None, 7, 1)
    assert html["detail"].isprintable()
    assert (wrong["reason"], wrong["feed"], wrong["topic"]) == ("wrong_type", str(KEY), FIRST.topic)
    kinds = {(each["feed"], each["kind"]): each for each in whole(watch)["anomalies"]}
    found = metrics(sidecar)
    for (feed, kind), each in kinds.items():
        key = FeedKey(*feed.split(":"))
        assert each["count"] == of_feed(found, "marketdata_anomalies_total", key, kind=kind)
        assert (each["topic"], each["partition"]) == FIRST
        assert NOW_MS < each["time_ms"] <= sidecar.now_ms


def test_a_flood_of_rejections_hides_no_other_and_is_bounded() -> None:
    recent = RecentRejections()
    rare = Rejected(Reason.EMPTY, "nothing")
    recent.add(record(0), rare, None, 1)
    for offset in range(1, 5000):
        recent.add(record(offset), Rejected(Reason.INVALID_JSON, "x"), None, offset)
    assert [(each.rejected.reason, each.offset, each.number) for each in recent.listed()] == [
        (Reason.INVALID_JSON, 4999, 4999),
        (Reason.EMPTY, 0, 1),
    ]
    for number in range(2 * RECENT_MAX):
        recent.add(record(number, f"t{number}"), rare, None, number)
    assert [each.partition.topic for each in recent.listed()] == [
        f"t{number}" for number in range(2 * RECENT_MAX - 1, RECENT_MAX - 1, -1)
    ]


def record(offset: int, topic: str = "t") -> Record:
    """A record at an offset."""
    return Record(Partition(topic, 0), offset, 0, b"")


def test_the_view_of_a_feed_has_its_metrics(sidecar: UnrunSidecar) -> None:
    """Each histogram, counter and gauge of the feed, without loss."""
    view: Any = sidecar.app.queries.feed(KEY)
    found = metrics(sidecar)
    mine = [labels for _, labels in found if labels >= set(KEY._asdict().items())]
    number = sum(len(each["counts"]) + 2 for each in view["histograms"]) + len(view["figures"])
    assert number == len(mine)
    for each in view["histograms"]:
        assert each["count"] == sum(each["counts"]) == of_feed(found, each["name"] + "_count", **each["labels"])
        assert each["sum"] == of_feed(found, each["name"] + "_sum", **each["labels"])
        bounds = [*map(repr, each["bounds"]), "+Inf"]
        for index, bound in enumerate(bounds):
            cumulative = of_feed(found, each["name"] + "_bucket", le=bound, **each["labels"])
            assert sum(each["counts"][: index + 1]) == cumulative
    for each in view["figures"]:
        name = each["name"] + ("_total" if each["kind"] == "counter" else "")
        assert each["value"] == of_feed(found, name, **each["labels"])


def test_an_unknown_feed_has_no_view(sidecar: UnrunSidecar) -> None:
    assert sidecar.app.queries.feed(FeedKey("a", "b", "c")) is None


def test_thresholds_say_how_they_were_learned() -> None:
    sidecar = UnrunSidecar(Config(feeds=FeedsConfig(thresholds=(Thresholds(frozen=60.0, factor=5.0),))))
    for _ in range(200):
        sidecar.read("AB", 2000)
    view: Any = sidecar.app.queries.feed(KEY)
    silent, frozen = view["thresholds"]["silent"], view["thresholds"]["frozen"]
    assert (silent["origin"], silent["factor"], silent["interval_seconds"]) == ("learned", 5.0, 2.0)
    assert (silent["intervals"], silent["is_doubled"]) == (199, True)
    assert silent["usual_seconds"] == silent["limit_seconds"] == 2 * 5.0 * 2.0
    assert (silent["minimum_seconds"], silent["maximum_seconds"]) == (10.0, 3600.0)
    assert (frozen["origin"], frozen["limit_seconds"], frozen["interval_seconds"]) == ("configured", 60.0, None)
    assert view["thresholds"]["delayed"]["pace_seconds"] == 2.0
    fresh = UnrunSidecar(Config())
    fresh.read("A")
    view = fresh.app.queries.feed(KEY)
    assert view["thresholds"]["silent"]["origin"] == "not_learned"
    assert view["thresholds"]["silent"]["limit_seconds"] == 3600.0
    assert view["thresholds"]["frozen"]["limit_seconds"] is None


def test_transitions_have_their_reasons_and_times(sidecar: UnrunSidecar) -> None:
    """The last one is the present state, with the reasons of now."""
    late_ms = sidecar.now_ms + 10_000_000
    for now_ms in (late_ms, late_ms + 5000):
        sidecar.feed.health.evaluate(sidecar.feed.symbol_seen_ms, HealthContext(), now_ms)
    view: Any = sidecar.app.queries.feed(KEY)
    *_, before, last = view["transitions"]
    assert (before["state"], before["until_ms"]) == ("ok", late_ms)
    assert (last["state"], last["since_ms"], last["until_ms"]) == ("silent", late_ms, None)
    assert last["reasons"] == list(sidecar.feed.health.diagnosis.reasons) != []
    assert [each["until_ms"] for each in view["transitions"][:-1]] == [
        each["since_ms"] for each in view["transitions"][1:]
    ]


def test_only_the_last_transitions_are_kept() -> None:
    tracker, now_ms = StateTracker(1), 1
    for number in range(2 * TRANSITIONS_KEPT):
        now_ms += 1000
        tracker.step(HealthInputs(1, planned="night" if number % 2 else None, is_reachable=False), now_ms)
    assert len(tracker.transitions) == TRANSITIONS_KEPT
    assert tracker.transitions[-1] == (now_ms, tracker.diagnosis)
    states = [each.diagnosis.state for each in tracker.transitions]
    assert states[-2:] == [FeedState.UNKNOWN, FeedState.MAINTENANCE]
    tracker.set_back(5)
    assert {each.since_ms for each in tracker.transitions} == {5}


def test_the_recorder_samples_what_the_metrics_count(sidecar: UnrunSidecar) -> None:
    page = page_of(sidecar)
    page.recorder.sample()
    sidecar.read("ABCD", 1000)
    page.recorder.sample()
    history: Any = page.history([KEY])
    assert history["feeds"][str(KEY)]["state"] == ["ok", "ok"]
    (rate,) = [each for each in history["feeds"][str(KEY)]["messages_per_second"] if each is not None]
    (total,) = [each for each in history["totals"]["messages_per_second"] if each is not None]
    assert total == pytest.approx(rate, rel=0.01)
    assert history["totals"]["states"]["ok"][-1] == 2.0
    watch = page.watch()
    assert step(watch)["sampled_ms"] == history["times_ms"][-1]
    assert rows(whole(watch))[str(KEY)]["messages_per_second"] == pytest.approx(rate, rel=0.01)
    assert rows(whole(watch))[str(OTHER)]["messages_per_second"] == 0
    assert whole(watch)["loop"]["poll"] == 0


def test_without_history_there_is_no_thread_and_no_rate(sidecar: UnrunSidecar) -> None:
    page, started = page_of(sidecar, history=0.0), []
    page.recorder.start(lambda name, run: started.append(name))  # type: ignore[arg-type,return-value]
    assert started == []
    watch = page.watch()
    step(watch)
    row = rows(whole(watch))[str(KEY)]
    assert (row["batches_per_second"], row["latency_ms"], row["batches"]) == (None, None, 3)
    history: Any = page.history([KEY])
    assert (history["times_ms"], history["feeds"]) == ([], {})
    assert whole(watch)["sidecar"]["history_seconds"] == 0


def test_the_thread_of_the_history_samples_and_ends(sidecar: UnrunSidecar) -> None:
    page, threads = page_of(sidecar), list[Thread]()

    def begin(name: str, run: Callable[[], None]) -> Thread:
        threads.append(start(name, run))
        return threads[0]

    page.recorder.start(begin)
    eventually(lambda: page.recorder.sampled_ms)
    page.recorder.stop()
    threads[0].join(10)
    assert not threads[0].is_alive()


# Published events.


def events(encoder: AvroEncoder | JsonEncoder, number: int) -> Dispatch:
    """Batch events of one dispatch."""
    factory = EventFactory(encoder, "box", "events", "errors")
    stamp = Stamp.at(NOW_MS)
    return Dispatch(factory.batch(record(n), KEY, BatchResult(n, 1, 1.0, NOW_MS), stamp) for n in range(number))


@pytest.mark.parametrize("encoder", [AvroEncoder(), JsonEncoder()])
def test_the_fields_of_an_event_are_its_values(encoder: AvroEncoder | JsonEncoder) -> None:
    (event,) = events(encoder, 1).events
    value = batch_value(KEY, BatchResult(0, 1, 1.0, NOW_MS), Stamp.at(NOW_MS).text)
    assert FieldReader().read(event) == value


def test_a_tap_is_bounded_and_counts_what_it_misses() -> None:
    """Of each type on its own, in order."""
    tap = EventTap([EventType.BATCH, EventType.ERROR])
    for _ in range(3):
        tap(events(JsonEncoder(), EVENTS_MAX - 50))
    (found,) = tap.take().values()
    assert [dict(event.headers)["ce_id"] for event in found.events[:2]] == [b"t/0/0", b"t/0/1"]
    assert (len(found.events), found.missed) == (EVENTS_MAX, 2 * EVENTS_MAX - 150)
    assert tap.take() == {}


def published(tick: Tick) -> Iterable[Any]:
    """The events of a step."""
    return [json.loads(data) for data in tick.published.values()]


def test_events_are_tapped_only_while_a_stream_wants_them(sidecar: UnrunSidecar) -> None:
    """The publisher has no tap before, nor after."""
    publisher, watch = sidecar.app.loop.publisher, page_of(sidecar).watch()
    assert published(watch.tick(NONE, 1.0)) == []
    assert publisher.tap is None
    watch.tick(frozenset([EventType.BATCH]), 1.0)
    assert publisher.tap is not None
    publisher.tap(events(AvroEncoder(), 2))
    (found,) = published(watch.tick(frozenset([EventType.BATCH]), 1.0))
    assert (found["type"], found["missed"]) == ("batch_collected", 0)
    assert [(each["id"], each["value"]["stats"]["batch_size"]) for each in found["events"]] == [
        ("t/0/0", 0),
        ("t/0/1", 1),
    ]
    watch.close()
    assert publisher.tap is None
