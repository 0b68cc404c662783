"""TLS on the real server with real clients: certificates, versions, rotation, and handshakes that never end."""

from __future__ import annotations

import os
import random
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client import CollectorRegistry

from exporter.config.loader import ConfigError
from exporter.config.web_file import TlsConfig
from exporter.model import Status
from exporter.runtime.http_client import ClientTls, fetch
from exporter.web import config_file
from exporter.web.config_file import WebConfigFile, WebFileMetrics
from exporter.web.handshakes import FAILURES
from exporter.web.limits import ClientLimits
from exporter.web.tls import Tls, TlsSession, server_tls
from tests.support.missing import program
from tests.support.queries import HOST, Site, large, site
from tests.support.secure import Authority, Certified
from tests.support.waiting import eventually
from tests.support.webfile import PASSWORD, SCRAPER, USER, WebFiles, client_files, users

FAILED = (requests.ConnectionError, ssl.SSLError, ConnectionError)


class World:
    """Certificates of all kinds; made once, as each takes a process."""

    def __init__(self, directory: Path) -> None:
        self.web = WebFiles(directory / "web")
        other = Authority(directory / "other")
        self.certified: Mapping[str, Certified | None] = {
            "none": None,
            "right": self.web.scraper,
            "of another name": self.web.authority.issue("stranger", host="DNS:stranger.example.com"),
            "of another authority": other.issue("foreign", host=f"DNS:{SCRAPER}"),
            "expired": self.web.authority.issue("expired", host=f"DNS:{SCRAPER}", days=0),
        }
        self.other = other

    def get(self, running: Site, path: str = "/metrics", shown: str = "none", **more: Any) -> requests.Response:
        """Request a path with a certificate of a kind."""
        url = f"https://{HOST}:{running.port}{path}"
        return requests.get(url, timeout=10, **client_files(self.web.authority, self.certified[shown]), **more)

    def context(self, shown: str = "none") -> ssl.SSLContext:
        """A client that trusts the server."""
        context = ssl.create_default_context(cafile=self.web.authority.certificate)
        if (certified := self.certified[shown]) is not None:
            context.load_cert_chain(certified.certificate, certified.key)
        return context


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Certificates for the whole file."""
    return World(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(world: World) -> Iterator[Site]:
    """A server with TLS and nothing else."""
    with site(config_file=world.web.write(tls_server_config=world.web.tls())) as running:
        yield running


def failures(running: Site) -> dict[str, float]:
    """How many handshakes failed, by reason; only those that did."""
    name = "marketdata_exporter_http_tls_handshake_failures_total"
    found = {reason: running.queries.registry.get_sample_value(name, {"reason": reason}) for reason in FAILURES}
    return {reason: number for reason, number in found.items() if number}


@contextmanager
def secured(running: Site, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """A connection after its handshake."""
    with running.connect() as plain, context.wrap_socket(plain, server_hostname=HOST) as connection:
        yield connection


# Which certificates of clients are accepted.

AUTH = {
    "NoClientCert": {},
    "VerifyClientCertIfGiven": {"client_auth_type": "VerifyClientCertIfGiven", "client_ca_file": "authority.pem"},
    "RequireAndVerifyClientCert": {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "authority.pem"},
}
NAMES = [SCRAPER, "192.0.2.7", "a@example.com", "urn:x"]
REFUSED = {
    "NoClientCert": {},
    "VerifyClientCertIfGiven": {"of another authority": "certificate", "expired": "certificate"},
    "RequireAndVerifyClientCert": {
        "none": "certificate",
        "of another authority": "certificate",
        "expired": "certificate",
    },
}


@pytest.mark.parametrize("auth", AUTH)
def test_clients_are_accepted_by_their_certificates(world: World, auth: str) -> None:
    with site(config_file=world.web.write(tls_server_config=world.web.tls(**AUTH[auth]))) as running:
        outcomes = {shown: outcome(world, running, shown) for shown in world.certified}
    assert outcomes == {shown: REFUSED[auth].get(shown, "200") for shown in world.certified}


@pytest.mark.parametrize("name", NAMES)
def test_clients_need_an_allowed_name(world: World, name: str) -> None:
    tls = world.web.mutual(client_allowed_sans=["nobody.example.com", name])
    with site(config_file=world.web.write(tls_server_config=tls)) as running:
        assert outcome(world, running, "right") == "200"
        assert outcome(world, running, "of another name") == "name"


def test_a_name_is_compared_whole(world: World) -> None:
    tls = world.web.mutual(client_allowed_sans=["example.com", f"x.{SCRAPER}", SCRAPER.upper(), "*.example.com"])
    with site(config_file=world.web.write(tls_server_config=tls)) as running:
        assert outcome(world, running, "right") == "name"


def outcome(world: World, running: Site, shown: str) -> str:
    """The status of a response, or the reason why a handshake failed."""
    before = failures(running)
    try:
        return str(world.get(running, shown=shown).status_code)
    except FAILED:
        after = eventually(lambda: {each: n for each, n in failures(running).items() if n != before.get(each)})
        (reason,) = after
        return reason


# Versions and algorithms.


@pytest.mark.parametrize(
    ("server", "client", "agreed"),
    [
        ({}, ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ({}, ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ({"max_version": "TLS12"}, ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ({"max_version": "TLS12"}, ssl.TLSVersion.TLSv1_3, None),
        ({"min_version": "TLS13"}, ssl.TLSVersion.TLSv1_2, None),
        ({"min_version": "TLS13"}, ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ({"cipher_suites": ["TLS_AES_128_GCM_SHA256"]}, ssl.TLSVersion.TLSv1_2, None),
        ({"cipher_suites": ["TLS_AES_128_GCM_SHA256"]}, ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
    ],
)
def test_a_version_is_agreed_on(
    world: World, server: dict[str, Any], client: ssl.TLSVersion, agreed: str | None
) -> None:
    context = world.context()
    context.minimum_version = context.maximum_version = client
    with site(config_file=world.web.write(tls_server_config=world.web.tls(**server))) as running:
        if agreed is None:
            with pytest.raises(ssl.SSLError), secured(running, context):
                pass
            assert eventually(lambda: failures(running)) == {"protocol": 1}
        else:
            with secured(running, context) as connection:
                assert connection.version() == agreed


def test_a_version_that_openssl_gave_up_is_refused(tls: Site) -> None:
    """Even for a client that has it switched on."""
    client = [program("openssl", "openssl"), "s_client", "-connect", f"{HOST}:{tls.port}", "-tls1_1"]
    ended = subprocess.run(
        [*client, "-cipher", "ALL@SECLEVEL=0"], input=b"", capture_output=True, timeout=20, check=False
    )
    assert ended.returncode != 0
    assert b"alert protocol version" in ended.stderr


FIRST, SECOND = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"


@pytest.mark.parametrize(
    ("tls", "offered", "agreed"),
    [
        ([FIRST], "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ([FIRST], "ECDHE-ECDSA-AES256-GCM-SHA384", None),
        ([FIRST, SECOND], "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256", "by the server"),
        ([FIRST, SECOND], "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256", "by the client"),
        (["TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"], "ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES256-SHA"),
    ],
)
def test_a_suite_is_agreed_on(world: World, tls: list[str], offered: str, agreed: str | None) -> None:
    keys = {"cipher_suites": tls, "prefer_server_cipher_suites": agreed != "by the client"}
    context = world.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(offered)
    names = {"by the server": "ECDHE-ECDSA-AES128-GCM-SHA256", "by the client": "ECDHE-ECDSA-AES256-GCM-SHA384"}
    with site(config_file=world.web.write(tls_server_config=world.web.tls(**keys))) as running:
        if agreed is None:
            with pytest.raises(ssl.SSLError), secured(running, context):
                pass
        else:
            with secured(running, context) as connection:
                assert (connection.cipher() or "")[0] == names.get(agreed, agreed)


@pytest.mark.parametrize(("group", "succeeds"), [("X25519", True), ("P-256", False)])
def test_the_curve_is_the_chosen_one(world: World, group: str, succeeds: bool) -> None:
    tls = world.web.tls(curve_preferences=["X25519"])
    with site(config_file=world.web.write(tls_server_config=tls)) as running:
        client = [program("openssl", "openssl"), "s_client", "-connect", f"{HOST}:{running.port}", "-groups", group]
        ended = subprocess.run(client, input=b"", capture_output=True, timeout=20, check=False)
    assert (ended.returncode == 0) is succeeds, ended.stderr


def test_http_1_1_is_agreed_on_with_a_client_that_prefers_another(world: World, tls: Site) -> None:
    context = world.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secured(tls, context) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_no_session_is_resumed(world: World, tls: Site) -> None:
    """It would skip the verification of a certificate that has expired meanwhile."""
    context = world.context()
    with secured(tls, context) as first:
        first.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        first.recv(1000)
        session = first.session
    with tls.connect() as plain, context.wrap_socket(plain, server_hostname=HOST, session=session) as again:
        assert not again.session_reused


def test_a_certificate_that_expires_ends_a_resumed_session(world: World) -> None:
    """TLS 1.2 resumes it without a look at the certificate."""
    tls = server_tls(TlsConfig(**world.web.mutual()), world.web.directory)
    context, now = world.context("right"), time.time()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    first, _ = shaken(tls, context)
    again, session = shaken(tls, context, first.session)
    assert again.session_reused
    assert not session.has_expired(now)
    assert session.has_expired(now + 2 * 86_400)
    assert SCRAPER in session.client_names()


def shaken(
    tls: Tls, context: ssl.SSLContext, resumed: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, TlsSession]:
    """Both sides of a handshake without sockets."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=HOST, session=resumed)
    server = TlsSession(tls.context)
    while not server.is_complete:
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        server.feed(outgoing.read())
        incoming.write(server.to_send())
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return client, server


