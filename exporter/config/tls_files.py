"""The files of a connection with TLS, and what is wrong with them. Pure: files are read by a function of the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated
from urllib.parse import urlsplit

from exporter.config.display import shown
from exporter.config.format_text import file_name
from exporter.config.section import Section, parsed

_FILE = parsed(file_name, "the path of a PEM file")
_BEGIN = "-----BEGIN "


class TlsFiles(Section, frozen=True, kw_only=True):
    """The authorities that are trusted in place of the usual ones, and what a client shows of itself; all in PEM.

    Without `key_file` the key is in `cert_file`. A key has no passphrase.
    """

    ca_file: Annotated[str, _FILE] | None = None
    cert_file: Annotated[str, _FILE] | None = None
    key_file: Annotated[str, _FILE] | None = None


def contradictions(tls: TlsFiles, url: str) -> Iterator[tuple[str, str]]:
    """Yield what does not go together, and the key of each; `url` is where the connection leads."""
    given = [name for name in tls.__struct_fields__ if getattr(tls, name) is not None]
    if given and urlsplit(url).scheme != "https":
        yield "goes with a URL that begins with https", given[0]
    if tls.key_file is not None and tls.cert_file is None:
        yield "is the key of a certificate, expected cert_file beside it", "key_file"


def unusable(tls: TlsFiles, read_file: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Yield why a file cannot be used, and its key."""
    for name in tls.__struct_fields__:
        if (path := getattr(tls, name)) is None:
            continue
        try:
            text = read_file(path)
        except OSError as error:
            yield f"got {shown(path)}, which cannot be read: {error.strerror or error}", name
            continue
        except ValueError:
            text = ""
        if _BEGIN not in text:
            yield f"got {shown(path)}, which is no PEM file", name
        elif "ENCRYPTED" in text:
            yield f"got {shown(path)}, whose key has a passphrase, expected one without", name
