"""Look for mistakes before `run` would meet them."""

from exporter.config import Config


def main(config: Config) -> int:
    return 0
