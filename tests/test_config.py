"""The configuration: layers, references, secrets and every mistake at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli import load_config
from exporter.config.conflicts import RESERVED_FIELDS
from exporter.config.display import redacted
from exporter.config.files import decoded
from exporter.config.loader import ConfigError, keys, load
from exporter.config.schema import (
    BacklogLimits,
    Config,
    CreateTopics,
    ExpectedFeed,
    KafkaConfig,
    OutputConfig,
    RedisConfig,
)
from exporter.decoding.batch import Message
from exporter.kafka.arguments import configure
from exporter.model import FeedKey

INVALID = Path(__file__).parent / "data" / "invalid-configs"
SECRETS = {"/run/secrets/password": "hunter2\n", "/run/secrets/empty": " \n"}


def read_secret(path: str) -> str:
    if path.endswith("binary"):
        return b"\xff".decode()
    if path not in SECRETS:
        raise FileNotFoundError(2, "No such file or directory", path)
    return SECRETS[path]


def configured(
    text: str | None = None, env: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> Config:
    return load(text, env or {}, flags or {}, hostname="box-1", read_file=read_secret)


def mistakes(
    text: str | None = None, env: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        configured(text, env, flags)
    return str(caught.value).split("\n")


def test_nothing_given_is_the_defaults_and_the_name_of_the_host() -> None:
    """Without file, environment and flags a sidecar is named after its host."""
    assert configured() == Config(instance="box-1")
    assert configured(None, {"HOSTNAME": "pod-7"}).instance == "pod-7"


@pytest.mark.parametrize("text", ["", "# nothing\n", "null", "kafka:\ninput:\n  limits:\n", "{}"])
def test_empty_sections_are_the_defaults(text: str) -> None:
    """A section whose keys are all commented out is the same as none."""
    assert configured(text) == configured()


def test_environment_wins_over_file_and_flags_over_both() -> None:
    """Each layer decides only the keys that it mentions."""
    config = configured(
        "log: {level: debug, format: json}\nweb: {listen_address: ':1', telemetry_path: /m}",
        {"MARKETDATA_LOG__LEVEL": "warn", "MARKETDATA_WEB__LISTEN_ADDRESS": ":2"},
        {"web.listen_address": ":3"},
    )
    assert (config.log.level, config.log.format) == ("warn", "json")
    assert (config.web.listen_address, config.web.telemetry_path) == (":3", "/m")


def test_environment_values_are_yaml() -> None:
    """Lists, mappings, numbers and null are written in the environment as in the file."""
    env = {
        "MARKETDATA_INPUT__TOPICS": "[a, ^b]",
        "MARKETDATA_OUTPUT__BACKLOG": "{events: 5, age: 1m30s}",
        "MARKETDATA_OUTPUT__BACKLOG__BYTES": "1 MiB",
        "MARKETDATA_OUTPUT__BATCH_EVENTS": "false",
        "MARKETDATA_REDIS__URL": "",
    }
    config = configured("redis: {url: 'redis://redis'}", env)
    assert config.input.topics == ("a", "^b")
    assert config.output.backlog == BacklogLimits(events=5, age=90.0, bytes=2**20)
    assert config.output.batch_events is False
    assert config.redis.url is None


@pytest.mark.parametrize("text", ["[::1]:8000", "'[::1]:8000'"])
def test_environment_text_that_is_not_yaml_is_text(text: str) -> None:
    """An address in brackets needs no quotes in the environment."""
    assert configured(None, {"MARKETDATA_WEB__LISTEN_ADDRESS": text}).web.listen_address == "[::1]:8000"


@pytest.mark.parametrize("text", ["0123", "true", "null", "1.50"])
def test_what_looks_like_another_type_is_taken_as_written_where_text_is_wanted(text: str) -> None:
    """A group called 0123 keeps its zero."""
    assert configured(None, {"MARKETDATA_INPUT__GROUP": text}).input.group == text


def test_numbers_in_a_file_are_taken_as_written_where_text_is_wanted() -> None:
    """Properties and names need no quotes around numbers, true and false."""
    config = configured("input: {group: 010}\nkafka: {properties: {linger.ms: 5, log.queue: true, x: 1.50}}")
    assert config.input.group == "010"
    assert config.kafka.properties == {"linger.ms": "5", "log.queue": "true", "x": "1.50"}


@pytest.mark.parametrize("password", ["#a b", "a: b", "*x", "0123", "null", "'q'", "a #b", "{", " "])
def test_property_variables_are_taken_as_they_stand(password: str) -> None:
    """A password needs no YAML quoting, whatever it holds; nor by a dotted path."""
    env = {"MARKETDATA_KAFKA__PROPERTIES__SASL_PASSWORD": password}
    for config in (configured(None, env), configured(None, None, {"kafka.properties.sasl.password": password})):
        assert config.kafka.properties == {"sasl.password": password}


CREDENTIALS = ("redis.username", "redis.password", "output.schema_registry_username", "output.schema_registry_password")
# Base64 as it comes out of a vault, and what YAML, URLs and references would understand otherwise.
PASSWORDS = (
    "ab+/cd==",
    "p@ss:w/rd",
    "#a b",
    "a: b",
    "*x",
    "0123",
    "1e5",
    "null",
    "'q'",
    "{",
    "%2F",
    "\u00e4\ud55c",
    "a b",
)


@pytest.mark.parametrize("path", CREDENTIALS)
@pytest.mark.parametrize("password", PASSWORDS)
def test_users_and_passwords_are_taken_as_they_stand_and_shown_nowhere(path: str, password: str) -> None:
    """From a variable, a flag, a file of secrets, the YAML file and Python; a user for HTTP has no colon."""
    password = password.replace(":", "") if path.endswith("registry_username") else password
    section, _, key = path.partition(".")
    found = [
        configured(None, {f"MARKETDATA_{section.upper()}__{key.upper()}": password}),
        configured(None, None, {path: password}),
        configured(None, None, {section: {key: password}}),
        configured(yaml.safe_dump({section: {key: password}})),
        configure({path: password}, None),
        load(f"{section}: {{{key}: '${{file:/x}}'}}", {}, {}, hostname="x", read_file=lambda _: f"{password}\r\n"),
    ]
    for config in found:
        value = getattr(getattr(config, section), key)
        assert value == password
        assert repr(value) == redacted(config)[section][key] == "<secret>"
        assert f"{key}': '<secret>'" in repr(config)


def test_a_password_of_python_is_no_reference() -> None:
    """Nor is one that looks like an escaped one."""
    for password in ("${HOME}", "$${x}", "${file:/etc/passwd}", "${"):
        assert configure({"redis.password": password}, None).redis.password == password


def test_an_empty_variable_is_no_password() -> None:
    assert configured("redis: {password: a}", {"MARKETDATA_REDIS__PASSWORD": ""}).redis.password is None


def test_user_in_the_url_and_password_beside_it_go_together() -> None:
    config = configured("redis: {url: 'redis://collector@redis', password: a}")
    assert (config.redis.url, config.redis.password) == ("redis://collector@redis", "a")


# Byte order marks and ends of lines.


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_files_of_any_editor_hold_the_same(encoding: str, end: str, tmp_path: Path) -> None:
    """The configuration file and a secret in it; white space inside a secret stays."""
    secret, file = tmp_path / "secret", tmp_path / "sidecar.yml"
    secret.write_bytes(f"p\u00e4ss w\tord{end}".encode(encoding))
    file.write_bytes(f"redis: {{password: '${{file:{secret}}}'}}{end}log: {{level: warn}}{end}".encode(encoding))
    config = load_config(str(file), {}, {}) if end else configure({}, {"redis": {"password": f"${{file:{secret}}}"}})
    assert config.redis.password == "p\u00e4ss w\tord"
    assert config.log.level == ("warn" if end else "info")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff")))
def test_a_mark_is_no_part_of_the_text(text: str) -> None:
    """Text has no NUL: after the mark of UTF-16 it would make that of UTF-32."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert decoded(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("pw".encode("utf-16-le"), "it contains NUL characters"),
        (b"\xff\xfep", "it is not text"),
        (b"\xe4", "it is not text"),
    ],
)
def test_files_in_other_encodings_are_refused_in_words(content: bytes, said: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        configure({}, {"redis": {"password": f"${{file:{secret}}}"}})


def test_variables_from_a_file_with_mark_and_carriage_returns_are_understood() -> None:
    """As Windows' editors write environment files, and as a shell puts a secret into a variable."""
    env = {"\ufeffMARKETDATA_LOG__LEVEL": "warn\r", "MARKETDATA_REDIS__PASSWORD": "\ufeffpass word\r", "NAME": "x\r"}
    config = configured("input: {group: '${NAME}'}", env)
    assert (config.log.level, config.redis.password, config.input.group) == ("warn", "pass word", "x")


def test_property_maps_of_all_layers_add_up() -> None:
    """A variable or flag for one property leaves the others as the file has them."""
    env = {"MARKETDATA_KAFKA__PROPERTIES": "{b: 2, c: 2}", "MARKETDATA_KAFKA__PROPERTIES__C_D": "3"}
    config = configured("kafka: {properties: {a: 1, b: 1}}", env, {"kafka.properties.e.f": 4})
    assert config.kafka.properties == {"a": "1", "b": "2", "c": "2", "c.d": "3", "e.f": "4"}


def test_null_takes_back_what_lower_layers_said() -> None:
    """The environment can empty a map and switch off the creation of topics."""
    text = "kafka: {properties: {a: 1}}\noutput: {create_topics: {partitions: 3}}"
    env = {"MARKETDATA_KAFKA__PROPERTIES": "null", "MARKETDATA_OUTPUT__CREATE_TOPICS": "null"}
    config = configured(text, env)
    assert config.kafka.properties == {}
    assert config.output.create_topics is None


def test_an_empty_mapping_asks_for_topics_with_the_defaults() -> None:
    """A flag can ask for creation without saying how."""
    assert configured(None, {}, {"output.create_topics": {}}).output.create_topics == CreateTopics()


def test_expected_feeds_are_words_or_mappings() -> None:
    """A feed alone and a feed with its symbols stand in one list."""
    config = configured("feeds: {expected: [korea:upbit:ticker, {feed: a:b:c, symbols: [KRW-BTC]}]}")
    assert config.feeds.expected == (
        ExpectedFeed(feed=FeedKey("korea", "upbit", "ticker")),
        ExpectedFeed(feed=FeedKey("a", "b", "c"), symbols=("KRW-BTC",)),
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}-${B}", "one-"),
        ("${A:-x}", "one"),
        ("${B:-x}", "x"),
        ("${C:-x y}", "x y"),
        ("$${A}", "${A}"),
        ("${LOOKS}", "${A}"),
        ("$A", "$A"),
    ],
)
def test_references_to_the_environment_are_expanded_once(text: str, value: str) -> None:
    """${NAME} and ${NAME:-default} stand for values, and a value is not looked at again."""
    env = {"A": "one", "B": "", "LOOKS": "${A}"}
    assert configured(f"kafka: {{properties: {{x: '{text}'}}}}", env).kafka.properties["x"] == value


