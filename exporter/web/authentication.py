"""Basic authentication with bcrypt: what is known is answered at once, the rest is computed in a thread.

Computing one takes tens of milliseconds by design. One at a time is computed, and after a wrong password the thread
pauses for as long as that took, so that guessing takes at most half of a core. Few computations wait: a client with few
of them comes first, and the one with most of them loses its oldest. A password that was right is never computed again.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from os import urandom
from typing import NamedTuple

from exporter.web.counts import Counts

Compare = Callable[[bytes, bytes], bool]
WAITING_MAX = 64
WRONG_MAX = 100
# More would be ignored by bcrypt, and some implementations refuse it.
PASSWORD_BYTES = 72
PAUSE_SECONDS_MAX = 1.0
_COST = slice(4, 6)


class TooManyChecks(Exception):
    """Too many passwords wait for being checked."""


class Credentials(NamedTuple):
    """User and password of a request."""

    user: bytes
    password: bytes


def credentials(header: str) -> Credentials | None:
    """Return user and password of an Authorization header, None if it has none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = b64decode(encoded.strip(), validate=True).partition(b":")
    except (Error, ValueError):
        return None
    return Credentials(user, password) if colon else None


class Users:
    """The users and their hashes; an unknown one gets a hash that no password has, with the cost of a known one."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = {user.encode(): str(text).encode() for user, text in hashes.items()}
        self._costs = sorted(text[_COST] for text in self._hashes.values())
        self._salt = urandom(16)

    def __contains__(self, user: bytes) -> bool:
        return user in self._hashes

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def hash_of(self, user: bytes) -> bytes:
        """Return the hash to compare with."""
        if user in self._hashes:
            return self._hashes[user]
        # Always the same for one name, and as frequent as among known users: the time does not depend on the name.
        chosen = int.from_bytes(blake2b(user, key=self._salt, digest_size=8).digest()) % len(self._costs)
        return b"$2b$" + self._costs[chosen] + b"$" + b"." * 53


class PasswordChecks:
    """Results of comparing passwords with hashes, computed by `compare`.

    `known` may be called in any thread; `check` and `close` belong to the event loop.
    """

    def __init__(self, compare: Compare) -> None:
        self._compare = compare
        self._salt = urandom(32)
        # Digests: passwords are not kept. The right one of each user, and the latest of the wrong ones.
        self._right: dict[bytes, bytes] = {}
        self._wrong: dict[bytes, None] = {}
        self._waiting: dict[bytes, _Check] = {}
        self._computing: dict[bytes, _Check] = {}
        self._networks = Counts[str]()
        self._thread = ThreadPoolExecutor(1, "web-password")

    def known(self, users: Users, given: Credentials) -> bool | None:
        """Return whether a password is right, None before it was computed."""
        return self._known(given.user, self._digest(users, given), users)

    def _known(self, user: bytes, digest: bytes, users: Users) -> bool | None:
        if user in users and self._right.get(user) == digest:
            return True
        return False if digest in self._wrong else None

    async def check(self, users: Users, given: Credentials, network: str) -> bool:
        """Return whether a password is right; raise TooManyChecks."""
        digest = self._digest(users, given)
        if (known := self._known(given.user, digest, users)) is not None:
            return known
        check = self._computing.get(digest) or self._waiting.get(digest)
        if check is None:
            check = _Check(given, users.hash_of(given.user), given.user in users, network)
            self._add(digest, check)
        return await asyncio.shield(check.result)

    def _add(self, digest: bytes, check: _Check) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self._take(self._networks.largest())[1].result.set_exception(TooManyChecks())
        self._waiting[digest] = check
        self._networks.add(check.network)
        if not self._computing:
            self._compute_next()

    def _take(self, network: str) -> tuple[bytes, _Check]:
        """Remove and return the oldest of a network that waits."""
        digest = next(digest for digest, check in self._waiting.items() if check.network == network)
        self._networks.remove(network)
        return digest, self._waiting.pop(digest)

    def _compute_next(self) -> None:
        digest, check = self._take(min(self._networks, key=self._networks.count))
        self._computing[digest] = check
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._thread, _compute, self._compare, check.given.password, check.hash)
        done.add_done_callback(lambda done: self._finish(digest, done))

    def _finish(self, digest: bytes, done: asyncio.Future[bool]) -> None:
        check = self._computing.pop(digest)
        if done.cancelled():
            return
        is_right = done.exception() is None and done.result() and check.is_user
        if is_right:
            self._right[check.given.user] = digest
        else:
            self._wrong[digest] = None
            while len(self._wrong) > WRONG_MAX:
                del self._wrong[next(iter(self._wrong))]
        if not check.result.done():
            check.result.set_result(is_right)
        if self._waiting:
            self._compute_next()

    def _digest(self, users: Users, given: Credentials) -> bytes:
        """Return a digest of user, password and hash: another hash makes another digest."""
        parts = given.user, users.hash_of(given.user), given.password
        text = b"".join(len(part).to_bytes(4) + part for part in parts)
        return blake2b(text, key=self._salt, digest_size=32).digest()

    def close(self) -> None:
        """Start no further computation."""
        for check in (*self._waiting.values(), *self._computing.values()):
            check.result.cancel()
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)


class _Check:
    """A password that waits to be compared with a hash."""

    __slots__ = ("given", "hash", "is_user", "network", "result")

    def __init__(self, given: Credentials, hash: bytes, is_user: bool, network: str) -> None:
        self.given = given
        self.hash = hash
        self.is_user = is_user
        self.network = network
        self.result: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        # A client that has disconnected does not ask for its result.
        self.result.add_done_callback(lambda result: result.cancelled() or result.exception())


def _compute(compare: Compare, password: bytes, hash: bytes) -> bool:
    begin = time.thread_time()
    try:
        is_right = compare(password[:PASSWORD_BYTES], hash)
    except ValueError:
        is_right = False
    if not is_right:
        time.sleep(min(time.thread_time() - begin, PAUSE_SECONDS_MAX))
    return is_right
