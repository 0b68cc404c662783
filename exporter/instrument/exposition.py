"""Metric families as text: the page in the format of Prometheus, or in that of OpenMetrics. For bytes see `protobuf`.

Two kinds of families go into a page: the `Metric` of prometheus_client, sample by sample, and `Family`, whose samples
are text already. Names of families and labels must be of the classic alphabet; label values may be any text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from prometheus_client import Metric
from prometheus_client.samples import Exemplar, Timestamp

EXEMPLAR_CHARACTERS_MAX = 128
# A counter that other programs named without `_total`, or whose name without it is another family's. OpenMetrics has no
# such counters, so the type is unknown there; the name is the same in all formats.
BARE_COUNTER = "bare counter"
PIECE_CHARACTERS = 64 * 1024
_SUFFIXES = {
    "counter": ("", "_total", "_created"),
    "gaugehistogram": ("", "_bucket", "_gcount", "_gsum"),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    "info": ("", "_info"),
    "summary": ("", "_count", "_sum", "_created"),
}
_TEXT_KINDS = {
    BARE_COUNTER: "counter",
    "gaugehistogram": "untyped",
    "info": "gauge",
    "stateset": "gauge",
    "unknown": "untyped",
}
_OPENMETRICS_KINDS = {BARE_COUNTER: "unknown"}
_TEXT_NAMES = {"counter": "_total", "info": "_info"}
_EXEMPLARY = {"counter": "_total", "histogram": "_bucket", "gaugehistogram": "_bucket"}


class Family(NamedTuple):
    """A family with rendered samples: code for one family renders them faster than general code.

    `name` is without `_total`; `kind` is one of counter, gauge, histogram, summary, unknown, or `BARE_COUNTER`, whose
    name is whole. A block is any number of whole lines as they stand in all three formats:
    `batches_total{region="korea"} 12\\n`, with labels by `label_text` and `le` spelled as a float ("1.0", "+Inf"). The
    samples of one series must follow each other, no series may appear twice, and there are no timestamps. `blocks` may
    be an iterator: it is read once, and not when the family was not asked for. `exemplars` belong to counters and
    buckets; the key is the line up to its value, `batches_total{region="korea"}`. `series` is the number of lines in
    the blocks.

    `messages` are for a page in protobuf what `blocks` are for text; None when only text was rendered.
    """

    name: str
    kind: str
    help: str
    unit: str
    blocks: Iterable[str]
    exemplars: Mapping[str, Exemplar] = {}
    series: int = 0
    messages: Iterable[bytes] | None = None


AnyFamily: TypeAlias = Metric | Family


class Format(NamedTuple):
    """A format of the page and its content type."""

    content_type: str
    is_openmetrics: bool
    is_protobuf: bool = False


TEXT = Format("text/plain; version=0.0.4; charset=utf-8", is_openmetrics=False)
PROTOBUF = Format(
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    is_openmetrics=False,
    is_protobuf=True,
)
OPENMETRICS = Format("application/openmetrics-text; version=1.0.0; charset=utf-8", is_openmetrics=True)


def render(families: Iterable[AnyFamily], format: Format) -> bytes:
    """Return one page. Of families with one name the first stays; `_created` series and timestamps are left out."""
    return b"".join(pieces(families, format))


def pieces(families: Iterable[AnyFamily], format: Format) -> Iterator[bytes]:
    """Yield the page that `render` returns, in pieces of `PIECE_CHARACTERS` or a little more."""
    parts: list[str] = []
    length = 0
    for part in _parts(families, format.is_openmetrics):
        parts.append(part)
        length += len(part)
        if length >= PIECE_CHARACTERS:
            yield _encoded(parts)
            parts, length = [], 0
    yield _encoded(parts)


def distinct(families: Iterable[AnyFamily]) -> Iterator[AnyFamily]:
    """Yield the families, but of those whose samples may have one name only the first."""
    claimed: set[str] = set()
    for family in families:
        names = names_of(family)
        if claimed.isdisjoint(names):
            claimed |= names
            yield family


def _parts(families: Iterable[AnyFamily], is_openmetrics: bool) -> Iterator[str]:
    for family in distinct(families):
        yield from _family_parts(family, is_openmetrics)
    if is_openmetrics:
        yield "# EOF\n"


def _encoded(parts: Iterable[str]) -> bytes:
    # A lone surrogate becomes a question mark: one bad value must not make the whole page fail.
    return "".join(parts).encode("utf-8", "replace")


def select(families: Iterable[AnyFamily], names: Iterable[str]) -> Iterator[AnyFamily]:
    """Return the families with one of these names: of the family (with or without `_total`) or of a sample."""
    wanted = frozenset(names)
    return (family for family in families if not wanted.isdisjoint(names_of(family)))


def label_text(labels: Mapping[str, str]) -> str:
    """Return the text between the braces, escaped: `region="korea",exchange="upbit"`. Lasting series keep it."""
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in labels.items()])


def sample_lines(family: Metric) -> str:
    """Return the samples as whole lines that stand in all text formats, for a block of a `Family`."""
    return "".join(_samples(family, is_openmetrics=False))


def kind_of(family: AnyFamily) -> str:
    """Return the kind of a family: counter, gauge, histogram and so on."""
    return family.kind if isinstance(family, Family) else family.type


def names_of(family: AnyFamily) -> set[str]:
    """Return all names that a family and its samples may have, in any format."""
    return {family.name + suffix for suffix in _SUFFIXES.get(kind_of(family), ("",))}


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
        kind = _OPENMETRICS_KINDS.get(kind, kind)
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
    """Return the text after the value; empty when the labels are longer than the format allows."""
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
