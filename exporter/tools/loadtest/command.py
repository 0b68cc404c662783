"""The command `loadtest`: load what a sidecar lives on and the sidecar itself, and report what was measured."""

from __future__ import annotations

import argparse
import errno
import sys
import threading
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from msgspec.structs import replace

from exporter.config.addresses import host_and_port
from exporter.config.loader import ConfigError
from exporter.config.schema import Config
from exporter.config.secrets import shown_text
from exporter.kafka.msk import login
from exporter.loadtest import results, verdict
from exporter.loadtest.disk import ReportRoom
from exporter.loadtest.embedded import TOPIC, Embedded
from exporter.loadtest.engine import LoadRun, Outputs, Place
from exporter.loadtest.http.target import HttpTarget
from exporter.loadtest.kafka.target import KafkaTarget
from exporter.loadtest.redis.target import RedisTarget
from exporter.loadtest.reports.writing import NO_PICTURE, write_reports
from exporter.loadtest.results import Run, Setting
from exporter.loadtest.run_log import RunLog
from exporter.loadtest.settings import Settings
from exporter.loadtest.target import Target, TargetError
from exporter.runtime import signals
from exporter.runtime.clock import now_ms
from exporter.runtime.foreign_text import printable
from exporter.tools.loadtest import arguments, summary

_COMMAND_MAX = 2000
_HTTP_PORT = 80
_INSTALL = "pip install 'marketdata-exporter[loadtest]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the description and the options to a parser."""
    arguments.add(parser)


def main(args: argparse.Namespace) -> int:
    """Make the run, print and write its report, and return the exit code."""
    stopping = threading.Event()
    signals.take().stop_by(stopping.set)
    try:
        _check_extra()
        plan = arguments.plan(args)
        _check_processes(plan.settings)
        earlier = None if args.compare is None else _read(args.compare)
    except (ConfigError, TargetError, results.ResultsError) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(_text(error))
    try:
        return _run(args, plan, earlier, stopping)
    except TargetError as error:
        return _failed(printable(str(error)))
    except OSError as error:
        return _failed(_text(error), verdict.MISSED if error.errno == errno.ENOSPC else verdict.NOT_MEASURED)


def _check_extra() -> None:
    if find_spec("psutil") is None:
        raise TargetError(f"it needs psutil: {_INSTALL}")


def _check_processes(settings: Settings) -> None:
    for name, pid in settings.processes.items():
        if not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            raise TargetError(f"--process {name}={pid}: there is no such process")


def _read(file: Path) -> Run:
    try:
        return results.decode(file.read_bytes())
    except results.ResultsError as error:
        raise results.ResultsError(f"--compare {file}: {error}") from None


def _text(error: OSError) -> str:
    """Return what is wrong, and with which file."""
    return ": ".join(filter(None, [str(error.filename or ""), error.strerror or str(error)]))


def _failed(text: str, code: int = verdict.NOT_MEASURED) -> int:
    print(f"loadtest: {text}", file=sys.stderr)
    return code


def _run(args: argparse.Namespace, plan: arguments.Plan, earlier: Run | None, stopping: threading.Event) -> int:
    room = ReportRoom(args.report_folder)
    try:
        with closing(RunLog(args.report_folder / f"load_test_log_{results.stamp(now_ms())}.jsonl")) as log:
            run = _measured(args, plan, Outputs(log, room, _print), stopping)
    finally:
        room.release()
    print("\n".join(summary.lines(run)), flush=True)
    _write(run, args.report_folder, earlier)
    return verdict.exit_code(run.checks, run.ended)


def _measured(args: argparse.Namespace, plan: arguments.Plan, outputs: Outputs, stopping: threading.Event) -> Run:
    """Make the run; with services in this process if they are to be embedded."""
    settings, config = plan.settings, plan.config
    place = Place(_network(settings, config), host_and_port(args.metrics_address))
    embedded = Embedded() if args.embedded else None
    if embedded is not None:
        settings, config = replace(settings, url=embedded.url, topic=TOPIC), embedded.config
        place = place._replace(network=None)
    try:
        targets = _targets(settings, config)
        return LoadRun(settings, targets, plan.left_out, place, outputs).run(
            stopping, _command(), _shown(settings, config)
        )
    finally:
        if embedded is not None:
            embedded.stop()


def _targets(settings: Settings, config: Config) -> list[Target]:
    found: list[Target] = []
    for name in settings.targets:
        if name == "http":
            found.append(HttpTarget(settings))
        elif name == "kafka":
            found.append(KafkaTarget(settings, config))
        else:
            found.append(RedisTarget(settings, config.redis))
    return found


def _network(settings: Settings, config: Config) -> tuple[str, int] | None:
    """Return where connections measure the network alone, if any: where no handshake is expected after them."""
    if "kafka" in settings.targets:
        properties = {**login(config), **config.kafka.properties, **config.kafka.producer_properties}
        if str(properties.get("security.protocol", "plaintext")).lower() != "plaintext":
            return None
        return host_and_port(config.kafka.bootstrap_servers.split(",")[0])
    place = urlsplit(settings.url or "")
    if "http" not in settings.targets or place.scheme != "http" or place.hostname is None:
        return None
    return place.hostname, place.port or _HTTP_PORT


def _shown(settings: Settings, config: Config) -> dict[str, Setting]:
    """Return the addresses of what is tested."""
    shown: dict[str, Setting] = {}
    if "kafka" in settings.targets:
        shown |= {"bootstrap_servers": config.kafka.bootstrap_servers, "event_topic": config.output.topic}
    if "redis" in settings.targets and config.redis.url is not None:
        shown["redis_url"] = shown_text(config.redis.url, "redis.url")
    return shown


def _command() -> str:
    return printable(" ".join(["marketdata-exporter", *sys.argv[1:]]), _COMMAND_MAX)


def _write(run: Run, folder: Path, earlier: Run | None) -> None:
    """Write the results first: they are all that the rest can be made from again."""
    file = folder / results.results_name(run)
    file.write_bytes(results.encode(run))
    print(summary.written([file, *write_reports(run, folder, earlier)]), flush=True)
    if find_spec("matplotlib") is None:
        print(NO_PICTURE, file=sys.stderr)


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
