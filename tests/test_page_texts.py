"""The texts of the live page: the same in each language, one for each word that the sidecar sends, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from exporter.analyzers.latency import Stage
from exporter.feeds.states import FeedState, Scope
from exporter.loop import STAGES
from exporter.model import Anomaly, EventType, Reason
from exporter.page.sidecar import VIEWS
from exporter.performance.counters import MACHINE, TIERS
from exporter.performance.history import GAUGES
from exporter.performance.program import BREAKER_STATES

STATIC = Path(__file__).parents[1] / "exporter" / "web" / "static"
MODULES = {str(path.relative_to(STATIC)): path.read_text("utf-8") for path in sorted(STATIC.rglob("*.js"))}
TEXTS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((STATIC / "lang").glob("*.json"))}
KEYS = TEXTS["en"].keys()
USED = {key for text in MODULES.values() for key in re.findall(r'"([a-z_]+\.[a-z0-9_]+)"', text)}
# Keys that end in a value, such as t(`state.${state}`).
BEGINNINGS = {start for text in MODULES.values() for start in re.findall(r"`([a-z_]+\.)\$\{", text)}
WORDS: dict[str, Iterable[str]] = {
    "state": [*FeedState, "elsewhere"],
    "scope": Scope,
    "reason": Reason,
    "anomaly": Anomaly,
    "hop": Stage,
    "stage": [*STAGES, "rest"],
    "event": EventType,
    "view": VIEWS,
    "breaker": (*BREAKER_STATES, "unknown"),
    "tier": TIERS,
    "trend": (*GAUGES, *MACHINE),
    "symbol": ("active", "stale", "missing", "unexpected"),
    "language": TEXTS,
}


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w+\}", text))


@pytest.mark.parametrize("language", TEXTS)
def test_each_language_has_the_same_texts_with_the_same_values(language: str) -> None:
    texts = TEXTS[language]
    assert list(texts) == list(KEYS)
    assert {key: placeholders(texts[key]) for key in texts} == {key: placeholders(TEXTS["en"][key]) for key in KEYS}
    assert all(texts.values())


def test_the_languages_are_those_that_the_page_offers() -> None:
    (offered,) = re.findall(r"LANGUAGES = (\[.*\]);", MODULES["core/language.js"])
    assert json.loads(offered) == list(TEXTS)


@pytest.mark.parametrize("group", WORDS)
def test_each_word_that_the_sidecar_sends_has_a_text(group: str) -> None:
    assert {key for key in KEYS if key.startswith(f"{group}.")} == {f"{group}.{word}" for word in WORDS[group]}


def test_the_texts_are_those_that_the_page_uses() -> None:
    assert {key for key in USED if key.split(".")[0] in {each.split(".")[0] for each in KEYS}} <= KEYS
    assert {key for key in KEYS - USED if not key.startswith(tuple(BEGINNINGS))} == set()


def test_korean_is_written_in_korean() -> None:
    """But for names, units and figures."""
    foreign = {key for key, text in TEXTS["ko"].items() if not re.search("[가-힣]", text)}
    assert foreign <= {
        "language.en", "unit.us", "unit.ms", "tile.p99", "hops.p99", "feeds.count", "backlog.of", "line.range",
        "stages.p95", "stages.p99", "tier.redis"
    }  # fmt: skip


def test_the_order_of_states_on_the_page_has_them_all() -> None:
    (order,) = re.findall(r"STATES = (\[.*\]);", MODULES["parts/states.js"])
    assert sorted(json.loads(order)) == sorted(FeedState)
