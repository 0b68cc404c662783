"""`make chaos`: faults at random for as long as is asked, and a table of what they did. Exits with 1 after any harm."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from time import monotonic

from tests.chaos import consumers
from tests.chaos.faults import ALL, possible
from tests.chaos.matrix import run
from tests.chaos.members import GROUPS
from tests.chaos.trial import Plan

# Members of a MessageConsumer's group in place of sidecars.
CONSUMERS = "consumers"
# Mostly exactly once; each kind of group meets both kinds of clusters within four runs.
PLANS = (
    Plan("exactly_once", "classic", 1),
    Plan("exactly_once", "consumer", 3),
    Plan("exactly_once", "classic", 3),
    Plan("exactly_once", "consumer", 1),
    Plan(CONSUMERS, "classic", 1),
    Plan("at_least_once", "classic", 3),
    Plan("at_least_once", "consumer", 1),
    Plan(CONSUMERS, "classic", 3),
)
RUN_SECONDS = 240.0


def main() -> int:
    """Run with the arguments of the command line."""
    args = _arguments()
    deadline = monotonic() + args.seconds
    bad = 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        for plan in _plans(args):
            left = deadline - monotonic()
            if left <= 0:
                break
            is_sidecar = plan.delivery != CONSUMERS
            faults = args.faults or possible(plan.brokers, is_sidecar=is_sidecar)
            suffer = run if is_sidecar else consumers.run
            report = suffer(Path(directory) / str(plan.seed), plan, faults, min(left, RUN_SECONDS))
            print(f"\n{plan}\n{report}", flush=True)
            bad += bool(report.problems)
    return int(bad > 0)


def _plans(args: argparse.Namespace) -> Iterator[Plan]:
    """One plan after another that is as the arguments say, each with a seed of its own."""
    wanted = [
        plan
        for plan in PLANS
        if args.delivery in (None, plan.delivery)
        and args.protocol in (None, plan.protocol)
        and args.brokers in (None, plan.brokers)
    ]
    wanted = wanted or [Plan(args.delivery, args.protocol, args.brokers)]
    for number in count():
        plan = wanted[number % len(wanted)]
        yield Plan(plan.delivery, plan.protocol, plan.brokers, args.seed + number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0, help="for how long (1800)")
    parser.add_argument("--seed", type=int, default=1, help="what chance begins with (1)")
    parser.add_argument("--delivery", choices=sorted({plan.delivery for plan in PLANS}), help="otherwise mostly once")
    parser.add_argument("--protocol", choices=list(GROUPS), help="the kind of group; otherwise one after the other")
    parser.add_argument("--brokers", type=int, choices=(1, 3), help="how many; otherwise one after the other")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"some of: {', '.join(ALL)}")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
