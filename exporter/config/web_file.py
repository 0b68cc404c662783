"""The web configuration file of Prometheus' exporter-toolkit: TLS, client certificates, passwords, headers, rate limit.

Pure: the text is an argument, and the files that it names are not read here. Text contains no references.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated

from msgspec import Meta, UnsetType, field

from exporter.config import parsers
from exporter.config.conflicts import Conflict
from exporter.config.display import shown
from exporter.config.layers import Given, Problem, from_file
from exporter.config.loader import ConfigError, SectionReader
from exporter.config.parsers import Secret
from exporter.config.section import Section, count, secret

# The cost is the binary logarithm of the rounds; 18 takes some 20 s, and each more doubles that.
COST_MIN, COST_MAX = 4, 18
_LINE_MIN = 16
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_DURATION = re.compile(r"0|(?:\d+(?:\.\d+)?(?:ms|s|m|h))+", re.ASCII)
# What may be a header's value; a line end would begin another header.
_FIELD_VALUE = re.compile(r"[ -~]*")
HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
# The names of Go and of OpenSSL. TLS 1.3 has suites of its own, which neither lets choose here.
_MODERN = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
CIPHERS: Mapping[str, str] = {
    **dict.fromkeys(_MODERN, ""),
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}

UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
VERIFIED = ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")


def _one_of(names: Iterable[str], refused: Mapping[str, str] = {}) -> Meta:
    """Describe a word; `refused` has the reasons why others of the format are not possible."""
    allowed = tuple(names)

    def parse(text: str) -> str:
        if text in refused:
            raise ValueError(refused[text])
        return text

    pattern = rf"\A(?:{'|'.join(map(re.escape, allowed))})\Z"
    return Meta(pattern=pattern, description=f"one of {', '.join(allowed)}", extra={"parse": parse})


def _hash(text: str) -> Secret:
    found = _BCRYPT.fullmatch(text)
    if found is None or not COST_MIN <= int(found[1]) <= COST_MAX:
        raise ValueError
    return Secret(text)


def _interval(text: str | float) -> float:
    if text != 0 and not _DURATION.fullmatch(str(text)):
        raise ValueError("units are ms, s, m and h")
    return parsers.duration(text)


_VERSION = _one_of(("TLS12", "TLS13"), dict.fromkeys(("TLS10", "TLS11"), "OpenSSL no longer offers it"))
_AUTH_TYPE = _one_of(
    ("NoClientCert", *VERIFIED), dict.fromkeys(UNVERIFIED, "Python cannot request a certificate without verifying it")
)


class TlsConfig(Section, frozen=True, kw_only=True):
    """Certificate of the server, which certificates clients need, and versions and algorithms."""

    cert: str | None = None
    key: Annotated[str, secret("a private key in PEM")] | None = None
    cert_file: str | None = None
    key_file: str | None = None
    client_auth_type: Annotated[str, _AUTH_TYPE] | None = None
    client_ca: str | None = None
    client_ca_file: str | None = None
    client_allowed_sans: Annotated[
        tuple[Annotated[str, Meta(min_length=1, description="a name, an address or a URI")], ...],
        Meta(
            min_length=1, max_length=10_000, description="a list of 1 to 10000 names, such as [prometheus.example.com]"
        ),
    ] = ()
    min_version: Annotated[str, _VERSION] = "TLS12"
    max_version: Annotated[str, _VERSION] = "TLS13"
    cipher_suites: Annotated[
        tuple[Annotated[str, _one_of(CIPHERS)], ...], Meta(max_length=100, description="a list of suites")
    ] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: Annotated[
        tuple[Annotated[str, _one_of(CURVES)], ...], Meta(max_length=100, description="a list of curves")
    ] = ()

    @property
    def is_enabled(self) -> bool:
        """Return whether the file asks for TLS: as the toolkit has it, one of the keys about certificates is given."""
        given = (self.cert, self.cert_file, self.key, self.key_file, self.client_ca, self.client_ca_file)
        return any(value is not None for value in (*given, self.client_auth_type))

    @property
    def verifies_clients(self) -> bool:
        """Return whether certificates of clients are verified."""
        return self.client_auth_type in VERIFIED


class HttpConfig(Section, frozen=True, kw_only=True):
    """Headers of responses; `http2` has no effect, as clients and server agree on HTTP/1.1."""

    http2: bool = True
    headers: dict[str, str] = field(default_factory=dict)


class RateLimit(Section, frozen=True, kw_only=True):
    """A token bucket for all requests: one each `interval` seconds, and `burst` at once; 0 means no limit."""

    interval: Annotated[
        float,
        Meta(ge=0, le=86_400, description="0 or a duration such as 100ms or 1s", extra={"parse": _interval}),
    ] = 0.0
    burst: Annotated[int, count(0, 1_000_000)] = 0


class WebFile(Section, frozen=True, kw_only=True):
    """The whole file."""

    tls_server_config: TlsConfig = TlsConfig()
    http_server_config: HttpConfig = HttpConfig()
    basic_auth_users: dict[
        str, Annotated[str, secret(f"a bcrypt hash with a cost of {COST_MIN} to {COST_MAX}, such as $2y$10$...", _hash)]
    ] = field(default_factory=dict)
    rate_limit: RateLimit = RateLimit()


def parse_web_file(text: str, on_secrets: Callable[[Iterable[str]], object] = tuple) -> WebFile:
    """Return the content of a file; raise ConfigError with all its mistakes. `on_secrets` gets the secrets in it."""
    problems: list[Problem] = []
    tree = _prepared(from_file(text, problems))
    on_secrets(_secrets(tree))
    reader = _LiteralReader({}, _no_file, problems)
    found: WebFile = reader.section(WebFile, "", [tree])
    if not problems:
        problems += [reader.problem(conflict) for conflict in _conflicts(found)]
    if problems:
        raise ConfigError(tuple(dict.fromkeys(problems)))
    return found


def uses_tls(text: str) -> bool:
    """Return whether a server with this file uses TLS; a file with mistakes may have been changed since its start."""
    try:
        return parse_web_file(text).tls_server_config.is_enabled
    except ConfigError:
        return "tls_server_config" in text


class _LiteralReader(SectionReader):
    """Reader of a file in which `${` begins no reference."""

    def other_keys(self) -> Iterable[str]:
        """See SectionReader."""
        return ()

    def expanded(self, path: str, text: str, given: Given) -> str | UnsetType:
        """See SectionReader."""
        return text


def _no_file(path: str) -> str:
    raise OSError(path)


def _prepared(given: Given, *path: str) -> Given:
    """Return the tree without keys that are null, as in Go, and with its secrets marked: messages quote no mistake."""
    if isinstance(given.value, dict):
        inner = {name: _prepared(value, *path, name) for name, value in given.value.items() if value.value is not None}
        return given._replace(value=inner)
    is_secret = path[:1] == ("basic_auth_users",) or path == ("tls_server_config", "key")
    if not is_secret or isinstance(given.value, list):
        return given
    return Given(Secret(given.text if given.text is not None else given.value), given.place)


def _secrets(given: Given) -> Iterator[str]:
    if isinstance(given.value, dict):
        for inner in given.value.values():
            yield from _secrets(inner)
    elif isinstance(given.value, Secret):
        # A private key has lines; a text may quote one of them.
        yield from (given.value, *(line for line in given.value.split() if len(line) > _LINE_MIN))


def _conflicts(file: WebFile) -> Iterator[Conflict]:
    if file.tls_server_config.is_enabled:
        yield from _tls_conflicts(file.tls_server_config)
    elif file.tls_server_config != TlsConfig():
        message = "has no effect, expected cert_file and key_file, or cert and key, as well"
        yield Conflict(message, ("tls_server_config",))
    for name, value in file.http_server_config.headers.items():
        yield from _header_conflicts(name, value)
    if any(not user or ":" in user for user in file.basic_auth_users):
        # Not quoted: the rest of the name may be the password.
        yield Conflict("a name is empty or has a colon, expected users without colon", ("basic_auth_users",))
    if file.rate_limit.interval and not file.rate_limit.burst:
        message = "got 0, which allows no request, expected at least 1 with an interval"
        yield Conflict(message, ("rate_limit.burst",))


def _tls_conflicts(tls: TlsConfig) -> Iterator[Conflict]:
    path = "tls_server_config"
    for name in ("cert", "key", "client_ca"):
        inline, file = getattr(tls, name), getattr(tls, f"{name}_file")
        if inline is not None and file is not None:
            yield Conflict(f"is given beside {name}_file, expected one of the two", (f"{path}.{name}",))
        if name != "client_ca" and inline is None and file is None:
            yield Conflict(f"missing, expected {name}_file or {name}", (f"{path}.{name}_file",))
    has_authority = tls.client_ca is not None or tls.client_ca_file is not None
    if has_authority and not tls.verifies_clients:
        message = f"verifies no certificate, so client_ca has no effect, expected {' or '.join(VERIFIED)}"
        yield Conflict(message, (f"{path}.client_auth_type",))
    if tls.verifies_clients and not has_authority:
        message = (
            "missing, expected client_ca_file or client_ca: the authority that has signed the clients' certificates"
        )
        yield Conflict(message, (f"{path}.client_ca_file",))
    if tls.client_allowed_sans and tls.client_auth_type != VERIFIED[1]:
        message = f"a client may have no certificate, expected client_auth_type {VERIFIED[1]}"
        yield Conflict(message, (f"{path}.client_allowed_sans",))
    if tls.min_version > tls.max_version:
        yield Conflict("got TLS13, expected at most max_version (TLS12)", (f"{path}.min_version",))
    if tls.max_version == "TLS12" and tls.cipher_suites and not any(CIPHERS[name] for name in tls.cipher_suites):
        yield Conflict("has suites of TLS 1.3 only, expected one of TLS 1.2", (f"{path}.cipher_suites",))


def _header_conflicts(name: str, value: str) -> Iterator[Conflict]:
    path = f"http_server_config.headers.{name}"
    if name not in HEADERS:
        yield Conflict(f"this header cannot be configured, expected one of {', '.join(HEADERS)}", (path,))
    elif value and HEADERS[name] and value not in HEADERS[name]:
        yield Conflict(f"got {shown(value)}, expected {' or '.join(HEADERS[name])}", (path,))
    elif not _FIELD_VALUE.fullmatch(value):
        yield Conflict(f"got {shown(value)}, expected one line of ASCII", (path,))
