"""The command `simulate`: simulate feeds on a broker, one of which fails, to see states and alerts work."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from confluent_kafka import KafkaException

from exporter.feeds.states import FeedState
from exporter.ingestion.events import PARTITIONS
from exporter.kafka.connection_errors import error_text
from exporter.model import FeedKey
from exporter.runtime import signals
from exporter.runtime.clock import now_ms
from exporter.tools.simulate.market import SimulatedFeed, Simulator
from exporter.tools.simulate.service_scenarios import SERVICE_SCENARIOS, ServiceScenario, service_story, services
from exporter.tools.simulate.services import ServiceSimulator
from exporter.tools.simulate.simulator import Collectors, RecordSource, create_topics, faster, positive

_DESCRIPTION = """Simulate a failure on a broker that a sidecar reads, and print what the sidecar should show when. Four
feeds of the region `simulated` send; after a while, in which the sidecar learns their intervals, simulated:upbit:ticker
fails, the others do not. In the scenarios of rounds two ingesting services send in place of feeds, for a sidecar with
ingestion.enabled (and an ingestion.prefix like --topic-prefix), and one of them fails. Exit 0 when all was sent, 1 when
not. Use a broker where simulated data does no harm."""

_SEED = 1
_PARTITIONS = 4
_DAY_MS = 86_400_000

SUBJECT = SimulatedFeed(FeedKey("simulated", "upbit", "ticker"), "KRW-{}", batch_messages=(20, 60))
OTHERS = (
    SimulatedFeed(FeedKey("simulated", "bithumb", "ticker"), "{}_KRW", batch_messages=(20, 60), interval_ms=2000),
    SimulatedFeed(FeedKey("simulated", "okx", "trade"), batch_messages=(5, 40), interval_ms=500),
    SimulatedFeed(FeedKey("simulated", "okx", "orderbook"), symbols=10, batch_messages=(10, 20), interval_ms=1500),
)

# Returns the feed with its behaviour between two times (milliseconds), or several feeds that send in its name.
_Play = Callable[[SimulatedFeed, float, float], Sequence[SimulatedFeed]]


class Scenario(NamedTuple):
    """One failure: what happens, the resulting state and alert, if any, and when, or what else to check.

    It takes `seconds` by default, and begins after the fraction `begins` of them.
    """

    text: str
    state: FeedState
    alert: str
    hint: str
    play: _Play
    seconds: int = 300
    begins: float = 0.5


def _healthy(feed: SimulatedFeed, _begin_ms: float, _end_ms: float) -> list[SimulatedFeed]:
    return [feed]


def _from_then_on(**behaviour: object) -> _Play:
    """Return a play in which the feed changes its behaviour."""

    def play(feed: SimulatedFeed, begin_ms: float, _end_ms: float) -> list[SimulatedFeed]:
        return [replace(feed, then=((begin_ms, replace(feed, **behaviour)),))]  # type: ignore[arg-type]

    return play


def _halved(feed: SimulatedFeed, begin_ms: float, _end_ms: float) -> list[SimulatedFeed]:
    return [replace(feed, then=((begin_ms, replace(feed, symbols=feed.symbols // 2)),))]


def _at_pace(*steps: tuple[float, float]) -> _Play:
    """Return a play in steps of milliseconds after the beginning and how many times as often the feed sends then."""

    def play(feed: SimulatedFeed, begin_ms: float, _end_ms: float) -> list[SimulatedFeed]:
        then = ((begin_ms + after_ms, replace(feed, interval_ms=feed.interval_ms / pace)) for after_ms, pace in steps)
        return [replace(feed, then=tuple(then))]

    return play


def _flapping(feed: SimulatedFeed, begin_ms: float, end_ms: float) -> list[SimulatedFeed]:
    """Return the feed silent for 20 s and sending for 15, repeatedly."""
    silent = replace(feed, silent_after_ms=0)
    rounds = range(int(begin_ms), int(end_ms), 35_000)
    then = [change for at_ms in rounds for change in ((at_ms, silent), (at_ms + 20_000, feed))]
    return [replace(feed, then=tuple(then))]


def _replayed(feed: SimulatedFeed, begin_ms: float, _end_ms: float) -> list[SimulatedFeed]:
    """Return the feed, and a replay of yesterday in its name, twenty times as fast."""
    yesterday = replace(feed, age_ms=_DAY_MS, interval_ms=feed.interval_ms / 20)
    return [feed, replace(feed, silent_after_ms=0, then=((begin_ms, yesterday),))]


_ANOMALIES = "marketdata_anomalies_total rises"
_SKEW = "marketdata_clock_skew_seconds is about 90 for the stage"

SCENARIOS: dict[str, Scenario] = {
    "healthy": Scenario("nothing fails", FeedState.OK, "", "nothing changes", _healthy),
    "silent": Scenario(
        "the collector dies",
        FeedState.SILENT,
        "MarketdataFeedSilent",
        "10 s later, or after `silent` of feeds.thresholds",
        _from_then_on(silent_after_ms=0),
    ),
    "rejected": Scenario(
        "the collector changes its format and omits a required field",
        FeedState.REJECTED,
        "MarketdataFeedRejected",
        "10 s later, or after `silent` of feeds.thresholds; /-/ready warns, and a log line gives the reason",
        _from_then_on(invalid_ratio=1.0, invalid_kind="no_data"),
    ),
    "frozen": Scenario(
        "the exchange sends the same prices again and again",
        FeedState.FROZEN,
        "MarketdataFeedFrozen",
        "2 min later, or after `frozen` of feeds.thresholds; the anomaly unchanged_batch at once",
        _from_then_on(frozen_after_ms=0),
    ),
    "partial": Scenario(
        "half of the symbols vanish",
        FeedState.PARTIAL,
        "MarketdataFeedPartial",
        "75 s later; symbols are evaluated once the sidecar has read the feed for 5 min",
        _halved,
        seconds=600,
        begins=0.7,
    ),
    "delayed": Scenario(
        "the feed becomes slower and slower, up to seven times",
        FeedState.DELAYED,
        "MarketdataFeedDelayed",
        "2 min later, once the sidecar has read the feed for 10 min or with `silent: 10s` in feeds.thresholds",
        _at_pace((0, 1 / 2), (30_000, 1 / 4), (60_000, 1 / 7)),
        seconds=960,
        begins=0.7,
    ),
    "burst": Scenario(
        "the feed sends twenty times as often",
        FeedState.OK,
        "",
        "rate(marketdata_batches_total[1m]) rises",
        _at_pace((0, 20)),
    ),
    "skew_ahead": Scenario(
        "the collector's clock jumps 90 s ahead",
        FeedState.OK,
        "MarketdataClockSkew",
        f"{_SKEW} broker_to_sidecar, and {_ANOMALIES} for future_batch",
        _from_then_on(clock_ms=90_000),
    ),
    "skew_behind": Scenario(
        "the collector's clock jumps 90 s back",
        FeedState.OK,
        "MarketdataClockSkew",
        f"{_SKEW} exchange_to_collector",
        _from_then_on(clock_ms=-90_000),
    ),
    "replay": Scenario(
        "the batches of yesterday are sent again, beside those of today",
        FeedState.OK,
        "",
        "marketdata_catch_up_batches_total rises, latencies do not",
        _replayed,
    ),
    "flapping": Scenario(
        "the feed is repeatedly silent for 20 s and back for 15",
        FeedState.SILENT,
        "MarketdataFeedSilent",
        "10 s later, and it stays so: a feed counts as back after 60 s",
        _flapping,
    ),
    "garbage": Scenario(
        "three of ten records cannot be read",
        FeedState.OK,
        "MarketdataRecordsRejected",
        "marketdata_records_rejected_total and the error topic have the reasons; the alert follows after 11 min",
        _from_then_on(invalid_ratio=0.3),
        seconds=960,
        begins=0.2,
    ),
    "anomalies": Scenario(
        "three of ten batches have an impossible price or timestamp, and as many a wrong size",
        FeedState.OK,
        "MarketdataAnomalies",
        f"{_ANOMALIES} for nine kinds; the alert follows after 7 min",
        _from_then_on(anomaly_ratio=0.3, wrong_size_ratio=0.3),
        seconds=720,
        begins=0.25,
    ),
}


def feeds(scenario: Scenario, seconds: float) -> list[SimulatedFeed]:
    """Return the feeds of a scenario of that length."""
    begin_ms, end_ms = scenario.begins * seconds * 1000, seconds * 1000
    return [*scenario.play(SUBJECT, begin_ms, end_ms), *OTHERS]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the description and the options to a parser."""
    parser.description = _DESCRIPTION
    parser.add_argument("scenario", choices=[*SCENARIOS, *SERVICE_SCENARIOS], metavar="SCENARIO", help="see --list")
    parser.add_argument("--list", action=_List, help="list the scenarios, and exit")
    parser.add_argument("--bootstrap-servers", default="localhost:9092", help="brokers (default: %(default)s)")
    parser.add_argument(
        "--seconds",
        type=positive,
        help="how long (default: 300; partial 600, anomalies 720, delayed and garbage 960; rounds and round_twice 180, "
        "round_open 160, round_clock 900)",
    )
    parser.add_argument("--rate", type=positive, default=1.0, help="how many times as often feeds send (default: 1)")
    parser.add_argument("--topic-prefix", default="", help="of topics such as ticker-data.simulated (default: none)")


