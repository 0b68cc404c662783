"""A stand-in for AWS: the signer of tokens gives those of an OpenID provider, which a real broker validates."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.oidc import CLIENT, SECRET, OidcProvider

REGION = "eu-west-1"
PROPERTIES = {"security.protocol": "SASL_PLAINTEXT"}  # no TLS on this machine
_SIGNER = """
import json
from base64 import b64encode
from pathlib import Path
from time import time
from types import SimpleNamespace
from urllib.request import Request, urlopen


def generate_auth_token(region):
    file = Path({credentials!r})
    found = SimpleNamespace(access_key=file.read_text()) if file.exists() else None
    login = b64encode(found.access_key.encode()).decode()
    ask = Request({url!r}, b"grant_type=client_credentials&scope=" + region.encode())
    ask.add_header("Authorization", "Basic " + login)
    with urlopen(ask, timeout=5) as answer:
        given = json.load(answer)
    return given["access_token"], int((time() + given["expires_in"]) * 1000)
"""


class SignerFolder:
    """A folder for PYTHONPATH with a library of the signer's name, and the file of the credentials it needs."""

    def __init__(self, directory: Path, provider: OidcProvider) -> None:
        self.path = directory / "signer"
        self._credentials = self.path / "credentials"
        package = self.path / "aws_msk_iam_sasl_signer"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        signer = _SIGNER.format(credentials=str(self._credentials), url=f"{provider.url}/token")
        (package / "MSKAuthTokenProvider.py").write_text(signer)

    def give_credentials(self, secret: str = SECRET) -> None:
        """Write the file at once as a whole."""
        written = self._credentials.with_suffix(".new")
        written.write_text(f"{CLIENT}:{secret}")
        os.replace(written, self._credentials)