# Certificates that cannot be used.


def fault(web: WebFiles, **tls: Any) -> str:
    (mistake,) = config_file.mistakes(str(web.write(tls_server_config=tls)))
    assert mistake.paths == ("web.config_file",)
    return mistake.message.removeprefix(f"{web.path}: tls_server_config.")


def test_certificates_that_cannot_be_used_are_named(world: World, tmp_path: Path) -> None:
    web, text = world.web, tmp_path / "text.pem"
    text.write_text("not a certificate")
    encrypted = web.authority.issue("encrypted", passphrase="long-enough")
    own = web.tls()
    assert fault(web, **{**own, "cert_file": "no.pem"}) == (
        f"cert_file: {web.directory}/no.pem cannot be read: No such file or directory"
    )
    assert fault(web, **{**own, "key_file": "."}) == f"key_file: {web.directory} cannot be read: Is a directory"
    assert fault(web, **{**own, "key_file": encrypted.key.name}).startswith("key_file: the private key is encrypted")
    mismatch = fault(web, **{**own, "key_file": web.scraper.key.name})
    assert mismatch == "cert_file: certificate and private key cannot be used: key values mismatch"
    assert "cannot be used" in fault(web, **{**own, "cert_file": str(text)})
    assert fault(web, **web.mutual(client_ca_file=str(text))) == "client_ca_file: there is no certificate in PEM"


