"""Write docs/page.png, the page of the demo while one feed is silent and another frozen: `make screenshot`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import requests

from tests.support.browser import Window, chromium
from tests.support.process import free_port
from tests.support.sidecar import PROGRAM
from tests.support.waiting import eventually

PICTURE = Path(__file__).parents[1] / "docs" / "page.png"
SHOWN = {"ok", "silent", "frozen"}
SHOWN_SECONDS = 120.0
# Curves begin to look like curves.
SAMPLES, SAMPLED_SECONDS = 30, 400.0
SIZE = {"width": 1300, "height": 1420}


def main() -> None:
    """Run the demo until there is enough to be seen, and let Chromium take the picture."""
    port = free_port()
    command = [str(PROGRAM), "demo", "--web.listen-address", f"127.0.0.1:{port}"]
    demo = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: states(port) == SHOWN, SHOWN_SECONDS, "the demo has not shown all states")
        eventually(lambda: samples(port) >= SAMPLES, SAMPLED_SECONDS, "the demo has no history")
        take(port)
    finally:
        demo.terminate()
        demo.wait()


def states(port: int) -> set[str]:
    """Return the states of all feeds; none while the demo does not answer yet."""
    try:
        rows = requests.get(f"http://127.0.0.1:{port}/api/v1/feeds", timeout=5).json()["data"]
    except requests.ConnectionError:
        return set()
    return {row["state"] for row in rows}


def samples(port: int) -> int:
    """Return how many samples the history has."""
    return len(requests.get(f"http://127.0.0.1:{port}/api/v1/history", timeout=5).json()["data"]["times_ms"])


def take(port: int) -> None:
    """Write the page as a PNG, once its curves and some events are drawn."""
    with chromium() as browser, Window(browser, port, viewport=SIZE) as window:
        window.open("/")
        window.find(".published").scroll_into_view_if_needed()
        window.find(".published li").nth(10).wait_for()
        window.find('.rows .trend .line[d^="M"]').first.wait_for()
        window.page.evaluate("window.scrollTo(0, 0)")
        window.page.screenshot(path=PICTURE)


if __name__ == "__main__":
    main()
