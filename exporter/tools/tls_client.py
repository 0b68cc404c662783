"""The client's side of TLS for commands that ask the sidecar on this machine; imported only for HTTPS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.config.web_schema import WebClientConfig


@contextmanager
def secured(connection: socket.socket, host: str, client: WebClientConfig) -> Iterator[ssl.SSLSocket]:
    """Context of the encrypted connection, with a handshake within its time-out; raise OSError with a text for users.

    Without `ca_file` the certificate is not verified, as in the HTTPS probes of Kubernetes: this machine asks itself.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = client.ca_file is not None
    context.verify_mode = ssl.CERT_NONE if client.ca_file is None else ssl.CERT_REQUIRED
    _load_files(context, client)
    try:
        with context.wrap_socket(connection, server_hostname=client.server_name or host) as encrypted:
            yield encrypted
    except ssl.SSLCertVerificationError as error:
        raise OSError(f"its certificate is refused: {error.verify_message.rstrip('.')}") from None
    except ssl.SSLError as error:
        raise OSError(f"the handshake failed: {(error.reason or '').replace('_', ' ').lower()}") from None


def _load_files(context: ssl.SSLContext, client: WebClientConfig) -> None:
    key = "ca_file"
    try:
        if client.ca_file is not None:
            context.load_verify_locations(client.ca_file)
        key = "cert_file"
        if client.cert_file is not None:
            context.load_cert_chain(client.cert_file, client.key_file, password="")
    except OSError as error:
        reason = (getattr(error, "reason", "") or error.strerror or "not a certificate").replace("_", " ").lower()
        raise OSError(f"web.client.{key} cannot be used: {reason}") from None
