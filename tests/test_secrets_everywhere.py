"""No secret of any part of a real sidecar is in its log, its answers, its command line, or what its commands print.

It logs everything there is, librdkafka's debug lines included. /proc/PID/environ and the memory of a process have them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests.support.kafka import Broker
from tests.support.registry import RegistryServer
from tests.support.sidecar import Deployment, Sidecar
from tests.support.waiting import eventually
from tests.support.webfile import WebFiles, hashed

# Where a secret stands, and a secret that is in no other text.
SECRETS = {
    "kafka.properties sasl.password": "mark-sasl-Q71z",
    "kafka.properties ssl.key.password": "mark-tlskey-Q72z",
    "output.schema_registry_password": "mark-registry-Q73z",
    "redis.url": "mark-redis-Q74z",
    "web.client.password": "mark-client-Q75z",
    "a password that is given where a hash is expected": "mark-nohash-Q76z",
    "an unknown property": "mark-unknown-Q77z",
}
# Of a client, which nobody but the client knows.
WRONG = "mark-wrong-Q78z"
USER = "prometheus"
PATHS = (
    "/", "/metrics", "/config", "/-/healthy", "/-/ready", "/api/v1/feeds", "/api/v1/symbols", "/api/v1/history",
    "/api/v1/feed?feed=korea:upbit:ticker", "/-/log-level", "/absent",
)  # fmt: skip


class Shown(NamedTuple):
    """All texts that a sidecar and its commands have shown, by where; and what its web configuration file has."""

    texts: Mapping[str, str]
    web_secrets: tuple[str, ...]


def properties() -> dict[str, object]:
    """Properties with secrets, which a broker without passwords does not ask for, and with all debug lines."""
    own = {"sasl.password": SECRETS["kafka.properties sasl.password"], "sasl.username": "me", "debug": "all"}
    return {**own, "ssl.key.password": SECRETS["kafka.properties ssl.key.password"]}


class Protected(Sidecar):
    """A sidecar that is asked by TLS."""

    def ask(self, path: str, password: str, method: str = "GET") -> requests.Response:
        """The response to a user with this password."""
        url, authority = f"https://127.0.0.1:{self.port}{path}", str(self.settings["web.client.ca_file"])
        return requests.request(method, url, auth=(USER, password), verify=authority, timeout=10)

    def get(self, path: str, **headers: str) -> requests.Response:
        """See Sidecar."""
        return self.ask(path, SECRETS["web.client.password"])


def everything_asked(sidecar: Protected, web: WebFiles) -> dict[str, str]:
    """The answers to the right password and to a wrong one, and those to reloads with mistakes."""
    found = {path: sidecar.get(path) for path in PATHS}
    assert found["/metrics"].ok
    found |= {f"{path}, wrong password": sidecar.ask(path, WRONG) for path in PATHS}
    assert {found[f"{path}, wrong password"].status_code for path in PATHS} == {401}
    sidecar.configure(redis__old_password=SECRETS["an unknown property"], redis__queue="many")
    found["a reload with mistakes"] = sidecar.ask("/-/reload", SECRETS["web.client.password"], "POST")
    assert found["a reload with mistakes"].status_code == 500
    spoiled = {USER: SECRETS["a password that is given where a hash is expected"]}
    web.write(tls_server_config=web.tls(), basic_auth_users=spoiled)
    eventually(lambda: "web.config_file has mistakes" in sidecar.get("/-/ready").text, 40)
    found["mistakes of both files"] = sidecar.get("/-/ready")
    return {where: f"{answer.text}\n{answer.headers}" for where, answer in found.items()}


def everything_run(sidecar: Sidecar, topic: str) -> dict[str, str]:
    """What the commands print about both files, with mistakes in them and without."""
    address = f"--web.listen-address=127.0.0.1:{sidecar.port}"
    commands = (("check", address), ("explain", topic), ("audit", "--timeout=5"), ("healthcheck", address))
    done = {" ".join(command[:1]): sidecar.run(*command) for command in commands}
    return {name: each.stdout + each.stderr for name, each in done.items()}


@pytest.fixture(scope="module")
def shown(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """All that is to be seen of a sidecar with a secret in each place."""
    directory = tmp_path_factory.mktemp("secrets")
    web = WebFiles(directory)
    password = SECRETS["web.client.password"]
    web.write(tls_server_config=web.tls(), basic_auth_users={USER: hashed(password)})
    registered = SECRETS["output.schema_registry_password"]
    with (
        RegistryServer({f"me:{registered}": set()}) as registry,
        Deployment(broker, directory).create_outputs() as deployment,
    ):
        settings = {
            **deployment._settings(),
            "kafka.properties": properties(),
            "output.encoding": "avro",
            "output.schema_registry": registry.url,
            "output.schema_registry_username": "me",
            "output.schema_registry_password": registered,
            "redis.url": f"redis://me:{SECRETS['redis.url']}@127.0.0.1:1",
            "log.level": "debug",
            "web.enable_lifecycle": True,
            "web.config_page": "everyone",
            "web.config_file": str(web.path),
            "web.client.ca_file": str(web.authority.certificate),
            "web.client.username": USER,
            "web.client.password": password,
        }
        sidecar = Protected(directory / "sidecar", settings)
        before = everything_run(sidecar, deployment.topic)
        deployment.traffic.write(3)
        try:
            sidecar.start()
            texts = everything_asked(sidecar, web)
            texts |= {f"{name}, before": text for name, text in before.items()}
            texts |= {f"{name}, mistakes": text for name, text in everything_run(sidecar, deployment.topic).items()}
            texts["command line"] = Path(f"/proc/{sidecar.pid}/cmdline").read_text()
            texts["log"] = sidecar.log
        finally:
            sidecar.kill()
    key = web.server.key.read_text().splitlines()[1]
    return Shown(texts, (hashed(password), key))


def test_each_place_is_reached(shown: Shown) -> None:
    """Otherwise nothing would be shown because nothing has happened."""
    log = shown.texts["log"]
    for words in ("rdkafka", "schema registry", "Redis", "web.config_file has mistakes"):
        assert words in log
    assert "sasl.password" in log + shown.texts["/config"]
    assert "the configuration is not reloaded" in shown.texts["a reload with mistakes"]
    assert all(text for where, text in shown.texts.items() if not where.startswith("healthcheck"))


@pytest.mark.parametrize("place", [*SECRETS, "a wrong password of a client"])
def test_no_secret_is_shown(shown: Shown, place: str) -> None:
    secret = SECRETS.get(place, WRONG)
    for spelling in (secret, secret[:-1], *(base64.b64encode(f"{u}:{secret}".encode()).decode() for u in ("me", USER))):
        assert [where for where, text in shown.texts.items() if spelling in text] == []


def test_neither_hashes_nor_keys_are_shown(shown: Shown) -> None:
    for secret in shown.web_secrets:
        assert [where for where, text in shown.texts.items() if secret in text] == []
