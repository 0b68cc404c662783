"""How the parts of a sidecar take in another configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from exporter.config.schema import Config
from exporter.feed_loop import FeedLoop
from exporter.loop_settings import loop_settings
from exporter.reload import Prepare
from exporter.runtime import logs
from exporter.web.hosts import Access
from exporter.web.queries import SidecarQueries
from exporter.wiring.web import access

if TYPE_CHECKING:
    from exporter.decoding.record_decoder import FindSchemas
    from exporter.ingestion_loop import IngestionLoop
    from exporter.pushes.groups import PushedGroups
    from exporter.web.config_file import WebConfigFile

# Longer than a rebalance takes the loop, and less than a client waits for its answer.
ADOPT_SECONDS = 25.0


def reload_parts(
    loop: FeedLoop,
    ingestion: IngestionLoop | None,
    find_schemas: FindSchemas | None,
    queries: SidecarQueries,
    allow: Callable[[Access], None],
    pushes: PushedGroups | None,
    web_file: WebConfigFile | None,
    risk: Prepare | None,
) -> list[Prepare]:
    """Return the parts that take in another configuration, in the order in which it is put in force."""
    return [
        partial(_prepare_loop, loop, find_schemas),
        lambda _, config: partial(allow, access(config)),
        lambda _, config: partial(queries.use, config),
        lambda _, config: partial(logs.reconfigure, config.log.level, config.log.format),
        *([] if ingestion is None else [partial(_prepare_ingestion, ingestion)]),
        *([] if pushes is None else [partial(_limit_pushes, pushes)]),
        *([] if risk is None else [risk]),
        *([] if web_file is None else [partial(_read_web_file, web_file)]),
    ]


def _prepare_loop(
    loop: FeedLoop, find_schemas: FindSchemas | None, running: Config, wanted: Config
) -> Callable[[], None]:
    """See Prepare: the settings are made here, and adopted by the thread of the loop."""
    if all(getattr(running, name) == getattr(wanted, name) for name in ("input", "feeds", "output")):
        return lambda: None
    change = partial(loop.reconfigure, loop_settings(wanted, find_schemas))
    return partial(loop.handover.run, change, ADOPT_SECONDS)


def _prepare_ingestion(loop: IngestionLoop, running: Config, wanted: Config) -> Callable[[], None]:
    """See Prepare: of this loop, only how its error events are published changes."""
    if running.output == wanted.output:
        return lambda: None
    change = partial(loop.publisher.reconfigure, wanted.output.commit_interval, wanted.output.backlog)
    return partial(loop.handover.run, change, ADOPT_SECONDS)


def _read_web_file(file: WebConfigFile, _running: Config, _wanted: Config) -> Callable[[], None]:
    """See Prepare: the file is read, and in force at once, as when it changes by itself."""
    file.reload()
    return lambda: None


def _limit_pushes(pushes: PushedGroups, _running: Config, wanted: Config) -> Callable[[], None]:
    """See Prepare."""
    return partial(pushes.use, wanted.web.push)
