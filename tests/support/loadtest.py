"""Load tests of real parts, in this process."""

import http.client
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from exporter.config.loader import load
from exporter.config.schema import Config
from exporter.loadtest.disk import ReportRoom
from exporter.loadtest.engine import LoadRun, Outputs, Place
from exporter.loadtest.http.target import HttpTarget
from exporter.loadtest.kafka.target import KafkaTarget
from exporter.loadtest.redis.target import RedisTarget
from exporter.loadtest.results import Run
from exporter.loadtest.run_log import RunLog
from exporter.loadtest.settings import Settings
from exporter.loadtest.target import Patience, Target
from tests.support.process import Part
from tests.support.sidecar import Deployment, Sidecar
from tests.support.waiting import eventually

# Those of the loop that work on records.
STAGES = ("decode", "analyze", "publish")
# Of parts that die: a test waits less long to be sure.
IMPATIENT = Patience(answer=3.0, down=1.0, event=5.0)
LOOPBACK = "127.0.0.1"

AnyPart = TypeVar("AnyPart", bound=Part)


def configured(bootstrap: str, **settings: object) -> Config:
    """A configuration for these brokers; settings are written with two underscores for the dot."""
    flags = {name.replace("__", "."): value for name, value in settings.items()}
    return load(None, {}, {"kafka.bootstrap_servers": bootstrap, **flags}, hostname="test", read_file=lambda _: "")


def settings(**given: Any) -> Settings:
    """Settings of a short run."""
    defaults = {"profile": "smoke", "targets": ("kafka",), "users": 5, "spawn_rate": 50, "seconds": 3.0}
    return Settings(**{**defaults, **given})


class Started:
    """A load test in a thread of its own; `lines` are those for a terminal."""

    def __init__(
        self,
        folder: Path,
        given: Settings,
        config: Config,
        log: Path | None = None,
        patience: Patience = IMPATIENT,
    ) -> None:
        self.stopping, self.lines = threading.Event(), list[str]()
        self._log = RunLog(log or folder / "log.jsonl")
        self._room = ReportRoom(folder)
        outputs = Outputs(self._log, self._room, self.lines.append)
        place = Place(_address(config), (LOOPBACK, 0))
        self.targets = targets(given, config, patience)
        self._load = LoadRun(given, self.targets, {}, place, outputs)
        self._run: Run | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def result(self) -> Run:
        """Wait for its end."""
        self._thread.join()
        self._log.close()
        self._room.release()
        if self._error is not None:
            raise self._error
        assert self._run is not None
        return self._run

    @property
    def metrics_url(self) -> str:
        """Where its own metrics are; empty before they are served."""
        return next((line.rsplit(" ", 1)[1] for line in self.lines if "own metrics" in line), "")

    @property
    def steps(self) -> int:
        """How many steps of a stress test are over."""
        return sum(" held" in line or " broke" in line for line in self.lines)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            self._run = self._load.run(self.stopping, "loadtest", {})
        except BaseException as error:
            self._error = error


def targets(given: Settings, config: Config, patience: Patience) -> Sequence[Target]:
    """The targets that are asked for."""
    made: list[Target] = []
    if "http" in given.targets:
        made.append(HttpTarget(given))
    if "kafka" in given.targets:
        made.append(KafkaTarget(given, config, patience))
    if "redis" in given.targets:
        made.append(RedisTarget(given, config.redis, patience))
    return made


def _address(config: Config) -> tuple[str, int]:
    host, _, port = config.kafka.bootstrap_servers.partition(":")
    return host, int(port)


def reading_load(deployment: Deployment, **more: object) -> Sidecar:
    """A sidecar that reads topics of load tests, not started yet."""
    return deployment.sidecar("load", input__topics=[r"^ticker-data\.loadtest-.+$"], **more)


def threads() -> set[str]:
    """The threads of load tests in this process."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("loadtest")}


def files(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(os.listdir(folder))


@contextmanager
def running(part: AnyPart) -> Iterator[AnyPart]:
    """A part from its start on; it is killed at the end, however that comes."""
    try:
        yield part.start()
    finally:
        part.kill()


class SlowScrapes(Sidecar):
    """A sidecar without a broker whose pages of metrics take `seconds` more each, as `slow_scrapes.py` says."""

    def __init__(self, directory: Path, seconds: float, *how: str) -> None:
        super().__init__(directory, {"kafka.bootstrap_servers": f"{LOOPBACK}:1", "output.enabled": False})
        self._environment = [f"SLOW_SECONDS={seconds}", *(f"{each}=1" for each in how)]

    def command(self) -> list[str]:
        """See Part."""
        _, *arguments = super().command()
        program = Path(__file__).with_name("slow_scrapes.py")
        return ["env", *self._environment, sys.executable, str(program), *arguments]

    def capacity(self, connections: int, seconds: float) -> float:
        """Pages a second that clients get that request without a pause."""
        until = time.monotonic() + seconds

        def read(_: int) -> int:
            with closing(http.client.HTTPConnection(LOOPBACK, self.port)) as connection:
                return sum(1 for _ in iter(lambda: time.monotonic() < until and _page(connection), False))

        with ThreadPoolExecutor(connections) as pool:
            return sum(pool.map(read, range(connections))) / seconds


def _page(connection: http.client.HTTPConnection) -> bytes:
    connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
    return connection.getresponse().read()


class Slowed(Sidecar):
    """A sidecar that takes `seconds` more for each batch, of the topic of a deployment, in a group of its own."""

    def __init__(self, deployment: Deployment, seconds: float, *, computes: bool) -> None:
        group = f"{deployment.group}-slow-{computes}"
        plain = deployment.sidecar("slow", input__group=group, input__start="latest")
        super().__init__(plain.directory, plain.settings)
        self._environment = [f"SLOW_SECONDS={seconds}", *(["SLOW_COMPUTES=1"] if computes else [])]

    def command(self) -> list[str]:
        """See Part."""
        _, *arguments = super().command()
        program = Path(__file__).with_name("slowed.py")
        return ["env", *self._environment, sys.executable, str(program), *arguments]

    def capacities(self, started: Started) -> list[float]:
        """Batches a second of the time that its loop was busy, in each step of a stress test, which is waited for."""
        seen = [self._worked()]
        while not started.is_over:
            eventually(lambda: started.is_over or started.steps >= len(seen), 120)
            seen.append(self._worked())
        worked = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(seen)]
        return [batches / seconds for batches, seconds in worked if batches]

    def _worked(self) -> tuple[int, float]:
        seconds = self.scrape().total
        return self.batches(), sum(seconds("marketdata_processing_seconds_sum", stage=stage) for stage in STAGES)
