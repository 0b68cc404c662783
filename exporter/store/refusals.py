"""Whether a write that Redis refused can succeed later.

Errors caused by the stored data are final; that is a closed set. All others are temporary, whatever their code: the
server is a replica, full, loading, short of replicas, busy, requires another password or forbids a command.
"""

from __future__ import annotations

import re

from redis import exceptions

from exporter.store.keyspace import HALFWAY

# A key, a fence or a count has another type, or would overflow. Redis 6 and its descendants put a text of their own
# before the error of a command in a script.
_FINAL = re.compile(
    rf"^(?:{HALFWAY}|INVALIDOBJ)\b|\bWRONGTYPE\b|not an integer|would overflow|user_script: ?\d+: attempt to"
)


def is_final(error: Exception) -> bool:
    """Return whether the same write will never succeed, because of what the store's keys already hold."""
    return isinstance(error, exceptions.ResponseError) and _FINAL.search(str(error)) is not None
