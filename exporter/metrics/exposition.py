"""Metric families as text: which format a client wants, and the page in that format.

Two kinds of families go into a page: the `Metric` of prometheus_client, sample by sample, and `Family`, whose
samples are text already. The names of families and labels are trusted to be of the classic alphabet; values are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple, TypeAlias

from prometheus_client import Metric
from prometheus_client.samples import Exemplar, Timestamp

EXEMPLAR_CHARACTERS_MAX = 128
# Of a header that is negotiated by; browsers send some ten elements, Prometheus six, with three parameters at most.
ELEMENTS_MAX = 32
PARAMETERS_MAX = 8
PIECE_CHARACTERS = 64 * 1024
_SUFFIXES = {
    "counter": ("", "_total", "_created"),
    "gaugehistogram": ("", "_bucket", "_gcount", "_gsum"),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    "info": ("", "_info"),
    "summary": ("", "_count", "_sum", "_created"),
}
_TEXT_KINDS = {"gaugehistogram": "untyped", "info": "gauge", "stateset": "gauge", "unknown": "untyped"}
_TEXT_NAMES = {"counter": "_total", "info": "_info"}
_EXEMPLARY = {"counter": "_total", "histogram": "_bucket", "gaugehistogram": "_bucket"}


class Family(NamedTuple):
    """A family whose samples were rendered by its maker, who can do that faster than anything general.

    `name` is without `_total`; `kind` is one of counter, gauge, histogram, summary. A block is any number of whole
    lines as they stand in all three formats: `batches_total{region="korea"} 12\\n`, with labels by `label_text` and
    `le` spelled as a float ("1.0", "+Inf"). The samples of one series must follow each other, no series may stand
    twice, and there are no timestamps. `blocks` may be an iterator: it is read once, and not when the family was not
    asked for. `exemplars` belong to counters and buckets; the key is the line up to its value,
    `batches_total{region="korea"}`. `series` is the number of lines in the blocks.
    """

    name: str
    kind: str
    help: str
    unit: str
    blocks: Iterable[str]
    exemplars: Mapping[str, Exemplar] = {}
    series: int = 0


AnyFamily: TypeAlias = Metric | Family


class Format(NamedTuple):
    """A format that is spoken here, and how an answer in it is labelled."""

    content_type: str
    is_openmetrics: bool


TEXT = Format("text/plain; version=0.0.4; charset=utf-8", is_openmetrics=False)
OPENMETRICS = Format("application/openmetrics-text; version=1.0.0; charset=utf-8", is_openmetrics=True)


class _Offer(NamedTuple):
    kind: str
    subtype: str
    version: str
    former_version: str = ""


class _Match(NamedTuple):
    """How an element of an Accept header fits an offer; of two, the higher closeness and then order counts."""

    closeness: int
    order: int
    quality: float
    escaping: str | None


# The first is what who asks for nothing in particular gets. OpenMetrics 0.0.1 was the name of the draft of 1.0.0.
_OFFERS = (
    _Offer("text", "plain", "0.0.4"),
    _Offer("text", "plain", "1.0.0"),
    _Offer("application", "openmetrics-text", "1.0.0", former_version="0.0.1"),
)
# The schemes that leave names of the classic alphabet alone; "dots" would double their underscores.
_ESCAPINGS = ("allow-utf-8", "underscores", "values")


def negotiate(accept: str | None) -> Format:
    """The format that suits an Accept header best; text 0.0.4 when none does.

    Malformed elements count for nothing, nor do those after the first `ELEMENTS_MAX`.
    """
    elements = list(_weighted(accept or ""))
    nearest = [(offer, match) for offer in _OFFERS if (match := _nearest(elements, offer)) and match.quality]
    if not nearest:
        return _labelled(_OFFERS[0], None)
    offer, match = max(nearest, key=lambda pair: (pair[1].quality, pair[1].closeness, pair[1].order))
    return _labelled(offer, match.escaping)


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    qualities = {coding: quality for coding, _, quality in _weighted(accept_encoding or "")}
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0))) > 0


def render(families: Iterable[AnyFamily], format: Format) -> bytes:
    """One page. Of families that claim the same name the first stays; `_created` series and timestamps are left out."""
    return b"".join(pieces(families, format))


def pieces(families: Iterable[AnyFamily], format: Format) -> Iterator[bytes]:
    """Yield one page as `render` makes it, in pieces of `PIECE_CHARACTERS` or a little more."""
    parts: list[str] = []
    length = 0
    for part in _parts(families, format.is_openmetrics):
        parts.append(part)
        length += len(part)
        if length >= PIECE_CHARACTERS:
            yield _encoded(parts)
            parts, length = [], 0
    yield _encoded(parts)


def _parts(families: Iterable[AnyFamily], is_openmetrics: bool) -> Iterator[str]:
    claimed: set[str] = set()
    for family in families:
        names = _names(family)
        if claimed.isdisjoint(names):
            claimed |= names
            yield from _family_parts(family, is_openmetrics)
    if is_openmetrics:
        yield "# EOF\n"


def _encoded(parts: Iterable[str]) -> bytes:
    # A lone surrogate becomes a question mark: one bad value must not cost the whole page.
    return "".join(parts).encode("utf-8", "replace")


def select(families: Iterable[AnyFamily], names: Iterable[str]) -> Iterator[AnyFamily]:
    """The families that have one of these names, as families (with or without `_total`) or as samples."""
    wanted = frozenset(names)
    return (family for family in families if not wanted.isdisjoint(_names(family)))


def label_text(labels: Mapping[str, str]) -> str:
    """What stands between the braces, escaped: `region="korea",exchange="upbit"`. Worth keeping for lasting series."""
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in labels.items()])


def _weighted(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """The elements of a header, in lower case, with parameters and quality, but for those with a malformed quality.

    The cost is linear in the header, and small: what lies beyond the limits is only passed over.
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
    """The element that describes the offer most closely: its quality is the offer's."""
    matches = (
        _Match(closeness, -position, quality, parameters.get("escaping"))
        for position, (media_type, parameters, quality) in enumerate(elements)
        if (closeness := _closeness(media_type, parameters.get("version"), offer))
    )
    return max(matches, default=None)


