"""The files of the page, from the package: read once, with a tag by which browsers know that theirs is current."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from exporter.web.responses import CompleteResponse, Response, complete

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
# The document of all views, and the first part of the path of each but the first view.
SHELL = "index.html"
VIEWS = ("feeds", "programs", "risk")
PROGRAMS, RISK = "/programs", "/risk"
# Only the page may run scripts, none of them within the document, and only talk to this server.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class StaticFiles:
    """The files below `static/` by their names, such as `views/feeds.js`."""

    def __init__(self) -> None:
        self._files = dict(_walked(files("exporter.web").joinpath("static"), ""))
        self._responses: dict[tuple[str, bool], CompleteResponse] = {}

    @property
    def names(self) -> list[str]:
        """The names of all files."""
        return sorted(self._files)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def get(self, name: str, is_gzipped: bool, known_tags: str = "") -> CompleteResponse:
        """Return a file, or only that it is the one that the client has, by the tags in its `If-None-Match`."""
        response = self._responses.get((name, is_gzipped))
        if response is None:
            response = self._responses[name, is_gzipped] = _response(name, self._files[name].read_bytes(), is_gzipped)
        tags = {tag.strip().removeprefix("W/") for tag in known_tags.split(",")}
        if response.headers["ETag"].removeprefix("W/") in tags:
            return response._replace(status=304, body=())
        return response


def _walked(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _walked(each, f"{prefix}{each.name}/")
        elif PurePosixPath(each.name).suffix in CONTENT_TYPES:
            yield f"{prefix}{each.name}", each


def _response(name: str, content: bytes, is_gzipped: bool) -> CompleteResponse:
    suffix = PurePosixPath(name).suffix
    # Weak: the compressed form has the same tag.
    headers = {"ETag": f'W/"{sha256(content).hexdigest()[:16]}"', "Cache-Control": "no-cache"}
    if suffix in (".html", ".js"):  # a worker has the policy of its script
        headers["Content-Security-Policy"] = PAGE_POLICY
    return complete(Response([content], CONTENT_TYPES[suffix], headers=headers), is_gzipped)


def is_view(path: str) -> bool:
    """Return whether a path is that of a view: `/`, or for example `/feeds/korea:upbit:ticker`."""
    first, _, rest = path.removeprefix("/").partition("/")
    return path in ("/", PROGRAMS, RISK) or (first in VIEWS and bool(rest))
