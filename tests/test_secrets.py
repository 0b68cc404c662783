"""No secret leaves: whatever place of the configuration it has, whatever way it is quoted, whatever shows the text."""

from __future__ import annotations

import base64
import html
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter import cli
from exporter.config.display import redacted
from exporter.config.loader import ConfigError, load
from exporter.config.schema import Config, Limits
from exporter.config.secrets import exposed, flag_names, secrets_in
from exporter.decoding.json_decoder import Decoder
from exporter.events.encoding import AvroEncoder, JsonEncoder
from exporter.events.factory import EventFactory
from exporter.events.values import error_value
from exporter.model import Partition, Record, Rejected
from exporter.runtime import foreign_text, logs
from exporter.runtime.foreign_text import TEXT_MAX, add_secrets, printable, without_secrets
from exporter.runtime.redaction import LENGTH_MIN, MASK, Redactor
from exporter.tools.check.model import Finding, Level
from tests.support.kafka import Broker
from tests.support.redis import RedisServer
from tests.support.registry import RegistryServer
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually

# Longer than any beginning that may stay where a text was cut; no word of the texts around it.
_CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"])
SECRETS = st.text(_CHARACTERS, min_size=6, max_size=24).map(lambda text: f"Q7{text}z")
Tree = Mapping[str, object]


def encoded(secret: str) -> str:
    return quote(secret, safe="")


# Where a secret may stand: YAML, environment and flags, and how it is written there.
PLACES: dict[str, Callable[[str], tuple[Tree, dict[str, str], dict[str, object]]]] = {
    "redis.password": lambda s: ({"redis": {"password": s}}, {}, {}),
    "redis.password in the environment": lambda s: ({}, {"MARKETDATA_REDIS__PASSWORD": s}, {}),
    "redis.password in a flag": lambda s: ({}, {}, {"redis.password": s}),
    "an overruled layer": lambda s: ({"redis": {"password": s}}, {}, {"redis.password": "other"}),
    "a wrong configuration": lambda s: ({"redis": {"password": s, "queue": "many"}}, {}, {}),
    "registry password": lambda s: ({"output": {"schema_registry_password": s}}, {}, {}),
    "the URL of Redis": lambda s: ({"redis": {"url": f"redis://me:{encoded(s)}@redis"}}, {}, {}),
    "a token as user": lambda s: ({"redis": {"url": f"redis://{encoded(s)}@redis"}}, {}, {}),
    "a token before a colon": lambda s: ({"output": {"schema_registry": f"http://{encoded(s)}:@registry"}}, {}, {}),
    "an option of a URL": lambda s: ({"redis": {"url": f"redis://redis?password={encoded(s)}&db=1"}}, {}, {}),
    "a URL without scheme": lambda s: ({"redis": {"url": f"me:{encoded(s)}@redis"}}, {}, {}),
    "a URL with a port that is none": lambda s: ({"redis": {"url": f"redis://me:{encoded(s)} @redis:x"}}, {}, {}),
    "a secret in place of a URL": lambda s: ({"output": {"schema_registry": encoded(s)}}, {}, {}),
    "text in place of properties": lambda s: ({"kafka": {"properties": f"sasl.password={s}"}}, {}, {}),
    "sasl.password": lambda s: ({"kafka": {"properties": {"sasl.password": s}}}, {}, {}),
    "client secret": lambda s: ({"kafka": {"consumer_properties": {"sasl.oauthbearer.client.secret": s}}}, {}, {}),
    "ssl.key.password": lambda s: ({"kafka": {"producer_properties": {"ssl.key.password": s}}}, {}, {}),
    "ssl.key.pem": lambda s: ({"kafka": {"properties": {"ssl.key.pem": f"-----BEGIN\n{s}AAAAAAAA\n-----END"}}}, {}, {}),
    "a property of the environment": lambda s: ({}, {"MARKETDATA_KAFKA__PROPERTIES__SASL_PASSWORD": s}, {}),
    "an unknown key": lambda s: ({"redis": {"old_password": s}}, {}, {}),
    "a file anywhere": lambda s: ({"instance": "x-${file:/secret}"}, {"FILE": s}, {}),
    "a variable anywhere": lambda s: ({"input": {"group": "x-${DB_PASSWORD}"}}, {"DB_PASSWORD": s}, {}),
}
QUOTINGS: dict[str, Callable[[str], str]] = {
    "as it stands": str,
    "for URLs": lambda s: quote(s, safe=""),
    "for paths": quote,
    "for forms": quote_plus,
    "in lower case": lambda s: "".join(f"%{byte:02x}" for byte in s.encode()),
    "in JSON": json.dumps,
    "in repr": repr,
    "in ASCII": ascii,
    "as bytes": lambda s: repr(s.encode()),
    "in HTML": html.escape,
    "in JSON in HTML": lambda s: html.escape(json.dumps(s)),
    "in base64": lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
    "without padding": lambda s: base64.urlsafe_b64encode(f"us:{s}".encode()).decode().rstrip("="),
    "for SASL": lambda s: base64.b64encode(f"\0user\0{s}".encode()).decode(),
    "in hexadecimal": lambda s: s.encode().hex(),
    "wrapped": lambda s: f"{s[:4]}\n    {s[4:]}",
    "cut": lambda s: s[:-1],
}