class _List(argparse.Action):
    """Action that prints the scenarios and exits, as --help does."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """See Action."""
        listed: dict[str, Scenario | ServiceScenario] = {**SCENARIOS, **SERVICE_SCENARIOS}
        _print(f"{name:<12} {one.text} -> {one.state} {one.alert}".rstrip() for name, one in listed.items())
        parser.exit()


class Play(NamedTuple):
    """What is sent, to which topics (with the number of their partitions), and what is printed meanwhile."""

    source: RecordSource
    topics: Mapping[str, int]
    text: str
    lines: Iterator[tuple[float, str]]


def main(args: argparse.Namespace) -> int:
    """Simulate the scenario until its time is over, or SIGINT or SIGTERM; return the exit code."""
    scenario = SCENARIOS.get(args.scenario) or SERVICE_SCENARIOS[args.scenario]
    seconds = args.seconds or scenario.seconds
    kafka = {"bootstrap.servers": args.bootstrap_servers}
    play = (
        _of_feeds(args, scenario, seconds) if isinstance(scenario, Scenario) else _of_services(args, scenario, seconds)
    )
    try:
        for topic, partitions in play.topics.items():
            create_topics(kafka, [topic], partitions)
    except KafkaException as error:
        print(f"simulate: cannot create topics: {error_text(error)}", file=sys.stderr)
        return 1
    stopping = threading.Event()
    signals.take().stop_by(stopping.set)
    _print([f"{args.scenario}: {play.text}. Topics: {', '.join(play.topics)}"])
    collectors = Collectors(play.source, kafka)
    collectors.start()
    _print_in_time(play.lines, seconds, stopping)
    collectors.stop()
    _print([f"{collectors.sent} records were sent, {collectors.failed} did not reach the broker."])
    return 1 if collectors.failed else 0


def _of_feeds(args: argparse.Namespace, scenario: Scenario, seconds: float) -> Play:
    played = [replace(feed, topic_prefix=args.topic_prefix) for feed in faster(feeds(scenario, seconds), args.rate)]
    simulator = Simulator(_SEED, played, now_ms())
    return Play(simulator, dict.fromkeys(simulator.topics, _PARTITIONS), scenario.text, story(scenario, seconds))


def _of_services(args: argparse.Namespace, scenario: ServiceScenario, seconds: float) -> Play:
    simulator = ServiceSimulator(_SEED, services(scenario, seconds, args.topic_prefix), now_ms())
    topics = {args.topic_prefix + name: partitions for name, partitions in PARTITIONS.items()}
    return Play(simulator, topics, scenario.text, service_story(scenario, seconds))


def story(scenario: Scenario, seconds: float) -> Iterator[tuple[float, str]]:
    """Yield what happens and what to expect, with the seconds from the start."""
    yield 0, "All feeds are healthy, and the sidecar learns their intervals: every state is ok."
    begins = scenario.begins * seconds
    if scenario.play is not _healthy:
        yield begins, f"Now {scenario.text}: {SUBJECT.key}."
    alert = f"the alert {scenario.alert}" if scenario.alert else "no alert"
    yield begins, f"Expect {SUBJECT.key} to be {scenario.state}, the others ok, and {alert}: {scenario.hint}."
    yield seconds, "The end. All simulated feeds become silent now; `simulate healthy` makes them send again."


def _print_in_time(lines: Iterable[tuple[float, str]], seconds: float, stopping: threading.Event) -> None:
    """Print each line at its time; return at the end, or when `stopping` is set."""
    started = time.monotonic()
    for at, line in lines:
        if stopping.wait(max(0.0, started + min(at, seconds) - time.monotonic())):
            return
        minutes, rest = divmod(round(at), 60)
        _print([f"{minutes:>3}:{rest:02}  {line}"])


def _print(lines: Iterable[str]) -> None:
    print("\n".join(lines), flush=True)
