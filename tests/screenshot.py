"""Write docs/page.png, the page of the demo while one feed is silent and another frozen: `make screenshot`."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import requests

from tests.support.process import free_port
from tests.support.sidecar import PROGRAM
from tests.support.waiting import eventually

PICTURE = Path(__file__).parents[1] / "docs" / "page.png"
SHOWN = {"ok", "silent", "frozen"}
LEARNED_SECONDS = 120.0
WIDTH, HEIGHT = 1200, 500


def main() -> None:
    """Run the demo until all the states that are to be shown are there, and let Chromium take the picture."""
    address = f"127.0.0.1:{free_port()}"
    demo = subprocess.Popen([PROGRAM, "demo", "--web.listen-address", address], stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: states(address) == SHOWN, LEARNED_SECONDS, "the demo has not shown all states")
        take(f"http://{address}/", PICTURE)
    finally:
        demo.terminate()
        demo.wait()


def states(address: str) -> set[str]:
    """Return the states of all feeds; none while the demo does not answer yet."""
    try:
        rows = requests.get(f"http://{address}/api/v1/feeds", timeout=5).json()["data"]
    except requests.ConnectionError:
        return set()
    return {row["state"] for row in rows}


def take(url: str, file: Path) -> None:
    """Write what a browser shows at that address as a PNG."""
    with tempfile.TemporaryDirectory() as profile:
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}")
        command = ["chromium", *options, f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={file}", url]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=60)


if __name__ == "__main__":
    main()
