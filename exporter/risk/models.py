"""The uncertainty and the confidence of predictions, from the programs that push them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from prometheus_client import Metric

from exporter.instrument.groups import Groups
from exporter.risk.engine import NOT_REPORTED, ModelFigures
from exporter.risk.figure import Figure

UNCERTAINTY, CONFIDENCE = "model_prediction_uncertainty", "model_prediction_confidence"


def model_figures(groups: Groups | None) -> ModelFigures:
    """Return the largest uncertainty and the least confidence that any program reports."""
    if groups is None:
        return NOT_REPORTED
    families = [family for group in groups.groups() for family in group.families]
    uncertain, confident = _values(families, UNCERTAINTY), _values(families, CONFIDENCE)
    return ModelFigures(
        Figure(max(uncertain)) if uncertain else NOT_REPORTED.uncertainty,
        Figure(min(confident)) if confident else NOT_REPORTED.confidence,
    )


def _values(families: Iterable[Metric], name: str) -> list[float]:
    samples = [sample for family in families if family.name == name for sample in family.samples]
    return [float(sample.value) for sample in samples if math.isfinite(sample.value)]
