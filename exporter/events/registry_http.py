"""HTTP requests to a schema registry: credentials, redirects, limits, and error texts."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.auth import HTTPBasicAuth

from exporter.config.files import read_text
from exporter.config.parsers import credentials, http_token
from exporter.config.schema import OutputConfig
from exporter.config.secrets import shown_text
from exporter.model import RegistryError
from exporter.runtime.foreign_text import add_secrets, printable
from exporter.runtime.http_client import Answer, Auth, ClientTls, TooLarge, fetch, system_text

# Time-out of one request, redirects included: shorter than a stopping sidecar waits for its producer.
CALL_SECONDS = 4.0
# Time-out of the requests about all schemas: as long as the three that one schema may need, so that each attempt makes
# progress.
SESSION_SECONDS = 12.0
# Schemas take some KB.
ANSWER_BYTES = 1_000_000
REDIRECTS_MAX = 5
# Not 303: it requests a GET of another resource.
_REDIRECTS = (301, 302, 307, 308)
_TYPES = {"Accept": "application/vnd.schemaregistry.v1+json", "Content-Type": "application/vnd.schemaregistry.v1+json"}

_Request = requests.PreparedRequest


class Reply(NamedTuple):
    """A reply: HTTP status, JSON object ({} when it is none), and a note to append to errors after a redirect."""

    status: int
    body: Mapping[str, Any]
    reason: str = ""
    redirect_note: str = ""

    @property
    def id(self) -> int | None:
        """The id of a schema (32 bits); None without one."""
        number = self.body.get("id")
        return number if type(number) is int and 0 <= number < 2**32 else None

    @property
    def code(self) -> object:
        """The registry's error code, such as 40401; None without one."""
        return self.body.get("error_code")

    def __str__(self) -> str:
        message = self.body.get("message")
        text = printable(message if isinstance(message, str) else self.reason)
        return f"{self.status} {text}".rstrip() + self.redirect_note


class _TokenError(OSError):
    """The file with the token cannot be used, for the reason in the text."""


class RegistryHttp:
    """The configured registry; calls block. All replies of the registry are received here."""

    def __init__(self, output: OutputConfig) -> None:
        url = output.schema_registry or ""
        parts = urlsplit(url)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        given = {"username": output.schema_registry_username, "password": output.schema_registry_password}
        login = credentials(url) | {name: value for name, value in given.items() if value is not None}
        # As bytes: text beyond Latin-1 would raise an error.
        user, password = (login.get(name, "").encode() for name in ("username", "password"))
        self._auth: Auth | None = HTTPBasicAuth(user, password) if login else _bearer(output)
        tls = output.schema_registry_tls
        self._own_tls = ClientTls(tls.ca_file, tls.cert_file, tls.key_file)
        self._session_deadline = math.inf

    @property
    def shown_url(self) -> str:
        """The URL without user and password."""
        return printable(shown_text(self._url, "url"))

    def start_session(self) -> None:
        """Start a session: all requests until the next one together take at most `SESSION_SECONDS`."""
        self._session_deadline = time.monotonic() + SESSION_SECONDS

    def request(self, method: str, body: Mapping[str, Any] | None, *path: str) -> Reply:
        """Return the reply to a request, `path` in segments; raise `RegistryError` when there is none.

        The request takes at most `CALL_SECONDS`, and each reply at most `ANSWER_BYTES`, its headers included.
        Redirects are followed with the same method and body. User and password, or the token, are sent to the
        registry's own host and port only.
        """
        url = "/".join((self._url, *(quote(part, safe="") for part in path)))
        try:
            answer, last = self._follow(method, url, body)
        # The library lets errors of malformed host names through.
        except (requests.RequestException, OSError, ValueError) as error:
            # The text of the error may contain secrets from a redirect.
            raise RegistryError(f"the schema registry cannot be reached: {_error_text(error)}") from None
        return Reply(
            answer.status, _object(answer.body), answer.reason, "" if last == url else self._redirect_note(last)
        )

    def _follow(self, method: str, url: str, body: Mapping[str, Any] | None) -> tuple[Answer, str]:
        """Return the first answer that is not a redirect, and its URL."""
        deadline = min(time.monotonic() + CALL_SECONDS, self._session_deadline)
        for _ in range(REDIRECTS_MAX + 1):
            is_own = self._is_own(url)
            answer = fetch(
                method,
                url,
                seconds=deadline - time.monotonic(),
                size=ANSWER_BYTES,
                headers=_TYPES,
                json=body,
                auth=self._auth if is_own else _anonymous,
                tls=self._own_tls if is_own else ClientTls(self._own_tls.ca_file),
            )
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or location is None:
                return answer, url
            url = urljoin(url, location)
        raise requests.TooManyRedirects

    def _is_own(self, url: str) -> bool:
        """Return whether a URL has the registry's host and port, with https allowed in place of http."""
        return not requests.Session().should_strip_auth(self._url, url)  # type: ignore[no-untyped-call]

    def _redirect_note(self, url: str) -> str:
        parts = urlsplit(url)
        target = printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        what = "user and password are" if isinstance(self._auth, HTTPBasicAuth) else "the token is"
        restriction = "" if self._auth is None or self._is_own(url) else f", where {what} not sent"
        return f" (redirected to {target}{restriction})"


def _bearer(output: OutputConfig) -> Auth | None:
    """Return what adds the configured token, None without one. A file is read for each request, as it may change."""
    if output.schema_registry_token is None and output.schema_registry_token_file is None:
        return None
    path, fixed = output.schema_registry_token_file, output.schema_registry_token or ""

    def authorize(request: _Request) -> _Request:
        request.headers["Authorization"] = f"Bearer {fixed if path is None else _token(path)}"
        return request

    return authorize


def _token(path: str) -> str:
    """Return the token in a file; raise `_TokenError`."""
    try:
        text = http_token(read_text(path).strip())
    except (OSError, ValueError) as error:
        raise _TokenError(f"{path} has no token: {getattr(error, 'strerror', None) or error}") from None
    add_secrets([text])
    return text


def _anonymous(request: _Request) -> _Request:
    """Prevent requests from taking user and password from the URL or the home directory."""
    return request


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _error_text(error: BaseException) -> str:
    """Return the type of an error, and the text of the system, or of the limit that was exceeded."""
    if isinstance(error, (TooLarge, requests.ReadTimeout)):
        return str(error)
    if isinstance(error.__cause__, _TokenError):
        return printable(str(error.__cause__))
    text = system_text(error)
    return f"{type(error).__name__}, {printable(text)}" if text else type(error).__name__
