"""The groups that programs have pushed to this process, which only it remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily

from exporter.config.web_schema import PushConfig
from exporter.instrument.exposition import AnyFamily
from exporter.instrument.groups import Group
from exporter.pushes.bodies import BodyLimits
from exporter.pushes.consistency import Own
from exporter.pushes.family import PushedFamily, Result
from exporter.pushes.page import with_groups
from exporter.pushes.store import Moment, PushLimits, PushStore, StoredGroup
from exporter.runtime.clock import Clock

# After a push the next one waits for so many times its duration, so that pushes without a pause take half of a thread.
REST, REST_SECONDS_MAX = 1, 1.0
# Those of other families of the sidecar no program may have.
_SHARED = ("process_", "python_")


class PushedGroups:
    """The groups; see `exporter.instrument.groups.Groups`. Changed by one thread, read by any.

    The registry has the sidecar's families that programs have as well, and gets those about pushes.
    """

    def __init__(self, config: PushConfig, registry: CollectorRegistry, clock: Clock) -> None:
        own = Own(each for each in registry.collect() if each.name.startswith(_SHARED))
        self._store = PushStore(_limits(config), own)
        self._clock = clock
        self._rested_at = 0.0
        self._pushes = Counter(
            "marketdata_exporter_pushes", "Pushes of other programs, by result.", ["result"], registry=registry
        )
        for result in Result:
            self._pushes.labels(result)
        registry.register(self)

    @property
    def body_limits(self) -> BodyLimits:
        """The limits of a body: twice as many samples as are kept, for those that are left out."""
        return BodyLimits(self._store.limits.bytes, 2 * self._store.limits.series)

    def use(self, config: PushConfig) -> None:
        """Put other limits in force; what is there already stays within the new time."""
        self._store.limits = _limits(config)

    def push(self, labels: Mapping[str, str], read: Callable[[], Sequence[PushedFamily]], *, replaces: bool) -> None:
        """See `PushStore.push`; `read` returns the families."""
        self._clock.sleep(max(0.0, self._rested_at - self._clock.monotonic()))
        began = self._clock.monotonic()
        try:
            self._store.push(labels, read(), self._now(), replaces=replaces)
        finally:
            ended = self._clock.monotonic()
            self._rested_at = ended + min(REST * (ended - began), REST_SECONDS_MAX)

    def delete(self, labels: Mapping[str, str]) -> None:
        """See `PushStore.delete`."""
        self._store.delete(labels, self._now())

    def count(self, result: Result) -> None:
        """Count a push."""
        self._pushes.labels(result).inc()

    def groups(self) -> list[Group]:
        """See `Groups`."""
        now = self._now()
        return [self._shown(group, now) for group in self._store.groups(now)]

    def extend(self, own: Sequence[AnyFamily]) -> list[AnyFamily]:
        """Return the families of a page from those of the sidecar."""
        return with_groups(own, self._store.groups(self._now()))

    def collect(self) -> Iterator[Metric]:
        """Yield the families about what the groups take."""
        size = self._store.size(self._now())
        yield GaugeMetricFamily("marketdata_exporter_push_groups", "Groups that were pushed.", size.groups)
        yield GaugeMetricFamily("marketdata_exporter_push_series", "Series of all pushed groups.", size.series)
        yield GaugeMetricFamily("marketdata_exporter_push_bytes", "Text of all pushed groups on a page.", size.bytes)

    def _now(self) -> Moment:
        return Moment(self._clock.now_ms() / 1000, self._clock.monotonic())

    def _shown(self, group: StoredGroup, now: Moment) -> Group:
        return Group(
            group.labels,
            [family.metric for family in group.families.values()],
            group.pushed.unix_seconds if group.pushed else 0.0,
            group.failed.unix_seconds if group.failed else 0.0,
            now.unix_seconds + self._store.expires(group) - now.monotonic_seconds,
        )


def _limits(config: PushConfig) -> PushLimits:
    return PushLimits(config.ttl, config.max_groups, config.max_series, config.max_bytes)
