"""The sections of the page about the whole sidecar, for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import nlargest

from exporter.config.schema import Config
from exporter.loop import STAGES
from exporter.model import Status
from exporter.page.history import STEP_SECONDS
from exporter.page.recorder import Recorder
from exporter.page.rows import COLUMNS, REASON_MAX, Values
from exporter.runtime.foreign_text import printable
from exporter.status import PartitionStatus, SidecarStatus

PARTITIONS_LISTED = 200
# Views that the page leads to, the first one from its name.
VIEWS = ("overview", "programs", "risk")
_STATE, _BATCHES, _MESSAGES, _SYMBOLS, _ANOMALIES = map(
    COLUMNS.index, ("state", "batches", "messages", "symbols", "anomalies")
)

Section = Mapping[str, object]


class Sections:
    """Sections about one sidecar; any thread may ask for them."""

    def __init__(
        self, config: Config, status: SidecarStatus, recorder: Recorder, version: str, started_ms: int
    ) -> None:
        self._status = status
        self._recorder = recorder
        self._fixed = {
            "instance": config.instance,
            "version": version,
            "started_ms": started_ms,
            "history_seconds": recorder.seconds,
            "history_step_seconds": STEP_SECONDS,
            "telemetry_path": config.web.telemetry_path,
            "shares": config.redis.url is not None,
            "views": [view for view in VIEWS if view != "risk" or config.risk.enabled],
            "takes_pushes": config.web.push.enabled,
        }

    def all(self, rows: Iterable[Values]) -> dict[str, Section]:
        """Return every section; `rows` are those of all feeds."""
        rows = list(rows)
        return {
            "sidecar": self._fixed,
            "ready": shown_status(self._status.ready()),
            "healthy": shown_status(self._status.healthy()),
            "states": Counter(str(row[_STATE]) for row in rows if row[_STATE] is not None),
            "totals": self._totals(rows),
            "loop": self._loop(),
            "latencies": self._recorder.latencies(),
            "backlog": self._backlog_section(),
            "lag": lag(self._status.partitions()),
            **self._ingestion(),
        }

    def _ingestion(self) -> dict[str, Section]:
        if self._status.ingestion is None:
            return {}
        # Loaded when it is needed.
        from exporter.page.ingestion import ingestion_section

        return {"ingestion": ingestion_section(self._status.ingestion)}

    def _totals(self, rows: list[Values]) -> Section:
        def total(column: int) -> int:
            return sum(value for row in rows if isinstance(value := row[column], int))

        return {
            "feeds": len(rows),
            "batches": total(_BATCHES),
            "messages": total(_MESSAGES),
            "symbols": total(_SYMBOLS),
            "rejected": sum(sum(topic.rejected.values()) for topic in self._status.topics().values()),
            "anomalies": total(_ANOMALIES),
            **self._recorder.means(("batches_per_second", "messages_per_second")),
        }

    def _loop(self) -> Section:
        names = {f"stages:{stage}": stage for stage in STAGES} | {"cpu_cores": "cpu_cores"}
        shares = {names[name]: value for name, value in self._recorder.means(names).items()}
        return {**shares, "seconds": self._recorder.mean_seconds}

    def _backlog_section(self) -> Section:
        limits, waiting = self._status.backlog_limits, self._status.backlog()
        return {
            "events": waiting.events,
            "bytes": waiting.bytes,
            "age_seconds": round(waiting.age, 1),
            "events_limit": limits.events,
            "bytes_limit": limits.bytes,
            "age_limit_seconds": limits.age,
            "ratio": round(waiting.fullness, 4),
            "error": printable(self._status.publisher.last_error, REASON_MAX),
        }


def shown_status(status: Status) -> Section:
    """Return a status for JSON."""
    reasons, warnings = ([printable(text, REASON_MAX) for text in texts] for texts in status[1:])
    return {"ok": status.ok, "reasons": reasons, "warnings": warnings}


def lag(partitions: Iterable[PartitionStatus]) -> Section:
    """Return how far the sidecar is behind: in total, and on the partitions where it is most."""
    found = list(partitions)
    behind = [(max(0, each.end - each.offset) if each.end is not None else -1, each) for each in found]
    listed = nlargest(PARTITIONS_LISTED, behind, key=lambda pair: pair[0])
    return {
        "records": sum(records for records, _ in behind if records > 0),
        "partitions": len(found),
        "unknown": sum(records < 0 for records, _ in behind),
        "rows": [
            [each.partition.topic, each.partition.number, each.offset, each.end, None if records < 0 else records,
             each.last_record_ms or None]
            for records, each in listed
        ],
    }  # fmt: skip
