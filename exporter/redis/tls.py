"""TLS of connections to Redis, from the configured files."""

from __future__ import annotations

import ssl
from typing import Any

from exporter.config.tls_files import TlsFiles


def has_files(tls: TlsFiles) -> bool:
    """Return whether any file is configured."""
    return any(getattr(tls, name) is not None for name in tls.__struct_fields__)


def context_of(connection: Any, tls: TlsFiles) -> ssl.SSLContext:
    """Return the context of a connection of the driver, from the files as they are now; raise `OSError` naming a file.

    The driver would trust the authorities of the system as well. Options of its URL about verification hold.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    name = "ca_file"
    try:
        if tls.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(tls.ca_file)
        name = "cert_file"
        if tls.cert_file is not None:
            # Without a password OpenSSL asks for one on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except OSError as error:
        raise OSError(f"redis.tls.{name} cannot be used: {getattr(error, 'reason', None) or error.strerror}") from None
    context.check_hostname = connection.check_hostname
    context.verify_mode = connection.cert_reqs
    return context
