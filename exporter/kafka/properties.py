"""What librdkafka makes of the properties that are passed through to it, found out before a client is needed.

It reads `45s` as 45 and `4294967297` as 1 without a word. Which of its properties are numbers, and from where to where,
only it knows, in each version anew; so it is asked, by values that it refuses before it makes a client of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, Producer
from msgspec.structs import replace

from exporter.config.conflicts import PROPERTY_MAPS, Conflict
from exporter.config.parsers import duration, size
from exporter.config.schema import Config, redacted, shown
from exporter.kafka import clients
from exporter.runtime.redaction import MASK

# The property that ends each question: what librdkafka says of another one it says before.
_UNKNOWN = "no.such.property"
# Below the lowest bound of any number; what is left of it in the refusal tells whether fractions count.
_OUTSIDE, _WHOLE = "-99999999.5", "-99999999"
_RANGE = re.compile(r"value (\S+) is outside allowed range (-?\d+)\.\.(-?\d+)")
_LIKE_A_NUMBER = re.compile(r"\s*[-+]?\.?\d")
_FORMS = {True: re.compile(r"0|-?[1-9]\d*", re.ASCII), False: re.compile(r"-?(0|[1-9]\d*)(\.\d+)?", re.ASCII)}
# What the end of a name says of its unit, and how a text with a unit is turned into it.
_UNITS: tuple[tuple[str, str, Callable[[str], float]], ...] = (
    (".ms", " of milliseconds", lambda text: duration(text) * 1000),
    (".kbytes", " of KiB", lambda text: size(text) / 1024),
    (".bytes", " of bytes", size),
)
_NO_TEXT = re.compile(r"must be set through dedicated|Internal property|requires a callable")
_OTHERS = re.compile(r"is a (\w+) property and will be ignored")
_TRUE = ("true", "t", "1")
NOT_TEXT = "this takes a function or an object of a program, leave it out"
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
    """Yield what is wrong with each property, and only if nothing is, what is wrong with all of them together."""
    found = [conflict for section in PROPERTY_MAPS for conflict in _in_section(config, section)]
    yield from found or [*_protocol(config), *_without_token(config)] or _unusable(config)


def _in_section(config: Config, section: str) -> Iterator[Conflict]:
    for name, value in getattr(config.kafka, section).items():
        if message := _wrong(name, value) or _of_another_client(section, name, value):
            yield Conflict(message, (f"kafka.{section}.{name}",))


# One property.


def _wrong(name: str, value: str) -> str:
    """Return what is wrong with a value, empty when librdkafka takes it for what it says."""
    number, refusal = _range(name), _refusal(name, value)
    if number is not None and (refusal or not number.is_whole or _LIKE_A_NUMBER.match(value)):
        return "" if _is_within(number, value) else f"got {shown(value, name)}, {_expected(name, value, number)}"
    return _explained(name, value, refusal) if refusal else ""


@cache
def _range(name: str) -> _Range | None:
    """Return from where to where a property goes; None when it is no number."""
    found = _RANGE.search(_refusal(name, _OUTSIDE))
    return _Range(int(found[2]), int(found[3]), found[1] == _WHOLE) if found else None


def _refusal(name: str, value: str) -> str:
    """Return why librdkafka does not take a property, empty when it does; no client is made."""
    if name == "logger":  # taken, and called later
        return NOT_TEXT
    try:
        Producer({name: value, _UNKNOWN: ""})
    except KafkaException as error:
        text = str(error.args[0].str()).strip()
        return "" if f'"{_UNKNOWN}"' in text and name != _UNKNOWN else text
    except Exception:  # what the Python library wants for itself, it refuses in many ways
        return "" if name.startswith("sasl.") else NOT_TEXT  # these it wants to see together
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
    return f"got {shown(value, name)}, librdkafka says: {refusal}"


def _of_another_client(section: str, name: str, value: str) -> str:
    """Return whose property it is when the client of the section would ignore it; empty otherwise."""
    if section == "properties":
        return ""
    make = Producer if section == "producer_properties" else _Consumer
    _, said = _tried(partial(make, {name: value}))
    other = _OTHERS.search("\n".join(said))
    return f"this is a property of the {other[1]}, put it into kafka.{other[1]}_properties" if other else ""


# All of them together.


def _protocol(config: Config) -> Iterator[Conflict]:
    """Tell that the addresses name another protocol than the properties; librdkafka would leave such a broker out."""
    configured = config.kafka.properties.get("security.protocol", "plaintext").lower()
    for address in config.kafka.bootstrap_servers.split(","):
        named, separator, _ = address.strip().lower().partition("://")
        if separator and named != configured:
            message = f"got {named}://, and security.protocol in kafka.properties is {configured}: expected the same"
            yield Conflict(message, ("kafka.bootstrap_servers", "kafka.properties.security.protocol"))
            return


def _without_token(config: Config) -> Iterator[Conflict]:
    """Tell that there is nothing to log in by: librdkafka would wait for a token that nobody brings."""
    paths: set[str] = set()
    for own in PROPERTY_MAPS[1:]:
        sections = {name: section for section in ("properties", own) for name in getattr(config.kafka, section)}
        given = {**config.kafka.properties, **getattr(config.kafka, own)}
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


def _fetches_token(given: dict[str, str]) -> bool:
    return given.get("sasl.oauthbearer.method", "").lower() == "oidc"


def _unusable(config: Config) -> Iterator[Conflict]:
    """Tell why a client cannot be made at all."""
    for section, make in _clients(config).items():
        refusal, _ = _tried(make)
        if refusal:
            yield Conflict(re.sub(r"^Failed to create [\w ]+: ", "", refusal), (f"kafka.{section}",))
            return  # the others would say the same again


def remarks(config: Config) -> list[str]:
    """Return what librdkafka has to say about properties that it takes: that they have no effect, or will be gone."""
    said = [line for make in _clients(config).values() for line in _tried(make)[1]]
    texts = [line.partition("]: ")[2] for line in said if line.startswith("CONFWARN ")]
    expected = ("will be ignored by this", "No `bootstrap.servers`")
    return list(dict.fromkeys(text for text in texts if not any(words in text for words in expected)))


def _clients(config: Config) -> dict[str, Callable[..., Any]]:
    """Return what makes the client of each section, one that knows no broker."""
    kafka = config.kafka
    # One that fetches a token would begin to, and end only when that has ended: it is not made after all.
    is_made = not any(_fetches_token({**kafka.properties, **getattr(kafka, section)}) for section in PROPERTY_MAPS)
    more = {} if is_made else {_UNKNOWN: ""}
    nowhere = replace(config, kafka=replace(kafka, bootstrap_servers=""))
    return {
        "properties": partial(clients.admin, nowhere, **more),
        "consumer_properties": partial(_Consumer, clients.consumer_properties(nowhere), **more),
        "producer_properties": partial(clients.producer, nowhere, **more),
    }


class _Consumer(Consumer):
    """A consumer of any group, which takes more properties as a producer of ours does."""

    def __init__(self, properties: dict[str, Any], **more: Any) -> None:
        super().__init__({"group.id": "group", **properties, **more})


def _tried(make: Callable[..., Any]) -> tuple[str, list[str]]:
    """Make a client; return why it cannot be made, and what librdkafka says to that."""
    heard = clients.Heard()
    try:
        client = make(logger=heard.logger)
    except KafkaException as error:
        text = str(error.args[0].str())
        return "" if f'"{_UNKNOWN}"' in text else text, []
    except Exception as error:  # of the Python library: a part of it that is not installed, perhaps
        return " ".join(str(error).split()), []
    client.poll(0)  # what was said is handed out now
    if isinstance(client, Consumer):
        client.close()
    return "", heard.lines
