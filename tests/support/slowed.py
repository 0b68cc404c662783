"""The program with one more analyzer, which takes `SLOW_SECONDS` for each batch: a sidecar of a known capacity."""

import sys
from pathlib import Path

import exporter.analyzers
from exporter.cli import main

if __name__ == "__main__":
    exporter.analyzers.__path__.append(str(Path(__file__).with_name("slow_analyzers")))
    sys.exit(main())
