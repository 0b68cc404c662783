"""Content negotiation: the exposition format and the encoding that a client accepts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from exporter.instrument.exposition import PROTOBUF, Format

# Limits of a header; browsers send some ten elements, Prometheus six, with three parameters at most.
ELEMENTS_MAX = 32
PARAMETERS_MAX = 8


class _Offer(NamedTuple):
    kind: str
    subtype: str
    version: str
    former_version: str = ""
    # What an element must have: other messages, and messages in another form, share the media type.
    parameters: Mapping[str, str] = {}


class _Match(NamedTuple):
    """How an element of an Accept header matches an offer; the closest match counts, then the first in order."""

    closeness: int
    order: int
    quality: float
    escaping: str | None


# The first is the default. OpenMetrics 0.0.1 was the name of the draft of 1.0.0. Protobuf is sent only to clients that
# name it: whatever reads "anything" can read text.
_OFFERS = (
    _Offer("text", "plain", "0.0.4"),
    _Offer("text", "plain", "1.0.0"),
    _Offer("application", "openmetrics-text", "1.0.0", former_version="0.0.1"),
    _Offer(
        "application",
        "vnd.google.protobuf",
        "",
        parameters={"proto": "io.prometheus.client.metricfamily", "encoding": "delimited"},
    ),
)

# The schemes that do not change names of the classic alphabet; "dots" would double their underscores.
_ESCAPINGS = ("allow-utf-8", "underscores", "values")


def negotiate(accept: str | None) -> Format:
    """Return the format that matches an Accept header best; text 0.0.4 when none does.

    Malformed elements are ignored, and so are those after the first `ELEMENTS_MAX`.
    """
    elements = list(_weighted(accept or ""))
    nearest = [(offer, match) for offer in _OFFERS if (match := _nearest(elements, offer)) and match.quality]
    if not nearest:
        return _labelled(_OFFERS[0], None)
    offer, match = max(nearest, key=lambda pair: (pair[1].quality, pair[1].closeness, pair[1].order))
    return _labelled(offer, match.escaping)


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Return whether an Accept-Encoding header allows gzip."""
    qualities = {coding: quality for coding, _, quality in _weighted(accept_encoding or "")}
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0))) > 0


def _weighted(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield the elements of a header in lower case, with parameters and quality; skip malformed qualities.

    The cost is linear in the header, and small: elements and parameters beyond the limits are not parsed.
    """
    for element in islice(header.lower().split(",", ELEMENTS_MAX), ELEMENTS_MAX):
        value, *rest = (part.strip() for part in islice(element.split(";", PARAMETERS_MAX + 1), PARAMETERS_MAX + 1))
        pairs = (part.partition("=") for part in rest)
        parameters = {name.strip(): text.strip().strip('"') for name, _, text in pairs}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if value and 0 <= quality <= 1:
            yield value, parameters, quality


def _nearest(elements: Iterable[tuple[str, dict[str, str], float]], offer: _Offer) -> _Match | None:
    """Return the element that describes the offer most closely, whose quality is that of the offer."""
    matches = (
        _Match(closeness, -position, quality, parameters.get("escaping"))
        for position, (media_type, parameters, quality) in enumerate(elements)
        if (closeness := _closeness(media_type, parameters, offer))
    )
    return max(matches, default=None)


def _closeness(media_type: str, parameters: Mapping[str, str], offer: _Offer) -> int:
    """Return how closely an element describes the offer; 0 when it does not."""
    if offer.parameters:
        is_named = media_type == f"{offer.kind}/{offer.subtype}"
        return 5 if is_named and offer.parameters.items() <= parameters.items() else 0
    version = parameters.get("version")
    if media_type == "*/*":
        return 1
    if media_type == f"{offer.kind}/*":
        return 2
    if media_type != f"{offer.kind}/{offer.subtype}":
        return 0
    return {None: 3, offer.former_version: 4, offer.version: 5}.get(version, 0)


def _labelled(offer: _Offer, escaping: str | None) -> Format:
    content_type = f"{offer.kind}/{offer.subtype}; version={offer.version}; charset=utf-8"
    if offer.parameters:
        content_type = PROTOBUF.content_type
    if escaping is not None and offer.version != "0.0.4":
        content_type += f"; escaping={escaping if escaping in _ESCAPINGS else 'underscores'}"
    return Format(content_type, offer.subtype == "openmetrics-text", bool(offer.parameters))
