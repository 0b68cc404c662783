"""The section `web`: where HTTP is served, what it may do, pushes, and how commands authenticate at a sidecar."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from exporter.config import parsers
from exporter.config.section import Section, byte_size, count, parsed, seconds, secret

_LIST = Meta(min_length=1, max_length=1000, description="a list of 1 to 1000 entries, such as [a, b]")


class WebClientConfig(Section, frozen=True, kw_only=True):
    """How commands authenticate at a sidecar that has TLS or passwords."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: Annotated[str, parsed(parsers.host, "the name of a host, such as metrics.example.com")] | None = None
    username: Annotated[str, secret("a user without colon", parsers.http_user)] | None = None
    password: Annotated[str, secret("a password")] | None = None


class PushConfig(Section, frozen=True, kw_only=True):
    """Pushes of other programs, and how much of them is kept for how long."""

    needs_restart: ClassVar[frozenset[str]] = frozenset({"enabled"})

    enabled: bool = False
    ttl: Annotated[float, seconds("1s", "1d")] = 300.0
    max_groups: Annotated[int, count(1, 100_000)] = 1000
    max_series: Annotated[int, count(1, 1_000_000)] = 20_000
    max_bytes: Annotated[int, byte_size("1KiB", "256MiB")] = 8 * 1024**2


class WebConfig(Section, frozen=True, kw_only=True):
    """Where HTTP is served, and what it may do; `addresses.host_and_port` parses the address."""

    needs_restart: ClassVar[frozenset[str]] = frozenset({"listen_address", "telemetry_path", "history", "config_file"})

    listen_address: Annotated[str, parsed(parsers.listen_address, "an address such as :8000 or [::1]:8000")] = ":8000"
    telemetry_path: Annotated[str, parsed(parsers.telemetry_path, "a path such as /metrics")] = "/metrics"
    allowed_hosts: (
        Annotated[
            tuple[Annotated[str, parsed(parsers.host, "the name of a host, such as metrics.example.com")], ...],
            _LIST,
        ]
        | None
    ) = None
    config_page: Literal["loopback", "everyone", "off"] = "loopback"
    history: Annotated[float, seconds("0s", "15m")] = 900.0
    config_file: str | None = None
    client: WebClientConfig = WebClientConfig()
    push: PushConfig = PushConfig()
    enable_lifecycle: bool = False
