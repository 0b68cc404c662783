"""The audit as a program, on a real broker: it tells by its exit code whether the topics and /metrics agree."""

import argparse
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from exporter.config.schema import Config
from exporter.model import Rejected
from exporter.tools.audit import command
from exporter.tools.audit.ledger import BatchFacts
from exporter.tools.audit.readers import InputReader
from exporter.tools.simulate.market import FEEDS, Simulator
from tests.support.cluster import Record
from tests.support.kafka import Broker
from tests.support.process import free_port

Topic = Callable[..., str]


class Scene:
    """An input topic with a simulated market, its events, and the audit of both."""

    def __init__(self, broker: Broker, topic: Topic) -> None:
        self.broker = broker
        self.input = topic("ticker-data.korea", partitions=2)
        self.output = topic("events", partitions=3)
        feeds = [FEEDS[0], replace(FEEDS[1], invalid_ratio=0.3)]
        records = [
            Record(record.value, record.key, timestamp_ms=record.timestamp_ms + 1, partition=number % 2)
            for number, record in enumerate(Simulator(1, feeds).records(30_000))
        ]
        self.records = broker.produce(self.input, records)
        self.batches = list(self._batches())

    def _batches(self) -> Iterator[tuple[Record, BatchFacts]]:
        judge = InputReader(Config())
        for record in self.records:
            try:
                facts = judge.facts(record.value)
            except Rejected:
                continue
            assert facts is not None
            yield record, facts

    def event(self, record: Record, facts: BatchFacts) -> Record:
        """The event that says what the facts are."""
        stats = {
            "batch_size": facts.batch_size,
            "unique_symbols": facts.unique_symbols,
            "cache_efficiency": facts.cache_efficiency,
            "collection_timestamp_ms": facts.timestamp_ms,
        }
        body = {"event_type": "batch_collected", **facts.feed._asdict(), "stats": stats}
        identity = f"{self.input}/{record.partition}/{record.offset}"
        return Record(json.dumps(body).encode(), record.key, {"ce_id": identity.encode()})

    def right_events(self) -> list[Record]:
        """One event for each batch."""
        return [self.event(record, facts) for record, facts in self.batches]

    def audit(self, *options: str) -> int:
        """The exit code of an audit of the scene."""
        topics = ["--topic", self.input, "--event-topic", self.output]
        return run("--bootstrap-servers", self.broker.bootstrap, *topics, *options)


