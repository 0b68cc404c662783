"""Fields that cannot be read cost their rows these fields, on a real broker, and the feed nothing else."""

import argparse
import json
import math
import time
from typing import Any

from confluent_kafka import Producer

from exporter.model import Reason
from exporter.runtime import clock
from exporter.tools.audit import command
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually

# More than the threshold on resting prices, after a beginning in which all can be read.
FROZEN_SECONDS, WATCHED_SECONDS, READABLE = 5.0, 7.0, 20
LISTING = ["", "n/a", math.nan, "1,5", True]


class Exchange:
    """Writes batches of two feeds: in both a new listing has no price any more; in one of them the others move."""

    def __init__(self, deployment: Deployment) -> None:
        self.batches = 0
        self._topic = deployment.topic
        self._producer = Producer({"bootstrap.servers": deployment.cluster.bootstrap, "linger.ms": 0, "log_level": 0})

    def write(self) -> int:
        """Write a batch of each feed, and return how many of each there are now."""
        now_ms = clock.now_ms()
        listing = 5.0 if self.batches < READABLE else LISTING[self.batches % len(LISTING)]
        for exchange, price in (("okx", 100 + self.batches % 7), ("gopax", 100)):
            rows = [
                {"target_currency": "OLD", "timestamp": now_ms - 40, "last": price},
                {"target_currency": "NEW", "timestamp": now_ms - 30, "last": listing},
            ]
            names = {"region": "korea", "exchange": exchange, "request_type": "ticker"}
            self.send(json.dumps({**names, "timestamp_ms": float(now_ms), "data": rows}).encode())
        self.batches += 1
        return self.batches

    def send(self, value: bytes) -> None:
        self._producer.produce(self._topic, value)
        assert self._producer.flush(10) == 0


def test_a_feed_with_a_field_that_cannot_be_read_in_each_batch_is_well(deployment: Deployment) -> None:
    """It is not frozen, has prices, stamps and latencies; one whose other prices rest is. The auditor agrees."""
    rule = {"silent": "5s", "frozen": f"{FROZEN_SECONDS:g}s"}
    sidecar = deployment.sidecar(feeds__thresholds=[rule]).start()
    exchange = Exchange(deployment)

    def states() -> dict[str, str]:
        rows: list[dict[str, Any]] = sidecar.get("/api/v1/feeds").json()["data"]
        return {row["exchange"]: row["state"] for row in rows if "state" in row}

    eventually(lambda: exchange.write() >= READABLE and len(states()) == 2, 40)
    end = time.monotonic() + WATCHED_SECONDS

    def is_watched() -> bool:
        exchange.write()
        assert states().get("okx") in (None, "ok", "unknown") or f"okx is {states()}" == ""
        return time.monotonic() > end and states() == {"okx": "ok", "gopax": "frozen"}

    eventually(is_watched, 5 * WATCHED_SECONDS)
    eventually(lambda: sidecar.batches() == 2 * exchange.batches, 20)
    scrape = sidecar.scrape()
    odd = exchange.batches - READABLE
    for name in ("okx", "gopax"):
        unreadable = scrape.series("marketdata_unreadable_fields_total", exchange=name)
        assert {one["field"]: one.value for one in unreadable if one.value} == {"last": odd}
        assert scrape.total("marketdata_anomalies_total", exchange=name, kind="unreadable_field") == odd
        assert scrape.total("marketdata_message_age_seconds_count", exchange=name) == 2 * exchange.batches
        assert scrape.total("marketdata_end_to_end_latency_seconds_count", exchange=name) == exchange.batches
    assert scrape.total("marketdata_records_rejected_total") == 0
    openmetrics = sidecar.get("/metrics", Accept="application/openmetrics-text;version=1.0.0").text
    (line,) = [line for line in openmetrics.splitlines() if '"okx"' in line and 'kind="unreadable_field"' in line]
    assert f'# {{topic="{deployment.topic}",partition="' in line
    eventually(lambda: sum(deployment.committed().values()) == 2 * exchange.batches, 40)
    assert audited(deployment, f"http://127.0.0.1:{sidecar.port}/metrics") == 0


def audited(deployment: Deployment, metrics: str) -> int:
    """The exit code of an audit of topics and metrics."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    topics = ["--topic", deployment.topic, "--event-topic", deployment.events, "--metrics", metrics]
    return command.main(parser.parse_args(["--bootstrap-servers", deployment.cluster.bootstrap, *topics]))


def test_an_error_event_says_what_a_value_looks_like_and_quotes_the_place(deployment: Deployment) -> None:
    """One far behind the start of a large record."""
    sidecar = deployment.sidecar().start()
    far = b'{"fill":"%b","exchange":"upbit","region":None}' % (b"x" * 100_000)
    exchange = Exchange(deployment)
    for value in (b"\x1f\x8b\x08" + bytes(range(100)), far):
        exchange.send(value)
    eventually(lambda: sidecar.scrape().total("marketdata_records_rejected_total") == 2, 40)
    sidecar.stop()
    events = [json.loads(record.value) for record in deployment.cluster.read_all(deployment.errors)]
    told = {event["message"]: event["excerpt"] for event in events if event["reason"] == Reason.INVALID_JSON}
    word, gzip = sorted(told)
    assert word.startswith(f"None is not JSON at byte {far.index(b'None')}: ")
    assert '"region":None}' in told[word]
    assert gzip.startswith("looks like gzip; not JSON at byte 0: ")
