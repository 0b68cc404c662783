"""Peers that drip, never end or talk nonsense cost an error in words: not a thread, not the memory, not the process."""

from __future__ import annotations

import json
from threading import Event
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.config.schema import Config, OutputConfig
from exporter.config.web_schema import WebConfig
from exporter.events import registry_http
from exporter.events.registry import RegistryMetrics, SchemaRegistry, is_same
from exporter.events.registry_http import RegistryHttp, Reply
from exporter.events.values import load_schema
from exporter.model import EventType, RegistryError
from exporter.tools import healthcheck
from exporter.tools.audit import command
from exporter.tools.check import schemas
from exporter.tools.check.model import Level
from tests.support.peers import HTTP_DRIPS, HTTP_FLOODS, Peer, Talk, http, saying, slowly
from tests.support.registry import Answer, RegistryServer
from tests.support.sidecar import Deployment
from tests.support.waiting import eventually

TALKS = {f"dripping {name}": talk for name, talk in HTTP_DRIPS.items()} | {
    f"endless {name}": talk for name, talk in HTTP_FLOODS.items()
}
any_talk = pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS.keys())
MISBEHAVED = "the answer (takes too long|is too large)|ConnectionError|Connection aborted"


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for."""
    monkeypatch.setattr(registry_http, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(healthcheck, "TIMEOUT_SECONDS", 0.5)


# The schema registry.


@any_talk
@pytest.mark.usefixtures("hurry")
def test_a_registry_whose_reply_never_ends_is_an_error(talk: Talk) -> None:
    with Peer(talk) as peer:
        registry = RegistryHttp(OutputConfig(schema_registry=peer.url))
        with pytest.raises(RegistryError, match=MISBEHAVED):
            registry.request("GET", None, "subjects")
        eventually(lambda: not peer.open)


def test_redirects_share_the_time_out_of_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them alone is fast enough."""
    monkeypatch.setattr(registry_http, "CALL_SECONDS", 2.0)
    talk = slowly(http("302 Found", b"", "Location: /again", "Content-Length: 0"), 0.5)
    with Peer(talk) as peer:
        registry = RegistryHttp(OutputConfig(schema_registry=peer.url))
        with pytest.raises(RegistryError, match="the answer takes too long"):
            registry.request("GET", None, "subjects")
        assert 1 < peer.asked <= 4


class SlowRegistry(RegistryServer):
    """Answers well, each time after a while."""

    def answer(self, method: str, path: str, body: Any, user: str | None) -> Answer:
        """See RegistryServer."""
        Event().wait(0.25)
        return super().answer(method, path, body, user)


def test_requests_for_all_schemas_share_the_time_out_of_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the six comes in time by itself; what is answered is not asked again, so the next one ends well."""
    monkeypatch.setattr(registry_http, "SESSION_SECONDS", 1.2)
    with SlowRegistry() as server:
        output = OutputConfig(schema_registry=server.url)
        registry = SchemaRegistry(RegistryHttp(output), RegistryMetrics(CollectorRegistry()))
        topics = dict.fromkeys(EventType, "events")
        with pytest.raises(RegistryError, match="the answer takes too long"):
            registry.frames(topics)
        assert len(registry.frames(topics)) == len(EventType)
        assert len(server.asked) == len({*server.asked}) + 1  # the one that was cut short


def test_check_talks_with_a_slow_registry_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_http, "SESSION_SECONDS", 1.2)
    with SlowRegistry() as server:
        findings = list(schemas.registry(Config(output=OutputConfig(schema_registry=server.url))))
        assert "the answer takes too long" in str(findings[-1])
        assert len(server.asked) <= 5


def test_a_schema_of_odd_shape_is_another_schema() -> None:
    """Whatever it does to the parser of Avro."""
    mine = load_schema(EventType.BATCH)
    deep: object = "string"
    for _ in range(400):
        deep = {"type": "array", "items": deep}
    odd = [
        *("", "null", "1", "NaN", "[]", "{}", '"x"', "[" * 5000, "1" * 5000, json.dumps(deep)),
        *('{"type": null}', '{"type": "record"}', '{"type": ["a"]}', '{"type": "enum", "name": "x", "symbols": 1}'),
        '{"type": "fixed", "name": "x", "size": 1e400}',
        '{"type": "record", "name": "r", "fields": [{"name": 1, "type": "r"}]}',
        '{"type": "record", "name": {}, "fields": 7}',
    ]
    for text in odd:
        assert not is_same(Reply(200, {"schema": text}), mine), text
    values: list[object] = [None, 1, [], {}, True]
    for value in values:
        assert not is_same(Reply(200, {"schema": value}), mine)


@pytest.mark.hostile
@pytest.mark.parametrize("talk", [HTTP_DRIPS["headers"], HTTP_DRIPS["body"], HTTP_FLOODS["body"]])
def test_a_sidecar_outlives_such_a_registry_and_stops_in_order(deployment: Deployment, talk: Talk) -> None:
    """It reads on and answers meanwhile; `stop` requires exit code 0."""
    deployment.traffic.write(100)
    with Peer(talk) as peer:
        sidecar = deployment.sidecar(output__encoding="avro", output__schema_registry=peer.url).start()
        eventually(lambda: peer.asked > 1, 40)
        eventually(lambda: "the schema registry cannot be reached: the answer" in sidecar.log, 40)
        eventually(lambda: sidecar.batches() == 100, 40)
        sidecar.stop()


# Tools.


@any_talk
@pytest.mark.usefixtures("hurry")
def test_a_healthcheck_says_unhealthy_in_one_line(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    with Peer(talk) as peer:
        assert healthcheck.main(Config(web=WebConfig(listen_address=peer.place))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("unhealthy: ")
    assert line.isprintable()
    assert len(line) < 500


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("talk", [HTTP_DRIPS["headers"], HTTP_FLOODS["chunks"]])
def test_check_says_in_one_finding_that_a_registry_never_comes_to_an_end(talk: Talk) -> None:
    with Peer(talk) as peer:
        (finding,) = schemas.registry(Config(output=OutputConfig(schema_registry=peer.url)))
    assert finding.level is Level.FAIL
    assert "cannot be reached" in finding.text


@any_talk
def test_an_audit_gives_up_metrics_that_never_come_to_an_end(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "METRICS_BYTES", 1_000_000)
    with Peer(talk) as peer, pytest.raises(command.AuditError, match=f"^http://me:<secret>@{peer.place}/m: ."):
        command._read_metrics([f"http://me:sesame@{peer.place}/m"], 0.5)


@pytest.mark.parametrize("status", ["302 Found", "204 No Content", "500 Oops"])
def test_an_audit_takes_only_a_page_for_metrics(status: str) -> None:
    answer = http(status, b"", "Location: http://elsewhere/", "Content-Length: 0")
    with Peer(saying(answer)) as peer, pytest.raises(command.AuditError, match=f"the response is {status}, see http"):
        command._read_metrics([peer.url], 5)