def as_logged(text: str, style: str) -> str:
    """The line of a log about a text, and about an error that says it."""
    try:
        raise ValueError(text)
    except ValueError as error:
        information = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("exporter", logging.ERROR, __file__, 1, "%s", (text,), information)
    record.error = text
    return logs._Formatter("json" if style == "json" else "logfmt").format(record)


FACTORIES = [EventFactory(encoder, "one", "events", "errors") for encoder in (JsonEncoder(), AvroEncoder())]


def published(value: bytes) -> str:
    """What the error events about a record say: bodies as they are on the topic, headers, and what JSON reads there."""
    try:
        Decoder(Limits()).decode(value)
    except Rejected as rejected:
        record = Record(Partition("topic", 0), 7, 1, value)
        events = [factory.rejected(record, rejected, 0, "2026-01-01T00:00:00.000Z") for factory in FACTORIES]
        told = [str(json.loads(events[0].body)), *(event.body.decode("utf-8", "replace") for event in events)]
        return "\n".join([*told, str([event.headers for event in events])])
    raise AssertionError("it is not rejected")


SINKS: dict[str, Callable[[str], str]] = {
    "events on the topic": lambda text: published(text.encode()),
    "events about JSON": lambda text: published(b"x" + json.dumps({"exchange": text}).encode()),
    "lines": printable,
    "findings": lambda text: str(Finding(Level.FAIL, "kafka", text)),
    "logfmt": lambda text: as_logged(text, "logfmt"),
    "JSON log": lambda text: as_logged(text, "json"),
    "JSON": lambda text: json.dumps(without_secrets({"reasons": (text,)}), ensure_ascii=False),
    "error events": lambda text: str(error_value("reason", text, "now")["message"]),
}


def configured(place: str, secret: str) -> Config | ConfigError:
    """The configuration, or why it is none, with a secret in a place."""
    tree, env, flags = PLACES[place](secret)
    try:
        text = json.dumps(tree, ensure_ascii=False)
        return load(text, env, flags, hostname="box", read_file=lambda _: env["FILE"], on_secrets=add_secrets)
    except ConfigError as error:
        return error


def assert_hidden(secret: str, text: str) -> None:
    """Fail when a text shows a secret, or enough of it, in any of its spellings."""
    for name, quoting in QUOTINGS.items():
        assert quoting(secret).strip("'\"=")[:-1] not in text, name
    assert secret[:9] not in text


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=SECRETS, sink=st.sampled_from(sorted(SINKS)))
def test_no_secret_of_any_place_is_shown_by_anything(place: str, secret: str, sink: str) -> None:
    """However a server quotes it; nor by the configuration itself and its mistakes."""
    foreign_text._Known.redactor = Redactor()
    found = configured(place, secret)
    assert_hidden(secret, str(found) + repr(found))
    if isinstance(found, Config):
        assert_hidden(secret, json.dumps(redacted(found), ensure_ascii=False))
    if not set(foreign_text._Known.redactor.secrets):
        assert isinstance(found, ConfigError)  # nobody knows that it is one, and nothing starts
        return
    for quoting in QUOTINGS.values():
        shown = SINKS[sink](f"refused {quoting(secret)} ")
        assert_hidden(secret, shown)
        assert "refused" in shown


