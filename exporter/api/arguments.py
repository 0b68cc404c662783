"""The arguments of the Python API as a `FeedKey`, with the rules and messages of the sidecar."""

from __future__ import annotations

from exporter.config.display import shown
from exporter.config.schema import Limits
from exporter.decoding.names import check_feed
from exporter.model import FeedKey, Rejected


def feed_key(region: str, exchange: str, request_type: str, limits: Limits) -> FeedKey:
    """Return the feed, or raise `ValueError` when the sidecar would reject its batches."""
    feed = FeedKey(region, exchange, request_type)
    for name, value in feed._asdict().items():
        if not isinstance(value, str):
            raise ValueError(f"{name} is {shown(value)}, expected text")
    try:
        check_feed(feed, limits.name_length)
    except Rejected as rejected:
        raise ValueError(rejected.detail) from None
    return feed
