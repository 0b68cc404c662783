"""What is wrong with a certificate: librdkafka says no more than that it does not take it.

Looks at the broker's by a TLS handshake of its own, and at ours in its file.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

LOOK_SECONDS = 2.0
# RFC 5280, 4.1: a validity is a sequence of two times, each as short as it can be; nothing before it looks like that.
_TIME = rb"(?:\x17\x0d(\d{12})Z|\x18\x0f(\d{14})Z)"
_VALIDITY = re.compile(rb"\x30[\x1e\x20\x22]" + _TIME + _TIME, re.DOTALL)
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def fault_of_broker(address: str, properties: Mapping[str, str]) -> str:
    """Return why the certificate shown at `host:port` is not accepted; empty when it is, or when nobody can tell."""
    host, _, port = address.rpartition(":")
    name = host.strip("[]")
    try:
        context = _context(properties)
        with (
            socket.create_connection((name, int(port)), LOOK_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message.rstrip(".")
    except (OSError, ValueError):
        return ""


def _context(properties: Mapping[str, str]) -> ssl.SSLContext:
    """Return what trusts whom librdkafka trusts by these properties."""
    place, text = properties.get("ssl.ca.location"), properties.get("ssl.ca.pem")
    is_folder = place is not None and Path(place).is_dir()
    context = ssl.create_default_context(
        cafile=None if is_folder else place, capath=place if is_folder else None, cadata=text
    )
    # Python 3.13 refuses what librdkafka accepts, as certificates of private authorities often are.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = properties.get("ssl.endpoint.identification.algorithm", "https") != "none"
    return context


def fault_of_client(properties: Mapping[str, str], now: datetime) -> str:
    """Return why a broker would not take the certificate that we show; empty when it cannot be told from here."""
    try:
        text = properties.get("ssl.certificate.pem") or Path(properties["ssl.certificate.location"]).read_text()
    except KeyError:
        return "none is configured" if "ssl.keystore.location" not in properties else ""
    except (OSError, UnicodeDecodeError):
        return ""
    begins, ends = validity(text)
    if now > ends:
        return f"it has expired ({ends:%Y-%m-%d %H:%M} UTC)"
    return f"it is not yet valid (before {begins:%Y-%m-%d %H:%M} UTC)" if now < begins else ""


def validity(text: str) -> tuple[datetime, datetime]:
    """Return from when until when the first certificate of a PEM file is valid; all of time when there is none."""
    pem = _PEM.search(text)
    found = _VALIDITY.search(ssl.PEM_cert_to_DER_cert(pem[0])) if pem else None
    if found is None:
        return datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    return _moment(found[1], found[2]), _moment(found[3], found[4])


def _moment(short: bytes | None, long: bytes | None) -> datetime:
    """Return a time that is written with two digits for the year (RFC 5280: 1950 to 2049), or with four."""
    if short is not None:
        long = (b"20" if short < b"50" else b"19") + short
    return datetime.strptime((long or b"").decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
