"""What is requested from a sidecar, and what is wrong with an answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

METRICS = "{metrics}"
STREAM = "/api/v1/stream"
STREAM_NAME = f"{STREAM}: first message"
UPDATES_NAME = f"{STREAM}: updates"
# Of a watcher: a stream is read for some updates, of which the sidecar sends one each second.
UPDATES = 3
SECONDS_BETWEEN_STREAMS = 5.0
# The sidecar serves 32 streams; some stay for people.
_WATCHERS_MAX = 24

_PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"


class Page(NamedTuple):
    """A request: `weight` is its share, `content_type` what the type of the answer begins with."""

    name: str
    path: str
    weight: int
    content_type: str
    accept: str = "*/*"
    encoding: str = "identity"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the request."""
        return {"Accept": self.accept, "Accept-Encoding": self.encoding}


_TEXT, _OPENMETRICS = "text/plain", "application/openmetrics-text"
# As Prometheus asks: it prefers OpenMetrics or protobuf, compressed.
SCRAPES = (
    Page("/metrics text", METRICS, 2, _TEXT, f"{_TEXT};version=0.0.4"),
    Page("/metrics text, gzip", METRICS, 2, _TEXT, f"{_TEXT};version=0.0.4", "gzip"),
    Page("/metrics OpenMetrics", METRICS, 1, _OPENMETRICS, f"{_OPENMETRICS};version=1.0.0"),
    Page("/metrics OpenMetrics, gzip", METRICS, 3, _OPENMETRICS, f"{_OPENMETRICS};version=1.0.0", "gzip"),
    Page("/metrics protobuf, gzip", METRICS, 2, "application/vnd.google.protobuf", _PROTOBUF, "gzip"),
)
_JSON = "application/json"
QUERIES = (
    Page("/api/v1/feeds", "/api/v1/feeds", 3, _JSON, encoding="gzip"),
    Page("/api/v1/symbols", "/api/v1/symbols?limit=100", 1, _JSON, encoding="gzip"),
    Page("/api/v1/history", "/api/v1/history", 1, _JSON, encoding="gzip"),
    Page("/", "/", 1, "text/html", encoding="gzip"),
)


def watchers(users: int) -> int:
    """Return how many of the users read the stream."""
    return min(_WATCHERS_MAX, max(1, round(users / 6))) if users > 2 else 0


def wanted_per_second(users: int, user_rate: float, seconds: float, ramp_seconds: float) -> float:
    """Return the requests a second, on average, of users of which those that read pages have a rate of `user_rate`.

    In the ramp at the start of `seconds` their number rises in a line.
    """
    streams = watchers(users)
    full = (users - streams) * user_rate + streams / SECONDS_BETWEEN_STREAMS
    if seconds <= 0:
        return full
    ramp = min(ramp_seconds, seconds)
    in_ramp = ramp * ramp / (2 * ramp_seconds) if ramp_seconds else 0.0
    return full * (in_ramp + seconds - ramp) / seconds


def fault(page: Page, status: int, headers: Mapping[str, str], size: int) -> str | None:
    """Return what is wrong with an answer of `size` bytes, None if nothing is."""
    if status != 200:
        return f"status {status}"
    if not (headers.get("content-type") or "").startswith(page.content_type):
        return "another content type"
    return None if size else "an empty answer"


_ERRORS = (
    (ConnectionRefusedError, "connection refused"),
    (ConnectionError, "connection closed"),
    (TimeoutError, "timed out"),
)
_NAMES = {
    "HTTPConnectionClosed": "connection closed",
    "RemoteDisconnected": "connection closed",
    "ConnectionError": "connection closed",
    "Timeout": "timed out",
    "SSLCertVerificationError": "certificate refused",
    "SSLError": "TLS error",
    "SSLEOFError": "connection closed",
}


def error_kind(error: BaseException) -> str:
    """Return the kind of an error without an answer, one of a few: texts of errors have ports and times in them."""
    known = next((text for kind, text in _ERRORS if isinstance(error, kind)), None)
    return known or _NAMES.get(type(error).__name__) or type(error).__name__
