"""Metrics pushed to a Pushgateway, or to a sidecar that takes pushes, by prometheus-client's own functions."""

from __future__ import annotations

import atexit
import os
import random
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit

from prometheus_client import Metric, delete_from_gateway, push_to_gateway
from prometheus_client.registry import Collector

from exporter.instrument.storages.forks import renew_lock_after_fork
from exporter.instrument.storages.push_requests import Tls, handler
from exporter.instrument.storages.storage import Source, StorageError

LONGEST_PAUSE_SECONDS = 30.0
REASON_BYTES = 500
# What another attempt may change; a gateway that refuses the content refuses it again.
_TEMPORARY = (408, 425, 429)


class PushStorage:
    """A group of a Pushgateway: that of a job and, with `grouping_key`, of one process of several.

    Each push replaces the group. An attempt takes up to `timeout` seconds, and is repeated up to `attempts` times
    after network errors, 5xx, 408, 425 and 429, with pauses that double from `backoff` seconds and are shortened at
    random. `delete_at_end` deletes the group when the storage is closed or the program ends: a Pushgateway shows it
    for ever otherwise. `registry` is what is pushed, if it is not the collector's own metrics.

    For HTTPS, `ca_file` has the authorities that are trusted in place of the usual ones, `cert_file` and `key_file`
    the certificate that is shown and its key without passphrase (in `cert_file`, too, if `key_file` is None), all in
    PEM. They are read with each push. Raises `ValueError` for arguments without sense, and files that cannot be used.
    """

    def __init__(
        self,
        push_gateway_url: str,
        job_name: str,
        *,
        grouping_key: Mapping[str, str] | None = None,
        username: str | None = None,
        password: str | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        timeout: float = 5.0,
        attempts: int = 3,
        backoff: float = 0.5,
        delete_at_end: bool = True,
        registry: Collector | None = None,
    ) -> None:
        if not job_name:
            raise ValueError("job_name is empty")
        if attempts < 1 or timeout <= 0 or backoff < 0:
            raise ValueError("attempts is at least 1, timeout above 0 and backoff not below 0")
        self.url, user, secret = _without_user(push_gateway_url)
        self._group = {"gateway": self.url, "job": job_name, "grouping_key": dict(grouping_key or {})}
        tls = Tls(ca_file, cert_file, key_file)
        tls.check(self.url)
        self._handler = handler(username or user, secret if password is None else password, tls)
        self._timeout = timeout
        self._attempts = attempts
        self._backoff = backoff
        self._delete_at_end = delete_at_end
        self._registry = registry
        self._lock = threading.Lock()
        renew_lock_after_fork(self)
        self._closing = threading.Event()
        self._pushed_by = 0

    def store(self, source: Source) -> int:
        """Push the metrics; return the number of samples. Raises `StorageError`, with the reason of the gateway."""
        page = _Page(source if self._registry is None else self._registry)
        with self._lock:  # a repeated older push must not replace a newer one
            if self._closing.is_set():
                raise StorageError("the storage is closed")
            self._remember()
            self._repeat(partial(push_to_gateway, registry=page))
        return page.samples()

    def delete(self) -> None:
        """Delete the group. Raises `StorageError`."""
        with self._lock:
            self._repeat(delete_from_gateway)

    def close(self) -> None:
        """End a repeated push, and delete the group with one attempt if that is wanted."""
        self._closing.set()
        atexit.unregister(self.close)
        # A child of a process that pushed shares its group, but does not end it.
        if self._delete_at_end and self._pushed_by == os.getpid():
            self._pushed_by = 0
            try:
                self.delete()
            except StorageError:
                return

    def _remember(self) -> None:
        if not self._pushed_by:
            self._pushed_by = os.getpid()
            atexit.register(self.close)

    def _repeat(self, action: Callable[..., None]) -> None:
        for attempt in range(1, self._attempts + 1):
            error = self._attempt(action)
            if error is None:
                return
            if not error.is_temporary or attempt == self._attempts or self._closing.is_set():
                raise error
            longest = min(LONGEST_PAUSE_SECONDS, self._backoff * 2.0 ** (attempt - 1))
            self._closing.wait(longest * random.uniform(0.5, 1.0))  # noqa: S311, a pause is no secret

    def _attempt(self, action: Callable[..., None]) -> _PushError | None:
        try:
            action(**self._group, timeout=self._timeout, handler=self._handler)
        except HTTPError as error:
            is_temporary = error.code >= 500 or error.code in _TEMPORARY
            return _PushError(f"{self.url} answers {error.code}: {_reason(error)}", is_temporary)
        except URLError as error:
            return _PushError(f"{self.url}: {error.reason}", is_temporary=True)
        except (OSError, HTTPException, ValueError) as error:
            return _PushError(f"{self.url}: {str(error) or type(error).__name__}", not isinstance(error, ValueError))
        return None


class _PushError(StorageError):
    """A push that failed."""

    def __init__(self, text: str, is_temporary: bool) -> None:
        super().__init__(text)
        self.is_temporary = is_temporary


class _Page:
    """Metrics as they were when this was made: each attempt pushes the same."""

    def __init__(self, source: Collector) -> None:
        self._families = list(source.collect())

    def collect(self) -> list[Metric]:
        """Return the families."""
        return self._families

    def samples(self) -> int:
        """Return their number, without `_created`."""
        return sum([not each.name.endswith("_created") for family in self._families for each in family.samples])


def _reason(error: HTTPError) -> str:
    """Return the text of a refusal, or the phrase of its status."""
    with error:
        try:
            return error.read(REASON_BYTES).decode(errors="replace").strip() or error.reason
        except (OSError, HTTPException):
            return error.reason


def _without_user(url: str) -> tuple[str, str | None, str]:
    """Return a URL without user and password, and those."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("push_gateway_url is no http or https URL")
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return bare, unquote(parts.username) if parts.username else None, unquote(parts.password or "")
