"""Options that would have no effect: a run without it would not be the one that was meant. Pure."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Iterator, Mapping

from exporter.loadtest.settings import STRESS, Limits

# With their defaults: one that is given as it is by default does no harm.
_OF_HTTP = {"web": False, "web_port": 8089, "processes": 1}
_OF_KAFKA = {
    "kafka_messages": None, "kafka_threads": 2, "batch_size": 20, "topic": None, "allow_existing": False,
    "partitions": 4, "bootstrap_servers": None, "event_topic": None, "max_lost": Limits().lost,
}  # fmt: skip
_OF_REDIS = {"redis_url": None}
# A stress test begins at its rate, with all its users, and is judged by what holds.
_NOT_OF_STRESS = {
    "kafka_messages": None, "spawn_rate": None, "max_mean": Limits().mean_ms,
    "min_availability": Limits().availability_percent,
}  # fmt: skip
_OF_SERVICES = {
    "config_file": None, "bootstrap_servers": None, "topic": None, "allow_existing": False, "partitions": 4,
    "event_topic": None, "url": None, "redis_url": None,
}  # fmt: skip


def unused(args: Namespace, targets: Collection[str]) -> str:
    """Return an option that has no effect, and why; nothing if all have."""
    return next(_unused(args, targets), "")


def _unused(args: Namespace, targets: Collection[str]) -> Iterator[str]:
    if args.embedded:
        yield from _given(args, _OF_SERVICES, "with --embedded, which brings its own services")
    for target, options in (("http", _OF_HTTP), ("kafka", _OF_KAFKA), ("redis", _OF_REDIS)):
        if target not in targets:
            yield from _given(args, options, f"without the target {target}")
    if not {"http", "kafka"} & set(targets):
        yield from _given(args, {"url": None}, "without the targets http and kafka")
    yield from _of_stress(args, targets) if args.profile == STRESS else _of_others(args, targets)
    if args.topic is None:
        yield from _given(args, {"allow_existing": False}, "without --topic: a new topic has no records")
    if not args.web:
        yield from _given(args, {"web_port": 8089}, "without --web")


def _of_stress(args: Namespace, targets: Collection[str]) -> Iterator[str]:
    yield from _given(args, _NOT_OF_STRESS, "in stress, which has all users in steps and is judged by what holds")
    if args.rate is not None:
        # Of other targets, users are connections.
        yield from _given(args, {"user_rate": 50.0} | ({"users": None} if "kafka" in targets else {}), "with --rate")


def _of_others(args: Namespace, targets: Collection[str]) -> Iterator[str]:
    yield from _given(args, {"step": 20.0}, "but in stress")
    if "kafka" not in targets:
        yield from _given(args, {"rate": None}, "without the target kafka: users make --user-rate requests each")
    elif args.rate is not None and len(targets) == 1:
        yield from _given(args, {"user_rate": 50.0}, "with --rate")


def _given(args: Namespace, options: Mapping[str, object], why: str) -> Iterator[str]:
    for name, default in options.items():
        if getattr(args, name) != default:
            flag = "config.file" if name == "config_file" else name.replace("_", "-")
            yield f"--{flag} has no effect {why}"
