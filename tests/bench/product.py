"""The sidecar itself, with everything on, reading a topic from beginning to end."""

from __future__ import annotations

import json
import sys
import threading
import time

from exporter.app import App
from exporter.configuration.settings import load
from tests.bench.result import Stopwatch, report


def main(bootstrap: str, topic: str, settings: str = "{}") -> None:
    """Read the topic to its end and report; `settings` are more keys of the configuration, as JSON."""
    flags: dict[str, object] = {
        "kafka.bootstrap_servers": bootstrap,
        "input.topics": [topic],
        "input.start": "earliest",
        "input.group": f"product-{topic}",
        "output.topic": f"{topic}-events",
        "output.error_topic": f"{topic}-errors",
        "web.listen_address": "127.0.0.1:0",
        "output.summary_interval": "10s",
        **json.loads(settings),
    }
    app = App(load(None, {}, flags, hostname="bench", read_file=str), until_caught_up=True)
    watches: list[Stopwatch] = []

    def watch() -> None:
        # The first record is as good a start as the other contestants have.
        while not any(owned.next_offset for owned in list(app.loop.analysis.partitions.values())):
            time.sleep(0.001)
        watches.append(Stopwatch())

    threading.Thread(target=watch, daemon=True).start()
    app.run()
    batches = sum(feed.batches for feed in app.loop.analysis.table.feeds.values())
    report(watches[0].result(batches))


if __name__ == "__main__":
    main(*sys.argv[1:])
