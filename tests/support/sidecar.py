"""The real sidecar, in a process of its own, and groups of them over topics of their own."""

import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import requests
import yaml

from exporter.instrument.samples import samples
from tests.support.cluster import Cluster
from tests.support.process import Part, accepts_connections, free_port
from tests.support.traffic import Batch, Told, Traffic, disordered, missing, surplus, totals
from tests.support.waiting import eventually

PROGRAM = Path(sys.executable).with_name("marketdata-exporter")
ANSWER_SECONDS = 10.0
PUBLISHED_SECONDS = 40.0
COMMAND_SECONDS = 120.0


class Sample(dict[str, str]):
    """The labels of one series, with its value."""

    def __init__(self, labels: Mapping[str, str], value: float) -> None:
        super().__init__(labels)
        self.value = value


class Scrape:
    """One reading of `/metrics`."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[Sample]] = {}
        for sample in samples(text):
            self._samples.setdefault(sample.name, []).append(Sample(sample.labels, sample.value))

    def series(self, name: str, **labels: str) -> list[Sample]:
        """The series of that name with these labels and any others."""
        return [sample for sample in self._samples.get(name, ()) if labels.items() <= sample.items()]

    def total(self, name: str, **labels: str) -> float:
        """The sum of the series of that name with these labels."""
        return sum(sample.value for sample in self.series(name, **labels))


class Sidecar(Part):
    """`marketdata-exporter run`. The settings have dotted names: `{"output.delivery": "at_least_once"}`."""

    def __init__(self, directory: Path, settings: Mapping[str, object], *arguments: str) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.settings = settings
        self._arguments = arguments
        self._page_number = -1.0

    def command(self) -> list[str]:
        """See Part."""
        file = self.directory / "config.yml"
        file.write_text(yaml.safe_dump(_nested(self.settings)))
        address = f"127.0.0.1:{self.port}"
        return [str(PROGRAM), "run", f"--config.file={file}", f"--web.listen-address={address}", *self._arguments]

    def configure(self, **settings: object) -> None:
        """Write its file with other settings, as in `Deployment.sidecar`; it reads them when it reloads or starts."""
        self.settings = {**self.settings, **{name.replace("__", "."): value for name, value in settings.items()}}
        self.command()

    def ready(self) -> bool:
        """See Part: it is healthy, which is less than what `/-/ready` says."""
        return accepts_connections(self.port) and self.get("/-/healthy").ok

    def stop(self) -> None:
        """Ask it to end; AssertionError with what it logged unless it ends as it should."""
        process = self._process
        super().stop()
        assert process is None or process.returncode == 0, self.log[-3000:]

    def run_to_end(self) -> int:
        """Run it until it ends by itself; returns its exit code."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as log:
            done = subprocess.run(self.command(), stderr=log, timeout=PUBLISHED_SECONDS, check=False)
        return done.returncode

    def run(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run another command with its configuration, whether it runs itself or not."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.command()
        arguments = [str(PROGRAM), command, f"--config.file={self.directory / 'config.yml'}", *options]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)

    def get(self, path: str, **headers: str) -> requests.Response:
        """The answer to a request."""
        return requests.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=ANSWER_SECONDS)

    def reload(self) -> requests.Response:
        """The answer to a request to reload."""
        return requests.post(f"http://127.0.0.1:{self.port}/-/reload", timeout=ANSWER_SECONDS)

    def scrape(self) -> Scrape:
        """What `/metrics` says, on a page that was made after the last one was read: pages are shared for a moment."""
        return eventually(self._next_page, ANSWER_SECONDS, "the page is not made anew")

    def _next_page(self) -> Scrape | None:
        answer = self.get("/metrics")
        assert answer.ok, answer.text
        page = Scrape(answer.text)
        number = page.total("marketdata_exporter_scrape_render_seconds_count")
        is_new, self._page_number = number != self._page_number, number
        return page if is_new else None

    def snapshot(self) -> str:
        """All that the live page shows at first, as JSON."""
        url = f"http://127.0.0.1:{self.port}/api/v1/stream"
        with requests.get(url, stream=True, timeout=ANSWER_SECONDS) as answer:
            lines = answer.iter_lines(decode_unicode=True)
            return str(next(line for line in lines if line.startswith("data: "))).removeprefix("data: ")

    def batches(self) -> int:
        """How many batches it has counted, as of now."""
        rows: list[dict[str, Any]] = self.get("/api/v1/feeds").json()["data"]
        return sum(int(row["batches"]) for row in rows)


