"""Checks the properties that are passed through to librdkafka, before a client is needed.

librdkafka reads `45s` as 45 and `4294967297` as 1 without an error. Only its present version defines which properties
are numbers and their bounds, so they are read from its refusals of values that are out of every range.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, Producer
from msgspec.structs import replace

from exporter.config.conflicts import PROPERTY_MAPS, Conflict
from exporter.config.display import redacted, shown
from exporter.config.parsers import duration, size
from exporter.config.schema import Config, KafkaConfig
from exporter.kafka import clients, msk
from exporter.kafka.connection_errors import WORDS_MAX
from exporter.runtime.foreign_text import printable
from exporter.runtime.redaction import MASK

# An unknown property, set last: librdkafka refuses any other property first, and makes no client.
_UNKNOWN = "no.such.property"
# Below the lowest bound of any number; the refusal shows whether the fraction was kept.
_OUTSIDE, _WHOLE = "-99999999.5", "-99999999"
_RANGE = re.compile(r"value (\S+) is outside allowed range (-?\d+)\.\.(-?\d+)")
_LIKE_A_NUMBER = re.compile(r"\s*[-+]?\.?\d")
_FORMS = {True: re.compile(r"0|-?[1-9]\d*", re.ASCII), False: re.compile(r"-?(0|[1-9]\d*)(\.\d+)?", re.ASCII)}
# The end of a property's name, its unit, and how a text with a unit is converted to it.
_UNITS: tuple[tuple[str, str, Callable[[str], float]], ...] = (
    (".ms", " of milliseconds", lambda text: duration(text) * 1000),
    (".kbytes", " of KiB", lambda text: size(text) / 1024),
    (".bytes", " of bytes", size),
)
_NO_TEXT = re.compile(r"must be set through dedicated|Internal property|requires a callable")
_OTHERS = re.compile(r"is a (\w+) property and will be ignored")
_TRUE = ("true", "t", "1")
# The brokers of Amazon MSK, provisioned and serverless, name their region.
_MSK_BROKER = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com")
# Properties whose values AWS IAM prescribes. SASL without TLS reaches a proxy on the same machine.
_MSK_NEEDS = {
    "security.protocol": ("SASL_SSL", "SASL_PLAINTEXT"),
    "sasl.mechanism": ("OAUTHBEARER",),
    "sasl.mechanisms": ("OAUTHBEARER",),
    "sasl.oauthbearer.method": ("DEFAULT",),
}
# What the files of properties have to be.
_FILES = {
    "ssl.ca.location": "a PEM file with the certificates of authorities, or a folder of them",
    "ssl.certificate.location": "a PEM file with the certificate of this client",
    "ssl.crl.location": "a PEM file with a list of revoked certificates",
    "ssl.key.location": "the PEM file of the key of ssl.certificate.location, and in ssl.key.password its passphrase",
    "ssl.keystore.location": "a PKCS#12 file with key and certificate, and in ssl.keystore.password its password",
}
NOT_TEXT = "this property needs a function or an object of a program, leave it out"
NOTHING_TO_SHOW = (
    "OAUTHBEARER needs a token, set sasl.oauthbearer.method: oidc, sasl.oauthbearer.token.endpoint.url, "
    "sasl.oauthbearer.client.id and sasl.oauthbearer.client.secret"
)
NO_CLAIMS = "a token without signature needs sasl.oauthbearer.config, such as principal=marketdata"


class _Range(NamedTuple):
    low: int
    high: int
    is_whole: bool


def mistakes(config: Config) -> Iterator[Conflict]:
    """Yield the mistakes in single properties, or if there are none, those of all properties together."""
    found = [conflict for section in PROPERTY_MAPS for conflict in _in_section(config, section)]
    yield from found or [*_protocol(config), *_without_token(config), *_msk(config)] or _unusable(config)


def _in_section(config: Config, section: str) -> Iterator[Conflict]:
    for name, value in getattr(config.kafka, section).items():
        if message := _wrong(name, value) or _of_another_client(section, name, value):
            yield Conflict(message, (f"kafka.{section}.{name}",))


# One property.


def _wrong(name: str, value: str) -> str:
    """Return what is wrong with a value, empty when librdkafka reads it as it is written."""
    number, refusal = _range(name), _refusal(name, value)
    if number is not None and (refusal or not number.is_whole or _LIKE_A_NUMBER.match(value)):
        return "" if _is_within(number, value) else f"got {shown(value, name)}, {_expected(name, value, number)}"
    return _explained(name, value, refusal) if refusal else ""


@cache
def _range(name: str) -> _Range | None:
    """Return the range of a property; None when it is not a number."""
    found = _RANGE.search(_refusal(name, _OUTSIDE))
    return _Range(int(found[2]), int(found[3]), found[1] == _WHOLE) if found else None


def _refusal(name: str, value: str) -> str:
    """Return why librdkafka refuses a property, empty when it does not; no client is made."""
    if name == "logger":  # accepted, and called later
        return NOT_TEXT
    try:
        Producer({name: value, _UNKNOWN: ""})
    except KafkaException as error:
        text = str(error.args[0].str()).strip()
        return "" if f'"{_UNKNOWN}"' in text and name != _UNKNOWN else text
    except Exception:  # the Python library raises various errors for its own properties
        return "" if name.startswith("sasl.") else NOT_TEXT  # these are checked together
    return ""


def _is_within(number: _Range, value: str) -> bool:
    is_plain = _FORMS[number.is_whole].fullmatch(value) is not None and len(value) < 20
    return is_plain and number.low <= float(value) <= number.high


def _expected(name: str, value: str, number: _Range) -> str:
    kind = "a whole number" if number.is_whole else "a number"
    suffix, unit, parse = next((each for each in _UNITS if name.endswith(each[0])), ("", "", size))
    words = f"expected {kind}{unit} from {number.low} to {number.high}"
    if not suffix or _FORMS[False].fullmatch(value) or redacted(value, name) == MASK:
        return words
    try:
        instead = f"{parse(value):.12g}"
    except ValueError:
        return words
    return f"{words}, such as {instead}" if _is_within(number, instead) else words


def _explained(name: str, value: str, refusal: str) -> str:
    if refusal.startswith("No such configuration property"):
        dotted = re.sub("[_-]", ".", name).lower()
        is_known = dotted != name and not _refusal(dotted, _OUTSIDE).startswith("No such")
        return "librdkafka has no such property" + (f", did you mean {dotted}?" if is_known else "")
    if refusal == NOT_TEXT or _NO_TEXT.search(refusal):
        return NOT_TEXT
    return f"got {shown(value, name)}, librdkafka refuses it: {refusal}"


def _of_another_client(section: str, name: str, value: str) -> str:
    """Return which client has the property when the one of the section would ignore it; empty otherwise."""
    if section == "properties":
        return ""
    make = Producer if section == "producer_properties" else _Consumer
    _, lines = _try_to_make(partial(make, {name: value}))
    other = _OTHERS.search("\n".join(lines))
    return f"this is a property of the {other[1]}, put it into kafka.{other[1]}_properties" if other else ""


# All of them together.


def _protocol(config: Config) -> Iterator[Conflict]:
    """Yield that the addresses name another protocol than the properties; librdkafka would ignore such brokers."""
    configured = {"security.protocol": "plaintext", **msk.login(config), **config.kafka.properties}
    protocol = configured["security.protocol"].lower()
    for address in config.kafka.bootstrap_servers.split(","):
        named, separator, _ = address.strip().lower().partition("://")
        if separator and named != protocol:
            message = f"got {named}://, and security.protocol in kafka.properties is {protocol}: expected the same"
            yield Conflict(message, ("kafka.bootstrap_servers", "kafka.properties.security.protocol"))
            return


def _without_token(config: Config) -> Iterator[Conflict]:
    """Yield that no token is configured: librdkafka would wait for it without end."""
    paths: set[str] = set()
    for own in PROPERTY_MAPS[1:]:
        sections = {name: section for section in ("properties", own) for name in getattr(config.kafka, section)}
        given = {**msk.login(config), **config.kafka.properties, **getattr(config.kafka, own)}
        name = next((name for name in ("sasl.mechanism", "sasl.mechanisms") if name in given), "")
        message = _no_token(given, given.get(name, ""))
        path = f"kafka.{sections.get(name, '')}.{name}"
        if message and path not in paths:
            paths.add(path)
            yield Conflict(message, (path,))


def _no_token(given: dict[str, str], mechanism: str) -> str:
    is_used = given.get("security.protocol", "").lower().startswith("sasl") and mechanism.upper() == "OAUTHBEARER"
    if not is_used or _fetches_token(given):
        return ""
    if given.get("enable.sasl.oauthbearer.unsecure.jwt", "").lower() not in _TRUE:
        return NOTHING_TO_SHOW
    return "" if given.get("sasl.oauthbearer.config", "").strip() else NO_CLAIMS


def _fetches_token(given: Mapping[str, Any]) -> bool:
    return "oauth_cb" in given or given.get("sasl.oauthbearer.method", "").lower() == "oidc"


def _msk(config: Config) -> Iterator[Conflict]:
    """Yield what contradicts `kafka.msk_iam_region`, and that the library for it is missing."""
    key, region = "kafka.msk_iam_region", config.kafka.msk_iam_region
    if region is None:
        return
    if not msk.is_installed():
        yield Conflict("the library that signs is not installed, expected the extra marketdata-exporter[msk]", (key,))
    named = {found[1] for found in _MSK_BROKER.finditer(config.kafka.bootstrap_servers)}
    if named - {region}:
        message = f"got {shown(region)}, and the brokers are in {', '.join(sorted(named))}: expected the same"
        yield Conflict(message, (key, "kafka.bootstrap_servers"))
    for section in PROPERTY_MAPS:
        for name, value in getattr(config.kafka, section).items():
            if name in _MSK_NEEDS and value.strip().upper() not in _MSK_NEEDS[name]:
                message = f"got {shown(value, name)}, expected {_MSK_NEEDS[name][0]} with {key}, or leave it out"
                yield Conflict(message, (f"kafka.{section}.{name}", key))


def _unusable(config: Config) -> Iterator[Conflict]:
    """Yield why a client cannot be made."""
    for section, make in _clients(config).items():
        refusal, _ = _try_to_make(make)
        if refusal:
            yield _refused(config.kafka, section, refusal)
            return  # the other clients fail for the same reason


def tls_refusal(kafka: KafkaConfig) -> str:
    """Return why no client can be made with the certificates, keys and authorities; empty when it can."""
    for section in PROPERTY_MAPS:
        given = {**kafka.properties, **getattr(kafka, section)}
        tls = {name: value for name, value in given.items() if name.startswith("ssl.")}
        if tls and (refusal := _try_to_make(partial(_Producer, {**tls, "security.protocol": "ssl"}))[0]):
            conflict = _refused(kafka, section, refusal)
            return f"{conflict.paths[0]}: {conflict.message}"
    return ""


def _refused(kafka: KafkaConfig, section: str, refusal: str) -> Conflict:
    """Return a refusal of librdkafka, in more detail if it is about a file."""
    text = re.sub(r"^Failed to create [\w ]+: ", "", refusal)
    name, _, reason = text.partition(" failed: ")
    found = [each for each in (section, "properties") if name in getattr(kafka, each)]
    if not found or name not in _FILES:
        return Conflict(text, (f"kafka.{section}",))
    value: str = getattr(kafka, found[0])[name]
    try:
        Path(value).open("rb").close()
        detail = f"cannot use {value}: {reason}"
    except (OSError, ValueError) as error:
        detail = f"cannot read {value}: {getattr(error, 'strerror', None) or error}"
    return Conflict(f"{detail}; expected {_FILES[name]}", (f"kafka.{found[0]}.{name}",))


def remarks(config: Config) -> list[str]:
    """Return librdkafka's warnings about accepted properties: that they have no effect, or are deprecated."""
    lines = [line for make in _clients(config).values() for line in _try_to_make(make)[1]]
    texts = [line.partition("]: ")[2] for line in lines if line.startswith("CONFWARN ")]
    expected = ("will be ignored by this", "No `bootstrap.servers`")
    return list(dict.fromkeys(text for text in texts if not any(words in text for words in expected)))


