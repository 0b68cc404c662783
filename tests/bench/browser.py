"""What the live page costs the browser: frames while the table of feeds is scrolled and every row changes each second.

Times of script and main thread are processor time, so they say the same on a busy machine; frames a second do not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from statistics import quantiles
from typing import Any

from playwright.sync_api import Browser

from exporter.runtime.clock import now_ms
from tests.bench.bench import Bench, Subject
from tests.bench.figures import Cases
from tests.support.background import repeating
from tests.support.browser import Window, chromium

SYMBOLS = [f"KRW-{number}" for number in range(20)]
CATEGORIES = ["devtools.timeline", "disabled-by-default-devtools.timeline"]
SCRIPTS = ("FunctionCall", "EventDispatch", "TimerFire", "FireAnimationFrame", "v8.run")
# 60 pixels a frame are more than a thousand feeds in a quarter of a minute.
SCROLL = """async (seconds) => {
    const scroller = document.querySelector(".scroller");
    const frames = [];
    let last = performance.now();
    const end = last + seconds * 1000;
    let step = 60;
    while (last < end) {
        const now = await new Promise(requestAnimationFrame);
        frames.push(now - last);
        last = now;
        const before = scroller.scrollTop;
        scroller.scrollTop += step;
        if (scroller.scrollTop === before) step = -step;
    }
    return frames.slice(1);
}"""


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Scroll the tables of few and of many feeds."""
    with chromium() as browser:
        return {f"{feeds:,} feeds": _measure(bench, browser, feeds, options.seconds) for feeds in options.feeds}


def _measure(bench: Bench, browser: Browser, feeds: int, seconds: float) -> dict[str, list[float]]:
    topics = bench.topics()

    def send() -> None:
        bench.broker.produce(topics.input, [_batch(number) for number in range(feeds)])

    send()
    with bench.sidecar(topics) as sidecar, repeating(send, 1.0), Window(browser, sidecar.port) as window:
        window.open("/?sort=-age").find(f'[aria-rowcount="{feeds + 1}"]').wait_for()
        page = window.page
        browser.start_tracing(page=page, categories=CATEGORIES)
        frames: Sequence[float] = page.evaluate(SCROLL, seconds)
        events = json.loads(browser.stop_tracing())["traceEvents"]
    bench.progress(f"{feeds:,} feeds scrolled for {seconds:g} s")
    return _figures(frames, _of_renderer(events))


def _figures(frames: Sequence[float], events: list[dict[str, Any]]) -> dict[str, list[float]]:
    def spent(*names: str) -> list[float]:
        return [each["tdur"] / 1000 for each in events if each["name"] in names and "tdur" in each]

    return {
        "frames_per_second": [1000 * len(frames) / sum(frames)],
        "frame_p99_ms": [quantiles(frames, n=100)[98]],
        "main_thread_ms_a_frame": [sum(spent("RunTask")) / len(frames)],
        "script_ms_a_frame": [sum(spent("FunctionCall")) / len(frames)],
        "longest_script_ms": [max(spent(*SCRIPTS))],
    }


def _of_renderer(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what happened in the main thread of the page."""
    mains = {
        (each["pid"], each["tid"])
        for each in events
        if each["name"] == "thread_name" and each["args"]["name"] == "CrRendererMain"
    }
    return [each for each in events if (each["pid"], each["tid"]) in mains]


def _batch(number: int) -> bytes:
    now = now_ms()
    data = [{"target_currency": symbol, "timestamp": now, "last": now % 1000 + 1} for symbol in SYMBOLS]
    feed = {"region": "korea", "exchange": f"exchange{number:04}", "request_type": "ticker"}
    return json.dumps({**feed, "timestamp_ms": now, "data": data}).encode()


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to scroll (5)")
    parser.add_argument("--feeds", type=int, nargs="+", default=[1000], help="numbers of feeds (1000)")


BROWSER = Subject("frames while the live page is scrolled in a browser", _add_options, measure)
