"""Requests to a server under load that are not of its users: whether it answers, and its processor time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import urlencode

from requests import RequestException
from requests.auth import HTTPBasicAuth

from exporter.instrument.samples import samples
from exporter.loadtest.http.plan import Plan
from exporter.runtime.http_client import Answer, ClientTls, fetch

_CPU = "process_cpu_seconds_total"
_SECONDS, _BYTES = 5.0, 64 * 1024 * 1024


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
