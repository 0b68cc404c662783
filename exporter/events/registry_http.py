"""Requests to a schema registry: credentials, redirects, limits, and its errors as it words them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.auth import HTTPBasicAuth

from exporter.config.parsers import credentials
from exporter.config.schema import OutputConfig
from exporter.config.secrets import shown_text
from exporter.model import RegistryError
from exporter.runtime.foreign_text import printable
from exporter.runtime.http_client import Answer, TooLarge, fetch

# Of one question, redirects included: shorter than a stopping sidecar waits for its producer.
CALL_SECONDS = 4.0
# Of the questions about all schemas: as long as the three that one schema may need, so that each try gets on.
CONVERSATION_SECONDS = 12.0
# Schemas have some KB.
ANSWER_BYTES = 1_000_000
REDIRECTS_MAX = 5
# Not 303: it asks for a GET of something else.
_REDIRECTS = (301, 302, 307, 308)
_TYPES = {"Accept": "application/vnd.schemaregistry.v1+json", "Content-Type": "application/vnd.schemaregistry.v1+json"}

_Request = requests.PreparedRequest


class Reply(NamedTuple):
    """An answer: the status of HTTP, its JSON ({} when it was no object), and what to add when it was redirected."""

    status: int
    body: Mapping[str, Any]
    reason: str = ""
    detour: str = ""

    @property
    def id(self) -> int | None:
        """The id of a schema, a number of 32 bits; None without one."""
        number = self.body.get("id")
        return number if type(number) is int and 0 <= number < 2**32 else None

    @property
    def code(self) -> object:
        """The registry's own code of an error, such as 40401; None without one."""
        return self.body.get("error_code")

    def __str__(self) -> str:
        message = self.body.get("message")
        text = printable(message if isinstance(message, str) else self.reason)
        return f"{self.status} {text}".rstrip() + self.detour


class RegistryHttp:
    """One registry, as the configuration names it; calls block. The one place where its answers come in."""

    def __init__(self, output: OutputConfig) -> None:
        url = output.schema_registry or ""
        parts = urlsplit(url)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        given = {"username": output.schema_registry_username, "password": output.schema_registry_password}
        known = credentials(url) | {name: value for name, value in given.items() if value is not None}
        # As bytes, or those beyond Latin-1 would be an error.
        user, password = (known.get(name, "").encode() for name in ("username", "password"))
        self._auth = HTTPBasicAuth(user, password) if known else None
        self._until = math.inf

    @property
    def place(self) -> str:
        """Where it is, without user and password."""
        return printable(shown_text(self._url, "url"))

    def begin(self) -> None:
        """Begin a conversation: all questions until the next one together take at most `CONVERSATION_SECONDS`."""
        self._until = time.monotonic() + CONVERSATION_SECONDS

    def ask(self, method: str, body: Mapping[str, Any] | None, *path: str) -> Reply:
        """Return the answer to a request, `path` in parts; raise `RegistryError` when there is none.

        All of it takes at most `CALL_SECONDS`, and each answer has at most `ANSWER_BYTES`, its headers included.
        A redirect is followed with the same method and body. User and password go to the registry's own address only.
        """
        url = "/".join((self._url, *(quote(part, safe="") for part in path)))
        try:
            answer, last = self._followed(method, url, body)
        # The driver lets through what comes from host names that are none.
        except (requests.RequestException, OSError, ValueError) as error:
            # The error's own text may hold what a redirect brought.
            raise RegistryError(f"the schema registry cannot be reached: {_why(error)}") from None
        return Reply(answer.status, _object(answer.body), answer.reason, "" if last == url else self._detour(last))

    def _followed(self, method: str, url: str, body: Mapping[str, Any] | None) -> tuple[Answer, str]:
        """Return the first answer that is no redirect, and the URL that gave it."""
        deadline = min(time.monotonic() + CALL_SECONDS, self._until)
        for _ in range(REDIRECTS_MAX + 1):
            answer = fetch(
                method,
                url,
                seconds=deadline - time.monotonic(),
                size=ANSWER_BYTES,
                headers=_TYPES,
                json=body,
                auth=self._auth if self._is_own(url) else _anonymous,
            )
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or location is None:
                return answer, url
            url = urljoin(url, location)
        raise requests.TooManyRedirects

    def _is_own(self, url: str) -> bool:
        """Whether a URL is at the registry's host and port; https in place of http is as good."""
        return not requests.Session().should_strip_auth(self._url, url)  # type: ignore[no-untyped-call]

    def _detour(self, url: str) -> str:
        parts = urlsplit(url)
        place = printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        silence = "" if self._auth is None or self._is_own(url) else ", where user and password are not sent"
        return f" (redirected to {place}{silence})"


def _anonymous(request: _Request) -> _Request:
    """Keep requests from taking user and password out of the URL or the home directory."""
    return request


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _why(error: BaseException) -> str:
    """Return the kind of an error, and what the system, or the limit that it broke, says about it."""
    if isinstance(error, (TooLarge, requests.ReadTimeout)):
        return str(error)
    cause: BaseException | None = error
    while cause is not None:
        text = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
        if isinstance(text, str) and text:
            return f"{type(error).__name__}, {printable(text)}"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
