"""The code speaks of things and not of persons, in words that need no key: docstrings, comments, messages and names."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "exporter"

# Persons, and verbs of speech for programs; "us" is a unit.
TEXT = re.compile(
    r"\b(we|(?<!\")us(?!\")|our|ours|somebody|someone|anybody|nobody|everybody|whoever|whom|who|anew|told|tells?|says?|said"
    r"|heard|to be had|learn that|trouble)\b",
    re.IGNORECASE,
)
NAME = re.compile(r"(?:^|_)(say|says|said|tell|tells|told|hear|heard|ours?|mine|trouble|oddity|garbage)(?:_|$)")


FILES = sorted(PACKAGE.rglob("*.py"))


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Comments and all strings, those with fields included, each with its line."""
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            yield from enumerate(token.string.splitlines(), token.start[0])


def names(source: str) -> Iterator[tuple[int, str]]:
    """What the code calls its functions, classes, arguments, variables and attributes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def found(path: Path) -> list[str]:
    """Every place with a word that is not to be used."""
    source = path.read_text(encoding="utf-8")
    places = [(line, text.strip()) for line, text in texts(source) if TEXT.search(text)]
    places += [(line, name) for line, name in names(source) if NAME.search(name.lower())]
    return [f"{line}: {text}" for line, text in sorted(places)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_code_speaks_of_things_and_not_of_persons(path: Path) -> None:
    assert found(path) == []
