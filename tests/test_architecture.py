"""Imports point one way, there are no cycles, and what is pure reaches no clock, socket, thread or log."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "exporter"

# A room is a folder, or a file beside the folders. A room may know those before it, and no later one.
ROOMS = (
    "model",
    "runtime",
    "core",
    "config",
    "decoding",
    "steps",
    "kafka",
    "redis",
    "instrument",
    "pushes",
    "performance",
    "analyzers",
    "feeds",
    "source",
    "events",
    "store",
    "publishing",
    "risk",
    "assignments",
    "plain_runs",
    "pipeline",
    "ingestion",
    "loop_settings",
    "loop",
    "feed_loop",
    "ingestion_loop",
    "status",
    "reload",
    "metrics",
    "page",
    "web",
    "dashboard",
    "wiring",
    "app",
    "preflight",
    "api",
    "loadtest",
    "tools",
    "cli",
    "__init__",
    "__main__",
)
# Values in, values out, in every file of these rooms; in other rooms, what calls itself pure.
PURE = (
    *("model", "core", "config", "decoding", "steps", "instrument"),
    *("analyzers", "feeds", "assignments", "plain_runs", "pipeline"),
)
# Folders of pure rooms with what may have clocks, sockets and threads: nothing that is pure imports from them.
SHELLS = ("exporter.instrument.library", "exporter.instrument.storages")
# Names that programs look for in an earlier room than the one where they are; they are loaded at their first use.
LAZY = {("exporter.performance", "exporter.dashboard")}
# Clocks, sockets, threads, logs, other processes, and libraries that have them.
IMPURE = {
    "aiohttp", "asyncio", "concurrent", "confluent_kafka", "logging", "multiprocessing", "queue", "random", "redis",
    "requests", "select", "signal", "socket", "ssl", "subprocess", "threading", "time", "urllib3",
}  # fmt: skip


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, by its name."""
    return {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room(module: str) -> str:
    """Return the folder or the file directly below the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text())


@cache
def known(module: str) -> frozenset[str]:
    """All modules of the package that a module names in any import: within functions and for type checkers, too."""
    return frozenset(_imports(module, list(ast.walk(_tree(module))))) & modules().keys()


@cache
def imported(module: str) -> frozenset[str]:
    """The modules that are imported with a module: those of the package by full name, others by their first word."""
    found = _imports(module, _statements(_tree(module)))
    return frozenset(name if name in modules() else name.partition(".")[0] for name in found)


def _imports(module: str, nodes: list[ast.AST]) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by a relative name"
            source = node.module or ""
            full = {f"{source}.{alias.name}" for alias in node.names}
            found |= {name if name in modules() else source for name in full}
    return found


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


def is_pure(module: str) -> bool:
    """Whether a module is in a pure room, and in none of its shells, or calls itself pure."""
    return (room(module) in PURE and not module.startswith(SHELLS)) or calls_itself_pure(module)


def calls_itself_pure(module: str) -> bool:
    """Whether the docstring of a module has a sentence that begins with the word."""
    return re.search(r"(^|[.;]\s)(Pure|pure)\b", ast.get_docstring(_tree(module)) or "") is not None


def test_each_room_has_its_place() -> None:
    assert sorted({room(name) for name in modules()}) == sorted(ROOMS)


@pytest.mark.parametrize("module", modules())
def test_a_room_knows_only_rooms_before_it(module: str) -> None:
    later = ROOMS[ROOMS.index(room(module)) + 1 :]
    assert [name for name in known(module) if room(name) in later and (module, name) not in LAZY] == []


@pytest.mark.parametrize("module", modules())
def test_no_module_imports_itself_by_way_of_others(module: str) -> None:
    assert module not in reached(module)


@pytest.mark.parametrize("module", [name for name in modules() if is_pure(name)])
def test_pure_modules_reach_no_clock_socket_thread_or_log(module: str) -> None:
    ours = {name for name in reached(module) if name in modules()} | {module}
    assert {name: imported(name) & IMPURE for name in ours if imported(name) & IMPURE} == {}


def test_the_sidecar_reaches_none_of_its_tools() -> None:
    tools = {name for name in modules() if room(name) in ("loadtest", "tools", "cli", "__main__")}
    assert {name for name in modules().keys() - tools if reached(name) & tools} == set()


def test_the_sidecar_loads_nothing_of_the_library_for_other_programs() -> None:
    users = {name for name in modules() if not name.startswith(SHELLS) and room(name) != "performance"}
    assert {name for name in users if any(each.startswith(SHELLS) for each in reached(name))} == set()


@pytest.mark.parametrize("package", ["performance", "ingestion"])
def test_the_sidecar_loads_only_what_is_pure_of_the_parts_for_other_programs(package: str) -> None:
    parts = {name for name in modules() if room(name) == package and name != f"exporter.{package}"}
    users = {name for name in modules() if room(name) not in (package, "loadtest", "tools")}
    assert {each for name in users for each in known(name) & parts if not is_pure(each)} == set()


def test_a_cache_service_loads_nothing_of_the_loop_of_a_sidecar() -> None:
    sidecar = ("source", "assignments", "pipeline", "loop_settings", "loop", "status", "reload", "page", "app", "api")
    loaded = reached("exporter.tools.cache.command")
    assert {name for name in loaded & modules().keys() if room(name) in sidecar} == set()
