"""`replay` finds in records of the past what a sidecar would have found, and changes nothing."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer, TopicPartition
from confluent_kafka import admin as kafka_admin
from hypothesis import given
from hypothesis import strategies as st

from exporter import cli
from exporter.feeds.states import Diagnosis, FeedState, Transition
from exporter.model import FeedKey, Partition, Record
from exporter.tools.replay import alerts, arrival
from exporter.tools.replay.alerts import EVERYTHING, FEED, MISSING, TOPIC, History, firing
from exporter.tools.replay.arrival import Merge, arrivals
from exporter.tools.replay.progress import bar
from exporter.tools.replay.recording import Recording, RecordingError, encoded, writing
from exporter.tools.replay.topics import Range, RangeError, parsed
from tests.support.kafka import Broker
from tests.support.prometheus import PrometheusServer, configuration
from tests.support.recordings import NAMES, RECORDINGS, recording

OffsetSpec: Any = kafka_admin.OffsetSpec  # type: ignore[attr-defined]
ROOT = Path(__file__).parents[1]
START_MS = 1_760_000_400_000
LATEST_MS = START_MS * 2
PLACE = Partition("ticker-data.korea", 0)


def batch(at_ms: int, price: float = 1.0, **fields: Any) -> bytes:
    """A batch of one ticker, sent at that time."""
    rows = [{"target_currency": "KRW-BTC", "timestamp": at_ms - 40, "last": price}]
    names = {"exchange": "upbit", "region": "korea", "request_type": "ticker"}
    return json.dumps({**names, "timestamp_ms": at_ms - 10, "data": rows} | fields).encode()


def records(number: int, partition: Partition = PLACE, period_ms: int = 1000) -> list[Record]:
    """Batches of a feed that sends in a regular rhythm."""
    times = [START_MS + n * period_ms for n in range(number)]
    return [Record(partition, n, at_ms, batch(at_ms, 100 + n % 7)) for n, at_ms in enumerate(times)]


def write(path: Path, content: Sequence[Record]) -> Path:
    """A recording of these records."""
    with writing(path) as put:
        for one in content:
            put(one)
    return path


def replay(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The document of a replay."""
    assert cli.main(["replay", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def found(document: Any) -> Any:
    """The document without what depends on how it was read."""
    return {name: value for name, value in document.items() if name not in ("seconds", "source")}


# Recordings.


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_counted_exactly(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    truth = recording(name).truth
    document = replay(capsys, "--file", str(RECORDINGS / f"{name}.jsonl.gz"))
    counted = {feed["feed"]: feed for feed in document["feeds"]}
    assert counted.keys() == truth.keys()
    for feed, (batches, messages, unique_sum, efficiency_sum, symbols) in truth.items():
        figures = [counted[feed][each] for each in ("batches", "messages", "unique_symbols_sum", "symbols")]
        assert figures == [batches, messages, unique_sum, symbols]
        assert counted[feed]["cache_efficiency_sum"] == pytest.approx(efficiency_sum, abs=1e-9)


values = st.one_of(
    st.none(),
    st.binary(),
    st.sampled_from([b"null", b' {"a": 1}', b'{"a": 1.50, "a": 1.5}', b"[1,\n2]", b"{", b'"\xff"', b"NaN", b"1 2"]),
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    ),
)
any_record = st.builds(
    Record,
    partition=st.builds(Partition, st.text(), st.integers(0, 2**31 - 1)),
    offset=st.integers(0, 2**63 - 1),
    timestamp_ms=st.integers(-1, 2**62),
    value=values,
    traceparent=st.none(),
    is_event=st.booleans(),
    key=st.none() | st.binary(),
    headers=st.lists(st.tuples(st.text(), st.none() | st.binary())).map(tuple),
)


@given(st.lists(any_record))
def test_a_record_comes_out_of_a_recording_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, content: list[Record]
) -> None:
    file = tmp_path_factory.mktemp("recording") / "recording.jsonl"
    file.write_bytes(b"".join(map(encoded, content)))
    assert list(Recording(file).records()) == content


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_a_recording_may_be_compressed(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / f"recording{suffix}", records(200))
    assert (file.stat().st_size < len(b"".join(map(encoded, records(200)))) / 4) is (suffix != ".jsonl")
    assert replay(capsys, "--file", str(file))["feeds"][0]["batches"] == 200


def test_records_without_a_place_are_numbered(tmp_path: Path) -> None:
    file = tmp_path / "recording.jsonl"
    lines = [f'{{"topic": "{topic}", "received_ms": 5, "value": {{}}}}' for topic in "aab"]
    file.write_text("\n\n".join(lines))
    places = [(*one.partition, one.offset) for one in Recording(file).records()]
    assert places == [("a", 0, 0), ("a", 0, 1), ("b", 0, 0)]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_file_is_named(suffix: str, damage: str, tmp_path: Path) -> None:
    content = write(tmp_path / f"whole{suffix}", records(2000)).read_bytes()
    half = len(content) // 2
    file = tmp_path / f"damaged{suffix}"
    file.write_bytes(content[:half] + (b"" if damage == "cut" else b"\x00" * 100 + content[half + 100 :]))
    recording, read, found = Recording(file), 0, ""
    try:
        for read, _ in enumerate(recording.records(), 1):  # noqa: B007 - what counts is how many come
            pass
    except RecordingError as error:  # a line came out wrong
        found = str(error)
    assert 0 < read < 2000
    assert re.search("the compressed file is damaged or cut|is no record of a recording", found or recording.damage)
    file.write_bytes(content[:20])
    with pytest.raises(RecordingError, match=re.escape(str(file))):
        list(Recording(file).records())


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_what_an_interrupted_recording_has_is_analyzed_and_the_rest_is_named(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = write(tmp_path / f"whole{suffix}", records(2000)).read_bytes()
    file = tmp_path / f"interrupted{suffix}"
    file.write_bytes(content[: len(content) // 2])
    assert cli.main(["replay", "--file", str(file), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert 0 < document["feeds"][0]["batches"] == document["records"] < 2000
    assert "cut" in document["damage"]
    assert cli.main(["replay", "--file", str(file)]) == 1
    assert f"the rest cannot be read: {document['damage']}" in capsys.readouterr().out


def test_a_line_that_is_no_record_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "recording.jsonl"
    file.write_bytes(encoded(records(1)[0]) + b'{"topic": 5}\n')
    assert cli.main(["replay", "--file", str(file)]) == 2
    assert "line 2 is no record of a recording" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "give topics, or --file"),
        (["topic", "--file", "x"], "give topics, or --file"),
        (["--file", "missing"], "No such file"),
        (["topic/x"], "expected TOPIC"),
        (["topic/0/9-5"], "expected offsets that rise"),
        (["--file", "."], ".: Is a directory"),
        (["^("], "got ^(: "),
        (["__consumer_offsets"], "internal to Kafka"),
        (["--file", "x", "--html", "/missing/report.html"], "/missing/report.html: No such file"),
        (
            ["--file", "x", "--what-if", "missing.yml"],
            "--what-if missing.yml: the configuration: the file",
        ),
        (["--file", "x", "--since", "2026-11-28", "--until", "2026-11-28"], "--since is not before --until"),
    ],
)
def test_wrong_usage_is_named(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", *arguments]) == 2
    assert text in capsys.readouterr().err


def test_an_existing_recording_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "recording.jsonl", records(3))
    before = file.read_bytes()
    assert cli.main(["replay", "--file", str(file), "--record", str(file)]) == 2
    assert "exists" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_an_empty_recording_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "recording.jsonl"
    file.write_bytes(b"")
    assert cli.main(["replay", "--file", str(file)]) == 1
    assert "no record" in capsys.readouterr().out


# Time.


def test_silence_is_found_at_its_own_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty minutes teach the limit; the feed is then silent for ten, and comes back."""
    regular = records(3000)
    kept = [one for one in regular if not 1200 <= one.offset < 1800]
    feed = replay(capsys, "--file", str(write(tmp_path / "recording.jsonl", kept)))["feeds"][0]
    states = [each["state"] for each in feed["timeline"]]
    assert states == ["unknown", "ok", "silent", "ok"]
    silent, again = feed["timeline"][2:]
    assert silent["at_ms"] == pytest.approx(START_MS + 1_200_000 + 10_000, abs=2000)
    assert silent["reasons"][0].startswith("no batch for ")
    assert again["at_ms"] == pytest.approx(START_MS + 1_860_000, abs=2000)
    assert feed["thresholds"]["silent"]["origin"] == "learned"
    assert feed["seconds_in"]["silent"] == (again["at_ms"] - silent["at_ms"]) / 1000


def test_a_long_gap_is_not_evaluated_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    year_ms = 365 * 86_400_000
    later = [Record(PLACE, 9, one.timestamp_ms - year_ms, batch(one.timestamp_ms - year_ms)) for one in records(3)]
    document = replay(capsys, "--file", str(write(tmp_path / "recording.jsonl", [*later, *records(3)])))
    [gap] = document["gaps"]
    assert gap["to_ms"] == START_MS
    assert document["feeds"][0]["timeline"][-1]["state"] == "silent"


@given(st.lists(st.integers(1, LATEST_MS), min_size=1).map(sorted))
def test_records_arrive_at_their_timestamps(times_ms: list[int]) -> None:
    given_records = [Record(PLACE, n, at_ms, b"") for n, at_ms in enumerate(times_ms)]
    assert list(arrivals(given_records, LATEST_MS)) == list(zip(times_ms, given_records, strict=True))


@given(st.lists(st.integers(1, LATEST_MS), min_size=3).map(sorted), st.data())
def test_one_wrong_timestamp_moves_no_other_time(times_ms: list[int], data: st.DataObject) -> None:
    wrong = data.draw(st.integers(0, len(times_ms) - 2))
    stamps = [*times_ms]
    stamps[wrong] = data.draw(st.integers(-1, 4 * LATEST_MS))
    given_records = [Record(PLACE, n, at_ms, b"") for n, at_ms in enumerate(stamps)]
    arrived = [at_ms for at_ms, _ in arrivals(given_records, LATEST_MS)]
    assert all(before <= after for before, after in pairwise(arrived))
    assert arrived[wrong + 1 :] == times_ms[wrong + 1 :]
    assert arrived[: max(0, wrong - 1)] == times_ms[: max(0, wrong - 1)]


class Log:
    """Partitions that are read in any order, as far as they are not paused."""

    def __init__(self, logs: dict[Partition, list[Record]], choose: Callable[[list[Partition]], Partition]) -> None:
        self.paused: set[Partition] = set()
        self.waiting = 0
        self.most_waiting = 0
        self._left = {partition: [*log] for partition, log in logs.items()}
        self._choose = choose
        self.merge = Merge(logs, LATEST_MS, self.paused.add, self.paused.discard)

    def read(self) -> Iterator[Record]:
        while open_partitions := [each for each in self._left if each not in self.paused]:
            partition = self._choose(open_partitions)
            if not self._left[partition]:
                del self._left[partition]
                self.merge.ended(partition)
                continue
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
            yield self._left[partition].pop(0)


@given(
    st.lists(st.lists(st.integers(1, 1000).map(lambda n: n * 1000)).map(sorted), min_size=1, max_size=4), st.randoms()
)
def test_partitions_are_merged_in_the_order_of_time(times_ms: list[list[int]], random: Any) -> None:
    partitions = [Partition("t", number) for number in range(len(times_ms))]
    logs = {
        partition: [Record(partition, n, at_ms, b"") for n, at_ms in enumerate(times)]
        for partition, times in zip(partitions, times_ms, strict=True)
    }
    log = Log(logs, random.choice)
    merged = list(log.merge.merged(log.read()))
    assert [at_ms for at_ms, _ in merged] == sorted(at_ms for times in times_ms for at_ms in times)
    for partition, content in logs.items():
        assert [one for _, one in merged if one.partition == partition] == content


def test_what_waits_for_a_slow_partition_is_bounded() -> None:
    """The reader prefers one partition; the other one is behind it in time."""
    fast, slow = Partition("t", 0), Partition("t", 1)
    logs = {fast: records(20_000, fast, 1), slow: records(20_000, slow, 1)}
    log = Log(logs, lambda some: fast if fast in some else slow)
    number = 0
    for at_ms, _ in log.merge.merged(log.read()):
        assert at_ms == START_MS + number // 2
        number += 1
        log.waiting -= 1
    assert number == 40_000
    assert log.most_waiting <= arrival.AHEAD_RECORDS + 10


# Topics.


class Scene:
    """A topic with two partitions that two feeds write to, of which one stops for a while."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.broker = broker
        self.topic = topic
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for n in range(2400):
            at_ms = START_MS + n * 1000
            producer.produce(topic, batch(at_ms, n % 7 + 1), partition=0, timestamp=at_ms)
            if not 1200 <= n < 1800:
                value = batch(at_ms, n % 5 + 1, exchange="bithumb")
                producer.produce(topic, value, partition=1, timestamp=at_ms + 5)
        producer.produce(topic, b"hello", partition=1, timestamp=START_MS + 2_400_000)
        producer.flush()
        broker.committed("first", topic)  # where no group was ever used, reading would leave a trace

    @property
    def server(self) -> tuple[str, ...]:
        """Where it is, and names that a sidecar would use there."""
        given = {
            "kafka.bootstrap-servers": self.broker.bootstrap,
            "input.group": self.topic,
            "output.topic": f"events-of-{self.topic}",
        }
        return tuple(f"--{name}={value}" for name, value in given.items())

    def state(self) -> tuple[bool, list[str], list[int]]:
        """Whether its group exists, the topics with its name, and the ends of the partitions."""
        client: Any = kafka_admin.AdminClient({"bootstrap.servers": self.broker.bootstrap})
        groups = {each.group_id for each in client.list_consumer_groups(request_timeout=10).result().valid}
        topics = sorted(name for name in client.list_topics(timeout=10).topics if self.topic in name)
        places = {TopicPartition(self.topic, number): OffsetSpec.latest() for number in range(2)}
        ends = [each.result().offset for each in client.list_offsets(places).values()]
        return self.topic in groups, topics, ends


@pytest.fixture(scope="module")
def scene(broker: Broker) -> Scene:
    return Scene(broker, broker.create_topic("ticker-data.replayed", 2))


def test_a_topic_is_replayed_and_nothing_is_changed(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    before = scene.state()
    document = replay(capsys, scene.topic, *scene.server)
    assert scene.state() == before
    feeds = {feed["feed"]: feed for feed in document["feeds"]}
    assert {name: feed["batches"] for name, feed in feeds.items()} == {
        "korea:upbit:ticker": 2400, "korea:bithumb:ticker": 1800,
    }  # fmt: skip
    states = {name: [each["state"] for each in feed["timeline"]] for name, feed in feeds.items()}
    assert states["korea:upbit:ticker"] == ["unknown", "ok"]
    assert states["korea:bithumb:ticker"] == ["unknown", "ok", "silent", "ok"]
    [rejection] = document["rejections"]
    assert rejection["place"] == f"{scene.topic}/1/1800"


def test_a_recording_of_a_topic_gives_the_same(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recording.jsonl.zst"
    document = replay(capsys, scene.topic, *scene.server, "--record", str(file))
    assert found(replay(capsys, "--file", str(file))) == found(document)


def test_a_range_of_offsets_is_read_with_both_its_ends(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    document = replay(capsys, f"{scene.topic}/1/100-299", *scene.server)
    [feed] = document["feeds"]
    assert (feed["feed"], feed["batches"]) == ("korea:bithumb:ticker", 200)
    assert document["from_ms"] == START_MS + 100_005


def test_a_period_begins_and_ends_with_its_times(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    period = "--since", str(START_MS + 100_000), "--until", str(START_MS + 200_000)
    document = replay(capsys, scene.topic, *scene.server, *period)
    assert [feed["batches"] for feed in document["feeds"]] == [100, 100]
    assert (document["from_ms"], document["to_ms"]) == (START_MS + 100_000, START_MS + 200_000)


@pytest.mark.parametrize("place", ["missing", "{}/7"])
def test_a_topic_that_does_not_exist_is_named(scene: Scene, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", place.format(scene.topic), *scene.server]) == 2
    assert "replay: there is no " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("t", Range("t")),
        ("^t-.*", Range("^t-.*")),
        ("t/3", Range("t", 3)),
        ("t/3/5-", Range("t", 3, 5)),
        ("t/3/5-5", Range("t", 3, 5, 5)),
        ("t/0/0-9", Range("t", 0, 0, 9)),
    ],
)
def test_a_range_is_parsed(text: str, one: Range) -> None:
    assert parsed(text) == one


@pytest.mark.parametrize("text", ["", "t/", "t/-1", "t/1/2", "t/1/-2", "t/1/2-1", "t/1/2-3/4"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(RangeError, match="got"):
        parsed(text)


# The report.


def test_the_page_has_every_text_escaped_and_loads_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foul = "<script>alert(1)</script>"
    bad = Record(Partition(foul, 0), 7, START_MS + 5000, batch(START_MS, exchange=foul))
    file, page = tmp_path / "a&b.jsonl", tmp_path / "report.html"
    write(file, [*records(5), bad])
    replay(capsys, "--file", str(file), "--html", str(page))
    text = page.read_text()
    assert foul not in text
    assert "&lt;script&gt;" in text
    assert "a&amp;b" in text
    assert not re.findall(r"(?i)\b(?:src|href|url)\s*[=(]|https?:|<script|@import|\bon\w+=", text)
    assert "korea:upbit:ticker" in text


def test_the_text_shows_states_anomalies_and_rejections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = records(30)
    content[10] = Record(PLACE, 10, content[10].timestamp_ms, batch(content[10].timestamp_ms, batch_size=9))
    content[20] = Record(PLACE, 20, content[20].timestamp_ms, gzip.compress(b"{}"))
    file = write(tmp_path / "recording.jsonl", content)
    assert cli.main(["replay", "--file", str(file)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert f"size_mismatch korea:upbit:ticker 1 {PLACE}/10" in lines
    assert any(re.match(rf"invalid_\w+ \S+ 1 - {PLACE}/20 ", line) for line in lines)
    assert any(re.fullmatch(r"2025-10-09T09:00:\d\dZ \S+ ok korea:upbit:ticker", line) for line in lines)


def test_the_bar_shows_how_far_it_is() -> None:
    text = bar(0.5, 10_000, 2.0, START_MS)
    assert text == "[###############---------------]  50%  2025-10-09T09:00:00Z  5,000 records/s, 2 s left"


# What another configuration would have found.


def test_what_if_compares_two_configurations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit of 20 minutes on silence would have hidden ten minutes of it, and its alert."""
    kept = [one for one in records(2400) if not 1200 <= one.offset < 1800]
    file, other = write(tmp_path / "recording.jsonl", kept), tmp_path / "other.yml"
    other.write_text("feeds: {thresholds: [{silent: 20m}]}")
    document = replay(capsys, "--file", str(file), "--what-if", str(other))
    assert [each["state"] for each in document["feeds"][0]["timeline"]] == ["unknown", "ok", "silent", "ok"]
    silent, again = (each["at_ms"] for each in document["feeds"][0]["timeline"][2:])
    what_if = document["what_if"]
    assert [(each["was"], each["would_be"]) for each in what_if["states"]] == [("silent", "ok")]
    assert (what_if["states"][0]["from_ms"], what_if["states"][0]["to_ms"]) == (silent, again)
    [alert] = what_if["alerts_no_more"]
    assert alert == {
        "alert": "MarketdataFeedSilent", "about": "korea:upbit:ticker", "from_ms": silent + 60_000, "to_ms": again,
    }  # fmt: skip
    assert (what_if["alerts_new"], what_if["counts"]) == ([], [])


def test_the_same_configuration_makes_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, same = write(tmp_path / "recording.jsonl", records(100)), tmp_path / "same.yml"
    same.write_text("input: {group: another}")
    assert cli.main(["replay", "--file", str(file), "--what-if", str(same)]) == 0
    assert f"with {same} all would be the same" in capsys.readouterr().out


def test_a_bad_configuration_to_compare_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, bad = write(tmp_path / "recording.jsonl", records(3)), tmp_path / "bad.yml"
    bad.write_text("feeds: {threshold: []}")
    assert cli.main(["replay", "--file", str(file), "--what-if", str(bad)]) == 2
    assert "feeds.threshold" in capsys.readouterr().err


MINUTE = 60_000
UPBIT, BITHUMB = FeedKey("korea", "upbit", "ticker"), FeedKey("korea", "bithumb", "ticker")
OKX = FeedKey("asia", "okx", "trade")


def history(*states: tuple[int, FeedState], began_ms: int = 1) -> History:
    """The history of a feed that enters states at these minutes."""
    return History([Transition(1 + at * MINUTE, Diagnosis(state)) for at, state in states], began_ms)


def fired(histories: dict[FeedKey, History]) -> list[tuple[str, str, float, float]]:
    """The alerts within an hour, their times in minutes."""
    some = firing(histories, 1 + 60 * MINUTE)
    return [(each.alert, each.about, (each.from_ms - 1) / MINUTE, (each.to_ms - 1) / MINUTE) for each in some]


OK, SILENT = FeedState.OK, FeedState.SILENT


def test_a_silent_feed_alerts_after_a_minute() -> None:
    others = {BITHUMB: history((0, OK)), OKX: history((0, OK))}
    assert fired({UPBIT: history((0, OK), (10, SILENT), (20, OK)), **others}) == [(FEED, str(UPBIT), 11, 20)]
    assert fired({UPBIT: history((0, OK), (10, SILENT), (11, OK)), **others}) == []


def test_a_silent_topic_alerts_instead_of_its_feeds() -> None:
    histories = {
        UPBIT: history((0, OK), (10, SILENT), (20, OK)),
        BITHUMB: history((0, OK), (12, SILENT), (18, OK)),
        OKX: history((0, OK)),
    }
    assert fired(histories) == [
        (FEED, str(UPBIT), 11, 12), (TOPIC, "korea:*:ticker", 12.5, 18), (FEED, str(UPBIT), 19, 20),
    ]  # fmt: skip


def test_silence_of_everything_alerts_instead_of_topics_and_feeds() -> None:
    histories = {key: history((0, OK), (10, SILENT)) for key in (UPBIT, BITHUMB, OKX)}
    assert fired(histories) == [(EVERYTHING, "", 10.5, 60)]


def test_an_expected_feed_without_a_batch_is_not_called_silent() -> None:
    histories = {UPBIT: history((0, FeedState.UNKNOWN), (10, SILENT), began_ms=0), OKX: history((0, OK))}
    assert fired(histories) == []


def test_a_feed_that_must_exist_alerts_when_it_was_never_seen_and_no_plan_or_rejection_explains_that() -> None:
    unknown, planned, rejected = FeedState.UNKNOWN, FeedState.MAINTENANCE, FeedState.REJECTED
    awaited = history((0, unknown), (1, SILENT), began_ms=0)._replace(awaited_ms=1)
    others = {BITHUMB: history((0, OK)), OKX: history((0, OK))}
    assert fired({UPBIT: awaited, **others}) == [(MISSING, str(UPBIT), 10, 60)]
    assert fired({UPBIT: awaited._replace(began_ms=1 + 30 * MINUTE), **others})[0] == (MISSING, str(UPBIT), 10, 30)
    assert fired({UPBIT: awaited._replace(awaited_ms=None), **others}) == []
    assert fired({UPBIT: History((), 0, 1), **others}) == [(MISSING, str(UPBIT), 10, 60)]
    late = history((0, unknown), (5, planned), (20, SILENT), (40, rejected), began_ms=0)._replace(awaited_ms=1)
    assert [each for each in fired({UPBIT: late, **others}) if each[0] == MISSING] == [(MISSING, str(UPBIT), 30, 40)]


def test_what_if_finds_a_feed_that_must_exist_and_was_never_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = write(tmp_path / "recording.jsonl", records(1800)), tmp_path / "other.yml"
    other.write_text("feeds: {expected: [korea:bithumb:ticker]}")
    found = replay(capsys, "--file", str(file), "--what-if", str(other))["what_if"]
    [alert] = [each for each in found["alerts_new"] if each["alert"] == "MarketdataFeedMissing"]
    assert (alert["about"], alert["from_ms"] - START_MS) == ("korea:bithumb:ticker", 600_000)


@pytest.mark.parametrize("state", alerts.BY_STATE)
def test_other_states_alert_at_once(state: FeedState) -> None:
    assert fired({UPBIT: history((0, OK), (10, state), (12, OK))}) == [(alerts.BY_STATE[state], str(UPBIT), 10, 12)]


def test_the_alerts_are_those_of_the_shipped_rules() -> None:
    groups = yaml.safe_load((ROOT / "grafana/rules/feeds.yml").read_text())["groups"]
    waits = {rule["alert"]: rule.get("for", "0s") for group in groups for rule in group["rules"] if "alert" in rule}
    assert {name: waits[name] for name in alerts.FOR_MS} == {
        name: {0: "0s", 30_000: "30s", 60_000: "1m", 600_000: "10m"}[milliseconds]
        for name, milliseconds in alerts.FOR_MS.items()
    }


# Blocks of Prometheus.


def test_a_past_day_can_be_looked_at_in_prometheus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Within the retention; the outage is where it was, and the counts are those of the report."""
    begin_ms = (time.time_ns() // 1_000_000 // 7_200_000 - 2) * 7_200_000  # so that there are two blocks
    shift_ms = begin_ms + 7_200_000 - 1_800_000 - START_MS
    kept = [one for one in records(3000) if not 1200 <= one.offset < 1800]
    shifted = [
        Record(PLACE, one.offset, one.timestamp_ms + shift_ms, batch(one.timestamp_ms + shift_ms, one.offset % 7 + 1))
        for one in kept
    ]
    file = write(tmp_path / "recording.jsonl", shifted)
    document = replay(capsys, "--file", str(file), "--prometheus", str(tmp_path / "server" / "data"))
    silent, again = (each["at_ms"] for each in document["feeds"][0]["timeline"][2:])
    server = PrometheusServer(tmp_path / "server", configuration([], [], "1m")).start()
    try:

        def value(query: str, at_ms: int) -> float:
            [result] = server.get("query", query=query, time=str(at_ms / 1000))["result"]
            return float(result["value"][1])

        state = 'marketdata_feed_state{job="replay",exchange="upbit",state="silent"}'
        assert value(state, silent - 15_000) == 0
        assert value(state, silent + 15_000) == 1
        assert value(state, again + 15_000) == 0
        minute = f"increase(marketdata_batches_total[{(again - 120_000 - document['from_ms']) // 1000}s])"
        assert value(minute, again - 90_000) == pytest.approx(1200, rel=0.05)
        assert value("marketdata_records_total", document["to_ms"] + 1000) == pytest.approx(2400, abs=16)
    finally:
        server.kill()


def test_without_promtool_the_error_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = write(tmp_path / "recording.jsonl", records(3))
    assert cli.main(["replay", "--file", str(file), "--prometheus", str(tmp_path / "blocks")]) == 2
    assert "promtool, which comes with Prometheus, is not installed" in capsys.readouterr().err
