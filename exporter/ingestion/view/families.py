"""The families of what the ingestion events show, rendered at each scrape. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.ingestion.view.rounds import DURATION
from exporter.ingestion.view.source import IngestionSource
from exporter.ingestion.view.states import SourceState
from exporter.ingestion.view.view import IngestionView
from exporter.instrument.exposition import Family, label_text
from exporter.instrument.families import (
    Lines,
    Row,
    RowMessages,
    counter,
    families,
    gauge,
    histogram,
    message_families,
    row_texts,
    unix_time,
)
from exporter.instrument.protobuf import encoded_labels


def _states(source: IngestionSource, name: str, labels: str) -> str:
    state = source.diagnosis.state
    return "".join([f'{name}{{{labels},state="{each}"}} {int(each is state)}\n' for each in SourceState])


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


OF_SOURCES: tuple[Row[IngestionSource], ...] = (
    Row("marketdata_ingestion_source_state", "gauge", "1 for the state of the source.", _states),
    Row(
        "marketdata_ingestion_source_last_event_timestamp_seconds",
        "gauge",
        "Unix time of the last event of the source.",
        unix_time(lambda each: each.last_event_ms),
        "seconds",
    ),
    Row(
        "marketdata_ingestion_source_clock_offset_seconds",
        "gauge",
        "How far the clock of the source is ahead of the sidecar's, delays included; median of the last events.",
        gauge(lambda each: _seconds(each.clock_offset_ms)),
        "seconds",
    ),
    Row(
        "marketdata_ingestion_rounds_begun",
        "counter",
        "Rounds begun (new_data_received).",
        counter(lambda each: each.rounds.counts.begun),
    ),
    Row(
        "marketdata_ingestion_rounds_completed",
        "counter",
        "Rounds with a beginning and an end (data_processing_completed).",
        counter(lambda each: each.rounds.counts.completed),
    ),
    Row(
        "marketdata_ingestion_rounds_mismatched",
        "counter",
        "Completed rounds whose data_count differs from total_processed.",
        counter(lambda each: each.rounds.counts.mismatched),
    ),
    Row(
        "marketdata_ingestion_rounds_overdue",
        "counter",
        "Rounds that were open for longer than the limit.",
        counter(lambda each: each.rounds.counts.overdue),
    ),
    Row(
        "marketdata_ingestion_rounds_late",
        "counter",
        "Rounds completed after they were overdue.",
        counter(lambda each: each.rounds.counts.late),
    ),
    Row(
        "marketdata_ingestion_rounds_unpaired",
        "counter",
        "Ends of rounds without a beginning.",
        counter(lambda each: each.rounds.counts.unpaired),
    ),
    Row(
        "marketdata_ingestion_rounds_given_up",
        "counter",
        "Open rounds no longer kept: open for a day, or too many at a time.",
        counter(lambda each: each.rounds.counts.expired + each.rounds.counts.dropped),
    ),
    Row(
        "marketdata_ingestion_items_announced",
        "counter",
        "Sum of data_count over the rounds begun.",
        counter(lambda each: each.rounds.counts.announced),
    ),
    Row(
        "marketdata_ingestion_items_processed",
        "counter",
        "Sum of total_processed over the ends of rounds.",
        counter(lambda each: each.rounds.counts.processed),
    ),
    Row(
        "marketdata_ingestion_rounds_open",
        "gauge",
        "Rounds begun and not completed.",
        gauge(lambda each: len(each.rounds.open)),
    ),
    Row(
        "marketdata_ingestion_oldest_open_round_timestamp_seconds",
        "gauge",
        "Unix time of the beginning of the oldest open round; absent without one.",
        unix_time(lambda each: each.rounds.oldest_ms()),
        "seconds",
    ),
    histogram(
        DURATION,
        "Time from the beginning to the end of a round.",
        lambda each: each.rounds.durations,
        "seconds",
    ),
    Row(
        "marketdata_ingestion_round_usual_duration_seconds",
        "gauge",
        "Duration that nine of ten rounds do not exceed; absent until three are known.",
        gauge(lambda each: _seconds(each.rounds.usual.value_ms)),
        "seconds",
    ),
    Row(
        "marketdata_ingestion_round_limit_seconds",
        "gauge",
        "Age at which a round is overdue.",
        gauge(lambda each: _seconds(each.rounds.limit_ms)),
        "seconds",
    ),
    Row(
        "marketdata_ingestion_rate_updates",
        "counter",
        "Rates newer than those known before.",
        counter(lambda each: each.updates),
    ),
    Row(
        "marketdata_ingestion_rates_outdated",
        "counter",
        "Rates older than those known before, which change nothing.",
        counter(lambda each: each.outdated),
    ),
)


def _by(label: str, values: Mapping[str, float], name: str) -> str:
    return "".join([f"{name}{{{label_text({label: key})}}} {value}\n" for key, value in values.items()])


def _counters(label: str, find: str) -> Lines[Mapping[str, Mapping[str, float]]]:
    return lambda found, name, _: _by(label, found[find], f"{name}_total")


# Of several series each, by one label; the values by the word that names them in `_numbers`.
_OF_ALL: tuple[Row[Mapping[str, Mapping[str, float]]], ...] = (
    Row("marketdata_ingestion_events", "counter", "Events read, by topic.", _counters("event", "events")),
    Row(
        "marketdata_ingestion_events_repeated",
        "counter",
        "Events sent again by their senders, which change nothing.",
        _counters("event", "repeated"),
    ),
    Row(
        "marketdata_ingestion_rate_updated_timestamp_seconds",
        "gauge",
        "Unix time of the last update of a rate, by its source but no later than it was sent.",
        lambda found, name, _: _by("currency", found["rates"], name),
        "seconds",
    ),
    Row(
        "marketdata_ingestion_rate_age_limit_seconds",
        "gauge",
        "Age from which on a rate is old.",
        lambda found, name, _: f"{name} {found['limit']['rate_age']}\n",
        "seconds",
    ),
    Row(
        "marketdata_ingestion_invalidations",
        "counter",
        "Invalidations of caches, by type.",
        _counters("invalidation_type", "invalidations"),
    ),
    Row(
        "marketdata_ingestion_invalidated_keys",
        "counter",
        "Keys and patterns named by invalidations.",
        _counters("invalidation_type", "keys"),
    ),
    Row(
        "marketdata_ingestion_label_overflow",
        "counter",
        "Events that are not shown under a name of their own because a limit on names was hit.",
        _counters("label", "overflow"),
    ),
)


def ingestion_families(view: IngestionView, is_protobuf: bool = False) -> list[Family]:
    """Return the families of all sources, rates and invalidations.

    Gauges of sources are shown where their rounds are read: of several members of the group by one.
    """
    sources, numbers = view.sources.items(), _numbers(view)
    texts = [row_texts([(OF_SOURCES, each, view.has_rounds)], label_text({"source": name})) for name, each in sources]
    found = families(OF_SOURCES, texts)
    if is_protobuf:
        found = [*found[:_DURATION], *_duration_messages(view), *found[_DURATION + 1 :]]
    return [*found, *families(_OF_ALL, [row_texts([(_OF_ALL, numbers, True)], "")])]


_DURATION = [row.name for row in OF_SOURCES].index(DURATION)


def _duration_messages(view: IngestionView) -> list[Family]:
    row = OF_SOURCES[_DURATION]
    found = [
        row.message(source, labels, encoded_labels(labels))
        for labels, source in ((label_text({"source": name}), each) for name, each in view.sources.items())
    ]
    return message_families([row], [RowMessages((body,), (series,)) for body, series in found])


def _numbers(view: IngestionView) -> dict[str, Mapping[str, float]]:
    invalidations = view.invalidations
    return {
        "events": view.events,
        "repeated": view.repeated,
        "rates": {code: rate.updated_ms / 1000 for code, rate in view.rates.known.items()},
        "limit": {"rate_age": view.rate_limit_ms / 1000},
        "invalidations": invalidations.numbers,
        "keys": invalidations.keys,
        "overflow": {**view.overflow, "invalidation_type": invalidations.overflow},
    }
