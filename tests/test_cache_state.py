"""The state of a cache service: when it is healthy and ready, and its page."""

from __future__ import annotations

import pytest

from exporter.model import Status
from exporter.tools.cache.state import STUCK_SECONDS, PartitionState, ServiceState, text_lines

PARTITIONS = (PartitionState("exchange_rate_updated/0", 7, 2), PartitionState("cache_invalidation/0", None, 0))
GOOD = ServiceState(True, PARTITIONS, 0.0, None)


def test_a_service_whose_loops_turn_is_healthy_whatever_else_fails() -> None:
    assert ServiceState(False, (), STUCK_SECONDS - 1, "Redis is away").healthy() == Status(True)
    assert GOOD._replace(stuck_seconds=61.4).healthy() == Status(False, ("nothing was done for 61 s",))


@pytest.mark.parametrize(
    ("state", "reasons"),
    [
        (GOOD, ()),
        (GOOD._replace(partitions=()), ()),
        (GOOD._replace(is_member=False), ("Kafka: not a member of the group yet",)),
        (GOOD._replace(redis_error="OOM"), ("Redis: OOM",)),
    ],
)
def test_a_service_is_ready_when_it_is_a_member_and_redis_takes_writes(
    state: ServiceState, reasons: tuple[str, ...]
) -> None:
    assert state.ready(("a warning",)) == Status(not reasons, reasons, ("a warning",))


def test_the_page_has_the_oldest_rates_first() -> None:
    counts = {("exchange_rate_updated", "applied"): 3.0}
    lines = list(
        text_lines(GOOD._replace(redis_error="OOM"), counts, {"USD": 990.0, "EUR": 900.0, "JPY": 1005.0}, 1000)
    )
    assert lines == [
        "cache service: not ready",
        "  Redis: OOM",
        "",
        "partitions:",
        "  exchange_rate_updated/0 lag 7 queued 2",
        "  cache_invalidation/0 lag unknown queued 0",
        "",
        "events:",
        "  exchange_rate_updated applied 3",
        "",
        "rates:",
        "  EUR updated 100 s ago",
        "  USD updated 10 s ago",
        "  JPY updated 0 s ago",
    ]
