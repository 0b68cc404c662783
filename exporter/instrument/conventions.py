"""Prometheus' rules for names of metrics and labels, and its conventions. Pure.

https://prometheus.io/docs/practices/naming/ and what `promtool check metrics` finds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import pairwise

from exporter.instrument.measurements import MetricType


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED = {MetricType.HISTOGRAM: "le", MetricType.SUMMARY: "quantile"}
_DISTRIBUTIONS = (MetricType.HISTOGRAM, MetricType.SUMMARY)

BASE_UNITS = _words(
    "seconds bytes ratio ratios percent celsius meters metres volts amperes joules watts grams hertz bits info"
)
_OTHER_UNITS = {
    **dict.fromkeys(_words("ms msec msecs millis milliseconds usec microseconds ns nanoseconds"), "seconds"),
    "us": "seconds",
    **dict.fromkeys(_words("minute minutes hour hours day days sec secs second"), "seconds"),
    **dict.fromkeys(_words("kb mb gb kilobytes megabytes gigabytes kib mib gib byte"), "bytes"),
    **dict.fromkeys(_words("kilometers millimeters"), "meters"),
    **dict.fromkeys(_words("fahrenheit kelvin"), "celsius"),
}
# What has a unit, also in a gauge or counter.
_QUANTITIES = _words("time duration latency age elapsed delay uptime memory bandwidth temperature")
# Plural words that count nothing.
_SINGULAR = re.compile(r"(?:s|u|i)s$|^(latencies|durations|times|delays|ages|stats|statistics)$")
_VAGUE = _words(
    "a an the my new old test tmp temp foo bar metric metrics value values data item items thing things number numbers"
    " stat stats statistic statistics result results measure measurement measurements amount info misc other"
)
_TYPES = frozenset(("counter", "gauge", "histogram", "summary"))
_SUFFIXES = {
    "bucket": (MetricType.HISTOGRAM,),
    "count": _DISTRIBUTIONS,
    "sum": _DISTRIBUTIONS,
    "created": (),
}
_CAMEL = re.compile(r"[a-z0-9][A-Z]")

# Labels with a value for each request, person or moment.
UNBOUNDED = _words(
    "id uid uuid guid user user_id username email phone customer_id client_id account_id session session_id request_id"
    " req_id correlation_id trace_id span_id transaction_id tx_id order_id trade_id message_id event_id job_id task_id"
    " offset ip ip_address client_ip remote_addr address url uri query sql token timestamp ts time datetime date now"
    " message error_message exception_message stack stacktrace traceback payload body"
)


def check_metric(name: str, metric_type: MetricType) -> list[str]:
    """Return what is against the conventions; raise `ValueError` for a name that Prometheus does not take."""
    if not _METRIC.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a metric: letters, digits, _ and :, the first no digit")
    if name.startswith("__"):
        raise ValueError(f"{name!r} is no name of a metric: those with __ are Prometheus' own")
    return [*_form(name, metric_type), *_meaning(name.lower().split("_"), metric_type)]


def check_labels(names: Iterable[str], metric_type: MetricType) -> list[str]:
    """Return what is against the conventions; raise `ValueError` for a name that Prometheus does not take."""
    found: list[str] = []
    for name in names:
        if not _LABEL.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a label: letters, digits and _, the first no digit")
        if name.startswith("__") or name == _RESERVED.get(metric_type):
            raise ValueError(f"the label {name} is Prometheus' own")
        if _snake(name) in UNBOUNDED:
            found.append(f"the label {name} has values without bound, each of them a series")
    return found


def check_buckets(name: str, buckets: Iterable[float]) -> tuple[float, ...]:
    """Return the upper bounds of buckets; raise `ValueError` unless these are numbers that increase."""
    bounds = tuple(map(float, buckets))
    finite = bounds[:-1] if bounds and bounds[-1] == math.inf else bounds
    if not finite or not all(map(math.isfinite, finite)) or any(a >= b for a, b in pairwise(finite)):
        raise ValueError(f"the buckets of {name} are numbers that increase, not {list(bounds)}")
    return bounds


def _form(name: str, metric_type: MetricType) -> list[str]:
    found: list[str] = []
    last = name.rpartition("_")[2]
    if ":" in name:
        found.append("colons are for recording rules")
    if _CAMEL.search(name):
        found.append("names are in snake_case")
    if metric_type is MetricType.COUNTER and last != "total":
        found.append("the name of a counter ends in _total, which is added on /metrics")
    if metric_type is not MetricType.COUNTER and last == "total":
        found.append("_total is for counters")
    if "_" in name and metric_type not in _SUFFIXES.get(last, (metric_type,)):
        found.append(f"_{last} is the suffix of a sample of another type")
    return found


def _meaning(words: list[str], metric_type: MetricType) -> list[str]:
    found: list[str] = []
    found += [f"the name repeats the type: {word}" for word in words if word in _TYPES]
    # A rate is a number of base units per second.
    if units := [word for before, word in pairwise(["", *words]) if word in _OTHER_UNITS and before != "per"]:
        found += [f"the base unit of {word} is {_OTHER_UNITS[word]}" for word in units]
    elif _lacks_unit(words, metric_type):
        found.append("the name has no unit, such as _seconds or _bytes")
    if not set(words) - _VAGUE - _TYPES - BASE_UNITS - {"", "total", "count", "sum", "time"}:
        found.append("the name is vague, it has no word for what is measured")
    return found


def _lacks_unit(words: list[str], metric_type: MetricType) -> bool:
    measured = [word for word in words if word not in ("", "total")]
    if not measured or BASE_UNITS & set(measured[-2:]):
        return False
    if metric_type in _DISTRIBUTIONS:
        # A plural counts things, which are the unit: batch_messages.
        return not measured[-1].endswith("s") or bool(_SINGULAR.search(measured[-1]))
    return measured[-1] in _QUANTITIES


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
