"""Programs of others beside the sidecar: the same topic in the same run, each killed in the middle and started again.

Each keeps histograms of the sizes of batches and writes an event for each batch, to a topic of its own. What a batch
costs is the processor time of the process between two numbers of events. After the kill it is read until all batches
have an event, or none came for a while: `lost` have none, `repeated` are events beyond the first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from exporter.model import EventType
from tests.bench.bench import Bench, Subject
from tests.bench.figures import ROOT, Case, Cases
from tests.bench.load import Shape, records
from tests.bench.process import memory, processor_seconds
from tests.support.process import free_port
from tests.support.sidecar import Sidecar

PLACE = ROOT / ".cache" / "peers"
PARTITIONS = 6
ENDLESS = str(10**9)
BEGIN_SECONDS = 60.0
LOOK_SECONDS = 0.005
# A kill at once would always come just after events were written, and so hardly ever before the commit.
MORE_SECONDS = 0.1
# A transaction that a killed process left open may hold its readers up for a minute.
QUIET_SECONDS = 75.0
SETTLED_SECONDS = 3.0
LEFT_OUT = {"Vector": "no registry has it: crates.io and PyPI have other programs of that name"}


class Job(NamedTuple):
    """What one of them has to do: a folder for it alone, and the topics."""

    bootstrap: str
    topic: str
    events: str
    folder: Path


class Peer(NamedTuple):
    """One of them: how it is started, and which batch an event is about, None for other events."""

    name: str
    command: Callable[[Job], Sequence[str]]
    batch_of: Callable[[Message], object]
    environment: Callable[[Job], Mapping[str, str]] = lambda job: {}


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Measure all that are installed; the others are named as left out."""
    topic = bench.topics(PARTITIONS).input
    _fill(bench.broker.bootstrap, topic, options.batches)
    bench.progress(f"{options.batches:,} batches written")
    chosen = [peer for peer in _peers() if not options.only or peer.name in options.only]
    rounds = [{peer.name: _measure(bench, peer, topic, options) for peer in chosen} for _ in range(options.repeats)]
    cases = {peer.name: _merged([each[peer.name] for each in rounds]) for peer in chosen}
    return cases | {f"{name}: left out, {why}": Case() for name, why in (_absent() | LEFT_OUT).items()}


