"""What shows how busy an HTTP server and the connections to it are: answers, and processor time of the server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from requests import RequestException
from requests.auth import HTTPBasicAuth

from exporter.instrument.samples import samples
from exporter.loadtest.http.plan import Plan
from exporter.runtime.http_client import Answer, ClientTls, fetch

_CPU = "process_cpu_seconds_total"
_SECONDS, _BYTES = 5.0, 64 * 1024 * 1024


class Reading(NamedTuple):
    """Sums since the start, at a time of `time.monotonic`; `cpu_seconds` is None where a server does not show it."""

    at: float
    cpu_seconds: float | None = None
    served: int = 0
    served_ms: float = 0.0
    transfer_ms: float = 0.0
    failed: int = 0


class HttpFigures(NamedTuple):
    """Means of a part of a run.

    `served_ms` is from sending a request to the end of its answer, `transfer_ms` that from the head of the answer on,
    `usual_ms` the least `served_ms` of all parts, None of the only one. `busy_connections` are those of `connections`
    that wait for an answer, `cores` what the process of the server uses, and `own_cores` that without what it used
    before the run; None where it does not show it. `failed` is how many of a second's requests have an error.
    """

    connections: int
    per_second: float
    failed_per_second: float
    served_ms: float
    transfer_ms: float
    busy_connections: float
    usual_ms: float | None = None
    cores: float | None = None
    own_cores: float | None = None


def figures(before: Reading, after: Reading, idle_cores: float | None, connections: int) -> HttpFigures:
    """Return the figures of the time between two readings."""
    seconds = max(1e-9, after.at - before.at)
    served, served_ms = after.served - before.served, after.served_ms - before.served_ms
    used = cores(before, after)
    return HttpFigures(
        connections,
        served / seconds,
        (after.failed - before.failed) / seconds,
        served_ms / max(1, served),
        (after.transfer_ms - before.transfer_ms) / max(1, served),
        served_ms / 1000 / seconds,
        cores=used,
        own_cores=None if used is None else max(0.0, used - (idle_cores or 0.0)),
    )


def cores(before: Reading, after: Reading) -> float | None:
    """Return what the server used between two readings; None if it does not show that, or was started again."""
    if before.cpu_seconds is None or after.cpu_seconds is None or after.cpu_seconds < before.cpu_seconds:
        return None
    return (after.cpu_seconds - before.cpu_seconds) / max(1e-9, after.at - before.at)


def request(plan: Plan, method: str, seconds: float, names: Mapping[str, str] = {}) -> Answer:
    """Request the page of metrics as users do; raise `RequestException`."""
    user, password = ((given or "").encode() for given in (plan.username, plan.password))
    query = f"?{urlencode(names)}" if names else ""
    return fetch(
        method,
        f"{plan.url}{plan.metrics_path}{query}",
        seconds=seconds,
        size=_BYTES,
        headers={"Accept": "text/plain;version=0.0.4"},
        auth=HTTPBasicAuth(user, password) if user else None,
        tls=ClientTls(plan.ca_file, plan.cert_file, plan.key_file, plan.server_name),
        trust_env=False,  # as Locust
    )


def read_cpu_seconds(plan: Plan) -> tuple[float, float | None]:
    """Return the processor time of the server and when that was, by `time.monotonic`."""
    try:
        lines = request(plan, "GET", _SECONDS, {"name[]": _CPU}).body.decode().splitlines()
        page = "".join(f"{line}\n" for line in lines if line.startswith(_CPU))
        found = [each.value for each in samples(page)]
    except (RequestException, ValueError):
        found = []
    return time.monotonic(), sum(found) if found else None
