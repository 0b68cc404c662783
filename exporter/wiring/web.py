"""Makes what serves HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from exporter.config.addresses import host_and_port
from exporter.config.schema import Config
from exporter.runtime.clock import Clock
from exporter.runtime.threads import Start
from exporter.web.hosts import Access
from exporter.web.interface import Lifecycle, Queries, WebMetrics
from exporter.web.risk import Risk
from exporter.web.server import WebServer

if TYPE_CHECKING:
    from exporter.pushes.groups import PushedGroups
    from exporter.web.config_file import WebConfigFile
    from exporter.web.pushes import PushRoutes


def make_web_file(config: Config, registry: CollectorRegistry) -> WebConfigFile | None:
    """Return the file with TLS and passwords that `web.config_file` names; None when it names none."""
    if config.web.config_file is None:
        return None
    # Loaded when it is needed, with the parts for TLS and passwords.
    from exporter.web.config_file import WebConfigFile, WebFileMetrics

    return WebConfigFile(config.web.config_file, WebFileMetrics(registry))


def make_pushes(config: Config, registry: CollectorRegistry, clock: Clock) -> PushedGroups | None:
    """Return the groups of pushed metrics; None unless `web.push.enabled`."""
    if not config.web.push.enabled:
        return None
    # Loaded when it is needed.
    from exporter.pushes.groups import PushedGroups

    return PushedGroups(config.web.push, registry, clock)


def _push_routes(config: Config, groups: PushedGroups | None) -> PushRoutes | None:
    if groups is None:
        return None
    from exporter.web.pushes import PushRoutes

    return PushRoutes(groups, config.web.telemetry_path)


def make_web_server(
    config: Config,
    queries: Queries,
    registry: CollectorRegistry,
    lifecycle: Lifecycle,
    web_file: WebConfigFile | None,
    pushes: PushedGroups | None,
    start: Start,
    risk: Risk | None = None,
) -> WebServer:
    """Return the server of all that is asked over HTTP."""
    host, port = host_and_port(config.web.listen_address)
    return WebServer(
        queries,
        host,
        port,
        config.web.telemetry_path,
        metrics=WebMetrics(registry),
        access=access(config),
        web_file=web_file,
        lifecycle=lifecycle,
        pushes=_push_routes(config, pushes),
        start_thread=start,
        risk=risk,
    )


def access(config: Config) -> Access:
    """Return what the server lets clients see and do."""
    web = config.web
    return Access(web.allowed_hosts, web.config_page, web.enable_lifecycle)
