"""Where Redis is and of what kind: a single server, the master that Sentinels name, or a cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta

from exporter.config.section import Section, secret
from exporter.config.tls_files import TlsFiles

Kind = Literal["single", "sentinel", "cluster"]
_SENTINEL_PORT, _PORT = 26_379, 6379


class SentinelConfig(Section, frozen=True, kw_only=True):
    """Of a master that Sentinels name: its name, and how to authenticate at the Sentinels."""

    master: (
        Annotated[str, Meta(pattern=r"\A[\w.-]{1,200}\Z", description="1 to 200 of letters, digits, _ . -")] | None
    ) = None
    username: Annotated[str, secret("a user")] | None = None
    password: Annotated[str, secret("a password")] | None = None


class RedisPlace(NamedTuple):
    """The hosts with their ports, and a URL of the first of them, as the driver reads it; no hosts for a socket.

    With Sentinels the hosts are theirs, while user, password, database and options are those of the master.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    master: str
    driver_url: str


def place(url: str, sentinel: SentinelConfig, *, is_cluster: bool) -> RedisPlace:
    """Return the place of a URL that `parsers.redis_url` accepts, and of the keys beside it."""
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    master, path = sentinel.master or "", parts.path
    if kind == "sentinel":
        master, _, database = path.removeprefix("/").partition("/")
        path = f"/{database}"
    found: Kind = "cluster" if kind == "cluster" or is_cluster else "sentinel" if master else "single"
    if scheme == "unix":
        return RedisPlace(found, (), master, url)
    hosts = tuple(_hosts(parts, _SENTINEL_PORT if found == "sentinel" else _PORT))
    user = parts.netloc.rpartition("@")[0]
    host, port = hosts[0]
    netloc = f"{user}{user and '@'}{f'[{host}]' if ':' in host else host}:{port}"
    return RedisPlace(found, hosts, master, SplitResult(scheme, netloc, path, parts.query, "").geturl())


def _hosts(parts: SplitResult, port: int) -> Iterator[tuple[str, int]]:
    for text in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{text}")
        yield one.hostname or "", one.port or port


def contradictions(
    url: str | None, sentinel: SentinelConfig, tls: TlsFiles, *, is_cluster: bool
) -> Iterator[tuple[str, str]]:
    """Yield what does not go together, and the key of each."""
    scheme = urlsplit(url or "").scheme
    kind = scheme.partition("+")[2]
    if sentinel.master is not None and kind:
        yield f"goes with redis:// or rediss://, expected none with {scheme}://", "sentinel.master"
    if is_cluster and kind == "sentinel":
        yield f"got true, expected false with {scheme}://", "cluster"
    if is_cluster and sentinel.master is not None:
        yield "names a master that Sentinels know, expected none with redis.cluster", "sentinel.master"
    if sentinel.master is None and kind != "sentinel":
        for name in ("username", "password"):
            if getattr(sentinel, name) is not None:
                yield "is for Sentinels, expected redis.sentinel.master beside it", f"sentinel.{name}"
    yield from _of_url(url, sentinel, is_cluster=is_cluster)
    yield from _of_tls(tls, scheme)


def _of_url(url: str | None, sentinel: SentinelConfig, *, is_cluster: bool) -> Iterator[tuple[str, str]]:
    if url is None:
        return
    found = place(url, sentinel, is_cluster=is_cluster)
    if found.kind == "single" and len(found.hosts) > 1:
        yield "has several hosts, expected one, or redis.sentinel.master, or redis.cluster", "url"
    if found.kind != "single" and not found.hosts:
        yield "is a socket, expected the hosts of Sentinels or of a cluster", "url"
    if found.kind == "cluster" and urlsplit(found.driver_url).path.strip("/") not in ("", "0"):
        yield "names a database, which a cluster does not have", "url"


def _of_tls(tls: TlsFiles, scheme: str) -> Iterator[tuple[str, str]]:
    given = [name for name in tls.__struct_fields__ if getattr(tls, name) is not None]
    if given and scheme.partition("+")[0] != "rediss":
        yield "goes with a URL that begins with rediss", f"tls.{given[0]}"
    if tls.key_file is not None and tls.cert_file is None:
        yield "is the key of a certificate, expected cert_file beside it", "tls.key_file"
