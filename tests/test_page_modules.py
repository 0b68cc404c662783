"""The modules of the live page: their types are right, the server knows them, and they take texts for texts."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from exporter.web.static_files import VIEWS
from tests.support.missing import missing, program

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "exporter" / "web" / "static"
COMPILER = ROOT / ".cache" / "node" / "node_modules" / "typescript" / "bin" / "tsc"
OPTIONS = (
    "--allowJs", "--checkJs", "--strict", "--noEmit", "--noUnusedLocals", "--noUnusedParameters", "--noImplicitReturns",
    "--target", "es2023", "--lib", "es2023,dom,dom.iterable", "--module", "esnext", "--moduleResolution", "bundler",
)  # fmt: skip
MODULES = {str(path.relative_to(STATIC)): path.read_text("utf-8") for path in sorted(STATIC.rglob("*.js"))}
MARKUP = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"


def test_the_types_of_the_modules_are_right() -> None:
    """As their comments give them."""
    node = program("node", "nodejs")
    if not COMPILER.is_file():
        missing("TypeScript", "`make parts` did not bring it")
    command = [node, str(COMPILER), *OPTIONS, *(str(STATIC / name) for name in MODULES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout + done.stderr == ""


def test_modules_are_short() -> None:
    """No file of more than 300 lines."""
    assert {name: length for name, text in MODULES.items() if (length := text.count("\n")) > 300} == {}


def test_the_server_knows_the_views_of_the_page() -> None:
    """By the first part of their route; `/` is the first view."""
    views = {name: text for name, text in MODULES.items() if name.startswith("views/") and name != "views/index.js"}
    routes = [re.findall(r'^export const route = "/(\w*)', text, re.MULTILINE)[0] for text in views.values()]
    assert sorted(set(routes)) == sorted(["", *VIEWS])
    for name in views:
        assert f'from "./{name.removeprefix("views/")}"' in MODULES["views/index.js"]


def test_nothing_on_the_page_comes_from_elsewhere_or_is_read_as_markup() -> None:
    for name, text in {**MODULES, "index.html": (STATIC / "index.html").read_text("utf-8")}.items():
        addresses = set(re.findall(r"https?://[^\s\"'`]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not addresses, name
        assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            name
        )
