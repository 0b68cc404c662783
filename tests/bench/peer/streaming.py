"""`python -m tests.bench.peer.streaming BROKER TOPIC EVENTS FOLDER`: a program on faust-streaming, at least once."""

from __future__ import annotations

import sys
from typing import Any

import faust

from tests.bench.peer.statistics import Statistics


def main(bootstrap: str, topic: str, events: str, folder: str) -> None:
    """Write an event for each batch of a topic, without end."""
    app = faust.App(
        events,
        broker=f"kafka://{bootstrap}",
        broker_session_timeout=6.0,
        broker_heartbeat_interval=2.0,
        consumer_auto_offset_reset="earliest",
        datadir=folder,
        store="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
    )
    written = app.topic(events, value_serializer="json")
    statistics = Statistics()

    @app.agent(app.topic(topic, value_serializer="json"))  # type: ignore[untyped-decorator]
    async def count(batches: Any) -> None:
        async for batch in batches:
            await written.send(value=statistics.event(batch))

    faust.Worker(app, loglevel="WARNING").execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
