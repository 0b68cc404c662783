"""A sidecar that reads at full rate, and one attack on it."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer

from tests.bench.figures import ROOT, quantile
from tests.bench.process import memory
from tests.hostile.attack import Attack, Target
from tests.hostile.observer import Observer, Seen
from tests.hostile.row import Row
from tests.support.kafka import Broker
from tests.support.sidecar import Sidecar
from tests.support.waiting import eventually

PARTITIONS, FEEDS, MESSAGES = 4, 200, 20
# More than are read in the time of one attack.
RECORDS = 700_000
BEFORE_SECONDS, ATTACK_SECONDS = 6.0, 10.0
FIRST_STAMP_MS = 1_760_031_213_000


class Attacked(Sidecar):
    """A sidecar that may have only so many descriptors."""

    def __init__(self, directory: Path, settings: Mapping[str, object], descriptors: int | None) -> None:
        super().__init__(directory, settings)
        self._descriptors = descriptors

    def command(self) -> list[str]:
        """See Part."""
        limit = [] if self._descriptors is None else ["prlimit", f"--nofile={self._descriptors}:{self._descriptors}"]
        return [*limit, *super().command()]

    def ended(self) -> int | None:
        """Ask it to end; return its exit code, None when it does not end in time."""
        process = self._process
        assert process is not None
        process.terminate()
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            return None


class Stage:
    """Sidecars that each read the same topic from its beginning, one for each attack."""

    def __init__(self, broker: Broker, directory: Path) -> None:
        self._broker = broker
        self._directory = directory
        self._topic = broker.create_topic("ticker-data.hostile", PARTITIONS)
        for name in ("hostile-events", "hostile-errors"):
            broker.create_topic(name, 2)
        _fill(broker, self._topic)

    def suffer(self, module: str, name: str, attack: Attack, **settings: object) -> Row:
        """Let a sidecar read, and attack it meanwhile; `module` has the attack under its name in `ATTACKS`.

        Settings are written with two underscores for the dot.
        """
        sidecar = self._sidecar(attack, settings)
        sidecar.start()
        try:
            eventually(lambda: sidecar.batches() > 0, 30)
            before = Observer(sidecar.port, BEFORE_SECONDS).seen()
            target = Target(sidecar.port, self._broker.bootstrap, self._topic)
            with _attacking(module, name, target, attack.processes):
                during = Observer(sidecar.port, ATTACK_SECONDS).seen()
            return _row(name, before, during, memory(sidecar.pid).most / 1e6, sidecar.ended())
        finally:
            sidecar.kill()

    def _sidecar(self, attack: Attack, settings: Mapping[str, object]) -> Attacked:
        name = uuid.uuid4().hex[:8]
        given = {
            "kafka.bootstrap_servers": self._broker.bootstrap,
            "input.topics": [self._topic],
            "input.group": f"hostile-{name}",
            "input.start": "earliest",
            "output.topic": "hostile-events",
            "output.error_topic": "hostile-errors",
            **{key.replace("__", "."): value for key, value in settings.items()},
        }
        return Attacked(self._directory / name, given, attack.descriptors)


@contextmanager
def _attacking(module: str, name: str, target: Target, processes: int) -> Iterator[None]:
    """The attack goes on within this, for a second longer than it is watched."""
    arguments = [module, name, json.dumps(target), str(ATTACK_SECONDS + 1)]
    command = [sys.executable, "-m", "tests.hostile.attack", *arguments]
    attackers = [subprocess.Popen(command, cwd=ROOT) for _ in range(processes)]
    try:
        yield
    finally:
        _end(attackers)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _row(name: str, before: Seen, during: Seen, memory_mb: float, exit_code: int | None) -> Row:
    return Row(
        name,
        scrape_p99=quantile(during.scrapes, 0.99),
        scrape_worst=max(during.scrapes),
        scrapes=len(during.scrapes),
        scrapes_failed=during.scrapes_failed,
        checks=len(during.checks),
        checks_failed=during.checks_failed,
        reading=during.rate / before.rate if before.rate else None,
        memory_mb=memory_mb,
        exit_code=exit_code,
    )


def _fill(broker: Broker, topic: str) -> None:
    settings = {"linger.ms": 20, "compression.type": "lz4", "queue.buffering.max.messages": 200_000}
    producer = Producer({"bootstrap.servers": broker.bootstrap, **settings})
    for index in range(RECORDS):
        while True:
            try:
                producer.produce(topic, _batch(index), partition=index % FEEDS % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0


def _batch(index: int) -> bytes:
    """A batch of all feeds in turn, as collectors write it."""
    turn, feed = divmod(index, FEEDS)
    stamp = FIRST_STAMP_MS + 100 * turn
    rows = ",".join(
        f'{{"target_currency":"KRW-{row}","timestamp":{stamp - 5},"last":{100 + (turn + row) % 50}.5}}'
        for row in range(MESSAGES)
    )
    head = f'"region":"korea","exchange":"exchange{feed}","request_type":"ticker","timestamp_ms":{stamp}'
    return f'{{{head},"batch_size":{MESSAGES},"data":[{rows}]}}'.encode()
