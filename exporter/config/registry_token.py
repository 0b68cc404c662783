"""What a token for a schema registry does not go together with. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporter.config.parsers import credentials


def contradictions(url: str, given: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield what does not go together, and the key of each.

    `given` has `username`, `password`, `token` and `token_file`, None where there is none.
    """
    tokens = [name for name in ("token", "token_file") if given[name] is not None]
    if tokens and (credentials(url) or given["username"] is not None or given["password"] is not None):
        yield "is given beside a user or a password, expected one way to log in", tokens[0]
    if len(tokens) > 1:
        yield "is given beside a token, expected one of the two", tokens[1]