@pytest.mark.skipif(hasattr(ssl.SSLContext, "set_groups"), reason="this Python can choose several")
def test_several_curves_are_refused_where_python_can_choose_one_only(world: World) -> None:
    message = fault(world.web, **world.web.tls(curve_preferences=["X25519", "CurveP256"]))
    assert message == "curve_preferences: got 2 curves, expected one or none: Python has more from 3.15 on"


def test_certificates_may_be_text_in_the_file(world: World) -> None:
    web = world.web
    keys = {"cert": web.server.certificate.read_text(), "key": web.server.key.read_text()}
    authority = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": web.authority.certificate.read_text()}
    with site(config_file=web.write(tls_server_config={**keys, **authority})) as running:
        assert world.get(running, shown="right").status_code == 200


# Requests.


def test_responses_are_whole(world: World, tls: Site) -> None:
    """Large ones, several on one connection, those without a body, and health checks."""
    tls.queries.more = [large("big")]
    plain = world.get(tls, headers={"Accept-Encoding": "identity"})
    assert len(plain.content) == int(plain.headers["Content-Length"]) > 20_000_000
    connection = HTTPSConnection(HOST, tls.port, context=world.context(), timeout=10)
    for method, path, status in (("GET", "/", 200), ("HEAD", "/metrics", 200), ("GET", "/x", 404), ("POST", "/", 405)):
        connection.request(method, path)
        response = connection.getresponse()
        assert response.status == status
        assert bool(response.read()) is (method != "HEAD")
    connection.close()
    tls.queries.health = Status(False, ("no turn",))
    assert [world.get(tls, path).status_code for path in ("/-/healthy", "/-/ready")] == [503, 200]


