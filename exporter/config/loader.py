"""Loads the configuration: YAML file < environment < flags, with all mistakes at once.

Pure: the environment, the name of the host and the reader of files are arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Meta, UnsetType

from exporter.config.conflicts import Conflict, conflicts
from exporter.config.display import shown
from exporter.config.format_rules import mistakes
from exporter.config.format_schema import FormatConfig
from exporter.config.layer_secrets import LayerSecrets
from exporter.config.layers import PREFIX, Given, Problem, from_environment, from_file, from_flags, from_object, joined
from exporter.config.parsers import Secret, expanded
from exporter.config.presets import layers, presets
from exporter.config.schema import Config
from exporter.config.secrets import may_be_secret
from exporter.config.section import Section
from exporter.runtime.redaction import Redactor

_DEFAULTS = {"instance": "${HOSTNAME}"}
_MARK = "\ufeff"


class ConfigError(Exception):
    """The configuration is wrong; `problems` are all its mistakes, and the text has a line for each."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def load(
    text: str | None,
    env: Mapping[str, str],
    flags: Mapping[str, object],
    *,
    hostname: str,
    read_file: Callable[[str], str],
    also: Callable[[Config], Iterable[Conflict]] = lambda _: (),
    on_secrets: Callable[[Iterable[str]], object] = tuple,
) -> Config:
    """Return the configuration of a YAML text, the environment and the flags (by paths such as `web.listen_address`).

    `${NAME}` and `${NAME:-default}` in any text are taken from `env` (`hostname` stands in for HOSTNAME),
    `${file:/path}` from `read_file`, which raises OSError or ValueError. `also` yields contradictions that client
    libraries detect. `on_secrets` gets each secret, also of overridden layers. Raises ConfigError, without secrets.
    """
    problems: list[Problem] = []
    maps = [path for path, kind in keys().items() if get_origin(kind) is dict]
    env = _without_marks(env)
    layers = [from_object(_DEFAULTS, "default"), from_file(text or "", problems)]
    layers += [*from_environment(env, maps, secrets()), *from_flags(flags, maps, secrets())]
    env, read_file = {**env, "HOSTNAME": env.get("HOSTNAME") or hostname}, cache(read_file)
    known = list(LayerSecrets(env, read_file).of(layers))
    on_secrets(known)
    reader = SectionReader(env, read_file, problems)
    config: Config = reader.section(Config, "", layers)
    for check in (conflicts, also):
        wrong = {_without_number(problem.path) for problem in problems}
        problems += [reader.problem(found) for found in check(config) if not _follows(found, wrong)]
    if problems:
        redactor = Redactor(known)
        raise ConfigError(tuple(one._replace(message=redactor.masked(one.message)) for one in dict.fromkeys(problems)))
    return config


