"""The layers of the configuration (file, environment, flags) as trees of values with their places."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import yaml

PREFIX = "MARKETDATA_"
# Kubernetes sets these in every pod for a service named marketdata or marketdata-exporter.
_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")
_TEXT_TAG = "tag:yaml.org,2002:str"
# The core schema of YAML 1.2: yes, on and 12:30 are text, 010 is ten.
_WORDS: dict[str, bool | None] = {"": None, "~": None}
_WORDS |= {
    word: value
    for name, value in (("null", None), ("true", True), ("false", False))
    for word in (name, name.capitalize(), name.upper())
}
_WHOLE = re.compile(r"[-+]?[0-9]{1,300}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class Problem(NamedTuple):
    """One mistake: the path of the key, what is wrong and what is allowed, and its place."""

    path: str
    message: str
    place: str = ""

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        line = f"{self.path or 'configuration'}: {self.message}{place}"
        return line if line.isprintable() else line.encode("unicode_escape").decode()


class Given(NamedTuple):
    """A value as given: None, a scalar, a list of Given or a dict of Given.

    `text` is its spelling, for keys that need text: of a number, true or false, and of any variable.
    """

    value: Any
    place: str
    text: str | None = None


def joined(path: str, key: str) -> str:
    """Return the path of a key below a path."""
    return f"{path}.{key}" if path else key


def from_file(text: str, problems: list[Problem]) -> Given:
    """Return the tree of a YAML document; parts that cannot be read are added to the problems."""
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        given = Given({}, "") if node is None else _Tree(problems).given(node, "")
        return given if given.value is not None else Given({}, given.place)
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}" if error.problem_mark else ""
        # A quoted word may be part of a password.
        reason = re.sub(r"'(?![<\\])[^']{2,}'", "'…'", str(error.problem or error.context))
        problems.append(Problem("", f"this is not YAML: {reason}", place))
    except yaml.YAMLError:
        problems.append(Problem("", "this is not YAML: it contains a character that is not allowed"))
    except RecursionError:
        problems.append(Problem("", "this is nested too deeply"))
    return Given({}, "")


class _Tree:
    """Converter of nodes to values; a node with several aliases is converted once, so that aliases cannot multiply."""

    def __init__(self, problems: list[Problem], place: str = "") -> None:
        self._problems = problems
        self._place = place
        self._known: dict[int, Given | None] = {}

    def given(self, node: yaml.Node, path: str) -> Given:
        """Return the value of a node and of all below it."""
        place = self._place or f"line {node.start_mark.line + 1}"
        if id(node) not in self._known:
            self._known[id(node)] = None
            self._known[id(node)] = self._read(node, path, place)
        known = self._known[id(node)]
        if known is None:
            self._problems.append(Problem(path, "this contains itself", place))
        return known or Given(None, place)

    def _read(self, node: yaml.Node, path: str, place: str) -> Given:
        if isinstance(node, yaml.MappingNode):
            return Given(self._mapping(node, path), place)
        if isinstance(node, yaml.SequenceNode):
            return Given([self.given(item, f"{path}[{i}]") for i, item in enumerate(node.value)], place)
        if node.tag != _TEXT_TAG:
            self._problems.append(Problem(path, "tags are not allowed", place))
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return _scalar(node.value, place) if is_plain else Given(node.value, place)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Given]:
        found: dict[str, Given] = {}
        for key, value in node.value:
            place = self._place or f"line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                self._problems.append(Problem(path, "a key must be text", place))
            elif key.value in found:
                message = f"given twice, first at {found[key.value].place}"
                self._problems.append(Problem(joined(path, key.value), message, place))
            else:
                found[key.value] = self.given(value, joined(path, key.value))
        return found


def _scalar(text: str, place: str) -> Given:
    if text in _WORDS:
        return Given(_WORDS[text], place, None if _WORDS[text] is None else text)
    if _WHOLE.fullmatch(text):
        return Given(int(text), place, text)
    return Given(float(text), place, text) if _NUMBER.fullmatch(text) else Given(text, place)


def from_environment(env: Mapping[str, str], maps: Collection[str], secrets: Collection[str]) -> Iterator[Given]:
    """Yield one tree for each MARKETDATA_ variable; `maps` are the paths of the maps with free keys.

    Values of these maps, and of the paths in `secrets`, are plain text; all others are YAML.
    """
    for name in sorted(env):
        if not name.startswith(PREFIX) or _SERVICE_LINK.search(name):
            continue
        parts = name.removeprefix(PREFIX).lower().split("__")
        for depth in range(1, len(parts)):
            if ".".join(parts[:depth]) in maps:
                key = ".".join(parts[depth:]).replace("_", ".")
                yield _nested([*parts[:depth], key], Given(env[name], name))
                break
        else:
            is_secret = ".".join(parts) in secrets
            yield _nested(parts, Given(env[name], name) if is_secret else _from_variable(env[name], name))


def _from_variable(text: str, name: str) -> Given:
    """Return the value as YAML reads it; text that is not YAML, such as `[::1]:8000`, is text."""
    found: list[Problem] = []
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        given = Given(None, name) if node is None else _Tree(found, name).given(node, "")
    except (yaml.YAMLError, RecursionError):
        return Given(text, name)
    return Given(text, name) if found else given._replace(text=text)


def from_flags(flags: Mapping[str, object], maps: Collection[str], secrets: Collection[str]) -> Iterator[Given]:
    """Yield one tree for each flag: a dotted path and its value; see `from_environment`."""
    for path, value in flags.items():
        place = "--" + path.replace("_", "-")
        owner = next((name for name in maps if path.startswith(f"{name}.")), None)
        parts = path.split(".") if owner is None else [*owner.split("."), path.removeprefix(f"{owner}.")]
        is_yaml = isinstance(value, str) and owner is None and path not in secrets
        yield _nested(parts, _from_variable(str(value), place) if is_yaml else from_object(value, place))


def from_object(value: object, place: str) -> Given:
    """Return the tree of plain objects."""
    if isinstance(value, Mapping):
        return Given({str(key): from_object(inner, place) for key, inner in value.items()}, place)
    if isinstance(value, list | tuple):
        return Given([from_object(inner, place) for inner in value], place)
    return Given(value, place, str(value) if isinstance(value, bool | int | float) else None)


def _nested(parts: list[str], given: Given) -> Given:
    for part in reversed(parts):
        given = Given({part: given}, given.place)
    return given
