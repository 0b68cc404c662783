"""Ids of schemas come from a registry with various permissions, and errors quote its text."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.config.schema import Config, OutputConfig
from exporter.events.registry import RegistryMetrics, SchemaRegistry, subject
from exporter.events.registry_http import REDIRECTS_MAX, RegistryHttp
from exporter.events.values import load_schema
from exporter.model import EventType, RegistryError, RegistryRefused
from exporter.preflight import mistakes
from exporter.runtime.foreign_text import TEXT_MAX
from tests.support.process import free_port
from tests.support.registry import MOVED, READ, WRITE, RegistryServer
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually

TOPICS = {EventType.BATCH: "events", EventType.SUMMARY: "events", EventType.ERROR: "errors"}
SCHEMAS = {event_type: load_schema(event_type) for event_type in EventType}
SUBJECTS = {event_type: subject(TOPICS[event_type], SCHEMAS[event_type]) for event_type in EventType}
READER, WRITER, BOTH = "reader:sesame", "writer:sesame", "both:sesame"
RIGHTS = {READER: {READ}, WRITER: {WRITE}, BOTH: {READ, WRITE}}


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    """A registry that requires a password."""
    with RegistryServer(RIGHTS) as server:
        yield server


@pytest.fixture
def free_registry() -> Iterator[RegistryServer]:
    """A registry without access control."""
    with RegistryServer() as server:
        yield server


def client(url: str, user: str = "", registry: CollectorRegistry | None = None) -> SchemaRegistry:
    """The sidecar's client, as a `user:password`."""
    name, _, password = user.partition(":")
    output = OutputConfig(
        schema_registry=url, schema_registry_username=name or None, schema_registry_password=password or None
    )
    return SchemaRegistry(RegistryHttp(output), RegistryMetrics(registry or CollectorRegistry()))


def ids(url: str, user: str = "") -> dict[EventType, int]:
    """The id of each schema."""
    frames = client(url, user).frames(TOPICS)
    return {event_type: struct.unpack(">bI", frame)[1] for event_type, frame in frames.items()}


def refusal(url: str, user: str = "") -> str:
    """The error text for a registry that returns no ids."""
    with pytest.raises(RegistryError) as refused:
        ids(url, user)
    return str(refused.value)


def preregister(registry: RegistryServer, **changes: Any) -> dict[EventType, int]:
    """Register all schemas as an operator does beforehand; return their ids."""
    return {kind: registry.add(SUBJECTS[kind], {**SCHEMAS[kind], **changes}) for kind in EventType}


# Permissions.


@pytest.mark.parametrize("user", [WRITER, BOTH])
def test_missing_schemas_are_registered_if_the_user_has_the_right(registry: RegistryServer, user: str) -> None:
    """With and without the right to read them."""
    found = ids(registry.url, user)
    assert registry.subjects == {SUBJECTS[kind]: [number] for kind, number in found.items()}


@pytest.mark.parametrize("user", [READER, BOTH])
def test_registered_schemas_are_found_and_nothing_is_registered(registry: RegistryServer, user: str) -> None:
    wanted = preregister(registry)
    assert ids(registry.url, user) == wanted
    assert [line.rpartition("/")[2] for line in registry.asked] == [SUBJECTS[kind] for kind in TOPICS]


def test_a_schema_that_differs_only_in_documentation_is_used(registry: RegistryServer) -> None:
    """Readers decode the same values with it."""
    wanted = preregister(registry, doc="as the platform team words it")
    assert ids(registry.url, READER) == wanted


def test_a_read_only_registry_returns_the_ids_of_registered_schemas(registry: RegistryServer) -> None:
    registry.is_read_only = True
    assert "read-only mode" in refusal(registry.url, BOTH)
    wanted = preregister(registry)
    assert ids(registry.url, BOTH) == wanted


@pytest.mark.parametrize(
    ("user", "text"),
    [
        (READER, "is not registered, and the right to register it is missing: 403 User is denied operation Write on"),
        ("nobody:at all", "the user or the password is refused: 401 Unauthorized"),
        ("", "the user or the password is refused: 401 Unauthorized"),
    ],
)
def test_a_missing_right_is_reported_with_the_registrys_text(registry: RegistryServer, user: str, text: str) -> None:
    with pytest.raises(RegistryRefused, match=re.escape(text)):
        ids(registry.url, user)


