"""The demo shows the sidecar at work, and tells at its end whether what went in and what came out agree."""

import argparse
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pytest
import requests
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import FeedKey, Partition, Reason
from exporter.tools.audit.ledger import BatchFacts
from exporter.tools.audit.readers import BatchEvent, SummaryEvent
from exporter.tools.demo import report
from exporter.tools.demo.command import add_arguments
from exporter.tools.simulate.market import FEEDS, FeedTruth, Truth
from tests.support.metrics_proto import read_page
from tests.support.process import free_port
from tests.support.sidecar import PROGRAM
from tests.support.waiting import eventually

END_SECONDS = 60.0
LAST_LINE = "Ctrl-C ends the demo, which then compares the sent, counted and published numbers.\n"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
UPBIT = FeedKey("korea", "upbit", "ticker")


@contextmanager
def demo(
    *arguments: str, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The installed command on a free port, and the URL under which it serves."""
    address = f"127.0.0.1:{free_port()}"
    command = [str(PROGRAM), "demo", f"--web.listen-address={address}", *arguments]
    environment = {**os.environ, **environment}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        yield process, f"http://{address}"
    finally:
        process.kill()
        process.communicate()


def test_demo_ends_after_its_time_and_agrees() -> None:
    """Every feed has its rows, and the exit code is 0."""
    with demo("--seconds", "4") as (process, url):
        out, err = process.communicate(timeout=END_SECONDS)
    assert process.returncode == 0, out + err
    lines = out.splitlines()
    assert lines[-1] == "agree"
    for feed in FEEDS:
        row = next(line.split() for line in lines if line.startswith(str(feed.key)) and " batches " in line)
        assert row[2] == row[3] == row[4] != "0"
    assert f"{url}/api/v1/feeds" in out
    assert f"{url}/programs/signals/instance/demo" in out
    assert "at_least_once" in out


def test_demo_serves_what_it_says_and_ends_cleanly_when_interrupted() -> None:
    """The addresses on its first lines answer, all feeds and a program appear, and SIGINT ends it with the table."""
    with demo() as (process, url):
        assert process.stdout is not None
        next(line for line in process.stdout if url in line)
        eventually(lambda: len(_counted_feeds(url)) == len(FEEDS), END_SECONDS)
        assert requests.get(f"{url}/", timeout=END_SECONDS).ok
        eventually(lambda: _slow_stages(url) == {"signal_generation"}, END_SECONDS)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=END_SECONDS)
    assert process.returncode == 0, out + err
    assert "in /metrics" in out
    assert out.splitlines()[-1] == "agree"


def test_demo_with_tls_shows_what_its_first_lines_say(tmp_path: Path) -> None:
    """HTTPS with a password, native histograms, and a reload of the file that they name; in the end all agrees."""
    with demo("--tls", environment={"TMPDIR": str(tmp_path)}) as (process, url):
        assert process.stdout is not None
        url = url.replace("http:", "https:")
        greeting = list(iter(process.stdout.readline, LAST_LINE))
        (folder,) = tmp_path.iterdir()
        command = next(line for line in greeting if line.endswith(f"-X POST {url}/-/reload\n"))
        assert any(str(folder / "sidecar.yml") in line for line in greeting)
        ask = partial(requests.get, auth=("demo", "demo"), verify=str(folder / "cert.pem"), timeout=END_SECONDS)
        assert requests.get(f"{url}/", verify=str(folder / "cert.pem"), timeout=END_SECONDS).status_code == 401
        assert ask(f"{url}/").ok
        eventually(lambda: has_native(ask(f"{url}/metrics", headers={"Accept": PROTOBUF}).content), END_SECONDS)
        change_threshold(folder / "sidecar.yml")
        reloaded = subprocess.run(command.split(), capture_output=True, text=True, timeout=END_SECONDS, check=True)
        assert "feeds.thresholds" in reloaded.stdout
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, out.splitlines()[-1]) == (0, "agree"), out + err
    assert list(tmp_path.iterdir()) == []


def has_native(page: bytes) -> bool:
    """Whether batch sizes are native histograms."""
    found = [family for family in read_page(page) if family.name == "marketdata_batch_size"]
    return any(metric.histogram.positive_span for family in found for metric in family.metric)


def change_threshold(file: Path) -> None:
    """Let no feed be silent before half an hour."""
    config = yaml.safe_load(file.read_text())
    config["feeds"]["thresholds"][0]["silent"] = "30m"
    file.write_text(yaml.safe_dump(config))


def test_demo_with_tls_needs_openssl() -> None:
    """One line says so."""
    with demo("--tls", environment={"PATH": "/nowhere"}) as (process, _):
        out, err = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, out, len(err.splitlines())) == (1, "", 1)
    assert "openssl" in err


def test_a_second_signal_ends_a_demo_that_is_ending() -> None:
    """What it would compare is lost, nothing hangs, and the code is the one that shells expect."""
    with demo() as (process, url):
        assert process.stdout is not None
        next(line for line in process.stdout if url in line)
        for number in (signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
        _, err = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, err) == (128 + signal.SIGTERM, "")


def _counted_feeds(url: str) -> list[str]:
    rows = requests.get(f"{url}/api/v1/feeds", timeout=END_SECONDS).json()["data"]
    return [row["exchange"] for row in rows if row["batches"]]


def _slow_stages(url: str) -> set[str]:
    """The stages over their thresholds of the program that pushes."""
    found = requests.get(f"{url}/api/v1/programs?program=signals/instance/demo", timeout=END_SECONDS).json()
    rows = found["data"]["stages"] if found["status"] == "success" else []
    return {row["stage"] for row in rows if row["threshold_seconds"] and row["p95_seconds"] > row["threshold_seconds"]}


def test_address_that_is_taken_is_named_with_the_flag_to_choose_another() -> None:
    """One line, and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [str(PROGRAM), "demo", f"--web.listen-address={address}"],
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
            check=False,
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert address in done.stderr
    assert "--web.listen-address" in done.stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_time_that_is_none_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a mistake in the arguments."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([f"--seconds={seconds}"])
    assert ended.value.code == 2
    assert "--seconds" in capsys.readouterr().err


# The comparison.


TRUTH = Truth({UPBIT: FeedTruth(2, 300, 50, 0.1, 1)})
TRUTH.invalid_records["ticker-data.korea", Reason.EMPTY] = 3
METRICS = """\
# TYPE marketdata_batches_total counter
marketdata_batches_total{region="korea",exchange="upbit",request_type="ticker"} 2
# TYPE marketdata_messages_total counter
marketdata_messages_total{region="korea",exchange="upbit",request_type="ticker"} 300
# TYPE marketdata_batch_unique_symbols histogram
marketdata_batch_unique_symbols_bucket{region="korea",exchange="upbit",request_type="ticker",le="+Inf"} 2
marketdata_batch_unique_symbols_count{region="korea",exchange="upbit",request_type="ticker"} 2
marketdata_batch_unique_symbols_sum{region="korea",exchange="upbit",request_type="ticker"} 50
# TYPE marketdata_anomalies_total counter
marketdata_anomalies_total{region="korea",exchange="upbit",request_type="ticker",kind="size_mismatch"} 1
marketdata_anomalies_total{region="korea",exchange="upbit",request_type="ticker",kind="unreadable_field"} 0
# TYPE marketdata_records_rejected_total counter
marketdata_records_rejected_total{topic="ticker-data.korea",reason="empty"} 3
marketdata_records_rejected_total{topic="ticker-data.korea",reason="too_deep"} 0
"""
EVENTS = (
    BatchEvent(Partition("ticker-data.korea", 0), 0, BatchFacts(UPBIT, 100, 20, 0.05, 1)),
    BatchEvent(Partition("ticker-data.korea", 0), 1, BatchFacts(UPBIT, 200, 30, 0.03, 2)),
    SummaryEvent(UPBIT, 2, 300),
    None,
)


def told() -> report.Figures:
    """What the events say."""
    figures = report.Figures()
    for event in EVENTS:
        figures.update(report.in_event(event))
    return figures


def verdict(sent: report.Figures, counted: report.Figures, told: report.Figures, dropped: int = 0) -> list[str]:
    """The last lines of a demo."""
    return report.verdict(report.side_by_side(sent, counted, told), dropped)


def test_sides_that_say_the_same_agree() -> None:
    """Where a side has nothing to say there is no difference, and what is 0 on all sides has no row."""
    rows = report.side_by_side(report.sent(TRUTH), report.in_metrics(METRICS), told())
    assert rows == [
        report.Row("korea:upbit:ticker", "batches", 2, 2, 2),
        report.Row("korea:upbit:ticker", "batches in summaries", 2, None, 2),
        report.Row("korea:upbit:ticker", "messages", 300, 300, 300),
        report.Row("korea:upbit:ticker", "size_mismatch anomalies", 1, 1, None),
        report.Row("korea:upbit:ticker", "unique symbols", 50, 50, 50),
        report.Row("ticker-data.korea", "rejected empty", 3, 3, None),
    ]
    assert report.verdict(rows, dropped=0) == ["agree"]


def test_records_behind_metrics_are_batches_and_rejected_ones() -> None:
    """These are all that the collectors send."""
    assert report.records(report.in_metrics(METRICS)) == 5


@given(st.sampled_from(["sent", "counted", "told"]), st.data(), st.integers(-2, 5).filter(bool))
def test_any_number_that_is_changed_on_any_side_differs(side: str, data: st.DataObject, change: int) -> None:
    """One line says which, with the number of each side."""
    figures = {"sent": report.sent(TRUTH), "counted": report.in_metrics(METRICS), "told": told()}
    key = data.draw(st.sampled_from(sorted(+figures[side])))
    figures[side][key] += change
    (line,) = verdict(figures["sent"], figures["counted"], figures["told"])
    assert line.startswith(f"differ: {key[0]}: {key[1]}: ")
    assert str(figures[side][key]) in line


def test_feed_that_nobody_sent_differs() -> None:
    """In the metrics as well as in the events."""
    invented = report.Figures({("korea:none:ticker", "batches"): 1})
    assert verdict(report.Figures(), invented, report.Figures())[0].startswith(
        "differ: korea:none:ticker: batches: 0 sent"
    )
    assert verdict(report.Figures(), report.Figures(), invented)[0].startswith(
        "differ: korea:none:ticker: batches: 0 sent"
    )


def test_what_cannot_be_read_as_an_event_differs() -> None:
    """However much else agrees."""
    spoiled = told() + report.Figures({("monitoring.batch.performance", report.UNREADABLE): 1})
    (line,) = verdict(report.sent(TRUTH), report.in_metrics(METRICS), spoiled)
    assert line == "differ: monitoring.batch.performance: unreadable: 0 sent, 1 in events"


def test_events_may_say_less_but_not_more_once_the_broker_dropped_some() -> None:
    """No more may be missing than were dropped, and the metrics must still say all."""
    sent, counted = report.sent(TRUTH), report.in_metrics(METRICS)
    batches = (str(UPBIT), "batches")
    fewer, more = told() - report.Figures({batches: 1}), told() + report.Figures({batches: 1})
    assert verdict(sent, counted, fewer, dropped=1) == ["agree"]
    assert verdict(sent, counted, more, dropped=1) != ["agree"]
    none = report.Figures()
    assert verdict(sent, counted, none, dropped=2) == ["agree"]
    assert verdict(sent, counted, none, dropped=1) == ["differ: 2 events are missing, of which at most 1 were dropped"]
    assert verdict(sent, counted - report.Figures({batches: 1}), told(), dropped=1) != ["agree"]


def test_trouble_is_told_beside_the_differences() -> None:
    """It is a difference of its own."""
    assert report.verdict([], 0, ["2 records did not reach the broker"]) == [
        "differ: 2 records did not reach the broker"
    ]


def test_table_names_a_feed_once() -> None:
    """Its columns stand below their heads."""
    rows = [report.Row("a:b:c", "batches", 2, 2, 2), report.Row("a:b:c", "size_mismatch anomalies", 1, 1, None)]
    assert report.table(rows) == [
        "                                    sent  in /metrics  in events",
        "a:b:c  batches                         2            2          2",
        "       size_mismatch anomalies         1            1          -",
    ]
