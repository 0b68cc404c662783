"""Options that would have no effect: a run without it would not be the one that was meant. Pure."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Iterator, Mapping

from exporter.loadtest.settings import STRESS

# With their defaults: one that is given as it is by default does no harm.
_OF_HTTP = {"web": False, "web_port": 8089, "processes": 1}
_OF_KAFKA = {"kafka_messages": None, "kafka_threads": 2, "topic": None, "allow_existing": False, "partitions": 4}
_OF_SERVICES = {
    "config_file": None, "bootstrap_servers": None, "topic": None, "allow_existing": False, "partitions": 4,
    "event_topic": None, "url": None, "redis_url": None,
}  # fmt: skip


def unused(args: Namespace, targets: Collection[str]) -> str:
    """Return an option that has no effect, and why; nothing if all have."""
    return next(_unused(args, targets), "")


def _unused(args: Namespace, targets: Collection[str]) -> Iterator[str]:
    is_stress = args.profile == STRESS
    if args.embedded:
        yield from _given(args, _OF_SERVICES, "with --embedded, which brings its own services")
    for target, options in (("http", _OF_HTTP), ("kafka", _OF_KAFKA)):
        if target not in targets:
            yield from _given(args, options, f"without the target {target}")
    if is_stress:
        yield from _given(args, {"kafka_messages": None}, "in stress, which sends in steps")
    else:
        yield from _given(args, {"step": 20.0}, "but in stress")
        if "kafka" not in targets:
            yield from _given(args, {"rate": None}, "without the target kafka: users make --user-rate requests each")
    if args.topic is None:
        yield from _given(args, {"allow_existing": False}, "without --topic: a new topic has no records")
    if not args.web:
        yield from _given(args, {"web_port": 8089}, "without --web")


def _given(args: Namespace, options: Mapping[str, object], why: str) -> Iterator[str]:
    for name, default in options.items():
        if getattr(args, name) != default:
            flag = "config.file" if name == "config_file" else name.replace("_", "-")
            yield f"--{flag} has no effect {why}"
