"""The command `replay`: what a sidecar would have found in records of the past, at their own time.

Reads ranges of topics or a recording, and changes nothing: no group, no event, no commit.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from exporter.config.loader import ConfigError
from exporter.config.schema import Config
from exporter.kafka.reader import TopicReader, reader_properties
from exporter.model import RegistryError
from exporter.runtime.clock import now_ms
from exporter.runtime.foreign_text import printable
from exporter.tools.audit.formats import required_schemas
from exporter.tools.moments import timestamp_ms
from exporter.tools.replay import progress
from exporter.tools.replay.analysis import Analysis, in_parts
from exporter.tools.replay.arrival import Arrived, arrivals
from exporter.tools.replay.blocks import Blocks, BlocksError
from exporter.tools.replay.differences import differences
from exporter.tools.replay.html import as_html
from exporter.tools.replay.recording import Recording, RecordingError, writing
from exporter.tools.replay.report import Document, document
from exporter.tools.replay.text import as_text
from exporter.tools.replay.topics import FETCHING, Period, Range, RangeError, parsed, read, spans

if TYPE_CHECKING:
    from exporter.decoding.record_decoder import FindSchemas

ANSWER_SECONDS = 30.0


class Options(NamedTuple):
    """The arguments of the command beside the configuration; `load` returns that of another file."""

    topics: Sequence[str]
    file: str | None
    since: int | None
    until: int | None
    record: str | None
    html: str | None
    json: bool
    what_if: str | None
    prometheus: str | None
    load: Callable[[str], Config]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what names the records, and the forms of the report, to a parser."""
    add = parser.add_argument
    add("topics", nargs="*", metavar="TOPIC[/PARTITION[/FROM-TO]]", help="a topic or ^pattern, or some of its records")
    add("--file", metavar="FILE", help="a recording: JSON lines, plain or compressed by gzip or zstd")
    time_help = "ISO 8601 (UTC) or Unix milliseconds"
    add("--since", type=timestamp_ms, metavar="TIME", help=f"only records from this time on: {time_help}")
    add("--until", type=timestamp_ms, metavar="TIME", help=f"only records before this time: {time_help}")
    add("--record", metavar="FILE", help="write the records into a new recording (.gz, .zst: compressed)")
    add("--what-if", metavar="CONFIG", help="a configuration file: what would have been other with it")
    add("--prometheus", metavar="FOLDER", help="write the metrics as blocks of Prometheus (needs promtool)")
    add("--html", metavar="FILE", help="write the report as a page")
    add("--json", action="store_true", help="print JSON")


def main(config: Config, **arguments: object) -> int:
    """Replay the records and print the report; return 0, 1 when they cannot be read, 2 for wrong usage."""
    options = Options(**arguments)  # type: ignore[arg-type]
    try:
        report = _replayed(config, options)
    except RegistryError as error:
        return _print_error(error, 1)
    except (RangeError, RecordingError, BlocksError) as error:
        return _print_error(error, 2)
    except (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        return _print_error(OSError(f"{error.filename}: {error.strerror}"), 2)
    if options.html is not None:
        Path(options.html).write_text(as_html(report), encoding="utf-8")
    print(json.dumps(report) if options.json else as_text(report))
    return 0 if report["records"] and not report["damage"] else 1


def _print_error(error: Exception, code: int) -> int:
    print(f"replay: {printable(str(error))}", file=sys.stderr)
    return code


def _replayed(config: Config, options: Options) -> Document:
    """Analyze the records, and return the report."""
    ranges = _ranges(options)
    configs = [config, *_other(options)]
    if options.html is not None:
        Path(options.html).open("a").close()  # before a day is replayed for it
    began = time.monotonic()
    with ExitStack() as stack:
        sample = _do_nothing
        if options.prometheus is not None:
            sample = stack.enter_context(Blocks(Path(options.prometheus), config.instance)).sample
        samplers = sample, _do_nothing
        analyses = [Analysis(each, _find_schemas(each), one) for each, one in zip(configs, samplers, strict=False)]
        if options.file is not None:
            recording = Recording(Path(options.file))
            source = _read_file(analyses, recording, options)
            damage = recording.damage
        else:
            source, damage = _read_topics(analyses, configs, ranges, options), ""
    report = document(analyses[0], printable(source), time.monotonic() - began, printable(damage))
    if options.what_if is not None:
        report["what_if"] = differences(analyses[0], analyses[-1], printable(options.what_if))
    return report


def _other(options: Options) -> list[Config]:
    """Return the configuration to compare, if any."""
    if options.what_if is None:
        return []
    try:
        return [options.load(options.what_if)]
    except ConfigError as error:
        texts = [f"{problem.path or 'the configuration'}: {problem.message}" for problem in error.problems]
        raise RangeError(f"--what-if {options.what_if}: {'; '.join(texts)}") from None


def _do_nothing(analysis: Analysis, now_ms: int) -> None:
    """Ignore a second of an analysis."""


def _ranges(options: Options) -> list[Range]:
    if (options.file is None) == (not options.topics):
        raise RangeError("give topics, or --file with a recording")
    if options.since is not None and options.until is not None and options.since >= options.until:
        raise RangeError("--since is not before --until, expected a time in which records can be")
    return [parsed(text) for text in options.topics]


def _find_schemas(config: Config) -> FindSchemas | None:
    return required_schemas if any(one.schema_registry for one in config.input.formats) else None


def _read_file(analyses: Sequence[Analysis], recording: Recording, options: Options) -> str:
    """Analyze a recording, and return its name."""
    arrived = _within(arrivals(recording.records(), now_ms()), Period(options.since, options.until))
    _analyze(analyses, progress.shown(arrived, lambda _: recording.position / recording.size), options)
    for analysis in analyses:
        analysis.end()
    return str(recording.path)


def _within(arrived: Iterator[Arrived], period: Period) -> Iterator[Arrived]:
    for each in arrived:
        if period.until_ms is not None and each[0] >= period.until_ms:
            return
        if period.since_ms is None or each[0] >= period.since_ms:
            yield each


def _read_topics(
    analyses: Sequence[Analysis], configs: Sequence[Config], ranges: Sequence[Range], options: Options
) -> str:
    """Analyze the ranges of topics, and return their names."""
    period, latest_ms, config = Period(options.since, options.until), now_ms(), configs[0]
    origin = any(one.reads_origin for each in configs for one in each.input.formats)
    with TopicReader({**FETCHING, **reader_properties(config)}, config.input.group, ANSWER_SECONDS) as reader:
        chosen = spans(reader, ranges, config.input.exclude, period)
        total = sum(span.end - span.start for span in chosen.values()) or 1
        arrived = read(reader, chosen, latest_ms, origin=origin)
        for analysis in analyses if period.since_ms is not None else ():
            analysis.begin(period.since_ms or 0, {partition: span.start for partition, span in chosen.items()})
        _analyze(analyses, progress.shown(arrived, lambda number: number / total), options)
    for analysis in analyses:
        analysis.end(min(period.until_ms or 0, latest_ms))
    return " ".join(options.topics)


def _analyze(analyses: Sequence[Analysis], arrived: Iterator[Arrived], options: Options) -> None:
    """Analyze records in each way, and write them into a recording, if one is wanted."""
    with ExitStack() as stack:
        if options.record is not None:
            write = stack.enter_context(writing(Path(options.record)))
            arrived = ((each, write(each[1]))[0] for each in arrived)
        for part in in_parts(arrived):
            for analysis in analyses:
                analysis.read(part)
