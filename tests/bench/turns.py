"""The sidecar as in `product`, telling its port at first and at last how long each turn of its loop worked."""

from __future__ import annotations

import json
import sys
import threading
import time

from exporter.app import App
from exporter.instrument.histogram import Histogram
from exporter.runtime import tuning
from tests.bench.product import application


class Mark(Histogram):
    """A stage of the loop that also notes when it ended (monotonic)."""

    def __init__(self, histogram: Histogram) -> None:
        super().__init__(histogram.bounds)
        self.ends: list[float] = []

    def add(self, value: float, times: int = 1) -> None:
        """See Histogram."""
        self.ends.append(time.monotonic())
        super().add(value, times)


def main(bootstrap: str, topic: str) -> None:
    """Read the topic to its end, and report; a turn works from the end of its poll to the end of its publishing."""
    app = application(bootstrap, topic, {})
    tuning.tune_runtime()  # as the program does
    poll, publish = (_marked(app, stage) for stage in ("poll", "publish"))
    started = threading.Event()
    threading.Thread(target=_tell_port, args=(app, started), daemon=True).start()
    app.run(started)
    print(json.dumps({"turns": list(zip(poll.ends, publish.ends, strict=False))}), flush=True)


def _marked(app: App, stage: str) -> Mark:
    mark = app.loop.stages[stage] = Mark(app.loop.stages[stage])
    return mark


def _tell_port(app: App, started: threading.Event) -> None:
    started.wait()
    print(json.dumps({"port": app.port}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
