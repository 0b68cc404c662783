"""The command `demo`: embedded broker, simulated collectors and a program that pushes, the real sidecar."""

from __future__ import annotations

import argparse
import math
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from confluent_kafka import Producer

from exporter.app import App
from exporter.config.addresses import authority, host_and_port
from exporter.config.conflicts import INGESTION_TOPICS
from exporter.config.loader import load
from exporter.config.schema import Config
from exporter.config.subscription import Subscription
from exporter.config.web_schema import WebConfig
from exporter.kafka.embedded import EmbeddedBroker
from exporter.kafka.positions import Span
from exporter.kafka.reader import TopicReader
from exporter.runtime import logs, signals
from exporter.runtime.clock import now_ms
from exporter.tools import healthcheck
from exporter.tools.audit.readers import EventReader, UnreadableError
from exporter.tools.demo import files, report
from exporter.tools.demo.pipeline import INSTANCE, JOB, Pipeline
from exporter.tools.simulate.market import FEEDS, SimulatedFeed, Simulator
from exporter.tools.simulate.services import Failure, ServiceSimulator, SimulatedService
from exporter.tools.simulate.simulator import Collectors, faster, positive
from exporter.web.sockets import ListenError

_DESCRIPTION = """Show the sidecar at work, in one process and with nothing to install: a Kafka broker, simulated
collectors (one stops, one freezes, some records are invalid), services that ingest exchange rates (one stops within a
round, one repeats its events, one has a wrong clock), a trading program that pushes its metrics, and the real sidecar.
At the end, compare the sent records with the metrics and events: exit 0 when they agree, 1 when not."""

