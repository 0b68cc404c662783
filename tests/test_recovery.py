"""Through any order of turns, summaries, commits, crashes and rebalances each batch is told once and summarized once.

A model of the life of a sidecar: what it publishes is committed all or nothing with the positions, and whoever comes
next knows these only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from exporter.events.factory import Event
from exporter.instrument.histogram import Histogram
from exporter.kafka.positions import Position
from exporter.model import EventType, FeedKey, Partition, Record
from exporter.pipeline import Pipeline
from exporter.publishing.dispatch import Dispatch
from tests.support.pipeline import FIRST, KEY, NOW_MS, OTHER, SECOND, UNWANTED, pipeline, record, start, take, value

CONTENTS = [value(), value(OTHER, "C"), value(OTHER, ""), value(UNWANTED), b"{", b"", value(KEY._replace(region="a b"))]
ACCEPTED: dict[bytes, FeedKey] = {CONTENTS[0]: KEY, CONTENTS[1]: OTHER, CONTENTS[2]: OTHER}
LOGS = st.lists(st.sampled_from(CONTENTS), max_size=15)
STEPS = st.lists(st.sampled_from(["read", "read", "read", "tick", "commit", "crash", "rebalance", "lost"]), max_size=40)


def logs_of(contents: Iterable[bytes], partition: Partition) -> list[Record]:
    return [record(offset, content, partition) for offset, content in enumerate(contents)]


def ids(records: Iterable[Record]) -> list[bytes]:
    """The `ce_id`s of the batch events that the records must have."""
    return [f"{one.partition}/{one.offset}".encode() for one in records if one.value in ACCEPTED]


def ce_id(event: Event) -> bytes:
    return dict(event.headers)["ce_id"]


class Life:
    """The sidecars that own some partitions one after another, and what they have committed."""

    def __init__(self, logs: dict[Partition, list[Record]]) -> None:
        self.logs = logs
        self.events: list[Event] = []
        self.committed: dict[Partition, tuple[int, str]] = {}
        self.now_ms = NOW_MS
        self.crash()

    def crash(self) -> None:
        """A new process begins at what is committed."""
        self.here = pipeline()
        self.waiting = Dispatch()
        self._assign()

    def lost(self) -> None:
        """The partitions are taken away without a word, and come back."""
        self.waiting = self.waiting.without(set(self.logs))
        self._release()

    def rebalance(self) -> None:
        """The partitions go in order, and come back."""
        self.tick()
        self.commit()
        self._release()

    def read(self) -> None:
        """The next record of each partition."""
        records = [
            one
            for partition, log in self.logs.items()
            for one in log[self.here.partitions[partition].next_offset :][:1]
        ]
        append(self.waiting, take(self.here, *records, now_ms=self.now_ms))

    def tick(self) -> None:
        """An interval ends."""
        append(self.waiting, self.here.summarize(list(self.logs), self.now_ms))

    def commit(self) -> None:
        """All that waits is published, with its positions."""
        self.events += self.waiting.events
        self.committed |= {p: (position.offset, position.metadata) for p, position in self.waiting.positions.items()}
        self.waiting = Dispatch()

    def live(self, steps: Iterable[str]) -> None:
        """Take the steps, then read what is left and end in order."""
        for step in steps:
            self.now_ms += 7
            getattr(self, step)()
            self.check()
        for _ in range(max(map(len, self.logs.values()))):
            self.read()
        self.rebalance()
        self.check()

    def check(self) -> None:
        """What is committed says exactly what the committed positions cover."""
        batches = [ce_id(event) for event in self.events if event.type is EventType.BATCH]
        covered = [one for p, log in self.logs.items() for one in log[: self.position(p).offset]]
        assert Counter(batches) == Counter(ids(covered))
        summarized = [one for p, log in self.logs.items() for one in log[: self.position(p).summarized]]
        assert self.summarized() == Counter(ACCEPTED[one.value] for one in summarized if one.value in ACCEPTED)

    def position(self, partition: Partition) -> Position:
        return Position.committed(*self.committed.get(partition, (0, "summarized=0 since=0")), self.now_ms)

    def summarized(self) -> Counter[FeedKey]:
        """How many batches the summaries tell of."""
        found: Counter[FeedKey] = Counter()
        for event in self.events:
            if event.type is EventType.SUMMARY:
                told = json.loads(event.body)
                found[FeedKey(*(told[name] for name in FeedKey._fields))] += told["aggregated_stats"]["total_batches"]
        return +found

    def _release(self) -> None:
        self.here.release(list(self.logs))
        self._assign()

    def _assign(self) -> None:
        for partition, log in self.logs.items():
            self.here.assign(partition, start(self.position(partition), len(log)))


@given(logs=st.tuples(LOGS, LOGS), steps=STEPS)
@example(logs=([value()] * 5, []), steps=["read", "read", "commit", "crash", "read", "tick", "commit", "crash"])
def test_each_batch_is_told_and_summarized_once(logs: tuple[list[bytes], list[bytes]], steps: list[str]) -> None:
    first, second = logs_of(logs[0], FIRST), logs_of(logs[1], SECOND)
    life = Life({FIRST: first, SECOND: second})
    life.live(steps)
    told = [ce_id(event) for event in life.events if event.type is EventType.BATCH]
    assert [one for one in told if b"/0/" in one] == ids(first)
    assert [one for one in told if b"/1/" in one] == ids(second)
    assert life.summarized() == Counter(ACCEPTED[content] for content in [*logs[0], *logs[1]] if content in ACCEPTED)
    for partition, log in life.logs.items():
        assert life.position(partition) == Position(len(log), len(log), life.position(partition).since_ms)


@given(contents=LOGS, steps=st.lists(st.sampled_from(["read", "tick", "commit", "rebalance", "lost"]), max_size=40))
def test_one_process_counts_each_record_once(contents: list[bytes], steps: list[str]) -> None:
    """However often it reads them."""
    life = Life({FIRST: logs_of(contents, FIRST)})
    life.live(steps)
    topic = life.here.topics[FIRST.topic]
    assert topic.recovered == 0
    assert topic.records == len(contents)
    assert topic.filtered == contents.count(CONTENTS[3])
    assert sum(topic.rejected.values()) == len(contents) - topic.filtered - sum(c in ACCEPTED for c in contents)
    counted = {key: feed.batches for key, feed in life.here.table.feeds.items()}
    assert counted == Counter(ACCEPTED[content] for content in contents if content in ACCEPTED)


@given(contents=LOGS, cuts=st.sets(st.integers(0, 15)))
def test_turns_may_be_cut_anywhere(contents: list[bytes], cuts: set[int]) -> None:
    """One turn for all records, or any number of turns: same numbers, events, positions and symbols."""
    records = logs_of(contents, FIRST)
    whole, pieces = (owner(len(records)) for _ in range(2))
    at_once, merged = take(whole, *records), Dispatch()
    borders = sorted({0, *cuts, len(records)})
    for number, (begin, end) in enumerate(pairwise(borders)):
        append(merged, take(pieces, *records[begin:end], now_ms=NOW_MS + number))
    assert [untimed(event) for event in merged.events] == [untimed(event) for event in at_once.events]
    assert (merged.positions, merged.counts, merged.bytes) == (at_once.positions, at_once.counts, at_once.bytes)
    assert numbers(pieces) == numbers(whole)
    updates = [[update._replace(timestamp_ms=0) for update in here.take_updates()] for here in (pieces, whole)]
    assert updates[0] == updates[1]


def append(waiting: Dispatch, later: Dispatch) -> None:
    """Add all that `later` holds; where both have a position of a partition, the later one counts."""
    for event in later.events:
        waiting.add(event)
    waiting.positions |= later.positions


def owner(end: int) -> Pipeline:
    here = pipeline()
    here.assign(FIRST, start(Position(0, 0, NOW_MS), end))
    return here


def untimed(event: Event) -> tuple[object, ...]:
    """The event without the moment at which it was made."""
    body = json.loads(event.body) | {"event_timestamp_utc": ""}
    return event.type, event.topic, event.key, body, [h for h in event.headers if h[0] != "ce_time"], event.source


def numbers(here: Pipeline) -> object:
    """All that is counted, in a form that can be compared."""
    at_what_time = (
        "last_received_ms",
        "symbol_seen_ms",
        "began_ms",
        "counted_ms",
        "_retire_due_ms",
        "traffic",
        "health",
        "analyzers",
    )
    # Other names of what is there: of histograms, and of the counts that the native core has.
    left_out = ("key", "_plain", "tally", "new_window", *at_what_time)
    of_feeds = ("version", "batches", "messages", "symbol_messages", "last", "last_batch_ms", "last_message_ms")

    def counts(of: object) -> dict[str, object]:
        places = {kind: place[:2] for kind, place in getattr(of, "anomaly_places", {}).items()}  # without the time
        found = vars(of) | {name: getattr(of, name) for name in of_feeds if hasattr(of, name)}
        counted = {name: content(seen) for name, seen in found.items() if name not in left_out}
        return counted | {"anomaly_places": places}

    return tuple({key: counts(each) for key, each in table.items()} for table in (here.table.feeds, here.topics))


def content(value: object) -> object:
    """What a histogram has counted; any other value as it is."""
    return (value.sum, value.distribution()) if isinstance(value, Histogram) else value