def test_references_stand_for_numbers_and_null_too() -> None:
    """An expanded text is read as the type that its key has."""
    text = "input: {limits: {depth: '${D}'}}\noutput: {enabled: '${E}'}\nredis: {url: '${U:-}', queue: '${D}'}"
    config = configured(text, {"D": "7", "E": "false"})
    assert (config.input.limits.depth, config.output.enabled, config.redis) == (7, False, RedisConfig(queue=7))


def test_secrets_come_from_files_and_are_shown_nowhere() -> None:
    """The content is used without its white space, and masked in repr and redacted alike."""
    config = configured(
        "instance: 'x-${file:/run/secrets/password}'\n"
        "kafka: {properties: {unsuspicious: '${file:/run/secrets/password}'}}\n"
        "redis: {url: 'redis://:${file:/run/secrets/password}@redis'}"
    )
    assert config.kafka.properties["unsuspicious"] == "hunter2"
    assert config.redis.url == "redis://:hunter2@redis"
    assert "hunter2" not in f"{config} {config.kafka!r} {redacted(config)}"
    assert redacted(config)["instance"] == "<secret>"


@pytest.mark.parametrize(
    "name",
    ["sasl.password", "ssl.key.pem", "ssl.keystore.password", "sasl.oauthbearer.client.secret", "sasl.jaas.config",
     "basic.auth.user.info", "ssl.key.location", "access_token"],
)  # fmt: skip
def test_properties_with_the_names_of_secrets_are_masked(name: str) -> None:
    """What librdkafka calls its secrets is known."""
    kafka = KafkaConfig(producer_properties={name: "hunter2", "linger.ms": "5"})
    assert redacted(kafka)["producer_properties"] == {name: "<secret>", "linger.ms": "5"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:hunter2@redis:6379/0", "redis://user:<secret>@redis:6379/0"),
        ("redis://:hunt@r/2@redis", "redis://:<secret>@redis"),
        ("redis://redis?password=hunter2&db=1", "redis://redis?password=<secret>&db=1"),
        ("redis://redis:6379", "redis://redis:6379"),
    ],
)
def test_passwords_in_urls_are_masked(url: str, shown: str) -> None:
    """User, host and path of a URL stay readable, its password does not."""
    assert redacted(Config(redis=RedisConfig(url=url)))["redis"]["url"] == shown


