"""The settings of a load test: profiles, and how users are shared among targets. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from exporter.config.web_schema import WebClientConfig
from exporter.loadtest.results import Setting

STRESS = "stress"
TARGETS = ("http", "kafka", "redis")
# Of the users of `all`.
WEIGHTS = {"http": 3, "kafka": 2, "redis": 1}


class Profile(msgspec.Struct, frozen=True):
    """The numbers of a profile: users, users that begin a second, and seconds."""

    text: str
    users: int
    spawn_rate: float
    seconds: float


PROFILES = {
    "smoke": Profile("does it work at all", 5, 5, 60),
    "load": Profile("an ordinary day", 20, 2, 600),
    "spike": Profile("the opening of a market", 100, 20, 60),
    "soak": Profile("does it stay as it is", 25, 2.5, 1800),
    "volume": Profile("many at once", 200, 10, 900),
    STRESS: Profile("rises until it breaks", 20, 20, 900),
}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The target figures of the verdict."""

    mean_ms: float = 500.0
    p95_ms: float = 1000.0
    per_second: float = 100.0
    errors_percent: float = 1.0
    availability_percent: float = 99.9
    lost: int = 0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a run.

    `rate` is that of Kafka messages a second, by default the users times `user_rate`, requests a second and user.
    `messages` ends a run once as many are sent. `url` is the address of a sidecar, such as http://localhost:8000, with
    metrics at `metrics_path`, and `client` how to authenticate there. `processes` are those watched, by name; `workers`
    those of Locust.
    """

    profile: str
    targets: tuple[str, ...]
    users: int
    spawn_rate: float
    seconds: float
    limits: Limits = Limits()
    user_rate: float = 50.0
    rate: float | None = None
    kafka_threads: int = 2
    messages: int | None = None
    batch_size: int = 20
    step_seconds: float = 20.0
    partitions: int = 4
    topic: str | None = None
    allow_existing: bool = False
    url: str | None = None
    metrics_path: str = "/metrics"
    client: WebClientConfig = WebClientConfig()
    is_embedded: bool = False
    web: bool = False
    web_port: int = 8089
    workers: int = 1
    processes: dict[str, int] = {}

    @property
    def kafka_rate(self) -> float:
        """Messages a second, once all users have begun."""
        return self.rate or self.share("kafka") * self.user_rate

    @property
    def ramp_seconds(self) -> float:
        """Seconds until all users have begun."""
        return min(self.seconds, self.users / self.spawn_rate)

    def share(self, target: str) -> int:
        """Return how many of the users are those of a target: at least one."""
        return shares(self.users, self.targets)[target]

    def shown(self) -> dict[str, Setting]:
        """Return the settings for a report."""
        sections = ("limits", "client", "processes")
        plain = {name: getattr(self, name) for name in self.__struct_fields__ if name not in sections}
        return {**plain, "targets": ",".join(self.targets), **msgspec.to_builtins(self.limits)}


def shares(users: int, targets: Sequence[str]) -> dict[str, int]:
    """Return the users of each target by its weight: at least one each, and else as many in all as there are."""
    left, weights = users, sum(WEIGHTS[target] for target in targets)
    found: dict[str, int] = {}
    for target in targets:
        found[target] = max(1, round(left * WEIGHTS[target] / weights))
        left, weights = left - found[target], weights - WEIGHTS[target]
    return found
