"""`python -m tests.bench.peer.quix BROKER TOPIC EVENTS FOLDER`: a program on quixstreams, exactly once."""

from __future__ import annotations

import sys

from quixstreams import Application

from tests.bench.peer.statistics import Statistics


def main(bootstrap: str, topic: str, events: str, folder: str) -> None:
    """Write an event for each batch of a topic, without end."""
    app = Application(
        broker_address=bootstrap,
        consumer_group=events,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        auto_create_topics=False,
        use_changelog_topics=False,
        consumer_extra_config={"session.timeout.ms": 6000},
        state_dir=folder,
        loglevel="WARNING",
    )
    source = app.topic(topic, value_deserializer="json")
    written = app.topic(events, value_serializer="json")
    app.dataframe(source).apply(Statistics().event).to_topic(written)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
