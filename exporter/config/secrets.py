"""Finds secrets in the configuration: by the names of keys, and within URLs and other texts. Pure; never raises."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote, unquote_plus

from exporter.runtime.redaction import MASK

_NAME = re.compile(
    r"passw|passphrase|secret|token|credential|assertion|api.?key|key\.pem|ssl\.key|oauth|basic\.auth|sasl\.jaas"
    r"|(?:^|[._-])(?:pass|pwd)$|(?:^|redis\.|sentinel\.|registry_|client\.)username$",
    re.IGNORECASE,
)
# Names that look like those of secrets, of values that are none: a path, a word, an address.
_HARMLESS = re.compile(
    r"(?:\.location|[._]file|\.method|\.scope|\.url|\.id|\.extensions|\.algorithm|\.claim\.name|username)$",
    re.IGNORECASE,
)
_QUERY_NAME = re.compile(rf"{_NAME.pattern}|user|auth|sig", re.IGNORECASE)
_BEFORE_HOST = re.compile(r"(\s*\w[\w+.-]*://)(.*)@", re.DOTALL)
# The same without a scheme, by mistake.
_BEFORE_ADDRESS = re.compile(r"()([^/]*)@", re.DOTALL)
_ADDRESS_KEY = re.compile(r"(?:url|schema_registry)$")
_QUERY = re.compile(r"([?&;])([^=&;?]{1,100})=([^&]*)")
_PLAIN_VALUE = re.compile(r"\d{1,6}|true|false|yes|no|none", re.IGNORECASE)
# Never secrets, whatever their name: masking them would make all texts unreadable.
_WORDS = {"true", "false", "null", "none", "default"}
# In the configuration of Java's login modules and of SASL's OAUTHBEARER.
_ASSIGNED = re.compile(r"""(?:passw|secret|token|key)\w*\s*[=:]\s*["']?([^"'\s;,]+)""", re.IGNORECASE)
# Users that are never secret, even without a password.
_NAMES = {"user", "username", "default", "admin", "root", "guest", "redis", "registry", "marketdata"}
_PLACE = re.compile(r"[\w.-]+:\d{1,5}(?:/\S*)?", re.ASCII)
_FLAG = re.compile(r"--[a-zA-Z][\w.-]{0,80}", re.ASCII)
# A user with a password is not secret, unless it is as long as a token.
_TOKEN_LENGTH = 16
_LINE_LENGTH = 16


def names_secret(name: str) -> bool:
    """Return whether the value of a key, property or variable of this name is never shown."""
    return _NAME.search(name) is not None


def may_be_secret(text: str) -> bool:
    """Return whether a text in place of a URL or a mapping is neither a URL nor a host and port."""
    return "://" not in text and _PLACE.fullmatch(text) is None


def is_address(key: str) -> bool:
    """Return whether the value of a key is a URL or another address that may contain a password."""
    return _ADDRESS_KEY.search(key) is not None


def shown_text(text: str, key: str = "") -> str:
    """Return a text of the configuration for display: masked where it is, or may be, a secret."""
    if names_secret(key):
        return MASK
    if found := _before_host(text, key):
        user, colon, _ = found[2].partition(":")
        text = f"{found[1]}{MASK if _is_token(found[2]) else user}{colon and f':{MASK}'}@{text[found.end() :]}"
    return _QUERY.sub(_shown_option, text) if "://" in text else text


def secrets_in(text: str, key: str = "", *, is_secret: bool = False) -> Iterator[str]:
    """Yield the secrets in a text of the configuration, in the spellings in which a server might quote them.

    `is_secret`: the whole text is one. A user with a password is not secret.
    """
    if text.strip().lower() in _WORDS:
        return
    if is_secret or (names_secret(key) and (not _HARMLESS.search(key) or _is_long_user(text, key))):
        yield from (text, text.strip(), *(line for line in text.split() if len(line) >= _LINE_LENGTH))
        yield from (found[1] for found in _ASSIGNED.finditer(text))
    for secret in (*_of_host(text, key), *_options(text)):
        yield from (secret, unquote(secret), unquote_plus(secret))


def exposed(arguments: Sequence[str]) -> list[str]:
    """Return the flags of a command line that contain a secret, which every user of the machine can list.

    A reference to a file or a variable is not a secret.
    """
    found: list[str] = []
    for argument, following in zip(arguments, (*arguments[1:], ""), strict=True):
        flag, has_value, value = argument.partition("=")
        text = value if has_value else following
        if _FLAG.fullmatch(flag) and "${" not in text and any(secrets_in(text, flag[2:].replace("-", "_"))):
            found.append(flag)
    return list(dict.fromkeys(found))


def flag_names(arguments: Sequence[str]) -> str:
    """Return the flags among arguments for a message; their values may be secrets."""
    flags = [argument.partition("=")[0] for argument in arguments]
    names = [flag for flag in flags if _FLAG.fullmatch(flag)]
    rest = len(arguments) - len(names)
    return " ".join([*names, *([f"({rest} without name)"] if rest else [])])


def _before_host(text: str, key: str) -> re.Match[str] | None:
    return _BEFORE_HOST.match(text) or (_BEFORE_ADDRESS.match(text) if is_address(key) else None)


def _is_token(user_and_password: str) -> bool:
    user, _, password = user_and_password.partition(":")
    return bool(user) and (not password or len(user) >= _TOKEN_LENGTH)


def _is_long_user(text: str, key: str) -> bool:
    return key.endswith("username") and len(text) >= _TOKEN_LENGTH


def _of_host(text: str, key: str) -> Iterator[str]:
    if found := _before_host(text, key):
        user, _, password = found[2].partition(":")
        if password:
            yield password
        if _is_token(found[2]) and user not in _NAMES:
            yield user


def _options(text: str) -> Iterator[str]:
    for found in _QUERY.finditer(text):
        if _QUERY_NAME.search(found[2]) and not _HARMLESS.search(found[2]):
            yield found[3]


def _shown_option(found: re.Match[str]) -> str:
    is_plain = _PLAIN_VALUE.fullmatch(found[3]) and not _QUERY_NAME.search(found[2])
    return found[0] if is_plain else f"{found[1]}{found[2]}={MASK}"
