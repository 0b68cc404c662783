"""The section `ingestion`: events of ingesting services that the sidecar reads."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from exporter.config.section import Section, count, seconds


class IngestionLimits(Section, frozen=True, kw_only=True):
    """How much is kept of ingestion events: sources, open rounds of each, and currencies."""

    sources: Annotated[int, count(1, 1000)] = 50
    rounds: Annotated[int, count(1, 10_000)] = 100
    currencies: Annotated[int, count(1, 10_000)] = 300


class IngestionConfig(Section, frozen=True, kw_only=True):
    """Whether events of ingesting services are read, and how old a rate may be."""

    enabled: bool = False
    prefix: Annotated[
        str, Meta(pattern=r"\A[a-zA-Z0-9._-]{0,200}\Z", description="up to 200 of letters, digits, . _ -")
    ] = ""
    rate_age: Annotated[float, seconds("1s", "30d")] = 3600.0
    limits: IngestionLimits = IngestionLimits()
