"""Writes the archive of classes with which brokers start, once; does nothing where Kafka or Java is missing."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.kafka import ARCHIVE, JARS, SHORT_LIVED, Broker, running


def write(directory: Path) -> None:
    """Run a broker that archives the classes it has used when it ends."""
    made = directory / ARCHIVE.name
    broker = Broker(directory / "kafka", options=(*SHORT_LIVED, f"-XX:ArchiveClassesAtExit={made}"))
    broker.start_seconds = broker.stop_seconds = 120.0
    with running(broker):
        broker.produce("first", [b"value"])
        broker.read_all("first")
        broker.stop()
    made.rename(ARCHIVE)  # whole or not at all: a run at the same time may read it


if __name__ == "__main__" and JARS.is_dir() and shutil.which("java") and not ARCHIVE.exists():
    with TemporaryDirectory(dir=ARCHIVE.parent) as scratch:
        write(Path(scratch))
