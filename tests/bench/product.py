"""The sidecar itself, with everything on, reading a topic from beginning to end."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping

from exporter.app import App
from exporter.config.loader import load
from exporter.runtime import tuning
from tests.bench.result import Stopwatch, report


def application(bootstrap: str, topic: str, more: Mapping[str, object]) -> App:
    """Return a sidecar that ends when it has read the topic; `more` are keys of the configuration."""
    flags: dict[str, object] = {
        "kafka.bootstrap_servers": bootstrap,
        "input.topics": [topic],
        "input.start": "earliest",
        "input.group": f"product-{topic}",
        "output.topic": f"{topic}-events",
        "output.error_topic": f"{topic}-errors",
        "web.listen_address": "127.0.0.1:0",
        **more,
    }
    return App(load(None, {}, flags, hostname="bench", read_file=str), until_caught_up=True)


def main(bootstrap: str, topic: str, warm: int, settings: str) -> None:
    """Read the topic to its end and report what the batches after the first `warm` cost; `settings` are JSON."""
    app = application(bootstrap, topic, json.loads(settings))
    tuning.tune_runtime()  # as the program does
    begun: list[tuple[Stopwatch, dict[str, float]]] = []

    def health() -> None:
        while _read(app) <= warm:
            time.sleep(0.001)
        begun.append((Stopwatch(_counted(app)), _stages(app)))

    threading.Thread(target=health, daemon=True).start()
    app.run()
    stopwatch, before = begun[0]
    stages = {stage: seconds - before[stage] for stage, seconds in _stages(app).items()}
    report(stopwatch.result(_counted(app))._replace(stages=stages))


def _read(app: App) -> int:
    return sum(owned.next_offset for owned in list(app.loop.pipeline.partitions.values()))


def _counted(app: App) -> int:
    return sum(feed.batches for feed in list(app.loop.pipeline.table.feeds.values()))


def _stages(app: App) -> dict[str, float]:
    return {stage: histogram.sum for stage, histogram in app.loop.stages.items()}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
