"""What a load test measured, as values and as one JSON document. Pure.

Latencies are milliseconds, other durations seconds, sizes bytes, processor shares cores (1.0 is one busy core) if the
name does not have another unit. None stands for what was not measured; a measured nothing is 0.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import msgspec

FORMAT = 1

Setting = bool | int | float | str | None


class ResultsError(Exception):
    """A file does not have the results of a load test, for the reason in the text."""


class Ended(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    BROKER_DIED = "broker died"
    SIDECAR_DIED = "sidecar died"
    STORE_DIED = "store died"
    DISK_FULL = "disk full"
    FAILED = "failed"


class Outcome(StrEnum):
    """What became of a target figure."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


class _Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all values of a run."""


class Bucket(_Result, frozen=True, kw_only=True):
    """The number of latencies up to `upper_ms` that are above the bucket before."""

    upper_ms: float
    count: int


class Distribution(_Result, frozen=True, kw_only=True):
    """Latencies: mean and max are exact, quantiles within 1 %. `buckets` are those with values, ascending."""

    count: int
    mean: float
    max: float
    p50: float
    p75: float
    p90: float
    p95: float
    p99: float
    p99_9: float
    buckets: tuple[Bucket, ...] = ()


class Interval(_Result, frozen=True, kw_only=True):
    """One second of a run, or some of a long one, `at` seconds after its start.

    Latencies are None when nothing was answered in it.
    """

    at: float
    count: int
    seconds: float = 1.0
    errors: int = 0
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class Slice(_Result, frozen=True, kw_only=True):
    """A piece of a run, `at` seconds after its start, with all latencies: what runs are compared by."""

    at: float
    seconds: float
    errors: int
    latency: Distribution | None


class Part(_Result, frozen=True, kw_only=True):
    """One kind of request to a target, such as `GET /metrics` or `write`."""

    name: str
    answered: int
    errors: dict[str, int]
    latency: Distribution | None


class TargetResult(_Result, frozen=True, kw_only=True):
    """What was measured at one target: `http`, `kafka` or `redis`.

    `unit` is what is counted: requests, messages (each with a batch) or operations. `seconds` is how long requests were
    sent. Each request is in `answered` or in `errors`, or without either in `unanswered`. `latency` counts from when a
    request was due if `is_open`, that is, if requests are sent on a schedule; otherwise from when it was sent.
    `lost` and `repeated` messages are found by reading back what was acknowledged; `events_missing` is how many of
    those have no committed event. `end_to_end` has latencies from when a message was due, by where it arrived: `event`
    (committed event) and `metrics` (visible in /metrics); `not_reached` names those where they should have arrived and
    none of the warm-up did, so that they were not measured.
    """

    name: str
    unit: str
    seconds: float
    sent: int
    answered: int
    errors: dict[str, int]
    is_open: bool = False
    unanswered: int = 0
    wanted_per_second: float | None = None
    latency: Distribution | None = None
    timeline: tuple[Interval, ...] = ()
    slices: tuple[Slice, ...] = ()
    parts: tuple[Part, ...] = ()
    lost: int | None = None
    repeated: int | None = None
    events_missing: int | None = None
    events_repeated: int | None = None
    end_to_end: dict[str, Distribution] = {}
    not_reached: tuple[str, ...] = ()
    connections: int | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """The number of requests with an error."""
        return sum(self.errors.values())

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return self.answered / self.seconds if self.seconds > 0 else 0.0


class MachineSample(_Result, frozen=True, kw_only=True):
    """The machine in the seconds before a sample; None where the system has no such figure."""

    cpu_cores: float
    memory_used_bytes: int
    memory_total_bytes: int
    disk_read_bytes_per_second: float | None = None
    disk_written_bytes_per_second: float | None = None
    network_received_bytes_per_second: float | None = None
    network_sent_bytes_per_second: float | None = None


class ProcessSample(_Result, frozen=True, kw_only=True):
    """One process in the seconds before a sample; `busiest_thread_cores` is at most 1.0."""

    cpu_cores: float
    memory_bytes: int
    busiest_thread_cores: float | None = None
    disk_read_bytes_per_second: float | None = None
    disk_written_bytes_per_second: float | None = None


class Sample(_Result, frozen=True, kw_only=True):
    """Resources, `at` seconds after the start; `processes` by the names under which they are watched."""

    at: float
    machine: MachineSample
    processes: dict[str, ProcessSample] = {}


class GeneratorCost(_Result, frozen=True, kw_only=True):
    """What the load test itself took: cores of its processes, and how late requests were sent.

    `lag` is from when a request was due to when it was handed to the client. `is_limit`: the figures are bounded by
    the load test rather than by what it measured, for the reasons in `evidence`.
    """

    cpu_cores: float
    cpu_cores_max: float
    memory_bytes: int
    lag: Distribution | None
    is_limit: bool
    evidence: tuple[str, ...] = ()


class Bottleneck(_Result, frozen=True, kw_only=True):
    """What limits the throughput, and the figures that show it, a line each."""

    name: str
    evidence: tuple[str, ...]


class Check(_Result, frozen=True, kw_only=True):
    """A target figure: `wanted` and `measured` as shown, such as `≤ 500 ms` and `12.3 ms`."""

    target: str
    name: str
    wanted: str
    measured: str
    outcome: Outcome


class Step(_Result, frozen=True, kw_only=True):
    """One rate of a stress test: wanted, sent and arrived messages a second, and why it did not hold, if so."""

    wanted_per_second: float
    sent_per_second: float
    arrived_per_second: float
    p99: float | None
    held: bool
    reason: str = ""


class BreakingPoint(_Result, frozen=True, kw_only=True):
    """The highest rate that held and the lowest that did not, in messages a second; None where there is none."""

    held_per_second: float | None
    broke_per_second: float | None
    steps: tuple[Step, ...]


class Machine(_Result, frozen=True, kw_only=True):
    """The machine of the load test."""

    system: str
    processor: str
    cores: float
    memory_bytes: int
    python: str
    version: str


class Run(_Result, frozen=True, kw_only=True):
    """One load test. `settings` are the values of its flags, `started_ms` is Unix milliseconds.

    `ended_because` is a sentence for a run that did not finish. `skipped` has the reason for each target that was
    asked for and not run.
    """

    profile: str
    command: str
    settings: dict[str, Setting]
    started_ms: int
    seconds: float
    machine: Machine
    ended: Ended
    ended_because: str = ""
    targets: tuple[TargetResult, ...] = ()
    skipped: dict[str, str] = {}
    samples: tuple[Sample, ...] = ()
    generator: GeneratorCost | None = None
    bottleneck: Bottleneck | None = None
    breaking_point: BreakingPoint | None = None
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    format: int = FORMAT

    def target(self, name: str) -> TargetResult | None:
        """Return the result of a target, None if it was not run."""
        return next((each for each in self.targets if each.name == name), None)


def stamp(started_ms: int) -> str:
    """Return the time of the start as in names of files: YYYYMMDD_HHMMSS in UTC."""
    return datetime.fromtimestamp(started_ms / 1000, UTC).strftime("%Y%m%d_%H%M%S")


def results_name(run: Run) -> str:
    """Return the name of the file of a run."""
    return f"load_test_results_{stamp(run.started_ms)}.json"


def encode(run: Run) -> bytes:
    """Return a run as JSON."""
    return msgspec.json.encode(run)


def decode(document: bytes) -> Run:
    """Return the run of a JSON document; raise `ResultsError` for other bytes and for formats that are not known."""
    try:
        run = msgspec.json.decode(document, type=Run)
    except msgspec.DecodeError as error:
        raise ResultsError(f"no results of a load test: {error}") from None
    if run.format != FORMAT:
        raise ResultsError(f"results of format {run.format}, this version reads {FORMAT}")
    return run
