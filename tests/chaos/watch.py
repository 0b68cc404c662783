"""Who watches while faults happen: a consumer of the events, and a scraper of the sidecars."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Event, Lock, Thread
from time import monotonic
from typing import NamedTuple, Self

import requests
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from tests.support.cluster import Cluster
from tests.support.sidecar import Sidecar

POLL_SECONDS = 0.1
SCRAPE_SECONDS = 10.0
BATCH = b"marketdata.monitoring.batch_collected"


class Place(NamedTuple):
    """Where the record of a batch lies; its `ce_id` taken apart."""

    partition: int
    offset: int


class Watcher:
    """A thread that does the same again and again within a `with`."""

    def __init__(self) -> None:
        self._stopped = Event()
        self._thread = Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopped.is_set():
            self.look()

    def look(self) -> None:
        """Do it once."""
        raise NotImplementedError


class Reader(Watcher):
    """Reads committed events as they come. `told` counts the events of each batch, `order` has them as they lie."""

    def __init__(self, cluster: Cluster, topic: str, partitions: int) -> None:
        super().__init__()
        self.told: Counter[Place] = Counter()
        self.order: dict[int, list[Place]] = defaultdict(list)
        self._lock = Lock()
        self._consumer = Consumer({
            "bootstrap.servers": cluster.bootstrap,
            "group.id": "watcher",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "reconnect.backoff.max.ms": 500,  # what is measured is how soon the sidecars are back
            "log_level": 0,
        })  # fmt: skip
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._consumer.close()

    def look(self) -> None:
        """See Watcher."""
        messages = self._consumer.consume(500, POLL_SECONDS)
        with self._lock:
            for message in messages:
                if message.error() is None:
                    self._read(message)

    def missing(self, ends: dict[int, int]) -> int:
        """How many batches before these ends are not told of."""
        with self._lock:
            return sum(Place(number, at) not in self.told for number, end in ends.items() for at in range(end))

    def doubled(self) -> int:
        """How many events are one too many."""
        with self._lock:
            return sum(self.told.values()) - len(self.told)

    def _read(self, message: Message) -> None:
        headers = dict(message.headers() or [])
        if headers["ce_type"] == BATCH:
            _, partition, offset = headers["ce_id"].decode().rsplit("/", 2)  # type: ignore[union-attr]
            place = Place(int(partition), int(offset))
            self.told[place] += 1
            self.order[message.partition() or 0].append(place)


def accepted(order: Iterable[Place]) -> list[Place]:
    """What is left by the rule for consumers: of each source partition only what lies above all that came before."""
    highest: dict[int, int] = {}
    kept: list[Place] = []
    for place in order:
        if place.offset > highest.get(place.partition, -1):
            highest[place.partition] = place.offset
            kept.append(place)
    return kept


class Scraper(Watcher):
    """Scrapes the sidecars that are said to be up, and counts what was not answered, or late."""

    def __init__(self, up: Callable[[], list[Sidecar]]) -> None:
        super().__init__()
        self.scrapes = 0
        self.failures: list[str] = []
        self.slowest = 0.0
        self._up = up

    def look(self) -> None:
        """See Watcher."""
        for sidecar in self._up():
            began = monotonic()
            problem = self._scrape(sidecar)
            if sidecar not in self._up():
                continue  # it was stopped in the meantime
            self.scrapes += 1
            self.slowest = max(self.slowest, monotonic() - began)
            if problem:
                self.failures.append(problem)
        self._stopped.wait(POLL_SECONDS)

    @staticmethod
    def _scrape(sidecar: Sidecar) -> str:
        with suppress(requests.RequestException):
            answer = requests.get(f"http://127.0.0.1:{sidecar.port}/metrics", timeout=SCRAPE_SECONDS)
            return "" if answer.ok else f"{answer.status_code}"
        return "no answer"
