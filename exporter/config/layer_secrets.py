"""Finds the secrets in the layers of a configuration, before it is known whether the configuration is valid. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from exporter.config.layers import Given
from exporter.config.parsers import Secret, expanded, referenced
from exporter.config.secrets import secrets_in


class LayerSecrets:
    """A search for secrets in layers; values that several aliases share are searched once."""

    def __init__(self, env: Mapping[str, str], read_file: Callable[[str], str]) -> None:
        self._env = env
        self._read_file = read_file
        self._seen: set[tuple[int, str]] = set()

    def of(self, layers: Iterable[Given], key: str = "") -> Iterator[str]:
        """Yield the secrets in the values of a key."""
        for given in layers:
            if (id(given.value), key) in self._seen:
                continue
            if isinstance(given.value, dict):
                self._seen.add((id(given.value), key))
                for name, inner in given.value.items():
                    yield from self.of([inner], name)
            elif isinstance(given.value, list):
                self._seen.add((id(given.value), key))
                yield from self.of(given.value, key)
            elif isinstance(given.value, str) or given.text is not None:
                yield from self._in_text(given.text if given.text is not None else given.value, key)

    def _in_text(self, text: str, key: str) -> Iterator[str]:
        values: list[str] = [text]
        if "${" in text:
            value, _ = expanded(text, self._env, self._read_file)
            values = [value, *referenced(text, self._env, self._read_file)]
        for value in values:
            yield from secrets_in(value, key, is_secret=isinstance(value, Secret))