@given(st.text(max_size=60), st.lists(st.text(max_size=12), max_size=4), st.integers(min_value=2, max_value=80))
def test_the_filter_takes_any_text_and_any_secrets(text: str, secrets: list[str], limit: int) -> None:
    """Texts without secrets stay, and what is masked stays masked."""
    redactor = Redactor(secrets)
    once = redactor.masked(text)
    assert once == text or MASK in once
    for secret in secrets:
        if len(secret.strip()) >= LENGTH_MIN:
            assert MASK in redactor.masked(f"{text} {secret} ")
    assert len(printable(text, limit)) <= limit


def test_secrets_shorter_than_four_characters_are_not_searched() -> None:
    """They would turn any text into masks."""
    assert Redactor(["a", "abc"]).masked("abc") == "abc"


def test_secrets_that_overlap_are_masked_whole() -> None:
    assert Redactor(["abcd", "cdef"]).masked("-abcdef-") == f"-{MASK}-"


def test_a_secret_at_the_end_of_what_is_looked_at_is_masked_before_the_text_is_cut() -> None:
    add_secrets(["hunter2-hunter2"])
    for length in range(TEXT_MAX - 20, TEXT_MAX + 2):
        assert "hunt" not in printable("x" * length + "hunter2-hunter2")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://other:word@host/x", f"https://other:{MASK}@host/x"),
        ("at http://host/?api_key=abc&x=1", f"at http://host/?api_key={MASK}&x=1"),
        ("got Authorization: Basic YWJjOmRlZg==", f"got Authorization: Basic {MASK}"),
        ("\x1b[31mred\u202e\r\nlevel=error", "[31mred level=error"),
    ],
)
def test_what_looks_like_a_secret_is_masked_and_what_steers_terminals_is_gone(text: str, shown: str) -> None:
    """Of servers that nobody configured, too."""
    assert printable(text) == shown


@pytest.mark.parametrize("form", ["%s", '{"note":"%s', '{"region":"%s","timestamp_ms":"%s","data":[]}', '{"a":"%s"} x'])
def test_no_part_of_a_secret_is_in_what_is_quoted_of_a_record(form: str) -> None:
    """Wherever the quotation begins and ends."""
    secret = "Q7hunter-f4cE.b00k-zz19/Pw"
    add_secrets([secret])
    parts = {secret[start : start + 6] for start in range(len(secret) - 5)}
    for size in range(250):
        for text in ("x" * size + secret, secret + "x" * size, "x" * size + secret + "x" * 300):
            shown = published(form.replace("%s", text).encode())
            assert not [part for part in parts if part in shown], text


def test_users_beside_passwords_are_names() -> None:
    load("redis: {url: 'redis://collector:sesame@redis'}", {}, {}, hostname="x", read_file=str, on_secrets=add_secrets)
    assert printable("User collector has no permissions, not even with sesame") == (
        f"User collector has no permissions, not even with {MASK}"
    )


# Flags.


def test_flags_that_hold_secrets_are_named_and_their_values_are_not() -> None:
    """What refers to a file or a variable holds none."""
    arguments = ["run", "--redis.password", "hunter2", "--redis.url=redis://:hunter2@redis", "--log.level=info"]
    arguments += ["--output.schema-registry-password=${file:/run/secrets/x}", "--output.schema-registry=http://r:1"]
    assert exposed(arguments) == ["--redis.password", "--redis.url"]
    assert flag_names(["--redis.pw=hunter2", "hunter2", "--x"]) == "--redis.pw --x (1 without name)"


def test_the_path_of_a_file_with_a_secret_is_none() -> None:
    assert exposed(["--output.schema-registry-token-file", "/run/secrets/token"]) == []
    assert list(secrets_in("/run/secrets/token", "output.schema_registry_token_file")) == []
    assert list(secrets_in("/run/key.pem", "kafka.properties.sasl.oauthbearer.assertion.private.key.file")) == []