def test_a_stream_begins_over_tls_and_with_a_password(world: World) -> None:
    path = world.web.write(tls_server_config=world.web.tls(), basic_auth_users=users())
    with site(config_file=path) as running:
        assert world.get(running, "/api/v1/stream").status_code == 401
        with world.get(running, "/api/v1/stream", auth=(USER, PASSWORD), stream=True) as stream:
            assert (stream.status_code, stream.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
            assert next(stream.iter_lines())


def test_requests_may_arrive_in_pieces_and_together(world: World, tls: Site) -> None:
    with secured(tls, world.context()) as connection:
        for piece in (b"GET /static/ic", b"on.svg HTTP/1.1\r\nHo", b"st: x\r\n\r\nGET /x HTTP/1.0\r\n\r\n"):
            connection.sendall(piece)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.count(b"HTTP/1.1 200 OK") == 1
    assert received.count(b"404 Not Found") == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4000 + b"\r\n", b"431"),
        (b"GET / HTTP/3.0\r\n\r\n", b"400"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde", b"200"),
    ],
)
def test_invalid_requests_are_refused_as_without_tls(world: World, tls: Site, sent: bytes, status: bytes) -> None:
    with site() as plain, plain.connect() as open_connection, secured(tls, world.context()) as connection:
        for client in (open_connection, connection):
            client.sendall(sent)
            assert client.recv(1000).split()[1] == status


def test_a_request_without_tls_gets_an_explanation(tls: Site) -> None:
    for path in ("/metrics", "/-/healthy"):
        response = requests.get(tls.url(path), timeout=10)
        assert (response.status_code, response.text) == (
            400,
            "this port serves HTTPS, and the request is not encrypted\n",
        )


def test_the_name_of_a_server_may_differ_from_its_host(world: World, tls: Site) -> None:
    """As that of a sidecar which is asked by an address."""
    authority = str(world.web.authority.certificate)

    def status(server_name: str | None) -> int:
        client = ClientTls(authority, server_name=server_name)
        return fetch("GET", f"https://{HOST}:{tls.port}/x", seconds=10, size=1000, tls=client).status

    assert [status(None), status("localhost")] == [404, 404]
    with pytest.raises(requests.ConnectionError, match=r"other\.example\.com"):
        status("other.example.com")
    with pytest.raises(requests.ConnectionError, match="certificate verify failed"):
        fetch("GET", f"https://{HOST}:{tls.port}/x", seconds=10, size=1000)


# Handshakes that never end.


