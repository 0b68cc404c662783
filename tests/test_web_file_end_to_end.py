"""A real sidecar with certificates and passwords: Prometheus scrapes it, and the commands can ask it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from msgspec import convert
from msgspec.structs import replace

from exporter import BatchPerformanceMonitor
from exporter.config.schema import Config
from exporter.tools import healthcheck
from exporter.tools.check import services
from exporter.tools.check.model import Level
from tests.support.kafka import Broker
from tests.support.process import free_port
from tests.support.prometheus import PrometheusServer, configuration
from tests.support.sidecar import PROGRAM, Deployment, Sidecar
from tests.support.waiting import eventually
from tests.support.webfile import PASSWORD, SCRAPER, USER, WebFiles, client_files, hashed, users

SECONDS = 60.0


class SecureSidecar(Sidecar):
    """A sidecar that requires a certificate and a password, and knows those of its commands."""

    def __init__(self, directory: Path, settings: dict[str, object], web: WebFiles) -> None:
        self.web = web
        web.write(tls_server_config=web.mutual(client_allowed_sans=[SCRAPER]), basic_auth_users=users())
        client = {
            "ca_file": str(web.authority.certificate),
            "cert_file": str(web.scraper.certificate),
            "key_file": str(web.scraper.key),
            "username": USER,
        }
        own = {"web.config_file": str(web.path), **{f"web.client.{name}": value for name, value in client.items()}}
        super().__init__(directory, {**settings, **own, "web.config_page": "everyone"})

    def config(self, **client: object) -> Config:
        """The part of its configuration about HTTP, with other credentials of commands."""
        own = {name.rpartition(".")[2]: value for name, value in self.settings.items() if "client" in name}
        web = {"listen_address": f"127.0.0.1:{self.port}", "config_file": str(self.web.path)}
        return convert({"web": {**web, "client": {**own, "password": PASSWORD, **client}}}, Config)

    def get(self, path: str, **headers: str) -> requests.Response:
        """See Sidecar."""
        url = f"https://127.0.0.1:{self.port}{path}"
        files = client_files(self.web.authority, self.web.scraper)
        return requests.get(url, headers=headers, auth=(USER, PASSWORD), timeout=10, **files)

    def ask(self, *arguments: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
        """Run a command with its configuration, and with the password in the environment."""
        command, *options = arguments
        return subprocess.run(
            [str(PROGRAM), command, f"--config.file={self.directory / 'config.yml'}", *options],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env=os.environ
            | {
                "MARKETDATA_WEB__CLIENT__PASSWORD": password,
                "MARKETDATA_WEB__LISTEN_ADDRESS": f"127.0.0.1:{self.port}",
            },
        )


@pytest.fixture(scope="module")
def deployment(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Topics with some batches."""
    with Deployment(broker, tmp_path_factory.mktemp("secure")).create_outputs() as deployment:
        deployment.traffic.write(20)
        yield deployment


@pytest.fixture(scope="module")
def sidecar(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureSidecar]:
    """A sidecar that has read them."""
    directory = tmp_path_factory.mktemp("sidecar")
    settings = {**deployment._settings(), "instance": "secure"}
    sidecar = SecureSidecar(directory, settings, WebFiles(directory / "web"))
    # The commands get the password from the environment, and so does this process, which does not use it.
    os.environ["MARKETDATA_WEB__CLIENT__PASSWORD"] = PASSWORD
    try:
        sidecar.start()
    finally:
        del os.environ["MARKETDATA_WEB__CLIENT__PASSWORD"]
    eventually(lambda: sidecar.batches() == 20, SECONDS)
    yield sidecar
    sidecar.stop()


def test_prometheus_scrapes_with_a_certificate_and_a_password(sidecar: SecureSidecar, tmp_path: Path) -> None:
    """Side by side with one that has no password, and one that has no certificate."""
    web = sidecar.web
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    tls = {"ca_file": str(web.authority.certificate)}
    shown = {"cert_file": str(web.scraper.certificate), "key_file": str(web.scraper.key)}
    auth = {"username": USER, "password_file": str(password)}
    target = {"scheme": "https", "static_configs": [{"targets": [f"127.0.0.1:{sidecar.port}"]}]}
    jobs: list[dict[str, Any]] = [
        {"job_name": "both", "tls_config": tls | shown, "basic_auth": auth, **target},
        {"job_name": "password", "tls_config": tls, "basic_auth": auth, **target},
        {"job_name": "certificate", "tls_config": tls | shown, **target},
    ]
    prometheus = PrometheusServer(tmp_path / "prometheus", configuration(jobs, (), "200ms")).start()
    try:
        eventually(lambda: prometheus.query("count(up) == 3"), SECONDS)
        assert prometheus.query('up{job="both"} == 1')
        assert len(prometheus.query('up{job=~"password|certificate"} == 0')) == 2
        (batches,) = prometheus.query('sum(marketdata_batches_total{job="both"})')
        assert batches.value == 20
    finally:
        prometheus.stop()


