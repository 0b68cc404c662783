"""The client of tools for a sidecar at any URL."""

from __future__ import annotations

from urllib.parse import urlsplit

from requests import RequestException
from requests.auth import HTTPBasicAuth
from requests.exceptions import SSLError

from exporter.config.web_schema import WebClientConfig
from exporter.runtime.http_client import ClientTls, fetch, system_text
from exporter.tools.healthcheck import is_local


class Refused(Exception):
    """The response is another one than 200: its text has the status."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def body(url: str, accept: str, seconds: float, size: int, client: WebClientConfig) -> bytes:
    """Return the body of at most `size` bytes at a URL.

    Raises `Refused`, and OSError without a response in time.
    """
    user, password = ((given or "").encode() for given in (client.username, client.password))
    try:
        answer = fetch(
            "GET",
            url,
            seconds=seconds,
            size=size,
            headers={"Accept": accept},
            auth=HTTPBasicAuth(user, password) if user else None,
            tls=ClientTls(client.ca_file, client.cert_file, client.key_file, client.server_name),
            # To this machine no proxy and no password of .netrc is used.
            trust_env=not is_local(urlsplit(url).hostname or ""),
        )
    except SSLError as error:
        raise OSError(f"the TLS handshake failed: {system_text(error) or error}") from None
    except RequestException as error:
        # Its own text begins with what it tried; the cause at the end would be cut.
        raise OSError(system_text(error) or str(error)) from None
    if answer.status != 200:
        place = answer.headers.get("Location")
        detour = f", see {place}" if place else ""
        raise Refused(f"the response is {answer.status} {answer.reason}{detour}", answer.status)
    return answer.body
