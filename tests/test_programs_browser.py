"""The view *Programs* in a real browser: of a program that serves it itself, and of a sidecar that takes no pushes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, expect
from prometheus_client import CollectorRegistry

from exporter.config.schema import Config
from exporter.instrument import MetricsCollector
from exporter.performance import PerformanceDashboard
from exporter.web.interface import WebMetrics
from exporter.web.server import WebServer
from tests.support.browser import NARROW, PATIENCE_MS, Window, chromium
from tests.support.programs import SLOW, STAGES, gauge, measured
from tests.support.sidecar import Scrape
from tests.support.unrun import UnrunSidecar

HOSTILE = ("<img src=x onerror=hacked=1>", "שלום", "__proto__", "L" * 200, "..", "a&b=c#d")
THIS = "/programs/~"

Open = Callable[..., Window]


@pytest.fixture(scope="module")
def collector() -> MetricsCollector:
    collector = measured(STAGES | dict.fromkeys(HOSTILE, (1000.0, 0.001)))
    for name in HOSTILE:
        gauge(collector, "program_breaker_state", 0, breaker=name)
    return collector


@pytest.fixture(scope="module")
def dashboard(collector: MetricsCollector) -> Iterator[PerformanceDashboard]:
    with PerformanceDashboard(collector) as dashboard:
        yield dashboard


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as browser:
        yield browser


@pytest.fixture
def opened(browser: Browser, dashboard: PerformanceDashboard) -> Iterator[Open]:
    """Opens windows, none of which may complain about anything, such as the content security policy."""
    windows: list[Window] = []

    def open_window(path: str, **options: Any) -> Window:
        windows.append(Window(browser, dashboard.port, **options))
        return windows[-1].open(path)

    yield open_window
    for window in windows:
        window.__exit__()
        assert window.complaints == []


def row(window: Window, section: str, name: str) -> list[str]:
    """The texts of a row; that of a field is its value."""
    found = window.find(f".{section} tbody tr").filter(has=window.page.get_by_role("rowheader", name=name))
    return [cell.inner_text().strip() for cell in found.first.locator("th, td").all()]


def test_the_figures_are_those_of_metrics(opened: Open, dashboard: PerformanceDashboard) -> None:
    window, scrape = opened(THIS), Scrape(requests.get(f"{dashboard.url}metrics", timeout=10).text)
    p95 = scrape.total("program_stage_duration_seconds", stage=SLOW, quantile="0.95")
    expect(window.find(".stages tr.worst th")).to_contain_text(SLOW)
    assert row(window, "stages", SLOW)[2] == f"{p95 * 1000:.0f} ms"
    sums = {stage: scrape.total("program_stage_duration_seconds_sum", stage=stage) for stage in STAGES}
    share = sums[SLOW] / sums["total_pipeline"]
    assert window.text(".bottleneck") == f"Bottleneck: {SLOW}, {share:.0%} of the whole"
    items, seconds = (scrape.total(f"program_operation_{each}_total") for each in ("items", "seconds"))
    assert row(window, "operations", "score")[1] == f"{items / seconds:.0f}/s"
    tiers = {"memory": "90%", "redis": "60%", "loader": ""}
    assert {tier: window.text(f"[data-tier={tier}] .rate") for tier in tiers} == tiers
    assert row(window, "caches", "prices")[1] == "96%"
    assert row(window, "handlers", "risk")[1:3] == ["orders", "990 of 1,000"]
    assert row(window, "handlers", "risk")[6] == "3 queue full: 3"
    assert row(window, "breakers", "orders-api")[1:] == ["open", "3"]
    assert row(window, "retries", "send_order")[1:] == ["7", "5", "2"]
    assert window.text("[data-figure=cpu]") == f"{scrape.total('program_cpu_usage_ratio'):.0%}"
    assert window.text("[data-figure=left]") == "10 min"
    assert window.find(".program-head .reasons li").all_inner_texts() == ["Alert processor", f"Alert latency: {SLOW}"]


def test_a_limit_that_is_tried_marks_the_page_and_stays_in_the_address_only(
    opened: Open, dashboard: PerformanceDashboard
) -> None:
    window = opened(THIS)
    own = requests.get(f"{dashboard.url}api/v1/programs?program=~", timeout=10).json()["data"]["stages"]
    window.page.get_by_label(f"Threshold of {SLOW} in").fill("500")
    expect(window.find(".bottleneck")).to_have_text("No stage is over its threshold (95th percentile).")
    window.page.get_by_label("Threshold of data_processing in").fill("1.5")
    expect(window.find(".stages tr.worst th")).to_contain_text("data_processing")
    window.page.get_by_label("Processor use in percent").fill("95")
    expect(window.find("[data-of=cpu]")).not_to_have_class("over")
    window.page.get_by_label("Target of score").fill("800")
    window.page.reload()
    expect(window.page.get_by_label("Target of score")).to_have_value("800")
    expect(window.find(".stages tr.worst th")).to_contain_text("data_processing")
    assert "try.stage.data_processing=1.5" in window.page.url
    now = requests.get(f"{dashboard.url}api/v1/programs?program=~", timeout=10).json()["data"]["stages"]
    assert [each["threshold_seconds"] for each in now] == [each["threshold_seconds"] for each in own]
    window.page.get_by_role("button", name="Back to the program's limits").click()
    expect(window.find(".stages tr.worst th")).to_contain_text(SLOW)
    assert "try." not in window.page.url
    window.page.go_back()
    expect(window.find(".stages tr.worst th")).to_contain_text("data_processing")


def test_names_of_programs_are_text(opened: Open) -> None:
    window = opened(THIS)
    window.find(".breakers tbody tr").nth(len(HOSTILE)).wait_for()
    shown = window.find(".breakers tbody th").all_inner_texts()
    assert set(HOSTILE) < set(shown)
    assert window.page.evaluate("window.hacked") is None
    for name in HOSTILE:
        window.page.get_by_label(f"Threshold of {name} in").fill("0.1")
    expect(window.find(".stages tr.over")).to_have_count(len(HOSTILE) + 1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [f"{THIS}?try.stage.data_processing=1", "/programs?lang=ko"])
def test_nothing_on_the_view_is_a_barrier_and_360_pixels_are_wide_enough(opened: Open, path: str, scheme: str) -> None:
    window = opened(path, viewport=NARROW, color_scheme=scheme)
    window.find(".stages tr.worst, .program-cards li").first.wait_for()
    assert window.overflows() <= 0
    assert window.barriers() == []
    window.page.set_viewport_size({"width": 1300, "height": 900})
    assert window.overflows() <= 0
    assert window.barriers() == []


def test_the_list_leads_to_a_program_and_back_by_keyboard(opened: Open) -> None:
    window = opened("/")
    link = window.page.get_by_role("link", name="This program")
    expect(window.find(".program-cards .mark-over").first).to_have_text(f"bottleneck: {SLOW}")
    link.focus()
    window.page.keyboard.press("Enter")
    expect(window.find(".stages tr.worst th")).to_contain_text(SLOW)
    window.page.get_by_role("link", name="All programs").focus()
    window.page.keyboard.press("Enter")
    expect(link).to_be_visible()
    assert window.find("nav.views a").count() == 0


def test_a_program_without_parts_of_performance_is_its_list_of_metrics(browser: Browser) -> None:
    plain = MetricsCollector(registry=CollectorRegistry())
    plain.counter("orders_total", "Orders.", labels={"side": "buy"}).increment(3)
    with PerformanceDashboard(plain.registry, name="orders") as dashboard, Window(browser, dashboard.port) as window:
        window.open("/programs/orders")
        expect(window.find("h1")).to_have_text("orders")
        line = window.find(".others tr").filter(has_text="orders_total")
        expect(line.locator("td")).to_have_text("3")
        assert window.find("section.pad:visible").count() == 0
        assert window.complaints == []


def test_without_pushes_the_view_tells_how_to_switch_them_on(browser: Browser) -> None:
    app = UnrunSidecar(Config()).app
    server = WebServer(app.queries, "127.0.0.1", 0, "/metrics", metrics=WebMetrics(CollectorRegistry()))
    port = server.start()
    with Window(browser, port) as window:
        window.open("/programs")
        expect(window.find(".empty code")).to_have_text("web: {push: {enabled: true}}")
        window.page.get_by_role("link", name="Feeds", exact=True).click()
        window.find(".headline").wait_for()
        window.page.get_by_role("link", name="Programs", exact=True).click()
        expect(window.find(".empty code")).to_be_visible()
        assert requests.get(f"http://127.0.0.1:{port}/api/v1/programs", timeout=10).status_code == 404
        assert window.complaints == []
    server.stop()