def hello(context: ssl.SSLContext) -> bytes:
    """The first message of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("sent", ["nothing", "half a message", "a message", "a handshake", "half a request"])
def test_unfinished_handshakes_delay_no_others(world: World, tls: Site, sent: str) -> None:
    context = world.context()
    first = hello(context)
    begun = {"half a message": first[:-1], "a message": first, "half a request": b"GET / HTTP/1.1\r\n"}
    with ExitStack() as stack:
        for _ in range(150):
            client = stack.enter_context(tls.connect())
            if sent in ("a handshake", "half a request"):
                client = stack.enter_context(context.wrap_socket(client, server_hostname=HOST))
            client.sendall(begun.get(sent, b""))
        assert world.get(tls).status_code == 200
        assert world.get(tls, "/-/healthy").status_code == 200
        assert not failures(tls)


def test_unfinished_handshakes_are_limited_in_number(world: World) -> None:
    """The network with the most of them loses its oldest."""
    path = world.web.write(tls_server_config=world.web.tls())
    with site(ClientLimits(incoming=8), config_file=path) as running, ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(running.connect())
            client.sendall(hello(world.context()))
            assert client.recv(1), "the thread of handshakes has answered"
        assert running.queries.evictions("connections") == 12
        assert world.get(running).status_code == 200


def test_unfinished_handshakes_are_limited_in_time(world: World) -> None:
    path = world.web.write(tls_server_config=world.web.tls())
    with site(ClientLimits(request_seconds=1.5), config_file=path) as running, ExitStack() as stack:
        silent, half = (stack.enter_context(running.connect()) for _ in range(2))
        half.sendall(hello(world.context()))
        assert silent.recv(1) == b""
        while half.recv(10_000):
            pass
        with secured(running, world.context()) as begun:
            begun.sendall(b"GET /")
            assert begun.recv(1000).split()[1] == b"408"
        assert running.queries.evictions("slow") == 3


def test_garbage_in_place_of_tls_harms_no_others(world: World, tls: Site) -> None:
    """At random, but the same each time: broken messages, and broken records after a handshake."""
    some = random.Random(14)
    first = hello(world.context())
    for _ in range(60):
        broken = bytearray(first)
        for _ in range(some.randrange(1, 4)):
            broken[some.randrange(len(broken))] = some.randrange(256)
        with tls.connect() as client:
            client.sendall(some.choice([bytes(broken), b"\x16" + some.randbytes(300)]))
    for _ in range(20):
        with tls.connect() as plain, world.context().wrap_socket(plain, server_hostname=HOST) as client:
            client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            client.recv(1000)
            os.write(client.fileno(), b"\x17\x03\x03\x00\x20" + some.randbytes(32))
    assert world.get(tls).status_code == 200


# Changes of the file.


@pytest.fixture
def own(tmp_path: Path) -> WebFiles:
    """Files that a test may change."""
    return WebFiles(tmp_path / "own")


def serial(web: WebFiles, running: Site) -> object:
    """The serial number of the certificate that the server shows."""
    context = ssl.create_default_context(cafile=web.authority.certificate)
    with secured(running, context) as connection:
        return (connection.getpeercert() or {})["serialNumber"]


def test_a_new_certificate_is_used_without_a_restart(own: WebFiles) -> None:
    """By those that connect from then on; found by looking at the files. A half-done change harms nothing."""
    with site(config_file=own.write(tls_server_config=own.tls())) as running:
        assert running.web_file is not None
        before = serial(own, running)
        context = ssl.create_default_context(cafile=own.authority.certificate)
        kept = HTTPSConnection(HOST, running.port, context=context, timeout=10)
        kept.request("GET", "/x")
        kept.getresponse().read()
        new = own.authority.issue("new")
        new.certificate.replace(own.server.certificate)
        with pytest.raises(ConfigError, match="key values mismatch"):
            running.web_file.reload()
        assert serial(own, running) == before
        new.key.replace(own.server.key)
        eventually(lambda: serial(own, running) != before)
        kept.request("GET", "/x")
        assert kept.getresponse().status == 404
        kept.close()


def test_a_new_authority_of_clients_refuses_those_of_the_old(own: WebFiles, world: World) -> None:
    shown = client_files(own.authority, own.scraper)
    with site(config_file=own.write(tls_server_config=own.mutual())) as running:
        assert running.web_file is not None
        url = f"https://{HOST}:{running.port}/x"
        assert requests.get(url, timeout=10, **shown).status_code == 404
        own.write(tls_server_config=own.mutual(client_ca_file=str(world.other.certificate)))
        running.web_file.reload()
        with pytest.raises(FAILED):
            requests.get(url, timeout=10, **shown)
        foreign = client_files(own.authority, world.certified["of another authority"])
        assert requests.get(url, timeout=10, **foreign).status_code == 404


def reloaded(running: Site) -> float | None:
    return running.queries.registry.get_sample_value("marketdata_exporter_web_config_last_reload_successful")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("tls_server_config: {cert_file: x", "this is not YAML"),
        ("oops: 1", "oops: unknown key"),
        ("", "TLS cannot be switched on or off while the sidecar runs, restart it"),
        (None, "the file cannot be read: No such file or directory"),
    ],
)
def test_a_file_with_mistakes_leaves_the_last_valid_one_in_force(own: WebFiles, text: str | None, mistake: str) -> None:
    with site(config_file=own.write(tls_server_config=own.tls())) as running:
        assert running.web_file is not None
        before, valid = serial(own, running), own.path.read_text()
        own.path.unlink() if text is None else own.path.write_text(text)
        with pytest.raises(ConfigError, match=mistake):
            running.web_file.reload()
        (warning,) = running.web_file.warnings
        assert mistake in warning
        assert (serial(own, running), reloaded(running)) == (before, 0)
        own.path.write_text(valid)
        running.web_file.reload()
        assert reloaded(running) == 1
        assert running.web_file.warnings == ()


def test_a_file_that_is_made_readable_is_read_again(own: WebFiles) -> None:
    """Its content and time of change stay the same."""
    state = config_file._state(own.write())
    own.path.chmod(0o400)
    assert config_file._state(own.path) != state


def test_a_folder_that_is_swapped_as_kubernetes_does_is_a_change(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "web.yml").write_text("")
    link, new = tmp_path / "data", tmp_path / "new"
    link.symlink_to("first")
    state = config_file._state(link / "web.yml")
    new.symlink_to("second")
    new.replace(link)
    assert config_file._state(link / "web.yml") != state


def test_nothing_is_loaded_for_a_sidecar_without_a_file() -> None:
    parts = ("bcrypt", *(f"exporter.web.{name}" for name in ("tls", "handshakes", "authentication", "config_file")))
    program = f"import exporter.app, exporter.preflight, sys; sys.exit(bool({{*{parts}}} & {{*sys.modules}}))"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# Passwords, headers and the rate limit.


def test_a_password_opens_every_path_and_nothing_else_does(own: WebFiles) -> None:
    with site(config_file=own.write(basic_auth_users=users())) as running:
        paths = ("/metrics", "/", "/config", "/api/v1/feeds", "/-/healthy", "/-/ready", "/x")
        for path in paths:
            refused = requests.get(running.url(path), timeout=10)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (
                401,
                'Basic realm="marketdata-exporter", charset="UTF-8"',
            )
            for auth in ((USER, "wrong"), ("unknown", PASSWORD), ("", "")):
                assert requests.get(running.url(path), auth=auth, timeout=10).status_code == 401
            allowed = requests.get(running.url(path), auth=(USER, PASSWORD), timeout=10).status_code
            assert allowed == (404 if path == "/x" else 200)
        assert requests.post(running.url("/"), timeout=10).status_code == 401


def test_a_wrong_password_of_a_health_check_costs_one_computation(
    own: WebFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are known are answered by the thread that accepts connections."""
    compared: list[bytes] = []

    def compare(password: bytes, hash: bytes) -> bool:
        compared.append(password)
        return password == PASSWORD.encode()

    monkeypatch.setattr("bcrypt.checkpw", compare)
    with site(config_file=own.write(basic_auth_users=users())) as running:
        for _ in range(3):
            assert requests.get(running.url("/-/healthy"), auth=(USER, PASSWORD), timeout=10).status_code == 200
            assert requests.get(running.url("/-/healthy"), auth=(USER, "no"), timeout=10).status_code == 401
            assert requests.get(running.url("/-/healthy"), auth=("unknown", "no"), timeout=10).status_code == 401
        assert compared == [PASSWORD.encode(), b"no", b"no"]


