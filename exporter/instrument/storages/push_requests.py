"""Handlers that prometheus-client sends the requests to a Pushgateway with."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple
from urllib.request import HTTPSHandler, Request, build_opener

from prometheus_client.exposition import basic_auth_handler, default_handler

Handler = Callable[..., Callable[[], None]]


class Tls(NamedTuple):
    """Files of a client for HTTPS, all in PEM: trusted authorities in place of the usual ones, and what it shows.

    Without `key_file` the key is in `cert_file`. A key has no passphrase.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def check(self, url: str) -> None:
        """Raise `ValueError` for files that do not go together, with this URL, or cannot be used."""
        given = [name for name, path in self._asdict().items() if path is not None]
        if given and not url.startswith("https:"):
            raise ValueError(f"{given[0]} goes with a URL that begins with https")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file is the key of a certificate: cert_file is missing")
        try:
            _ = given and self.context()
        except OSError as error:
            raise ValueError(str(error)) from None

    def context(self) -> ssl.SSLContext:
        """Return the context of a connection, from the files as they are now; raise `OSError` naming a file."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca_file is None:
            context.load_default_certs()
        else:
            _load("ca_file", self.ca_file, partial(context.load_verify_locations, self.ca_file))
        if self.cert_file is not None:
            # Without a password OpenSSL asks for one on the terminal.
            load = partial(context.load_cert_chain, self.cert_file, self.key_file, password="")
            _load("cert_file", self.cert_file, load)
        return context


def handler(username: str | None, password: str, tls: Tls) -> Handler:
    """Return the handler for a user, if any, and files, if any."""
    if not any(tls):
        if username is None:
            return default_handler
        return partial(basic_auth_handler, username=username, password=password)
    token = None if username is None else base64.b64encode(f"{username}:{password}".encode()).decode()

    def https(
        url: str, method: str, timeout: float | None, headers: Sequence[tuple[str, str]], data: bytes
    ) -> Callable[[], None]:
        request = Request(url, data, dict(headers), method=method)  # noqa: S310, the scheme was checked
        if token is not None:
            request.add_header("Authorization", f"Basic {token}")

        def send() -> None:
            # With each request, because certificates are replaced while programs run.
            with build_opener(HTTPSHandler(context=tls.context())).open(request, timeout=timeout):
                pass

        return send

    return https


def _load(name: str, path: str, load: Callable[[], object]) -> None:
    try:
        load()
    except OSError as error:
        reason = getattr(error, "reason", "") or error.strerror or "no certificate in PEM"
        raise OSError(f"{name} {path} cannot be used: {reason.replace('_', ' ').lower()}") from None
