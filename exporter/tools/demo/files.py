"""The files of a demo: its configuration, which may be edited and reloaded, and what `--tls` secures its port with."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

CONFIG, WEB, CERTIFICATE, KEY = "sidecar.yml", "web.yml", "cert.pem", "key.pem"
# For the user and with the password of this name.
USER = "demo"
_HASH = "$2b$10$s3Fn00AiR2DoevY.7GTnvOOcgFY51vR/G4wjvqsAi8LQKqoJ85yqu"
_OPENSSL = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost "
    "-addext subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1 "
    # It is its own authority, and Python 3.13 asks whether it may be one.
    "-addext keyUsage=critical,digitalSignature,keyCertSign"
)


class NoCertificateError(Exception):
    """A certificate cannot be made."""


def write_config(folder: Path, settings: Mapping[str, object]) -> Path:
    """Write settings by paths such as `web.history` as a configuration file, and return its path."""
    sections: dict[str, dict[str, object] | object] = {}
    for path, value in settings.items():
        *names, last = path.split(".")
        section = sections
        for name in names:
            section = section.setdefault(name, {})  # type: ignore[assignment]  # sections hold sections
        section[last] = value
    file = folder / CONFIG
    file.write_text(yaml.safe_dump(sections, sort_keys=False))
    return file


def write_web_file(folder: Path) -> dict[str, object]:
    """Write a web configuration file with TLS and a user; return the settings that use it.

    Raises NoCertificateError without the program openssl.
    """
    files = ["-keyout", str(folder / KEY), "-out", str(folder / CERTIFICATE)]
    try:
        subprocess.run([*_OPENSSL.split(), *files], check=True, capture_output=True)  # noqa: S603 - fixed arguments
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoCertificateError(f"--tls needs the program openssl: {error}") from None
    tls = {"cert_file": CERTIFICATE, "key_file": KEY}
    (folder / WEB).write_text(yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": {USER: _HASH}}))
    return {
        "web.config_file": str(folder / WEB),
        "web.client.ca_file": str(folder / CERTIFICATE),
        "web.client.server_name": "localhost",
        "web.client.username": USER,
        "web.client.password": USER,
    }