def test_both_missing_rights_are_reported(registry: RegistryServer) -> None:
    registry.rights = {"visitor:": set()}
    assert re.search("right to read the schema is missing .403 .*operation Read.*register it .403 .*Write",
                     refusal(registry.url, "visitor:"))  # fmt: skip


def test_another_schema_of_the_subject_is_not_used_without_the_right_to_register(registry: RegistryServer) -> None:
    for kind in EventType:
        registry.add(SUBJECTS[kind], {"type": "record", "name": "Other", "fields": []})
    assert "the right to register it is missing: 403" in refusal(registry.url, READER)


def test_an_incompatible_schema_is_reported_with_the_registrys_text(free_registry: RegistryServer) -> None:
    free_registry.add(SUBJECTS[EventType.BATCH], {"type": "record", "name": "Other", "fields": []})
    free_registry.is_compatible = False
    with pytest.raises(RegistryRefused, match="409 Schema being registered is incompatible with an earlier schema"):
        ids(free_registry.url)


# User and password.


@pytest.mark.parametrize("password", ["ab+/c@d:==", "pässwörd", "비밀", "a b%2F"])
@pytest.mark.parametrize("user", ["collector", "Ünal"])
def test_user_and_password_of_keys_arrive_as_they_stand(
    free_registry: RegistryServer, user: str, password: str
) -> None:
    ids(free_registry.url, f"{user}:{password}")
    assert set(free_registry.users) == {f"{user}:{password}"}


def test_user_and_password_of_the_url_are_decoded(free_registry: RegistryServer) -> None:
    ids(free_registry.url.replace("//", "//collector:%EB%B9%84+%2F%40@"))
    assert set(free_registry.users) == {"collector:비+/@"}


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("place", ["", "absolute"])
def test_a_redirect_is_followed_with_method_body_and_password(
    registry: RegistryServer, status: int, place: str
) -> None:
    registry.redirect = status, (registry.url if place else "") + MOVED
    found = ids(registry.url, BOTH)
    assert registry.subjects == {SUBJECTS[kind]: [number] for kind, number in found.items()}
    assert set(registry.users) == {BOTH}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_another_host_or_port_never_receives_the_password(registry: RegistryServer, status: int) -> None:
    """Nor text that a redirect carries."""
    with RegistryServer() as elsewhere:
        registry.redirect = status, elsewhere.url.replace("//", "//thief:guess@")
        ids(registry.url, BOTH)
        assert set(elsewhere.users) == {None}
        elsewhere.rights = {}
        text = refusal(registry.url, BOTH)
    assert f"401 Unauthorized (redirected to {elsewhere.url}, where user and password are not sent)" in text
    assert not {"sesame", "guess"} & set(re.findall(r"\w+", text))


def test_a_sidecar_takes_ids_from_where_it_is_redirected_to_and_shows_its_password_to_nobody(
    registry: RegistryServer, deployment: Deployment
) -> None:
    """Events go out, and neither the other host, the log, the pages nor the events have the password."""
    user, _, password = BOTH.partition(":")
    with RegistryServer() as elsewhere:
        registry.redirect = 307, elsewhere.url.replace("//", "//thief:guess@")
        sidecar = deployment.sidecar(
            output__encoding="avro",
            output__schema_registry=registry.url,
            output__schema_registry_username=user,
            output__schema_registry_password=password,
        ).start()
        deployment.traffic.write(30)
        deployment.cluster.produce(deployment.topic, [f"no batch, {password} is in it".encode()])
        eventually(lambda: deployment.cluster.read_all(deployment.errors), 40)
        eventually(lambda: len(deployment.cluster.read_all(deployment.events)) >= 30, 40)
        assert set(registry.users) == {BOTH}
        assert set(elsewhere.users) == {None}
        assert len(elsewhere.schemas) == len(EventType)
        shown = [sidecar.get(path).text for path in ("/-/ready", "/config", "/metrics")] + [sidecar.snapshot()]
        sidecar.stop()
    events = [
        str(record) for topic in (deployment.events, deployment.errors) for record in deployment.cluster.read_all(topic)
    ]
    assert not [text for text in (*shown, *events, sidecar.log) for secret in (password, "guess") if secret in text]


def test_redirects_end(registry: RegistryServer) -> None:
    registry.redirect = 301, registry.url
    assert "TooManyRedirects" in refusal(registry.url)
    assert len(registry.asked) == REDIRECTS_MAX + 1