def _fill(bootstrap: str, topic: str, number: int) -> None:
    """Write batches that have their number in a field that no program has to know."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    for place, sent in enumerate(islice(records(Shape()), number)):
        value = sent.value[:-1] + b',"number":%d}' % place
        while True:
            try:
                producer.produce(topic, value, partition=sent.feed % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def _peers() -> list[Peer]:
    found = [
        Peer("bare", lambda job: _python("bare", job, ENDLESS, ENDLESS, job.events), _of_header),
        Peer("ordinary", lambda job: _python("ordinary", job, ENDLESS, ENDLESS, job.events), _of_header),
        Peer("sidecar, native", lambda job: _sidecar(job, "auto"), _of_header),
        Peer("sidecar, Python", lambda job: _sidecar(job, "python"), _of_header),
        Peer("quixstreams", lambda job: _theirs("quix", job), _of_json),
        Peer("faust-streaming", lambda job: _theirs("streaming", job), _of_json),
        Peer("Telegraf", _telegraf, lambda event: _of_json(event, "fields"), _telegraf_environment),
    ]
    return [peer for peer in found if peer.name not in _absent()]


def _absent() -> dict[str, str]:
    """Return which of them are not installed, and why."""
    absent: dict[str, str] = {}
    if not (PLACE / "python").is_dir():
        absent |= dict.fromkeys(("quixstreams", "faust-streaming"), _reason("python"))
    if not (PLACE / "bin" / "telegraf").is_file():
        absent["Telegraf"] = _reason("telegraf")
    return absent


def _reason(part: str) -> str:
    log = PLACE / f"{part}.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return lines[-1] if lines else "`make bench ARGS=peers` installs it"


def _python(name: str, job: Job, *arguments: str) -> Sequence[str]:
    return [sys.executable, "-m", f"tests.bench.{name}", job.bootstrap, job.topic, *arguments]


def _theirs(name: str, job: Job) -> Sequence[str]:
    python = str(PLACE / "python" / "bin" / "python")
    return [python, "-m", f"tests.bench.peer.{name}", job.bootstrap, job.topic, job.events, str(job.folder)]


def _sidecar(job: Job, core: str) -> Sequence[str]:
    settings = {
        "kafka.bootstrap_servers": job.bootstrap,
        "instance": job.events,
        "input.topics": [job.topic],
        "input.start": "earliest",
        "input.group": job.events,
        "input.core": core,
        "kafka.consumer_properties": {"session.timeout.ms": 6000},
        "output.topic": job.events,
        "output.error_topic": f"{job.topic}-errors",
    }
    return Sidecar(job.folder, settings).command()


def _telegraf(job: Job) -> Sequence[str]:
    return [str(PLACE / "bin" / "telegraf"), "--config", str(ROOT / "tests" / "bench" / "peer" / "telegraf.toml")]


def _telegraf_environment(job: Job) -> Mapping[str, str]:
    return {"BROKER": job.bootstrap, "TOPIC": job.topic, "EVENTS": job.events, "PORT": str(free_port())}


def _of_header(event: Message) -> object:
    headers: dict[str, Any] = dict(event.headers() or [])
    kind = headers.get("ce_type", b"x").decode()
    is_batch = kind == "x" or kind.endswith(EventType.BATCH)
    return headers["ce_id"] if is_batch else None


def _of_json(event: Message, inner: str = "") -> object:
    value = json.loads(event.value() or b"{}")
    return (value[inner] if inner else value)["number"]


def _measure(bench: Bench, peer: Peer, topic: str, options: argparse.Namespace) -> Case:
    """Run one of them until it has written half of the events, kill it, and let it go on to the end."""
    events = f"events-{next(_numbers)}-{topic}"
    bench.broker.create_topic(events, 1)
    job = Job(bench.broker.bootstrap, topic, events, bench.directory / events)
    job.folder.mkdir()
    with ExitStack() as parts:
        # What is not yet committed counts for the cost, and only for that.
        watcher, reader = (_reader(job, isolation) for isolation in ("read_uncommitted", "read_committed"))
        parts.callback(watcher.close)
        parts.callback(reader.close)
        with _running(peer, job) as process:
            case = _cost(watcher, job, process, options)
        bench.progress(f"{peer.name}: {case['processor_us'][0]:.1f} µs a batch; killed")
        with _running(peer, job):
            case |= _rest(reader, peer, job, options.batches)
    bench.progress(f"{peer.name}: {case['lost'][0]:.0f} lost, {case['repeated'][0]:.0f} repeated")
    return case


_numbers = count()


def _reader(job: Job, isolation: str) -> Any:
    settings: dict[str, Any] = {"bootstrap.servers": job.bootstrap, "group.id": f"reader-{job.events}"}
    return Consumer({**settings, "auto.offset.reset": "earliest", "isolation.level": isolation})


@contextmanager
def _running(peer: Peer, job: Job) -> Iterator[subprocess.Popen[bytes]]:
    """Run it until it is killed; what it says goes to a file."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(job.folder), **peer.environment(job)}
    with (job.folder / "log").open("ab") as log:
        process = subprocess.Popen(peer.command(job), cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _cost(watcher: Any, job: Job, process: subprocess.Popen[bytes], options: argparse.Namespace) -> Case:
    """Return the cost of a batch between the first events and half of them, or as many as there are in time."""
    place = TopicPartition(job.events, 0)
    begun: tuple[int, float] | None = None
    deadline = time.monotonic() + BEGIN_SECONDS
    while True:
        written, spent = watcher.get_watermark_offsets(place, timeout=10)[1], processor_seconds(process.pid)
        is_late = time.monotonic() > deadline
        if process.poll() is not None or (is_late and (begun is None or written == begun[0])):
            raise RuntimeError(f"it wrote {written} events:\n{(job.folder / 'log').read_text()[-2000:]}")
        if begun is None and written:
            begun, deadline = (written, spent), time.monotonic() + options.seconds
        if begun is not None and written > begun[0] and (is_late or written >= options.batches // 2):
            break
        time.sleep(LOOK_SECONDS)
    time.sleep(MORE_SECONDS)
    cost = (spent - begun[1]) / (written - begun[0])
    return {"processor_us": [cost * 1e6], "memory_mb": [memory(process.pid).most / 1e6]}


def _rest(reader: Any, peer: Peer, job: Job, batches: int) -> Case:
    """Read all events while it goes on, until they are complete or no more come."""
    seen: set[object] = set()
    total, newest = 0, time.monotonic()
    reader.assign([TopicPartition(job.events, 0, 0)])
    while time.monotonic() - newest < (SETTLED_SECONDS if len(seen) == batches else QUIET_SECONDS):
        for event in reader.consume(1000, 0.2):
            batch = None if event.error() else peer.batch_of(event)
            if batch is not None:
                seen.add(batch)
                total, newest = total + 1, time.monotonic()
    return {"lost": [float(batches - len(seen))], "repeated": [float(total - len(seen))]}


def _merged(cases: list[Case]) -> Case:
    return {name: [value for case in cases for value in case[name]] for name in cases[0]}


def _add_options(parser: argparse.ArgumentParser) -> None:
    names = ("bare", "ordinary", "sidecar, native", "sidecar, Python", "quixstreams", "faust-streaming", "Telegraf")
    parser.add_argument("--batches", type=int, default=60_000, help="batches of the topic (60000)")
    parser.add_argument("--seconds", type=float, default=30.0, help="at most so long until the kill (30)")
    parser.add_argument("--repeats", type=int, default=1, help="rounds (1)")
    parser.add_argument("--only", nargs="+", choices=names, default=[], help="which of them (all)")


PEERS = Subject(
    "programs of others beside the sidecar: cost of a batch, and a kill in the middle", _add_options, measure
)