def _clients(config: Config) -> dict[str, Callable[..., Any]]:
    """Return for each section a function that makes its client, without a broker."""
    kafka = config.kafka
    # A client that fetches a token would start to, and could not be closed before it has one: it is not made.
    login = msk.login(config)
    is_made = not any(_fetches_token({**login, **kafka.properties, **getattr(kafka, each)}) for each in PROPERTY_MAPS)
    more = {} if is_made else {_UNKNOWN: ""}
    nowhere = replace(config, kafka=replace(kafka, bootstrap_servers=""))
    return {
        "properties": partial(clients.admin, nowhere, **more),
        "consumer_properties": partial(_Consumer, clients.consumer_properties(nowhere), **more),
        "producer_properties": partial(clients.producer, nowhere, **more),
    }


class _Consumer(Consumer):
    """A consumer with a group, and more properties as keyword arguments."""

    def __init__(self, properties: dict[str, Any], **more: Any) -> None:
        super().__init__({"group.id": "group", **properties, **more})


class _Producer(Producer):
    """A producer with more properties as keyword arguments."""

    def __init__(self, properties: dict[str, Any], **more: Any) -> None:
        super().__init__({**properties, **more})


def _try_to_make(make: Callable[..., Any]) -> tuple[str, list[str]]:
    """Make a client; return why it cannot be made, and the lines that librdkafka logs."""
    log = clients.LineCollector()
    try:
        client = make(logger=log.logger)
    except KafkaException as error:
        text = str(error.args[0].str())
        return "" if f'"{_UNKNOWN}"' in text else text, []
    except Exception as error:  # of the Python library, as when an optional part of it is not installed
        return printable(str(error), WORDS_MAX), []
    client.poll(0)  # delivers the log lines
    if isinstance(client, Consumer):
        client.close()
    return "", log.lines
