"""Show the risk of portfolios, and what scenarios would do to them. Publishes and commits nothing.

Prices are those of a recording, or the newest records of the input topics.
"""

from __future__ import annotations

import argparse
import json
import sys

import yaml
from confluent_kafka import KafkaException

from exporter.config.files import read_text
from exporter.config.layers import Problem
from exporter.config.loader import ConfigError, load
from exporter.config.risk_schema import Scenario
from exporter.config.schema import Config
from exporter.kafka.connection_errors import error_text
from exporter.loop_settings import loop_settings
from exporter.risk import Book, Evaluation, Market, PriceHistory, StressTestEngine
from exporter.risk.portfolios import Portfolio
from exporter.risk.position_file import PositionFile, PositionsError
from exporter.risk.position_topic import PositionTopic
from exporter.runtime.foreign_text import printable
from exporter.tools.risk import report
from exporter.tools.risk.prices import RecordingError, newest_records, priced, recorded, sample

RECORDS = 5000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is shown, and from where, to a parser."""
    parser.add_argument(
        "--what-if", metavar="FILE", help="YAML with scenarios, as risk.scenarios; beside the usual four"
    )
    parser.add_argument("--recording", metavar="FILE", help="records instead of topics: JSON lines, also gzip")
    parser.add_argument(
        "--records", type=int, default=RECORDS, metavar="N", help=f"newest records of each partition ({RECORDS})"
    )
    parser.add_argument("--json", dest="as_json", action="store_true", help="JSON instead of tables")


def main(config: Config, *, what_if: str | None, recording: str | None, records: int, as_json: bool) -> int:
    """Print figures and scenarios; return 0, 1 if they cannot be known, 2 for mistakes in a file."""
    try:
        scenarios = (*config.risk.scenarios, *_scenarios(what_if))
        book = Book(_positions(config))
        found = newest_records(config, records) if recording is None else recorded(recording)
        history = PriceHistory(config.risk.samples + 1, round(1000 * config.risk.interval), book.symbols)
        decoder = loop_settings(config, None).pipeline.decoder
        prices = sample(history, book.symbols, priced(found, decoder), config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (KafkaException, OSError, PositionsError, RecordingError) as error:
        text = error_text(error) if isinstance(error, KafkaException) else str(error)
        print(f"risk: {printable(text)}", file=sys.stderr)
        return 1
    market = Market(book.prices(prices), history.prices(book.symbols))
    risks = Evaluation(book, market, decay=config.risk.decay).portfolios()
    results = StressTestEngine(scenarios).run(book, market)
    print(_dumped(report.as_json(risks, results)) if as_json else report.as_text(risks, results))
    return 0 if all(risk.value.is_known for risk in risks.values()) else 1


def _dumped(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _scenarios(path: str | None) -> tuple[Scenario, ...]:
    """Return the scenarios of a file; raise `ConfigError` with all its mistakes."""
    if path is None:
        return ()
    try:
        content = yaml.safe_load(read_text(path))
    except (OSError, ValueError, yaml.YAMLError) as error:
        text = f"the file cannot be read: {' '.join(str(error).split())}"
        raise ConfigError((Problem("", text, "--what-if"),)) from None
    if not isinstance(content, dict) or content.keys() != {"scenarios"}:
        text = "the file has one key, scenarios, with a list as of risk.scenarios"
        raise ConfigError((Problem("", text, "--what-if"),))
    return load(None, {}, {"risk.scenarios": content["scenarios"]}, hostname="localhost", read_file=str).risk.scenarios


def _positions(config: Config) -> list[Portfolio]:
    positions = config.risk.positions
    source = PositionFile(positions.file) if positions.file is not None else PositionTopic(config)
    if positions.file is None and positions.topic is None:
        raise ConfigError((Problem("risk.positions", "needs a file or a topic"),))
    try:
        return source.read() or []
    finally:
        source.close()