@pytest.mark.parametrize(
    "place", ["ftp://127.0.0.1", "http://[", "file:///etc/passwd?", "http://127.0.0.1:99999", "//:"]
)
def test_a_redirect_to_an_unreachable_host_is_an_error_with_text(registry: RegistryServer, place: str) -> None:
    registry.redirect = 302, place
    assert refusal(registry.url).startswith("the schema registry cannot be reached: ")


def test_a_redirect_that_asks_for_a_get_is_not_followed(registry: RegistryServer) -> None:
    registry.redirect = 303, registry.url + MOVED
    assert (
        refusal(registry.url, BOTH)
        == f"the schema registry answered 303 See Other for subject {SUBJECTS[EventType.BATCH]}"
    )


# Answers that are none.


@pytest.mark.parametrize(
    "body", [{}, [], None, {"id": "1"}, {"id": True}, {"id": -1}, {"id": 2**32}, b"<html>", b"[" * 99_999]
)
def test_an_answer_without_an_id_is_an_error(free_registry: RegistryServer, body: object) -> None:
    free_registry.forced["/subjects/"] = 200, body
    assert refusal(free_registry.url) == f"the schema registry returned no id for subject {SUBJECTS[EventType.BATCH]}"


def test_texts_of_the_registry_become_one_printable_line_of_limited_length(free_registry: RegistryServer) -> None:
    message = "\x1b[31mno\r\nlevel=error msg=forged\x00 " + "x" * 10_000
    free_registry.forced["/subjects/"] = 403, {"message": message}
    text = refusal(free_registry.url)
    assert "403 [31mno level=error msg=forged x" in text
    assert text.isprintable()
    assert len(text) < 2 * TEXT_MAX + 300


@pytest.mark.parametrize(
    ("status", "kind"), [(500, RegistryError), (503, RegistryError), (429, RegistryError), (422, RegistryRefused)]
)
def test_temporary_failures_are_no_refusal(free_registry: RegistryServer, status: int, kind: type) -> None:
    """They are retried sooner, and need no operator."""
    free_registry.forced["/subjects/"] = status, {"message": "as it is"}
    with pytest.raises(RegistryError, match=f"answered {status} as it is for subject") as refused:
        ids(free_registry.url)
    assert type(refused.value) is kind


def test_an_unreachable_registry_is_reported_with_the_text_of_the_system_and_without_the_password() -> None:
    text = refusal(f"http://collector:sesame@127.0.0.1:{free_port()}")
    assert text == "the schema registry cannot be reached: ConnectionError, Connection refused"


# Metrics.


def test_requests_are_counted_by_operation_and_a_missing_schema_is_no_failure(
    registry: RegistryServer,
) -> None:
    metrics = CollectorRegistry()
    asking = client(registry.url, READER, metrics)

    def counted(name: str) -> Mapping[str, float | None]:
        sample = f"marketdata_schema_registry_{name}_total"
        return {kind: metrics.get_sample_value(sample, {"operation": kind}) for kind in ("lookup", "register")}

    assert counted("operations") == {"lookup": 0, "register": 0}
    with pytest.raises(RegistryError):
        asking.frames(TOPICS)
    assert counted("operations") == {"lookup": 2, "register": 1}
    assert counted("failures") == {"lookup": 0, "register": 1}
    assert metrics.get_sample_value("marketdata_schema_registry_up") == 0
    preregister(registry)
    asking.frames(TOPICS)
    assert counted("operations") == {"lookup": 5, "register": 1}
    assert metrics.get_sample_value("marketdata_schema_registry_up") == 1


# Tokens.

TOKEN, RENEWED = "eyJhbGciOi.first-1", "eyJhbGciOi.second-2=="


def ids_with(url: str, **settings: Any) -> dict[EventType, int]:
    """The id of each schema, with other settings of the output."""
    output = OutputConfig(schema_registry=url, **settings)
    strategy, registers = output.schema_registry_subjects, output.schema_registry_register
    registry = SchemaRegistry(
        RegistryHttp(output), RegistryMetrics(CollectorRegistry()), strategy=strategy, registers=registers
    )
    return {kind: struct.unpack(">bI", frame)[1] for kind, frame in registry.frames(TOPICS).items()}


