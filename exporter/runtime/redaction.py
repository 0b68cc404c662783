"""Masks secrets in the texts of other programs, whatever encoding they have there. Pure."""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from html import unescape
from typing import NamedTuple

MASK = "<secret>"
# Shorter secrets occur in any text by chance; `check` warns about them.
LENGTH_MIN = 4
# A text that was cut may end with the beginning of a secret.
_HEAD_MIN, _HEAD_MAX = 8, 16
# How often quoting is undone: texts are quoted more than once on their way.
_LEVELS = 3
_BREAK = re.compile(r"[\r\n]+[ \t]*")
_TOKEN = re.compile(
    r"(?P<break>\\?[\r\n]+[ \t]*)|(?P<percent>(?:%[0-9A-Fa-f]{2})+)|(?P<bytes>(?:\\x[0-9A-Fa-f]{2})+)"
    r"|(?P<utf16>(?:\\u[0-9A-Fa-f]{4})+)|(?P<utf32>\\U[0-9A-Fa-f]{8})|(?P<short>\\[^xuU&%])"
    r"|(?P<html>&(?:\#[0-9]{1,7}|\#[xX][0-9A-Fa-f]{1,6}|\w{2,8});)"
)
_SHORT = {"n": "", "r": "", "t": "\t", "b": "\b", "f": "\f", "0": "\0"}
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]*")
# Secrets that are not configured here: in URLs and headers that other servers send.
_UNKNOWN = (
    (re.compile(r"(\w://[^\s:@/]{0,256}):\S*@"), rf"\1:{MASK}@"),
    (
        re.compile(
            r"""([?&][^=&\s]{0,99}(?:passw|secret|token|api.?key|signature|credential)[^=&\s]{0,99}=)[^&\s"'<>]+""",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (
        re.compile(r"""(authorization["']?\s*[:=]\s*["']?(?:(?:basic|bearer|token)\s+)?)[^\s"',<]+""", re.IGNORECASE),
        rf"\1{MASK}",
    ),
)


class _View(NamedTuple):
    """A decoded text; each of its characters with the span of the original that it came from."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]


class Redactor:
    """Filter for texts of other programs: masks known secrets and parts of them. Immutable."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # As plain text: the repr of a Secret is a mask.
        self.secrets = tuple(dict.fromkeys(map(str, filter(None, secrets))))
        known = [secret for secret in self.secrets if len(secret.strip()) >= LENGTH_MIN]
        self._plain = _Needles(needle for secret in known for needle in _spellings(secret))
        self._base64 = _Needles(needle for secret in known for needle in _in_base64(secret))

    def masked(self, text: str) -> str:
        """Return the text with each secret masked, however it is quoted, encoded or wrapped; never raises."""
        for pattern, replacement in _UNKNOWN:
            text = pattern.sub(replacement, text)
        spans = self._spans(text)
        return _covered(text, spans) if spans else text

    def masked_part(self, text: str, start: int, end: int) -> str:
        """Return the text from `start` to `end`, with secrets masked of which it contains only a part, too."""
        spans = [(max(first, start), min(last, end)) for first, last in self._spans(text)]
        return _covered(text[start:end], [(first - start, last - start) for first, last in spans if first < last])

    def _spans(self, text: str) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        for view in _views(text) if self._plain else ():
            found = list(self._plain.spans(view.text))
            found += [_widened(view.text, *span) for span in self._base64.spans(view.text)]
            spans += [(view.starts[start], view.ends[end - 1]) for start, end in found]
        return spans


class _Needles:
    """Texts to search for; the beginning of one counts if it is long, or if it ends the searched text."""

    def __init__(self, needles: Iterable[str]) -> None:
        self._by_head: dict[str, list[str]] = {}
        self._by_start: dict[str, list[str]] = {}
        for needle in dict.fromkeys(needles):
            size = min(max(_HEAD_MIN, len(needle) // 2), _HEAD_MAX)
            self._by_head.setdefault(needle[:size], []).append(needle)
            self._by_start.setdefault(needle[:LENGTH_MIN], []).append(needle)
        self._sizes = {len(head) for head in self._by_head}
        self._heads = _any_of(self._by_head)
        self._starts = _any_of(self._by_start)

    def __bool__(self) -> bool:
        return bool(self._by_head)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the spans where they occur; spans may overlap."""
        if not self._by_head:
            return
        # Most texts have no secret, which plain searches find out in a tenth of the time.
        for found in self._heads.finditer(text) if any(head in text for head in self._by_head) else ():
            place = found.start()
            for size in self._sizes:
                for needle in self._by_head.get(text[place : place + size], ()):
                    yield place, place + _common(needle, text, place)
        for found in self._starts.finditer(text, max(0, len(text) - _HEAD_MAX)):
            tail = text[found.start() :]
            if any(needle.startswith(tail) for needle in self._by_start[tail[:LENGTH_MIN]]):
                yield found.start(), len(text)


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    # A lookahead also finds a needle that begins within another.
    return re.compile(f"(?={'|'.join(map(re.escape, texts))})")


def _common(needle: str, text: str, place: int) -> int:
    """Return how many characters of the needle are at a place of the text."""
    size = 0
    while size < len(needle) and place + size < len(text) and needle[size] == text[place + size]:
        size += 1
    return size


def _spellings(secret: str) -> set[str]:
    """Return the spellings of a secret to search for; other encodings are decoded before the search."""
    data = _bytes(secret)
    plain = {_BREAK.sub("", secret), " ".join(secret.split()), data.decode("latin-1")}
    plain |= {text.replace(" ", "+") for text in plain}
    # A part of the secret that looks quoted is decoded together with the quoting around it; and escapes of characters
    # may look like those of bytes.
    plain |= {view.text for text in (*plain, ascii(secret)[1:-1]) for view in _views(text)}
    return {text for text in plain | {data.hex(), data.hex().upper()} if len(text) >= LENGTH_MIN}


def _in_base64(secret: str) -> set[str]:
    """Return the base64 of the secret at any position in the encoded bytes, as after a user and a colon."""
    found: set[str] = set()
    for text in (secret, _BREAK.sub("", secret)):
        for offset, unknown in ((0, 0), (1, 2), (2, 3)):
            data = bytes(offset) + _bytes(text)
            size = len(data) * 8 // 6
            found |= {encode(data).decode()[unknown:size] for encode in (b64encode, urlsafe_b64encode)}
    return found


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _views(text: str) -> Iterator[_View]:
    """Yield the text, then the text with more and more of its quoting undone."""
    places = range(len(text))
    view = _View(text, places, range(1, len(text) + 1))
    yield view
    for _ in range(_LEVELS):
        if _TOKEN.search(view.text) is None:
            return
        view = _decoded(view)
        yield view


def _decoded(view: _View) -> _View:
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    done = 0
    for found in _TOKEN.finditer(view.text):
        start, end = found.span()
        plain = _unquoted(found)
        parts += [view.text[done:start], plain]
        starts += [*view.starts[done:start], *[view.starts[start]] * len(plain)]
        ends += [*view.ends[done:start], *[view.ends[end - 1]] * len(plain)]
        done = end
    return _View("".join([*parts, view.text[done:]]), [*starts, *view.starts[done:]], [*ends, *view.ends[done:]])


def _unquoted(found: re.Match[str]) -> str:
    """Return the characters of a quoted character or a run of them."""
    text, kind = found[0], found.lastgroup
    if kind == "break":
        return ""
    if kind == "html":
        return unescape(text)
    if kind == "short":
        return _SHORT.get(text[1], text[1])
    if kind == "utf16":
        return bytes.fromhex(text.replace("\\u", "")).decode("utf-16-be", "surrogatepass")
    if kind == "utf32":
        number = int(text[2:], 16)
        return chr(number) if number <= 0x10FFFF else text
    data = bytes.fromhex(text.replace("\\x", "").replace("%", ""))
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _widened(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span of the whole base64 text around a part of it."""
    while start > 0 and _BASE64.fullmatch(text[start - 1]):
        start -= 1
    found = _BASE64.match(text, end)
    return start, found.end() if found else end


def _covered(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text with a mask in place of each span, except spans within an existing mask."""
    masks = [found.span() for found in re.finditer(re.escape(MASK), text)]
    parts: list[str] = []
    done = 0
    for start, end in sorted(spans):
        if end <= done or any(first <= start and end <= last for first, last in masks):
            continue
        if start >= done:
            parts += [text[done:start], MASK]
        done = end
    return "".join([*parts, text[done:]])
