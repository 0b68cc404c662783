"""What a web configuration file asks for, ready for use: encryption, headers, passwords and a rate limit."""

from __future__ import annotations

import time
from collections.abc import Mapping

from exporter.runtime.rate_limit import RateLimiter
from exporter.web.authentication import PasswordChecks, TooManyChecks, Users, credentials
from exporter.web.responses import CompleteResponse, text_response
from exporter.web.tls import Tls

CHALLENGE = 'Basic realm="marketdata-exporter", charset="UTF-8"'


class Protection:
    """Protection of the server; by default there is none."""

    def __init__(
        self,
        tls: Tls | None = None,
        headers: Mapping[str, str] = {},
        users: Users | None = None,
        checks: PasswordChecks | None = None,
        limiter: RateLimiter | None = None,
    ) -> None:
        self.tls = tls
        self.headers = headers
        self._users = users
        self._checks = checks
        self._limiter = limiter

    def admits(self, authorization: str) -> bool:
        """Return whether a request with this Authorization header is known to be allowed; callable from any thread."""
        if self._users is None or self._checks is None:
            return True
        given = credentials(authorization)
        return given is not None and self._checks.known(self._users, given) is True

    async def refusal(self, authorization: str, network: str, *, is_limited: bool) -> CompleteResponse | None:
        """Return the response that refuses a request, None for an allowed one; `is_limited`: the rate limit applies."""
        if is_limited and not self._is_within_rate():
            return text_response("too many requests, see rate_limit in web.config_file", 429)
        if self.admits(authorization):
            return None
        try:
            is_right = await self._is_right(authorization, network)
        except TooManyChecks:
            return text_response("too many passwords are being checked, retry later", 503)
        refusal = text_response("a user and a password are required", 401, **{"WWW-Authenticate": CHALLENGE})
        return None if is_right else refusal

    def _is_within_rate(self) -> bool:
        return self._limiter is None or self._limiter.admit("", int(time.monotonic() * 1000)) is not None

    async def _is_right(self, authorization: str, network: str) -> bool:
        given = credentials(authorization)
        if given is None or self._users is None or self._checks is None:
            return False
        return await self._checks.check(self._users, given, network)
