"""The live page in a real browser, of a real sidecar with a thousand feeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from prometheus_client import delete_from_gateway, push_to_gateway

from exporter.ingestion.encodings import encode_avro
from exporter.ingestion.events import PARTITIONS, topic_of
from exporter.runtime.clock import now_ms
from tests.support.browser import BAD_WORKER, NARROW, NO_WORKER, PATIENCE_MS, Window, chromium
from tests.support.kafka import Broker
from tests.support.programs import SLOW, measured
from tests.support.rounds import begun, completed, rate
from tests.support.sidecar import Deployment, Scrape, Sidecar
from tests.support.waiting import eventually

FEED = "korea:upbit:ticker"
LABELS = {"region": "korea", "exchange": "upbit", "request_type": "ticker"}
HOSTILE = ("<b>BTC</b>", "<img src=x onerror=hacked=1>", "שלום-KRW", "L" * 64)
MANY = 1000
SPECIAL = 3
CLOSED, LATE = "us:closed:trade", "korea:late:ticker"
SETTINGS: dict[str, Any] = {
    "web__push__enabled": True,
    "feeds__expected": [LATE],
    "feeds__calendar": [{"feeds": [CLOSED], "timezone": "UTC", "maintenance": ["mon-sun 00:00-24:00"]}],
}
OVERVIEW, VIEW = "/", f"/feeds/{FEED}"

Open = Callable[..., Window]


def batch(feed: str, symbols: tuple[str, ...] = ("KRW-BTC",), declared: int | None = None) -> bytes:
    region, exchange, request_type = feed.split(":")
    now = now_ms()
    data = [{"target_currency": symbol, "timestamp": now, "last": 1.5} for symbol in symbols]
    value = {"region": region, "exchange": exchange, "request_type": request_type, "timestamp_ms": now, "data": data}
    return json.dumps(value | ({} if declared is None else {"batch_size": declared})).encode()


@pytest.fixture(scope="module")
def deployment(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(broker, tmp_path_factory.mktemp("page"), partitions=2).create_outputs() as deployment:
        yield deployment


@pytest.fixture(scope="module")
def services(broker: Broker, deployment: Deployment) -> str:
    """The prefix of the topics of ingesting services: one of two is healthy, the other has an open round."""
    prefix = f"{deployment.group}."
    for name, partitions in PARTITIONS.items():
        broker.create_topic(prefix + name, partitions)
    now, old = now_ms(), now_ms() - 7_200_000
    rounds = [make("api", str(number), now, 6) for number in range(3) for make in (begun, completed)]
    for event in (*rounds, begun("<b>bank", "open", now, 6), rate("api", "USD", now), rate("api", "EUR", old)):
        broker.produce(prefix + topic_of(event), [encode_avro(event)])
    return prefix


@pytest.fixture(scope="module")
def sidecar(broker: Broker, deployment: Deployment, services: str) -> Sidecar:
    records = [batch(f"asia:exchange{number:04}:trade", ("A", "B")) for number in range(MANY)]
    records += [batch(FEED, HOSTILE), batch(FEED, HOSTILE * 2), batch(FEED, HOSTILE[:3], declared=7)]
    records += [batch(CLOSED), b"<b>no batch</b>", batch("korea:<i>:ticker")]
    broker.produce(deployment.topic, records)
    sidecar = deployment.sidecar(**SETTINGS, ingestion__enabled=True, ingestion__prefix=services).start()
    eventually(lambda: sidecar.batches() == MANY + 4, 30)
    return sidecar


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def ordinary(browser: Browser, sidecar: Sidecar) -> Iterator[Window]:
    """A window for all tests that need nothing special: it has the files of the page already."""
    with Window(browser, sidecar.port) as window:
        yield window


@pytest.fixture
def opened(browser: Browser, sidecar: Sidecar, ordinary: Window) -> Iterator[Open]:
    """Opens a path in the ordinary window, or with options in another. Neither may complain."""
    windows = [ordinary]

    def open_window(path: str, **options: Any) -> Window:
        if options:
            windows.append(Window(browser, sidecar.port, **options))
        return windows[-1 if options else 0].open(path)

    yield open_window
    ordinary.page.goto("about:blank")
    complaints = [each.complaints.copy() for each in windows]
    ordinary.complaints.clear()
    for window in windows[1:]:
        window.__exit__()
    assert not any(complaints), complaints


def metrics(sidecar: Sidecar, *names: str) -> Scrape:
    """What these families say; a whole page of a thousand feeds is long."""
    return Scrape(sidecar.get("/metrics?" + "&".join(f"name[]={name}" for name in names)).text)


def number(text: str) -> float:
    return float(text.replace(",", ""))


# What is shown.


def test_the_figures_of_the_overview_are_those_of_metrics(opened: Open, sidecar: Sidecar) -> None:
    columns = {
        "size": "marketdata_last_batch_size",
        "unique": "marketdata_last_batch_unique_symbols",
        "efficiency": "marketdata_last_batch_cache_efficiency_ratio",
    }
    totals = ("marketdata_feed_state", "marketdata_records_rejected_total", "marketdata_anomalies_total")
    window, scrape = opened(f"/?q={FEED}"), metrics(sidecar, *columns.values(), *totals)
    row = window.row(FEED)
    for column, name in columns.items():
        expect(row.locator(f".{column}")).to_have_text(f"{scrape.total(name, **LABELS):.3g}")
    expect(row.locator(".state")).to_have_text("ok")
    assert number(window.text(".total").removeprefix("Feeds: ")) == len(
        scrape.series("marketdata_feed_state", state="ok")
    )
    assert number(window.text(".rejections .count")) == scrape.total("marketdata_records_rejected_total") == 2
    assert number(window.text(".anomalies .count")) == scrape.total("marketdata_anomalies_total")
    expect(window.find(".verdict h1")).to_have_text("Ready")
    assert sidecar.get("/-/ready").ok


def test_positions_and_lag_of_partitions_are_those_of_metrics(opened: Open, sidecar: Sidecar) -> None:
    names = ("marketdata_consumer_position_offset", "marketdata_consumer_lag_records")
    window, scrape = opened(OVERVIEW), metrics(sidecar, *names)
    for row in window.find(".partitions tbody tr").all():
        name, position, lag, _ = row.locator("th, td").all_inner_texts()
        topic, _, partition = name.rpartition("/")
        place = {"topic": topic, "partition": partition}
        assert [number(position), number(lag)] == [scrape.total(each, **place) for each in names]


def test_sources_and_rates_of_ingestion_events_are_those_of_metrics(opened: Open, sidecar: Sidecar) -> None:
    window = opened(OVERVIEW)
    expect(window.find(".sources tbody tr")).to_have_count(2)
    scrape = metrics(sidecar, "marketdata_ingestion_rounds_open", "marketdata_ingestion_rounds_completed_total")
    for row in window.find(".sources tbody tr").all():
        name, _, is_open, _, _, completed, *_ = row.locator("th, td").all_inner_texts()
        shown = {"open": number(is_open), "completed_total": number(completed)}
        assert shown == {each: scrape.total(f"marketdata_ingestion_rounds_{each}", source=name) for each in shown}
    expect(window.find(".sources tbody tr").filter(has_text="api").locator(".badge")).to_have_text("ok")
    assert [row.split()[0] for row in window.find(".rates tbody tr").all_inner_texts()] == ["EUR", "USD"]
    expect(window.find(".rates tbody tr").first).to_contain_text("old")
    told = sidecar.get("/api/v1/ingestion").json()["data"]
    assert {each["name"]: each["open"] for each in told["sources"]} == {"api": 0, "<b>bank": 1}


def test_the_figures_of_a_feed_are_those_of_metrics(opened: Open, sidecar: Sidecar) -> None:
    figures = {
        "batches": "marketdata_batches_total",
        "all_messages": "marketdata_messages_total",
        "size": "marketdata_last_batch_size",
        "anomalies": "marketdata_anomalies_total",
    }
    window, scrape = opened(VIEW), metrics(sidecar, *figures.values(), "marketdata_batch_size")
    for figure, name in figures.items():
        assert number(window.text(f'[data-figure="{figure}"]')) == scrape.total(name, **LABELS)
    drawn = window.find(".histograms figure").filter(has_text="Batch size")
    bars = drawn.locator("svg title").all_text_contents()
    shown = {text.split(": ")[0].removeprefix("up to "): number(text.split(": ")[1]) for text in bars}
    below = {series["le"]: series.value for series in scrape.series("marketdata_batch_size_bucket", **LABELS)}
    assert shown["5"] == below["5.0"] - below["2.0"] == 2
    assert shown["10"] == below["10.0"] - below["5.0"] == 1
    (mismatch,) = window.find(".anomalies li").filter(has_text="Batch size differs").all()
    expect(mismatch.locator(".place")).to_have_text(
        [f"{each['topic']}/{each['partition']}/{each['offset']}" for each in mismatches(sidecar)]
    )


def mismatches(sidecar: Sidecar) -> list[dict[str, Any]]:
    detail = sidecar.get(f"/api/v1/feed?feed={FEED}").json()["data"]
    return [each for each in detail["anomalies"] if each["kind"] == "size_mismatch"]


def test_a_program_that_pushes_is_shown_and_its_figures_are_those_of_metrics(opened: Open, sidecar: Sidecar) -> None:
    gateway, key = f"127.0.0.1:{sidecar.port}", {"instance": "<i>a</i>/.."}
    push_to_gateway(gateway, "signals", measured().registry, key)
    window = opened(OVERVIEW)
    window.page.get_by_role("link", name="Programs", exact=True).click()
    expect(window.find(".program-cards .labels")).to_have_text('instance="<i>a</i>/.."')
    expect(window.find(".program-cards .ages")).to_contain_text("expires in")
    window.page.get_by_role("link", name="signals").click()
    found = window.find(".stages tbody tr").filter(has_text=SLOW).locator("td")
    p95 = metrics(sidecar, "program_stage_duration_seconds").total(
        "program_stage_duration_seconds", stage=SLOW, quantile="0.95"
    )
    expect(found.nth(1)).to_have_text(f"{p95 * 1000:.0f} ms")
    delete_from_gateway(gateway, "signals", key)
    window.page.get_by_role("link", name="All programs").click()
    expect(window.find(".empty code")).to_contain_text("/metrics/job/NAME")


def test_names_from_records_are_text(opened: Open) -> None:
    """Whatever they look like; what is rejected is told as text as well."""
    window = opened(VIEW)
    expect(window.find(".symbols tbody th")).to_have_count(len(HOSTILE))
    assert set(window.find(".symbols tbody th").all_inner_texts()) == set(HOSTILE)
    window.open(OVERVIEW)
    expect(window.find(".rejections")).to_contain_text("'<i>'")
    assert window.find("main b b, main i, main img").count() == 0
    assert window.page.evaluate("window.hacked") is None


def test_no_answer_of_a_server_becomes_markup(opened: Open, sidecar: Sidecar) -> None:
    """Not even one that a sidecar would never give."""
    window = opened(OVERVIEW, script=BAD_WORKER)
    names = ["<img src=x onerror=hacked=1>:a:b", "us:\u202egnorw:trade", "us:" + "long" * 500 + ":ticker"]
    snapshot = json.loads(sidecar.snapshot())
    rows = [[name, "<b>", ["<script>hacked=1</script>"], *snapshot["feeds"][0][3:]] for name in names]
    snapshot |= {"feeds": rows, "rejections": [], "ready": {"ok": False, "reasons": names, "warnings": names}}
    body = f"event: snapshot\nid: x.1\ndata: {json.dumps(snapshot)}\n\n"
    window.page.route("**/api/v1/stream*", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    window.page.reload()
    expect(window.find(".rows a bdi")).to_have_text(sorted(names))
    assert window.page.evaluate("window.hacked") is None
    assert window.find("main img, main script").count() == 0
    assert window.overflows() == 0


# The address.


def test_filter_and_order_are_kept_in_the_address(opened: Open) -> None:
    window = opened(OVERVIEW)
    page, names = window.page, window.find(".rows a bdi")
    page.get_by_role("searchbox", name="Filter by name").fill("exchange099")
    expect(names).to_have_count(10)
    expect(window.find(".feeds .count")).to_have_text("10 of 1,003")
    page.get_by_role("button", name="Feed", exact=True).click()
    expect(names.first).to_have_text("asia:exchange0990:trade")
    page.get_by_role("button", name="Feed", exact=True).click()
    expect(names.first).to_have_text("asia:exchange0999:trade")
    assert page.url.endswith("/?q=exchange099&sort=-name")
    expect(window.find('[role=columnheader][aria-sort="descending"]')).to_have_text("Feed")
    page.reload()
    expect(names.first).to_have_text("asia:exchange0999:trade")
    page.go_back()
    expect(names.first).to_have_text("asia:exchange0990:trade")
    expect(page.get_by_role("searchbox", name="Filter by name")).to_have_value("exchange099")


def test_states_are_chosen_by_their_counts(opened: Open) -> None:
    window = opened(OVERVIEW)
    window.find(".chips button").filter(has_text="maintenance").click()
    expect(window.find(".rows a bdi")).to_have_text([CLOSED])
    assert window.page.url.endswith("/?state=maintenance")
    window.page.go_back()
    expect(window.find(".feeds .count")).to_have_text("1,003")


def test_the_language_is_that_of_the_reader_and_kept_in_the_address(opened: Open) -> None:
    window = opened(f"/?q={FEED}")
    window.page.get_by_role("button", name="한국어").click()
    expect(window.find(".verdict h1")).to_have_text("준비됨")
    assert window.page.url.endswith("&lang=ko")
    window.row(FEED).click()
    expect(window.find(".feed-head .badge")).to_have_text("정상")
    expect(window.find("html")).to_have_attribute("lang", "ko")
    window.page.go_back()
    window.page.go_back()
    expect(window.find(".verdict h1")).to_have_text("Ready")
    korean = opened(OVERVIEW, locale="ko-KR")
    expect(korean.find(".verdict h1")).to_have_text("준비됨")


def test_a_feed_that_is_not_known_is_told_as_such(opened: Open) -> None:
    window = opened(OVERVIEW)
    window.open("/feeds/no:such:feed")
    expect(window.find(".empty.card")).to_have_text("The sidecar knows no feed of this name.")
    window.complaints.remove("Failed to load resource: the server responded with a status of 404 (Not Found)")


# Looks.


def test_the_theme_is_that_of_the_system_until_another_is_chosen(opened: Open) -> None:
    window = opened(OVERVIEW, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = window.page.evaluate(background)
    window.page.get_by_role("button", name="Theme: as the system").click()
    light = window.page.evaluate(background)
    window.open(OVERVIEW)
    assert window.page.evaluate(background) == light != dark
    window.page.get_by_role("button", name="Theme: light").click()
    assert window.page.evaluate(background) == dark


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("path", [OVERVIEW, VIEW])
def test_a_narrow_window_needs_no_sideways_scrolling(opened: Open, path: str, language: str) -> None:
    window = opened(f"{path}?lang={language}", viewport=NARROW)
    expect(window.find(".rows .row, .histograms figure").first).to_be_visible()
    assert window.overflows() == 0
    cut = window.find(".partitions tbody th").evaluate_all(
        "all => all.filter((one) => one.scrollWidth > one.clientWidth)"
    )
    assert cut == [], "the number of a partition is the end of its name"


def test_a_thousand_feeds_are_few_elements(opened: Open) -> None:
    """Only rows in sight are elements, and a scroll changes those that come into sight."""
    window = opened("/?sort=name")
    rows = window.find(".rows .row")
    expect(window.find("[role=grid]")).to_have_attribute("aria-rowcount", str(MANY + SPECIAL + 1))
    assert rows.count() < 60
    added = window.page.evaluate(
        """async () => {
            let added = 0;
            const watching = new MutationObserver((all) => all.forEach((each) => (added += each.addedNodes.length)));
            watching.observe(document.querySelector(".rows"), { childList: true });
            for (let step = 0; step < 10; step++) {
                document.querySelector(".scroller").scrollTop += 46;
                await new Promise(requestAnimationFrame);
                await new Promise(requestAnimationFrame);
            }
            return added;
        }"""
    )
    assert 0 < added <= 3 * 10
    window.page.evaluate("document.querySelector('.scroller').scrollTop = 1e9")
    expect(window.row(CLOSED)).to_be_visible()
    assert rows.count() < 60
    window.row(CLOSED).click()
    expect(window.find("h1")).to_have_text(CLOSED)
    window.page.go_back()
    expect(window.row(CLOSED)).to_be_visible()


# Keyboard and screen reader.


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [OVERVIEW, VIEW])
def test_no_serious_barrier_is_found(opened: Open, path: str, scheme: str) -> None:
    window = opened(path, color_scheme=scheme)
    expect(window.find(".rows .row, .histograms figure").first).to_be_visible()
    assert window.barriers() == []


def test_all_can_be_done_with_the_keyboard(opened: Open) -> None:
    window = opened("/?q=exchange099")
    page = window.page
    press = page.keyboard.press
    focused = page.locator(":focus")
    press("Tab")
    expect(focused).to_have_text("Skip to content")
    press("Enter")
    expect(focused).to_have_attribute("id", "main")
    page.get_by_role("button", name="Age", exact=True).focus()
    press("Tab")
    expect(focused).to_have_attribute("title", "asia:exchange0990:trade")
    press("ArrowDown")
    expect(focused).to_have_attribute("title", "asia:exchange0991:trade")
    press("End")
    expect(focused).to_have_attribute("title", "asia:exchange0999:trade")
    press("Enter")
    expect(window.find("h1")).to_have_text("asia:exchange0999:trade")
    expect(focused).to_have_attribute("id", "main")
    page.get_by_role("link", name="← All feeds").press("Enter")
    expect(window.find(".feeds .count")).to_have_text("10 of 1,003")
    press("Escape")
    expect(window.find(".feeds .count")).to_have_text("1,003")
    page.get_by_role("button", name="Age", exact=True).press("Enter")
    assert page.url.endswith("/?sort=-age")


# What changes while the page is open.


def test_a_change_of_state_is_read_aloud(opened: Open, broker: Broker, deployment: Deployment) -> None:
    window = opened(f"/?q={LATE}")
    expect(window.row(LATE).locator(".state")).to_have_text("not read here")
    broker.produce(deployment.topic, [batch(LATE)])
    expect(window.find("[aria-live]")).to_have_text(f"{LATE} is now: ok")
    expect(window.row(LATE).locator(".state")).to_have_text("ok")


def test_published_events_are_shown_until_the_list_is_paused(
    opened: Open, broker: Broker, deployment: Deployment
) -> None:
    """Those of the time since the list came in sight."""
    window = opened(f"/?q={FEED}")
    events = window.find(".published li code")
    window.find(".published").scroll_into_view_if_needed()

    def are_shown() -> bool:
        broker.produce(deployment.topic, [batch(FEED, ("FIRST", "SECOND"))])
        return events.count() > 0

    eventually(are_shown, PATIENCE_MS / 1000)
    expect(events.first).to_contain_text('"exchange":"upbit","request_type":"ticker","stats":{"batch_size":2')
    window.page.get_by_role("button", name="Pause").click()
    broker.produce(deployment.topic, [batch(FEED, ("ONE", "TWO", "THREE"))])
    expect(window.row(FEED).locator(".size")).to_have_text("3")
    expect(events.first).to_contain_text('"batch_size":2')
    window.page.get_by_role("button", name="Pause").click()
    expect(events.first).to_contain_text('"batch_size":3')
    window.page.get_by_role("searchbox", name="Filter by content").fill('"batch_size":3')
    expect(events).to_have_count(1)


def test_any_number_of_tabs_shares_one_stream(opened: Open, broker: Broker, deployment: Deployment) -> None:
    """A browser has six connections to a host: with a stream each, the seventh tab would stay empty."""
    window = opened(f"/?q={FEED}", locale="en-GB")
    others = [window.tab() for _ in range(7)]
    for tab in others:
        tab.goto(f"/?q={FEED}", wait_until="commit")
    for tab in others:
        expect(tab.locator(".connection")).to_have_text("live")
    window.page.close()
    broker.produce(deployment.topic, [batch(FEED, tuple("ABCDEFG"))])
    for tab in others:
        expect(tab.locator(".rows .size")).to_have_text("7")
        tab.locator(".rows a").evaluate("link => link.click()")
    for tab in others:
        expect(tab.locator(".histograms figure").first).to_be_visible()


def test_a_sidecar_that_hangs_is_told_with_the_time_of_its_last_figures(opened: Open, sidecar: Sidecar) -> None:
    window = opened(f"/?q={FEED}", script=NO_WORKER)
    window.page.clock.install()
    window.page.reload()
    window.find(".connection.live").wait_for()
    sidecar.freeze()
    try:
        window.page.clock.fast_forward(6_000)
        expect(window.find(".banner")).to_contain_text("No answer since")
    finally:
        sidecar.resume()
    window.page.clock.fast_forward(6_000)
    expect(window.find(".connection")).to_have_text("live")
    expect(window.find(".banner")).to_be_hidden()


def test_the_page_survives_a_restart_of_the_sidecar(
    browser: Browser, sidecar: Sidecar, broker: Broker, deployment: Deployment
) -> None:
    """It tells that its figures are old, and after the restart it shows those of the new process."""
    with Window(browser, sidecar.port).open(f"/?q={FEED}") as window:
        sidecar.kill()
        expect(window.find(".banner")).to_contain_text("The sidecar does not answer")
        expect(window.find(".connection")).to_have_text("no answer")
        sidecar.start()
        window.page.get_by_role("button", name="Try now").click()
        expect(window.find(".connection")).to_have_text("live")
        expect(window.find(".banner")).to_be_hidden()
        broker.produce(deployment.topic, [batch(FEED, ("A", "B", "C", "D", "E"))])
        expect(window.row(FEED).locator(".size")).to_have_text("5")
        assert metrics(sidecar, "marketdata_batches_total").total("marketdata_batches_total", **LABELS) == 1
