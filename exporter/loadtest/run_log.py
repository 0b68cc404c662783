"""The log of a run: a JSON object a line, with `timestamp`, `level`, `event` and fields of the event."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import orjson

Level = Literal["info", "warning", "error"]


class RunLog:
    """Writer of a file, each line at once; `error` is why the last line could not be written."""

    def __init__(self, file: Path) -> None:
        """Open the file; raise `OSError`."""
        self.error = ""
        self._file = file.open("ab", buffering=0)

    def write(self, level: Level, event: str, **fields: object) -> None:
        """Append a line."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"timestamp": now, "level": level, "event": event, **fields}
        try:
            self._file.write(orjson.dumps(line) + b"\n")
        except OSError as error:
            self.error = f"{error.strerror}"

    def close(self) -> None:
        """Close the file."""
        self._file.close()
