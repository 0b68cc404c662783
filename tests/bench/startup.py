"""What each command costs by itself, beside an interpreter that does nothing: mostly what it imports."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

from tests.bench.bench import Bench, Subject
from tests.bench.figures import Cases
from tests.support.process import free_port
from tests.support.sidecar import PROGRAM

BARE = "python -c pass"


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Run each command several times, in turns; there is a sidecar to ask and nothing to read."""
    with bench.sidecar(bench.topics()) as sidecar:
        config = f"--config.file={sidecar.directory / 'config.yml'}"
        address = f"--web.listen-address=127.0.0.1:{sidecar.port}"
        free = f"--web.listen-address=127.0.0.1:{free_port()}"
        commands: dict[str, Sequence[str]] = {
            BARE: (sys.executable, "-c", "pass"),
            "--version": (str(PROGRAM), "--version"),
            "--help": (str(PROGRAM), "--help"),
            "healthcheck": (str(PROGRAM), "healthcheck", config, address),
            "check": (str(PROGRAM), "check", config, address),
            "audit": (str(PROGRAM), "audit", config),
            "simulate --list": (str(PROGRAM), "simulate", "--list"),
            "run --until-caught-up": (str(PROGRAM), "run", config, free, "--until-caught-up"),
            "demo --seconds 1": (str(PROGRAM), "demo", "--seconds=1", free),
        }
        spent: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.repeats):
            for name, command in commands.items():
                spent[name].append(_processor_ms(command))
            bench.progress("each command has run")
    bare = median(spent[BARE])
    return {name: {"processor_ms": ms, "by_bare": [each / bare for each in ms]} for name, ms in spent.items()}


def _processor_ms(command: Sequence[str]) -> float:
    """Run a command to its end; return the processor time of it."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    return (used.ru_utime + used.ru_stime) * 1000


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=5, help="times that each command is run (5)")


STARTUP = Subject("processor time of each command by itself", _add_options, measure)