def test_a_token_opens_the_registry() -> None:
    with RegistryServer({f"Bearer {TOKEN}": {READ, WRITE}}) as registry:
        assert len(ids_with(registry.url, schema_registry_token=TOKEN)) == 3
        with pytest.raises(RegistryRefused, match="401 Unauthorized"):
            ids_with(registry.url, schema_registry_token=RENEWED)


def test_a_token_in_a_file_is_read_again_when_it_was_renewed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    with RegistryServer({f"Bearer {RENEWED}": {READ, WRITE}}) as registry:
        output = OutputConfig(schema_registry=registry.url, schema_registry_token_file=str(file))
        client = SchemaRegistry(RegistryHttp(output), RegistryMetrics(CollectorRegistry()))
        with pytest.raises(RegistryRefused, match="401 Unauthorized"):
            client.frames(TOPICS)
        file.write_text(RENEWED)
        assert len(client.frames(TOPICS)) == 3
        assert set(registry.users) == {f"Bearer {TOKEN}", f"Bearer {RENEWED}"}


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file or directory"), ("", "a bearer token has"), ("a b", "a bearer token has")],
)
def test_a_file_without_a_token_is_told_and_the_registry_is_not_asked(
    free_registry: RegistryServer, tmp_path: Path, content: str | None, words: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(RegistryError, match=f"{re.escape(str(file))} has no token: {words}"):
        ids_with(free_registry.url, schema_registry_token_file=str(file))
    assert free_registry.asked == []


def test_a_token_is_not_sent_to_another_host(free_registry: RegistryServer) -> None:
    with RegistryServer() as other:
        free_registry.redirect = (307, other.url + MOVED)
        ids_with(free_registry.url, schema_registry_token=TOKEN)
        assert set(free_registry.users) == {f"Bearer {TOKEN}"}
        assert set(other.users) == {None}


# Subjects.


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        ("topic_record", "events-marketdata.monitoring.BatchCollected"),
        ("record", "marketdata.monitoring.BatchCollected"),
        ("topic", "events-value"),
    ],
)
def test_a_subject_is_named_by_the_strategy(free_registry: RegistryServer, strategy: Any, name: str) -> None:
    output = OutputConfig(schema_registry=free_registry.url)
    registry = SchemaRegistry(RegistryHttp(output), RegistryMetrics(CollectorRegistry()), strategy=strategy)
    registry.frames({EventType.BATCH: "events"})
    assert list(free_registry.subjects) == [name]


@pytest.mark.parametrize("batch_events", [True, False])
def test_one_subject_for_a_topic_needs_one_schema_in_it(batch_events: bool) -> None:
    config = Config(
        output=OutputConfig(
            schema_registry="http://registry:8081", schema_registry_subjects="topic", batch_events=batch_events
        )
    )
    found = [conflict.paths[0] for conflict in mistakes(config)]
    assert found == (["output.schema_registry_subjects"] if batch_events else [])


def test_nothing_is_registered_where_that_is_not_wanted(free_registry: RegistryServer) -> None:
    with pytest.raises(RegistryRefused, match=r"and output\.schema_registry_register is false"):
        ids_with(free_registry.url, schema_registry_register=False)
    assert free_registry.subjects == {}
    wanted = preregister(free_registry, doc="as the platform team words it")
    assert ids_with(free_registry.url, schema_registry_register=False) == wanted


# The sidecar.


def test_a_missing_right_to_register_is_reported_until_the_schemas_are_registered(deployment: Deployment) -> None:
    """In readiness and in the log, with the registry's text and without the password."""
    deployment.traffic.write(100)
    with RegistryServer(RIGHTS) as registry:
        name, password = READER.split(":")
        sidecar = deployment.sidecar(
            output__encoding="avro",
            output__schema_registry=registry.url,
            output__schema_registry_username=name,
            output__schema_registry_password=password,
        ).start()
        words = "User is denied operation Write on Subject: "
        eventually(lambda: words in sidecar.get("/-/ready").text, 40)
        assert sidecar.get("/-/ready").status_code == 503
        eventually(lambda: words in sidecar.log)
        for kind in EventType:
            topic = deployment.errors if kind is EventType.ERROR else deployment.events
            registry.add(subject(topic, SCHEMAS[kind]), SCHEMAS[kind])
        deployment.eventually_committed()
        eventually(lambda: sidecar.get("/-/ready").ok, 40)
        assert password not in sidecar.log + sidecar.get("/config").text
        sidecar.stop()