def _closeness(media_type: str, version: str | None, offer: _Offer) -> int:
    """How closely an element describes the offer; 0 when it does not."""
    if media_type == "*/*":
        return 1
    if media_type == f"{offer.kind}/*":
        return 2
    if media_type != f"{offer.kind}/{offer.subtype}":
        return 0
    return {None: 3, offer.former_version: 4, offer.version: 5}.get(version, 0)


def _labelled(offer: _Offer, escaping: str | None) -> Format:
    content_type = f"{offer.kind}/{offer.subtype}; version={offer.version}; charset=utf-8"
    if escaping is not None and offer.version == "1.0.0":
        content_type += f"; escaping={escaping if escaping in _ESCAPINGS else 'underscores'}"
    return Format(content_type, offer.kind == "application")


def _names(family: AnyFamily) -> set[str]:
    """All names that a family and its samples may have, in any format."""
    kind = family.kind if isinstance(family, Family) else family.type
    return {family.name + suffix for suffix in _SUFFIXES.get(kind, ("",))}


def _family_parts(family: AnyFamily, is_openmetrics: bool) -> Iterator[str]:
    if not isinstance(family, Family):
        yield _head(family.name, family.type, family.documentation, family.unit, is_openmetrics)
        yield from _samples(family, is_openmetrics)
        return
    yield _head(family.name, family.kind, family.help, family.unit, is_openmetrics)
    if is_openmetrics and family.exemplars:
        yield from _with_exemplars(family)
    else:
        yield from family.blocks


def _head(name: str, kind: str, documentation: str, unit: str, is_openmetrics: bool) -> str:
    if is_openmetrics:
        unit_line = f"# UNIT {name} {unit}\n" if unit else ""
        return f"# HELP {name} {_escaped(documentation)}\n# TYPE {name} {kind}\n{unit_line}"
    name += _TEXT_NAMES.get(kind, "")
    text = documentation.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}\n# TYPE {name} {_TEXT_KINDS.get(kind, kind)}\n"


def _samples(family: Metric, is_openmetrics: bool) -> Iterator[str]:
    created = family.name + "_created"
    exemplary = family.name + _EXEMPLARY[family.type] if is_openmetrics and family.type in _EXEMPLARY else None
    for sample in family.samples:
        name = sample.name
        if name == created:
            continue
        series = f"{name}{{{label_text(sample.labels)}}}" if sample.labels else name
        exemplar = _exemplar_text(sample.exemplar) if sample.exemplar and name == exemplary else ""
        yield f"{series} {_number(sample.value)}{exemplar}\n"


def _with_exemplars(family: Family) -> Iterator[str]:
    for block in family.blocks:
        for line in block.split("\n")[:-1]:
            exemplar = family.exemplars.get(line[: line.rfind(" ")])
            yield f"{line}{_exemplar_text(exemplar) if exemplar else ''}\n"


def _exemplar_text(exemplar: Exemplar) -> str:
    """What follows the value; nothing when the labels are longer than the format allows."""
    if sum(map(len, exemplar.labels)) + sum(map(len, exemplar.labels.values())) > EXEMPLAR_CHARACTERS_MAX:
        return ""
    text = f" # {{{label_text(exemplar.labels)}}} {_number(exemplar.value)}"
    at = exemplar.timestamp
    return text if at is None else f"{text} {at if isinstance(at, Timestamp) else format(at, '.3f')}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    text = repr(float(value))
    # Only inf, -inf and nan end in a letter.
    return text if text[-1] <= "9" else {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}[text]
