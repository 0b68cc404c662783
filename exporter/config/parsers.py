"""Parsers of the configuration's values; each raises ValueError with what is wrong with the text. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, unquote, urlsplit

from exporter.config.addresses import host_and_port
from exporter.config.secrets import names_secret
from exporter.config.subscription import INTERNAL, is_pattern
from exporter.config.topic_pattern import TopicPattern
from exporter.model import FeedKey
from exporter.runtime.redaction import MASK

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?\s*(?:ms|[smhdw])\s*)+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", re.ASCII | re.IGNORECASE)
_EXPONENT = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_BROKER = re.compile(
    r"(\w+://)?(\[[0-9a-f:.]+(%\w+)?\]|[^\s,;:/\[\]]+)(:(?P<port>[0-9]{1,5}))?", re.ASCII | re.IGNORECASE
)
_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([^{}]*)\})?")
_VARIABLE = re.compile(r"([A-Za-z_]\w*)(?::-(.*))?", re.ASCII | re.DOTALL)


class Secret(str):
    """A password or a user, or text from a file or a variable with such a name: never shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK


def quoted(text: str) -> str:
    """Return the text for a message: in quotes, on one line, at most 80 characters of it."""
    return json.dumps(text if len(text) <= 80 else f"{text[:79]}…", ensure_ascii=not text.isprintable())


def duration(value: str | int | float) -> float:
    """Return the seconds of `250ms`, `60s`, `1m30s`, `7d`; a plain number is seconds."""
    if isinstance(value, int | float) or _is_number(value):
        return _finite(float(value))
    text = value.strip()
    if not _DURATION.fullmatch(text):
        raise ValueError("units are ms, s, m, h, d and w")
    return _finite(math.fsum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text)))


def size(value: str | int | float) -> int:
    """Return the bytes of `1MiB`, `64 KiB` (powers of 1024), `5MB` (powers of 1000); a plain number is bytes."""
    if isinstance(value, int):
        return value
    if isinstance(value, float) or not (found := _SIZE.fullmatch(value.strip())):
        raise ValueError("units are B, KB, MB, GB, TB and KiB, MiB, GiB, TiB")
    number, prefix, binary = found.groups(default="")
    return int(_finite(float(number)) * (1024 if binary else 1000) ** _EXPONENT[prefix.lower()])


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*\d+(\.\d+)?\s*", text, re.ASCII) is not None


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("too large")
    return number


def host(text: str) -> str:
    """Return the text in lower case if it can be the name of a host, without a port."""
    if not re.fullmatch(r"\w([\w-]*\w)?(\.\w([\w-]*\w)?)*", text, re.ASCII):
        raise ValueError("letters, digits, '.', '_' and '-', without a port")
    return text.lower()


def listen_address(text: str) -> str:
    """Return the text if `host_and_port` can read it."""
    host_and_port(text)
    return text


def topic(text: str) -> str:
    """Return the text if Kafka can have a topic of that name."""
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise ValueError("a topic has letters, digits, '.', '_' and '-', at most 249")
    return text


def topic_or_pattern(text: str) -> str:
    """Return the text if it is a topic that may be read, or begins with ^ and is a pattern of topics."""
    if is_pattern(text):
        return TopicPattern(text).text
    if text.startswith(INTERNAL):
        raise ValueError(f"topics that begin with {INTERNAL} are internal to Kafka and are not read")
    return topic(text)


def excluded_topic(text: str) -> str:
    """Return a topic or pattern of topics that are not read; raise ValueError."""
    if "," in topic_or_pattern(text):
        # A client is given all of them as one text, separated by commas that cannot be escaped.
        raise ValueError("counts with a comma cannot be used here, write xx?x? for x{1,3} and xx+ for x{2,}")
    return text


def pair_pattern(text: str) -> str:
    """Return the text if it is a regular expression with the groups `base` and `quote`."""
    try:
        groups = re.compile(text).groupindex
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not groups.keys() >= {"base", "quote"}:
        raise ValueError("it needs the groups (?P<base>...) and (?P<quote>...)")
    return text


def brokers(text: str) -> str:
    """Return the text if it is a list of brokers such as `one:9092,two:9092`."""
    for broker in text.split(","):
        found = _BROKER.fullmatch(broker.strip())
        if not found:
            raise ValueError("one of the brokers is no host:port; an IPv6 address stands in brackets")
        # librdkafka takes any number for a port, and any text that begins with one.
        if found["port"] is not None and not 0 < int(found["port"]) < 65536:
            raise ValueError("a port is from 1 to 65535")
    return text


_AWS_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}")


def aws_region(text: str) -> str:
    """Return the text if it has the form of a region of AWS."""
    if not _AWS_REGION.fullmatch(text):
        raise ValueError("a region has small letters, and a number at its end")
    return text


def http_url(text: str) -> str:
    """Return the text if it is a URL of a web server."""
    return _url(text, {"http", "https"})


