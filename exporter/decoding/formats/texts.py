"""The words of a feed, and symbols: constants, groups of the topic's name, the key, headers, fields. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from exporter.config.named_pattern import KeyPattern
from exporter.model import Reason, Rejected

if TYPE_CHECKING:
    from exporter.config.format_schema import TextSource
    from exporter.model import Record

Groups = Mapping[str, str]
KEY_BYTES = 256
# A pattern takes some microseconds a character, and most collectors have a key a symbol.
KEYS_KNOWN = 10_000


class Text:
    """One text of a record.

    `paths` are the fields it may stand in, when it stands in one; `constant` is the text itself, when it is the same in
    all records; `map`, `case` and `default` are those of its source; `where` is the place in words.
    """

    def __init__(self, source: TextSource) -> None:
        self.paths: tuple[str, ...] = source.field or ()
        self.default = source.default
        self.map = source.map
        self.case = source.case
        self._recased: Callable[[str], str] | None = {"lower": str.lower, "upper": str.upper}.get(source.case or "")
        self._outside: Callable[[Record, Groups], str | None] | None = None
        self.constant: str | None = None
        self.where = f"field `{'` or `'.join(self.paths)}`"
        if source.constant is not None:
            constant = source.constant
            self.constant = self.renamed(constant)
            self._outside, self.where = lambda record, groups: constant, "constant"
        elif source.topic is not None:
            name = source.topic
            self._outside, self.where = lambda record, groups: groups.get(name), f"group `{name}` of the topic's name"
        elif source.key is not None:
            keys = _Keys(source.key)
            self._outside, self.where = lambda record, groups: keys.value(record.key), "key of that form"
        elif source.header is not None:
            self._outside, self.where = _from_header(source.header), f"header `{source.header}`"

    @property
    def is_plain(self) -> bool:
        """Whether a text is called here what it is called in the record."""
        return not self.map and self.case is None

    @property
    def is_outside(self) -> bool:
        """Whether it is in no field."""
        return self._outside is not None

    def outside(self, record: Record, groups: Groups) -> str:
        """Return the text that is in no field, or raise `Rejected`."""
        found = self._outside(record, groups) if self._outside is not None else None
        return self.absent() if not found else self.renamed(found)

    def renamed(self, text: str) -> str:
        """Return what a text of the record is called here."""
        text = self.map.get(text, text)
        return text if self._recased is None else self._recased(text)

    def absent(self) -> str:
        """Return what a record without the text has in its place, or raise `Rejected`."""
        if self.default is None:
            raise Rejected(Reason.MISSING_FIELD, f"missing required {self.where}")
        return self.default

    def among(self, values: Sequence[Any]) -> str | None:
        """Return the first text of some slots; None when there is none, or something else than a text."""
        for value in values:
            if value.__class__ is str:
                return value if self.is_plain else self.renamed(value)
        return None


class _Keys:
    """The values of keys by a pattern; those of the last keys are known."""

    def __init__(self, pattern: str) -> None:
        self._pattern = KeyPattern(pattern)
        self._known: dict[bytes, str | None] = {}

    def value(self, key: bytes | None) -> str | None:
        """Return what the pattern finds in a key; None for one that it does not match, and one that is too long."""
        if key is None or len(key) > KEY_BYTES:
            return None
        if key not in self._known:
            if len(self._known) >= KEYS_KNOWN:
                self._known.clear()
            self._known[key] = self._pattern.value(key.decode(errors="replace"))
        return self._known[key]


def _from_header(name: str) -> Callable[[Record, Groups], str | None]:
    def read(record: Record, groups: Groups) -> str | None:
        found = next((value for header, value in record.headers if header == name), None)
        return None if found is None else found.decode(errors="replace")

    return read