def _without_marks(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without byte order marks and line ends, which files leave at names and values."""
    return {name.lstrip(_MARK): value.lstrip(_MARK).rstrip("\r\n") for name, value in env.items()}


def _without_number(path: str) -> str:
    return path.partition("[")[0]


def _follows(conflict: Conflict, wrong: set[str]) -> bool:
    """Return whether one of the values is invalid by itself, so that its default was used instead."""
    involved = tuple(_without_number(path) for path in conflict.paths)
    return any(f"{path}.".startswith(f"{one}.") for path in wrong for one in involved)


@cache
def keys() -> dict[str, Any]:
    """Return every dotted path of the configuration, sections included, and its type."""
    return dict(_keys(Config, ""))


@cache
def secrets() -> frozenset[str]:
    """Return the dotted paths of passwords and users, which environment and flags give as plain text."""
    return frozenset(path for path, kind in keys().items() if (_meta(kind).extra or {}).get("is_secret"))


def _keys(kind: type[Section], path: str) -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(kind):
        inner = joined(path, field.name)
        bare = _bare(field.type)
        yield inner, field.type
        if _is_section(bare):
            yield from _keys(bare, inner)


def _bare(kind: Any) -> Any:
    """Return the type without None and annotations."""
    if get_origin(kind) in (Union, UnionType):
        kind = get_args(kind)[0]
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _meta(kind: Any) -> Meta:
    if _is_optional(kind):
        kind = get_args(kind)[0]
    return next((arg for arg in get_args(kind) if isinstance(arg, Meta)), Meta())


def _is_optional(kind: Any) -> bool:
    return type(None) in get_args(kind)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def expected(kind: Any) -> str:
    """Return in words what a type of `keys` allows."""
    bare = _bare(kind)
    words = _meta(kind).description
    if words is None and get_origin(bare) is Literal:
        *others, last = get_args(bare)
        words = f"{', '.join(others)} or {last}"
    if words is None:
        words = {bool: "true or false", str: "text"}.get(bare, "a mapping")
    return f"null or {words}" if _is_optional(kind) else words


class SectionReader:
    """Reader of sections from the layers, the lowest first; it collects mistakes."""

    def __init__(self, env: Mapping[str, str], read_file: Callable[[str], str], problems: list[Problem]) -> None:
        self._env = env
        self._read_file = read_file
        self._problems = problems
        self._places: dict[str, str] = {}

    def problem(self, conflict: Conflict) -> Problem:
        """Return a contradiction with the place of its first key."""
        path = conflict.paths[0]
        return Problem(path, conflict.message, self._places.get(path, ""))

    def section(self, kind: type[Section], path: str, found: Sequence[Given]) -> Any:
        """Return a section from the layers that have it; UNSET when a required key is missing."""
        # What has alternatives is replaced, not completed, by a layer above.
        mappings = self._mappings(kind, path, found[-1:] if getattr(kind, "is_whole", False) else found)
        fields = msgspec.structs.fields(kind)
        self._refuse_unknown({field.name for field in fields}, path, mappings)
        values: dict[str, Any] = {}
        for field in fields:
            given = [mapping.value[field.name] for mapping in mappings if field.name in mapping.value]
            if given:
                values[field.name] = self._value(field.type, joined(path, field.name), given)
            elif field.required:
                missing = f"missing, expected {expected(field.type)}"
                values[field.name] = self._wrong(joined(path, field.name), missing, found[-1])
        if any(field.required and values[field.name] is UNSET for field in fields):
            return UNSET
        return kind(**{name: value for name, value in values.items() if value is not UNSET})

    def _mappings(self, kind: Any, path: str, found: Sequence[Given]) -> list[Given]:
        """Return the mappings among the layers; null cancels lower layers."""
        mappings: list[Given] = []
        shorthand = getattr(kind, "shorthand", None)
        for given in found:
            if given.value is None:
                mappings.clear()
            elif isinstance(given.value, dict):
                mappings.append(given)
            elif shorthand:
                mappings.append(Given({shorthand: given}, given.place))
            else:
                # Text may be properties in the notation of another program, passwords included.
                got = "text" if isinstance(given.value, str) and may_be_secret(given.value) else shown(given.value)
                self._wrong(path, f"got {got}, expected a mapping", given)
        return mappings

    def _refuse_unknown(self, names: set[str], path: str, mappings: Sequence[Given]) -> None:
        for mapping in mappings:
            for name, given in mapping.value.items():
                if name in names:
                    continue
                unknown = joined(path, name)
                known = [*(joined(path, each) for each in sorted(names)), *self.other_keys()]
                near = difflib.get_close_matches(unknown, known, n=1, cutoff=0.6)
                hint = f", did you mean {_as_given(near[0], given.place)}?" if near else ""
                self._wrong(unknown, f"unknown key{hint}", given)

    def _value(self, kind: Any, path: str, found: Sequence[Given]) -> Any:
        self._places[path] = found[-1].place
        bare = _bare(kind)
        if _is_optional(kind) and found[-1].value is None:
            return None
        if _is_section(bare):
            return self.section(bare, path, found)
        if get_origin(bare) is dict:
            return self._map(get_args(bare)[1], path, found)
        if get_origin(bare) is tuple:
            return self._list(kind, path, found[-1])
        return self._leaf(kind, path, found[-1])

    def other_keys(self) -> Iterable[str]:
        """Return the paths that an unknown key may have been meant to have."""
        return keys()

    def _map(self, kind: Any, path: str, found: Sequence[Given]) -> dict[str, Any]:
        merged: dict[str, Given] = {}
        for mapping in self._mappings(dict, path, found):
            merged |= mapping.value
        values = {key: self._value(kind, joined(path, key), [given]) for key, given in merged.items()}
        return {key: value for key, value in values.items() if value is not UNSET}

    def _list(self, kind: Any, path: str, given: Given) -> tuple[Any, ...] | UnsetType:
        meta, items = _meta(kind), given.value
        if (meta.extra or {}).get("is_single") and not isinstance(items, list | dict | None):
            items = [given]
        if not isinstance(items, list) or not (meta.min_length or 0) <= len(items) <= (meta.max_length or len(items)):
            return self._wrong(path, f"got {shown(items)}, expected {expected(kind)}", given)
        item = get_args(_bare(kind))[0]
        values = tuple(v for number, one in enumerate(items) for v in self._entry(item, f"{path}[{number}]", one))
        return UNSET if UNSET in values else values

    def _entry(self, kind: Any, path: str, given: Given) -> Iterator[Any]:
        """Yield the value of an entry of a list, or those of the presets that it means."""
        try:
            entries = layers(given) if kind is FormatConfig else [[given]]
        except LookupError as error:
            message = f"got {shown(str(error.args[0]))}, expected one of {', '.join(sorted(presets()))}"
            yield self._wrong(joined(path, "preset"), message, given)
            return
        for found in entries:
            value = self._value(kind, path, found)
            yield value
            # Here rather than among the conflicts: only here an entry has the number that it has in the file.
            for message, key in mistakes(value, self._read_file) if isinstance(value, FormatConfig) else ():
                self._wrong(joined(path, key), message, given)

    def _leaf(self, kind: Any, path: str, given: Given) -> Any:
        bare, value = _bare(kind), given.value
        if bare not in (bool, int, float) and not isinstance(value, str) and given.text is not None:
            value = given.text
        if isinstance(value, str):
            value = self.expanded(path, value, given)
        if value is UNSET:
            return UNSET
        if value == "" and _is_optional(kind):
            return None
        try:
            return _converted(value, kind)
        except (msgspec.ValidationError, ValueError) as error:
            reason = f": {error}" if type(error) is ValueError and not isinstance(value, Secret) else ""
            return self._wrong(path, f"got {shown(value, path)}, expected {expected(kind)}{reason}", given)

    def expanded(self, path: str, text: str, given: Given) -> str | UnsetType:
        """Return the text with its references replaced; UNSET when that is impossible."""
        value, mistakes = expanded(text, self._env, self._read_file)
        for mistake in mistakes:
            self._wrong(path, mistake, given)
        return UNSET if mistakes else value

    def _wrong(self, path: str, message: str, given: Given) -> UnsetType:
        self._problems.append(Problem(path, message, given.place))
        return UNSET


def _as_given(path: str, place: str) -> str:
    """Return a path in the notation of a place: as a variable, a flag or a key."""
    if place.startswith(PREFIX):
        return PREFIX + path.upper().replace(".", "__")
    return "--" + path.replace("_", "-") if place.startswith("--") else path


def _converted(value: Any, kind: Any) -> Any:
    """Return the value converted to the type; raise ValidationError, or ValueError with a reason for users."""
    bare, parse = _bare(kind), (_meta(kind).extra or {}).get("parse")
    numbers = bare in (int, float)
    if parse is None or isinstance(value, bool) or not isinstance(value, (str, int, float) if numbers else str):
        plain: Any = str(value) if isinstance(value, str) else value
        result = msgspec.convert(plain, kind, strict=not isinstance(value, str))
    else:
        plain = parse(value)
        result = msgspec.convert(plain, kind)
    is_secret = isinstance(value, Secret) or isinstance(plain, Secret)
    return Secret(result) if is_secret and isinstance(result, str) else result
