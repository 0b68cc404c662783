"""`python -m exporter` is `marketdata-exporter`."""

import sys

from exporter.cli import main

sys.exit(main())