def run(*options: str) -> int:
    """The exit code of the program."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args(options))


@pytest.fixture
def scene(broker: Broker, topic: Topic) -> Scene:
    """A scene without events."""
    return Scene(broker, topic)


def test_right_events_agree(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """And the table shows what there is."""
    scene.broker.produce(scene.output, scene.right_events())
    assert scene.audit() == 0
    printed = capsys.readouterr().out
    assert "they agree" in printed
    assert f"{len(scene.records)} records, {len(scene.records) - len(scene.batches)} of them rejected" in printed
    assert "korea:bithumb:ticker" in printed


def test_every_difference_is_told(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Missing, doubled, altered, unexpected and unreadable, each with its place."""
    events = scene.right_events()
    record, facts = scene.batches[2]
    altered = scene.event(record, facts._replace(batch_size=facts.batch_size + 1))
    nowhere = Record(events[3].value, None, {"ce_id": f"{scene.input}/1/99999".encode()})
    scene.broker.produce(scene.output, [events[0], events[0], altered, *events[3:], nowhere, b"?"])
    assert scene.audit("--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["differences"] == {"altered": 1, "doubled": 1, "missing": 1, "unexpected": 1, "unreadable": 1}
    places = {kind: where for kind, where, _ in (found.values() for found in told["first_differences"])}
    missing, doubled = scene.batches[1][0], scene.batches[0][0]
    assert places["missing"] == f"{scene.input}/{missing.partition}/{missing.offset}"
    assert places["doubled"] == f"{scene.input}/{doubled.partition}/{doubled.offset}"
    assert places["altered"] == f"{scene.input}/{record.partition}/{record.offset}"
    assert places["unexpected"] == f"{scene.input}/1/99999"
    assert places["unreadable"].startswith(f"{scene.output}/")


def test_partitions_that_end_with_rejected_records_are_named(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there are many in a row; that is no difference."""
    scene.broker.produce(scene.output, scene.right_events())
    *_, last = scene.broker.produce(scene.input, [Record(b"{}", partition=1)] * 30)
    assert scene.audit() == 0
    (told,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("the last "))
    place = f"{scene.input}/1"
    pattern = rf"the last 3\d records of {place} are all rejected: .*missing_field, for example {place}/{last.offset}: "
    assert re.match(pattern, told)
    assert scene.audit("--json") == 0
    assert list(json.loads(capsys.readouterr().out)["rejected_at_the_end"]) == [place]


def test_only_the_first_differences_are_listed(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """But all are counted."""
    assert scene.audit("--max-differences", "3") == 1
    printed = capsys.readouterr().out
    assert f"they differ: {len(scene.batches)} missing" in printed
    assert printed.count("has no event") == 3
    assert f"and {len(scene.batches) - 3} more" in printed


def test_events_of_aborted_transactions_do_not_count(scene: Scene) -> None:
    """An event that was aborted and then committed is there once."""
    producer = Producer({"bootstrap.servers": scene.broker.bootstrap, "transactional.id": scene.output, "log_level": 0})
    producer.init_transactions(20)
    for commit in (False, True):
        producer.begin_transaction()
        for event in scene.right_events():
            producer.produce(scene.output, event.value, headers=dict(event.headers))
        producer.flush(20)
        producer.commit_transaction(20) if commit else producer.abort_transaction(20)
    assert scene.audit() == 0


def test_events_behind_an_open_transaction_are_not_missing(scene: Scene) -> None:
    """While it is open, nobody can tell; when it has ended, the events of others behind it count."""
    producer = Producer({"bootstrap.servers": scene.broker.bootstrap, "transactional.id": scene.output, "log_level": 0})
    producer.init_transactions(20)
    producer.begin_transaction()
    for partition in range(3):
        producer.produce(scene.output, b"never committed", partition=partition)
    producer.flush(20)
    scene.broker.produce(scene.output, scene.right_events())
    assert scene.audit("--timeout", "1") == 2
    producer.abort_transaction(20)
    assert scene.audit() == 0


def test_audit_can_be_limited_to_what_a_group_has_committed(scene: Scene) -> None:
    """What the group has not committed is not missing; a partition without a commit is left out."""
    half = [pair for pair in scene.batches if pair[0].partition == 0 and pair[0].offset < 10]
    scene.broker.produce(scene.output, [scene.event(*pair) for pair in half])
    consumer = Consumer({"bootstrap.servers": scene.broker.bootstrap, "group.id": scene.input})
    consumer.commit(offsets=[TopicPartition(scene.input, 0, 10)], asynchronous=False)
    consumer.close()
    assert scene.audit() == 1
    assert scene.audit("--group", scene.input) == 0


def test_audit_can_begin_later(scene: Scene) -> None:
    """At a time, or at the offset of a partition; events about earlier records do not matter."""
    late = [pair for pair in scene.batches if pair[0].timestamp_ms >= 20_000]
    scene.broker.produce(scene.output, [scene.event(*pair) for pair in [scene.batches[0], *late]])
    assert scene.audit() == 1
    assert scene.audit("--since", "20000") == 0
    assert scene.audit("--since", "1970-01-01T00:00:20Z") == 0
    starts = {record.partition: record.offset for record, _ in reversed(late)}
    options = [f"--from-offset={scene.input}/{number}/{offset}" for number, offset in starts.items()]
    assert scene.audit(*options) == 0
    assert scene.audit(options[0]) == 1


def test_summaries_are_compared(scene: Scene) -> None:
    """They may tell of less than there is, unless they are strict, and never of more."""
    scene.broker.produce(scene.output, scene.right_events())
    assert scene.audit("--strict-summaries") == 1
    for feed in {facts.feed for _, facts in scene.batches}:
        sizes = [facts.batch_size for _, facts in scene.batches if facts.feed == feed]
        stats = {"total_batches": len(sizes), "total_messages": sum(sizes)}
        summary = {"event_type": "performance_summary", **feed._asdict(), "aggregated_stats": stats}
        scene.broker.produce(scene.output, [json.dumps(summary).encode()])
    assert scene.audit("--strict-summaries") == 0
    scene.broker.produce(scene.output, [json.dumps(summary).encode()])
    assert scene.audit() == 1


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL under which it is served."""
    (tmp_path / "site").mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "site"))

        def log_message(self, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        yield tmp_path / "site", f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_metrics_of_all_replicas_are_compared(scene: Scene, site: tuple[Path, str]) -> None:
    """Their sum must equal the input."""
    folder, url = site
    scene.broker.produce(scene.output, scene.right_events())
    for number in (0, 1):
        mine = [facts for record, facts in scene.batches if record.partition == number]
        lines = [
            f"{name}{{{','.join(f'{key}={json.dumps(value)}' for key, value in feed._asdict().items())}}} {value}\n"
            for feed in {facts.feed for facts in mine}
            for name, value in (
                ("marketdata_batches_total", sum(facts.feed == feed for facts in mine)),
                ("marketdata_messages_total", sum(facts.batch_size for facts in mine if facts.feed == feed)),
            )
        ]
        records = sum(record.partition == number for record in scene.records)
        lines.append(f'marketdata_records_total{{topic="{scene.input}"}} {records}\n')
        rejected = f'topic="{scene.input}",reason="empty"'
        lines.append(f"marketdata_records_rejected_total{{{rejected}}} {records - len(mine)}\n")
        (folder / str(number)).write_text("".join(lines))
    both = ["--metrics", f"{url}/0", "--metrics", f"{url}/1"]
    assert scene.audit(*both) == 0
    assert scene.audit("--metrics", f"{url}/0") == 1
    shutil.copy(folder / "0", folder / "1")
    assert scene.audit(*both) == 1


def test_configuration_names_the_topics(scene: Scene, tmp_path: Path) -> None:
    """The same file that the sidecar reads; feeds that it excludes need no events."""
    scene.broker.produce(
        scene.output, [scene.event(*pair) for pair in scene.batches if pair[1].feed.exchange == "upbit"]
    )
    file = tmp_path / "config.yml"
    file.write_text(
        f"kafka: {{bootstrap_servers: '{scene.broker.bootstrap}'}}\ninput: {{topics: ['^{scene.input}$']}}\n"
        f"output: {{topic: {scene.output}}}\nfeeds: {{exclude: ['*:bithumb:*']}}\n"
    )
    assert run("--config.file", str(file)) == 0
    file.write_text(file.read_text().replace("bithumb", "other"))
    assert run("--config.file", str(file)) == 1
    file.write_text("unknown: 1\n")
    assert run("--config.file", str(file)) == 2
    assert run("--config.file", str(tmp_path / "none.yml")) == 2


def test_what_cannot_be_found_out_is_no_difference(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """A topic that is not there, metrics that do not answer, a broker that does not."""
    address = f"127.0.0.1:{free_port()}"
    assert scene.audit("--event-topic", "none") == 2
    assert scene.audit("--topic", "none", "--bootstrap-servers", address, "--timeout", "0.5") == 2
    scene.broker.produce(scene.output, scene.right_events())
    assert scene.audit("--metrics", f"http://{address}/metrics") == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
