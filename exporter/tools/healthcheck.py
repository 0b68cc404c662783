"""Ask the sidecar on this machine whether its loop turns."""

from __future__ import annotations

import sys

import requests

from exporter.configuration.config import Config
from exporter.configuration.notation import host_and_port

TIMEOUT_SECONDS = 3.0


def main(config: Config) -> int:
    """Return 0 when `/-/healthy` says yes, 1 with a line on stderr when it does not."""
    address = config.web.listen_address
    try:
        answer = ask(address, TIMEOUT_SECONDS)
    except requests.RequestException as error:
        print(f"unhealthy: no answer from {reached_at(address)} ({type(error).__name__})", file=sys.stderr)
        return 1
    if answer.ok:
        return 0
    print(f"unhealthy: {answer.text.strip()}", file=sys.stderr)
    return 1


def ask(listen_address: str, seconds: float) -> requests.Response:
    """Return the answer of the sidecar that listens there; raise `RequestException` when there is none in time."""
    return requests.get(f"http://{reached_at(listen_address)}/-/healthy", timeout=seconds)


def reached_at(listen_address: str) -> str:
    """Return host and port at which this machine reaches what listens there."""
    host, port = host_and_port(listen_address)
    # Who listens on all interfaces listens on loopback, too.
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"{name}:{port}"
