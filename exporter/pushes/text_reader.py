"""Reads text 0.0.4 as strictly as the Pushgateway does: a mistake is reported with its line. Pure.

The reader of prometheus_client takes much for a sample that is none, and gives every counter a name with `_total`.
"""

from __future__ import annotations

import re
from typing import NoReturn

from prometheus_client.samples import Sample

from exporter.pushes.family import PushedFamily, malformed

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
# Possessive, so that no line takes longer than its length asks for.
_QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_SAMPLE = re.compile(
    rf"({NAME.pattern}+)(?:[ \t]*+\{{((?:[^\"{{}}]++|{_QUOTED})*+)\}}[ \t]*+|[ \t]++)([!-~]++)(?:[ \t]++([!-~]++))?"
)
_LABEL = re.compile(rf"[ \t]*+([a-zA-Z_][a-zA-Z0-9_]*+)[ \t]*+=[ \t]*+({_QUOTED})[ \t]*+(?:,|\Z)")
_COMMENT = re.compile(rf"#[ \t]*(HELP|TYPE)[ \t]+({NAME.pattern})(?:[ \t]+(.*))?")
_ESCAPE = re.compile(r"\\(.?)")
_ESCAPED = {"\\": "\\", '"': '"', "n": "\n"}
KINDS = {"counter": "counter", "gauge": "gauge", "histogram": "histogram", "summary": "summary", "untyped": "unknown"}
_SUFFIXES = {"_bucket": ("histogram",), "_count": ("histogram", "summary"), "_sum": ("histogram", "summary")}


def read_text(text: str) -> list[PushedFamily]:
    """Return the families that have samples; raise Refused."""
    if text and not text.endswith("\n"):
        raise malformed("the last line has no line feed at its end: something is missing")
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), 1):
        if stripped := line.strip(" \t"):
            reader.number = number
            (reader.comment if stripped[0] == "#" else reader.sample)(stripped)
    found = reader.families.values()
    return [
        PushedFamily(each.name, each.kind or "unknown", each.help or "", each.samples) for each in found if each.samples
    ]


class _Family:
    """A family that is being read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind: str | None = None
        self.help: str | None = None
        self.samples: list[Sample] = []


class _Reader:
    """The families of the lines so far."""

    def __init__(self) -> None:
        self.families: dict[str, _Family] = {}
        self.number = 0

    def comment(self, line: str) -> None:
        """Take in a line that begins with #: help, a type, or a remark."""
        if not (found := _COMMENT.fullmatch(line)):
            return
        word, name, text = found[1], found[2], found[3] or ""
        family = self._family(name)
        if word == "HELP":
            if family.help is not None:
                self._fail(f"a second HELP of {name}")
            family.help = self._unescaped(text)
        elif not text:
            return
        elif family.kind is not None or family.samples:
            self._fail(f"a second TYPE of {name}, or one after its samples")
        elif text not in KINDS:
            self._fail(f"the TYPE of {name} must be one of {', '.join(KINDS)}")
        else:
            family.kind = KINDS[text]

    def sample(self, line: str) -> None:
        """Take in a sample."""
        if not (found := _SAMPLE.fullmatch(line)):
            self._fail('expected NAME{LABEL="VALUE",…} VALUE, with names of letters, digits and _')
        name, labels, value, timestamp = found.groups()
        sample = Sample(name, self._labels(labels or ""), self._number(value), self._timestamp(timestamp))
        (self.families.get(name) or self._family_of(name)).samples.append(sample)

    def _family(self, name: str) -> _Family:
        return self.families.setdefault(name, _Family(name))

    def _family_of(self, name: str) -> _Family:
        """Return the family of a sample that no family is named like."""
        for suffix, kinds in _SUFFIXES.items():
            family = self.families.get(name.removesuffix(suffix))
            if family is not None and family.kind in kinds:
                return family
        return self._family(name)

    def _labels(self, text: str) -> dict[str, str]:
        labels: dict[str, str] = {}
        text, at = text.strip(" \t"), 0
        while at < len(text):
            if not (found := _LABEL.match(text, at)):
                self._fail('expected LABEL="VALUE" between the braces, separated by commas')
            if found[1] in labels:
                self._fail(f"the label {found[1]} comes twice")
            labels[found[1]] = self._unescaped(found[2][1:-1])
            at = found.end()
        return labels

    def _unescaped(self, text: str) -> str:
        if "\\" not in text:
            return text
        if wrong := next((each[0] for each in _ESCAPE.finditer(text) if each[1] not in _ESCAPED), None):
            self._fail(f"{wrong} is no escape sequence")
        return _ESCAPE.sub(lambda each: _ESCAPED[each[1]], text)

    def _number(self, text: str) -> float:
        try:
            if "_" not in text:  # which only Python takes for a part of numbers
                return float(text)
        except ValueError:
            pass
        self._fail(f"{text[:50]!r} is no number")

    def _timestamp(self, text: str | None) -> float | None:
        return None if text is None else self._number(text)

    def _fail(self, text: str) -> NoReturn:
        raise malformed(f"line {self.number}: {text}")
