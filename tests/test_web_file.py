"""The format of web configuration files: what is accepted, the errors for everything else, and no secret in any."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.loader import ConfigError
from exporter.config.web_file import CIPHERS, CURVES, HEADERS, WebFile, parse_web_file, uses_tls
from tests.support.documents import blocks, page
from tests.support.missing import program
from tests.support.prometheus import promtool
from tests.support.webfile import WebFiles, hashed

INVALID = Path(__file__).parent / "data/invalid-web-files"
TLS = {"cert_file": "a.pem", "key_file": "a.key"}
# Keys that promtool 2.42 does not know yet.
NEWER = ("client_allowed_sans", "rate_limit")


def parsed(**sections: Any) -> WebFile:
    return parse_web_file(yaml.safe_dump(sections))


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        parse_web_file(text)
    return list(map(str, error.value.problems))


@pytest.mark.parametrize("path", sorted(INVALID.glob("*.yml")), ids=lambda path: path.stem)
def test_every_mistake_has_a_line_with_path_and_what_is_allowed(path: Path) -> None:
    """Each file ends with the errors that it causes."""
    text = path.read_text()
    assert mistakes(text) == re.findall(r"^# error: (.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("text", ["", "tls_server_config:\n", "basic_auth_users: {}\n", "rate_limit: {interval: 0}\n"])
def test_a_file_without_content_protects_nothing(text: str) -> None:
    assert parse_web_file(text) == WebFile()


def test_the_defaults_are_those_of_the_toolkit() -> None:
    tls = parsed(tls_server_config=TLS).tls_server_config
    assert (tls.min_version, tls.max_version, tls.prefer_server_cipher_suites) == ("TLS12", "TLS13", True)
    assert not tls.verifies_clients
    assert parsed().http_server_config.http2


@pytest.mark.parametrize("given", ["", None, "NoClientCert"])
def test_an_empty_or_null_word_is_the_default(given: str | None) -> None:
    assert not parsed(tls_server_config={**TLS, "client_auth_type": given}).tls_server_config.verifies_clients


@pytest.mark.parametrize("key", ["cert", "key", "cert_file", "key_file", "client_ca", "client_ca_file"])
def test_each_key_about_certificates_asks_for_tls(key: str) -> None:
    """And is a mistake alone."""
    alone = mistakes(yaml.safe_dump({"tls_server_config": {key: "x"}}))
    assert any("missing, expected" in mistake for mistake in alone)
    assert not any("has no effect, expected cert_file" in mistake for mistake in alone)


def test_all_ciphers_curves_and_headers_of_the_format_are_accepted() -> None:
    values = {name: (allowed or ("any text",))[-1] for name, allowed in HEADERS.items()}
    tls = {**TLS, "cipher_suites": [*CIPHERS], "curve_preferences": [*CURVES]}
    found = parsed(tls_server_config=tls, http_server_config={"http2": False, "headers": values})
    assert found.tls_server_config.cipher_suites == tuple(CIPHERS)
    assert found.http_server_config.headers == values


@pytest.mark.parametrize(("text", "seconds"), [("100ms", 0.1), ("1s", 1.0), ("1m30s", 90.0), ("0", 0.0), (0, 0.0)])
def test_an_interval_has_units(text: str | int, seconds: float) -> None:
    assert parsed(rate_limit={"interval": text, "burst": 1}).rate_limit.interval == pytest.approx(seconds)


def test_references_of_the_configuration_mean_nothing_in_this_file() -> None:
    found = parsed(tls_server_config={"cert_file": "${HOME}/a", "key_file": "${file:/etc/passwd}"})
    assert found.tls_server_config.key_file == "${file:/etc/passwd}"


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_each_program_are_accepted(prefix: str) -> None:
    assert parsed(basic_auth_users={"a": hashed().replace("$2b$", prefix)}).basic_auth_users["a"].startswith(prefix)


def test_the_secrets_of_a_file_are_known_before_it_is_valid() -> None:
    known: list[str] = []
    key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\n-----END PRIVATE KEY-----\n"
    text = yaml.safe_dump({"tls_server_config": {"key": key}, "basic_auth_users": {"a": hashed()}, "x": 1})
    with pytest.raises(ConfigError):
        parse_web_file(text, known.extend)
    assert {key, hashed(), "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49"} <= set(known)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=8), st.sampled_from(["user", "key"]))
def test_a_password_in_place_of_a_hash_is_never_shown(secret: str, place: str) -> None:
    marked = f"hunter2{secret}hunter2"
    section = {"basic_auth_users": {"a": marked}} if place == "user" else {"tls_server_config": {"key": [marked]}}
    assert "hunter2" not in "".join(mistakes(yaml.safe_dump(section)))


@given(st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(yaml.safe_dump))
def test_any_text_is_a_file_or_a_configuration_error(text: str) -> None:
    assert isinstance(parsed_or_errors(text), WebFile | tuple)


def parsed_or_errors(text: str) -> WebFile | tuple[str, ...]:
    """The file, or the lines of its mistakes."""
    try:
        return parse_web_file(text)
    except ConfigError as error:
        return tuple(map(str, error.problems))


def test_a_file_with_mistakes_is_taken_to_have_tls_when_it_mentions_it() -> None:
    """A sidecar with this file may have been started before it was changed."""
    assert uses_tls("tls_server_config: {cert_file: 1, oops: 2}")
    assert not uses_tls("basic_auth_users: [")
    assert not uses_tls("basic_auth_users: {}")


def examples() -> list[str]:
    """The files in the documentation."""
    keys = WebFile.__struct_fields__
    found = [block for block in blocks("yaml", page("web-config")) if re.match("|".join(keys), block)]
    assert len(found) > 2
    return found


@pytest.mark.parametrize("text", examples())
def test_the_documented_examples_are_valid(text: str, tmp_path: Path) -> None:
    """For this program, and for Prometheus' own check as far as its version knows the keys."""
    file = parse_web_file(text)
    assert file != WebFile()
    web = WebFiles(tmp_path)
    for name in re.findall(r"\S+_file: (\S+)", text):
        kind = web.server.key if name.endswith(".key") else web.authority.certificate
        path = tmp_path / Path(name).name
        path.write_text((kind if "ca" in name or path.suffix == ".key" else web.server.certificate).read_text())
    web.path.write_text(re.sub(r"(_file: )\S*/", r"\1", text))
    program("promtool", "prometheus")
    if not any(key in text for key in NEWER):
        promtool("check", "web-config", web.path)