def test_unrecognized_arguments_are_reported_without_values(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        cli.main(["check", "--redis.pass=hunter2", "--redis.pw", "hunter2"])
    said = capsys.readouterr().err
    assert "unrecognized arguments: --redis.pass --redis.pw (1 without name)" in said
    assert "hunter2" not in said


# Real parts.

PASSWORD = "s3same: w+rd/9"


@pytest.mark.parametrize("encoding", ["json", "avro"])
def test_error_events_on_the_topic_hold_no_secret(broker: Broker, deployment: Deployment, encoding: str) -> None:
    """Read back from the broker, about records that quote each secret in each way, in the middle of much else."""
    secrets = {
        "redis.password": PASSWORD,
        "output.schema_registry_password": f"r-{PASSWORD}",
        "ssl.key.password": "k3y-f1le-pa55",  # longer than the shortest beginning that is recognized
    }
    sidecar = deployment.sidecar(
        output__encoding=encoding,
        redis__url="redis://127.0.0.1:1",
        redis__password=PASSWORD,
        output__schema_registry_password=secrets["output.schema_registry_password"],
        kafka__properties={"ssl.key.password": secrets["ssl.key.password"]},
    ).start()
    texts = [f"refused {quoting(secret)} " for quoting in QUOTINGS.values() for secret in secrets.values()]
    records = [text.encode() for text in texts]
    records += [json.dumps({"region": f"{'x' * 90}{text}{'x' * 90}", "data": 1}).encode() for text in texts]
    broker.produce(deployment.topic, records)
    total = len(records)
    eventually(lambda: sidecar.scrape().total("marketdata_records_rejected_total") == total, 40)
    sidecar.stop()
    events = broker.read_all(deployment.errors)
    assert events
    for event in events:
        text = "\n".join([event.value.decode("utf-8", "replace"), str(event.headers), str(event.key)])
        for secret in secrets.values():
            for quoting in QUOTINGS.values():
                assert quoting(secret).strip("'\"=")[:-1] not in text
    for secret in secrets.values():
        assert secret not in sidecar.log


def test_servers_that_echo_secrets_tell_nobody(broker: Broker, deployment: Deployment, tmp_path: Path) -> None:
    """A Redis without AUTH quotes its arguments, a registry the header: in pages, log, events and `check`."""
    header = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    with RegistryServer() as registry:
        registry.forced["/subjects/"] = (
            403,
            {"message": f"denied for {header}, that is {PASSWORD} or {quote(PASSWORD)}"},
        )
        server = RedisServer(tmp_path / "redis", "--rename-command", "AUTH", "x").start()
        try:
            sidecar = deployment.sidecar(
                redis__url=f"redis://127.0.0.1:{server.port}",
                redis__password=PASSWORD,
                output__encoding="avro",
                output__schema_registry=registry.url,
                output__schema_registry_username="me",
                output__schema_registry_password=PASSWORD,
            ).start()
            deployment.traffic.write(30)
            eventually(lambda: "beginning with" in sidecar.get("/api/v1/symbols").text)
            eventually(lambda: "denied for" in sidecar.log)
            paths = ("/api/v1/symbols", "/-/ready", "/config", "/api/v1/feeds", "/metrics")
            shown = [sidecar.get(path).text for path in paths] + [sidecar.snapshot()]
            checked = sidecar.run("check", f"--web.listen-address=127.0.0.1:{sidecar.port}")
            flagged = sidecar.run("check", f"--redis.password={PASSWORD}", f"--redis.pasword={PASSWORD}")
            sidecar.kill()
        finally:
            server.kill()
    assert f"beginning with: '{MASK}'" in shown[0]
    assert MASK in checked.stdout
    for text in (*shown, sidecar.log, checked.stdout, checked.stderr, flagged.stdout, flagged.stderr):
        for secret in (PASSWORD, quote(PASSWORD), header, "s3sam"):
            assert secret not in text
