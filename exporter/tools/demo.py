"""Show the sidecar at work: embedded broker, simulated collectors, the real sidecar."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None: ...


def main(args: argparse.Namespace) -> int:
    return 0
