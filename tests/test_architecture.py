"""Imports point one way, there are no cycles, and what is called pure is."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "exporter"

# The way of a record, and what may be known without anything else: bytes to values to events and text.
PURE = {
    "exporter.model",
    "exporter.decoding.batch",
    "exporter.decoding.json_decoder",
    "exporter.decoding.batch_stats",
    "exporter.decoding.appearance",
    "exporter.decoding.binary",
    "exporter.decoding.encodings",
    "exporter.decoding.exponents",
    "exporter.decoding.faults",
    "exporter.decoding.lenient",
    "exporter.decoding.literals",
    "exporter.decoding.nesting",
    "exporter.decoding.numbers",
    "exporter.decoding.rows",
    "exporter.decoding.names",
    "exporter.config.topic_pattern",
    "exporter.config.subscription",
    "exporter.feeds.feed",
    "exporter.decoding.named_feed",
    "exporter.feeds.partitions",
    "exporter.pipeline",
    "exporter.events.encoding",
    "exporter.events.factory",
    "exporter.events.values",
    "exporter.publishing.backlog",
    "exporter.publishing.dispatch",
    "exporter.runtime.foreign_text",
    "exporter.runtime.redaction",
    "exporter.runtime.rate_limit",
    "exporter.steps",
    "exporter.kafka.unreadable",
    "exporter.instrument.histogram",
    "exporter.instrument.exposition",
    "exporter.store.breaker",
    "exporter.store.keyspace",
    "exporter.config.parsers",
    "exporter.config.secrets",
    "exporter.config.schema",
    "exporter.config.conflicts",
    "exporter.config.layers",
    "exporter.config.loader",
    "exporter.tools.audit.ledger",
    "exporter.tools.check.similar_topics",
}
# Clocks, sockets, threads, logs, other processes, and libraries that have them.
IMPURE = {
    "aiohttp", "asyncio", "concurrent", "confluent_kafka", "logging", "multiprocessing", "queue", "random", "redis",
    "requests", "select", "signal", "socket", "ssl", "subprocess", "threading", "time", "urllib3",
}  # fmt: skip
# Whoever is named first may not know whoever is named later.
LAYERS = (
    "exporter.model",
    "exporter.config.schema",
    "exporter.pipeline",
    "exporter.loop",
    "exporter.app",
    "exporter.cli",
)


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, by its name."""
    return {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@cache
def imported(module: str) -> frozenset[str]:
    """The modules that a module imports when it is imported: ours by their full name, others by their first word."""
    found: set[str] = set()
    for node in _statements(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by a relative name"
            source = node.module or ""
            found |= {
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in modules() else source for alias in node.names
            }
    return frozenset(name if name in modules() else name.partition(".")[0] for name in found)


def _statements(node: ast.AST) -> list[ast.AST]:
    """Every node, but for functions and what only type checkers see."""
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        found += [child, *_statements(child)]
    return found


@cache
def reached(module: str) -> frozenset[str]:
    """All that a module imports, and what that imports."""
    found, waiting = set[str](), [module]
    while waiting:
        for name in imported(waiting.pop()) - found:
            found.add(name)
            waiting += [name] if name in modules() else []
    return frozenset(found)


@pytest.mark.parametrize("module", modules())
def test_no_module_imports_itself_by_way_of_others(module: str) -> None:
    """There are no cycles."""
    assert module not in reached(module)


@pytest.mark.parametrize("module", sorted(PURE))
def test_pure_modules_reach_no_clock_socket_thread_or_log(module: str) -> None:
    """Neither by themselves nor by what they import of ours."""
    ours = {name for name in reached(module) if name in modules()} | {module}
    assert {name: imported(name) & IMPURE for name in ours if imported(name) & IMPURE} == {}


@pytest.mark.parametrize("lower", range(len(LAYERS)))
def test_imports_point_towards_the_vocabulary(lower: int) -> None:
    """From the command line over wiring, loop and analysis to values; never back."""
    assert not reached(LAYERS[lower]) & set(LAYERS[lower + 1 :])


def test_the_sidecar_knows_none_of_its_tools() -> None:
    """Only the command line starts tools; nothing that runs in the sidecar needs them."""
    sidecar = {
        name for name in modules() if not name.startswith(("exporter.tools", "exporter.cli", "exporter.__main__"))
    }
    assert not {
        name for name in sidecar for reach in [reached(name)] if any(r.startswith("exporter.tools") for r in reach)
    }


def test_all_analyzers_are_pure() -> None:
    """What is watched of a feed is watched without a clock."""
    analyzers = [name for name in modules() if name.startswith("exporter.analyzers")]
    assert {name: reached(name) & IMPURE for name in analyzers if reached(name) & IMPURE} == {}
