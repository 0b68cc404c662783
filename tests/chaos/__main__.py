"""`make chaos`: faults at random for as long as is asked, and a table of what they did. Exits with 1 after any harm."""

import argparse
import sys
import tempfile
from itertools import count
from pathlib import Path
from time import monotonic

from tests.chaos.broker import ProxiedBroker
from tests.chaos.faults import FAULTS
from tests.chaos.matrix import Plan, Report, broker_properties, run
from tests.chaos.stage import GROUPS

DELIVERIES = ("exactly_once", "at_least_once")
RUN_SECONDS = 240.0


def main() -> int:
    """Run with the arguments of the command line."""
    args = _arguments()
    print(f"seed {args.seed}")
    deadline = monotonic() + args.seconds
    bad = 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        for number in count():
            left = deadline - monotonic()
            if left <= 0:
                return int(bad > 0)
            plan = Plan(args.delivery, args.protocol or list(GROUPS)[number % len(GROUPS)], args.seed + number)
            report = _run(Path(directory) / str(number), plan, args.faults or list(FAULTS), min(left, RUN_SECONDS))
            print(f"\n{plan}\n{report}", flush=True)
            bad += bool(report.problems)
    return int(bad > 0)


def _run(directory: Path, plan: Plan, faults: list[str], seconds: float) -> Report:
    with ProxiedBroker(directory / "broker", broker_properties()) as broker:
        return run(broker, directory, plan, faults, seconds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0, help="for how long (1800)")
    parser.add_argument("--seed", type=int, default=1, help="what chance begins with (1)")
    parser.add_argument("--delivery", choices=DELIVERIES, default=DELIVERIES[0])
    parser.add_argument("--protocol", choices=list(GROUPS), help="the kind of group; otherwise one after the other")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"some of: {', '.join(FAULTS)}")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
