"""Metrics as JSON: on stdout, and as lines in a file that is rotated."""

import json
import sys

from exporter.instrument import FileStorage, MetricsCollector


def main(path: str) -> None:
    """Measure something, append it to the file and print it."""
    collector = MetricsCollector(storage=FileStorage(path, max_bytes=1_000_000, backups=3))
    collector.gauge("room_temperature_celsius", "Warmth of a room.", {"room": "1"}).set(21.5)
    collector.counter("door_openings_total", "How often a door was opened.", {"room": "1"}).increment(3)
    result = collector.store()
    if result.is_failure():
        sys.exit(f"not stored: {result.unwrap_err()}")
    print(json.dumps(json.loads(collector.export_json()), indent=2))


if __name__ == "__main__":
    main(sys.argv[1])