class Deployment:
    """Sidecars that share one group and nothing with other tests: input, events and errors have topics of their own.

    `config` has settings of the input topic, see `Cluster.create_topic`.
    """

    def __init__(self, cluster: Cluster, directory: Path, partitions: int = 4, **config: str | int) -> None:
        name = uuid.uuid4().hex[:8]
        self.cluster = cluster
        self.topic = cluster.create_topic(f"ticker-data.{name}", partitions, **config)
        self.events, self.errors, self.group = f"events-{name}", f"errors-{name}", f"group-{name}"
        self.traffic = Traffic(cluster, self.topic, partitions)
        self._directory = directory
        self._sidecars: list[Sidecar] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sidecar in self._sidecars:
            sidecar.kill()

    def create_outputs(self) -> Self:
        """Create the topics of events and errors."""
        for topic in (self.events, self.errors):
            self.cluster.create_topic(topic, 2)
        return self

    def sidecar(self, instance: str = "one", *arguments: str, **settings: object) -> Sidecar:
        """A sidecar that is not started yet; settings are written with two underscores for the dot."""
        given = {name.replace("__", "."): value for name, value in settings.items()}
        directory = self._directory / f"{instance}-{len(self._sidecars)}"
        sidecar = Sidecar(directory, self._settings() | {"instance": instance} | given, *arguments)
        self._sidecars.append(sidecar)
        return sidecar

    def _settings(self) -> dict[str, object]:
        return {
            "kafka.bootstrap_servers": self.cluster.bootstrap,
            # A member that was killed is given up soon; nothing is held back to save requests.
            "kafka.consumer_properties": {
                "session.timeout.ms": "2000",
                "heartbeat.interval.ms": "300",
                "fetch.wait.max.ms": "20",
                "topic.metadata.refresh.interval.ms": "500",
            },
            "input.topics": [self.topic],
            "input.group": self.group,
            "input.start": "earliest",
            "input.warm_start": 0,  # what is recovered is then for summaries only
            "output.topic": self.events,
            "output.error_topic": self.errors,
            "output.encoding": "json",
            "output.commit_interval": "20ms",
        }

    def told(self) -> Told:
        """What the events say now."""
        return Told(self.cluster.read_all(self.events))

    def committed(self) -> dict[int, int]:
        """The offsets of the group that are not 0."""
        return {number: offset for number, offset in self.cluster.committed(self.group, self.topic).items() if offset}

    def eventually_committed(self) -> None:
        """Wait until all that was written is committed."""
        ends = self.traffic.ends()
        eventually(lambda: self.committed() == ends, PUBLISHED_SECONDS, f"the group did not reach {ends}")

    def eventually_visible(self, written: Sequence[Batch] = ()) -> Told:
        """What the events say once they tell of these batches, by default of all.

        A transaction that a killed process has left open hides them until it is ended.
        """

        def told() -> Told | None:
            events = self.told()
            return None if missing(events.batches, written or self.traffic.batches) else events

        return eventually(told, PUBLISHED_SECONDS, "events are missing")

    def assert_told_once(self) -> None:
        """Each batch has one event, in order, and the summaries add up to all batches. Only once nobody runs.

        Waits, as a broker answers a commit before each partition shows it.
        """
        eventually(self._is_told_once, PUBLISHED_SECONDS, "not told once")

    def _is_told_once(self) -> bool:
        told, written = self.told(), self.traffic.batches
        assert not (left_out := missing(told.batches, written)), f"missing: {left_out}"
        assert not (more := surplus(told.batches, written)), f"too many: {more}"
        assert not disordered(told.batches), "not in order"
        assert told.summaries == totals(written), "summaries"
        assert self.committed() == self.traffic.ends(), "offsets"
        return True


def _nested(settings: Mapping[str, object]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in settings.items():
        *sections, name = path.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return nested