def test_healthcheck_asks_with_the_credentials_of_the_configuration(sidecar: SecureSidecar) -> None:
    asked = sidecar.ask("healthcheck", "--ready")
    assert (asked.returncode, asked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"password": "wrong"}, "a user and a password are required"),
        ({"server_name": "other.example.com"}, "its certificate is refused: Hostname mismatch"),
        ({"ca_file": "/no"}, "web.client.ca_file cannot be used: no such file or directory"),
        ({"cert_file": "/no"}, "web.client.cert_file cannot be used: no such file or directory"),
        ({"cert_file": None, "key_file": None}, "the handshake failed: tlsv13 alert certificate required"),
        ({"ca_file": None}, ""),
    ],
)
def test_healthcheck_names_what_is_wrong(
    sidecar: SecureSidecar, changed: dict[str, object], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It needs no authority to ask its own machine."""
    assert healthcheck.main(sidecar.config(**changed)) == int(bool(error))
    told = capsys.readouterr().err
    assert error in told
    assert told.count("\n") == int(bool(error))


def test_healthcheck_names_a_file_that_it_cannot_read(
    sidecar: SecureSidecar, capsys: pytest.CaptureFixture[str]
) -> None:
    config = sidecar.config()
    assert healthcheck.main(replace(config, web=replace(config.web, config_file="/no"))) == 1
    assert "web.config_file cannot be read: No such file or directory" in capsys.readouterr().err


def test_check_finds_the_sidecar_and_mistakes_of_the_file(sidecar: SecureSidecar, tmp_path: Path) -> None:
    protection, address = services.web(sidecar.config())
    assert protection.text == "TLS, client certificates: RequireAndVerifyClientCert, passwords of 1"
    assert address.text == f"a sidecar serves on 127.0.0.1:{sidecar.port} already"
    wrong = tmp_path / "web.yml"
    wrong.write_text("tls_server_config: {cert_file: no.pem, key_file: no.pem}\nbasic_auth_users: {a: hunter2}\n")
    for command in ("check", "run"):
        asked = sidecar.ask(command, f"--web.config.file={wrong}")
        assert asked.returncode == 2
        assert f"web.config_file: {wrong}: basic_auth_users.a: got" in asked.stderr
        assert "hunter2" not in asked.stderr + asked.stdout


def test_check_warns_of_passwords_without_tls(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text(yaml.safe_dump({"basic_auth_users": users()}))
    warning, _ = services.web(convert({"web": {"config_file": str(path), "listen_address": "127.0.0.1:0"}}, Config))
    assert (warning.level, warning.text) == (Level.WARN, "passwords are sent without encryption")


def test_audit_compares_metrics_over_https(sidecar: SecureSidecar) -> None:
    url = f"https://localhost:{sidecar.port}/metrics"
    assert sidecar.ask("audit", "--metrics", url).returncode == 0
    refused = sidecar.ask("audit", "--metrics", url, password="wrong")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "401" in refused.stderr


def test_no_secret_is_in_the_log_the_configuration_or_a_page(sidecar: SecureSidecar) -> None:
    sidecar.web.path.write_text(sidecar.web.path.read_text() + "oops: 1\n")
    eventually(lambda: "web.config_file has mistakes" in sidecar.get("/-/ready").text, SECONDS)
    shown = [sidecar.get(path).text for path in ("/config", "/metrics", "/", "/-/ready", "/api/v1/feeds")]
    key = sidecar.web.server.key.read_text().splitlines()[1]
    for secret in (PASSWORD, hashed(), key):
        assert secret not in sidecar.log + "".join(shown)
    eventually(lambda: "web.config_file has mistakes, the last valid one is in force" in sidecar.log)
    eventually(lambda: "oops: unknown key" in sidecar.log)


def test_a_monitor_serves_with_such_a_file(broker: Broker, topic: Callable[..., str], tmp_path: Path) -> None:
    web = WebFiles(tmp_path / "web")
    web.write(tls_server_config=web.tls(), basic_auth_users=users())
    config = {"web.config_file": str(web.path), "input.topics": [topic("ticker-data.korea")], "output.enabled": False}

    async def served() -> list[int]:
        address = f"127.0.0.1:{free_port()}"
        monitor = BatchPerformanceMonitor(
            "korea", "upbit", "ticker", bootstrap_servers=broker.bootstrap, listen_address=address, config=config
        )
        await monitor.start()
        try:
            url, files = f"https://127.0.0.1:{monitor.port}/metrics", client_files(web.authority, None)
            arguments: list[dict[str, Any]] = [{}, {"auth": (USER, PASSWORD)}]
            return [requests.get(url, timeout=10, **files, **each).status_code for each in arguments]
        finally:
            await monitor.stop()

    assert asyncio.run(served()) == [401, 200]


def test_the_written_configuration_has_no_password(sidecar: SecureSidecar) -> None:
    """It comes from the environment in these tests."""
    assert PASSWORD not in yaml.safe_dump(yaml.safe_load((sidecar.directory / "config.yml").read_text()))