def test_the_redacted_configuration_without_secrets_can_be_loaded_again() -> None:
    """What /config shows is a configuration."""
    text = "feeds: {expected: [{feed: a:b:c, symbols: [X]}]}\noutput: {create_topics: {retention: 1h}}"
    config = configured(text)
    assert configured(yaml.safe_dump(redacted(config))) == config


@pytest.mark.parametrize("path", sorted(INVALID.glob("*.yml")), ids=lambda path: path.stem)
def test_every_mistake_is_told_at_once(path: Path) -> None:
    """Each file of tests/data/invalid-configs ends with the errors that it causes."""
    text = path.read_text()
    assert mistakes(text) == re.findall(r"^# error: (.*)$", text, re.MULTILINE)


def test_unknown_variables_are_mistakes_with_the_name_that_was_meant() -> None:
    """One underscore in place of two is recognised."""
    assert mistakes(None, {"MARKETDATA_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}) == [
        "kafka_bootstrap_servers: unknown key, did you mean MARKETDATA_KAFKA__BOOTSTRAP_SERVERS?"
        " (MARKETDATA_KAFKA_BOOTSTRAP_SERVERS)"
    ]


def test_mistakes_in_variables_and_flags_name_them() -> None:
    """The place of a mistake is the variable or flag that brought it in."""
    assert mistakes("log: {level: info}", {"MARKETDATA_LOG__LEVEL": "loud"}, {"web.listen_adress": ":1"}) == [
        "web.listen_adress: unknown key, did you mean --web.listen-address? (--web.listen-adress)",
        'log.level: got "loud", expected debug, info, warn or error (MARKETDATA_LOG__LEVEL)',
    ]


def test_variables_that_kubernetes_makes_for_a_service_are_no_mistakes() -> None:
    """A service called marketdata-exporter puts variables into every pod."""
    names = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8000_TCP", "PORT_8000_TCP_ADDR")
    env = {f"MARKETDATA_{service}{name}": "x" for service in ("", "EXPORTER_") for name in names}
    assert configured(None, env) == configured()
    assert not [path for path in keys() if path.endswith(("_port", "_host"))]


def test_text_that_is_not_unicode_is_a_mistake() -> None:
    """Bytes of the environment that are not UTF-8 reach no library."""
    env = {"MARKETDATA_KAFKA__PROPERTIES__CLIENT_ID": "\udcff"}
    assert mistakes(None, env) == [f"kafka.properties.client.id: expected text in UTF-8 ({next(iter(env))})"]


def test_secrets_in_a_broken_file_are_not_quoted() -> None:
    """A password that YAML takes for an alias does not appear in the error."""
    assert "hunter2" not in mistakes("kafka: {properties: {sasl.password: *hunter2}}")[0]


def test_aliases_are_allowed_and_cannot_multiply() -> None:
    """Shared parts of a file work, and a file that grows exponentially is read in linear time."""
    assert configured("kafka: {properties: &p {a: b}, producer_properties: *p}").kafka.producer_properties == {"a": "b"}
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    assert len(mistakes("\n".join(lines))) == 60


def test_without_output_there_can_be_no_loop() -> None:
    """Metrics alone may be made of any topic."""
    assert configured("input: {topics: ['^.*']}\noutput: {enabled: false}").output == OutputConfig(enabled=False)


def test_at_least_once_leaves_acknowledgements_to_the_user() -> None:
    """Only exactly_once depends on them."""
    text = "kafka: {producer_properties: {acks: 1}}\noutput: {delivery: at_least_once}"
    assert configured(text).kafka.producer_properties == {"acks": "1"}


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.dates(),
    st.from_regex(r"\$?\$\{(file:)?[A-Z/]*(:-.)?\}?|\^[\[(*]?.|[0-9]{1,400}(ms|KiB|e9)?|.?://[^/]*", fullmatch=True),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
NESTED = st.dictionaries(st.sampled_from(sorted(keys())), VALUES, max_size=5)


def is_config_or_error(text: str | None, env: Mapping[str, str], flags: Mapping[str, object]) -> None:
    try:
        configured(text, env, flags)
    except ConfigError as error:
        found = error
    else:
        return
    assert found.problems
    assert len(str(found).splitlines()) == len(found.problems)
    assert str(found).encode()


@given(NESTED)
def test_any_values_in_flags_give_a_configuration_or_mistakes(flags: dict[str, object]) -> None:
    """No value anywhere causes another exception."""
    is_config_or_error(None, {}, flags)


@given(NESTED)
def test_any_values_in_a_file_give_a_configuration_or_mistakes(flat: dict[str, object]) -> None:
    """The same through YAML, where dates and the like have no type of their own."""
    tree: dict[str, Any] = {}
    for path, value in sorted(flat.items()):
        *above, last = path.split(".")
        below: Any = tree
        for part in above:
            below = below.setdefault(part, {}) if isinstance(below, dict) else {}
        if isinstance(below, dict):
            below[last] = value
    is_config_or_error(yaml.safe_dump(tree), {}, {})


@given(st.text(alphabet=st.characters() | st.sampled_from("{}[]:,&*!|>'\"-? \n\t#%@`\ud800"), max_size=60))
def test_any_text_is_a_configuration_or_mistakes(text: str) -> None:
    """As a file, and as the value of a variable."""
    is_config_or_error(text, {}, {})
    names = [f"MARKETDATA_{path.upper().replace('.', '__')}" for path in keys()]
    is_config_or_error(None, dict.fromkeys([*names, "MARKETDATA_KAFKA__PROPERTIES__X"], text), {})


def test_the_reserved_fields_are_those_that_a_row_has_beside_its_symbol() -> None:
    assert {*RESERVED_FIELDS, "symbol"} == set(Message.__struct_fields__)
