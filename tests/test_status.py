"""`status` shows several sidecars as one, the worst feed first, and tells by its exit code how bad it is."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import cli
from exporter.feeds.states import FeedState
from exporter.ingestion.encodings import encode_avro
from exporter.ingestion.events import PARTITIONS, topic_of
from exporter.ingestion.view.states import SourceState
from exporter.page.rows import COLUMNS
from exporter.runtime.clock import now_ms
from exporter.tools.columns import fitted, width_of
from exporter.tools.status.overview import (
    DEGRADED,
    FINE,
    ORDER,
    FeedStatus,
    MalformedError,
    SidecarStatus,
    overview,
    rank,
    read,
)
from exporter.tools.status.sections import PortfolioState, PortfolioStatus, RateStatus, SourceStatus
from exporter.tools.status.text import as_text
from tests.support.kafka import Broker
from tests.support.process import free_port
from tests.support.rounds import begun, completed, rate
from tests.support.sidecar import PROGRAM, Deployment, Sidecar
from tests.support.waiting import eventually

NOW_MS = 1_760_000_000_000
NAMES = ("korea:upbit:ticker", "korea:bithumb:ticker", "asia:binance:trade")


def feed(name: str = NAMES[0], state: FeedState | None = FeedState.OK, **more: Any) -> FeedStatus:
    """A feed in one sidecar."""
    sidecar = None if state is None else "one"
    first = FeedStatus(name, state, (), NOW_MS - 60_000, sidecar, 10, 200, 1.0, 20.0, 5, 100, 0)
    return first._replace(**more)


def sidecar(*feeds: FeedStatus, **more: Any) -> SidecarStatus:
    """A sidecar that is ready."""
    first = SidecarStatus("http://127.0.0.1:8000", "", "one", "1.0.0", is_ready=True, partitions=4, feeds=feeds)
    return first._replace(**more)


def text(*sidecars: SidecarStatus, problems: bool = False, colors: bool = False) -> str:
    """What is printed."""
    return as_text(overview(sidecars), NOW_MS, problems=problems, colors=colors)


STATES = st.sampled_from([None, *FeedState])
FEEDS = st.builds(feed, st.sampled_from(NAMES), STATES, batches=st.integers(0, 10**12), symbols=st.integers(0, 10**6))
# A sidecar has a feed once.
SIDECARS = st.lists(FEEDS, max_size=3, unique_by=lambda each: each.name).map(lambda feeds: sidecar(*feeds))


@given(st.lists(SIDECARS, max_size=4))
def test_each_feed_is_shown_once_with_its_worst_state_and_all_its_batches(sidecars: list[SidecarStatus]) -> None:
    every = [each for one in sidecars for each in one.feeds]
    shown = overview(sidecars)
    assert sorted(each.name for each in shown.feeds) == sorted({each.name for each in every})
    for found in shown.feeds:
        same = [each for each in every if each.name == found.name]
        assert found.state == min((each.state for each in same), key=rank)
        assert found.batches == sum(each.batches for each in same)
    assert [rank(each.state) for each in shown.feeds] == sorted(rank(each.state) for each in shown.feeds)


@given(st.lists(SIDECARS, max_size=4), st.randoms())
def test_the_order_of_sidecars_changes_no_state_and_no_exit_code(sidecars: list[SidecarStatus], random: Any) -> None:
    other = random.sample(sidecars, len(sidecars))
    first, second = overview(sidecars), overview(other)
    assert first.exit_code == second.exit_code
    assert [(each.name, each.state) for each in first.feeds] == [(each.name, each.state) for each in second.feeds]


def test_every_state_has_a_place_in_the_order() -> None:
    assert sorted(ORDER) == sorted(FeedState)


@pytest.mark.parametrize("state", FeedState)
def test_the_exit_code_is_that_of_the_worst_state(state: FeedState) -> None:
    expected = 0 if state in FINE else 1 if state in DEGRADED else 3
    assert overview([sidecar(feed(state=state), feed(NAMES[1]))]).exit_code == expected


def test_a_sidecar_that_is_not_ready_or_does_not_answer_is_not_well() -> None:
    assert overview([sidecar(), sidecar(is_ready=False)]).exit_code == 1
    assert overview([sidecar(), SidecarStatus("http://127.0.0.1:1", "Connection refused")]).exit_code == 3
    assert overview([]).exit_code == 0


def test_a_feed_that_no_sidecar_reads_is_shown_and_is_no_failure() -> None:
    shown = overview([sidecar(feed(state=None))])
    assert (shown.exit_code, shown.feeds[0].sidecar) == (0, None)
    assert NAMES[0] not in text(sidecar(feed(state=None)), problems=True)


def test_the_text_has_sidecars_with_their_reasons_and_the_worst_feed_first() -> None:
    silent = feed(NAMES[2], FeedState.SILENT, reasons=("no batch for 75 s, the limit is 60 s",), age_ms=75_000)
    one = sidecar(feed(), silent, is_ready=False, reasons=("catching up on t/0",), warnings=("restart needed for x",))
    lines = text(one, SidecarStatus("http://127.0.0.1:1", "Connection refused")).splitlines()
    assert lines[0] == "2025-10-09T08:53:20Z  sidecars: 2, feeds: 2 (1 silent, 1 ok)"
    assert lines[2].split()[:3] == ["SIDECAR", "VERSION", "READY"]
    assert lines[3].split()[:4] == ["one", "1.0.0", "no", "2"]
    assert lines[4:6] == ["  not ready: catching up on t/0", "  warning: restart needed for x"]
    assert lines[7] == "  no answer: Connection refused"
    assert re.fullmatch(
        r"silent  asia:binance:trade .*  1m 15s .*  one      no batch for 75 s, the limit is 60 s", lines[10]
    )
    assert lines[11].startswith("ok      korea:upbit:ticker")


def test_only_problems_are_shown_on_request() -> None:
    assert NAMES[0] not in text(sidecar(feed(), feed(NAMES[1], FeedState.FROZEN)), problems=True)
    assert NAMES[1] in text(sidecar(feed(), feed(NAMES[1], FeedState.FROZEN)), problems=True)


def test_columns_are_aligned_for_wide_characters() -> None:
    *_, narrow, wide = text(sidecar(feed("korea:업비트:ticker"), feed("korea:upbit1:ticker"))).splitlines()
    # Three characters that take two columns each, and six that take one.
    assert wide.index("  1.0") + 3 == narrow.index("  1.0")


@given(st.text(), st.text())
def test_no_text_of_a_sidecar_reaches_the_terminal_as_control_characters(name: str, reason: str) -> None:
    odd = sidecar(feed(name, FeedState.SILENT, reasons=(reason,)), instance=name, warnings=(reason,))
    assert all(line.isprintable() for line in text(odd).split("\n"))


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(0, "0.0s"), (59_900, "59.9s"), (60_000, "1m 0s"), (3_725_000, "1h 2m"), (90_000_000, "1d 1h"), (None, "-")],
)
def test_ages_have_two_units(milliseconds: int | None, shown: str) -> None:
    assert f"  {shown}  " in text(sidecar(feed(age_ms=milliseconds)))


def data(**more: object) -> dict[str, Any]:
    """What `/api/v1/status` gives, as far as it is read."""
    row = [NAMES[0], "ok", [], "feed", NOW_MS, 1, 2, 2, 2, 0.5, 2, 2, 0, NOW_MS, NOW_MS, 60.0, 0, 1.0, 2.0, 5.0]
    return {
        "sidecar": {"instance": "one", "version": "1.0.0"},
        "ready": {"ok": True, "reasons": [], "warnings": []},
        "lag": {"partitions": 1, "records": 0},
        "backlog": {"ratio": 0.0},
        "totals": {"rejected": 0},
        "columns": list(COLUMNS),
        "feeds": [row],
        "now_ms": NOW_MS,
    } | more


def test_the_columns_are_found_by_their_names() -> None:
    turned = data(columns=list(reversed(COLUMNS)), feeds=[list(reversed(data()["feeds"][0]))])
    assert read("one", turned) == read("one", data())


@pytest.mark.parametrize(
    "changed",
    [
        {"feeds": [[1]]}, {"feeds": None}, {"columns": ["name"]}, {"ready": []}, {"lag": {}}, {"now_ms": "now"},
        {"sidecar": 1},
        {"feeds": [["a:b:c", "ok", [], "feed", 10**30, *data()["feeds"][0][5:]]]},
        {"feeds": [["a:b:c", "dead", [], "feed", 1, *data()["feeds"][0][5:]]]},
    ],
)  # fmt: skip
def test_what_is_no_status_is_an_error(changed: dict[str, object]) -> None:
    with pytest.raises(MalformedError, match="it is not the status of a sidecar"):
        read("one", data(**changed))


# The command.


@pytest.fixture
def site() -> Iterator[Callable[[int, bytes], str]]:
    """Serves one response; returns the URL."""
    servers: list[ThreadingHTTPServer] = []

    def serve(status: int, body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def run(*arguments: str) -> tuple[int, str]:
    """The exit code and the output of the command in this process."""
    out = StringIO()
    with redirect_stdout(out):
        code = cli.main(["status", *arguments])
    return code, out.getvalue()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"not found", "the response is 404"),
        (200, b"not JSON", "the response is not that of a sidecar"),
        (200, b"[]", "the response is not that of a sidecar"),
        (200, b'{"data": {}}', "it is not the status of a sidecar"),
        (200, b"[" * 100_000, "the response is not that of a sidecar"),
    ],
)
def test_another_response_is_told(site: Callable[[int, bytes], str], status: int, body: bytes, words: str) -> None:
    code, out = run(site(status, body))
    assert (code, words in out) == (3, True)


def test_a_password_in_an_address_is_not_shown() -> None:
    code, out = run(f"http://user:geheim123@127.0.0.1:{free_port()}")
    assert code == 3
    assert "geheim123" not in out


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host/?a=b", "http://[", "::::", "host:99999"])
def test_what_is_no_address_is_wrong_usage(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", url]) == 2
    assert "no URL" in capsys.readouterr().err


@given(st.lists(st.text("x한", max_size=30), max_size=20), st.integers(1, 20), st.integers(3, 20))
def test_a_screen_is_never_overfull_and_says_how_much_is_missing(lines: list[str], columns: int, rows: int) -> None:
    shown = fitted(lines, columns, rows)
    if shown == lines:
        assert sum(max(1, -(-width_of(line) // columns)) for line in lines) < rows
        return
    *first, last = shown
    assert first == lines[: len(first)]
    assert last == f"and {len(lines) - len(first)} more lines"
    assert sum(max(1, -(-width_of(line) // columns)) for line in first) < rows - 1


def test_a_terminal_shows_the_worst_in_place_and_is_left_by_an_interrupt() -> None:
    urls = [f"http://127.0.0.1:{free_port()}" for _ in range(20)]
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (12, 100))
    command = [str(PROGRAM), "status", "--watch=0.1", *urls]
    take = partial(fcntl.ioctl, 0, termios.TIOCSCTTY, 0)  # its interrupts
    streams: dict[str, Any] = {"stdin": slave, "stdout": slave, "stderr": slave}
    process = subprocess.Popen(command, **streams, start_new_session=True, preexec_fn=take)
    os.close(slave)
    seen = ""

    def read() -> bool:
        nonlocal seen
        seen += os.read(master, 65_536).decode()
        return seen.count("\x1b[H") > 2

    try:
        eventually(read, 60)
        screen = seen.split("\x1b[H")[2]
        os.write(master, b"\x03")
        assert process.wait(60) == 128 + signal.SIGINT
    finally:
        process.kill()
        process.wait()
        os.close(master)
    lines = screen.replace("\x1b[J", "").split("\r\n")
    assert "sidecars: 20" in lines[0]
    assert len(lines) <= 12, lines
    assert re.match(r"and \d+ more lines", lines[-2])


@pytest.mark.parametrize("option", ["--watch=0", "--timeout=nan", "--watch=x"])
def test_wrong_seconds_are_wrong_usage(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["status", option])
    assert (end.value.code, "expected seconds from 0.1 to 3600" in capsys.readouterr().err) == (2, True)


@pytest.fixture(scope="module")
def pair(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, Sidecar, Deployment]]:
    """Two sidecars that share the partitions of a topic, and have read a market."""
    with Deployment(broker, Path(tmp_path_factory.mktemp("status"))).create_outputs() as deployment:
        one, two = (deployment.sidecar(name).start() for name in ("one", "two"))
        eventually(lambda: one.get("/-/ready").ok and two.get("/-/ready").ok, 30, "they are not ready")
        deployment.traffic.write(200)
        eventually(lambda: one.batches() + two.batches() == 200, 30, "they have not read all")
        yield one, two, deployment


def addresses(*sidecars: Sidecar) -> list[str]:
    """Where they are."""
    return [f"127.0.0.1:{each.port}" for each in sidecars]


def test_replicas_are_shown_as_one(pair: tuple[Sidecar, Sidecar, Deployment]) -> None:
    one, two, _ = pair
    _, out = run("--json", *addresses(one, two))
    shown = json.loads(out)
    assert [each["instance"] for each in shown["sidecars"]] == ["one", "two"]
    assert sum(each["partitions"] for each in shown["sidecars"]) == 4
    assert sum(each["batches"] for each in shown["feeds"]) == 200
    names = [each["name"] for each in shown["feeds"]]
    assert len(names) == len(set(names))


def test_it_shows_what_the_page_shows(pair: tuple[Sidecar, Sidecar, Deployment]) -> None:
    one, two, _ = pair

    def is_same(each: Sidecar) -> bool:
        """Whether both show the same at one moment; a state may change between the two."""
        status, snapshot = each.get("/api/v1/status").json()["data"], json.loads(each.snapshot())
        assert status.keys() == snapshot.keys()
        return [row[:2] for row in status["feeds"]] == [row[:2] for row in snapshot["feeds"]]

    for each in (one, two):
        eventually(partial(is_same, each))


def test_this_machine_is_asked_by_its_configuration(
    pair: tuple[Sidecar, Sidecar, Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, two, _ = pair
    file = two.directory / "config.yml"
    monkeypatch.setenv("MARKETDATA_WEB__LISTEN_ADDRESS", f"127.0.0.1:{two.port}")
    for arguments in ([], [f"--config.file={file}"]):
        code, out = run("--json", *arguments)
        shown = json.loads(out)
        assert [each["instance"] for each in shown["sidecars"]] == ["two"]
        assert shown["exit_code"] == code


def test_it_prints_again_until_it_is_interrupted(pair: tuple[Sidecar, Sidecar, Deployment]) -> None:
    one, *_ = pair
    command = [str(PROGRAM), "status", "--watch=0.1", "--json", *addresses(one)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.terminate()
        process.stdout.read()
    assert process.returncode == 143
    assert [line["sidecars"][0]["instance"] for line in lines] == ["one"] * 3


@pytest.mark.parametrize(
    ("state", "color"), [(FeedState.OK, ""), (FeedState.PARTIAL, "\x1b[33m"), (FeedState.SILENT, "\x1b[31m")]
)
def test_the_headline_has_the_color_of_the_worst_state(state: FeedState, color: str) -> None:
    first = as_text(overview([sidecar(feed(state=state))]), NOW_MS, colors=True).partition("\n")[0]
    assert first.startswith(f"{color}2025-10-09T08:53:20Z")


# Parts that may be on.


def source(name: str = "api", state: SourceState = SourceState.OK, **more: Any) -> SourceStatus:
    """A source in one sidecar."""
    return SourceStatus(name, state, "", 3, 3, 0, 0, 1500, 60_000, "one")._replace(**more)


def portfolio(name: str = "main", state: PortfolioState = PortfolioState.OK, **more: Any) -> PortfolioStatus:
    """A portfolio in one sidecar."""
    return PortfolioStatus(name, state, (), 1000.0, -10.5, 1.1, 0.02, True, "one")._replace(**more)


def test_a_source_is_shown_once_with_its_worst_known_state() -> None:
    unread = source(state=SourceState.UNKNOWN, sidecar="two", begun=1, age_ms=None)
    (shown,) = overview([sidecar(sources=(source(state=SourceState.PARTIAL),)), sidecar(sources=(unread,))]).sources
    assert (shown.state, shown.sidecar, shown.begun, shown.age_ms) == (SourceState.PARTIAL, "one", 4, 60_000)
    (shown,) = overview([sidecar(sources=(unread,))]).sources
    assert shown.state is SourceState.UNKNOWN


def test_a_rate_is_as_old_as_its_last_update_anywhere() -> None:
    rates = RateStatus("USD", 7_200_000, True, "one"), RateStatus("USD", 60_000, False, "two")
    shown = overview([sidecar(rates=rates[:1]), sidecar(rates=rates[1:])])
    assert (shown.rates, shown.exit_code) == (rates[1:], 0)
    assert overview([sidecar(rates=rates[:1])]).exit_code == 1
    many = tuple(RateStatus(f"C{age:02}", 1000 * age, False, "one") for age in range(12))
    assert "and 2 newer" in text(sidecar(rates=many))
    assert "C11" in text(sidecar(rates=many))
    assert "C01" not in text(sidecar(rates=many))


def test_a_portfolio_is_shown_from_a_sidecar_that_reads_its_feeds() -> None:
    elsewhere = portfolio(state=PortfolioState.UNKNOWN, value=None, is_here=False, sidecar="two")
    (shown,) = overview([sidecar(portfolios=(elsewhere,)), sidecar(portfolios=(portfolio(),))]).portfolios
    assert (shown.state, shown.sidecar) == (PortfolioState.OK, "one")


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"sources": (source(state=SourceState.SILENT),)}, 3),
        ({"sources": (source(state=SourceState.DELAYED),)}, 1),
        ({"sources": (source(state=SourceState.UNKNOWN),)}, 1),
        ({"portfolios": (portfolio(state=PortfolioState.STOPPED),)}, 3),
        ({"portfolios": (portfolio(state=PortfolioState.BREACHED),)}, 1),
        ({"portfolios": (portfolio(state=PortfolioState.UNKNOWN),)}, 1),
        ({"risk_errors": ("positions: the file cannot be read",)}, 1),
        ({"sources": (source(),), "portfolios": (portfolio(),)}, 0),
    ],
)
def test_the_exit_code_counts_parts_that_are_on(part: dict[str, Any], code: int) -> None:
    assert overview([sidecar(**part)]).exit_code == code
    name = next(iter(part.values()))[0]
    shown = name if isinstance(name, str) else name.name
    assert (shown in text(sidecar(**part), problems=True)) == (code > 0)


def test_sources_rates_and_portfolios_are_those_of_the_sidecar(
    broker: Broker, deployment: Deployment, tmp_path: Path
) -> None:
    prefix, now = f"{deployment.group}.", now_ms()
    for name, partitions in PARTITIONS.items():
        broker.create_topic(prefix + name, partitions)
    rounds = [make("api", str(number), now, 6) for number in range(3) for make in (begun, completed)]
    for event in (*rounds, rate("api", "USD", now), rate("api", "EUR", now - 7_200_000)):
        broker.produce(prefix + topic_of(event), [encode_avro(event)])
    positions = tmp_path / "positions.yml"
    positions.write_text("portfolios: {main: {positions: {A: 6}, cash: 400}, other: {positions: {UNHEARD: 1}}}")
    one = deployment.sidecar(
        ingestion__enabled=True, ingestion__prefix=prefix, risk__enabled=True, risk__interval="1s",
        risk__price_age="10m", risk__plausibility={"confirmations": 1}, risk__positions__file=str(positions),
        risk__topic=broker.create_topic(f"risk-{deployment.group}", 1, cleanup_policy="compact"),
    ).start()  # fmt: skip
    row = {"target_currency": "A", "timestamp": now, "last": 100.0}
    feed = {"region": "korea", "exchange": "upbit", "request_type": "ticker", "timestamp_ms": now, "data": [row]}
    broker.produce(deployment.topic, [json.dumps(feed).encode()])

    def shown() -> dict[str, Any]:
        return json.loads(run("--json", *addresses(one))[1])  # type: ignore[no-any-return]

    def complete() -> bool:
        values = [each["value"] for each in shown()["portfolios"] if each["name"] == "main"]
        return values == [1000.0] and len(shown()["rates"]) == 2 and bool(shown()["sources"])

    eventually(complete, 30)
    found = shown()
    assert [(each["name"], each["completed"], each["open"]) for each in found["sources"]] == [("api", 3, 0)]
    assert [(each["currency"], each["is_old"]) for each in found["rates"]] == [("EUR", True), ("USD", False)]
    assert [(each["name"], each["state"]) for each in found["portfolios"]] == [("main", "ok"), ("other", "unknown")]
    assert found["exit_code"] == 1
    lines = [line.split() for line in run(*addresses(one))[1].splitlines()]
    assert ["EUR", "2h", "0m", "one", "too", "old"] in lines
    assert ["ok", "main", "1,000"] in [line[:3] for line in lines]
