"""Tokens of AWS IAM for Amazon MSK, signed by the library of Amazon (extra `msk`), which finds the AWS credentials."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from exporter.config.schema import Config
from exporter.runtime import logs
from exporter.runtime.foreign_text import printable

LIBRARY = "aws_msk_iam_sasl_signer"
# After a failure librdkafka asks for the next token when four fifths of this have passed.
RETRY_SECONDS = 10.0
ERROR_MAX = 300
NO_CREDENTIALS = "no AWS credentials were found"
# The place of a token that could not be signed: brokers refuse it.
_NO_TOKEN = "none"  # noqa: S105

log = logs.logger("kafka")


class MskTokens:
    """Signer of tokens for the clients of one region, as their property `oauth_cb`; called by librdkafka's threads.

    It never raises: an error in this callback leaves confluent-kafka 2.16 without a client, or with an exception in
    another callback. `error` is why the last token could not be signed, empty when it was.
    """

    def __init__(self, region: str) -> None:
        self.region = region
        self.error = ""
        self._last = _NO_TOKEN, 0.0

    def __call__(self, _config: str | None = None) -> tuple[str, float]:
        """Return a token and when it ends in Unix seconds; without credentials the last one, until soon."""
        try:
            token, ends_ms = _signer()(self.region)
        except Exception as error:  # of the library, of botocore, and of what provides the credentials
            return self._failed(_text(error), time.time())
        self.error, self._last = "", (token, ends_ms / 1000)
        return self._last

    def _failed(self, error: str, now: float) -> tuple[str, float]:
        self.error = error
        log.warning("no token for Amazon MSK, retrying", extra={"error": error, "region": self.region})
        token, ends = self._last
        return (token, min(ends, now + RETRY_SECONDS)) if ends > now else (_NO_TOKEN, now + RETRY_SECONDS)


def _signer() -> Callable[[str], tuple[str, int]]:
    # Loaded at the first token: it brings boto3, about 30 MB.
    provider: Any = import_module(f"{LIBRARY}.MSKAuthTokenProvider")
    sign: Callable[[str], tuple[str, int]] = provider.generate_auth_token
    return sign


def _text(error: Exception) -> str:
    # The library asks the credentials that botocore did not find for their key.
    if isinstance(error, AttributeError) and "NoneType" in str(error):
        return NO_CREDENTIALS
    return printable(str(error) or type(error).__name__, ERROR_MAX)


@cache
def tokens(region: str) -> MskTokens:
    """Return the signer of a region, one for all clients of the process."""
    return MskTokens(region)


def is_installed() -> bool:
    """Return whether the library that signs is installed."""
    return find_spec(LIBRARY) is not None


def login(config: Config) -> dict[str, Any]:
    """Return the properties by which clients log in at `kafka.msk_iam_region`; none without it."""
    region = config.kafka.msk_iam_region
    if region is None:
        return {}
    return {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "oauth_cb": tokens(region)}
