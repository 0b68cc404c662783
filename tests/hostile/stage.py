"""A sidecar that reads at full rate, and one attack on it."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests
from confluent_kafka import Producer

from tests.bench.figures import ROOT, quantile
from tests.bench.process import memory
from tests.hostile.attack import Attack, Target
from tests.hostile.observer import Observer, Seen
from tests.hostile.row import Row
from tests.support.kafka import Broker
from tests.support.sidecar import Sidecar
from tests.support.waiting import eventually
from tests.support.webfile import PASSWORD, USER

PARTITIONS, FEEDS, MESSAGES = 4, 200, 20
FIRST_STAMP_MS = 1_760_031_213_000


class Lengths(NamedTuple):
    """How many records there are to read, and how many seconds a sidecar is watched before an attack and during it."""

    records: int
    before_seconds: float
    attack_seconds: float


# More than are read in the time of one attack.
WHOLE = Lengths(2_000_000, 4.0, 10.0)
SHORT = Lengths(30_000, 1.0, 3.0)


class Attacked(Sidecar):
    """A sidecar whose command begins with the prefix of an attack."""

    def __init__(self, directory: Path, settings: Mapping[str, object], prefix: Sequence[str]) -> None:
        super().__init__(directory, settings)
        self._prefix = prefix

    def command(self) -> list[str]:
        """See Part."""
        return [*self._prefix, *super().command()]

    def get(self, path: str, **headers: str) -> requests.Response:
        """See Sidecar; with a web configuration file by TLS and with a password."""
        if "web.config_file" not in self.settings:
            return super().get(path, **headers)
        url, authority = f"https://127.0.0.1:{self.port}{path}", str(self.settings["web.client.ca_file"])
        return requests.get(url, headers=headers, auth=(USER, PASSWORD), verify=authority, timeout=10)

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
    """Sidecars that each read the same topic from its beginning, and one of its own, one for each attack."""

    def __init__(self, broker: Broker, directory: Path, lengths: Lengths = WHOLE) -> None:
        self._broker = broker
        self._directory = directory
        self._lengths = lengths
        self._topic = broker.create_topic("ticker-data.hostile", PARTITIONS)
        for name in ("hostile-events", "hostile-errors"):
            broker.create_topic(name, 2)
        _fill(broker, self._topic, lengths.records)

    def suffer(self, module: str, name: str, attack: Attack, **settings: object) -> Row:
        """Let a sidecar read, and attack it meanwhile; `module` has the attack under its name in `ATTACKS`.

        Settings are written with two underscores for the dot.
        """
        given = {key.replace("__", "."): value for key, value in settings.items()}
        topic = self._broker.create_topic(f"ticker-data.{uuid.uuid4().hex[:8]}", PARTITIONS)
        sidecar = self._sidecar(topic, attack.prefix, {**attack.settings, **given})
        sidecar.start()
        try:
            eventually(lambda: sidecar.batches() > 0, 30)
            authority = str(given.get("web.client.ca_file", ""))
            before = Observer(sidecar.port, self._lengths.before_seconds, authority).seen()
            seconds = self._lengths.attack_seconds
            with _attacking(module, name, Target(sidecar.port, self._broker.bootstrap, topic), seconds):
                during = Observer(sidecar.port, seconds, authority).seen()
            self._assert_left(sidecar)
            memory_mb, exit_code = memory(sidecar.pid).most / 1e6, sidecar.ended()
            return _row(name, before, during, memory_mb, len(sidecar.log) / 1e3, exit_code)
        finally:
            sidecar.kill()

    def _assert_left(self, sidecar: Attacked) -> None:
        """An attack on a sidecar that has read everything would be on one that rests."""
        left = sidecar.scrape().total("marketdata_consumer_lag_records", topic=self._topic)
        assert left or self._lengths is not WHOLE, "all records were read before the attack had ended"

    def _sidecar(self, topic: str, prefix: Sequence[str], settings: Mapping[str, object]) -> Attacked:
        given = {
            "kafka.bootstrap_servers": self._broker.bootstrap,
            "input.topics": [self._topic, topic],
            "input.group": f"group-{topic}",
            "input.start": "earliest",
            "output.topic": "hostile-events",
            "output.error_topic": "hostile-errors",
            **settings,
        }
        return Attacked(self._directory / topic, given, prefix)


@contextmanager
def _attacking(module: str, name: str, target: Target, seconds: float) -> Iterator[None]:
    """The attack goes on within this, for a second longer than it is watched."""
    command = [sys.executable, "-m", "tests.hostile.attack", module, name, json.dumps(target), str(seconds + 1)]
    attacker = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        try:
            attacker.wait(10)
        except subprocess.TimeoutExpired:
            attacker.kill()
            attacker.wait()


def _row(name: str, before: Seen, during: Seen, memory_mb: float, log_kb: float, exit_code: int | None) -> Row:
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
        log_kb=log_kb,
        exit_code=exit_code,
    )


def _fill(broker: Broker, topic: str, records: int) -> None:
    settings = {"linger.ms": 20, "compression.type": "lz4", "queue.buffering.max.messages": 200_000}
    producer = Producer({"bootstrap.servers": broker.bootstrap, **settings})
    for index in range(records):
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
