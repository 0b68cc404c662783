"""What the load test and the processes of Locust send each other, as JSON. Pure."""

from __future__ import annotations

import msgspec

# The environment variable with the number of the socket between them.
CHANNEL = "MARKETDATA_LOADTEST_CHANNEL"
# More than a report has: latencies are reported in pieces of at most LATENCIES_MAX.
MESSAGE_BYTES = 1 << 20
LATENCIES_MAX = 2000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the users of Locust request; `seconds_between` are those from one request of a user to its next.

    `url` has scheme and host, `metrics_path` is the path of the metrics. Of all `users`, which `workers` processes
    share, `watchers` read the stream. If `is_stepped`, all of them request metrics, and only in a `Step`.
    """

    url: str
    metrics_path: str
    seconds_between: float
    users: int
    workers: int
    watchers: int
    is_stepped: bool = False
    timeout_seconds: float
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    username: str | None = None
    password: str | None = None


class Kind(msgspec.Struct):
    """Requests of one kind: milliseconds from when each was due to its answer, and the number of each error.

    In steps `dues` are those times, by `time.monotonic`.
    """

    latencies: list[float] = []
    dues: list[float] = []
    errors: dict[str, int] = {}


class Report(msgspec.Struct, tag=True):
    """What a process with users has seen since its last report, within the second around a time of `time.monotonic`.

    `lags` are milliseconds from when a request could be sent, as it was due and its user had the answer before, to when
    it was; in steps `lag_dues` are the times when it could. `overdue` requests were not sent before the end. `kinds`
    are by the name of the request. Of the `served` pages that were read, `served_ms` is the sum from sending to the
    whole answer, and `transfer_ms` that from its head on.
    """

    at: float
    pid: int
    sent: int = 0
    overdue: int = 0
    received_bytes: int = 0
    lags: list[float] = []
    lag_dues: list[float] = []
    served: int = 0
    served_ms: float = 0.0
    transfer_ms: float = 0.0
    kinds: dict[str, Kind] = {}


class Ready(msgspec.Struct, tag=True):
    """All processes are connected and wait for `Start`."""


class Start(msgspec.Struct, tag=True):
    """The users may begin; nothing is due from `until` on, by `time.monotonic`."""

    until: float


class Step(msgspec.Struct, tag=True):
    """The users may send `rate` requests a second together, from one time of `time.monotonic` to another."""

    number: int
    begin: float
    end: float
    rate: float


class Done(msgspec.Struct, tag=True):
    """A process has sent what it could of a step, and has all answers."""

    number: int
    pid: int


def decode(message: bytes) -> Ready | Report | Done:
    """Return a message of Locust: workers report from when they exist, so reports may come before all are ready."""
    return msgspec.json.decode(message, type=Ready | Report | Done)