def test_new_users_replace_those_before(own: WebFiles) -> None:
    with site(config_file=own.write(basic_auth_users=users())) as running:
        assert running.web_file is not None
        assert requests.get(running.url("/x"), auth=(USER, PASSWORD), timeout=10).status_code == 404
        own.write(basic_auth_users=users(other="sesame-2"))
        running.web_file.reload()
        assert requests.get(running.url("/x"), auth=(USER, PASSWORD), timeout=10).status_code == 401
        assert requests.get(running.url("/x"), auth=("other", "sesame-2"), timeout=10).status_code == 404
        own.write()
        running.web_file.reload()
        assert requests.get(running.url("/x"), timeout=10).status_code == 404


def test_configured_headers_are_added_in_place_of_the_own(own: WebFiles) -> None:
    headers = {"X-Frame-Options": "deny", "Content-Security-Policy": "default-src 'self'", "X-XSS-Protection": ""}
    path = own.write(http_server_config={"headers": headers}, basic_auth_users=users())
    with site(config_file=path) as running:
        for name, auth in (("/x", None), ("/x", (USER, PASSWORD)), ("/-/healthy", (USER, PASSWORD))):
            given = requests.get(running.url(name), auth=auth, timeout=10).headers
            assert (given["X-Frame-Options"], given["Content-Security-Policy"]) == ("deny", "default-src 'self'")
            assert given["X-Content-Type-Options"] == "nosniff"
            assert "X-XSS-Protection" not in given


