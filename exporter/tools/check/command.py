"""The command `check`: find mistakes before `run` does; changes nothing.

One line a check: ok, warn or fail, the subject, and a remedy. Every request has a time-out.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator

from confluent_kafka import KafkaException

from exporter.config.conflicts import passwords
from exporter.config.schema import Config
from exporter.config.secrets import exposed
from exporter.kafka import properties
from exporter.kafka.connection_errors import error_text
from exporter.runtime.redaction import LENGTH_MIN
from exporter.tools.check import cluster, families, findings, ingestion, records, schemas, series, services
from exporter.tools.check.model import Cluster, Finding, Level


def main(config: Config) -> int:
    """Print the findings one by one; return 1 when one of them is a failure."""
    failed = False
    for finding in check(config):
        print(finding, flush=True)
        failed |= finding.level is Level.FAIL
    return int(failed)


def check(config: Config) -> Iterator[Finding]:
    """Yield all findings; a failure of one part does not hide those of others."""
    yield from _secrets(config)
    found = yield from _kafka(config)
    yield from schemas.registry(config)
    yield from services.redis(config)
    yield from services.web(config)
    yield from families.shown(config)
    yield from series.series(config, found)


def _secrets(config: Config) -> Iterator[Finding]:
    for flag in exposed(sys.argv):
        text = "a secret in a flag is visible to all users of this machine"
        yield Finding(Level.WARN, flag, text, "give it in a file or a variable")
    for path, value in passwords(config):
        if 0 < len(value) < LENGTH_MIN:
            text = f"shorter than {LENGTH_MIN} characters, too short to be masked in the texts of servers"
            yield Finding(Level.WARN, path, text, "choose a longer one")


def _kafka(config: Config) -> Generator[Finding, None, Cluster | None]:
    if refused := list(properties.mistakes(config)):
        yield from (Finding(Level.FAIL, conflict.paths[0], conflict.message) for conflict in refused)
        return None
    yield from (Finding(Level.WARN, "kafka.properties", remark) for remark in properties.remarks(config))
    yield from findings.split_connections(config)
    named, advertised = cluster.ask_servers(config)
    yield from findings.servers(named, advertised)
    if all(server.error for server in named):
        return None
    try:
        found = cluster.ask_cluster(config)
    except KafkaException as error:
        if not any(server.error for server in advertised):  # otherwise that is the reason
            yield Finding(Level.FAIL, "kafka.bootstrap_servers", f"no list of topics: {error_text(error)}", "try again")
        return None
    for part in (findings.input_topics, records.records, findings.group, findings.outputs, ingestion.topics):
        yield from part(config, found)
    return found
