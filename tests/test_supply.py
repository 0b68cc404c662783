"""What is installed is pinned, whole and with hashes; and an audit without data does not pass for a good one."""

import importlib.util
import json
import re
from importlib.metadata import requires
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PINS = ROOT / ".constraints"
each_file = pytest.mark.parametrize(
    "name",
    [
        "build.txt",
        "collectors-build.txt",
        "collectors.txt",
        "compute.txt",
        "measures.txt",
        "peers.txt",
        "risk.txt",
        "runtime.txt",
        "test.txt",
        "tools.txt",
    ],
)


def pins(name: str) -> dict[str, str]:
    """The version of each package that a file of pins names."""
    found = re.findall(r"^([\w.-]+)==(\S+)", (PINS / name).read_text(), re.MULTILINE)
    return {_normalized(package): version for package, version in found}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _asked(extra: str = "") -> set[str]:
    """The packages that the project asks for, with those of the extra."""
    asked = map(Requirement, requires("marketdata-exporter") or ())
    return {_normalized(each.name) for each in asked if each.marker is None or each.marker.evaluate({"extra": extra})}


@each_file
def test_every_pin_has_a_hash_and_no_address(name: str) -> None:
    text = re.sub(r"^#.*\n|^\n", "", (PINS / name).read_text(), flags=re.MULTILINE)
    for pin in re.split(r"\n(?=\w)", text.strip()):
        assert re.fullmatch(r"[\w.-]+==[\w.!+]+( ; [^\n]+?)?( \\\n    --hash=sha256:[0-9a-f]{64})+", pin), pin[:80]
    assert "://" not in text


def test_the_pins_hold_all_that_the_project_asks_for() -> None:
    shipped = _asked() | _asked("bcrypt")
    assert pins("runtime.txt").keys() >= shipped
    assert pins("test.txt").keys() >= _asked("test") >= shipped
    assert not pins("runtime.txt").keys() & (_asked("test") - shipped)


def test_the_pins_hold_what_other_programs_ask_for_with_extras() -> None:
    """The engines beside NumPy are in a folder of their own, which must not bring another NumPy."""
    assert pins("test.txt").keys() >= _asked("performance") | _asked("loadtest") | _asked("msk") > _asked()
    assert pins("compute.txt").keys() >= _asked("compute") - _asked() > set()
    assert pins("test.txt").keys() >= _asked("risk") > _asked()
    assert pins("risk.txt").keys() == _asked("risk") - _asked()
    for beside in (pins("compute.txt"), pins("measures.txt")):
        shared = beside.keys() & pins("test.txt").keys()
        assert {name for name in shared if beside[name] != pins("test.txt")[name]} == set()


def test_what_is_shipped_is_what_was_tested() -> None:
    assert pins("runtime.txt").items() | pins("risk.txt").items() <= pins("test.txt").items()
    assert {
        name for name, version in pins("build.txt").items() if pins("test.txt").get(name, version) != version
    } == set()


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    """The program of `make pip-audit`."""
    spec = importlib.util.spec_from_file_location("audit", PINS / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOOD = {"name": "yarl", "version": "1.25.1", "vulns": []}
BAD = {"name": "redis", "version": "8.1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["8.1.1"]}]}
UNKNOWN = {"name": "idna", "version": "3.20", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("packages", "code", "line"),
    [
        ([GOOD], 0, "no known vulnerability in 1 packages"),
        ([GOOD, BAD], 1, "redis 8.1.0: PYSEC-1, fixed in 8.1.1"),
        ([GOOD, UNKNOWN], 3, "the vulnerability data is unavailable for 1 of 2 packages"),
        ([UNKNOWN], 3, "the vulnerability data is unavailable for 1 of 1 packages"),
    ],
)
def test_an_audit_says_what_it_knows(audit: ModuleType, packages: list[dict[str, Any]], code: int, line: str) -> None:
    lines, found = audit.judged(json.dumps({"dependencies": packages}), "")
    assert (lines[-1], found) == (line, code)


def test_an_audit_that_fails_has_no_data(audit: ModuleType) -> None:
    assert audit.judged("", "Traceback\nConnectionError: no route") == (
        ["the vulnerability data is unavailable: ConnectionError: no route"],
        3,
    )