_SEED = 1
# How many times as often as usual the collectors send, so that the numbers change visibly.
_RATE = 4.0
SERVICES = tuple(
    SimulatedService(source, codes, period_ms=5_000, duration_ms=1_500, failure=failure, fails_after_ms=20_000)
    for source, codes, failure in (
        ("rates", ("USD", "EUR", "JPY"), Failure.NONE),
        ("rates-stopping", ("GBP", "CHF"), Failure.STOPS),
        ("rates-repeating", ("CNY", "HKD"), Failure.REPEATS),
        ("rates-slow-clock", ("AUD", "CAD"), Failure.CLOCK),
    )
)
# Fixed, because learning a threshold takes minutes.
_THRESHOLD = "10s"
_ANSWER_SECONDS = 10.0
_CATCH_UP_SECONDS = 15.0
_SCRAPE_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the description and the options of the demo to a parser."""
    parser.description = _DESCRIPTION
    parser.add_argument("--seconds", type=positive, metavar="N", help="how long (default: until interrupted)")
    parser.add_argument(
        "--web.listen-address",
        dest="listen_address",
        default="127.0.0.1:8000",
        metavar="ADDRESS",
        help="where the sidecar serves HTTP (default: %(default)s)",
    )
    parser.add_argument("--tls", action="store_true", help="serve HTTPS, for the user demo with the password demo")


def main(args: argparse.Namespace) -> int:
    """Run the demo until its time is over, or SIGINT or SIGTERM; print the comparison and return the exit code."""
    stopping = threading.Event()
    signals.take().stop_by(stopping.set)
    broker = EmbeddedBroker()
    try:
        with TemporaryDirectory(prefix="marketdata-demo-") as folder:
            return _run(_write(broker.bootstrap_servers, args, Path(folder)), args.seconds, stopping)
    except (ListenError, files.NoCertificateError) as error:
        hint = "; --web.listen-address chooses another address" if isinstance(error, ListenError) else ""
        print(f"demo: {error}{hint}", file=sys.stderr)
        return 1
    finally:
        broker.stop()


def _write(bootstrap_servers: str, args: argparse.Namespace, folder: Path) -> Path:
    """Write the configuration file and what it needs, and return its path."""
    settings = {
        "instance": "demo",
        "kafka.bootstrap_servers": bootstrap_servers,
        "input.start": "earliest",
        "feeds.thresholds": [{"silent": _THRESHOLD, "frozen": _THRESHOLD}],
        "metrics.histograms": "both",
        "output.delivery": "at_least_once",
        "output.summary_interval": "10s",
        "web.listen_address": args.listen_address,
        "web.enable_lifecycle": True,
        "web.push.enabled": True,
        "ingestion.enabled": True,
        "log.level": "warn",
    }
    return files.write_config(folder, settings | (files.write_web_file(folder) if args.tls else {}))


def _load(file: Path) -> Config:
    return load(file.read_text(), {}, {}, hostname=socket.gethostname(), read_file=_no_file)


def _no_file(path: str) -> str:
    raise OSError(f"the demo reads no other files: {path}")


def _run(file: Path, seconds: float | None, stopping: threading.Event) -> int:
    """Run collectors and sidecar until `seconds` are over or `stopping` is set, stop both, and compare."""
    config = _load(file)
    logs.configure(config.log.level, config.log.format)
    kafka = {"bootstrap.servers": config.kafka.bootstrap_servers}
    simulator = Simulator(_SEED, faster(FEEDS, _RATE), now_ms())
    services = ServiceSimulator(_SEED, SERVICES, now_ms())
    _create_topics(kafka, [*simulator.topics, *INGESTION_TOPICS])
    app = App(config, load=partial(_load, file))
    with ThreadPoolExecutor(1, "sidecar") as pool:
        running = _start(app, pool, stopping)
        try:
            served = authority(host_and_port(config.web.listen_address)[0], app.port)
            address = healthcheck.authority(served)
            _print(_greeting(address, config, file))
            with _pushing(address, config):
                senders = [Collectors(each, kafka) for each in (simulator, services)]
                errors = _collect(senders, seconds, stopping)
            truth = report.sent(simulator.truth) + report.sent_events(services)
            counted = _caught_up(served, config.web, report.records(truth), running)
        finally:
            app.stop()
        if not running.result():
            errors.append("the sidecar did not stop in time")
    published, dropped = _published(kafka, config.output.topic)
    rows = report.side_by_side(truth, counted, published)
    verdict = report.verdict(rows, dropped, errors)
    _print(["", *report.table(rows), *_caveat(dropped), *verdict])
    return 0 if verdict == [report.AGREE] else 1


def _create_topics(kafka: Mapping[str, str], topics: Sequence[str]) -> None:
    """Create the topics by asking for them: the embedded broker has no other way."""
    producer = Producer({**kafka, "log_level": 0})
    for topic in topics:
        producer.list_topics(topic, timeout=_ANSWER_SECONDS)


def _start(app: App, pool: Executor, stopping: threading.Event) -> Future[bool]:
    """Run the sidecar and wait until it serves; raise the error that prevents it. Its end sets `stopping`."""
    started = threading.Event()
    running = pool.submit(app.run, started)
    running.add_done_callback(lambda _: started.set())
    running.add_done_callback(lambda _: stopping.set())
    started.wait()
    if running.done():
        running.result()
    return running


@contextmanager
def _pushing(address: str, config: Config) -> Iterator[None]:
    """Let the trading program push meanwhile; not over HTTPS, where it would not know the certificate."""
    if config.web.config_file is not None:
        yield
        return
    pipeline = Pipeline(f"http://{address}", _SEED)
    pipeline.start()
    try:
        yield
    finally:
        pipeline.stop()


def _collect(senders: Sequence[Collectors[Any]], seconds: float | None, stopping: threading.Event) -> list[str]:
    """Run the collectors and services for `seconds`, or until `stopping` is set; return what failed."""
    for each in senders:
        each.start()
    stopping.wait(seconds)
    _print(["", "The collectors stop; the sidecar reads and publishes the remaining records."])
    for each in senders:
        each.stop()
    failed = sum(each.failed for each in senders)
    return [f"{failed} records did not reach the broker"] if failed else []


def _caught_up(address: str, web: WebConfig, records: int, running: Future[bool]) -> report.Figures:
    """Scrape until this many records are counted, or the time-out; return the counts."""
    deadline = time.monotonic() + _CATCH_UP_SECONDS
    counted = report.Figures()
    while report.records(counted) < records and not running.done() and time.monotonic() < deadline:
        time.sleep(_SCRAPE_SECONDS)
        counted = report.in_metrics(healthcheck.ask(address, web.telemetry_path, _ANSWER_SECONDS, web).text)
    return counted


def _published(kafka: Mapping[str, str], topic: str) -> tuple[report.Figures, int]:
    """Return the sums of the events in the event topic, and how many events the broker has dropped."""
    published = report.Figures()
    events = EventReader()
    with TopicReader(kafka, "demo", _ANSWER_SECONDS) as reader:
        partitions = reader.partitions(Subscription([topic]))
        first, written = reader.first(partitions), reader.written(partitions)
        spans = {place: Span(first[place], written[place], written[place]) for place in partitions}
        for message in reader.read(spans):
            try:
                published.update(report.in_event(events.read(message.value(), message.headers())))
            except UnreadableError:
                published[topic, report.UNREADABLE] += 1
    return published, sum(first.values())


def _print(lines: Iterable[str]) -> None:
    print("\n".join(lines), flush=True)


def _greeting(served: str, config: Config, file: Path) -> Iterator[str]:
    url, curl = f"http://{served}", "curl -s"
    if config.web.config_file is not None:
        url, curl = f"https://{served}", f"{curl} --cacert {config.web.client.ca_file} -u {files.USER}:{files.USER}"
    metrics = f"{url}{config.web.telemetry_path}"
    yield "Simulated collectors send, and the sidecar counts and publishes:"
    yield f"  {url}/"
    yield f"  {url}/api/v1/feeds"
    yield f"  {metrics}   (native histograms as well, for a Prometheus that requests them)"
    yield f"  {curl} {metrics} | grep marketdata_batches_total"
    if config.web.config_file is None:
        yield "A simulated trading program pushes its metrics; one of its stages is slow on purpose:"
        yield f"  {url}/programs/{JOB}/instance/{INSTANCE}"
    yield "Simulated services ingest exchange rates in rounds; three of them fail after a while:"
    yield f"  {url}/api/v1/ingestion"
    yield from (f"  {each.source} {each.failure} after {each.fails_after_ms / 1000:g} s" for each in SERVICES[1:])
    yield f"Its configuration is {file}: edit it, and"
    yield f"  {curl} -X POST {url}/-/reload"
    if config.web.config_file is None:
        yield "With --tls it serves HTTPS, and asks for a password."
    else:
        yield f"User and password are {files.USER}; a browser warns of the certificate, which is made for this demo."
    yield f"Some feeds fail on purpose; the sidecar reports them after {_THRESHOLD} of silence or unchanged prices:"
    yield from (f"  {feed.key} {failure}" for feed in FEEDS for failure in _failures(feed))
    yield f"Kafka is part of this process, on {config.kafka.bootstrap_servers}: in memory, 4 partitions a topic,"
    yield "the last 5 MiB of each. Its transactions are not real, so delivery here is at_least_once, not exactly_once."
    yield "Ctrl-C ends the demo, which then compares the sent, counted and published numbers."


def _failures(feed: SimulatedFeed) -> Iterator[str]:
    if feed.silent_after_ms < math.inf:
        yield f"stops after {feed.silent_after_ms / 1000:g} s"
    if feed.frozen_after_ms < math.inf:
        yield f"freezes after {feed.frozen_after_ms / 1000:g} s: the prices do not change any more"
    if feed.invalid_ratio:
        yield f"sends invalid records: {feed.invalid_ratio:.0%}"
    if feed.wrong_size_ratio:
        yield f"declares a wrong batch_size in {feed.wrong_size_ratio:.0%} of its batches"


def _caveat(dropped: int) -> list[str]:
    if not dropped:
        return []
    return [f"The broker has dropped its {dropped} oldest events, so the events may count fewer than were sent."]