def test_requests_beyond_the_rate_are_refused_except_health_checks(own: WebFiles) -> None:
    with site(config_file=own.write(rate_limit={"interval": "1h", "burst": 3})) as running:
        statuses = [requests.get(running.url("/x"), timeout=10).status_code for _ in range(5)]
        assert statuses == [404, 404, 404, 429, 429]
        assert [requests.get(running.url(path), timeout=10).status_code for path in ("/-/healthy", "/-/ready")] == [
            200,
            200,
        ]


def test_the_package_bcrypt_is_needed_for_passwords_only(own: WebFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    assert list(config_file.mistakes(str(own.write(tls_server_config=own.tls())))) == []
    (mistake,) = config_file.mistakes(str(own.write(basic_auth_users=users())))
    assert mistake.message.endswith(
        "the package bcrypt is not installed, expected the extra marketdata-exporter[bcrypt]"
    )


def test_no_secret_is_in_an_error(own: WebFiles) -> None:
    """Of a key in the file, a hash, or a key in place of a certificate."""
    key = own.server.key.read_text()
    for tls in ({"cert": key, "key": key}, {"cert": "x", "key": key}, {"cert_file": str(own.server.key), "key": key}):
        (mistake,) = config_file.mistakes(str(own.write(tls_server_config=tls, basic_auth_users=users())))
        assert not any(line in mistake.message for line in key.splitlines()[1:-1])


def test_a_first_file_with_mistakes_prevents_the_start(own: WebFiles) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        WebConfigFile(str(own.write(oops=1)), WebFileMetrics(CollectorRegistry()))
