"""The findings of `check` about the group: whether the brokers accept a member with the sidecar's properties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.config.schema import Config
from exporter.kafka import clients
from exporter.tools.check.model import Cluster, Finding, Group, Level, counted

NAMES_SHOWN = 3
# The default of librdkafka.
SESSION_MS = 45_000
_PROPERTIES = "kafka.consumer_properties"
_GROUP = "input.group"
_PROTOCOLS = "group.coordinator.rebalance.protocols"
_ASSIGNORS = "group.consumer.assignors"


def protocol(config: Config) -> str:
    """Return the protocol of the group: classic, or consumer when the brokers assign partitions."""
    return str(clients.consumer_properties(config).get("group.protocol", "classic"))


def refusals(config: Config, cluster: Cluster) -> Iterator[Finding]:
    """Yield what the settings of the brokers, if visible, or other members would refuse."""
    if cluster.settings:
        yield from _session(config, cluster) if protocol(config) == "classic" else _new_protocol(config, cluster)
    if isinstance(cluster.group, Group) and cluster.group.members:
        yield from _other_members(config, cluster.group)
        yield from _room(config, cluster, cluster.group)
        yield from _instance(config, cluster.group)


def _session(config: Config, cluster: Cluster) -> Iterator[Finding]:
    session = clients.whole(clients.consumer_properties(config), "session.timeout.ms", SESSION_MS)
    low, high = (cluster.setting(f"group.{end}.session.timeout.ms") for end in ("min", "max"))
    if (low is not None and session < low) or (high is not None and session > high):
        text = (
            f"session.timeout.ms is {session}, the brokers allow {low} to {high} (group.min and max.session.timeout.ms)"
        )
        yield Finding(Level.FAIL, _PROPERTIES, text, "set one that they allow")


def _new_protocol(config: Config, cluster: Cluster) -> Iterator[Finding]:
    if "consumer" not in cluster.settings.get(_PROTOCOLS, ""):
        text = f"the brokers do not have group.protocol consumer ({_PROTOCOLS})"
        yield Finding(Level.FAIL, _PROPERTIES, text, "leave group.protocol out, or use brokers of Kafka 4.0 or later")
        return
    wanted = str(clients.consumer_properties(config).get("group.remote.assignor", ""))
    offered = [each.strip() for each in cluster.settings.get(_ASSIGNORS, "").split(",")]
    # Assignors may also be Java classes, whose names are not those of the setting.
    if wanted and wanted not in offered and all(offered) and not any("." in each for each in offered):
        text = f"the brokers have no group.remote.assignor {wanted}, but {some(offered)} ({_ASSIGNORS})"
        yield Finding(Level.FAIL, _PROPERTIES, text, "set one of these, or leave it out")


def _room(config: Config, cluster: Cluster, group: Group) -> Iterator[Finding]:
    setting = "group.max.size" if protocol(config) == "classic" else "group.consumer.max.size"
    if (most := cluster.setting(setting)) is not None and group.members >= most:
        text = f"{config.input.group} has {counted(group.members, 'member')}, as many as the brokers allow ({setting})"
        advice = "unless this sidecar is one of them, stop another, or raise it on the brokers"
        yield Finding(Level.WARN, _GROUP, text, advice)


def _instance(config: Config, group: Group) -> Iterator[Finding]:
    own = clients.consumer_properties(config).get("group.instance.id")
    if own in group.instances:
        text = f"a member of {config.input.group} has group.instance.id {own} already"
        yield Finding(
            Level.WARN,
            _PROPERTIES,
            text,
            "unless that is this sidecar, choose another: no two members may share one",
        )


def _other_members(config: Config, group: Group) -> Iterator[Finding]:
    properties, own = clients.consumer_properties(config), protocol(config)
    strategies = [each.strip() for each in str(properties.get("partition.assignment.strategy", "")).split(",")]
    advice = "choose another input.group, or stop those members"
    if group.kind != own:
        text = f"the members of {config.input.group} use the {group.kind} protocol, this sidecar uses {own}"
        yield Finding(Level.WARN, _GROUP, text, advice)
    elif own == "classic" and group.assignor and group.assignor not in strategies:
        supported = some(strategies)
        text = f"the members of {config.input.group} use the assignor {group.assignor}, this sidecar {supported}"
        yield Finding(Level.FAIL, _GROUP, text, advice)


def some(names: Sequence[str]) -> str:
    """Return the first few names, and the number of the others."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
