"""The protocol of what is load-tested."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.results import Distribution, Ended, TargetResult
from exporter.loadtest.schedule import Schedule
from exporter.loadtest.trace import Trace

if TYPE_CHECKING:
    import threading


class Failure(NamedTuple):
    """Why a run cannot go on; `because` is a sentence."""

    ended: Ended
    because: str


class Counts(NamedTuple):
    """What has happened at a target so far; `latency` is that of what was answered."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    latency: Distribution | None = None


class Patience(NamedTuple):
    """After how many seconds a part counts as dead rather than as slow: longer than the stalls that are measured.

    `answer`: a service answers nothing although something is on its way; `down`: no connection to it is possible;
    `event`: no event comes although some are missing.
    """

    answer: float = 10.0
    down: float = 5.0
    event: float = 20.0


class TargetError(Exception):
    """A target cannot be tested, for the reason in the text; nothing was sent to it."""


class Target(Protocol):
    """A service under load, with threads or processes of its own between `prepare` and `stop`.

    `counts` and `failure` may be called at any time by any thread and do not block.
    """

    name: str

    @property
    def lag(self) -> LatencyHistogram:
        """How late requests were sent: from when each was due and could be sent, to when it was handed to the client.

        The load test alone is the cause of it; what waits for the target counts as latency.
        """

    def pids(self) -> dict[str, int]:
        """Return the processes of the load test that send, by name; none for what sends in this one."""

    def prepare(self, stopping: threading.Event) -> None:
        """Connect, and make what the run needs; return early when `stopping` is set, and raise `TargetError`.

        May take half a minute. What was made is removed by `stop`, also after an error.
        """

    def start(self, started: float) -> None:
        """Begin a run whose time 0 is this moment (`time.monotonic`)."""

    def counts(self) -> Counts:
        """Return what has happened so far."""

    def failure(self) -> Failure | None:
        """Return why the run must end now, None while it can go on."""

    def stop(self) -> TargetResult:
        """Send no more, wait for answers for a limited time, remove what the run has made, and return the result."""


@runtime_checkable
class SteppedTarget(Target, Protocol):
    """A target whose rate can be changed: after `start` of a stress test it sends only by `send`.

    `trace` has the latencies of what has arrived where it goes at last, `lag_trace` how late it was sent. If it
    `waits_for_answers`, a user or connection sends nothing before its last answer: what the load test itself lacks is
    in the latencies then, and not in the lag.
    """

    waits_for_answers: bool

    @property
    def trace(self) -> Trace:
        """See above."""

    @property
    def lag_trace(self) -> Trace:
        """See above."""

    @property
    def is_sending(self) -> bool:
        """Whether something of the schedule has not been sent."""

    def send(self, schedule: Schedule, base: float, seconds: float) -> None:
        """Send by a schedule whose time 0 is `base`, for so many seconds; the one before must be over."""

    def drain(self) -> bool:
        """Wait until all that was sent has arrived; return whether it has before nothing came for long."""

    def waiting(self) -> int:
        """Return how many have reached the target but not yet where they go at last."""
