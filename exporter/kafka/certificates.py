"""Detects why a certificate is refused, which librdkafka does not report.

Reads the broker's certificate in a TLS handshake, and the client's from its file.
"""

from __future__ import annotations

import _ssl
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

HANDSHAKE_SECONDS = 2.0


def fault_of_broker(address: str, properties: Mapping[str, str]) -> str:
    """Return why the certificate of `host:port` is not accepted; empty when it is, or when that cannot be detected."""
    host, _, port = address.rpartition(":")
    name = host.strip("[]")
    try:
        context = _context(properties)
        with (
            socket.create_connection((name, int(port)), HANDSHAKE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message.rstrip(".")
    except (OSError, ValueError):
        return ""


def _context(properties: Mapping[str, str]) -> ssl.SSLContext:
    """Return a context that trusts the authorities that librdkafka trusts with these properties."""
    place, text = properties.get("ssl.ca.location"), properties.get("ssl.ca.pem")
    is_folder = place is not None and Path(place).is_dir()
    context = ssl.create_default_context(
        cafile=None if is_folder else place, capath=place if is_folder else None, cadata=text
    )
    # Python 3.13 refuses certificates that librdkafka accepts, often those of private authorities.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = properties.get("ssl.endpoint.identification.algorithm", "https") != "none"
    return context


def fault_of_client(properties: Mapping[str, str], now: float) -> str:
    """Return why a broker would refuse the client's certificate at `now` (Unix seconds); empty when unknown."""
    if text := properties.get("ssl.certificate.pem"):
        return _fault_of_text(text, now)
    if place := properties.get("ssl.certificate.location"):
        return _fault_of_file(place, now)
    return "" if "ssl.keystore.location" in properties else "none is configured"


def _fault_of_text(text: str, now: float) -> str:
    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(text)
        file.flush()
        return _fault_of_file(file.name, now)


def _fault_of_file(place: str, now: float) -> str:
    """Return whether the first certificate of a PEM file is outside its validity."""
    try:
        # Private, but the only decoder of a certificate file in Python, and unchanged since 2.6.
        shown: dict[str, Any] = _ssl._test_decode_cert(place)  # type: ignore[attr-defined]
    except (OSError, ValueError):
        return ""
    begins, ends = shown["notBefore"], shown["notAfter"]
    if now > ssl.cert_time_to_seconds(ends):
        return f"it has expired ({ends})"
    return f"it is not yet valid (before {begins})" if now < ssl.cert_time_to_seconds(begins) else ""