_REDIS = {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"}


def redis_url(text: str) -> str:
    """Return the text if it is a URL of a Redis server, of its socket, of Sentinels, or of nodes of a cluster."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("the address or its port cannot be read") from None
    user, at, hosts = parts.netloc.rpartition("@")
    for host in hosts.split(","):
        _url(parts._replace(netloc=f"{user}{at}{host}").geturl(), _REDIS)
    if parts.scheme.endswith("+sentinel") and not re.fullmatch(r"/[\w.-]{1,200}(?:/\d*)?", parts.path):
        raise ValueError("it does not name the master, as in redis+sentinel://host:26379/mymaster/0")
    return text


def _url(text: str, schemes: set[str]) -> str:
    try:
        parts = urlsplit(text)
        port_is_readable = parts.port is None or parts.port >= 0
    except ValueError:
        raise ValueError("the address or its port cannot be read") from None  # the reason would quote a password
    if parts.scheme not in schemes:
        raise ValueError(f"it must begin with {' or '.join(f'{scheme}://' for scheme in sorted(schemes))}")
    if not port_is_readable or not (parts.hostname or (parts.scheme == "unix" and parts.path)):
        raise ValueError("it has no host")
    return text


def credentials(url: str) -> dict[str, str]:
    """Return the `username` and the `password` of a URL if it has them: before its host, or among its options."""
    parts = urlsplit(url)
    before = {"username": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    options = {name: values[0] for name, values in parse_qs(parts.query).items() if name in before}
    return {name: value for name, value in (before | options).items() if value}


def http_user(text: str) -> Secret:
    """Return the text if it can be a user in HTTP's basic authentication."""
    if ":" in text:
        raise ValueError("a user in HTTP's basic authentication has no colon")
    return Secret(text)


def http_token(text: str) -> Secret:
    """Return the text if it can be a bearer token (RFC 6750, section 2.1)."""
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", text):
        raise ValueError("a bearer token has letters, digits and . _ ~ + / -, with = at its end only")
    return Secret(text)


def feed_key(text: str) -> FeedKey:
    """Return the feed of `region:exchange:request_type`."""
    parts = text.split(":")
    if len(parts) != 3 or not all(re.fullmatch(r"\S+", part) for part in parts):
        raise ValueError("three words, joined by colons, without spaces")
    return FeedKey(*parts)


def feed_glob(text: str) -> str:
    """Return the text if it can match a feed: it has three parts, or a star that may cover several."""
    if "*" not in text and text.count(":") != 2:
        raise ValueError("without * it needs all three parts to match anything")
    return text


def telemetry_path(text: str) -> str:
    """Return the text if it is a path that no other page has."""
    if not re.fullmatch(r"/[\w./~-]+", text, re.ASCII):
        raise ValueError("it must begin with / and hold letters, digits and . _ ~ - /")
    if text.strip("/") == "" or text.split("/")[1] in {"-", "api", "config", "feeds", "programs", "risk", "static"}:
        raise ValueError("/, /-/, /api, /config, /feeds, /programs, /risk and /static are taken")
    return text


def expanded(text: str, env: Mapping[str, str], read_file: Callable[[str], str]) -> tuple[str, list[str]]:
    """Return the text with its references replaced, and the mistakes in them.

    The text is a Secret when a file, or a variable with the name of a secret, contributed to it.
    `$${` is an escaped `${`. Replacements are not expanded again.
    """
    mistakes: list[str] = []
    secrets: list[str] = []

    def replacement(found: re.Match[str]) -> str:
        name = found[1]
        if found[0] == "$${":
            return "${"
        if name is not None and name.startswith("file:"):
            secrets.append(name)
            return _content(name.removeprefix("file:"), read_file, mistakes)
        if name is not None and names_secret(name.partition(":-")[0]):
            secrets.append(name)
        return _variable(found[0], name, env, mistakes)

    result = _REFERENCE.sub(replacement, text)
    if not mistakes and not _is_unicode(result):
        mistakes.append("expected text in UTF-8")
    return (Secret(result) if secrets else result), mistakes


def referenced(text: str, env: Mapping[str, str], read_file: Callable[[str], str]) -> list[str]:
    """Return the secrets that a text refers to: contents of files, and variables with names of secrets."""
    written = (found[0] for found in _REFERENCE.finditer(text))
    values = (expanded(reference, env, read_file)[0] for reference in written)
    return [value for value in values if isinstance(value, Secret)]


def _variable(written: str, name: str | None, env: Mapping[str, str], mistakes: list[str]) -> str:
    found = _VARIABLE.fullmatch(name) if name is not None else None
    if found is None:
        mistakes.append(
            f"got {quoted(written)}, expected ${{NAME}}, ${{NAME:-default}} or ${{file:/path}}, or $${{ for ${{"
        )
        return ""
    value = env.get(found[1])
    if value is None and found[2] is None:
        mistakes.append(f"the environment has no variable {found[1]}")
    return value or found[2] or ""


def _content(path: str, read_file: Callable[[str], str], mistakes: list[str]) -> str:
    try:
        content = read_file(path).strip()
    except OSError as error:
        mistakes.append(f"cannot read {path}: {error.strerror or type(error).__name__}")
        return ""
    except ValueError:
        mistakes.append(f"cannot read {path}: it is not text")
        return ""
    if not content:
        mistakes.append(f"cannot use {path}: it is empty")
    if "\0" in content:
        mistakes.append(f"cannot use {path}: it contains NUL characters, as UTF-16 without a byte order mark does")
    return content


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
