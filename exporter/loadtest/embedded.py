"""A broker and a sidecar in this process, for load tests without services.

They share the interpreter with the load test, so their figures are for trying it out.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from exporter.app import App
from exporter.config.loader import load
from exporter.config.schema import Config
from exporter.kafka.embedded import EmbeddedBroker
from exporter.loadtest.kafka.topic import ask_for
from exporter.runtime import logs

TOPIC = "ticker-data.loadtest"


class Embedded:
    """A broker and a sidecar that reads `TOPIC`, at `url`, until `stop`."""

    def __init__(self) -> None:
        self._broker = EmbeddedBroker()
        self.config = _config(self._broker.bootstrap_servers)
        logs.configure(self.config.log.level, self.config.log.format)
        for topic in (TOPIC, self.config.output.topic, self.config.output.error_topic):
            ask_for(self.config, topic)
        self._pool = ThreadPoolExecutor(1, "sidecar")
        self._app = App(self.config)
        self._running = self._start()
        self.url = f"http://127.0.0.1:{self._app.port}"

    def _start(self) -> Future[bool]:
        started = threading.Event()
        running = self._pool.submit(self._app.run, started)
        running.add_done_callback(lambda _: started.set())
        started.wait()
        if running.done():
            running.result()
        return running

    def stop(self) -> None:
        """Stop both and drop the records."""
        self._app.stop()
        self._running.exception()
        self._pool.shutdown()
        self._broker.stop()


def _config(bootstrap_servers: str) -> Config:
    flags = {
        "instance": "loadtest",
        "kafka.bootstrap_servers": bootstrap_servers,
        "input.topics": [TOPIC],
        "input.start": "earliest",
        # The transactions of the embedded broker are not real.
        "output.delivery": "at_least_once",
        "web.listen_address": "127.0.0.1:0",
        "log.level": "error",
    }
    return load(None, {}, flags, hostname="loadtest", read_file=_no_file)


def _no_file(path: str) -> str:
    raise OSError(f"an embedded load test reads no files: {path}")
