"""A real sidecar reloads beside a real broker while records flow: it counts exactly, and errors change nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import NamedTuple

import pytest
import requests

from tests.support.kafka import Broker
from tests.support.sidecar import Deployment, Sidecar
from tests.support.traffic import FEEDS, SPREAD, disordered, missing, surplus, totals
from tests.support.waiting import eventually

RELOADS = 20
LEFT_OUT = FEEDS[0]
SUCCESSFUL = "marketdata_exporter_config_last_reload_successful"
TIMESTAMP = "marketdata_exporter_config_last_reload_success_timestamp_seconds"
PENDING = "marketdata_exporter_config_keys_awaiting_restart"


class Life(NamedTuple):
    """One sidecar and what it reads."""

    deployment: Deployment
    sidecar: Sidecar


@pytest.fixture(scope="module")
def life(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """That of a sidecar that lives through all of these tests, in their order."""
    with Deployment(broker, tmp_path_factory.mktemp("reload")) as deployment:
        deployment.create_outputs()
        yield Life(deployment, deployment.sidecar("one", "--web.enable-lifecycle").start())


def exact(deployment: Deployment, sidecar: Sidecar) -> bool:
    """Whether the metrics are exactly what was written."""
    page = sidecar.scrape()
    return all(
        (
            page.total("marketdata_batches_total", **feed._asdict()),
            page.total("marketdata_messages_total", **feed._asdict()),
        )
        == counts
        for feed, counts in totals(deployment.traffic.batches).items()
    )


def test_twenty_reloads_under_load_count_and_publish_each_batch_once(life: Life) -> None:
    deployment, sidecar = life
    with deployment.traffic.flowing():
        for number in range(RELOADS):
            written = len(deployment.traffic.batches)
            sidecar.configure(
                feeds__exclude=[f"test:{number}:*"],
                feeds__thresholds=[{"silent": f"{20 + number}s"}],
                feeds__expected=[str(SPREAD)] if number % 2 else [],
                feeds__find_duplicates=bool(number % 2),
                output__summary_interval=f"{1 + number % 3}s",
                output__commit_interval=f"{10 + number}ms",
                input__limits={"messages": 1000 + number},
            )
            if number % 4 == 3:
                sidecar.signal(signal.SIGHUP)
                eventually(lambda number=number: f"test:{number}:*" in sidecar.get("/config").text)  # type: ignore[misc]
            else:
                answer = sidecar.reload()
                assert answer.ok, answer.text
                assert "output.commit_interval" in answer.text
            eventually(lambda written=written: len(deployment.traffic.batches) > written)  # type: ignore[misc]
    deployment.eventually_committed()
    assert eventually(lambda: exact(deployment, sidecar))
    page = sidecar.scrape()
    assert page.total("marketdata_records_total", topic=deployment.topic) == len(deployment.traffic.batches)
    assert page.total("marketdata_records_redelivered_total") == page.total("marketdata_records_rejected_total") == 0
    thresholds = page.series("marketdata_feed_stale_threshold_seconds")
    assert {one.value for one in thresholds} == {20 + RELOADS - 1}


def test_a_feed_that_is_left_out_for_a_while_is_filtered_meanwhile_and_counted_otherwise(life: Life) -> None:
    deployment, sidecar = life
    with deployment.traffic.flowing():
        for number in range(6):
            written = len(deployment.traffic.batches)
            sidecar.configure(feeds__exclude=[] if number % 2 else [str(LEFT_OUT)])
            assert "feeds.exclude" in sidecar.reload().text
            eventually(lambda written=written: len(deployment.traffic.batches) > written)  # type: ignore[misc]
    written = len(deployment.traffic.batches)
    assert eventually(lambda: sidecar.scrape().total("marketdata_records_total") == written)
    page = sidecar.scrape()
    filtered = page.total("marketdata_records_filtered_total")
    assert 0 < filtered < written / len(FEEDS)
    assert page.total("marketdata_batches_total") == written - filtered


def test_a_flood_of_signals_is_a_few_reloads(life: Life) -> None:
    sidecar = life.sidecar
    before = sidecar.scrape().total(TIMESTAMP)
    for _ in range(1000):
        sidecar.signal(signal.SIGHUP)
    assert eventually(lambda: sidecar.scrape().total(TIMESTAMP) > before)
    assert sidecar.reload().text == "reloaded, changed: nothing\n"
    assert sidecar.get("/-/healthy").ok


def test_a_bad_file_or_none_leaves_everything_as_it_was_and_is_told_everywhere(life: Life) -> None:
    sidecar = life.sidecar
    asked, configuration = time(), sidecar.get("/config").text
    assert sidecar.reload().ok
    assert eventually(lambda: sidecar.scrape().total(TIMESTAMP) >= asked - 0.001)
    before = sidecar.scrape().total(TIMESTAMP)
    file = sidecar.directory / "config.yml"
    good = file.read_text()
    for text, words in (
        (good + "\nnothing: 1\nredis: {ttl: 1s}\n", "nothing: unknown key"),
        (good + "\n{", "this is not YAML"),
        ("missing", "the file cannot be read"),
        ("pipe", "is no regular file and cannot be read again"),
    ):
        file.unlink(missing_ok=True)
        if text == "pipe":
            os.mkfifo(file)
        elif text != "missing":
            file.write_text(text)
        answer = sidecar.reload()
        assert answer.status_code == 500
        assert words in answer.text
        assert eventually(lambda: sidecar.scrape().total(SUCCESSFUL) == 0)
        assert sidecar.scrape().total(TIMESTAMP) == before
    assert "warning: the configuration is not reloaded" in sidecar.get("/-/ready").text
    eventually(lambda: "configuration not reloaded, the old one stays in force" in sidecar.log)
    assert sidecar.get("/config").text == configuration
    file.unlink()
    file.write_text(good)
    assert sidecar.reload().text == "reloaded, changed: nothing\n"
    assert eventually(lambda: sidecar.scrape().total(SUCCESSFUL) == 1)
    assert before < sidecar.scrape().total(TIMESTAMP) <= time()


def test_what_needs_a_restart_is_named_everywhere_and_the_rest_is_in_force(life: Life, tmp_path: Path) -> None:
    sidecar = life.sidecar
    secret = tmp_path / "secret"
    secret.write_text("s3cret-word")
    sidecar.configure(
        input__group="another", kafka__producer_properties={"sasl.password": f"${{file:{secret}}}"}, log__format="json"
    )
    named = "restart needed for kafka.producer_properties.sasl.password, input.group"
    assert sidecar.reload().text.splitlines() == ["reloaded, changed: log.format", named]
    assert f"warning: {named}" in sidecar.get("/-/ready").text
    assert eventually(lambda: sidecar.scrape().total(PENDING) == 2)
    assert "s3cret" not in sidecar.log + sidecar.get("/config").text
    eventually(lambda: sidecar.log.rstrip().splitlines()[-1].startswith("{"))


def test_the_log_level_is_changed_until_the_next_reload(life: Life) -> None:
    sidecar = life.sidecar
    address = f"http://127.0.0.1:{sidecar.port}/-/log-level"
    assert requests.put(address, params={"level": "error"}, timeout=10).text == "error\n"
    assert sidecar.get("/-/log-level").text == "error\n"
    sidecar.reload()
    assert sidecar.get("/-/log-level").text == "info\n"


def test_reloads_while_partitions_move_to_another_replica_and_back_are_not_fatal(life: Life) -> None:
    deployment, sidecar = life
    sidecar.configure(input__group=deployment.group, kafka__producer_properties={}, log__format="logfmt")
    other = deployment.sidecar("two")
    with deployment.traffic.flowing():
        other.start()
        assert eventually(lambda: sidecar.reload().ok and other.get("/-/ready").ok, 30)
        other.stop()
    deployment.eventually_committed()
    assert sidecar.reload().text == "reloaded, changed: nothing\n"


def test_at_the_end_each_batch_that_is_not_left_out_has_one_event_and_the_summaries_add_up(life: Life) -> None:
    deployment, sidecar = life
    filtered = sidecar.scrape().total("marketdata_records_filtered_total")
    sidecar.signal(signal.SIGHUP)
    sidecar.stop()
    told, written = deployment.told(), deployment.traffic.batches
    left_out = missing(told.batches, written)
    assert {batch.feed for batch in left_out} == {LEFT_OUT}
    assert len(left_out) == filtered
    assert not surplus(told.batches, written)
    assert not disordered(told.batches)
    assert told.summaries == totals(batch for batch in written if batch not in left_out)
    assert deployment.committed() == deployment.traffic.ends()
