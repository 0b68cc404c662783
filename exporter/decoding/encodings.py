"""Recognizes the encoding of text that is not UTF-8 by the script of its characters. Pure."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder

Script = tuple[tuple[int, int], ...]  # ranges of characters

UNKNOWN = "an unknown encoding"

_HANGUL: Script = ((0xAC00, 0xD7A3),)
_HAN: Script = ((0x4E00, 0x9FFF),)
_KANA: Script = ((0x3041, 0x30FF),)
_CYRILLIC: Script = ((0x0400, 0x045F),)
_MARKS: Script = ((0x3000, 0x303F), (0xFF01, 0xFF5E))
_ANY: Script = ((0x80, 0xFFFF),)
# The same bytes are valid in many encodings, but hardly ever letters of one script in two of them. For each encoding:
# its name, the script that must occur, and the characters that may occur with it.
_ENCODINGS: dict[str, tuple[str, Script, Script]] = {
    "euc_kr": ("EUC-KR", _HANGUL, _MARKS),
    "shift_jis": ("Shift JIS", _KANA, _HAN + _MARKS),
    "euc_jp": ("EUC-JP", _KANA, _HAN + _MARKS),
    "cp949": ("CP949", _HANGUL, _MARKS),
    "gb18030": ("GB18030", _HAN, _MARKS),
    "big5": ("Big5", _HAN, _MARKS),
    "cp1251": ("Windows-1251", _CYRILLIC, ()),
    "cp1252": ("Windows-1252 or Latin-1", _ANY, ()),
}
_PAIR = re.compile(rb"[\x80-\xff]{2}")


def encoding(text: bytes) -> str:
    """Return the name of the encoding of a text; empty when it is UTF-8."""
    if _decoded(text, "utf-8") is not None:
        return ""
    fitting = (name for codec, (name, script, beside) in _ENCODINGS.items() if _fits(text, codec, script, beside))
    return next(fitting, UNKNOWN)


def _fits(text: bytes, codec: str, script: Script, beside: Script) -> bool:
    decoded = _decoded(text, codec)
    foreign = {ord(character) for character in set(decoded or "") if character > "\x7f"}
    letters = {code for code in foreign if _is_in(code, script)}
    # A single Cyrillic letter is more likely an accented Latin one.
    is_word = script is not _CYRILLIC or _PAIR.search(text) is not None
    return is_word and bool(letters) and all(_is_in(code, beside) for code in foreign - letters)


def _is_in(code: int, script: Script) -> bool:
    return any(first <= code <= last for first, last in script)


def _decoded(text: bytes, codec: str) -> str | None:
    """Return the text without a character that is cut off at its end; None when it has another encoding."""
    try:
        return getincrementaldecoder(codec)().decode(text)
    except UnicodeDecodeError:
        return None
