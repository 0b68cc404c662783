"""Ask the sidecar on this machine whether its loop turns."""

from __future__ import annotations

import sys

import requests

from exporter.configuration.config import Config
from exporter.configuration.notation import host_and_port

TIMEOUT_SECONDS = 3.0


def main(config: Config) -> int:
    """Return 0 when `/-/healthy` says yes, 1 with a line on stderr when it does not."""
    host, port = host_and_port(config.web.listen_address)
    # Who listens on all interfaces listens on loopback, too.
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    try:
        answer = requests.get(f"http://{name}:{port}/-/healthy", timeout=TIMEOUT_SECONDS)
    except requests.RequestException as error:
        print(f"unhealthy: no answer from {name}:{port} ({type(error).__name__})", file=sys.stderr)
        return 1
    if answer.ok:
        return 0
    print(f"unhealthy: {answer.text.strip()}", file=sys.stderr)
    return 1
